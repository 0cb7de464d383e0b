//! Profile likelihood interval of a contrast of fixed effects.
//!
//! The full likelihood with `L'beta = c` held needs no other model: at any theta the penalised
//! squares rise by `(c - L'beta(theta))^2 / (L' Phi(theta) L)` over those of the free fit.
//! Deliberately absent: the same on the restricted likelihood, which means nothing, since holding
//! a coefficient changes which data it is a likelihood of.
//!
//! Floor: common.

use faer::Mat;
use statrs::distribution::ContinuousCDF;

use super::df::{InferenceError, weights_of_q};
use super::fit::{Fit, Method};
use super::interval::{chi_square, crossing};
use super::objective::Point;
use super::optimise::{self, Surface};
use super::search::tolerance;

/// Profile likelihood interval of `sum_j weights_j beta_j`, in units of the response.
///
/// Holds the values whose profiled deviance is within the chi-square quantile of `level` at 1
/// degree of freedom (3.8415 for 0.95) of the best; as lme4's `profile`. With few levels it is
/// too short: prefer a contrast's t interval.
///
/// Errors: [`InferenceError::ProfileNeedsMl`] for a restricted fit, [`InferenceError::Profile`]
/// where the profile could not be followed to the cut.
/// Panics when `level` is not between 0 and 1.
pub fn fixed_profile_interval(
    fit: &Fit,
    weights: &[f64],
    level: f64,
) -> Result<(f64, f64), InferenceError> {
    assert!(level > 0.0 && level < 1.0, "a level lies between 0 and 1");
    if fit.method != Method::Ml {
        return Err(InferenceError::ProfileNeedsMl);
    }
    let moved = weights_of_q(fit, weights)?;
    let estimate: f64 = weights.iter().zip(&fit.fixed).map(|(w, fixed)| w * fixed.estimate).sum();
    let variance = fit.residual.sd / fit.terms.y_scale;
    let mut held = Held { fit, weights: moved, value: 0.0 };
    let best = Point::at(&fit.terms, &fit.block_theta).ok_or(InferenceError::Flat)?;
    let spread = held.spread(&best).sqrt() * variance;
    // The constant of a contrast cancels: only its distance from the estimate matters.
    let centre = held.contrast(&best);
    let cut = chi_square(1.0).inverse_cdf(level).sqrt();
    let mut end = |sign: f64| -> Result<f64, InferenceError> {
        let mut start = fit.block_theta.clone();
        let mut gap = |away: f64| {
            held.value = centre + sign * away;
            // The criterion errs by the square of the gradient that is left.
            let loose = 1e3 * tolerance(&fit.terms);
            let end = optimise::followed(&mut held, &start, &fit.block_theta, None, loose)?;
            start = end.x;
            Some((end.value - fit.criterion).max(0.0).sqrt() - cut)
        };
        let (mut inside, mut at_inside) = (0.0, -cut);
        let mut outside = cut * spread;
        for _ in 0..DOUBLINGS_MAX {
            let at_outside = gap(outside).ok_or(InferenceError::Profile)?;
            if at_outside >= 0.0 {
                let ends = ([inside, at_inside], [outside, at_outside]);
                return crossing(gap, ends.0, ends.1, CLOSE * spread)
                    .ok_or(InferenceError::Profile);
            }
            (inside, at_inside) = (outside, at_outside);
            outside *= 1.5;
        }
        Err(InferenceError::Profile)
    };
    let (below, above) = (end(-1.0)?, end(1.0)?);
    Ok((estimate - below, estimate + above))
}

/// The full criterion over theta with a contrast held and sigma at its best.
struct Held<'a> {
    fit: &'a Fit,
    /// On the coefficients of Q, [p, 1].
    weights: Mat<f64>,
    value: f64,
}

impl Held<'_> {
    fn contrast(&self, point: &Point) -> f64 {
        (0..self.weights.nrows()).map(|j| self.weights[(j, 0)] * point.coefficients[j]).sum()
    }

    /// `L' Phi L`.
    fn spread(&self, point: &Point) -> f64 {
        (self.weights.transpose() * point.fixed_covariance() * &self.weights)[(0, 0)]
    }

    fn squares(&self, point: &Point) -> f64 {
        point.squares + (self.value - self.contrast(point)).powi(2) / self.spread(point)
    }
}

impl<'a> Surface for Held<'a> {
    type Point = Point<'a>;

    fn at(&mut self, theta: &[f64]) -> Option<Point<'a>> {
        let fit: &'a Fit = self.fit;
        Point::at(&fit.terms, theta)
    }

    fn value(&self, point: &Point<'a>) -> f64 {
        let n = point.freedom(Method::Ml);
        let variance = self.squares(point) / n;
        // What `criterion_at` adds for its own squares is exchanged for n.
        point.criterion_at(Method::Ml, variance) - point.squares / variance + n
    }

    /// By the covariances G: `Z_l'V0^-1 Z_l` less the slope of the squares over sigma^2, with
    /// `d L'beta = -m'S' dG r` and `d L'Phi L = m'S' dG S m` for `m = Phi L`, `S = Z' V0^-1 Q` and
    /// `r = Z' P y`.
    fn slopes(&self, point: &Point<'a>) -> Vec<f64> {
        let terms = point.terms;
        if terms.blocks.is_empty() {
            return Vec::new();
        }
        let variance = self.squares(point) / point.freedom(Method::Ml);
        let spread = self.spread(point);
        let apart = (self.value - self.contrast(point)) / spread;
        let moved = point.fixed_covariance() * &self.weights;
        let scores = point.scores();
        let both = |row: usize| {
            let (mut along, mut residual) = (0.0, scores[(row, terms.p)]);
            for j in 0..terms.p {
                along += scores[(row, j)] * moved[(j, 0)];
                residual -= scores[(row, j)] * point.coefficients[j];
            }
            (along, residual)
        };
        let mut slopes = point.covariance_slopes(Method::Ml, variance);
        for (slopes, block) in slopes.iter_mut().zip(&terms.blocks) {
            let k = block.width;
            for level in 0..block.levels.len() {
                let columns: Vec<(f64, f64)> =
                    (0..k).map(|column| both(block.at(level) + column)).collect();
                for (at, slope) in slopes.iter_mut().enumerate() {
                    let ((along, residual), (other, rest)) = (columns[at / k], columns[at % k]);
                    let by_contrast = -0.5 * (along * rest + other * residual);
                    *slope +=
                        (-2.0 * apart * by_contrast - apart * apart * along * other) / variance;
                }
            }
        }
        point.parameter_slopes(&slopes)
    }

    fn bounded(&self, index: usize) -> bool {
        self.fit.terms.parameters[index].square
    }
}

const DOUBLINGS_MAX: u32 = 60;
/// Of a standard error.
const CLOSE: f64 = 1e-7;
