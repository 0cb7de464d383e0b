//! What a repetition of a study, or a smaller one, would find.
//!
//! A replication's numbers are predicted from the estimate and its error with no prior beyond
//! them, scale included, so few degrees of freedom widen the prediction. No result is ever NaN.
//! Deliberately absent: shrinkage. Whoever selected an arm for its score hands in the shrunken
//! difference.
//!
//! Floor: common.

use statrs::function::gamma::ln_gamma;
use thiserror::Error;

use super::noncentral::{critical, mean_over_scale, noncentral_t_cdf, normal_pdf, student_sf};
use super::sources::{Components, StandardError};
use super::summary::normal_cdf;

/// A difference with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    pub difference: f64,
    pub se: f64,
    /// May be infinite.
    pub df: f64,
}

/// Chances of a new study.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replication {
    /// Its difference has the claim's sign.
    pub same_sign: f64,
    /// The same, and its own t test at level alpha leaves out zero.
    pub significant: f64,
}

/// What a study that believes in a standard error is likely to report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retrodesign {
    /// Chance of a difference that leaves out zero.
    pub significant: f64,
    /// Chance of one with the wrong sign; half of `significant` where there is no effect.
    pub wrong: f64,
    /// Type S: share of those significant that have the wrong sign; `None` where none are.
    pub wrong_share: Option<f64>,
    /// Type M: by what factor those significant overstate the effect on average. `None` without an
    /// effect, where none are significant, or where the mean does not exist (one degree of
    /// freedom).
    pub exaggeration: Option<f64>,
}

/// Why nothing can be predicted.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ReplicationError {
    #[error("the difference is {difference}; it must be a finite number")]
    Difference { difference: f64 },
    #[error("the {what} is {value}; it must be above 0 and finite")]
    Spread { what: &'static str, value: f64 },
    #[error("the degrees of freedom are {df}; they must be 1 or more")]
    Df { df: f64 },
    #[error("the level is {level}; it must lie between 0 and 1")]
    Level { level: f64 },
}

/// Chances that a study of standard error `again` confirms `claim` at level `alpha`.
///
/// `again.se` is what the components give for the new design; its ratio to the claim's is taken as
/// known, their common scale is not. With S the scale of the claim's degrees of freedom,
/// the predicted difference is normal about the claim's with variance `(SE^2 + SE'^2) / S^2`, and
/// the replication estimates its own error with its own degrees of freedom. For the same
/// design and known errors these are `Phi(|d| / (sqrt 2 SE))` and
/// `Phi((|d| - t_c SE) / (sqrt 2 SE))`. A new design that cannot estimate its error is
/// never significant. Checked by integration and simulation in `tests/planning.rs`.
pub fn replication(
    claim: Claim,
    again: StandardError,
    alpha: f64,
) -> Result<Replication, ReplicationError> {
    claim.check()?;
    positive("new standard error", again.se)?;
    level(alpha)?;
    let spread = claim.se.hypot(again.se);
    let distance = claim.difference.abs() / spread;
    let same_sign = 1.0 - student_sf(distance, claim.df);
    let Some(df) = again.df else { return Ok(Replication { same_sign, significant: 0.0 }) };
    positive("new degrees of freedom", df.min(f64::MAX))?;
    let bar = critical(df, alpha) * again.se / spread;
    let significant = mean_over_scale(claim.df, distance, |scale| {
        1.0 - noncentral_t_cdf(bar, df, distance * scale)
    });
    Ok(Replication { same_sign, significant: significant.clamp(0.0, same_sign) })
}

/// [`replication`] for each of `designs`, a cost with the error that it buys: the curve against
/// budget.
pub fn replication_curve(
    claim: Claim,
    designs: &[(f64, StandardError)],
    alpha: f64,
) -> Result<Vec<(f64, Replication)>, ReplicationError> {
    designs.iter().map(|(cost, error)| Ok((*cost, replication(claim, *error, alpha)?))).collect()
}

