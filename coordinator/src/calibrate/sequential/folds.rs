//! Two arms whose true difference is 0, but not on the few folds that were drawn.
//!
//! Floor: core.

use common::seed::StreamRng;
use common::stats::crossed::{Paired, difference};
use common::stats::sources::Reach;
use common::stats::stopping::{End, Rule, decide};

use super::super::settings::Spread;
use super::Course;

/// Normal scores of two arms over seeds and folds.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaning {
    pub spread: Spread,
    pub folds: u32,
    /// Whether the folds' leanings are taken away, so that the arms are equal on these folds too.
    pub level: bool,
    pub rule: Rule,
    /// What the report's T2 interval takes for test rows over training rows.
    pub test_over_train: f64,
}

impl Leaning {
    pub(super) fn run(&self, rng: &mut StreamRng) -> Course {
        let Spread { arm_fold, arm_seed, residual, .. } = self.spread;
        let folds = self.folds as usize;
        let arms: Vec<Vec<Vec<f64>>> = (0..2)
            .map(|_| {
                let mut lean: Vec<f64> = (0..folds).map(|_| arm_fold * rng.normal()).collect();
                if self.level {
                    let mean = lean.iter().sum::<f64>() / folds as f64;
                    lean.iter_mut().for_each(|lean| *lean -= mean);
                }
                let mut block = || -> Vec<f64> {
                    let seed = arm_seed * rng.normal();
                    lean.iter().map(|lean| lean + seed + residual * rng.normal()).collect()
                };
                (0..self.rule.blocks_max).map(|_| block()).collect()
            })
            .collect();
        let Ok(decision) = decide(&self.rule, &arms) else {
            unreachable!("a case of the calibration has folds")
        };
        let end = decision.comparisons.first().and_then(|pair| pair.end);
        let differ = u64::from(end == Some(End::Differ));
        let held = self.t2_held(&arms, decision.blocks as usize);
        Course {
            blocks: 2 * u64::from(decision.blocks),
            differ,
            differ_falsely: differ,
            floor: u64::from(matches!(end, Some(End::Floor { .. }))),
            hopeless: u64::from(matches!(end, Some(End::Hopeless { .. }))),
            t2_held: u64::from(held == Some(true)),
            t2_made: u64::from(held.is_some()),
            ..Course::default()
        }
    }

    /// Whether the interval that a report prints over these blocks holds 0.
    fn t2_held(&self, arms: &[Vec<Vec<f64>>], blocks: usize) -> Option<bool> {
        let cells = (0..blocks).flat_map(|seed| (0..self.folds).map(move |fold| (seed, fold)));
        let (mut differences, mut folds, mut seeds) = (Vec::new(), Vec::new(), Vec::new());
        for (seed, fold) in cells {
            differences.push(arms[0][seed][fold as usize] - arms[1][seed][fold as usize]);
            folds.push(fold);
            seeds.push(seed as u32);
        }
        let paired = Paired { differences: &differences, folds: &folds, seeds: &[seeds] };
        let (low, high) = difference(&paired, self.test_over_train, LEVEL).ok()?.samples.ci;
        // Of arms that are level on these folds it says nothing that could be checked.
        (!self.level).then_some(low <= 0.0 && 0.0 <= high)
    }

    /// What the rule's limits hold for.
    pub fn target(&self) -> &'static str {
        match self.rule.reach {
            Reach::Seeds => "T1",
            Reach::Folds => "new folds",
            Reach::Samples { .. } => "T2",
        }
    }
}

const LEVEL: f64 = 0.95;
