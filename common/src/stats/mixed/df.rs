//! Degrees of freedom of a contrast of fixed effects: how well its standard error is known.
//!
//! With five folds a normal quantile is far too short, so there is no z test here. A variance at
//! zero counts as known to be zero, and the result says so. Deliberately absent: tests of several
//! contrasts at once (an F test).
//!
//! Floor: common.

use faer::Mat;
use thiserror::Error;

use super::estimates;
use super::fit::{Fit, Method};
use super::information::{Information, Kind, LEVELS_MAX};
use super::interval::Part;

/// How degrees of freedom are approximated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DfMethod {
    /// Matches the variance of the estimated variance; as lmerTest.
    Satterthwaite,
    /// With the expected information, and a standard error corrected for small samples; as
    /// pbkrtest. Of restricted fits.
    KenwardRoger,
}

/// A contrast's standard error and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    /// In units of the response.
    pub se: f64,
    /// Larger than it should be where some variance is zero, which is taken as known.
    pub df: f64,
}

/// Why a fit does not answer a question about its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InferenceError {
    #[error("{given} weights were given for {expected} fixed effects; give one each")]
    Weights { given: usize, expected: usize },
    #[error("all weights are zero or one is not finite, so there is nothing to test")]
    EmptyContrast,
    #[error("Kenward-Roger needs a restricted fit; fit by REML, or use Satterthwaite")]
    KenwardRogerNeedsReml,
    #[error(
        "Kenward-Roger needs {levels} x {levels} numbers and the limit is {limit} levels; use \
         Satterthwaite, which differs little with so many"
    )]
    TooManyLevels { levels: usize, limit: usize },
    #[error(
        "the likelihood hardly curves along some variance, so nothing can be said about its \
         precision; drop a random term that the design cannot tell apart"
    )]
    Flat,
    #[error(
        "the profile of the likelihood could not be followed to where an interval ends; use the t \
         interval"
    )]
    Profile,
    #[error("a fixed effect is profiled on the full likelihood; fit by ML")]
    ProfileNeedsMl,
    #[error("an exact test is of the restricted likelihood; fit by REML")]
    ExactNeedsReml,
    #[error(
        "the factor has {levels} levels and the exact test's limit is {limit}; with so many the \
         chi-bar-square p is good"
    )]
    ExactLevels { levels: usize, limit: usize },
    #[error(
        "the exact test is of a variance that stands alone, and this effect is correlated with \
         others in its term; use the likelihood-ratio test"
    )]
    ExactCorrelated,
    #[error(
        "a bootstrap of random slopes needs a matrix of {levels} x {levels} numbers and the limit \
         is {limit} effects; use the profile interval"
    )]
    BootstrapEffects { levels: usize, limit: usize },
    #[error("simulation needs at least {least} draws, not {draws}")]
    TooFewDraws { draws: usize, least: usize },
    #[error("{failed} of {draws} refits did not converge; too many to trust the others")]
    Refits { failed: usize, draws: usize },
}

/// What a fit knows about the precision of any contrast.
#[derive(Clone, Debug)]
pub struct Freedom<'a> {
    fit: &'a Fit,
    method: DfMethod,
    information: Information,
    /// The relative covariance factors of the fit's blocks.
    factors: Vec<Vec<f64>>,
    /// Covariance of the coefficients of Q over sigma^2, corrected if the method corrects it.
    covariance: Mat<f64>,
}

impl<'a> Freedom<'a> {
    /// Computes what all contrasts of `fit` share.
    ///
    /// The cost depends on the levels, not on the rows: one [q, q] matrix of `Z' V^-1 Z`. With
    /// more than 5,000 levels Satterthwaite takes its Hessian from differences of exact slopes
    /// and Kenward-Roger is refused.
    /// Source: Giesbrecht & Burns (1985), Biometrics 41; Kenward & Roger (1997), Biometrics 53.
    /// Checked by `tests/inference.rs` against lmerTest and pbkrtest.
    pub fn of(fit: &'a Fit, method: DfMethod) -> Result<Self, InferenceError> {
        let kind = match method {
            DfMethod::Satterthwaite => Kind::Observed,
            DfMethod::KenwardRoger => Kind::Expected,
        };
        let levels = fit.terms.border.nrows();
        if method == DfMethod::KenwardRoger {
            if fit.method == Method::Ml {
                return Err(InferenceError::KenwardRogerNeedsReml);
            }
            if levels > LEVELS_MAX {
                return Err(InferenceError::TooManyLevels { levels, limit: LEVELS_MAX });
            }
        }
        let information = Information::of(fit, kind).ok_or(InferenceError::Flat)?;
        let covariance = match method {
            DfMethod::Satterthwaite => information.phi.clone(),
            DfMethod::KenwardRoger => adjusted(&information),
        };
        let factors = fit.terms.factors(&fit.block_theta);
        Ok(Self { fit, method, information, factors, covariance })
    }

    pub fn method(&self) -> DfMethod {
        self.method
    }

