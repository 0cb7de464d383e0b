//! Fits a mixed model: from a formula and columns to estimates.
//!
//! A fit keeps the cross-products it came from, so intervals and tests need no rows again. A
//! variance at the boundary is exactly zero and its term stays in the model. Deliberately absent:
//! what the components mean for a study, and the search itself.
//!
//! Floor: common.

use std::collections::BTreeMap;

use thiserror::Error;

use super::arrow::Arrow;
use super::connected::{Between, between};
use super::estimates;
use super::formula::Formula;
use super::optimise::{BOUND, Optimum};
use super::rows::{Column, Slice};
use super::search;
use super::stream::{Accumulator, Products};
use super::terms::Terms;

/// Which likelihood is maximised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Restricted: variances allow for the estimated fixed effects.
    Reml,
    /// Full: needed to compare models with different fixed effects.
    Ml,
}

/// A fitted mixed model.
#[derive(Clone, Debug)]
pub struct Fit {
    pub formula: String,
    pub method: Method,
    /// Rows.
    pub n: usize,
    /// lme4's REML criterion (-2 log restricted likelihood) or ML deviance (-2 log likelihood).
    pub criterion: f64,
    pub fixed: Vec<Fixed>,
    /// Covariance of the fixed effects, in their order.
    pub fixed_vcov: Vec<Vec<f64>>,
    /// One a random effect, in the order of the formula; `a / b` gives `a`, then `a:b`, and
    /// `(1 + x | a)` gives the intercepts of `a`, then its slopes.
    pub components: Vec<Component>,
    /// One a pair of effects in one term.
    pub correlations: Vec<Correlation>,
    /// What no factor explains. Its levels are the rows.
    pub residual: Component,
    /// lme4's: the lower triangle, by columns, of each term's relative covariance factor, in the
    /// order of the formula; for a random intercept its standard deviation over the residual's.
    pub theta: Vec<f64>,
    /// Fixed effects that are told only by comparing levels of random factors, never within one.
    pub between: Vec<Between>,
    /// Times the criterion was evaluated, over all starts.
    pub evaluations: u32,
    pub converged: bool,
    /// Largest slope of the criterion by a theta that is not at the boundary.
    pub gradient_norm: f64,
    /// A rough condition number of the system solved at the estimate.
    pub condition: f64,
    /// Predicted effects of the levels, one list a component, sorted by level.
    pub blups: Vec<Vec<Blup>>,
    pub(super) terms: Terms,
    /// The terms' parameters, in their order and units; for random intercepts they are `theta`.
    pub(super) block_theta: Vec<f64>,
}

/// A fixed effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    /// lme4's: `(Intercept)`, `x`, or variable and level run together as in `armmlp`.
    pub name: String,
    pub estimate: f64,
    /// Standard error, variances taken as known.
    pub se: f64,
}

/// A source of spread.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// `a`, `a:b`, or `Residual`.
    pub factor: String,
    /// `(Intercept)`, or the covariate whose slopes differ: `x`, `armmlp`. Empty for the residual.
    pub term: String,
    pub levels: usize,
    /// In squared units of the response over the covariate's.
    pub variance: f64,
    pub sd: f64,
    /// Of the variance of an average row: all components, correlations and the residual sum to
    /// one. A slope counts by the mean square of its covariate.
    pub share: f64,
    /// The likelihood is best at a variance of exactly zero.
    pub at_boundary: bool,
}

/// How two effects of the same levels vary together.
#[derive(Clone, Debug, PartialEq)]
pub struct Correlation {
    pub factor: String,
    /// Terms of the two components, and their indices in [`Fit::components`].
    pub terms: [String; 2],
    pub components: [usize; 2],
    pub covariance: f64,
    /// `None` where a variance is zero.
    pub correlation: Option<f64>,
    /// Of the variance of an average row; negative where the effects cancel.
    pub share: f64,
}

/// The predicted effect of one level, in units of the response.
#[derive(Clone, Debug, PartialEq)]
pub struct Blup {
    pub level: String,
    pub mean: f64,
    /// Conditional standard deviation, theta and the fixed effects taken as known.
    pub sd: f64,
}

