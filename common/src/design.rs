//! The design: which trials a study has, as numbers.
//!
//! A trial is an index. Index and key translate into each other by mixed radix, so a study of a
//! million trials is never listed in memory. The seed is the slowest digit: adding seeds appends
//! trials and moves none. Then partition, outer fold, and the config (arm by arm) as the fastest,
//! so that a block of consecutive indices is one seed over every fold and arm. Controls are trained
//! with the first seeds alone: blocks of those are wider than later ones, and nothing else changes.
//!
//! Where configs are chosen within the training rows, the trials that choose are there too: in the block
//! of the seed that they choose for, or, where few seeds choose for all, in blocks before all others.
//! Each config then has its refits in the design, of which only the chosen ones are ever trained. Where a
//! search proposes configs while the study runs, what stands in their place are its tries.
//!
//! Floor: common.

mod choosing;
mod opening;

use std::collections::BTreeSet;
use std::ops::Range;

use blake3::Hasher;

use crate::id::{Digest, TrialIndex};
use crate::seed::Stream;
use crate::study::{Arm, ArmConfig, Halving, Study};

/// The numbers of levels of a study's factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Design {
    /// Configs of each arm, in the study's order.
    configs: Vec<u32>,
    /// Levels of each seed factor, the first one slowest.
    seeds: Vec<u32>,
    partitions: u32,
    folds: u32,
    inner: Option<InnerFolds>,
    /// Whether each arm's configs are proposed while the study runs; none where no arm's are.
    learned: Vec<bool>,
    /// How each arm's configs are halved; none where no arm's are.
    halving: Vec<Option<Halving>>,
    /// Of each arm that races, with how many tuning seeds all of its configs are trained; none where none does.
    raced: Vec<Option<u32>>,
    /// One after another, from the first trial to the last; none empty.
    stretches: Vec<Stretch>,
    /// `None` when they do not fit 64 bits.
    trials: Option<u64>,
}

/// How configs are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerFolds {
    pub folds: u32,
    /// So many seeds choose for all others; `None`: each for itself.
    pub tune: Option<u32>,
}

/// Seeds that the same arms are trained with. A study without controls is one stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stretch {
    /// Combinations of seed levels, counted from the first; of seeds that choose for all, their numbers.
    seeds: Range<u64>,
    tunes: bool,
    first_trial: u64,
    entries: Vec<Entry>,
    /// Trials of a cell: the radix of the fastest digit.
    configs: u64,
}

/// Seeds of a stretch, whether they choose for all others, and what is trained with them: arms, and whether
/// on inner folds.
type Planned = (Range<u64>, bool, Vec<(u32, bool)>);

/// The configs of one arm in a cell: tested on the outer fold, or each on every inner one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    arm: u32,
    inner: bool,
    /// Trials of the cell before these.
    before: u64,
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
    /// The inner fold that tests, of a trial that helps to choose a config.
    pub inner: Option<u32>,
}

/// A trial's place within a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    pub arm: u32,
    pub config: u32,
    pub inner: Option<u32>,
}

/// One choice of a config: by the trials on the inner folds of an outer fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Choice {
    pub arm: u32,
    /// The cell whose config is chosen; of the first seeds where it is one for all seeds.
    pub cell: u64,
}

impl Slot {
    pub fn outer(arm: u32, config: u32) -> Self {
        Self { arm, config, inner: None }
    }
}

impl Design {
    /// `seeds_max`: of each arm, how many combinations of seed levels it is trained with, from the
    /// first; `None` for all of them.
    pub fn new(
        configs: Vec<u32>,
        seeds_max: &[Option<u32>],
        seeds: Vec<u32>,
        (partitions, folds): (u32, u32),
        inner: Option<InnerFolds>,
    ) -> Self {
        assert!(!configs.is_empty() && configs.iter().all(|&count| count > 0));
        assert!(seeds.iter().all(|&count| count > 0) && partitions > 0 && folds > 0);
        assert!(inner.is_none_or(|inner| inner.folds > 0 && inner.tune != Some(0)));
        let mut design = Self {
            configs,
            seeds,
            partitions,
            folds,
            inner,
            learned: Vec::new(),
            halving: Vec::new(),
            raced: Vec::new(),
            stretches: Vec::new(),
            trials: None,
        };
        design.trials = design.stretch(seeds_max);
        design
    }

