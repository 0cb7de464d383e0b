//! Labels of agents, and what waits for one whose labels nobody here has.
//!
//! Only the leader knows who is here, so nothing of this is in the log: a study that requires what no agent
//! has waits for one that does.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::id::{StudyId, TrialIndex};
use common::label::none_may_train;
use common::wire::message::{Response, StudyState, Wanting};

use super::Node;
use super::agents::Session;
use super::grants::Needs;
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
        let mut asked: BTreeMap<Needs<'_>, Vec<String>> = BTreeMap::new();
        let picky = record.study.arms.iter().filter(|arm| !arm.requires.is_empty());
        picky.for_each(|arm| {
            let needs = Needs::of_arm(&record.study, arm);
            asked.entry(needs).or_default().push(arm.name.clone());
        });
        let Some(queue) = self.soft.queues.get(&study).filter(|_| !asked.is_empty()) else {
            return Vec::new();
        };
        let waits = |trial: TrialIndex| {
            record.trial(trial) == Some(TrialState::Open)
                && self.soft.leases.holder(study, trial).is_none()
                && !self.soft.proposed.contains(&(study, trial))
        };
        let here = self.here().count() as u64;
        let wants = |(needs, _): &(Needs<'_>, Vec<String>)| {
            let of = |shape: &ShapeQueue| {
                shape.requires() == needs.requires && shape.is_of_programs() == needs.programs
            };
            !self.here().any(|session| session.meets(*needs)) && queue.holds(&of, &waits)
        };
        let wanting = asked.into_iter().filter(wants);
        wanting
            .map(|(needs, arms)| Wanting {
                study,
                arms,
                requires: needs.requires.clone(),
                agents: here,
            })
            .collect()
    }

    /// What nobody here may train of these trials; `None` where somebody is here for each, or nobody at all.
    pub(super) fn unmet<'a>(
        &self,
        record: &StudyRecord,
        trials: impl Iterator<Item = &'a TrialIndex>,
    ) -> Option<String> {
        let here = self.here().count() as u64;
        let mut asked = trials.filter_map(|trial| Needs::of(record, *trial));
        let unmet = |needs: &Needs<'_>| {
            here > 0 && !needs.are_none() && !self.here().any(|session| session.meets(*needs))
        };
        let needs = asked.find(unmet)?;
        Some(format!("some of it waits for {}", none_may_train(&needs, here)))
    }

    /// Agents that could be granted something.
    pub(super) fn here(&self) -> impl Iterator<Item = &Session> {
        let in_use = |session: &&Session| session.about.is_some() && self.is_in_use(session.member);
        self.sessions.values().filter(in_use)
    }

    /// Why a trial waits where others of its study would not: nobody here may train it, or all who may are
    /// busy.
    pub(super) fn why_unmet(&self, record: &StudyRecord, trial: TrialIndex) -> Option<String> {
        let needs = Needs::of(record, trial).filter(|needs| !needs.are_none())?;
        let here = self.here().count();
        let able: Vec<&Session> = self.here().filter(|session| session.meets(needs)).collect();
        match able.is_empty() {
            true => Some(format!("it waits for {}", none_may_train(&needs, here as u64))),
            false if able.iter().all(|session| session.offered == 0) => Some(format!(
                "it waits for {needs}: {} of {here} are that, and all their lanes are taken",
                able.len()
            )),
            false => None,
        }
    }
}