/// Chance that one fresh run of the better arm beats one of the other on the same new fold.
///
/// `Phi(|d| / sqrt(2 (s2_CF + s2_S + s2_E)))`; 1 without any spread, and 0.5 without a difference.
pub fn fresh_run_wins(difference: f64, components: &Components) -> Result<f64, ReplicationError> {
    if !difference.is_finite() {
        return Err(ReplicationError::Difference { difference });
    }
    let sd = components.between_runs_sd();
    match (sd > 0.0 && sd.is_finite(), sd == 0.0) {
        (true, _) => Ok(normal_cdf(difference.abs() / sd)),
        (_, true) => Ok(if difference == 0.0 { 0.5 } else { 1.0 }),
        _ => Err(ReplicationError::Spread { what: "spread between runs", value: sd }),
    }
}

/// What a paper with one seed on one hold-out set would report of a true `difference`.
///
/// Its estimate spreads with `sqrt(2 (s2_CF + s2_S + s2_E))`, for a test set of a fold's size,
/// while its paired test over test cases believes in `case_se`, which knows nothing of retraining.
pub fn one_seed_paper(
    difference: f64,
    components: &Components,
    case_se: f64,
    alpha: f64,
) -> Result<Retrodesign, ReplicationError> {
    let claimed = Claim { difference, se: case_se, df: f64::INFINITY };
    retrodesign(claimed, components.between_runs_sd(), alpha)
}

/// Chances of a significant result, one with the wrong sign, and the mean exaggeration.
///
/// `truth` holds the true difference with the standard error and degrees of freedom that the study
/// tests with, `spread` what its estimate really spreads with; they are equal in an honest study.
/// The estimate is the difference plus `spread` times a t number, significant beyond
/// `t_{1 - alpha/2} se`. Source: Gelman & Carlin (2014), Perspect. Psychol. Sci. 9(6).
pub fn retrodesign(truth: Claim, spread: f64, alpha: f64) -> Result<Retrodesign, ReplicationError> {
    truth.check()?;
    positive("spread of the estimate", spread)?;
    level(alpha)?;
    let (effect, df) = (truth.difference.abs(), truth.df);
    let bar = critical(df, alpha) * truth.se;
    let (right, wrong) = ((bar - effect) / spread, (bar + effect) / spread);
    let (right_share, wrong_share) = (student_sf(right, df), student_sf(wrong, df));
    let significant = right_share + wrong_share;
    // Means of |estimate| over each tail: effect ± spread × the mean of t beyond the bar.
    let size = effect * (right_share - wrong_share)
        + spread * (t_mean_above(right, df) + t_mean_above(wrong, df));
    let exaggeration = size / (significant * effect);
    Ok(Retrodesign {
        significant,
        wrong: wrong_share,
        wrong_share: Some(wrong_share / significant).filter(|share| share.is_finite()),
        exaggeration: Some(exaggeration).filter(|factor| factor.is_finite()),
    })
}

impl Claim {
    fn check(&self) -> Result<(), ReplicationError> {
        if !self.difference.is_finite() {
            return Err(ReplicationError::Difference { difference: self.difference });
        }
        positive("standard error", self.se)?;
        if self.df >= 1.0 { Ok(()) } else { Err(ReplicationError::Df { df: self.df }) }
    }
}

/// Integral of `t` times the density above `t`; infinite at one degree of freedom.
///
/// `phi(t)` for the normal; `c (1 + t^2/df)^{-(df - 1)/2} df / (df - 1)` with c the density at 0
/// otherwise, that is `density(t) (df + t^2) / (df - 1)`.
fn t_mean_above(t: f64, df: f64) -> f64 {
    if !df.is_finite() {
        return normal_pdf(t);
    }
    if df <= 1.0 {
        return f64::INFINITY;
    }
    let log_peak =
        ln_gamma(0.5 * (df + 1.0)) - ln_gamma(0.5 * df) - 0.5 * (df * std::f64::consts::PI).ln();
    let log_tail = -0.5 * (df - 1.0) * (t * t / df).ln_1p();
    (log_peak + log_tail).exp() * df / (df - 1.0)
}

