//! How probable it is that one arm is better, worse, or the same for every practical purpose.
//!
//! Differences are first minus second; "the same" is a difference of at most `rope` to either side.
//! Probabilities are of the true difference, given the data and a flat prior. Deliberately absent:
//! a hierarchical model, and which way is better.
//!
//! Source: Benavoli, Corani, Demšar & Zaffalon (2017), J. Mach. Learn. Res. 18(77); the numbers
//! are those of the authors' baycomp, checked by `tests/comparisons.rs`.
//!
//! Floor: common.

use thiserror::Error;

use super::compare::{CompareError, corrected_t};
use super::resample::Resampling;
use super::summary::{student_density, student_quantile, student_upper};
use crate::seed::StreamRng;

/// Posterior of the difference on one data set: Student's t with `df`, moved and scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct CorrelatedT {
    pub mean: f64,
    /// Not the standard deviation, which is larger by `sqrt(df / (df - 2))`.
    pub scale: f64,
    pub df: f64,
    /// Correlation between two differences: test rows over all rows.
    pub correlation: f64,
    pub rope: f64,
    pub areas: Areas,
}

/// Probabilities of the three regions; they sum to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Areas {
    /// The difference is below -rope.
    pub left: f64,
    /// Within the region of practical equivalence, its ends included; 0 when it has no width.
    pub within: f64,
    /// The difference is above rope.
    pub right: f64,
}

/// Why there is no posterior.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BayesError {
    #[error(transparent)]
    Differences(#[from] CompareError),
    #[error("the difference that does not matter is {rope}; it must be finite and not below 0")]
    Rope { rope: f64 },
}

/// The Bayesian correlated t test, for differences of one data set whose training sets overlap.
///
/// The posterior is Student's t with J - 1 degrees of freedom about the mean difference, of
/// scale² = s² (1/J + rho / (1 - rho)), rho = n_test / (n_test + n_train), so that rho / (1 - rho)
/// is `test_over_train`. Equal differences have all probability at their value; without a ROPE a
/// difference of exactly zero counts half to each side.
///
/// Source: Corani & Benavoli (2015), Machine Learning 100.
pub fn correlated_t(
    differences: &[f64],
    test_over_train: f64,
    rope: f64,
) -> Result<CorrelatedT, BayesError> {
    check_rope(rope)?;
    let test = corrected_t(differences, test_over_train)?;
    let mut posterior = CorrelatedT {
        mean: test.mean,
        scale: test.se,
        df: test.df,
        correlation: test_over_train / (1.0 + test_over_train),
        rope,
        areas: Areas { left: 0.0, within: 0.0, right: 0.0 },
    };
    posterior.areas = if posterior.scale > 0.0 {
        // The left tail by symmetry, so that a small one keeps its digits.
        let left = student_upper((rope + test.mean) / posterior.scale, posterior.df);
        let right = posterior.chance_above(rope);
        let within = if rope > 0.0 { (1.0 - left - right).max(0.0) } else { 0.0 };
        Areas { left, within, right }
    } else {
        point_mass(test.mean, rope)
    };
    Ok(posterior)
}

impl CorrelatedT {
    /// Probability that the difference is above `x`; a half at a posterior that is all at `x`.
    pub fn chance_above(&self, x: f64) -> f64 {
        if self.scale > 0.0 {
            return student_upper((x - self.mean) / self.scale, self.df);
        }
        match () {
            () if self.mean == x => 0.5,
            () if self.mean > x => 1.0,
            () => 0.0,
        }
    }

    /// Central interval that holds `level` in (0, 1) of the posterior.
    pub fn interval(&self, level: f64) -> (f64, f64) {
        let half = student_quantile(0.5 + 0.5 * level, self.df) * self.scale;
        (self.mean - half, self.mean + half)
    }

    /// `count` evenly spaced points (difference, density) over 99 % of the posterior and the ROPE.
    ///
    /// Empty where all probability is at one value, since that has no density; else at least 2.
    pub fn density(&self, count: usize) -> Vec<(f64, f64)> {
        if self.scale == 0.0 {
            return Vec::new();
        }
        let (low, high) = self.interval(0.99);
        let (low, high) = (low.min(-1.05 * self.rope), high.max(1.05 * self.rope));
        let count = count.max(2);
        let step = (high - low) / (count - 1) as f64;
        (0..count)
            .map(|place| low + place as f64 * step)
            .map(|x| (x, student_density((x - self.mean) / self.scale, self.df) / self.scale))
            .collect()
    }
}

