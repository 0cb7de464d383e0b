//! The design: which trials a study has, as numbers.
//!
//! A trial is an index. Index and key translate into each other by mixed radix, so a study of a
//! million trials is never listed in memory. The seed is the slowest digit: adding seeds appends
//! trials and moves none. Then partition, outer fold, and the config (arm by arm) as the fastest,
//! so that a block of consecutive indices is one seed over every fold and arm.
//!
//! Floor: common.

use blake3::Hasher;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, TrialIndex};
use crate::seed::Stream;
use crate::study::{Arm, ArmConfig, Study};

/// The numbers of levels of a study's factors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Design {
    /// Configs of each arm, in the study's order.
    configs: Vec<u32>,
    /// Levels of each seed factor, the first one slowest.
    seeds: Vec<u32>,
    partitions: u32,
    folds: u32,
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
    pub fn new(configs: Vec<u32>, seeds: Vec<u32>, partitions: u32, folds: u32) -> Self {
        assert!(!configs.is_empty() && configs.iter().all(|&count| count > 0));
        assert!(seeds.iter().all(|&count| count > 0) && partitions > 0 && folds > 0);
        Self { configs, seeds, partitions, folds }
    }

    pub fn of(study: &Study) -> Self {
        Self::new(
            study.arms.iter().map(|arm| arm.configs.len() as u32).collect(),
            study.seeds.factors.iter().map(|factor| factor.count).collect(),
            study.outer.partitions,
            study.outer.folds,
        )
    }

    /// The design of a study that came from elsewhere; `None` when a factor has no level.
    pub fn try_of(study: &Study) -> Option<Self> {
        let levels = study.arms.iter().all(|arm| !arm.configs.is_empty())
            && study.seeds.factors.iter().all(|factor| factor.count > 0)
            && !study.arms.is_empty()
            && study.outer.partitions > 0
            && study.outer.folds > 0;
        levels.then(|| Self::of(study))
    }

    /// Number of trials, or `None` when it does not fit 64 bits.
    pub fn trials(&self) -> Option<u64> {
        let block = (u64::from(self.partitions) * u64::from(self.folds))
            .checked_mul(self.configs_total())?;
        self.seeds.iter().try_fold(block, |product, &count| product.checked_mul(u64::from(count)))
    }

    fn configs_total(&self) -> u64 {
        self.configs.iter().map(|&count| u64::from(count)).sum()
    }

    /// The cell that `index` stands for. `None` beyond the last trial.
    pub fn key(&self, index: TrialIndex) -> Option<TrialKey> {
        if index.0 >= self.trials()? {
            return None;
        }
        let mut rest = index.0;
        let mut digit = |radix: u64| {
            let value = rest % radix;
            rest /= radix;
            value as u32
        };
        let (arm, config) = self.arm_of(digit(self.configs_total()));
        let fold = digit(u64::from(self.folds));
        let partition = digit(u64::from(self.partitions));
        let mut seeds: Vec<u32> =
            self.seeds.iter().rev().map(|&count| digit(u64::from(count))).collect();
        seeds.reverse();
        Some(TrialKey { arm, config, seeds, partition, fold })
    }

    /// The index of a cell. `None` when a digit is out of range.
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
        let before: u64 =
            self.configs[..key.arm as usize].iter().map(|&count| u64::from(count)).sum();
        let folds = seeds * u64::from(self.partitions) + u64::from(key.partition);
        let cells = folds * u64::from(self.folds) + u64::from(key.fold);
        Some(TrialIndex(cells * self.configs_total() + before + u64::from(key.config)))
    }

    /// Number of the config over all arms: what trials with equal hyperparameters share.
    pub fn config_number(&self, index: TrialIndex) -> u32 {
        (index.0 % self.configs_total()) as u32
    }

    /// Arm and config within it, of a config numbered over all arms.
    pub fn arm_of(&self, config_number: u32) -> (u32, u32) {
        let mut rest = config_number;
        for (arm, &count) in self.configs.iter().enumerate() {
            if rest < count {
                return (arm as u32, rest);
            }
            rest -= count;
        }
        unreachable!("a config number is below the number of configs")
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

    fn designs() -> impl Strategy<Value = Design> {
        let configs = proptest::collection::vec(1u32..20, 1..5);
        let seeds = proptest::collection::vec(1u32..50, 1..4);
        (configs, seeds, 1u32..30, 1u32..30).prop_map(|(configs, seeds, partitions, folds)| {
            Design::new(configs, seeds, partitions, folds)
        })
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
            let index = design.index(&key).expect("inside");
            prop_assert_eq!(design.key(index), Some(key));
        }

        #[test]
        fn beyond_the_last_trial_there_is_no_key(design in designs()) {
            prop_assert_eq!(design.key(TrialIndex(design.trials().expect("small"))), None);
        }

        #[test]
        fn more_seeds_move_no_trial(design in designs(), pick in any::<u64>()) {
            let index = TrialIndex(pick % design.trials().expect("small"));
            let mut grown = design.clone();
            grown.seeds[0] += 10;
            prop_assert_eq!(grown.key(index), design.key(index));
        }
    }

    #[test]
    fn keys_enumerate_every_cell_once() {
        let design = Design::new(vec![2, 1], vec![3], 2, 2);
        let keys: std::collections::BTreeSet<TrialKey> =
            (0..36).map(|index| design.key(TrialIndex(index)).expect("inside")).collect();
        assert_eq!(design.trials(), Some(36));
        assert_eq!(keys.len(), 36);
    }
}
