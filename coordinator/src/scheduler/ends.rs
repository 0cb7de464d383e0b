//! How attempts end: the first outcome stands, failures are counted once a lease.
//!
//! A trial that died alone is itself to blame; one that died in company, whose agent vanished, or
//! whose program asked for another agent, counts a loss. Each has its limit. That an agent left is
//! counted too, and against no trial.
//!
//! Floor: core.

use common::design::Design;
use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::study::Diverged;
use common::time::Timestamp;
use common::trial::{Attempt, FailReason, Outcome, POISON};
use common::wire::message::{OutcomeRow, PastFailure, RowEnd, Violation};

use super::command::Item;
use super::state::{self, State, StudyRecord, Tally, TrialState};
use super::{Ended, LOSSES_MAX};

impl State {
    pub(super) fn item(&mut self, agent: MemberId, at: Timestamp, item: Item) -> Ended {
        let attempt = item.attempt();
        let Some(record) = self.studies.get_mut(&attempt.study) else {
            return Ended::Unknown { attempt };
        };
        match (record.trial(attempt.trial), item) {
            (None, _) => Ended::Unknown { attempt },
            (Some(state), Item::Complete { outcome, .. }) => {
                record.outcome(state, attempt, agent, *outcome, at)
            }
            (Some(TrialState::Open), Item::Failed { reason, detail, alone, .. }) => {
                let lease = attempt.lease;
                let failure = PastFailure { lease, agent, reason, detail, at };
                record.attempt_failed(attempt, failure, alone)
            }
            (Some(_), Item::Failed { .. }) => Ended::Late { attempt, differs: false },
        }
    }
}

impl State {
    /// Takes over what is known of open trials, as it was, under a lease that no leader ever grants.
    pub(super) fn adopt(&mut self, study: StudyId, rows: Vec<OutcomeRow>) -> Vec<Ended> {
        let lease = LeaseId { term: 0, counter: 0 };
        let Some(record) = self.studies.get_mut(&study) else { return Vec::new() };
        let adopt = |OutcomeRow { trial, ended, agent, end }| match end {
            RowEnd::Complete(outcome) if record.trial(trial) == Some(TrialState::Open) => {
                let attempt = Attempt { study, trial, lease };
                Some(record.outcome(TrialState::Open, attempt, agent, outcome, ended))
            }
            _ => None,
        };
        rows.into_iter().filter_map(adopt).collect()
    }
}

impl StudyRecord {
    fn outcome(
        &mut self,
        state: TrialState,
        attempt: Attempt,
        agent: MemberId,
        outcome: Outcome,
        at: Timestamp,
    ) -> Ended {
        let trial = attempt.trial;
        let digest = state::short_digest(&outcome.digest());
        match state {
            TrialState::Open => {
                let study_over = self.end(trial, TrialState::Complete, digest, at);
                let end = RowEnd::Complete(outcome);
                let row = Box::new(OutcomeRow { trial, ended: at, agent, end });
                Ended::Trial { attempt, row, study_over }
            }
            TrialState::Complete => {
                let stands = self.digest(trial);
                let differs = stands != digest;
                if differs {
                    let digests = (stands, digest);
                    self.violated(Violation { trial, digests, agent, at });
                }
                Ended::Late { attempt, differs }
            }
            // A failed or cancelled trial takes no outcome, nor does one that is not to be trained; the
            // agent may forget it.
            TrialState::Failed | TrialState::Cancelled | TrialState::Unchosen => {
                Ended::Late { attempt, differs: false }
            }
        }
    }

    /// An outcome that is told twice, since an answer was lost, is one finding.
    fn violated(&mut self, new: Violation) {
        let same = |old: &Violation| {
            (old.trial, old.digests, old.agent) == (new.trial, new.digests, new.agent)
        };
        if !self.violations.iter().any(same) {
            self.differing += 1;
            if self.violations.len() < VIOLATIONS_KEPT {
                self.violations.push(new);
            }
        }
    }