fn positive(what: &'static str, value: f64) -> Result<(), ReplicationError> {
    let good = value.is_finite() && value > 0.0;
    if good { Ok(()) } else { Err(ReplicationError::Spread { what, value }) }
}

fn level(level: f64) -> Result<(), ReplicationError> {
    if level > 0.0 && level < 1.0 { Ok(()) } else { Err(ReplicationError::Level { level }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_errors_give_the_closed_forms() {
        let claim = Claim { difference: -0.02, se: 0.008, df: f64::INFINITY };
        let again = StandardError { se: 0.008, df: Some(f64::INFINITY) };
        let chances = replication(claim, again, 0.05).unwrap();
        let root = 2.0f64.sqrt();

        let same = normal_cdf(0.02 / (root * 0.008));
        let significant =
            normal_cdf((0.02 - critical(f64::INFINITY, 0.05) * 0.008) / (root * 0.008));
        assert!((chances.same_sign - same).abs() < 1e-10);
        assert!((chances.significant - significant).abs() < 1e-10);
    }

    #[test]
    fn a_result_that_just_was_significant_is_so_again_half_the_time_at_most() {
        for df in [2.0, 4.0, 20.0, f64::INFINITY] {
            let claim = Claim { difference: critical(df, 0.05), se: 1.0, df };
            let again = StandardError { se: 1.0, df: Some(df) };
            let chances = replication(claim, again, 0.05).unwrap();
            assert!((chances.significant - 0.5).abs() < 0.05, "{df}: {chances:?}");
            assert!(chances.same_sign > chances.significant);
        }
    }

    #[test]
    fn a_larger_replication_confirms_more_often() {
        let claim = Claim { difference: 2.5, se: 1.0, df: 8.0 };
        let designs: Vec<(f64, StandardError)> = [2.0, 1.0, 0.5, 0.1]
            .iter()
            .map(|se| (1.0 / (se * se), StandardError { se: *se, df: Some(8.0) }))
            .collect();
        let curve = replication_curve(claim, &designs, 0.05).unwrap();

        assert!(curve.windows(2).all(|pair| pair[0].1.significant < pair[1].1.significant));
        let blind = StandardError { se: 1.0, df: None };
        assert_eq!(replication(claim, blind, 0.05).unwrap().significant, 0.0);
    }

    #[test]
    fn an_honest_test_of_no_effect_errs_with_alpha() {
        for df in [3.0, 30.0, f64::INFINITY] {
            let none = retrodesign(Claim { difference: 0.0, se: 2.0, df }, 2.0, 0.05).unwrap();
            assert!((none.significant - 0.05).abs() < 1e-12);
            assert!((none.wrong - 0.025).abs() < 1e-12);
            assert_eq!(none.exaggeration, None);
        }
    }

    #[test]
    fn extremes_give_no_nan() {
        let sure = Claim { difference: 1e9, se: 1e-9, df: 1.0 };
        let found = retrodesign(sure, 1e-9, 0.05).unwrap();
        assert_eq!((found.significant, found.exaggeration), (1.0, None));
        let hopeless = Claim { difference: 1e-9, se: 1e9, df: f64::INFINITY };
        let never = retrodesign(hopeless, 1e-9, 0.05).unwrap();
        assert_eq!((never.significant, never.wrong_share, never.exaggeration), (0.0, None, None));
        let none = Components { seed: None, residual: 0.0, arm_fold: 0.0, fold: 0.0 };
        assert_eq!(fresh_run_wins(0.1, &none), Ok(1.0));
        assert!(one_seed_paper(0.1, &none, 0.1, 0.05).is_err());
    }
}
