//! Which config the inner folds chose, and what opens with it.
//!
//! The leader compares the scores and proposes; here they are kept as bits and nothing is computed. A
//! choice that was made stands: scores that come later change nothing. Only then are its refits open.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::design::{Choice, Design};
use common::id::{StudyId, TrialIndex};
use common::wire::message::RowEnd;
use serde::{Deserialize, Serialize};

use super::buying::is_bought;
use super::state::{State, StudyRecord, TrialState};
use super::{Applied, Ended};

/// What is known of a study's choices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choices {
    /// Primary scores, as bits, by the trial that tested on an inner fold; until its choice is made.
    scores: BTreeMap<TrialIndex, u64>,
    /// The config of each choice that was made.
    chosen: BTreeMap<(u32, u64), u32>,
}

/// A config that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    pub arm: u32,
    /// As in [`Choice`].
    pub cell: u64,
    pub config: u32,
}

impl Chosen {
    pub fn choice(&self) -> Choice {
        Choice { arm: self.arm, cell: self.cell }
    }
}

impl Choices {
    /// The score of a trial on an inner fold, while its choice is not made.
    pub fn score(&self, trial: TrialIndex) -> Option<f64> {
        self.scores.get(&trial).copied().map(f64::from_bits)
    }

    pub fn chosen(&self, choice: Choice) -> Option<u32> {
        self.chosen.get(&(choice.arm, choice.cell)).copied()
    }

    pub fn all(&self) -> impl Iterator<Item = Chosen> {
        self.chosen.iter().map(|(&(arm, cell), &config)| Chosen { arm, cell, config })
    }

    /// Whether each is one of the design's, and each score one that a choice waits for.
    pub(super) fn is_sound(&self, design: &Design, record: &StudyRecord) -> bool {
        let there = |chosen: Chosen| {
            design.has(chosen.choice())
                && !design.refits(chosen.choice(), chosen.config).is_empty()
                && record.study.arms[chosen.arm as usize]
                    .learned
                    .as_ref()
                    .is_none_or(|learned| learned.config(chosen.cell, chosen.config).is_some())
        };
        let waits = |trial: &TrialIndex| {
            let choice = design.key(*trial).filter(|key| key.inner.is_some());
            let choice = choice.and_then(|key| design.choice_of(&key));
            record.trial(*trial) == Some(TrialState::Complete)
                && choice.is_some_and(|choice| self.chosen(choice).is_none())
        };
        self.all().all(there) && self.scores.keys().all(waits)
    }
}

impl State {
    /// What is known of a study's choices; `None` where it has none to make.
    pub fn choices(&self, study: StudyId) -> Option<&Choices> {
        self.choices.get(&study)
    }

    /// Keeps the scores of trials on inner folds that ended.
    pub(super) fn note_scores(&mut self, ended: &[Ended]) {
        for ended in ended {
            let Ended::Trial { attempt, row, .. } = ended else { continue };
            let Some(choices) = self.choices.get_mut(&attempt.study) else { continue };
            let Some(record) = self.studies.get(&attempt.study) else { continue };
            let design = Design::of(&record.study);
            let key = design.key(attempt.trial).filter(|key| key.inner.is_some());
            let choice = key.and_then(|key| design.choice_of(&key));
            if let (Some(choice), RowEnd::Complete(outcome)) = (choice, &row.end)
                && choices.chosen(choice).is_none()
                && let Some(score) = outcome.metrics.first()
            {
                choices.scores.insert(attempt.trial, score.to_bits());
            }
        }
    }

    /// Makes choices that are not made yet, and opens their refits.
    pub(super) fn choose(&mut self, study: StudyId, chosen: &[Chosen]) -> Applied {
        let (Some(record), Some(choices)) =
            (self.studies.get_mut(&study), self.choices.get_mut(&study))
        else {
            return Applied::Refused { why: "there is no such study" };
        };
        if !record.state.goes_on() {
            return Applied::Refused { why: "this study has ended; nothing is left to choose" };
        }
        let (design, buying) = (Design::of(&record.study), self.buying.get(&study));
        let mut made = Vec::new();
        for chosen in chosen {
            let choice = chosen.choice();
            if !design.has(choice) || choices.chosen(choice).is_some() {
                continue;
            }
            let refits = design.refits(choice, chosen.config);
            let learned = record.study.arms[chosen.arm as usize].learned.as_ref();
            let decided =
                learned.is_none_or(|learned| learned.config(chosen.cell, chosen.config).is_some());
            if refits.is_empty() || !decided {
                continue;
            }
            choices.chosen.insert((chosen.arm, chosen.cell), chosen.config);
            let before = record.spared(&design, choice, false);
            record.spared += record.spared(&design, choice, true) - before;
            for trial in design.scores_of(choice).into_iter().flatten().flatten() {
                choices.scores.remove(&trial);
            }
            let bought = refits.into_iter().filter(|trial| is_bought(buying, &design, *trial));
            record.release(&bought.collect::<Vec<_>>());
            made.push(*chosen);
        }
        Applied::Chosen { study, chosen: made }
    }

    /// A study that grew has refits that earlier choices are about.
    pub(super) fn choose_again(&mut self, study: StudyId) {
        let (Some(record), Some(choices)) =
            (self.studies.get_mut(&study), self.choices.get(&study))
        else {
            return;
        };
        let (design, buying) = (Design::of(&record.study), self.buying.get(&study));
        let refits = choices.all().flat_map(|made| design.refits(made.choice(), made.config));
        let bought = refits.filter(|trial| is_bought(buying, &design, *trial));
        record.release(&bought.collect::<Vec<_>>());
    }

    /// A study came in: whether it has choices to make.
    pub(super) fn begin_choices(&mut self, study: StudyId) {
        let nested = |record: &StudyRecord| record.study.outer.inner.is_some();
        if self.studies.get(&study).is_some_and(nested) {
            self.choices.entry(study).or_default();
        }
    }
}
