//! Which agent is granted which trials.
//!
//! A trial is granted only while it is open, under no lease, and no outcome of it is on its way
//! into the log; and not to the agent it last failed on, while there are others. Programs go to agents
//! that allow them alone, and an arm that requires labels to agents that have them.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use common::design::Design;
use common::id::{MemberId, StudyId, TrialIndex};
use common::label::Requires;
use common::study::{Arm, Model, Study};
use common::trial::FailReason;
use common::wire::message::{StudyState, ToAgent};

use super::agents::Session;
use super::borrowed::Reach;
use super::health::Health;
use super::{Node, Now, SessionId, logged};
use crate::scheduler::placement::{Fit, ShapeQueue};
use crate::scheduler::state::{StudyRecord, TrialState};

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
            self.prefer_rare(study);
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
        let (sessions, health) = (&self.sessions, &self.soft.health);
        let others = || others_than(member, sessions, health);
        let fit = |trial: TrialIndex| {
            let free = record.trial(trial) == Some(TrialState::Open)
                && leases.holder(study, trial).is_none()
                && !proposed.contains(&(study, trial));
            match free {
                false => Fit::Nowhere,
                true if is_better_elsewhere(record, trial, member, &others) => Fit::Elsewhere,
                true => Fit::Here,
            }
        };
        let Some(entry) = self.sessions.get(&session) else { return false };
        let reach = Reach::of(entry, &self.soft.paces, (study, record), now);
        let allowed = |shape: &ShapeQueue| {
            entry.may_train(shape) && reach.as_ref().is_none_or(|reach| reach.has_shape(shape))
        };
        let Some(queue) = self.soft.queues.get_mut(&study) else { return false };
        let trials = queue.take_of(width, &allowed, &fit);
        let version = record.version;
        let Some(entry) = self.sessions.get_mut(&session) else { return false };
        if trials.is_empty() {
            return false;
        }
        let taken = match trials.first().is_some_and(|first| runs_program(record, *first)) {
            // The agent takes a program to fill one of its threads, with nothing queued behind it.
            true => lanes(entry).1.saturating_mul(2),
            false => lanes(entry).1,
        };
        entry.offered = entry.offered.saturating_sub(taken);
        let deadline = self.deadline(now);
        let term = self.replica.term();
        let lease = self.soft.leases.grant(term, member, study, trials.clone(), deadline);
        self.counting.counts.granted += 1;
        logged::assigned(study, member, lease, &trials);
        let checkpoints = self.checkpoints_of(session, study, &trials);
        self.tell(
            session,
            match checkpoints.is_empty() {
                true => ToAgent::Assign { lease, study, version, trials },
                false => ToAgent::AssignFrom { lease, study, version, trials, checkpoints },
            },
        );
        true
    }

    /// Lets agents take first what of a study not every agent here can train.
    fn prefer_rare(&mut self, study: StudyId) {
        let Some(record) = self.state.studies.get(&study) else { return };
        let rare = self.rare(&record.study);
        if let Some(queue) = self.soft.queues.get_mut(&study) {
            queue.prefer(&|requires| rare.contains(requires));
        }
    }

    /// What a study requires that some agent here does not meet.
    fn rare(&self, study: &Study) -> BTreeSet<Requires> {
        let asked: BTreeSet<&Requires> =
            study.arms.iter().map(|arm| &arm.requires).filter(|asked| !asked.is_empty()).collect();
        let lacks = |asked: &Requires| {
            let here = |s: &&Session| s.about.is_some() && self.is_in_use(s.member);
            self.sessions.values().filter(here).any(|s| !asked.are_met_by(&s.labels))
        };
        asked.into_iter().filter(|asked| lacks(asked)).cloned().collect()
    }

    /// Lanes of the next cohort: the agent's width, less near the end so that no agent idles.
    fn cohort_width(&self, session: SessionId, open: u64, study: StudyId, slots: u32) -> usize {
        let waiting = open.saturating_sub(self.soft.leases.leased(study));
        let share = waiting.div_ceil(u64::from(slots.max(1))).max(1);
        let width = self.sessions.get(&session).map_or(1, |entry| lanes(entry).1);
        u64::from(width).min(share) as usize
    }
}

/// Other agents that could be granted something.
fn others_than<'a>(
    member: MemberId,
    sessions: &'a BTreeMap<SessionId, Session>,
    health: &'a BTreeMap<MemberId, Health>,
) -> impl Iterator<Item = &'a Session> + Clone {
    let aside = move |other: MemberId| health.get(&other).is_some_and(|h| h.set_aside.is_some());
    sessions.values().filter(move |session| {
        session.member != member && session.about.is_some() && !aside(session.member)
    })
}

/// Whether a trial should rather wait for another agent: it last failed on this one, or its program
/// asked here for another one and not yet everywhere. Few trials did: others are looked at for these alone.
fn is_better_elsewhere<'a, I: Iterator<Item = &'a Session> + Clone>(
    record: &StudyRecord,
    trial: TrialIndex,
    member: MemberId,
    others: &dyn Fn() -> I,
) -> bool {
    let Some(tally) = record.tallies.get(&trial) else { return false };
    let sent_on = |member: MemberId| {
        let past = tally.past.iter();
        past.into_iter().any(|p| p.agent == member && p.reason == FailReason::Elsewhere)
    };
    // That an agent left says nothing against it.
    let mut failed = tally.past.iter().rev().filter(|past| !past.reason.is_interruption());
    let failed_here = failed.next().is_some_and(|last| last.agent == member);
    let sent_on_here = sent_on(member);
    if !failed_here && !sent_on_here {
        return false;
    }
    let needs = Needs::of(record, trial);
    let able = others().filter(|other| needs.is_none_or(|needs| other.meets(needs)));
    sent_on_here && able.clone().any(|other| !sent_on(other.member))
        || failed_here && able.clone().next().is_some()
}

/// What an agent must allow, and be known by, to train a trial.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Needs<'r> {
    pub programs: bool,
    pub requires: &'r Requires,
}

impl<'r> Needs<'r> {
    pub fn of(record: &'r StudyRecord, trial: TrialIndex) -> Option<Self> {
        let study = &record.study;
        let key = Design::of(study).key(trial)?;
        Some(Self::of_arm(study, key.arm(study)))
    }

    pub fn of_arm(study: &Study, arm: &'r Arm) -> Self {
        Self { programs: study.model_of(arm) == Model::Program, requires: &arm.requires }
    }

    /// Whether any agent will do.
    pub fn are_none(&self) -> bool {
        !self.programs && self.requires.is_empty()
    }
}

impl fmt::Display for Needs<'_> {
    /// `an agent with site=east that allows programs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an agent")?;
        if !self.requires.is_empty() {
            write!(f, " with {}", self.requires)?;
        }
        if self.programs {
            f.write_str(" that allows programs")?;
        }
        Ok(())
    }
}

/// Whether a trial runs a program of a user's.
pub(super) fn runs_program(record: &StudyRecord, trial: TrialIndex) -> bool {
    let study = &record.study;
    let runs = |arm: &Arm| study.model_of(arm) == Model::Program;
    study.arms.iter().any(runs)
        && Design::of(study).key(trial).is_some_and(|key| runs(key.arm(study)))
}

/// Lanes of an agent, and of one of its cohorts.
pub(super) fn lanes(session: &Session) -> (u32, u32) {
    session.about.as_ref().map_or((1, 1), |about| (about.lanes.max(1), about.cohort_lanes.max(1)))
}
