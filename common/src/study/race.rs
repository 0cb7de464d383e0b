//! Arms whose configs race: after each tuning seed those are dropped that cannot be their choice's best.
//!
//! A race is about one choice. Its blocks are tuning seeds: the first few are trained by all configs, each
//! further one by those that are left. So a race's rungs are its tuning seeds, and its trials are those of
//! the study without it. Deliberately absent: who is left (`racing`).
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

use super::{Arm, Select, Study};
use crate::stats::stopping::{Aim, Rule};

/// How an arm's configs race.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Race {
    /// Tuning seeds after which somebody looks for the first time. Two or more, and fewer than there are.
    pub first: u32,
    /// Chance that a choice's best config is dropped, over all looks.
    pub alpha: f64,
}

impl Default for Race {
    fn default() -> Self {
        Self { first: FIRST, alpha: 0.05 }
    }
}

impl Race {
    /// The rule for `tune` tuning seeds: on these inner folds, as the choice itself is.
    pub fn rule(&self, tune: u32, larger_is_better: bool) -> Rule {
        let usual = Rule::usual(tune.max(2));
        let narrowest = usual.narrowest.min(usual.blocks_max);
        let blocks_min = self.first.clamp(2, usual.blocks_max);
        let (alpha, aim) = (self.alpha, Aim::Best);
        Rule { alpha, narrowest, blocks_min, larger_is_better, aim, ..usual }
    }
}

impl Study {
    /// Whether the configs of some arm race.
    pub fn races(&self) -> bool {
        self.arms.iter().any(|arm| arm.race.is_some())
    }

    /// Whether its races are such as a study file may ask for; asked of a study that came from elsewhere.
    pub fn has_sound_races(&self) -> bool {
        let tune = self.outer.inner.as_ref().filter(|inner| inner.select == Select::Best);
        let tune = tune.and_then(|inner| inner.tune).unwrap_or(0);
        let sound = |arm: &Arm, race: Race| {
            let proposed = arm.learned.is_some() || arm.halving.is_some();
            let level = race.alpha > 0.0 && race.alpha < 1.0;
            (2..tune).contains(&race.first) && level && arm.configs.len() > 1 && !proposed
        };
        self.arms.iter().all(|arm| arm.race.is_none_or(|race| sound(arm, race)))
    }
}

/// Of fewer tuning seeds nobody knows whether their differences are anything like normal.
const FIRST: u32 = 5;