/// Why a model cannot be fitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FitError {
    #[error("there is no column `{variable}`")]
    NoColumn { variable: String },
    #[error("`{variable}` has {length} values where the response has {rows}")]
    UnequalLengths { variable: String, length: usize, rows: usize },
    #[error("`{variable}` holds levels; the response must be numbers")]
    NotNumbers { variable: String },
    #[error("`{variable}` holds numbers; a grouping factor must hold levels")]
    NotLevels { variable: String },
    #[error("`{variable}` is not a finite number in row {row}, counted from 0; leave the row out")]
    NotFinite { variable: String, row: usize },
    #[error("`{variable}` is beyond 1e140 in size in row {row}, counted from 0; change its unit")]
    TooLarge { variable: String, row: usize },
    #[error("`{variable}` has a level `{level}` that the fit has not seen")]
    NewLevel { variable: String, level: String },
    #[error("`{variable}` has code {code} in row {row}, counted from 0, which names no level")]
    NoSuchLevel { variable: String, row: usize, code: u32 },
    #[error("the formula has no fixed effect, not even an intercept; add `1`")]
    NothingFixed,
    #[error("{rows} rows cannot carry {coefficients} fixed effects and a residual; add rows")]
    TooFewRows { rows: usize, coefficients: usize },
    #[error("`{variable}` has one level only; leave it out, or add rows with another level")]
    OneLevel { variable: String },
    #[error(
        "`{factor}` has one level a row ({rows}), so its spread cannot be told from the residual; \
         leave the term out, or repeat some levels"
    )]
    LevelPerRow { factor: String, rows: usize },
    #[error(
        "`{factor}` would get {effects} random effects from {rows} rows, so their spread cannot be \
         told from the residual; leave a slope out, or add rows"
    )]
    TooManyEffects { factor: String, effects: usize, rows: usize },
    #[error(
        "`{slope}` is the same in every row, so slopes that differ between levels of `{factor}` \
         cannot be told from intercepts; leave it out"
    )]
    FlatSlope { slope: String, factor: String },
    #[error(
        "`{column}` is confounded with `{factors}`: though some levels of it share levels of \
         `{factors}`, those that `{column}` compares are not connected by any; leave out the rows \
         of one side, or fit the sides apart"
    )]
    Disconnected { column: String, factors: String },
    #[error("`{a}` and `{b}` group the rows alike, so their spread cannot be told apart; drop one")]
    SameFactor { a: String, b: String },
    #[error(
        "the fixed effects explain `{factor}` wholly, so nothing is left to measure its spread"
    )]
    Aliased { factor: String },
    #[error("the fixed effect `{column}` follows from those before it; leave it out")]
    RankDeficient { column: String },
    #[error("the response is constant, given the fixed effects: there is no spread to divide")]
    NoSpread,
    #[error(
        "the grouping factors explain the response exactly: no residual is left to compare their \
         spread with; drop a term, or check that the response varies within its levels"
    )]
    NoResidual,
    #[error("the criterion cannot be computed at any start; the design is too close to singular")]
    Singular,
}

/// Fits `formula` to `columns` by restricted or full maximum likelihood.
///
/// The response is `y = X beta + sum_k Z_k b_k + e`, the covariance of one level's effects
/// `sigma^2 L L'` with L lower triangular. Theta, the entries of L, is searched from one, and from
/// corners where variances are zero; the lowest criterion wins. Columns that the formula does not
/// name are ignored. A table that comes in parts goes through [`Accumulator`].
///
/// Errors: [`FitError`] when the columns do not suit the formula or the design cannot tell the
/// components apart.
/// Source: Bates et al. (2015), J. Stat. Softw. 67(1). Checked by `tests/reference.rs`.
pub fn fit(
    formula: &Formula,
    columns: &BTreeMap<String, Column>,
    method: Method,
) -> Result<Fit, FitError> {
    let mut rows = Accumulator::new(formula);
    let columns: BTreeMap<&str, Slice<'_>> =
        columns.iter().map(|(name, column)| (name.as_str(), column.as_slice())).collect();
    rows.add(&columns)?;
    rows.fit(method)
}

pub(super) fn fit_products(
    formula: &Formula,
    products: &Products,
    method: Method,
) -> Result<Fit, FitError> {
    let terms = Terms::of(formula, products)?;
    let arrow = Arrow::quicker(&terms);
    let between = between(&terms, arrow.as_ref(), products)?;
    let (best, evaluations) = search::best(&terms, arrow.as_ref(), method)?;
    drop(arrow);
    if best.x.iter().any(|&theta| theta.abs() >= BOUND) {
        return Err(FitError::NoResidual);
    }
    let Optimum { x: block_theta, point, value, gradient_norm, converged, .. } = best;
    let variance = point.variance(method);
    let (fixed, fixed_vcov) = estimates::fixed_effects(&point, variance);
    let (components, correlations, residual) = estimates::components(&point, variance);
    let blups = estimates::blups(&point, variance);
    let theta = estimates::theta(&point);
    let condition = point.condition();
    drop(point);
    Ok(Fit {
        formula: formula.to_string(),
        method,
        n: terms.n,
        criterion: value,
        fixed,
        fixed_vcov,
        components,
        correlations,
        residual,
        theta,
        between,
        evaluations,
        converged,
        gradient_norm,
        condition,
        blups,
        terms,
        block_theta,
    })
}

impl Fit {
    /// Whether some covariance is singular: a variance of zero, or effects in perfect correlation.
    pub fn singular(&self) -> bool {
        let diagonal = self.terms.parameters.iter().zip(&self.block_theta);
        diagonal.filter(|(at, _)| at.row == at.column).any(|(_, theta)| *theta == 0.0)
    }

    /// Residual standard deviation, in units of the response.
    pub fn sigma(&self) -> f64 {
        self.residual.sd
    }

    /// Logarithm of the maximised likelihood, restricted or full.
    pub fn loglik(&self) -> f64 {
        -0.5 * self.criterion
    }

    /// Fixed effects, entries of theta, and sigma.
    pub fn parameters(&self) -> usize {
        self.fixed.len() + self.theta.len() + 1
    }

    /// Akaike's criterion; with the restricted likelihood, for models with the same fixed effects.
    pub fn aic(&self) -> f64 {
        self.criterion + 2.0 * self.parameters() as f64
    }

    /// Schwarz's criterion over all rows, as lme4's.
    pub fn bic(&self) -> f64 {
        self.criterion + self.parameters() as f64 * (self.n as f64).ln()
    }
}
