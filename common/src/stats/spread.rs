//! How well a spread is known, and whether spreads differ.
//!
//! Three seeds say almost nothing of how much seeds matter; these functions say how little.
//! Deliberately absent: variance components, which `mixed` divides.
//!
//! Floor: common.

use thiserror::Error;

use super::distribution::{chi_square_quantile, f_upper};
use super::summary::{mean, median, sd};

/// A test of equal spread in several groups.
#[derive(Clone, Debug, PartialEq)]
pub struct BrownForsythe {
    /// Infinite when every group is equally far from its median, and the groups are not.
    pub f: f64,
    pub df: (f64, f64),
    pub p: f64,
    /// Standard deviation of each group, divisor n - 1.
    pub sds: Vec<f64>,
}

/// Why a spread cannot be judged.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SpreadError {
    #[error("spreads are compared with each other, and there is only {groups} group")]
    TooFewGroups { groups: usize },
    #[error("group {group}, counted from 0, has {values} values; its spread needs at least 2")]
    TooFewValues { group: usize, values: usize },
    #[error("value {index} of group {group}, counted from 0, is not a finite number")]
    NotFinite { group: usize, index: usize },
    #[error("a spread with {df} degrees of freedom is not known at all; it must be above 0")]
    Df { df: f64 },
    #[error("the level of an interval is {level}; it must lie between 0 and 1")]
    Level { level: f64 },
}

/// Whether groups, such as the seeds of each arm, spread equally: an analysis of variance of the
/// distances from each group's median.
///
/// Groups that are all equally far from their medians give p = 1. Equals
/// `scipy.stats.levene(center="median")`.
/// Source: Brown & Forsythe (1974), J. Am. Stat. Assoc. 69.
pub fn brown_forsythe(groups: &[Vec<f64>]) -> Result<BrownForsythe, SpreadError> {
    if groups.len() < 2 {
        return Err(SpreadError::TooFewGroups { groups: groups.len() });
    }
    let mut sds = Vec::with_capacity(groups.len());
    for (group, values) in groups.iter().enumerate() {
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(SpreadError::NotFinite { group, index });
        }
        let too_few = SpreadError::TooFewValues { group, values: values.len() };
        sds.push(sd(values).ok_or(too_few)?);
    }
    let distances: Vec<Vec<f64>> = groups
        .iter()
        .map(|values| {
            let middle = median(values);
            values.iter().map(|value| (value - middle).abs()).collect()
        })
        .collect();
    let all = mean(&distances.concat());
    let (mut between, mut within) = (0.0, 0.0);
    for group in &distances {
        let own = mean(group);
        between += group.len() as f64 * (own - all).powi(2);
        within += sd(group).unwrap_or(0.0).powi(2) * (group.len() - 1) as f64;
    }
    let values: usize = groups.iter().map(Vec::len).sum();
    let df = ((groups.len() - 1) as f64, (values - groups.len()) as f64);
    let f = match (within == 0.0, between == 0.0) {
        (_, true) => 0.0,
        (true, false) => f64::INFINITY,
        (false, false) => (between / df.0) / (within / df.1),
    };
    Ok(BrownForsythe { f, df, p: f_upper(f, df), sds })
}

/// By which factors a true standard deviation may be smaller and larger than the one observed.
///
/// `sqrt(df / χ²)` at both tails of `level`: with 3 seeds (df = 2) and 0.95 they are 0.52 and 6.3.
/// For normal values.
pub fn sd_factors(df: f64, level: f64) -> Result<(f64, f64), SpreadError> {
    let tail = 0.5 * (1.0 - checked(df, level)?);
    let factor = |probability: f64| (df / chi_square_quantile(probability, df)).sqrt();
    Ok((factor(1.0 - tail), factor(tail)))
}

/// By which factor a true standard deviation may be larger than the one observed, one-sided.
///
/// The true one is below `factor × observed` with confidence `level`. For normal values.
pub fn sd_upper_factor(df: f64, level: f64) -> Result<f64, SpreadError> {
    let tail = 1.0 - checked(df, level)?;
    Ok((df / chi_square_quantile(tail, df)).sqrt())
}

/// The level, if both can be used.
fn checked(df: f64, level: f64) -> Result<f64, SpreadError> {
    if !df.is_finite() || df <= 0.0 {
        return Err(SpreadError::Df { df });
    }
    if level.is_nan() || level <= 0.0 || level >= 1.0 {
        return Err(SpreadError::Level { level });
    }
    Ok(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_seeds_know_a_spread_within_a_factor_of_twelve() {
        let (low, high) = sd_factors(2.0, 0.95).unwrap();

        assert!((low - 0.5207).abs() < 1e-4 && (high - 6.2847).abs() < 1e-4, "{low} {high}");
        // Chi-square with 2 degrees of freedom is exponential: its quantile is -2 ln(1 - p).
        let upper = (1.0 / -0.95f64.ln()).sqrt();
        assert!((sd_upper_factor(2.0, 0.95).unwrap() - upper).abs() < 1e-12);
    }

    #[test]
    fn groups_without_any_spread_are_alike() {
        let none = brown_forsythe(&[vec![0.5; 3], vec![0.7; 3]]).unwrap();
        let one = brown_forsythe(&[vec![0.5; 4], vec![0.25, 0.75, 0.25, 0.75]]).unwrap();

        assert_eq!((none.f, none.p, none.sds), (0.0, 1.0, vec![0.0, 0.0]));
        assert_eq!((one.f, one.p), (f64::INFINITY, 0.0));
    }

    #[test]
    fn what_has_no_spread_is_refused() {
        let few = brown_forsythe(&[vec![0.1, 0.2], vec![0.1]]);
        assert_eq!(few, Err(SpreadError::TooFewValues { group: 1, values: 1 }));
        assert_eq!(brown_forsythe(&[]), Err(SpreadError::TooFewGroups { groups: 0 }));
        let broken = brown_forsythe(&[vec![0.1, 0.2], vec![0.1, f64::NAN]]);
        assert_eq!(broken, Err(SpreadError::NotFinite { group: 1, index: 1 }));
        assert_eq!(sd_factors(0.0, 0.95), Err(SpreadError::Df { df: 0.0 }));
        assert_eq!(sd_upper_factor(2.0, 1.0), Err(SpreadError::Level { level: 1.0 }));
    }
}
