//! Looking while the runs come in, without being fooled: confidence sequences over blocks.
//!
//! A block is one seed run on every fold; its paired difference is one number, and blocks are
//! exchangeable. An interval of a confidence sequence may be read after every block, and stopped at
//! any. No result is ever NaN. Deliberately absent: when to stop, which is the reader's.
//!
//! Floor: common.

use thiserror::Error;

use super::distribution::normal_upper;
use super::noncentral::{critical, normal_pdf};
use super::summary::{mean, sd};

/// How a bound holds at all times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sequence {
    /// For any distribution with a variance, as blocks grow many: too narrow over the first few.
    Asymptotic,
    /// For normal differences exactly, at every number of blocks; nothing is bounded at first.
    Student,
}

/// What may be believed after so many blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    pub blocks: u32,
    pub mean: f64,
    /// `None` while nothing is bounded yet, as while all differences are equal: they say nothing of their
    /// spread.
    pub bounds: Option<(f64, f64)>,
}

/// Why there is no sequence.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum MonitorError {
    #[error("alpha is {alpha}; it must lie between 0 and 1")]
    Alpha { alpha: f64 },
    #[error("the bound is to be narrowest after {blocks} blocks; take 1 or more")]
    Narrowest { blocks: u32 },
    #[error("difference {index}, counted from 0, is not a finite number; leave the block out")]
    NotFinite { index: usize },
    #[error(
        "looks {index} and before are after {blocks} blocks; each must come later than the last"
    )]
    Order { index: usize, blocks: u32 },
}

/// The interval after each block from the second on, narrowest for its kind after `narrowest`
/// blocks.
///
/// `differences` [blocks], one a complete block, in the order they came. With v = t rho^2 after t
/// blocks, both widen the mean by a multiple of sd / sqrt(t):
///
/// - asymptotic: `sqrt(2 (v + 1) / v · log(sqrt(v + 1) / alpha))`. Source: Waudby-Smith, Arbour,
///   Sinha, Kennedy & Ramdas (2024), Ann. Statist. 52(6), the Gaussian mixture, its sd estimated.
/// - Student: `sqrt((t - 1)(A - 1) / (1 - A/(v + 1)))`, `A = (sqrt(v + 1) / alpha)^(2/t)`, where
///   the Bayes factor of a t test with a normal prior on the standardised mean stays below 1/alpha,
///   and no bound while `A >= v + 1`. It is a martingale whatever the variance. Source: Wang &
///   Ramdas (2025), Anytime-valid t-tests.
pub fn confidence_sequence(
    differences: &[f64],
    alpha: f64,
    narrowest: u32,
    sequence: Sequence,
) -> Result<Vec<Look>, MonitorError> {
    let rho_squared = rho_squared(alpha, narrowest)?;
    if let Some(index) = differences.iter().position(|value| !value.is_finite()) {
        return Err(MonitorError::NotFinite { index });
    }
    let looks = (2..=differences.len()).filter_map(|blocks| {
        let so_far = &differences[..blocks];
        let (mean, sd) = (mean(so_far), sd(so_far)?);
        let half = multiple(blocks as u32, rho_squared, alpha, sequence)
            .filter(|_| !are_equal(so_far))
            .map(|multiple| multiple * sd / (blocks as f64).sqrt());
        let bounds = half.map(|half| (mean - half, mean + half));
        Some(Look { blocks: blocks as u32, mean, bounds })
    });
    Ok(looks.collect())
}

/// Whether all are one number, but for what rounding left of it.
pub fn are_equal(differences: &[f64]) -> bool {
    let largest = differences.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let first = differences.first().copied().unwrap_or(0.0);
    differences.iter().all(|value| (value - first).abs() <= ROUNDED * largest)
}

/// Half-width over sd / sqrt(blocks); `None` while nothing is bounded.
///
/// With the asymptotic kind and a known sd it bounds a Gaussian walk at all times exactly (Robbins
/// 1970, Ann. Math. Statist. 41).
pub fn multiple(blocks: u32, rho_squared: f64, alpha: f64, sequence: Sequence) -> Option<f64> {
    let blocks = f64::from(blocks);
    let grown = blocks * rho_squared + 1.0;
    let log = 0.5 * grown.ln() - alpha.ln();
    match sequence {
        Sequence::Asymptotic => Some((2.0 * grown / (grown - 1.0) * log).sqrt()),
        Sequence::Student => {
            let excess = (2.0 / blocks * log).exp_m1();
            let room = 1.0 - (excess + 1.0) / grown;
            (room > 0.0).then(|| ((blocks - 1.0) * excess / room).sqrt())
        }
    }
    .filter(|multiple| multiple.is_finite())
}

