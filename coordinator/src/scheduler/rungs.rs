//! Which configs go on to the next rung, and what opens with it.
//!
//! The leader compares scores and proposes; here a rung's trials are opened, once. What was promoted is not
//! written down beside them: a rung whose trials are no longer closed has been reached.
//!
//! Floor: core.

use common::design::{Choice, Design};
use common::id::{StudyId, TrialIndex};
use common::study::Halving;
use serde::{Deserialize, Serialize};

use super::Applied;
use super::state::{State, StudyRecord, TrialState};

/// Configs that go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promoted {
    pub arm: u32,
    /// As in [`Choice`].
    pub cell: u64,
    /// The rung that they reach, from 1 on.
    pub rung: u32,
    /// Which of those that are halved, ascending.
    pub configs: Vec<u32>,
}

impl Promoted {
    pub fn choice(&self) -> Choice {
        Choice { arm: self.arm, cell: self.cell }
    }
}

impl StudyRecord {
    /// Which of the halved configs have reached a rung, ascending.
    pub fn reached(
        &self,
        design: &Design,
        choice: Choice,
        (halving, rung): (Halving, u32),
    ) -> Vec<u32> {
        let opened = |config: &u32| {
            let trials = design.tries_of(choice, halving.config(rung, *config));
            let first = trials.first().and_then(|folds| folds.first());
            first.is_some_and(|trial| self.trial(*trial) != Some(TrialState::Unchosen))
        };
        (0..halving.configs).filter(opened).collect()
    }

    /// The first rung that no config has reached; `None` when all were.
    pub fn next_rung(&self, design: &Design, choice: Choice) -> Option<u32> {
        let halving = design.halving(choice.arm)?;
        (1..halving.rungs).find(|rung| self.reached(design, choice, (halving, *rung)).is_empty())
    }

    /// Trials of later rungs that are open, or have ended.
    pub(super) fn promoted(&self, design: &Design) -> u64 {
        let halved = |choice: &Choice| design.halving(choice.arm).is_some();
        let of_choice = |choice: Choice| -> u64 {
            let Some(halving) = design.halving(choice.arm) else { return 0 };
            let later = halving.configs..halving.configs * halving.rungs;
            let trials = later.flat_map(|config| design.tries_of(choice, config).concat());
            let opened = |trial: &TrialIndex| self.trial(*trial) != Some(TrialState::Unchosen);
            trials.filter(opened).count() as u64
        };
        design.choices().filter(halved).map(of_choice).sum()
    }

    fn could_promote(&self, design: &Design, promoted: &Promoted) -> bool {
        let choice = promoted.choice();
        let Some(halving) = design.halving(promoted.arm).filter(|_| design.has(choice)) else {
            return false;
        };
        self.next_rung(design, choice) == Some(promoted.rung)
            && promoted.configs.len() as u32 == halving.kept(promoted.rung)
            && promoted.configs.is_sorted_by(|a, b| a < b)
            && promoted.configs.iter().all(|config| *config < halving.configs)
    }
}

impl State {
    /// Opens rungs that no config has reached yet.
    pub(super) fn promote(&mut self, study: StudyId, promoted: Vec<Promoted>) -> Applied {
        let (Some(record), Some(choices)) =
            (self.studies.get_mut(&study), self.choices.get(&study))
        else {
            return Applied::Refused { why: "there is no such study" };
        };
        if !record.state.goes_on() {
            return Applied::Refused { why: "this study has ended; no config goes on" };
        }
        let design = Design::of(&record.study);
        let (mut done, mut opened) = (Vec::new(), Vec::new());
        for one in promoted {
            let choice = one.choice();
            if choices.chosen(choice).is_some() || !record.could_promote(&design, &one) {
                continue;
            }
            let Some(halving) = design.halving(one.arm) else { continue };
            let rungs = one.configs.iter().map(|config| halving.config(one.rung, *config));
            let trials = rungs.flat_map(|config| design.tries_of(choice, config).concat());
            opened.extend(record.release(&trials.collect::<Vec<_>>()));
            done.push(one);
        }
        Applied::Promoted { study, promoted: done, opened }
    }
}
