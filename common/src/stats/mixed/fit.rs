//! Fits a mixed model: from a formula and columns to estimates.
//!
//! A fit keeps the cross-products it came from, so intervals and tests need no rows again. A
//! variance at the boundary is exactly zero and its term stays in the model. Deliberately absent:
//! what the components mean for a study.
//!
//! Floor: common.

use std::collections::BTreeMap;

use thiserror::Error;

use super::formula::Formula;
use super::objective::Point;
use super::optimise::{self, BOUND, Optimum, Surface};
use super::rows::{Column, Rows};
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
    /// One a grouping factor, in the order of the formula; `a / b` gives `a`, then `a:b`.
    pub components: Vec<Component>,
    /// What no factor explains. Its levels are the rows.
    pub residual: Component,
    /// Standard deviations over the residual's, one a component.
    pub theta: Vec<f64>,
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
    /// `theta` in the order of the terms' blocks.
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
    pub levels: usize,
    pub variance: f64,
    pub sd: f64,
    /// Of the sum of all components and the residual.
    pub share: f64,
    /// The likelihood is best at a variance of exactly zero.
    pub at_boundary: bool,
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
/// The response is `y = X beta + sum_k Z_k b_k + e`. Relative standard deviations
/// `theta_k = sd_k / sigma` are searched from one, and from every corner where one or all of them
/// are zero; the lowest criterion wins. Columns that the formula does not name are ignored.
///
/// Errors: [`FitError`] when the columns do not suit the formula or the design cannot tell the
/// components apart.
/// Source: Bates et al. (2015), J. Stat. Softw. 67(1). Checked by `tests/reference.rs`.
pub fn fit(
    formula: &Formula,
    columns: &BTreeMap<String, Column>,
    method: Method,
) -> Result<Fit, FitError> {
    let terms = Terms::of(Rows::read(formula, columns)?)?;
    let mut profile = Profile { terms: &terms, method, evaluations: 0 };
    let best = search(&mut profile)?;
    if best.x.iter().any(|&theta| theta >= BOUND) {
        return Err(FitError::NoResidual);
    }
    let evaluations = profile.evaluations;
    let Optimum { x: block_theta, point, value, gradient_norm, converged, .. } = best;
    let variance = point.variance(method);
    let (fixed, fixed_vcov) = fixed_effects(&point, variance);
    let (components, residual) = components(&point, variance);
    let blups = blups(&point, variance);
    let mut theta = vec![0.0; block_theta.len()];
    for (block, &value) in terms.blocks.iter().zip(&block_theta) {
        theta[block.place] = value;
    }
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
        residual,
        theta,
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
    /// Whether some variance is zero.
    pub fn singular(&self) -> bool {
        self.components.iter().any(|component| component.at_boundary)
    }

    /// Residual standard deviation, in units of the response.
    pub fn sigma(&self) -> f64 {
        self.residual.sd
    }
}

/// The criterion over theta, with sigma at its best.
struct Profile<'a> {
    terms: &'a Terms,
    method: Method,
    evaluations: u32,
}

impl<'a> Surface for Profile<'a> {
    type Point = Point<'a>;

    fn at(&mut self, theta: &[f64]) -> Option<Point<'a>> {
        self.evaluations += 1;
        Point::at(self.terms, theta)
    }

    fn value(&self, point: &Point<'a>) -> f64 {
        point.criterion(self.method)
    }

    fn slopes(&self, point: &Point<'a>) -> Vec<f64> {
        point.slopes(self.method, point.variance(self.method))
    }

    fn bounded(&self, _index: usize) -> bool {
        true
    }
}

