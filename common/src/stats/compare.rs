//! Paired comparisons of two arms: one difference a fold, a seed, or both.
//!
//! Folds share training data, so their differences are not independent and the plain t test calls
//! too much of chance real; the corrected test allows for that. No result is ever NaN. Deliberately
//! absent: which differences to take.
//!
//! Floor: common.

use thiserror::Error;

use super::summary::{mean, sd, student_quantile, student_two_sided};

/// A t test of paired differences against zero.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedT {
    pub mean: f64,
    pub se: f64,
    pub df: f64,
    /// Infinite when every difference is the same and not zero.
    pub t: f64,
    /// Two-sided.
    pub p: f64,
    /// At 95 %.
    pub ci: (f64, f64),
}

/// Why differences cannot be compared.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CompareError {
    #[error("a paired comparison needs at least 2 differences; there are {count}")]
    TooFew { count: usize },
    #[error("difference {index}, counted from 0, is not a finite number; leave the pair out")]
    NotFinite { index: usize },
    #[error("test rows over training rows is {ratio}; it must be finite and not below 0")]
    Ratio { ratio: f64 },
}

/// The plain paired t test: J independent differences.
///
/// `se^2 = s^2 / J`, df = J - 1. With equal differences p is 1 when they are zero, else 0.
pub fn naive_t(differences: &[f64]) -> Result<PairedT, CompareError> {
    corrected_t(differences, 0.0)
}

/// The corrected resampled t test, for J differences whose training sets overlap.
///
/// `se^2 = s^2 (1/J + n_test / n_train)`, df = J - 1. `test_over_train` is the ratio of a
/// partition's test rows to its training rows, 1/(k - 1) for k folds.
///
/// Source: Nadeau & Bengio (2003), Machine Learning 52, section 5. Checked by
/// `tests/reference.rs`.
pub fn corrected_t(differences: &[f64], test_over_train: f64) -> Result<PairedT, CompareError> {
    if let Some(index) = differences.iter().position(|value| !value.is_finite()) {
        return Err(CompareError::NotFinite { index });
    }
    if !test_over_train.is_finite() || test_over_train < 0.0 {
        return Err(CompareError::Ratio { ratio: test_over_train });
    }
    let count = differences.len();
    let sd = sd(differences).ok_or(CompareError::TooFew { count })?;
    let mean = mean(differences);
    let df = (count - 1) as f64;
    let se = sd * (1.0 / count as f64 + test_over_train).sqrt();
    let t = match (se == 0.0, mean == 0.0) {
        (true, true) => 0.0,
        (true, false) => f64::INFINITY.copysign(mean),
        (false, _) => mean / se,
    };
    let half = student_quantile(0.975, df) * se;
    Ok(PairedT { mean, se, df, t, p: student_two_sided(t, df), ci: (mean - half, mean + half) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_differences_are_certain_unless_zero() {
        let apart = corrected_t(&[-0.3; 5], 0.25).unwrap();
        let same = corrected_t(&[0.0; 5], 0.25).unwrap();

        assert_eq!((apart.t, apart.p, apart.ci), (f64::NEG_INFINITY, 0.0, (-0.3, -0.3)));
        assert_eq!((same.t, same.p, same.ci), (0.0, 1.0, (0.0, 0.0)));
    }

    #[test]
    fn correction_widens_the_interval() {
        let differences = [0.1, 0.3, -0.1, 0.2];
        let (naive, corrected) =
            (naive_t(&differences).unwrap(), corrected_t(&differences, 1.0 / 3.0).unwrap());

        assert_eq!(naive.mean, corrected.mean);
        assert!(corrected.ci.0 < naive.ci.0 && naive.ci.1 < corrected.ci.1);
        assert!(corrected.p > naive.p);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        assert_eq!(naive_t(&[0.1]), Err(CompareError::TooFew { count: 1 }));
        assert_eq!(naive_t(&[]), Err(CompareError::TooFew { count: 0 }));
        assert_eq!(naive_t(&[0.1, f64::NAN]), Err(CompareError::NotFinite { index: 1 }));
        assert_eq!(corrected_t(&[0.1, 0.2], -1.0), Err(CompareError::Ratio { ratio: -1.0 }));
    }
}