    fn attempt_failed(&mut self, attempt: Attempt, failure: PastFailure, alone: bool) -> Ended {
        let PastFailure { agent, reason, detail, at, .. } = failure.clone();
        let limit = self.study.budget.attempts;
        let tally = self.tallies.entry(attempt.trial).or_default();
        if tally.has_counted(attempt.lease, reason) {
            return Ended::Late { attempt, differs: false };
        }
        tally.count(failure, alone);
        let killed = reason == FailReason::AgentCrashed && tally.own >= limit;
        let over = reason.is_final() || tally.own >= limit || tally.losses >= LOSSES_MAX;
        let (own, losses) = (tally.own, tally.losses);
        *self.failures.entry(reason).or_default() += 1;
        if !over {
            return Ended::Again { attempt };
        }
        let mut study_over = self.end(attempt.trial, TrialState::Failed, 0, at);
        let fails_all = self.study.budget.diverged == Diverged::Fail;
        if reason == FailReason::Diverged && fails_all && self.is_judged(attempt.trial) {
            self.cancel(at);
            study_over = true;
        }
        let (reason, detail) = if killed {
            self.poison.insert(attempt.trial);
            let times = own + losses;
            (POISON, format!("it was in training {times} times when its agent died: {detail}"))
        } else {
            (reason.name(), detail)
        };
        let end = RowEnd::Failed { reason: reason.to_string(), detail };
        let row = OutcomeRow { trial: attempt.trial, ended: at, agent, end };
        Ended::Trial { attempt, row: Box::new(row), study_over }
    }
}

impl StudyRecord {
    /// Whether a trial is one of an arm under judgement: what a study declares of these holds for no
    /// control, which may well diverge on labels that mean nothing, nor for a config that is tried.
    fn is_judged(&self, trial: TrialIndex) -> bool {
        let key = Design::of(&self.study).key(trial);
        key.is_some_and(|key| key.inner.is_none() && key.arm(&self.study).control().is_none())
    }
}

impl Tally {
    /// Where in `counted` interruptions begin: before them is one lease for each failure or loss.
    fn failures(&self) -> usize {
        self.counted.len().min((self.own + self.losses) as usize)
    }

    /// Whether it was told before that the attempt under this lease ended. Leases of one trial are granted
    /// one after another, so an interruption of before all that are kept is one of those forgotten.
    fn has_counted(&self, lease: LeaseId, reason: FailReason) -> bool {
        let kept = &self.counted[self.failures()..];
        let forgotten = || kept.len() >= INTERRUPTIONS_KEPT && kept.iter().all(|one| lease < *one);
        self.counted.contains(&lease) || reason.is_interruption() && forgotten()
    }

    fn count(&mut self, failure: PastFailure, alone: bool) {
        let place = self.failures();
        match failure.reason {
            FailReason::Diverged
            | FailReason::Error
            | FailReason::TimeLimit
            | FailReason::OutOfMemory
            | FailReason::BadConfig => self.own += 1,
            FailReason::AgentCrashed if alone => self.own += 1,
            FailReason::AgentCrashed | FailReason::AgentLost | FailReason::Elsewhere => {
                self.losses += 1;
            }
            FailReason::Preempted | FailReason::OutOfTime => {}
        }
        match failure.reason.is_interruption() {
            true => {
                self.counted.push(failure.lease);
                // Agents may leave for ever, and a trial's failures alone are limited.
                if self.counted.len() > place + INTERRUPTIONS_KEPT {
                    self.counted.remove(place);
                }
            }
            false => self.counted.insert(place, failure.lease),
        }
        if self.past.len() == PAST_KEPT {
            self.past.remove(0);
        }
        self.past.push(failure);
    }
}

/// Interruptions of one trial whose leases are known.
const INTERRUPTIONS_KEPT: usize = 16;
/// Failures of one trial that `explain` can tell of.
const PAST_KEPT: usize = 8;
/// Findings of one study that are named; all are counted.
const VIOLATIONS_KEPT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(counter: u64) -> LeaseId {
        LeaseId { term: 1, counter }
    }

    #[test]
    fn of_interruptions_the_latest_leases_are_kept_and_of_failures_all() {
        let mut tally = Tally::default();
        let failures = [3, 28, 53, 78];
        for counter in 0..100 {
            let reason = match failures.contains(&counter) {
                true => FailReason::Error,
                false => FailReason::Preempted,
            };
            assert!(!tally.has_counted(lease(counter), reason), "{counter}");
            let (agent, detail, at) = (MemberId(1), String::new(), Timestamp(counter));
            let lease = lease(counter);
            tally.count(PastFailure { lease, agent, reason, detail, at }, true);
        }
        assert_eq!((tally.own, tally.losses), (4, 0));
        assert_eq!(tally.counted.len(), failures.len() + INTERRUPTIONS_KEPT);
        let told = |counter, reason| tally.has_counted(lease(counter), reason);
        assert!((0..100).all(|counter| told(counter, FailReason::Preempted)), "told twice");
        assert!(failures.into_iter().all(|counter| told(counter, FailReason::Error)));
        assert!(!told(5, FailReason::Error), "a failure that nobody told of counts");
    }
}
