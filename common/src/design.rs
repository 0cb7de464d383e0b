//! The design: which trials a study has, as numbers.
//!
//! A trial is an index. Index and key translate into each other by mixed radix, so a study of a
//! million trials is never listed in memory. The seed is the slowest digit: adding seeds appends
//! trials and moves none. Then partition, outer fold, and the config (arm by arm) as the fastest,
//! so that a block of consecutive indices is one seed over every fold and arm. Controls are trained
//! with the first seeds alone: blocks of those are wider than later ones, and nothing else changes.
//!
//! Floor: common.

use std::collections::BTreeSet;
use std::ops::Range;

use blake3::Hasher;

use crate::id::{Digest, TrialIndex};
use crate::seed::Stream;
use crate::study::{Arm, ArmConfig, Study};

/// The numbers of levels of a study's factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Design {
    /// Configs of each arm, in the study's order.
    configs: Vec<u32>,
    /// Levels of each seed factor, the first one slowest.
    seeds: Vec<u32>,
    partitions: u32,
    folds: u32,
    /// One after another, from the first trial to the last; none empty.
    stretches: Vec<Stretch>,
    /// `None` when they do not fit 64 bits.
    trials: Option<u64>,
}

/// Seeds that the same arms are trained with. A study without controls is one stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stretch {
    /// Combinations of seed levels, counted from the first.
    seeds: Range<u64>,
    first_trial: u64,
    /// These arms, by number, and how many configs of them there are before each.
    arms: Vec<(u32, u64)>,
    /// Configs of these arms together: the radix of the fastest digit.
    configs: u64,
}

/// One cell of the design. Travels closed; those who train or analyse open it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrialKey {
    pub arm: u32,
    /// Within the arm.
    pub config: u32,
    /// One a seed factor, in the study's order.
    pub seeds: Vec<u32>,
    pub partition: u32,
    pub fold: u32,
}

impl Design {
    /// `seeds_max`: of each arm, how many combinations of seed levels it is trained with, from the
    /// first; `None` for all of them.
    pub fn new(
        configs: Vec<u32>,
        seeds_max: &[Option<u32>],
        seeds: Vec<u32>,
        partitions: u32,
        folds: u32,
    ) -> Self {
        assert!(!configs.is_empty() && configs.iter().all(|&count| count > 0));
        assert!(seeds.iter().all(|&count| count > 0) && partitions > 0 && folds > 0);
        let stretches = Vec::new();
        let mut design = Self { configs, seeds, partitions, folds, stretches, trials: None };
        design.trials = design.stretch(seeds_max);
        design
    }

    pub fn of(study: &Study) -> Self {
        Self::new(
            study.arms.iter().map(|arm| arm.configs.len() as u32).collect(),
            &study.arms.iter().map(Arm::seeds_max).collect::<Vec<_>>(),
            study.seeds.factors.iter().map(|factor| factor.count).collect(),
            study.outer.partitions,
            study.outer.folds,
        )
    }

    /// The design of a study that came from elsewhere; `None` when a factor has no level, or a
    /// control is none.
    pub fn try_of(study: &Study) -> Option<Self> {
        let levels = study.arms.iter().all(|arm| !arm.configs.is_empty())
            && study.seeds.factors.iter().all(|factor| factor.count > 0)
            && !study.arms.is_empty()
            && study.outer.partitions > 0
            && study.outer.folds > 0;
        (levels && study.has_sound_controls()).then(|| Self::of(study))
    }

    /// Number of trials, or `None` when it does not fit 64 bits.
    pub fn trials(&self) -> Option<u64> {
        self.trials
    }

    /// Trials of one config of an arm: cells that it is trained in.
    pub fn cells_of(&self, arm: u32) -> u64 {
        let has = |stretch: &&Stretch| stretch.arms.iter().any(|(other, _)| *other == arm);
        let seeds = self.stretches.iter().filter(has).map(|stretch| stretch.seeds.end).max();
        seeds.unwrap_or(0).saturating_mul(self.blocks())
    }

    /// Outer folds of all partitions.
    fn blocks(&self) -> u64 {
        u64::from(self.partitions) * u64::from(self.folds)
    }

    /// Cuts the seeds where some arm has its last one; returns the number of trials.
    fn stretch(&mut self, seeds_max: &[Option<u32>]) -> Option<u64> {
        let counts = self.seeds.iter().map(|&count| u64::from(count));
        let all = counts.fold(1u64, u64::saturating_mul);
        let last = |arm: usize| {
            let most = seeds_max.get(arm).copied().flatten();
            most.map_or(all, |most| u64::from(most).min(all))
        };
        let ends: BTreeSet<u64> = (0..self.configs.len()).map(last).collect();
        let (mut begin, mut first_trial) = (0, 0u64);
        for end in ends.into_iter().filter(|&end| end > 0) {
            let (mut arms, mut configs) = (Vec::new(), 0);
            for (arm, &count) in
                self.configs.iter().enumerate().filter(|(arm, _)| last(*arm) >= end)
            {
                arms.push((arm as u32, configs));
                configs += u64::from(count);
            }
            self.stretches.push(Stretch { seeds: begin..end, first_trial, arms, configs });
            let trials = self.blocks().checked_mul(configs)?.checked_mul(end - begin)?;
            first_trial = first_trial.checked_add(trials)?;
            begin = end;
        }
        // Above, a product that does not fit was cut short.
        let fits = self.seeds.iter().try_fold(1u64, |all, &count| all.checked_mul(count.into()));
        fits.map(|_| first_trial)
    }