/// The mixture's variance that makes the asymptotic bound narrowest after `blocks` blocks.
///
/// `(-W_{-1}(-alpha^2 / e) - 1) / blocks` with W_{-1} Lambert's lower branch: the root v of
/// `v - log(1 + v) = -2 log alpha`, over the blocks. Source: Waudby-Smith et al. (2024).
pub fn rho_squared(alpha: f64, blocks: u32) -> Result<f64, MonitorError> {
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(MonitorError::Alpha { alpha });
    }
    if blocks == 0 {
        return Err(MonitorError::Narrowest { blocks });
    }
    let target = -2.0 * alpha.ln();
    // Newton from above the root of a convex, rising function goes down to it without overshooting.
    let mut v = target + 2.0 * (1.0 + target).ln() + 2.0 * target.sqrt();
    for _ in 0..NEWTON_STEPS {
        v -= (v - v.ln_1p() - target) * (1.0 + v) / v;
    }
    Ok(v / f64::from(blocks))
}

/// How much error a plain test at level `alpha` after each of `looks` spends when there is nothing.
///
/// `looks` are rising numbers of blocks. Each element is the chance that one or more of the
/// two-sided tests up to that look has p < alpha, differences being normal with known sd; 5 equally
/// spaced looks at 0.05 spend 0.142. The walk's density within the bounds is carried from look to look by
/// Gauss-Legendre quadrature. Source: Armitage, McPherson & Rowe (1969), J. R. Stat. Soc. A 132.
pub fn spent(looks: &[u32], alpha: f64) -> Result<Vec<f64>, MonitorError> {
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(MonitorError::Alpha { alpha });
    }
    let mut before = 0;
    for (index, blocks) in looks.iter().enumerate() {
        if *blocks <= before {
            return Err(MonitorError::Order { index, blocks: *blocks });
        }
        before = *blocks;
    }
    let z = critical(f64::INFINITY, alpha);
    let mut walk = vec![Mass { at: 0.0, mass: 1.0 }];
    let (mut total, mut last) = (0.0, 0);
    let mut after_each = Vec::with_capacity(looks.len());
    for (index, blocks) in looks.iter().enumerate() {
        let sd = f64::from(blocks - last).sqrt();
        let bound = z * f64::from(*blocks).sqrt();
        total += walk.iter().map(|from| from.mass * left(from.at, bound, sd)).sum::<f64>();
        after_each.push(total.min(1.0));
        if let Some(next) = looks.get(index + 1) {
            let panel = sd.min(f64::from(next - blocks).sqrt());
            walk = carried(&walk, bound, sd, panel);
        }
        last = *blocks;
    }
    Ok(after_each)
}

/// A node of the walk's distribution within the bounds, in ascending order.
#[derive(Clone, Copy)]
struct Mass {
    at: f64,
    mass: f64,
}

/// Chance that a step of `sd` from `from` ends outside `±bound`.
fn left(from: f64, bound: f64, sd: f64) -> f64 {
    normal_upper((bound - from) / sd) + normal_upper((bound + from) / sd)
}

/// The walk one step later, on nodes within `±bound` in panels no wider than `panel`.
fn carried(walk: &[Mass], bound: f64, sd: f64, panel: f64) -> Vec<Mass> {
    let panels = (2.0 * bound / panel).ceil().max(1.0);
    let half = bound / panels;
    let mut nodes = Vec::with_capacity(panels as usize * NODES.len());
    for number in 0..panels as u64 {
        let centre = -bound + (2.0 * number as f64 + 1.0) * half;
        for (place, weight) in NODES {
            let at = centre + half * place;
            let near = walk.partition_point(|from| from.at < at - REACH * sd);
            let density: f64 = walk[near..]
                .iter()
                .take_while(|from| from.at <= at + REACH * sd)
                .map(|from| from.mass * normal_pdf((at - from.at) / sd))
                .sum();
            nodes.push(Mass { at, mass: density / sd * weight * half });
        }
    }
    nodes
}

const NEWTON_STEPS: u32 = 60;

/// Of the largest difference.
const ROUNDED: f64 = 1e-9;

/// Steps longer than this many sd are left out.
const REACH: f64 = 8.5;