    pub fn of(study: &Study) -> Self {
        let outer = &study.outer;
        let design = Self::new(
            study.arms.iter().map(|arm| arm.configs.len() as u32).collect(),
            &study.arms.iter().map(Arm::seeds_max).collect::<Vec<_>>(),
            study.seeds.factors.iter().map(|factor| factor.count).collect(),
            (outer.partitions, outer.folds),
            outer.inner.as_ref().map(|i| InnerFolds { folds: i.folds, tune: i.tune }),
        );
        let learned = study.arms.iter().map(|arm| arm.learned.is_some());
        let halving = study.arms.iter().map(|arm| arm.halving);
        let raced = study.arms.iter().map(|arm| arm.race.map(|race| race.first)).collect();
        Self { learned: learned.collect(), halving: halving.collect(), raced, ..design }
    }

    /// The design of a study that came from elsewhere; `None` when a factor has no level, or a
    /// control is none.
    pub fn try_of(study: &Study) -> Option<Self> {
        let inner = study.outer.inner.as_ref();
        let levels = study.arms.iter().all(|arm| !arm.configs.is_empty())
            && study.seeds.factors.iter().all(|factor| factor.count > 0)
            && !study.arms.is_empty()
            && study.outer.partitions > 0
            && study.outer.folds > 0
            && inner.is_none_or(|inner| inner.folds > 0 && inner.tune != Some(0));
        let sound = study.has_sound_controls() && study.has_sound_halving();
        (levels && sound && study.has_sound_races()).then(|| Self::of(study))
    }

    /// Number of trials, or `None` when it does not fit 64 bits.
    pub fn trials(&self) -> Option<u64> {
        self.trials
    }

    /// Trials that will be trained, where no race drops any: of the refits of a choice, those of one config.
    pub fn trained(&self) -> Option<u64> {
        Some(self.trials? - self.refused())
    }

    /// Refits that no choice falls on, and rungs that configs do not reach.
    fn refused(&self) -> u64 {
        let of_arm = |arm: u32| {
            let configs = u64::from(self.configs[arm as usize]);
            let below = (configs - self.tried(arm)) * self.inner_folds();
            self.cells_of(arm) * (configs - 1) + self.tuning_cells_of(arm) * below
        };
        (0..self.configs.len() as u32).filter(|arm| self.is_searched(*arm)).map(of_arm).sum()
    }

    /// Whether inner folds choose the arm's config.
    pub fn is_searched(&self, arm: u32) -> bool {
        self.inner.is_some() && self.configs.get(arm as usize).is_some_and(|&count| count > 1)
    }

    /// Whether what is trained on inner folds is proposed while the study runs.
    pub fn is_learned(&self, arm: u32) -> bool {
        self.is_searched(arm) && self.learned.get(arm as usize).is_some_and(|learned| *learned)
    }

    /// Trials of one config of an arm on outer folds: cells that it is trained in.
    pub fn cells_of(&self, arm: u32) -> u64 {
        let has = |stretch: &&Stretch| stretch.entry(arm, false).is_some();
        let seeds = self.stretches.iter().filter(has).map(|stretch| stretch.seeds.end).max();
        seeds.unwrap_or(0).saturating_mul(self.blocks())
    }

    /// Cells in which the arm's configs are tested on inner folds: of seeds that choose for all, or of
    /// the study's.
    pub fn tuning_cells_of(&self, arm: u32) -> u64 {
        match (self.is_searched(arm), self.tune()) {
            (false, _) => 0,
            (true, Some(tune)) => u64::from(tune) * self.blocks(),
            (true, None) => self.cells_of(arm),
        }
    }

    /// Trials on inner folds that choose the arm's configs.
    pub fn choosing_trials(&self, arm: u32) -> u64 {
        self.tuning_cells_of(arm) * self.tried(arm) * self.inner_folds()
    }

    /// Seeds that the arm is trained with.
    pub fn seeds_of(&self, arm: u32) -> u64 {
        self.cells_of(arm) / self.blocks()
    }

    /// Trainings of an arm with one seed, over all outer folds: of the refits of a choice one.
    pub fn trained_with_a_seed(&self, arm: u32) -> u64 {
        let configs = self.configs.get(arm as usize).copied().map_or(0, u64::from);
        let in_cell = match (self.is_searched(arm), self.tune()) {
            (false, _) => configs,
            (true, Some(_)) => 1,
            (true, None) => 1 + self.tried(arm) * self.inner_folds(),
        };
        in_cell.saturating_mul(self.blocks())
    }