/// The Bayesian signed-rank test, one difference a study, by `resampling.draws()` draws.
///
/// Each draw weighs the studies, and one imagined study without difference and of weight 0.5, by a
/// Dirichlet distribution, and asks which region holds most of the pairs' mean differences. An area
/// is the share of draws that its region won; draws won by several count evenly to each.
///
/// Source: Benavoli, Mangili, Corani, Zaffalon & Ruggeri (2014), ICML.
pub fn signed_rank(
    differences: &[f64],
    rope: f64,
    resampling: &Resampling,
) -> Result<Areas, BayesError> {
    check_rope(rope)?;
    if let Some(index) = differences.iter().position(|value| !value.is_finite()) {
        return Err(CompareError::NotFinite { index }.into());
    }
    if differences.len() < 2 {
        return Err(CompareError::TooFew { count: differences.len() }.into());
    }
    let pairs = Pairs::of(differences, rope);
    let (mut won, mut weights) = ([0.0; 3], vec![0.0; pairs.regions.len() + 1]);
    for mut generator in resampling.generators("bayesian signed-rank") {
        pairs.cumulate_weights(&mut generator, &mut weights);
        let areas = pairs.areas(&weights);
        // Without a ROPE the middle is rounding alone.
        let middle = if rope > 0.0 { areas.within } else { f64::NEG_INFINITY };
        let regions = [areas.left, middle, areas.right];
        let most = regions.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let winners = regions.map(|share| f64::from(u8::from(share == most)));
        let shared: f64 = winners.iter().sum();
        (0..3).for_each(|region| won[region] += winners[region] / shared);
    }
    let [left, within, right] = won.map(|count| count / f64::from(resampling.draws()));
    Ok(Areas { left, within, right })
}

/// For each study in ascending order of its difference, with which others it lands in a region.
struct Pairs {
    regions: Vec<Regions>,
    /// Place of the imagined study.
    imagined: usize,
}

/// Bounds of places: the mean with any before `below` is left of the ROPE, and so on.
struct Regions {
    below: usize,
    up_to_left: usize,
    up_to_right: usize,
    above: usize,
}

impl Pairs {
    fn of(differences: &[f64], rope: f64) -> Self {
        let mut sorted = differences.to_vec();
        sorted.push(0.0);
        sorted.sort_unstable_by(f64::total_cmp);
        let imagined = sorted.partition_point(|value| value.total_cmp(&0.0).is_lt());
        let regions = sorted
            .iter()
            .map(|own| {
                let place = |inside: &dyn Fn(f64) -> bool| {
                    sorted.partition_point(|other| inside(own + other))
                };
                Regions {
                    below: place(&|sum| sum < -2.0 * rope),
                    up_to_left: place(&|sum| sum <= -2.0 * rope),
                    up_to_right: place(&|sum| sum < 2.0 * rope),
                    above: place(&|sum| sum <= 2.0 * rope),
                }
            })
            .collect();
        Self { regions, imagined }
    }

    /// A Dirichlet draw as sums: `sums[i]` is the weight of the studies before place i.
    fn cumulate_weights(&self, generator: &mut StreamRng, sums: &mut [f64]) {
        let mut sum = 0.0;
        for (place, before) in sums[..self.regions.len()].iter_mut().enumerate() {
            *before = sum;
            sum += if place == self.imagined {
                // Half a squared normal is a gamma variable of shape 0.5.
                0.5 * generator.normal().powi(2)
            } else {
                -(1.0 - generator.unit_f64()).ln()
            };
        }
        sums[self.regions.len()] = sum;
        sums.iter_mut().for_each(|value| *value /= sum);
    }

    /// Weight of the pairs in each region; a pair on the border counts half to either side.
    fn areas(&self, sums: &[f64]) -> Areas {
        let (mut left, mut right) = (0.0, 0.0);
        let all = sums[self.regions.len()];
        for (place, regions) in self.regions.iter().enumerate() {
            let weight = sums[place + 1] - sums[place];
            left += weight * 0.5 * (sums[regions.below] + sums[regions.up_to_left]);
            right += weight * (all - 0.5 * (sums[regions.up_to_right] + sums[regions.above]));
        }
        Areas { left, within: 1.0 - left - right, right }
    }
}

