//! What looking at the test set many times is worth in luck.
//!
//! Indicative only: looks at one test set are neither independent nor blind, and reuse by itself is
//! no proof of overfitting (Recht et al. 2019). Deliberately absent: the ledger, which the study
//! keeps.
//!
//! Floor: common.

use thiserror::Error;

use super::distribution::expected_max;

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LedgerError {
    #[error("the standard error over test cases is {se}; it must be finite and not below 0")]
    StandardError { se: f64 },
}

/// How much the luckiest of `looks` equally good candidates is expected to gain on the test cases.
///
/// `case_se × m_k`, in units of the metric, with `case_se` the standard error of the metric over
/// the test cases and m_k the mean of the largest of k standard normal numbers. 0 for one look.
pub fn lucky_pick(case_se: f64, looks: u64) -> Result<f64, LedgerError> {
    if !case_se.is_finite() || case_se < 0.0 {
        return Err(LedgerError::StandardError { se: case_se });
    }
    Ok(case_se * expected_max(looks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_looks_are_worth_one_and_a_half_standard_errors() {
        assert!((lucky_pick(0.02, 10).unwrap() - 0.0308).abs() < 1e-4);
        assert_eq!(lucky_pick(0.02, 1), Ok(0.0));
        assert!(lucky_pick(-0.1, 3).is_err() && lucky_pick(f64::NAN, 3).is_err());
    }
}
