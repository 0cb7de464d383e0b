//! Trials that something must open before they are trained: a choice, a search, their config's rung or race.
//!
//! Floor: common.

use std::ops::Range;

use super::{Design, Entry};
use crate::id::TrialIndex;
use crate::study::Halving;

impl Design {
    /// How the arm's configs are halved.
    pub fn halving(&self, arm: u32) -> Option<Halving> {
        self.halving.get(arm as usize).copied().flatten().filter(|_| self.is_searched(arm))
    }

    /// Whether they are, each going on without waiting for the others.
    pub fn halves_at_once(&self, arm: u32) -> bool {
        self.halving(arm).is_some_and(|halving| halving.at_once)
    }

    /// With how many tuning seeds all configs of an arm that race are trained, before any is dropped.
    pub fn raced(&self, arm: u32) -> Option<u32> {
        let raced = self.raced.get(arm as usize).copied().flatten();
        raced.filter(|_| self.is_searched(arm) && self.tune().is_some())
    }

    /// Configs of an arm that are trained on an inner fold: of halved ones as many as reach each rung.
    pub(super) fn tried(&self, arm: u32) -> u64 {
        let configs = self.configs.get(arm as usize).copied().map_or(0, u64::from);
        self.halving(arm).map_or(configs, |halving| halving.tried().min(configs))
    }

    /// Of the trials of an entry those that something must open first: how many of the cell lie before them,
    /// and how many they are. `tune`: the seed that the cell chooses with for all others.
    fn held(&self, entry: &Entry, tune: Option<u64>) -> (u64, u64) {
        let configs = u64::from(self.configs[entry.arm as usize]);
        let folds = self.inner_folds();
        match (entry.inner, self.halving(entry.arm)) {
            (false, _) => (entry.before, if self.is_searched(entry.arm) { configs } else { 0 }),
            (true, Some(halving)) => {
                let first = u64::from(halving.configs).min(configs) * folds;
                (entry.before + first, configs * folds - first)
            }
            (true, None) => {
                let first = self.raced(entry.arm).map(u64::from);
                let later = first.zip(tune).is_some_and(|(first, tune)| tune >= first);
                let held = self.is_learned(entry.arm) || later;
                (entry.before, if held { configs * folds } else { 0 })
            }
        }
    }

    /// Ranges of trials from `from` on that are trained only where a choice falls on them, when a search has
    /// proposed their config, or when a config reaches their rung or stays in its race, in order.
    pub fn unchosen(&self, from: TrialIndex) -> Vec<Range<u64>> {
        let mut ranges = Vec::new();
        for stretch in &self.stretches {
            let held = |tune: u64| -> Vec<(u64, u64)> {
                let tune = Some(tune).filter(|_| stretch.tunes);
                let held = stretch.entries.iter().map(|entry| self.held(entry, tune));
                held.filter(|(_, count)| *count > 0).collect()
            };
            let cells = (stretch.seeds.end - stretch.seeds.start) * self.blocks();
            let first = from.0.saturating_sub(stretch.first_trial) / stretch.configs;
            // Most is held of the last seed.
            let last = stretch.seeds.end.saturating_sub(1);
            let mut of_seed = (last, held(last));
            for cell in first..if of_seed.1.is_empty() { 0 } else { cells } {
                let tune = stretch.seeds.start + cell / self.blocks();
                if tune != of_seed.0 {
                    of_seed = (tune, held(tune));
                }
                let begin = stretch.first_trial + cell * stretch.configs;
                let held = &of_seed.1;
                ranges.extend(held.iter().map(|(before, count)| {
                    (begin + before).max(from.0)..(begin + before + count).max(from.0)
                }));
            }
        }
        ranges
    }
}
