//! Two arms, of which only the difference of a block counts.
//!
//! Floor: core.

use common::seed::StreamRng;
use common::stats::noncentral::critical;
use common::stats::stopping::{End, Rule, decide};

use super::{Course, Shape};

/// Blocks of two arms, in standard deviations of a block's difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The rule's name.
    pub plan: &'static str,
    pub effect: f64,
    pub shape: Shape,
    pub rule: Rule,
    /// Blocks of the fixed design.
    pub fixed: u32,
    /// What |t| must exceed after 2, 3, … blocks.
    criticals: Vec<f64>,
}

impl Pair {
    pub fn of(plan: &'static str, effect: f64, shape: Shape, rule: Rule, fixed: u32) -> Self {
        let most = rule.blocks_max.max(fixed);
        let criticals = (2..=most).map(|n| critical(f64::from(n - 1), rule.alpha)).collect();
        Self { plan, effect, shape, rule, fixed, criticals }
    }

    pub(super) fn run(&self, rng: &mut StreamRng) -> Course {
        let blocks = self.rule.blocks_max.max(self.fixed) as usize;
        let drawn: Vec<f64> = (0..blocks).map(|_| self.effect + self.shape.draw(rng)).collect();
        let scores =
            [drawn.iter().map(|difference| vec![*difference]).collect(), vec![vec![0.0]; blocks]];
        let Ok(decision) = decide(&self.rule, &scores) else {
            unreachable!("a case of the calibration has blocks")
        };
        let [pair] = decision.comparisons.as_slice() else { unreachable!("two arms are a pair") };
        let mut course = Course { blocks: 2 * u64::from(decision.blocks), ..Course::default() };
        match pair.end {
            Some(End::Differ) => {
                let mean = pair.look.map_or(0.0, |look| look.mean);
                course.differ = 1;
                course.differ_falsely = u64::from(mean * self.effect <= 0.0);
            }
            Some(End::Equal) => course.equal = 1,
            Some(End::Hopeless { .. }) => course.hopeless = 1,
            _ => {}
        }
        let seen = self.seen(&drawn);
        let looks = self.rule.blocks_min as usize - 2..self.rule.blocks_max as usize - 1;
        course.plain = u64::from(seen[looks].contains(&true));
        course.fixed = u64::from(seen[self.fixed as usize - 2]);
        course
    }

    /// Whether a plain t test sees a difference after 2, 3, … blocks.
    fn seen(&self, differences: &[f64]) -> Vec<bool> {
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        let mut after_each = differences.iter().map(|difference| {
            count += 1.0;
            let apart = difference - mean;
            mean += apart / count;
            squares += apart * (difference - mean);
            (count, mean, squares)
        });
        after_each.next();
        let seen = |((count, mean, squares), critical): ((f64, f64, f64), &f64)| {
            let se = (squares / (count - 1.0) / count).sqrt();
            mean.abs() > critical * se
        };
        after_each.zip(&self.criticals).map(seen).collect()
    }
}
