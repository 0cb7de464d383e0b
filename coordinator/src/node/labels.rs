//! Labels of agents, and what waits for one whose labels nobody here has.
//!
//! Only the leader knows who is here, so nothing of this is in the log: a study that requires what no agent
//! has waits for one that does.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::id::{StudyId, TrialIndex};
use common::label::{Requires, none_has};
use common::wire::message::{Response, StudyState, Wanting};

use super::Node;
use super::agents::Session;
use super::grants::requires_of;
use crate::scheduler::placement::ShapeQueue;
use crate::scheduler::state::{StudyRecord, TrialState};

impl Node {
    /// What every agent is known by, and what waits for others.
    pub(super) fn labels(&self) -> Response {
        let sessions = self.sessions.values().chain(self.soft.gone.values());
        let known = sessions.filter(|session| session.about.is_some());
        let agents = known.map(|session| (session.member, session.labels.clone())).collect();
        let mut studies: Vec<_> = self.state.studies.iter().collect();
        studies.sort_by_key(|(_, record)| record.order);
        let active = |(_, record): &(&StudyId, &StudyRecord)| record.state == StudyState::Active;
        let wanting = studies.into_iter().filter(active);
        let wanting = wanting.flat_map(|(id, record)| self.wanting(*id, record)).collect();
        Response::Labels { agents, wanting }
    }

    /// What of a study waits, and nobody here may train, by what it requires.
    fn wanting(&self, study: StudyId, record: &StudyRecord) -> Vec<Wanting> {
        let mut asked: BTreeMap<&Requires, Vec<String>> = BTreeMap::new();
        let picky = record.study.arms.iter().filter(|arm| !arm.requires.is_empty());
        picky.for_each(|arm| asked.entry(&arm.requires).or_default().push(arm.name.clone()));
        let Some(queue) = self.soft.queues.get(&study).filter(|_| !asked.is_empty()) else {
            return Vec::new();
        };
        let waits = |trial: TrialIndex| {
            record.trial(trial) == Some(TrialState::Open)
                && self.soft.leases.holder(study, trial).is_none()
                && !self.soft.proposed.contains(&(study, trial))
        };
        let here = self.here().count() as u64;
        let wants = |(requires, _): &(&Requires, Vec<String>)| {
            !self.here().any(|session| requires.are_met_by(&session.labels))
                && queue.holds(&|shape: &ShapeQueue| shape.requires() == *requires, &waits)
        };
        let wanting = asked.into_iter().filter(wants);
        wanting
            .map(|(requires, arms)| Wanting {
                study,
                arms,
                requires: requires.clone(),
                agents: here,
            })
            .collect()
    }

    /// What nobody here may train of these trials; `None` where somebody is here for each, or nobody at all.
    pub(super) fn lacks_labels<'a>(
        &self,
        record: &StudyRecord,
        trials: impl Iterator<Item = &'a TrialIndex>,
    ) -> Option<String> {
        let here = self.here().count() as u64;
        let mut asked = trials.filter_map(|trial| requires_of(record, *trial));
        let lacks = |requires: &&Requires| {
            here > 0 && !self.here().any(|session| requires.are_met_by(&session.labels))
        };
        let requires = asked.find(lacks)?;
        Some(format!("some of it waits for {}", none_has(requires, here)))
    }

    /// Agents that could be granted something.
    fn here(&self) -> impl Iterator<Item = &Session> {
        let in_use = |session: &&Session| session.about.is_some() && self.is_in_use(session.member);
        self.sessions.values().filter(in_use)
    }

    /// Why a trial waits where others of its study would not: nobody has what it requires, or all who do
    /// are busy.
    pub(super) fn why_unlabelled(&self, record: &StudyRecord, trial: TrialIndex) -> Option<String> {
        let requires = requires_of(record, trial)?;
        let (able, here) = (
            self.here().filter(|session| requires.are_met_by(&session.labels)),
            self.here().count(),
        );
        let able: Vec<&Session> = able.collect();
        match able.is_empty() {
            true => Some(format!("it waits for {}", none_has(requires, here as u64))),
            false if able.iter().all(|session| session.offered == 0) => Some(format!(
                "it waits for an agent with {requires}: {} of {here} are that, and all their lanes are taken",
                able.len()
            )),
            false => None,
        }
    }
}
