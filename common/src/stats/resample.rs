//! Resampling: how many draws, from which seed, and the intervals that they give.
//!
//! Every draw has a generator of its own, keyed by what it is for, the seed and its number: the
//! result depends neither on the order in which draws are made nor on what else was drawn.
//! Deliberately absent: what is resampled; each statistic says that itself.
//!
//! Floor: common.

use thiserror::Error;

use super::distribution::normal_upper;
use super::summary::{normal_cdf, normal_quantile, quantile_of_sorted};
use crate::id::Digest;
use crate::seed::{Stream, StreamRng};

/// How often to draw, which interval to take, and the seed that makes it repeatable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resampling {
    draws: u32,
    level: f64,
    seed: u64,
}

/// Why draws cannot give an interval.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ResamplingError {
    #[error("the level of an interval is {level}; it must lie between 0 and 1")]
    Level { level: f64 },
    #[error("{draws} draws do not reach the tails of the interval; at least {needed} are needed")]
    TooFewDraws { draws: u32, needed: u32 },
    #[error("{draws} draws are too many; at most {DRAWS_MAX} are made")]
    TooManyDraws { draws: u32 },
}

impl Resampling {
    /// `level` is the interval's, such as 0.95. Errors when a tail would hold less than one draw.
    pub fn new(draws: u32, level: f64, seed: u64) -> Result<Self, ResamplingError> {
        if level.is_nan() || level <= 0.0 || level >= 1.0 {
            return Err(ResamplingError::Level { level });
        }
        if draws > DRAWS_MAX {
            return Err(ResamplingError::TooManyDraws { draws });
        }
        let needed = (2.0 / (1.0 - level)).ceil().min(f64::from(u32::MAX)) as u32;
        if draws < needed {
            return Err(ResamplingError::TooFewDraws { draws, needed });
        }
        Ok(Self { draws, level, seed })
    }

    pub fn draws(&self) -> u32 {
        self.draws
    }

    pub fn level(&self) -> f64 {
        self.level
    }

    /// One generator a draw. `purpose` keeps apart what two statistics draw from one seed.
    pub(super) fn generators(&self, purpose: &str) -> impl Iterator<Item = StreamRng> {
        let (key, seed) = (Digest::of(purpose.as_bytes()), self.seed);
        (0..self.draws).map(move |draw| StreamRng::new(&key, Stream::Split, seed, u64::from(draw)))
    }

    /// The statistic of every draw, in ascending order.
    pub(super) fn sorted(
        &self,
        purpose: &str,
        statistic: impl FnMut(StreamRng) -> f64,
    ) -> Vec<f64> {
        let mut drawn: Vec<f64> = self.generators(purpose).map(statistic).collect();
        drawn.sort_unstable_by(f64::total_cmp);
        drawn
    }

    /// Percentile interval of draws in ascending order.
    pub(super) fn percentile(&self, sorted: &[f64]) -> (f64, f64) {
        let tail = 0.5 * (1.0 - self.level);
        (quantile_of_sorted(sorted, tail), quantile_of_sorted(sorted, 1.0 - tail))
    }

    /// Bias-corrected and accelerated interval of draws in ascending order.
    ///
    /// `jackknife` holds the statistic without each unit in turn. `None` where the correction is
    /// not defined: no draw on one side of the estimate, or a jackknife without spread.
    /// Source: Efron (1987), J. Am. Stat. Assoc. 82; bias as scipy takes it, ties half.
    pub(super) fn bca(
        &self,
        sorted: &[f64],
        estimate: f64,
        jackknife: &[f64],
    ) -> Option<(f64, f64)> {
        let below = sorted.partition_point(|drawn| *drawn < estimate);
        let up_to = sorted.partition_point(|drawn| *drawn <= estimate);
        let share = (below + up_to) as f64 / (2 * sorted.len()) as f64;
        if share <= 0.0 || share >= 1.0 {
            return None;
        }
        let bias = normal_quantile(share);
        let acceleration = acceleration(jackknife)?;
        let end = |z: f64| {
            let shifted = bias + z;
            let stretch = 1.0 - acceleration * shifted;
            // Beyond the pole the map turns round, and the end it gives means nothing.
            (stretch > 0.0).then(|| {
                let probability = normal_cdf(bias + shifted / stretch);
                quantile_of_sorted(sorted, probability)
            })
        };
        let z = normal_quantile(0.5 + 0.5 * self.level);
        Some((end(-z)?, end(z)?))
    }
}

/// A sixth of the skewness of the jackknife's distances from its mean.
fn acceleration(jackknife: &[f64]) -> Option<f64> {
    let mean = jackknife.iter().sum::<f64>() / jackknife.len() as f64;
    let power = |exponent: i32| jackknife.iter().map(|v| (mean - v).powi(exponent)).sum::<f64>();
    let acceleration = power(3) / (6.0 * power(2).powf(1.5));
    acceleration.is_finite().then_some(acceleration)
}

/// Two-sided chance of a standard normal further from zero than `z`.
pub(super) fn normal_two_sided(z: f64) -> f64 {
    (2.0 * normal_upper(z.abs())).min(1.0)
}

const DRAWS_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_must_reach_the_tails() {
        let refused = Resampling::new(39, 0.95, 0);

        assert_eq!(refused, Err(ResamplingError::TooFewDraws { draws: 39, needed: 40 }));
        assert!(Resampling::new(40, 0.95, 0).is_ok());
        assert!(matches!(Resampling::new(9, f64::NAN, 0), Err(ResamplingError::Level { .. })));
        assert!(matches!(Resampling::new(9, 1.0, 0), Err(ResamplingError::Level { .. })));
        let many = Resampling::new(u32::MAX, 0.5, 0);
        assert_eq!(many, Err(ResamplingError::TooManyDraws { draws: u32::MAX }));
    }

    #[test]
    fn purposes_and_seeds_draw_apart_and_repeat() {
        let drawn = |purpose: &str, seed: u64| {
            Resampling::new(40, 0.95, seed)
                .unwrap()
                .sorted(purpose, |mut generator| generator.unit_f64())
        };

        assert_eq!(drawn("share", 1), drawn("share", 1));
        assert_ne!(drawn("share", 1), drawn("share", 2));
        assert_ne!(drawn("share", 1), drawn("rank", 1));
    }

    #[test]
    fn a_correction_that_is_not_defined_is_none() {
        let resampling = Resampling::new(40, 0.95, 0).unwrap();
        let drawn: Vec<f64> = (0..40).map(f64::from).collect();

        assert_eq!(resampling.bca(&drawn, -1.0, &[1.0, 2.0, 4.0]), None);
        assert_eq!(resampling.bca(&drawn, 20.0, &[1.0, 1.0]), None);
    }
}
