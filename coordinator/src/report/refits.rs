//! A nested study as what it reports on: one config an arm, chosen within the training rows.
//!
//! The refits are a study of their own, flat and with one config where one was chosen, so that every
//! analysis sees an algorithm with its choosing inside and none needs to know of inner folds.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::design::{Design, TrialKey};
use common::id::TrialIndex;
use common::space::Config;
use common::study::{Outer, Study};
use common::trial::Outcome;
use common::wire::message::{OutcomeRow, RowEnd};

use super::Material;
use super::table::{CUDA, in_trial_order};

/// What is reported of a nested study.
pub struct Refits {
    study: Study,
    rows: Vec<OutcomeRow>,
    /// The study's number of each trial that is given up, by the number here.
    numbers: BTreeMap<u64, u64>,
    cancelled: u64,
}

impl Refits {
    /// `None` for a study without inner folds.
    pub fn of(material: &Material<'_>) -> Option<Self> {
        let nested = material.study;
        nested.outer.inner.as_ref()?;
        let design = Design::of(nested);
        let mut study = nested.clone();
        study.outer = Outer { inner: None, ..study.outer };
        for (number, arm) in (0..).zip(&mut study.arms) {
            if design.is_searched(number) {
                arm.configs.truncate(1);
                arm.configs[0].point = Config::default();
                arm.learned = None;
            }
        }
        let flat = Design::of(&study);
        let trial = |trial: TrialIndex| {
            let key = design.key(trial).filter(|key| key.inner.is_none())?;
            let config = if design.is_searched(key.arm) { 0 } else { key.config };
            flat.index(&TrialKey { config, ..key })
        };
        let (mut numbers, mut rows) = (BTreeMap::new(), Vec::new());
        for row in material.rows {
            let Some(here) = trial(row.trial) else { continue };
            if matches!(row.end, RowEnd::Failed { .. }) {
                numbers.insert(here.0, row.trial.0);
            }
            rows.push(OutcomeRow { trial: here, ..row.clone() });
        }
        // Of the trials of a study that was cancelled those that would be reported.
        let ended = rows.len() as u64;
        let open = flat.trials().unwrap_or(ended).saturating_sub(ended);
        let cancelled = if material.cancelled > 0 { open } else { 0 };
        Some(Self { study, rows, numbers, cancelled })
    }

    /// What the study calls a trial that failed.
    pub fn number(&self, trial: u64) -> u64 {
        self.numbers.get(&trial).copied().unwrap_or(trial)
    }

    /// Time that trials on inner folds took, and of this the time on graphics cards.
    pub fn choosing_seconds(&self, of: &Material<'_>) -> (f64, f64) {
        let (mut all, mut cards) = (0.0, 0.0);
        for (_, outcome) in chose(of, &Design::of(of.study)) {
            let seconds = outcome.duration_us as f64 / 1e6;
            all += seconds;
            cards += if outcome.device.starts_with(CUDA) { seconds } else { 0.0 };
        }
        (all, cards)
    }

    pub fn material<'a>(&'a self, of: &Material<'a>) -> Material<'a> {
        let (study, rows, cancelled) = (&self.study, &self.rows, self.cancelled);
        Material { study, rows, cancelled, violations: &[], differing: 0, ..*of }
    }
}

/// What choosing takes.
#[derive(Clone, Debug, Default)]
pub struct Choosing {
    /// Agent-seconds of one choice, by arm.
    pub seconds: Vec<f64>,
    /// One choice serves all seeds of a fold; else each seed has its own.
    pub shared: bool,
}

impl Choosing {
    /// At what this study's choices took. Nothing where it has no inner folds.
    pub fn of(material: &Material<'_>) -> Self {
        let Some(inner) = &material.study.outer.inner else { return Self::default() };
        let design = Design::of(material.study);
        let arms = material.study.arms.len();
        let (mut seconds, mut chosen) = (vec![0.0; arms], vec![BTreeSet::new(); arms]);
        for (key, outcome) in chose(material, &design) {
            let seeds = if inner.tune.is_some() { Vec::new() } else { key.seeds };
            seconds[key.arm as usize] += outcome.duration_us as f64 / 1e6;
            chosen[key.arm as usize].insert((seeds, key.partition, key.fold));
        }
        let of_arm = |(seconds, chosen): (f64, BTreeSet<_>)| seconds / chosen.len().max(1) as f64;
        let seconds = seconds.into_iter().zip(chosen).map(of_arm).collect();
        Self { seconds, shared: inner.tune.is_some() }
    }

    /// Agent-seconds of a choice for each of two arms.
    pub fn of_pair(&self, arms: [usize; 2]) -> f64 {
        arms.iter().filter_map(|arm| self.seconds.get(*arm)).sum()
    }
}

/// What was trained on inner folds and gave an outcome.
fn chose<'a>(
    of: &Material<'a>,
    design: &'a Design,
) -> impl Iterator<Item = (TrialKey, &'a Outcome)> {
    in_trial_order(of.rows, design).into_iter().filter_map(|row| {
        let key = design.key(row.trial).filter(|key| key.inner.is_some())?;
        match &row.end {
            RowEnd::Complete(outcome) => Some((key, outcome)),
            RowEnd::Failed { .. } => None,
        }
    })
}
