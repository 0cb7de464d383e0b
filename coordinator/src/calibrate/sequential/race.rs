//! Several arms in a race; the first is the best, or as good as any.
//!
//! Floor: core.

use common::seed::StreamRng;
use common::stats::stopping::{Rule, decide};

use super::{Course, Shape};

/// Arms whose blocks vary so that the difference of two has standard deviation 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// None above the first.
    pub means: Vec<f64>,
    pub shape: Shape,
    pub rule: Rule,
    /// Blocks of each arm in the fixed design.
    pub fixed: u32,
}

impl Field {
    /// Blocks of all arms in the fixed design.
    pub fn fixed(&self) -> u64 {
        self.means.len() as u64 * u64::from(self.fixed)
    }

    pub(super) fn run(&self, rng: &mut StreamRng) -> Course {
        let scores: Vec<Vec<Vec<f64>>> = (self.means.iter())
            .map(|mean| {
                let mut block =
                    || vec![mean + self.shape.draw(rng) * std::f64::consts::FRAC_1_SQRT_2];
                (0..self.rule.blocks_max).map(|_| block()).collect()
            })
            .collect();
        let Ok(decision) = decide(&self.rule, &scores) else {
            unreachable!("a case of the calibration has arms")
        };
        let left: Vec<usize> = decision.left().collect();
        Course {
            blocks: decision.arms.iter().map(|arm| u64::from(arm.blocks)).sum(),
            differ: u64::from(left.len() < self.means.len()),
            best_lost: u64::from(!left.contains(&0)),
            best_found: u64::from(left == [0]),
            ..Course::default()
        }
    }
}