fn point_mass(at: f64, rope: f64) -> Areas {
    if rope == 0.0 && at == 0.0 {
        return Areas { left: 0.5, within: 0.0, right: 0.5 };
    }
    let share = |inside: bool| f64::from(u8::from(inside));
    Areas { left: share(at < -rope), within: share(at.abs() <= rope), right: share(at > rope) }
}

fn check_rope(rope: f64) -> Result<(), BayesError> {
    if rope.is_finite() && rope >= 0.0 { Ok(()) } else { Err(BayesError::Rope { rope }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampling() -> Resampling {
        Resampling::new(2000, 0.95, 7).unwrap()
    }

    fn areas(left: f64, within: f64, right: f64) -> Areas {
        Areas { left, within, right }
    }

    #[test]
    fn equal_differences_have_all_probability_at_one_value() {
        let at = |difference: f64, rope: f64| {
            let posterior = correlated_t(&[difference; 5], 0.25, rope).unwrap();
            assert!(posterior.density(100).is_empty());
            posterior.areas
        };

        assert_eq!(at(0.0, 0.0), areas(0.5, 0.0, 0.5));
        assert_eq!(at(0.3, 0.0), areas(0.0, 0.0, 1.0));
        assert_eq!(at(-0.3, 0.0), areas(1.0, 0.0, 0.0));
        assert_eq!(at(0.3, 0.3), areas(0.0, 1.0, 0.0));
        assert_eq!(at(-0.31, 0.3), areas(1.0, 0.0, 0.0));
    }

    #[test]
    fn swapping_the_arms_swaps_the_sides() {
        let differences = [0.02, -0.01, 0.03, 0.011, 0.004];
        let swapped = differences.map(|difference| -difference);
        let (one, other) = (
            correlated_t(&differences, 0.25, 0.01).unwrap().areas,
            correlated_t(&swapped, 0.25, 0.01).unwrap().areas,
        );

        assert!((one.left - other.right).abs() < 1e-15 && (one.right - other.left).abs() < 1e-15);
        assert!((one.left + one.within + one.right - 1.0).abs() < 1e-15);
    }

    #[test]
    fn density_integrates_to_what_it_shows() {
        let posterior = correlated_t(&[0.02, -0.01, 0.03, 0.011, 0.004], 0.25, 0.0).unwrap();
        let points = posterior.density(2001);
        let area: f64 =
            points.windows(2).map(|p| 0.5 * (p[1].0 - p[0].0) * (p[0].1 + p[1].1)).sum();

        assert!((area - 0.99).abs() < 1e-5, "{area}");
    }

    #[test]
    fn studies_without_difference_are_won_by_nobody() {
        assert_eq!(signed_rank(&[0.0; 6], 0.0, &resampling()), Ok(areas(0.5, 0.0, 0.5)));
        assert_eq!(signed_rank(&[0.0; 6], 0.1, &resampling()), Ok(areas(0.0, 1.0, 0.0)));
    }

    #[test]
    fn signed_rank_ignores_the_order_of_studies() {
        let (one, other) = ([0.1, -0.2, 0.3, 0.05], [0.05, 0.3, -0.2, 0.1]);

        assert_eq!(
            signed_rank(&one, 0.02, &resampling()),
            signed_rank(&other, 0.02, &resampling())
        );
    }

    #[test]
    fn what_has_no_posterior_is_refused() {
        assert_eq!(correlated_t(&[0.1, 0.2], 0.1, -1.0), Err(BayesError::Rope { rope: -1.0 }));
        assert!(matches!(correlated_t(&[0.1], 0.1, 0.0), Err(BayesError::Differences(_))));
        let few = CompareError::TooFew { count: 1 };
        assert_eq!(signed_rank(&[0.1], 0.0, &resampling()), Err(few.into()));
        let broken = CompareError::NotFinite { index: 1 };
        assert_eq!(signed_rank(&[0.1, f64::NAN], 0.0, &resampling()), Err(broken.into()));
    }
}
