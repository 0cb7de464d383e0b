//! Several tests at once.
//!
//! The chance that any of them cries wolf grows with their number; adjusted p-values hold that
//! chance. Deliberately absent: which tests make up a family.
//!
//! Floor: common.

use thiserror::Error;

/// Why p-values cannot be adjusted.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("p-value {index}, counted from 0, is {p}; it must lie between 0 and 1")]
pub struct PValueError {
    pub index: usize,
    pub p: f64,
}

/// Holm's step-down adjustment: valid however the tests depend on each other.
///
/// The i-th smallest of m is multiplied by m - i + 1, and none is below a smaller one's. The
/// answer is in the order of `p`; no tests give no p-values.
///
/// Source: Holm (1979), Scand. J. Stat. 6.
pub fn holm(p: &[f64]) -> Result<Vec<f64>, PValueError> {
    if let Some(index) = p.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(PValueError { index, p: p[index] });
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|x, y| p[*x].total_cmp(&p[*y]));
    let mut adjusted = vec![0.0; p.len()];
    let mut least: f64 = 0.0;
    for (rank, place) in order.into_iter().enumerate() {
        least = least.max((p[place] * (p.len() - rank) as f64).min(1.0));
        adjusted[place] = least;
    }
    Ok(adjusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_adjusted_value_is_below_a_smaller_ones() {
        assert_eq!(holm(&[0.5, 0.01, 0.3, 0.02]).unwrap(), [0.6, 0.04, 0.6, 0.06]);
        assert_eq!(holm(&[0.9, 0.9]).unwrap(), [1.0, 1.0]);
        assert_eq!(holm(&[]).unwrap(), [0.0; 0]);
    }

    #[test]
    fn what_is_no_p_value_is_named() {
        assert_eq!(holm(&[0.5, 1.5]), Err(PValueError { index: 1, p: 1.5 }));
        assert_eq!(holm(&[f64::NAN]).unwrap_err().index, 0);
    }
}
