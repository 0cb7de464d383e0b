//! Which agent is granted which trials.
//!
//! A trial is granted only while it is open, under no lease, and no outcome of it is on its way
//! into the log; and not to the agent it last failed on, while there are others.
//!
//! Floor: core.

use common::id::{MemberId, StudyId, TrialIndex};
use common::wire::message::{StudyState, ToAgent};

use super::agents::Session;
use super::{Node, Now, SessionId};
use crate::scheduler::placement::Fit;
use crate::scheduler::state::TrialState;

impl Node {
    /// Hands waiting trials to free lanes: the study of highest priority first, of equal ones the
    /// oldest, agents in turn.
    pub(super) fn grant(&mut self, now: Now) {
        let waits = |id: &StudyId| {
            let record = self.state.studies.get(id)?;
            let waits =
                record.state == StudyState::Active && record.open() > self.soft.leases.leased(*id);
            waits.then_some((-i64::from(record.priority), record.order, *id))
        };
        let mut studies: Vec<_> = self.soft.queues.keys().filter_map(waits).collect();
        studies.sort_unstable();
        // Of thousands of agents few have room at any moment.
        if studies.is_empty() || !self.sessions.values().any(|session| session.offered > 0) {
            return;
        }
        let slots = self.slots();
        for (_, _, study) in studies {
            while self.grant_round(study, slots, now) {}
        }
    }

    /// Cohorts that can train at once, over all agents.
    pub(super) fn slots(&self) -> u32 {
        let good = self.sessions.values().filter(|session| self.is_in_use(session.member));
        good.map(lanes).map(|(all, one)| all.div_ceil(one)).sum()
    }

    pub(super) fn is_in_use(&self, member: MemberId) -> bool {
        self.health_of(member).is_none_or(|health| health.set_aside.is_none())
    }

    /// A cohort for every agent that offers lanes. False when nothing of the study waits any more, or
    /// nobody offers.
    fn grant_round(&mut self, study: StudyId, slots: u32, now: Now) -> bool {
        let offers: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.offered > 0 && self.is_in_use(s.member))
            .map(|(id, _)| *id)
            .collect();
        let mut granted = false;
        for session in offers {
            granted |= self.grant_one(session, study, slots, now);
        }
        granted
    }

    /// One cohort of one study for one agent. False when nothing of it waits for this agent.
    fn grant_one(&mut self, session: SessionId, study: StudyId, slots: u32, now: Now) -> bool {
        let Some(record) = self.state.studies.get(&study) else { return false };
        let Some(member) = self.sessions.get(&session).map(|entry| entry.member) else {
            return false;
        };
        let width = self.cohort_width(session, record.open(), study, slots);
        let (leases, proposed) = (&self.soft.leases, &self.soft.proposed);
        let others = self
            .sessions
            .values()
            .any(|s| s.member != member && s.about.is_some() && self.is_in_use(s.member));
        let fit = |trial: TrialIndex| {
            let free = record.trial(trial) == Some(TrialState::Open)
                && leases.holder(study, trial).is_none()
                && !proposed.contains(&(study, trial));
            let last = record.tallies.get(&trial).and_then(|tally| tally.past.last());
            match free {
                false => Fit::Nowhere,
                true if others && last.is_some_and(|last| last.agent == member) => Fit::Elsewhere,
                true => Fit::Here,
            }
        };
        let Some(queue) = self.soft.queues.get_mut(&study) else { return false };
        let trials = queue.take(width, &fit);
        let version = record.version;
        let Some(entry) = self.sessions.get_mut(&session) else { return false };
        if trials.is_empty() {
            return false;
        }
        entry.offered = entry.offered.saturating_sub(lanes(entry).1);
        let deadline = self.deadline(now);
        let term = self.replica.term();
        let lease = self.soft.leases.grant(term, member, study, trials.clone(), deadline);
        self.tell(session, ToAgent::Assign { lease, study, version, trials });
        true
    }

    /// Lanes of the next cohort: the agent's width, less near the end so that no agent idles.
    fn cohort_width(&self, session: SessionId, open: u64, study: StudyId, slots: u32) -> usize {
        let waiting = open.saturating_sub(self.soft.leases.leased(study));
        let share = waiting.div_ceil(u64::from(slots.max(1))).max(1);
        let width = self.sessions.get(&session).map_or(1, |entry| lanes(entry).1);
        u64::from(width).min(share) as usize
    }
}

/// Lanes of an agent, and of one of its cohorts.
pub(super) fn lanes(session: &Session) -> (u32, u32) {
    session.about.as_ref().map_or((1, 1), |about| (about.lanes.max(1), about.cohort_lanes.max(1)))
}