/// Gauss and Legendre's nodes and weights on [-1, 1], in ascending order.
const NODES: [(f64, f64); 8] = [
    (-0.960_289_856_497_536_2, 0.101_228_536_290_376_26),
    (-0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (-0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (-0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_2, 0.101_228_536_290_376_26),
];

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    /// All times up to 500 at once; Ville's inequality leaves the miss below alpha, and not by
    /// much.
    #[test]
    fn a_gaussian_walk_stays_within_the_bound_at_all_times() {
        let rho_squared = rho_squared(0.05, 30).unwrap();
        let bounds: Vec<f64> = (1..=500)
            .map(|t| multiple(t, rho_squared, 0.05, Sequence::Asymptotic).unwrap())
            .collect();
        let misses = misses(4000, |rng| {
            let mut sum = 0.0;
            bounds.iter().zip(1..).any(|(bound, t)| {
                sum += normal(rng);
                sum.abs() > bound * f64::from(t).sqrt()
            })
        });
        assert!(misses <= 0.05 + 3.0 * (0.05f64 * 0.95 / 4000.0).sqrt(), "{misses}");
        assert!(misses > 0.02, "{misses}: the bound is wider than it need be");
    }

    #[test]
    fn students_sequence_holds_at_all_times_with_an_unknown_sd() {
        let misses = misses(1500, |rng| {
            let walk: Vec<f64> = (0..150).map(|_| 5.0 + 0.1 * normal(rng)).collect();
            let looks = confidence_sequence(&walk, 0.05, 20, Sequence::Student).unwrap();
            looks.iter().any(|look| look.leaves_out(5.0))
        });
        assert!(misses <= 0.05 + 3.0 * (0.05f64 * 0.95 / 1500.0).sqrt(), "{misses}");
        assert!(misses > 0.01, "{misses}");
    }

    #[test]
    fn both_sequences_agree_once_blocks_are_many() {
        let rho_squared = rho_squared(0.05, 20).unwrap();
        let of = |sequence| multiple(100_000, rho_squared, 0.05, sequence).unwrap();
        let (asymptotic, student) = (of(Sequence::Asymptotic), of(Sequence::Student));
        assert!((student / asymptotic - 1.0).abs() < 1e-3, "{asymptotic} and {student}");
        assert_eq!(multiple(2, rho_squared, 0.05, Sequence::Student), None);
    }

    #[test]
    fn the_bound_is_narrowest_where_it_was_asked_to_be() {
        let at = |blocks: u32, tuned: u32| {
            let rho_squared = rho_squared(0.05, tuned).unwrap();
            multiple(blocks, rho_squared, 0.05, Sequence::Asymptotic).unwrap()
        };
        for other in [10, 40, 49, 51, 60, 500] {
            assert!(at(50, 50) < at(50, other), "{other}");
        }
    }

    #[test]
    fn repeated_tests_spend_what_a_simulation_of_them_spends() {
        let looks = [3, 5, 6, 12, 40];
        let spent = spent(&looks, 0.1).unwrap();
        let z = critical(f64::INFINITY, 0.1);
        let found = misses(20_000, |rng| {
            let (mut sum, mut blocks) = (0.0, 0);
            looks.iter().any(|look| {
                sum += f64::from(look - blocks).sqrt() * normal(rng);
                blocks = *look;
                sum.abs() > z * f64::from(blocks).sqrt()
            })
        });
        assert!((found - spent[4]).abs() < 0.01, "{found} and {spent:?}");
        assert!((spent[0] - 0.1).abs() < 1e-12);
    }

    #[test]
    fn equal_differences_bound_nothing() {
        let of = |differences: &[f64]| {
            confidence_sequence(differences, 0.05, 10, Sequence::Student).unwrap()
        };
        assert_eq!(of(&[0.5; 30]).last().unwrap().bounds, None);
        // Equal but for rounding.
        let tied = [0.95 - 0.90, 0.90 - 0.85, 0.95 - 0.90, 0.85 - 0.80, 0.90 - 0.85];
        assert!(tied.iter().any(|value| *value != tied[0]));
        assert!(of(&tied).iter().all(|look| look.bounds.is_none()));
        let mut later = vec![0.5; 30];
        later.push(0.6);
        assert!(of(&later).last().unwrap().bounds.is_some());
        assert!(confidence_sequence(&[0.5], 0.05, 10, Sequence::Student).unwrap().is_empty());
        assert!(spent(&[], 0.05).unwrap().is_empty());
    }

    #[test]
    fn what_has_no_sequence_is_refused() {
        let of = |differences: &[f64], alpha, narrowest| {
            confidence_sequence(differences, alpha, narrowest, Sequence::Asymptotic)
        };
        assert_eq!(of(&[1.0], 1.0, 5), Err(MonitorError::Alpha { alpha: 1.0 }));
        assert_eq!(of(&[1.0], 0.1, 0), Err(MonitorError::Narrowest { blocks: 0 }));
        assert_eq!(of(&[1.0, f64::NAN], 0.1, 5), Err(MonitorError::NotFinite { index: 1 }));
        assert_eq!(spent(&[3, 3], 0.1), Err(MonitorError::Order { index: 1, blocks: 3 }));
        assert_eq!(spent(&[0], 0.1), Err(MonitorError::Order { index: 0, blocks: 0 }));
    }

    impl Look {
        fn leaves_out(&self, value: f64) -> bool {
            self.bounds.is_some_and(|(low, high)| value < low || value > high)
        }
    }

    fn misses(walks: u32, mut missed: impl FnMut(&mut ChaCha8Rng) -> bool) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let count = (0..walks).filter(|_| missed(&mut rng)).count();
        count as f64 / f64::from(walks)
    }

    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        let mut unit = || ((rng.next_u64() >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
        (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos()
    }
}
