//! Choices of configs by inner folds, and the trials that each is made by and opens.
//!
//! Floor: common.

use super::{Choice, Design, Slot, TrialKey};
use crate::id::TrialIndex;

impl Design {
    /// The choice that a trial is about: to which it adds a score, or whose refit it may be.
    pub fn choice_of(&self, key: &TrialKey) -> Option<Choice> {
        let cell = self.is_searched(key.arm).then(|| self.cell(key))??;
        let cell = if self.tune().is_some() { cell % self.blocks() } else { cell };
        Some(Choice { arm: key.arm, cell })
    }

    /// Every choice of the study.
    pub fn choices(&self) -> impl Iterator<Item = Choice> {
        let arms = 0..self.configs.len() as u32;
        arms.flat_map(|arm| (0..self.choices_of(arm)).map(move |cell| Choice { arm, cell }))
    }

    /// Choices of the arm's config.
    pub fn choices_of(&self, arm: u32) -> u64 {
        match (self.is_searched(arm), self.tune()) {
            (false, _) => 0,
            (true, Some(_)) => self.blocks(),
            (true, None) => self.cells_of(arm),
        }
    }

    /// Whether the study has this choice to make.
    pub fn has(&self, choice: Choice) -> bool {
        choice.cell < self.choices_of(choice.arm)
    }

    /// The seed, partition and outer fold that a choice is made in; the first seed where it is one for all.
    pub fn place_of(&self, choice: Choice) -> (u64, u32, u32) {
        let (seed, block) = (choice.cell / self.blocks(), choice.cell % self.blocks());
        let folds = u64::from(self.folds);
        (seed, (block / folds) as u32, (block % folds) as u32)
    }

    /// The trials that score one config of a choice: of each tuning seed, fold by fold.
    pub fn tries_of(&self, choice: Choice, config: u32) -> Vec<Vec<TrialIndex>> {
        (0..self.tuning_seeds()).map(|tune| self.try_with(choice, config, tune)).collect()
    }

    /// The trials that score one config of a choice with one of the tuning seeds, fold by fold.
    pub fn try_with(&self, choice: Choice, config: u32, tune: u32) -> Vec<TrialIndex> {
        let cell = u64::from(tune) * self.blocks() + choice.cell;
        let slot = |fold| Slot { arm: choice.arm, config, inner: Some(fold) };
        let folds = 0..self.inner_folds() as u32;
        folds.filter_map(|fold| self.in_cell(cell, slot(fold))).collect()
    }

    /// The trials that a choice is made by: of each tuning seed those of each config, fold by fold.
    pub fn scores_of(&self, choice: Choice) -> Vec<Vec<Vec<TrialIndex>>> {
        let configs = self.configs.get(choice.arm as usize).copied().unwrap_or(0);
        let folds = self.inner_folds() as u32;
        let of_seed = |tune: u64| -> Vec<Vec<TrialIndex>> {
            let cell = tune * self.blocks() + choice.cell;
            let trial = |config, fold| {
                self.in_cell(cell, Slot { arm: choice.arm, config, inner: Some(fold) })
            };
            (0..configs)
                .map(|config| (0..folds).filter_map(|fold| trial(config, fold)).collect())
                .collect()
        };
        (0..u64::from(self.tune().unwrap_or(1))).map(of_seed).collect()
    }

    /// What a choice of this config opens: on all of the outer fold's training rows, of each seed that it
    /// is made for.
    pub fn refits(&self, choice: Choice, config: u32) -> Vec<TrialIndex> {
        let slot = Slot::outer(choice.arm, config);
        let seeds = match self.tune() {
            Some(_) => self.cells_of(choice.arm) / self.blocks(),
            None => 1,
        };
        let trial = |seed: u64| self.in_cell(seed * self.blocks() + choice.cell, slot);
        (0..seeds).filter_map(trial).collect()
    }
}