    /// The cell that `index` stands for. `None` beyond the last trial.
    pub fn key(&self, index: TrialIndex) -> Option<TrialKey> {
        if index.0 >= self.trials? {
            return None;
        }
        let stretch = self.stretches.iter().rev().find(|s| s.first_trial <= index.0)?;
        let mut rest = index.0 - stretch.first_trial;
        let mut digit = |radix: u64| {
            let value = rest % radix;
            rest /= radix;
            value
        };
        let config = digit(stretch.configs);
        let fold = digit(u64::from(self.folds)) as u32;
        let partition = digit(u64::from(self.partitions)) as u32;
        let mut seed = stretch.seeds.start + rest;
        let (arm, before) = *stretch.arms.iter().rev().find(|(_, before)| *before <= config)?;
        let mut seeds = Vec::with_capacity(self.seeds.len());
        for &count in self.seeds.iter().rev() {
            seeds.push((seed % u64::from(count)) as u32);
            seed /= u64::from(count);
        }
        seeds.reverse();
        Some(TrialKey { arm, config: (config - before) as u32, seeds, partition, fold })
    }

    /// The index of a cell. `None` when a digit is out of range, or the arm has fewer seeds.
    pub fn index(&self, key: &TrialKey) -> Option<TrialIndex> {
        let inside = (key.arm as usize) < self.configs.len()
            && key.config < self.configs[key.arm as usize]
            && key.partition < self.partitions
            && key.fold < self.folds
            && key.seeds.len() == self.seeds.len()
            && key.seeds.iter().zip(&self.seeds).all(|(seed, count)| seed < count);
        if !inside {
            return None;
        }
        let seeds = key
            .seeds
            .iter()
            .zip(&self.seeds)
            .fold(0u64, |sum, (&seed, &count)| sum * u64::from(count) + u64::from(seed));
        let folds = seeds * u64::from(self.partitions) + u64::from(key.partition);
        self.in_cell(folds * u64::from(self.folds) + u64::from(key.fold), (key.arm, key.config))
    }

    /// The trial of an arm's config in a cell: seeds, partition and fold, counted from 0 with the
    /// fold fastest. `None` where the arm is not trained in it, or no cell is.
    pub fn in_cell(&self, cell: u64, (arm, config): (u32, u32)) -> Option<TrialIndex> {
        let seed = cell / self.blocks();
        let stretch = self.stretches.iter().find(|stretch| stretch.seeds.contains(&seed))?;
        let (_, before) = stretch.arms.iter().find(|(other, _)| *other == arm)?;
        let within = (cell - stretch.seeds.start * self.blocks()) * stretch.configs;
        Some(TrialIndex(stretch.first_trial + within + before + u64::from(config)))
    }
}

