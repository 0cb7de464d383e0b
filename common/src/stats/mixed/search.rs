//! The search for the theta at which the criterion is least.
//!
//! The criterion can have several valleys, and at a corner where variances are zero every slope by
//! theta vanishes; so several starts are tried, and an end counts only if no direction of any
//! covariance falls from it. Deliberately absent: how one valley is descended.
//!
//! Floor: common.

use faer::{Mat, Side};

use super::fit::{FitError, Method};
use super::objective::Point;
use super::optimise::{self, Optimum, Surface};
use super::relative;
use super::terms::Terms;

/// The best theta, and how often the criterion was evaluated.
///
/// Errors: [`FitError::Singular`] when the criterion cannot be computed anywhere.
pub(super) fn best(terms: &Terms, method: Method) -> Result<(Optimum<Point<'_>>, u32), FitError> {
    let mut profile = Profile { terms, method, evaluations: 0 };
    let mut best = from_starts(&mut profile)?;
    if terms.blocks.iter().any(|block| block.terms.iter().any(|term| term.width > 1)) {
        best = settled(&mut profile, best);
    }
    Ok((best, profile.evaluations))
}

/// Gradient at which a search ends. Rounding in it grows with the columns summed over.
pub(super) fn tolerance(terms: &Terms) -> f64 {
    TOLERANCE * (10 + terms.border.nrows()) as f64
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

    fn bounded(&self, index: usize) -> bool {
        self.terms.parameters[index].square
    }
}

/// The best end of the searches from one and from the corners.
///
/// A corner with a lower criterion than the best end, or one that holds its zeros (no slope falls
/// there), is searched from; any other corner drains into a valley that was searched already.
fn from_starts<'a>(profile: &mut Profile<'a>) -> Result<Optimum<Point<'a>>, FitError> {
    let parameters = &profile.terms.parameters;
    let tolerance = tolerance(profile.terms);
    let one: Vec<f64> =
        parameters.iter().map(|at| if at.row == at.column { 1.0 } else { 0.0 }).collect();
    let mut best = optimise::minimise(profile, &one, None, tolerance);
    let mut corners: Vec<Vec<usize>> =
        (0..one.len()).filter(|&at| parameters[at].square).map(|zero| vec![zero]).collect();
    if one.len() > 1 {
        corners.push((0..one.len()).collect());
    }
    for zeros in corners {
        let mut start = best.as_ref().map_or_else(|| one.clone(), |best| best.x.clone());
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

/// Follows directions of the covariances that fall, then writes theta in its one lower triangular
/// form with exact zeros.
///
/// At the best covariance G no slope by G falls along any `v v'`; that holds for no other end.
fn settled<'a>(profile: &mut Profile<'a>, mut best: Optimum<Point<'a>>) -> Optimum<Point<'a>> {
    let tolerance = tolerance(profile.terms);
    for _ in 0..ESCAPES_MAX {
        let Some(factors) = beyond(profile, &best.point) else { break };
        let start = theta_of(profile.terms, &factors);
        match optimise::minimise(profile, &start, None, tolerance) {
            Some(end) if end.value < best.value => best = end,
            _ => {
                best.converged = false;
                break;
            }
        }
    }
    let canonical = theta_of(profile.terms, &best.point.factors);
    let mut zeroed = canonical.clone();
    for (at, parameter) in profile.terms.parameters.iter().enumerate() {
        let of_column = |other: &super::terms::Parameter| {
            other.block == parameter.block && other.column == parameter.column
        };
        let squares: f64 = (profile.terms.parameters.iter().zip(&canonical))
            .filter(|(other, _)| of_column(other))
            .map(|(_, theta)| theta * theta)
            .sum();
        if squares.sqrt() < NEGLIGIBLE {
            zeroed[at] = 0.0;
        }
    }
    for theta in [canonical, zeroed] {
        let Some(point) = profile.at(&theta) else { continue };
        let value = profile.value(&point);
        if value <= best.value + ROUNDING * best.value.abs().max(1.0) {
            let slopes = profile.slopes(&point);
            best.gradient_norm = (slopes.iter().zip(&theta).enumerate())
                .map(|(at, (slope, x))| if profile.bounded(at) { 2.0 * x * slope } else { *slope })
                .fold(0.0, |max, slope| max.max(slope.abs()));
            (best.x, best.point, best.value) = (theta, point, value);
        }
    }
    best
}

/// Roots of covariances a little further along the direction that falls most; `None` where none
/// falls.
fn beyond(profile: &Profile, point: &Point) -> Option<Vec<Vec<f64>>> {
    let slopes = point.covariance_slopes(profile.method, point.variance(profile.method));
    let mut steepest = -ESCAPE_SLOPE;
    let mut found = None;
    for (place, block) in profile.terms.blocks.iter().enumerate() {
        for term in block.terms.iter().filter(|term| term.width > 1) {
            let entry =
                |i: usize, j: usize| slopes[place][(term.first + i) * block.width + term.first + j];
            let Ok(eigen) =
                Mat::from_fn(term.width, term.width, entry).self_adjoint_eigen(Side::Lower)
            else {
                continue;
            };
            let value = eigen.S().column_vector()[0];
            if value < steepest {
                steepest = value;
                let direction = (0..term.width).map(|i| eigen.U()[(i, 0)]).collect::<Vec<f64>>();
                found = Some((place, term.first, direction));
            }
        }
    }
    let (place, first, direction) = found?;
    let k = profile.terms.blocks[place].width;
    // A root with one column more, brought back to a square one.
    let wide = k + 1;
    let mut root = vec![0.0; wide * wide];
    for i in 0..k {
        root[i * wide..i * wide + k].copy_from_slice(&point.factors[place][i * k..(i + 1) * k]);
    }
    for (i, entry) in direction.iter().enumerate() {
        root[(first + i) * wide + k] = ESCAPE * entry;
    }
    let root = relative::lower_root(&root, wide);
    let mut factors = point.factors.clone();
    factors[place] = (0..k).flat_map(|i| root[i * wide..i * wide + k].to_vec()).collect();
    Some(factors)
}

/// The parameters of lower triangular roots equal to the given ones.
fn theta_of(terms: &Terms, factors: &[Vec<f64>]) -> Vec<f64> {
    let roots: Vec<Vec<f64>> = (terms.blocks.iter().zip(factors))
        .map(|(block, factor)| relative::lower_root(factor, block.width))
        .collect();
    let of = |at: &super::terms::Parameter| {
        roots[at.block][at.row * terms.blocks[at.block].width + at.column]
    };
    terms.parameters.iter().map(of).collect()
}

const TOLERANCE: f64 = 1e-9;
const ESCAPES_MAX: u32 = 8;
/// A slope by a covariance that is worth following.
const ESCAPE_SLOPE: f64 = 1e-5;
const ESCAPE: f64 = 0.25;
/// A column of a factor below this is tried as zero.
const NEGLIGIBLE: f64 = 1e-4;
/// Of the criterion.
const ROUNDING: f64 = 1e-13;
