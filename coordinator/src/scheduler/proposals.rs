//! What searches try next, and what opens with it.
//!
//! The leader searches and proposes points; here they are kept with the study, so that who asks for it has
//! them, and nothing is computed. A try that was decided stands, and they are decided in order. Only then are
//! its trials on inner folds open.
//!
//! Floor: core.

use common::design::{Choice, Design};
use common::id::{StudyId, TrialIndex};
use common::study::{Arm, Proposed};

use super::Applied;
use super::state::{State, StudyRecord};

/// The trials that a try opens.
pub fn opened(design: &Design, proposed: &Proposed) -> Vec<TrialIndex> {
    design.tries_of(proposed.choice(), proposed.slot).concat()
}

impl State {
    /// Decides tries that are not decided yet, and opens their trials.
    pub(super) fn propose(&mut self, study: StudyId, proposed: Vec<Proposed>) -> Applied {
        let (Some(record), Some(choices)) =
            (self.studies.get_mut(&study), self.choices.get(&study))
        else {
            return Applied::Refused { why: "there is no such study" };
        };
        if !record.state.goes_on() {
            return Applied::Refused { why: "this study has ended; nothing is left to try" };
        }
        let design = Design::of(&record.study);
        let mut decided = Vec::new();
        for one in proposed {
            if choices.chosen(one.choice()).is_none() && record.study.propose(&design, &one) {
                record.release(&opened(&design, &one));
                decided.push(one);
            }
        }
        if !decided.is_empty() {
            record.renewed();
        }
        Applied::Proposed { study, proposed: decided }
    }
}

impl StudyRecord {
    /// Trials that the study's tries have opened.
    pub(super) fn tried(&self, design: &Design) -> u64 {
        let arms = (0u32..).zip(&self.study.arms);
        let of_arm = |(arm, written): (u32, &Arm)| -> u64 {
            let Some(learned) = &written.learned else { return 0 };
            let tries = learned.all().map(|(cell, slot, _)| (Choice { arm, cell }, slot));
            tries.map(|(choice, slot)| design.tries_of(choice, slot).concat().len() as u64).sum()
        };
        arms.map(of_arm).sum()
    }
}
