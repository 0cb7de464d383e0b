//! Configs of a choice in a race over tuning seeds; the first is the best, or as good as any.
//!
//! Floor: core.

use common::racing;
use common::seed::StreamRng;
use common::study::Race;

use super::{Course, Shape};

/// Configs whose scores with one tuning seed vary so that the difference of two has standard deviation 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Configs {
    /// None above the first.
    pub means: Vec<f64>,
    pub shape: Shape,
    /// Tuning seeds.
    pub tune: u32,
}

impl Configs {
    /// Blocks of all configs without a race.
    pub fn fixed(&self) -> u64 {
        self.means.len() as u64 * u64::from(self.tune)
    }

    pub(super) fn run(&self, rng: &mut StreamRng) -> Course {
        let mut drawn = |mean: &f64| -> Vec<Vec<f64>> {
            let mut block = || vec![mean + self.shape.draw(rng) * std::f64::consts::FRAC_1_SQRT_2];
            (0..self.tune).map(|_| block()).collect()
        };
        let scores: Vec<Vec<Vec<f64>>> = self.means.iter().map(&mut drawn).collect();
        let rule = Race::default().rule(self.tune, true);
        let mut left: Vec<usize> = (0..scores.len()).collect();
        let mut blocks = 0;
        for seeds in 1..=self.tune as usize {
            blocks += left.len() as u64;
            if seeds == self.tune as usize {
                break;
            }
            let so_far: Vec<Vec<Vec<f64>>> =
                left.iter().map(|at| scores[*at][..seeds].to_vec()).collect();
            let mut stays = racing::stay(&rule, scores.len(), &so_far).into_iter();
            left.retain(|_| stays.next() == Some(true));
            if left.len() == 1 {
                break;
            }
        }
        Course {
            blocks,
            differ: u64::from(left.len() < scores.len()),
            best_lost: u64::from(!left.contains(&0)),
            best_found: u64::from(left == [0]),
            ..Course::default()
        }
    }
}
