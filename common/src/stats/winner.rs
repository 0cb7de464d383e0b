//! The winner's curse: how much of the best one's lead is luck.
//!
//! The best of n looks better than it is, since it was chosen for looking so. What n equal ones
//! would show, and what is left after shrinking, are put beside what was seen. Gains are never
//! negative: they point the way that is better. Deliberately absent: where the variances come from.
//!
//! Floor: common.

use thiserror::Error;

use super::distribution::expected_max;
use super::summary::mean;

/// The best of several means, with and without its luck.
#[derive(Clone, Debug, PartialEq)]
pub struct Winner {
    /// Place of the best; the first of equals.
    pub best: usize,
    /// Mean over all.
    pub mean: f64,
    /// How much better the best is than the mean.
    pub observed_gain: f64,
    /// The gain that the best of n normals with these variances is expected to show.
    pub expected_gain: f64,
    /// The gain expected if all were truly the same, so that their noise alone sets them apart.
    pub noise_gain: f64,
    /// Share of the variance between observed means that is real; 0 where there is none at all.
    pub reliability: f64,
    /// What is left of the observed gain after shrinking: the best linear unbiased prediction.
    pub shrunken_gain: f64,
    /// The mean moved by the shrunken gain: what the best one is worth.
    pub shrunken: f64,
}

/// Why no winner can be judged.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WinnerError {
    #[error("the best of {count} was not chosen from anything; at least 2 are needed")]
    TooFew { count: usize },
    #[error("mean {index}, counted from 0, is not a finite number")]
    NotFinite { index: usize },
    #[error("the {which} variance is {variance}; it must be finite and not below 0")]
    Variance { which: &'static str, variance: f64 },
    #[error("the number of folds is {folds}; it must be at least 1")]
    Folds { folds: f64 },
}

/// The best of several arms, configs or anything else that was chosen by its observed mean.
///
/// `between` is the variance of the true means (of the random effect), `noise` that of an observed
/// mean about its true one, the same for each. With m_n the expected largest of n standard
/// normals: expected gain = m_n sqrt(between + noise), noise gain = m_n sqrt(noise), reliability
/// rho = between / (between + noise), shrunken gain = rho × observed gain.
///
/// Source: Robinson (1991), Stat. Sci. 6, for the shrinking.
pub fn best_of(
    means: &[f64],
    between: f64,
    noise: f64,
    larger_is_better: bool,
) -> Result<Winner, WinnerError> {
    if means.len() < 2 {
        return Err(WinnerError::TooFew { count: means.len() });
    }
    if let Some(index) = means.iter().position(|value| !value.is_finite()) {
        return Err(WinnerError::NotFinite { index });
    }
    for (which, variance) in [("true", between), ("noise", noise)] {
        if !variance.is_finite() || variance < 0.0 {
            return Err(WinnerError::Variance { which, variance });
        }
    }
    let sign = if larger_is_better { 1.0 } else { -1.0 };
    let best = (1..means.len())
        .fold(0, |best, place| if sign * means[place] > sign * means[best] { place } else { best });
    let mean = mean(means);
    let largest = expected_max(means.len() as u64);
    let total = between + noise;
    let reliability = if total > 0.0 { between / total } else { 0.0 };
    let observed_gain = (sign * (means[best] - mean)).max(0.0);
    let shrunken_gain = reliability * observed_gain;
    Ok(Winner {
        best,
        mean,
        observed_gain,
        expected_gain: largest * total.sqrt(),
        noise_gain: largest * noise.sqrt(),
        reliability,
        shrunken_gain,
        shrunken: mean + sign * shrunken_gain,
    })
}

/// The best of an arm's seeds, from the mean of each over the same `folds`.
///
/// `seed` is the variance of the persistent effect of a seed, `residual` that of one run beside it:
/// [`best_of`] with between = seed, noise = residual / folds. A retrained model has a fresh seed,
/// so even the shrunken gain belongs to the model that was trained, not to the arm.
pub fn best_seed(
    means: &[f64],
    seed: f64,
    residual: f64,
    folds: f64,
    larger_is_better: bool,
) -> Result<Winner, WinnerError> {
    if !folds.is_finite() || folds < 1.0 {
        return Err(WinnerError::Folds { folds });
    }
    best_of(means, seed, residual / folds, larger_is_better)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::seed::{Stream, StreamRng};

    #[test]
    fn seeds_without_effect_shrink_to_the_mean() {
        let winner = best_seed(&[0.80, 0.83, 0.81], 0.0, 0.0004, 4.0, true).unwrap();

        assert_eq!((winner.best, winner.reliability, winner.shrunken_gain), (1, 0.0, 0.0));
        assert_eq!(winner.shrunken, winner.mean);
        assert_eq!(winner.expected_gain, winner.noise_gain);
        assert!((winner.expected_gain - 0.01 * expected_max(3)).abs() < 1e-15);
    }

    #[test]
    fn losses_shrink_upward() {
        let winner = best_of(&[0.30, 0.20, 0.25], 3.0, 1.0, false).unwrap();

        assert_eq!(winner.best, 1);
        assert!((winner.observed_gain - 0.05).abs() < 1e-15);
        assert!((winner.shrunken - 0.2125).abs() < 1e-15, "{}", winner.shrunken);
    }

    #[test]
    fn shrunken_gain_is_what_the_best_keeps() {
        let mut rng = StreamRng::new(&Digest::of(b"winner"), Stream::Noise, 0, 0);
        let (mut seen, mut expected, mut left, mut kept) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..4000 {
            let truth: Vec<f64> = (0..10).map(|_| 2.0 * rng.normal()).collect();
            let means: Vec<f64> = truth.iter().map(|value| value + rng.normal()).collect();
            let winner = best_of(&means, 4.0, 1.0, true).unwrap();
            seen += winner.observed_gain;
            expected += winner.expected_gain;
            left += winner.shrunken_gain;
            kept += truth[winner.best] - truth.iter().sum::<f64>() / 10.0;
        }

        assert!((seen / expected - 1.0).abs() < 0.02, "{}", seen / expected);
        assert!((left / kept - 1.0).abs() < 0.02, "{}", left / kept);
    }

    #[test]
    fn nothing_at_all_is_no_gain() {
        let winner = best_of(&[0.5, 0.5], 0.0, 0.0, true).unwrap();

        assert_eq!((winner.best, winner.observed_gain, winner.expected_gain), (0, 0.0, 0.0));
        assert_eq!((winner.reliability, winner.shrunken), (0.0, 0.5));
    }

    #[test]
    fn what_was_not_chosen_is_refused() {
        assert_eq!(best_of(&[0.5], 1.0, 1.0, true), Err(WinnerError::TooFew { count: 1 }));
        let broken = best_of(&[0.5, f64::INFINITY], 1.0, 1.0, true);
        assert_eq!(broken, Err(WinnerError::NotFinite { index: 1 }));
        let negative = best_of(&[0.5, 0.6], -1.0, 1.0, true);
        assert_eq!(negative, Err(WinnerError::Variance { which: "true", variance: -1.0 }));
        let folds = best_seed(&[0.5, 0.6], 1.0, 1.0, 0.0, true);
        assert_eq!(folds, Err(WinnerError::Folds { folds: 0.0 }));
    }
}
