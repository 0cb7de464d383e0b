//! Leases: which agent may run which attempts, and until when.
//!
//! An attempt is under at most one lease. Late outcomes are recognised by the trial's state, never
//! by comparing clocks: deadlines are on the leader's own monotonic clock. Soft state: a new leader
//! starts empty and learns from the agents.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::time::Timestamp;

/// Every lease of this leader.
#[derive(Debug, Default)]
pub struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
    by_trial: BTreeMap<(StudyId, TrialIndex), LeaseId>,
    /// Entries of `by_trial`, by study; those of repetitions apart.
    counts: BTreeMap<StudyId, u64>,
    counter: u64,
    /// Leases of complete trials that are trained again.
    repetitions: BTreeSet<LeaseId>,
}

/// One grant: trials of one cohort.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub agent: MemberId,
    pub study: StudyId,
    /// Those without an end yet.
    pub trials: Vec<TrialIndex>,
    /// Trials granted at first: whether a crash had company.
    pub granted: u32,
    pub deadline: Timestamp,
}

impl Leases {
    /// Grants trials to an agent. The trials must not be under another lease.
    pub fn grant(
        &mut self,
        term: u64,
        agent: MemberId,
        study: StudyId,
        trials: Vec<TrialIndex>,
        deadline: Timestamp,
    ) -> LeaseId {
        self.counter += 1;
        let id = LeaseId { term, counter: self.counter };
        self.insert(id, Lease { agent, study, granted: trials.len() as u32, trials, deadline });
        id
    }

    /// Grants complete trials to be trained again. They count for no study's progress.
    pub fn grant_again(
        &mut self,
        term: u64,
        agent: MemberId,
        study: StudyId,
        trials: Vec<TrialIndex>,
        deadline: Timestamp,
    ) -> LeaseId {
        self.repetitions.insert(LeaseId { term, counter: self.counter + 1 });
        self.grant(term, agent, study, trials, deadline)
    }

    /// Takes over a lease that an agent says it holds. False when one of its trials is leased already.
    pub fn adopt(&mut self, id: LeaseId, lease: Lease) -> bool {
        let taken = |trial: &TrialIndex| {
            self.by_trial.get(&(lease.study, *trial)).is_some_and(|holder| *holder != id)
        };
        if lease.trials.iter().any(taken) {
            return false;
        }
        self.insert(id, lease);
        true
    }

    /// Takes over a lease whatever else holds its trials.
    #[cfg(feature = "planted")]
    pub fn believe(&mut self, id: LeaseId, lease: Lease) {
        self.insert(id, lease);
    }

    fn insert(&mut self, id: LeaseId, lease: Lease) {
        for trial in &lease.trials {
            let before = self.by_trial.insert((lease.study, *trial), id);
            assert!(before.is_none_or(|holder| holder == id), "a trial is under one lease at most");
            let counts = before.is_none() && !self.repetitions.contains(&id);
            *self.counts.entry(lease.study).or_default() += u64::from(counts);
        }
        self.by_id.insert(id, lease);
    }

    /// Prolongs a lease of this agent. False when there is none.
    pub fn renew(&mut self, id: LeaseId, agent: MemberId, deadline: Timestamp) -> bool {
        match self.by_id.get_mut(&id) {
            Some(lease) if lease.agent == agent => {
                lease.deadline = deadline;
                true
            }
            _ => false,
        }
    }

    /// The trial has ended or failed: no lease holds it any more. Returns the lease that did.
    pub fn release(&mut self, study: StudyId, trial: TrialIndex) -> Option<(LeaseId, MemberId)> {
        let id = self.forget(study, trial)?;
        let lease = self.by_id.get_mut(&id)?;
        let agent = lease.agent;
        lease.trials.retain(|held| *held != trial);
        if lease.trials.is_empty() {
            self.by_id.remove(&id);
            self.repetitions.remove(&id);
        }
        Some((id, agent))
    }

    /// Ends a whole lease and gives it back.
    pub fn end(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(&id)?;
        for trial in &lease.trials {
            self.forget(lease.study, *trial);
        }
        self.repetitions.remove(&id);
        Some(lease)
    }

    fn forget(&mut self, study: StudyId, trial: TrialIndex) -> Option<LeaseId> {
        let id = self.by_trial.remove(&(study, trial))?;
        if let Some(count) = self.counts.get_mut(&study)
            && !self.repetitions.contains(&id)
        {
            *count -= 1;
        }
        Some(id)
    }