    /// Standard error and degrees of freedom of `sum_j weights_j beta_j`, weights as the fit's
    /// fixed effects.
    ///
    /// `df = 2 (L'CL)^2 / (g' A g)`, with C the covariance of the fixed effects, g the gradient of
    /// L'CL by the variances and A their covariance. For one contrast Kenward and Roger's df is
    /// the same with A from the expected information.
    pub fn contrast(&self, weights: &[f64]) -> Result<Precision, InferenceError> {
        let moved = self.weights_of_q(weights)?;
        let information = &self.information;
        let form = |matrix: &Mat<f64>| {
            information.variance * (moved.transpose() * matrix * &moved)[(0, 0)]
        };
        let gradient = information.gradient(&moved);
        let df = 2.0 * form(&information.phi).powi(2) / information.spread(&gradient);
        let se = form(&self.covariance).sqrt();
        Ok(Precision { se, df })
    }

    /// Standard error of `sum_j weights_j beta_j` with more of some sources of spread in it: each
    /// of `parts` adds so many times its variance. Degrees of freedom as for a contrast.
    ///
    /// One more outcome is as far from its mean as its own sources allow, each once: of one more
    /// training the seed and the residual, of one on new data the folds too. A mean over
    /// overlapping training sets has more of the folds than independent ones would give it.
    pub fn widened(
        &self,
        weights: &[f64],
        parts: &[(Part, f64)],
    ) -> Result<Precision, InferenceError> {
        let moved = self.weights_of_q(weights)?;
        let information = &self.information;
        let mut gradient = information.gradient(&moved);
        let sigma = information.pairs.len();
        let unit = self.fit.terms.y_scale.powi(2);
        // What is corrected for small samples is the standard error, not its degrees of freedom.
        let plain = information.variance * (moved.transpose() * &information.phi * &moved)[(0, 0)];
        let mut variance = plain;
        let corrected = self.contrast(weights)?.se.powi(2);
        for &(part, times) in parts {
            let Part::Component(index) = part else {
                variance += times * unit * information.variance;
                gradient[sigma] += times * unit;
                continue;
            };
            let (place, effect) = self.fit.terms.effects()[index];
            let relative = times * (self.fit.components[index].sd / self.fit.residual.sd).powi(2);
            variance += unit * information.variance * relative;
            gradient[sigma] += unit * relative;
            let k = self.fit.terms.blocks[place].width;
            let factor = estimates::given(&self.fit.terms, place, &self.factors[place]);
            for (slope, &(a, b)) in gradient.iter_mut().zip(&information.pairs) {
                let ((of, a), (_, b)) = (information.directions[a], information.directions[b]);
                if of == place {
                    let product = factor[effect * k + a] * factor[effect * k + b];
                    let both = if a == b { product } else { 2.0 * product };
                    *slope += times * unit * information.variance * both;
                }
            }
        }
        let df = 2.0 * variance.powi(2) / information.spread(&gradient);
        let se = (variance - plain + corrected).sqrt();
        Ok(Precision { se, df })
    }

    /// Covariance of two contrasts, in squared units of the response.
    pub(super) fn covariance(&self, a: &[f64], b: &[f64]) -> Result<f64, InferenceError> {
        let (a, b) = (self.weights_of_q(a)?, self.weights_of_q(b)?);
        Ok(self.information.variance * (a.transpose() * &self.covariance * &b)[(0, 0)])
    }

    pub(super) fn fit(&self) -> &'a Fit {
        self.fit
    }

    fn weights_of_q(&self, weights: &[f64]) -> Result<Mat<f64>, InferenceError> {
        weights_of_q(self.fit, weights)
    }
}

/// Weights on the coefficients of Q, [p, 1], that give a contrast up to its constant.
pub(super) fn weights_of_q(fit: &Fit, weights: &[f64]) -> Result<Mat<f64>, InferenceError> {
    check_weights(weights, fit.terms.p)?;
    let column = Mat::from_fn(weights.len(), 1, |i, _| weights[i]);
    Ok(fit.terms.back.transpose() * column)
}

pub(super) fn check_weights(weights: &[f64], expected: usize) -> Result<(), InferenceError> {
    if weights.len() != expected {
        return Err(InferenceError::Weights { given: weights.len(), expected });
    }
    let sound = weights.iter().all(|w| w.is_finite()) && weights.iter().any(|w| *w != 0.0);
    if sound { Ok(()) } else { Err(InferenceError::EmptyContrast) }
}

/// Kenward and Roger's covariance over sigma^2:
/// `Phi + 2 Phi (sum_kl W_kl (Q_kl - P_k Phi P_l)) Phi`.
///
/// Only phis appear: the terms with s2 cancel, since the derivative of V by s2 is V / s2.
fn adjusted(information: &Information) -> Mat<f64> {
    let Information { phi, middles, covariance, doubles, .. } = information;
    let mut sum = Mat::<f64>::zeros(phi.nrows(), phi.nrows());
    for k in 0..middles.len() {
        for l in 0..=k {
            let one = &doubles[k * (k + 1) / 2 + l] - &middles[k] * phi * &middles[l];
            let both = if k == l { one } else { &one + one.transpose() };
            sum += faer::Scale(covariance[(k, l)]) * both;
        }
    }
    phi + faer::Scale(2.0) * (phi * sum * phi)
}