    /// Trials of an arm with one of its seeds, whether any is trained or a choice decides that: ranges in
    /// order, and whether they are refits.
    pub fn with_seed(&self, arm: u32, seed: u64) -> Vec<(Range<u64>, bool)> {
        let there = |stretch: &&Stretch| !stretch.tunes && stretch.seeds.contains(&seed);
        let Some(stretch) = self.stretches.iter().find(there) else { return Vec::new() };
        let first = (seed - stretch.seeds.start) * self.blocks();
        let configs = u64::from(self.configs[arm as usize]);
        let mut ranges = Vec::new();
        for cell in first..first + self.blocks() {
            let begin = stretch.first_trial + cell * stretch.configs;
            for entry in stretch.entries.iter().filter(|entry| entry.arm == arm) {
                let count = if entry.inner { configs * self.inner_folds() } else { configs };
                let refits = !entry.inner && self.is_searched(arm);
                let from = begin + entry.before;
                ranges.push((from..from + count, refits));
            }
        }
        ranges
    }

    /// Trials that one seed chooses with for all others.
    pub fn tuning_trials(&self) -> u64 {
        let arms = 0..self.configs.len() as u32;
        if self.tune().is_none() { 0 } else { arms.map(|arm| self.choosing_trials(arm)).sum() }
    }

    /// The seed, counted over all combinations, that a trial is trained with; `None` where it chooses for
    /// all seeds.
    pub fn seed_number(&self, key: &TrialKey) -> Option<u64> {
        let chooses = key.inner.is_some() && self.tune().is_some();
        if chooses { None } else { self.cell(key).map(|cell| cell / self.blocks()) }
    }

    /// Seeds that choose for all others; one where each chooses for itself.
    pub fn tuning_seeds(&self) -> u32 {
        self.tune().unwrap_or(1)
    }

    /// Configs of an arm, with a rung of one as one.
    pub fn configs_of(&self, arm: u32) -> u32 {
        self.configs.get(arm as usize).copied().unwrap_or(0)
    }

    fn tune(&self) -> Option<u32> {
        self.inner.and_then(|inner| inner.tune)
    }

    fn inner_folds(&self) -> u64 {
        self.inner.map_or(1, |inner| u64::from(inner.folds))
    }