    /// Leases whose deadline is at or before `now`, ended, in lease order.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(LeaseId, Lease)> {
        let over: Vec<LeaseId> =
            self.by_id.iter().filter(|(_, l)| l.deadline <= now).map(|(id, _)| *id).collect();
        over.into_iter().filter_map(|id| self.end(id).map(|lease| (id, lease))).collect()
    }

    pub fn holder(&self, study: StudyId, trial: TrialIndex) -> Option<LeaseId> {
        self.by_trial.get(&(study, trial)).copied()
    }

    pub fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    /// Whether a lease is one of complete trials that are trained again.
    pub fn is_repetition(&self, id: LeaseId) -> bool {
        self.repetitions.contains(&id)
    }

    /// In order.
    pub fn all(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.by_id.iter().map(|(id, lease)| (*id, lease))
    }

    pub fn of_agent(&self, agent: MemberId) -> Vec<LeaseId> {
        self.by_id.iter().filter(|(_, lease)| lease.agent == agent).map(|(id, _)| *id).collect()
    }

    pub fn of_study(&self, study: StudyId) -> Vec<LeaseId> {
        self.by_id.iter().filter(|(_, lease)| lease.study == study).map(|(id, _)| *id).collect()
    }

    /// Open trials of a study under a lease.
    pub fn leased(&self, study: StudyId) -> u64 {
        self.counts.get(&study).copied().unwrap_or_default()
    }

    /// Trials an agent holds.
    pub fn held_by(&self, agent: MemberId) -> u64 {
        let held = self.by_id.values().filter(|lease| lease.agent == agent);
        held.map(|lease| lease.trials.len() as u64).sum()
    }

    /// All deadlines anew, after the machine slept: nobody could renew meanwhile.
    pub fn restart(&mut self, deadline: Timestamp) {
        self.by_id.values_mut().for_each(|lease| lease.deadline = deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: StudyId = StudyId(7);
    const AGENT: MemberId = MemberId(20);
    const OTHER: MemberId = MemberId(21);

    fn trials(range: std::ops::Range<u64>) -> Vec<TrialIndex> {
        range.map(TrialIndex).collect()
    }

    #[test]
    fn an_expired_lease_gives_its_trials_back() {
        let mut leases = Leases::default();
        let id = leases.grant(1, AGENT, STUDY, trials(0..3), Timestamp(15_000));

        assert!(leases.expire(Timestamp(14_999)).is_empty());
        let expired = leases.expire(Timestamp(15_000));

        assert_eq!(expired.len(), 1);
        assert_eq!((expired[0].0, &expired[0].1.trials), (id, &trials(0..3)));
        assert_eq!(leases.leased(STUDY), 0);
    }

    #[test]
    fn a_renewed_lease_lives_on_and_only_its_agent_renews_it() {
        let mut leases = Leases::default();
        let id = leases.grant(1, AGENT, STUDY, trials(0..1), Timestamp(15_000));

        assert!(!leases.renew(id, OTHER, Timestamp(30_000)));
        assert!(leases.renew(id, AGENT, Timestamp(30_000)));
        assert!(leases.expire(Timestamp(29_999)).is_empty());
    }

    #[test]
    fn a_lease_ends_with_its_last_trial() {
        let mut leases = Leases::default();
        let id = leases.grant(1, AGENT, STUDY, trials(0..2), Timestamp(15_000));

        assert_eq!(leases.release(STUDY, TrialIndex(0)), Some((id, AGENT)));
        assert!(leases.lease(id).is_some());
        assert_eq!(leases.release(STUDY, TrialIndex(1)), Some((id, AGENT)));
        assert!(leases.lease(id).is_none());
        assert_eq!(leases.release(STUDY, TrialIndex(1)), None);
    }

    #[test]
    fn trials_that_are_trained_again_are_leased_and_not_counted() {
        let mut leases = Leases::default();
        let open = leases.grant(1, AGENT, STUDY, trials(0..3), Timestamp(15_000));
        let again = leases.grant_again(1, AGENT, STUDY, trials(7..9), Timestamp(9_000));

        assert_eq!((leases.leased(STUDY), leases.held_by(AGENT)), (3, 5));
        assert!(leases.is_repetition(again) && !leases.is_repetition(open));
        leases.release(STUDY, TrialIndex(7));
        let over = leases.expire(Timestamp(9_000));
        assert_eq!((over[0].0, &over[0].1.trials), (again, &trials(8..9)));
        assert!(!leases.is_repetition(again));
        leases.end(open);
        assert_eq!(leases.leased(STUDY), 0);
    }

    #[test]
    fn a_trial_leased_to_another_is_not_adopted() {
        let mut leases = Leases::default();
        leases.grant(2, AGENT, STUDY, trials(0..2), Timestamp(15_000));
        let old = Lease {
            agent: OTHER,
            study: STUDY,
            trials: trials(1..3),
            granted: 2,
            deadline: Timestamp(1),
        };

        assert!(!leases.adopt(LeaseId { term: 1, counter: 9 }, old.clone()));
        let free = Lease { trials: trials(2..4), ..old };
        assert!(leases.adopt(LeaseId { term: 1, counter: 9 }, free));
    }
}