/// The best end of the searches from one and from the corners.
///
/// A corner with a lower criterion than the best end, or one that holds its zeros (no slope falls
/// there), is searched from; any other corner drains into a valley that was searched already.
fn search<'a>(profile: &mut Profile<'a>) -> Result<Optimum<Point<'a>>, FitError> {
    let count = profile.terms.blocks.len();
    let tolerance = tolerance(profile.terms);
    let mut best = optimise::minimise(profile, &vec![1.0; count], None, tolerance);
    let mut corners: Vec<Vec<usize>> = (0..count).map(|zero| vec![zero]).collect();
    if count > 1 {
        corners.push((0..count).collect());
    }
    for zeros in corners {
        let mut start = best.as_ref().map_or_else(|| vec![1.0; count], |best| best.x.clone());
        if !start.is_empty() && zeros.iter().all(|&zero| start[zero] == 0.0) {
            continue;
        }
        zeros.iter().for_each(|&zero| start[zero] = 0.0);
        let Some(corner) = profile.at(&start) else { continue };
        let slopes = profile.slopes(&corner);
        let holds = zeros.iter().all(|&zero| slopes[zero] >= 0.0);
        let lower = best.as_ref().is_none_or(|best| profile.value(&corner) < best.value);
        if !holds && !lower {
            continue;
        }
        let end = optimise::minimise(profile, &start, None, tolerance);
        if let Some(end) = end.filter(|end| best.as_ref().is_none_or(|b| end.value < b.value)) {
            best = Some(end);
        }
    }
    best.ok_or(FitError::Singular)
}

/// Gradient at which a search ends. Rounding in it grows with the levels summed over.
pub(super) fn tolerance(terms: &Terms) -> f64 {
    TOLERANCE * (10 + terms.border.nrows()) as f64
}

fn fixed_effects(point: &Point, variance: f64) -> (Vec<Fixed>, Vec<Vec<f64>>) {
    let terms = point.terms;
    let back = &terms.back;
    let covariance = back * point.fixed_covariance() * back.transpose();
    let vcov: Vec<Vec<f64>> = (0..terms.p)
        .map(|i| {
            let symmetric = |j| 0.5 * (covariance[(i, j)] + covariance[(j, i)]);
            (0..terms.p).map(|j| variance * symmetric(j)).collect()
        })
        .collect();
    let fixed = (terms.fixed_names.iter().enumerate())
        .map(|(i, name)| {
            let moved: f64 = (0..terms.p).map(|j| back[(i, j)] * point.coefficients[j]).sum();
            let estimate = terms.offset[i] + moved;
            Fixed { name: name.clone(), estimate, se: vcov[i][i].sqrt() }
        })
        .collect();
    (fixed, vcov)
}

fn components(point: &Point, variance: f64) -> (Vec<Component>, Component) {
    let terms = point.terms;
    let unit = terms.y_scale * terms.y_scale * variance;
    let total: f64 = 1.0 + point.theta.iter().map(|theta| theta * theta).sum::<f64>();
    let component = |factor: &str, levels, theta: f64| Component {
        factor: factor.to_owned(),
        levels,
        variance: theta * theta * unit,
        sd: theta * unit.sqrt(),
        share: theta * theta / total,
        at_boundary: theta == 0.0,
    };
    let mut in_formula: Vec<_> = terms.blocks.iter().zip(&point.theta).collect();
    in_formula.sort_by_key(|(block, _)| block.place);
    let components = in_formula
        .into_iter()
        .map(|(block, &theta)| component(&block.factor, block.levels.len(), theta))
        .collect();
    (components, component("Residual", terms.n, 1.0))
}

fn blups(point: &Point, variance: f64) -> Vec<Vec<Blup>> {
    let terms = point.terms;
    let (effects, spreads) = (point.effects(), point.conditional_variances());
    let mut blups = vec![Vec::new(); terms.blocks.len()];
    for (block, theta) in terms.blocks.iter().zip(&point.theta) {
        let of_level = |&level: &u32| {
            let at = block.begin + level as usize;
            Blup {
                level: block.levels[level as usize].clone(),
                mean: terms.y_scale * theta * effects[at],
                sd: terms.y_scale * theta * (variance * spreads[at]).sqrt(),
            }
        };
        blups[block.place] = block.by_name.iter().map(of_level).collect();
    }
    blups
}

const TOLERANCE: f64 = 1e-9;