    /// Outer folds of all partitions.
    pub fn blocks(&self) -> u64 {
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
        let arms: Vec<u32> = (0..self.configs.len() as u32).collect();
        let searched = |arms: &[u32]| -> Vec<(u32, bool)> {
            arms.iter().filter(|arm| self.is_searched(**arm)).map(|arm| (*arm, true)).collect()
        };
        let mut planned: Vec<Planned> = Vec::new();
        if let Some(tune) = self.tune() {
            planned.push((0..u64::from(tune), true, searched(&arms)));
        }
        let ends: BTreeSet<u64> = arms.iter().map(|arm| last(*arm as usize)).collect();
        let mut begin = 0;
        for end in ends.into_iter().filter(|&end| end > 0) {
            let there: Vec<u32> =
                arms.iter().copied().filter(|arm| last(*arm as usize) >= end).collect();
            let mut entries: Vec<_> = there.iter().map(|arm| (*arm, false)).collect();
            if self.tune().is_none() {
                entries.extend(searched(&there));
            }
            planned.push((begin..end, false, entries));
            begin = end;
        }
        let mut first_trial = 0u64;
        for (seeds, tunes, within) in
            planned.into_iter().filter(|(_, _, within)| !within.is_empty())
        {
            let (mut entries, mut configs) = (Vec::new(), 0u64);
            for (arm, inner) in within {
                entries.push(Entry { arm, inner, before: configs });
                let each = if inner { self.inner_folds() } else { 1 };
                configs = configs.checked_add(u64::from(self.configs[arm as usize]) * each)?;
            }
            let count = seeds.end - seeds.start;
            self.stretches.push(Stretch { seeds, tunes, first_trial, entries, configs });
            let trials = self.blocks().checked_mul(configs)?.checked_mul(count)?;
            first_trial = first_trial.checked_add(trials)?;
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
        let seed = stretch.seeds.start + rest;
        let entry = *stretch.entries.iter().rev().find(|entry| entry.before <= config)?;
        let within = config - entry.before;
        let (config, inner) = match entry.inner {
            true => (within / self.inner_folds(), Some((within % self.inner_folds()) as u32)),
            false => (within, None),
        };
        let seeds = match stretch.tunes {
            true => vec![seed as u32; self.seeds.len()],
            false => self.levels(seed),
        };
        Some(TrialKey { arm: entry.arm, config: config as u32, seeds, partition, fold, inner })
    }

    /// The levels of a combination of seeds, one a factor.
    fn levels(&self, mut seed: u64) -> Vec<u32> {
        let mut levels = Vec::with_capacity(self.seeds.len());
        for &count in self.seeds.iter().rev() {
            levels.push((seed % u64::from(count)) as u32);
            seed /= u64::from(count);
        }
        levels.reverse();
        levels
    }

    /// The cell of a key: seeds, partition and fold, counted from 0 with the fold fastest. `None` when a
    /// digit is out of range.
    fn cell(&self, key: &TrialKey) -> Option<u64> {
        let mut seeds = key.seeds.iter().zip(&self.seeds);
        let seed = match self.tune().filter(|_| key.inner.is_some()) {
            Some(tune) => {
                let first = key.seeds.first().copied().unwrap_or(0);
                let same = key.seeds.iter().all(|seed| *seed == first);
                (same && first < tune).then_some(u64::from(first))?
            }
            None if seeds.clone().all(|(seed, count)| seed < count) => {
                seeds.try_fold(0u64, |sum, (&seed, &count)| {
                    sum.checked_mul(u64::from(count))?.checked_add(u64::from(seed))
                })?
            }
            None => return None,
        };
        let inside = key.seeds.len() == self.seeds.len()
            && key.partition < self.partitions
            && key.fold < self.folds;
        let folds = seed * u64::from(self.partitions) + u64::from(key.partition);
        inside.then(|| folds * u64::from(self.folds) + u64::from(key.fold))
    }

    /// The index of a cell. `None` when a digit is out of range, or the arm has fewer seeds.
    pub fn index(&self, key: &TrialKey) -> Option<TrialIndex> {
        let slot = Slot { arm: key.arm, config: key.config, inner: key.inner };
        self.in_cell(self.cell(key)?, slot)
    }

    /// The trial of a slot in a cell: seeds, partition and fold, counted from 0 with the fold fastest;
    /// cells of tuning seeds are counted for themselves. `None` where the arm is not trained in it, or no
    /// cell is.
    pub fn in_cell(&self, cell: u64, slot: Slot) -> Option<TrialIndex> {
        let (seed, inner) = (cell / self.blocks(), slot.inner.is_some());
        let tunes = inner && self.tune().is_some();
        let stretch = self
            .stretches
            .iter()
            .find(|stretch| stretch.tunes == tunes && stretch.seeds.contains(&seed))?;
        let before = stretch.entry(slot.arm, inner)?.before;
        if slot.config >= self.configs[slot.arm as usize] {
            return None;
        }
        let place = match slot.inner {
            Some(fold) if u64::from(fold) < self.inner_folds() => {
                u64::from(slot.config) * self.inner_folds() + u64::from(fold)
            }
            Some(_) => return None,
            None => u64::from(slot.config),
        };
        let within = (cell - stretch.seeds.start * self.blocks()) * stretch.configs;
        Some(TrialIndex(stretch.first_trial + within + before + place))
    }
}

impl Stretch {
    fn entry(&self, arm: u32, inner: bool) -> Option<&Entry> {
        self.entries.iter().find(|entry| (entry.arm, entry.inner) == (arm, inner))
    }
}

impl TrialKey {
    pub fn arm<'a>(&self, study: &'a Study) -> &'a Arm {
        &study.arms[self.arm as usize]
    }

    /// The config that the trial trains; of a search that has not proposed it, an example.
    pub fn config<'a>(&self, study: &'a Study) -> &'a ArmConfig {
        self.arm(study).config_of(study, self)
    }

    /// Whether it is decided which config the trial trains.
    pub fn is_proposed(&self, study: &Study) -> bool {
        self.arm(study).learned.as_ref().is_none_or(|learned| {
            let choice = Design::of(study).choice_of(self);
            choice.is_some_and(|choice| learned.config(choice.cell, self.config).is_some())
        })
    }

    /// The seed that feeds `stream`: its factor's level, or 0 for a stream that no factor moves. Trials
    /// that choose a config have seeds of their own: none that is reported chose anything.
    pub fn seed_of(&self, study: &Study, stream: Stream) -> u64 {
        let factors = study.seeds.factors.iter().zip(&self.seeds);
        factors
            .filter(|(factor, _)| factor.streams.contains(&stream))
            .map(|(_, &seed)| u64::from(seed))
            .next()
            .unwrap_or(0)
            + if self.inner.is_some() { TUNING } else { 0 }
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
        parts.extend(self.inner.map(|inner| format!("inner fold {inner}")));
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
        if let (Some(fold), Some(inner)) = (self.inner, &outer.inner) {
            text(&format!("{:?} {} {fold}", inner.kind, inner.folds));
        }
        Digest(*hasher.finalize().as_bytes())
    }
}

/// Added to the seeds of trials that choose configs: above all others, in 31 bits, which every library takes.
pub const TUNING: u64 = 1 << 30;

#[cfg(test)]
mod tests;
