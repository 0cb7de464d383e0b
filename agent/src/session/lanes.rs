//! How many lanes of an agent are free.
//!
//! Floor: core.

use std::sync::Arc;

use common::design::Design;
use common::study::{Model, Study};

use super::{Cohort, Session};

impl Session {
    /// Lanes that could be granted now: a cohort in training and one queued for each thread, less
    /// what is held.
    pub(super) fn lanes_free(&self) -> u32 {
        if self.leaving.is_some() || self.outbox.is_full() {
            return 0;
        }
        let queued_ahead = self.about.cohort_lanes.saturating_mul(lanes(self.threads));
        let running = self.running.values().map(|running| &running.cohort);
        let held = self.waiting.iter().chain(running).map(|cohort| self.lanes_of(cohort));
        let held = held.fold(0u32, u32::saturating_add);
        self.about.lanes.saturating_add(queued_ahead).saturating_sub(held)
    }

    /// Lanes that a cohort takes. A program has a thread to itself, and nothing is queued behind one:
    /// it may take long, and another agent may be free before.
    fn lanes_of(&self, cohort: &Cohort) -> u32 {
        let study = self.studies.get(&cohort.study).and_then(|known| known.study.as_ref());
        let of_program = |study: &Arc<Study>| {
            if study.arms.iter().all(|arm| arm.model != Model::Program) {
                return false;
            }
            let first = cohort.trials.first().and_then(|trial| Design::of(study).key(*trial));
            first.is_some_and(|key| study.model_of(key.arm(study)) == Model::Program)
        };
        match study.is_some_and(of_program) {
            true => self.about.cohort_lanes.saturating_mul(2),
            false => lanes(cohort.trials.len()),
        }
    }
}

pub(super) fn lanes(trials: usize) -> u32 {
    u32::try_from(trials).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use common::id::{LeaseId, StudyId, TrialIndex};
    use common::time::Timestamp;
    use common::wire::message::{AgentAbout, FromAgent, ToAgent};

    use super::super::{Effect, Input};
    use super::*;
    use crate::sample;

    #[test]
    fn a_program_fills_a_thread_and_is_told_to_be_allowed() {
        let (host, model) = (String::new(), String::new());
        let device = "cpu".to_string();
        let version = "0".to_string();
        let about = AgentAbout { host, device, model, lanes: 8, cohort_lanes: 4, version };
        let mut session = Session::new(about, 1, 2, vec![], vec![]).with_programs(true);
        let now = Timestamp(0);
        let said = session.step(Input::Connected, now);
        assert_eq!(said[1..], [Effect::Send(FromAgent::Skills { programs: true })]);
        session.step(Input::Message(ToAgent::Registered { lease_ms: 9, keep: vec![] }), now);
        let mut study = sample::study(sample::ROWS);
        study.arms[0].model = Model::Program;
        let id = StudyId(7);
        let assign = |counter| ToAgent::Assign {
            lease: LeaseId { term: 1, counter },
            study: id,
            version: 0,
            trials: vec![TrialIndex(counter)],
        };
        session.step(Input::Message(assign(1)), now);
        let study = Box::new(study);
        session.step(Input::Message(ToAgent::Study { id, version: 0, study }), now);
        assert_eq!(session.lanes_free(), 8, "one thread of two, and nothing queued behind it");
        session.step(Input::Message(assign(2)), now);
        assert_eq!(session.lanes_free(), 0);
    }
}
