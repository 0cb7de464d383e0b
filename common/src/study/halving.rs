//! Arms whose configs are halved: all train for few epochs, the best of them for more, and so on.
//!
//! A rung of a config stands among the arm's configs like another one: it has the same hyperparameters, and
//! is trained only for the rung's epochs, on the schedule of all of them. So trials keep their numbers, and
//! who trains, scores and stores them needs to know nothing of rungs. The last rung trains whole, and is what
//! is chosen from.
//!
//! A rung is judged when all of it has ended, or, where that was asked for, at once: then a config goes on as
//! soon as it is among the best of those that have.
//!
//! Sources: Jamieson & Talwalkar (2016), AISTATS; Li et al. (2020), MLSys, for the form that does not wait.
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

use super::{Arm, ArmConfig, Study};
use crate::space::{Config, Value};

/// How an arm's configs are halved.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Halving {
    /// Of these each rung has one.
    pub configs: u32,
    /// Two or more.
    pub rungs: u32,
    /// Of so many configs one goes on, and for so many times the epochs. Two or more.
    pub factor: u32,
    /// Nobody waits for the others. Told by where it stands in an arm's bytes: `learned`.
    #[serde(skip)]
    pub at_once: bool,
}

impl Halving {
    /// As a study file calls it.
    pub fn name(&self) -> &'static str {
        if self.at_once { ASHA } else { HALVING }
    }

    /// As many rungs as leave a config and an epoch: of a study that does not say how many.
    pub fn most_rungs(configs: u32, factor: u32, epochs: u32) -> u32 {
        let factor = factor.max(2);
        let mut rungs = 1;
        let (mut configs, mut epochs) = (configs / factor, epochs / factor);
        while configs > 0 && epochs > 0 {
            rungs += 1;
            (configs, epochs) = (configs / factor, epochs / factor);
        }
        rungs
    }

    /// Configs that reach a rung, counted from 0; at least, where nobody waits and none fails.
    pub fn kept(&self, rung: u32) -> u32 {
        let divided = self.factor.checked_pow(rung).map_or(0, |by| self.configs / by);
        divided.max(1)
    }

    /// Trainings of a choice's inner fold, over all rungs; at least, as [`Halving::kept`].
    pub fn tried(&self) -> u64 {
        (0..self.rungs).map(|rung| u64::from(self.kept(rung))).sum()
    }

    /// What a training on the rungs takes, the mean of all, where one to the last epoch takes 1 and each goes on
    /// from the one below.
    pub fn share(self) -> f64 {
        let until = |rung: u32| f64::from(self.factor).powi(rung as i32 - self.rungs as i32 + 1);
        let further = |rung: u32| until(rung) - if rung > 0 { until(rung - 1) } else { 0.0 };
        let work = |rung: u32| f64::from(self.kept(rung)) * further(rung);
        (0..self.rungs).map(work).sum::<f64>() / self.tried() as f64
    }

    /// Epochs that a rung is trained for, of `epochs` in all.
    pub fn epochs(&self, rung: u32, epochs: u32) -> u32 {
        let above = self.rungs - 1 - rung.min(self.rungs - 1);
        let divided = self.factor.checked_pow(above).map_or(0, |by| (epochs + by / 2) / by);
        divided.max(1)
    }

    /// The rung of one of the arm's configs, and which of those that are halved it is.
    pub fn place(&self, config: u32) -> (u32, u32) {
        (config / self.configs, config % self.configs)
    }

    /// What a config is called on a rung.
    pub fn config(&self, rung: u32, config: u32) -> u32 {
        rung * self.configs + config
    }

    /// Every rung of these configs, the first rung's first.
    pub(super) fn rungs_of(&self, configs: &[ArmConfig]) -> Vec<ArmConfig> {
        let on_rung = |rung: u32| {
            configs.iter().map(move |config| {
                let mut config = config.clone();
                if rung + 1 < self.rungs {
                    let until = self.epochs(rung, config.hyper.epochs);
                    config.hyper.until = Some(until);
                    let value = (UNTIL.to_string(), Value::Int(until.into()));
                    config.point.values.push(value);
                }
                config
            })
        };
        (0..self.rungs).flat_map(on_rung).collect()
    }

    fn is_sound(&self, arm: &Arm) -> bool {
        let whole = self.configs.checked_mul(self.rungs) == Some(arm.configs.len() as u32);
        whole && self.configs > 1 && self.rungs > 1 && self.factor > 1
    }
}

impl Arm {
    /// Configs that it chooses from: a rung is none of its own.
    pub fn alternatives(&self) -> usize {
        self.halving.map_or(self.configs.len(), |halving| halving.configs as usize)
    }

    /// The point of each config that it chooses from.
    pub fn points(&self) -> impl Iterator<Item = &Config> {
        let whole = self.configs.len() - self.alternatives();
        self.configs[whole..].iter().map(|config| &config.point)
    }
}

impl Study {
    /// Whether its arms are halved as a study file may ask for; asked of a study that came from elsewhere.
    pub fn has_sound_halving(&self) -> bool {
        let nested = self.outer.inner.is_some();
        let sound = |arm: &Arm| arm.halving.is_none_or(|halving| nested && halving.is_sound(arm));
        self.arms.iter().all(sound)
    }

    /// Whether an arm's configs are halved.
    pub fn halves(&self) -> bool {
        self.arms.iter().any(|arm| arm.halving.is_some())
    }

    /// Whether some are without waiting for each other.
    pub fn halves_at_once(&self) -> bool {
        self.arms.iter().any(|arm| arm.halving.is_some_and(|halving| halving.at_once))
    }
}

/// The two ways, as study files name them.
pub(super) const HALVING: &str = "halving";
pub(super) const ASHA: &str = "asha";

/// How a config is called that is trained for some of its epochs.
pub const UNTIL: &str = "until";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_three_goes_on_for_three_times_the_epochs() {
        let halving = Halving { configs: 27, rungs: 3, factor: 3, at_once: false };
        assert_eq!([0, 1, 2].map(|rung| halving.kept(rung)), [27, 9, 3]);
        assert_eq!([0, 1, 2].map(|rung| halving.epochs(rung, 30)), [3, 10, 30]);
        assert_eq!(halving.tried(), 39);
        // A ninth of the epochs for 27, two ninths more for 9, and the rest for 3.
        assert!((halving.share() - (3.0 + 2.0 + 2.0) / 39.0).abs() < 1e-12);
        assert_eq!((halving.place(30), halving.config(1, 3)), ((1, 3), 30));
    }

    #[test]
    fn there_are_as_many_rungs_as_leave_a_config_and_an_epoch() {
        assert_eq!(Halving::most_rungs(27, 3, 81), 4);
        assert_eq!(Halving::most_rungs(27, 3, 10), 3);
        assert_eq!(Halving::most_rungs(2, 3, 10), 1);
        let halving = Halving { configs: 5, rungs: 4, factor: 3, at_once: false };
        assert_eq!(halving.kept(3), 1, "one is always left");
        assert_eq!(halving.epochs(0, 4), 1, "and trained");
    }
}
