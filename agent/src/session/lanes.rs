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