impl TrialKey {
    pub fn arm<'a>(&self, study: &'a Study) -> &'a Arm {
        &study.arms[self.arm as usize]
    }

    pub fn config<'a>(&self, study: &'a Study) -> &'a ArmConfig {
        &self.arm(study).configs[self.config as usize]
    }

    /// The seed that feeds `stream`: its factor's level, or 0 for a stream that no factor moves.
    pub fn seed_of(&self, study: &Study, stream: Stream) -> u64 {
        let factors = study.seeds.factors.iter().zip(&self.seeds);
        factors
            .filter(|(factor, _)| factor.streams.contains(&stream))
            .map(|(_, &seed)| u64::from(seed))
            .next()
            .unwrap_or(0)
    }

    /// For people: `mlp · lr=0.01 · seed 3 · partition 0 · fold 2`.
    pub fn in_words(&self, study: &Study) -> String {
        let mut parts = vec![self.arm(study).name.clone()];
        let point = self.config(study).point.to_string();
        if !point.is_empty() {
            parts.push(point);
        }
        let factors = study.seeds.factors.iter().zip(&self.seeds);
        parts.extend(factors.map(|(factor, seed)| format!("{} {seed}", factor.name)));
        parts.push(format!("partition {}", self.partition));
        parts.push(format!("fold {}", self.fold));
        parts.join(" · ")
    }

    /// Names the training itself: equal in two studies exactly when the same training is meant.
    pub fn digest(&self, study: &Study) -> Digest {
        let mut hasher = Hasher::new_derive_key("seedsweep 2026 trial v1");
        let mut text = |part: &str| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        };
        // Of the data what decides its rows and columns, not what the file is called; of the split
        // not the number of partitions: drawing more of them changes none that was drawn.
        let (data, outer) = (&study.data, &study.outer);
        text(&data.digest.hex());
        text(&format!("{:?} {:?} {:?} {:?}", data.target, data.task, data.drop, data.missing));
        text(&format!("{:?} {:?}", data.group, data.leave_out));
        text(&format!("{:?} {} {}", outer.kind, outer.folds, outer.stratify));
        text(&self.arm(study).written);
        text(&self.config(study).point.to_string());
        for stream in Stream::TRAINING {
            text(&self.seed_of(study, stream).to_string());
        }
        text(&format!("{} {}", self.partition, self.fold));
        Digest(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Limits = Vec<Option<u32>>;

    /// Designs with what they were made with; some arms have fewer seeds than others.
    fn limited() -> impl Strategy<Value = (Design, Limits)> {
        let configs = proptest::collection::vec(1u32..20, 1..5);
        let limits = proptest::collection::vec(proptest::option::of(1u32..60), 4);
        let seeds = proptest::collection::vec(1u32..50, 1..4);
        let design = |(configs, limits, seeds, partitions, folds): (_, Limits, _, _, _)| {
            (Design::new(configs, &limits, seeds, partitions, folds), limits)
        };
        (configs, limits, seeds, 1u32..30, 1u32..30).prop_map(design)
    }

    fn designs() -> impl Strategy<Value = Design> {
        limited().prop_map(|(design, _)| design)
    }

    proptest! {
        #[test]
        fn index_to_key_and_back_is_the_identity(design in designs(), pick in any::<u64>()) {
            let trials = design.trials().expect("small");
            let index = TrialIndex(pick % trials);
            let key = design.key(index).expect("inside");
            prop_assert_eq!(design.index(&key), Some(index));
        }

        #[test]
        fn key_to_index_and_back_is_the_identity(design in designs(), picks in any::<[u32; 7]>()) {
            let arm = picks[0] % design.configs.len() as u32;
            let key = TrialKey {
                arm,
                config: picks[1] % design.configs[arm as usize],
                seeds: design.seeds.iter().zip(&picks[2..5]).map(|(count, pick)| pick % count).collect(),
                partition: picks[5] % design.partitions,
                fold: picks[6] % design.folds,
            };
            match design.index(&key) {
                Some(index) => prop_assert_eq!(design.key(index), Some(key)),
                None => prop_assert!(design.cells_of(arm) < design.cells_of_all()),
            }
        }

        #[test]
        fn beyond_the_last_trial_there_is_no_key(design in designs()) {
            prop_assert_eq!(design.key(TrialIndex(design.trials().expect("small"))), None);
        }

        #[test]
        fn more_seeds_move_no_trial((design, limits) in limited(), pick in any::<u64>()) {
            let index = TrialIndex(pick % design.trials().expect("small"));
            let mut seeds = design.seeds.clone();
            seeds[0] += 10;
            let (configs, folds) = (design.configs.clone(), design.folds);
            let grown = Design::new(configs, &limits, seeds, design.partitions, folds);
            prop_assert_eq!(grown.key(index), design.key(index));
        }

        #[test]
        fn every_arm_has_its_cells((design, limits) in limited()) {
            let mut sum = 0;
            for (arm, &configs) in design.configs.iter().enumerate() {
                let seeds = design.cells_of(arm as u32) / design.blocks();
                let all = design.cells_of_all() / design.blocks();
                prop_assert_eq!(seeds, limits[arm].map_or(all, |most| all.min(most.into())));
                sum += design.cells_of(arm as u32) * u64::from(configs);
            }
            prop_assert_eq!(design.trials(), Some(sum));
        }
    }

    impl Design {
        fn cells_of_all(&self) -> u64 {
            self.seeds.iter().map(|&count| u64::from(count)).product::<u64>() * self.blocks()
        }
    }

    #[test]
    fn keys_enumerate_every_cell_once() {
        let design = Design::new(vec![2, 1], &[None, None], vec![3], 2, 2);
        let keys: BTreeSet<TrialKey> =
            (0..36).map(|index| design.key(TrialIndex(index)).expect("inside")).collect();
        assert_eq!(design.trials(), Some(36));
        assert_eq!(keys.len(), 36);
    }

    #[test]
    fn a_control_of_one_seed_is_in_the_first_seeds_block_alone() {
        let design = Design::new(vec![2, 1], &[None, Some(1)], vec![3], 1, 2);
        let arms = |index| design.key(TrialIndex(index)).map(|key| (key.arm, key.config));
        let found: Vec<_> = (0..15).map_while(arms).collect();
        let (block, later) = ([(0, 0), (0, 1), (1, 0)], [(0, 0), (0, 1)]);
        let wanted = [&block[..], &block, &later, &later, &later, &later].concat();
        assert_eq!(found, wanted);
    }

    #[test]
    fn trials_that_do_not_fit_are_none() {
        let limits = [None, Some(1)];
        let design = Design::new(vec![9, 1], &limits, vec![u32::MAX, u32::MAX, u32::MAX], 1, 1);
        assert_eq!((design.trials(), design.key(TrialIndex(0))), (None, None));
    }
}
