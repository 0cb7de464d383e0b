//! The search for the theta at which the criterion is least.
//!
//! The criterion can have several valleys, and at a corner where variances are zero every slope by
//! theta vanishes; so several starts are tried, and an end counts only if no direction of any
//! covariance falls from it. Where many levels lie within those of another factor, the search goes
//! over an [`Arrow`], and the dense criterion only confirms its end. Deliberately absent: how one
//! valley is descended.
//!
//! Floor: common.

use faer::{Mat, Side};

use super::arrow::Arrow;
use super::fit::{FitError, Method};
use super::objective::Point;
use super::optimise::{self, Optimum, Surface};
use super::refit::Refit;
use super::relative;
use super::simulate::Replicate;
use super::terms::Terms;

/// The best theta, and how often the criterion was evaluated; sooner with an arrow of these terms.
///
/// Errors: [`FitError::Singular`] when the criterion cannot be computed anywhere.
pub(super) fn best<'a>(
    terms: &'a Terms,
    arrow: Option<&Arrow>,
    method: Method,
) -> Result<(Optimum<Point<'a>>, u32), FitError> {
    let mut profile = Counted::of(Profile { terms, method });
    let parameters = terms.parameters.iter();
    let one: Vec<f64> = parameters.map(|at| if at.row == at.column { 1.0 } else { 0.0 }).collect();
    let tolerance = tolerance(terms);
    let quick = arrow.and_then(|arrow| {
        let replicate = Replicate::of(terms);
        let mut refit = Counted::of(Refit { arrow, replicate: &replicate, method });
        let end = from_starts(&mut refit, &one, tolerance)?;
        profile.evaluations += refit.evaluations;
        optimise::minimise(&mut profile, &end.x, end.inverse, tolerance).filter(|end| end.converged)
    });
    let best = quick.or_else(|| from_starts(&mut profile, &one, tolerance));
    let mut best = best.ok_or(FitError::Singular)?;
    if terms.blocks.iter().any(|block| block.terms.iter().any(|term| term.width > 1)) {
        best = settled(&mut profile, best);
    }
    Ok((best, profile.evaluations))
}

/// Gradient at which a search ends. Rounding in it grows with the columns summed over.
pub(super) fn tolerance(terms: &Terms) -> f64 {
    TOLERANCE * (10 + terms.border.nrows()) as f64
}

/// A surface, and how often it was evaluated.
struct Counted<S> {
    surface: S,
    evaluations: u32,
}

impl<S> Counted<S> {
    fn of(surface: S) -> Self {
        Self { surface, evaluations: 0 }
    }
}

impl<S: Surface> Surface for Counted<S> {
    type Point = S::Point;

    fn at(&mut self, x: &[f64]) -> Option<S::Point> {
        self.evaluations += 1;
        self.surface.at(x)
    }

    fn value(&self, point: &S::Point) -> f64 {
        self.surface.value(point)
    }

    fn slopes(&self, point: &S::Point) -> Vec<f64> {
        self.surface.slopes(point)
    }

    fn bounded(&self, index: usize) -> bool {
        self.surface.bounded(index)
    }
}

/// The criterion over theta, with sigma at its best.
struct Profile<'a> {
    terms: &'a Terms,
    method: Method,
}

impl<'a> Surface for Profile<'a> {
    type Point = Point<'a>;

    fn at(&mut self, theta: &[f64]) -> Option<Point<'a>> {
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
///
/// `None` where the criterion cannot be computed at any start.
fn from_starts<S: Surface>(
    surface: &mut S,
    one: &[f64],
    tolerance: f64,
) -> Option<Optimum<S::Point>> {
    let mut best = optimise::minimise(surface, one, None, tolerance);
    let mut corners: Vec<Vec<usize>> =
        (0..one.len()).filter(|&at| surface.bounded(at)).map(|zero| vec![zero]).collect();
    if one.len() > 1 {
        corners.push((0..one.len()).collect());
    }
    for zeros in corners {
        let mut start = best.as_ref().map_or_else(|| one.to_vec(), |best| best.x.clone());
        if !start.is_empty() && zeros.iter().all(|&zero| start[zero] == 0.0) {
            continue;
        }
        zeros.iter().for_each(|&zero| start[zero] = 0.0);
        let Some(corner) = surface.at(&start) else { continue };
        let slopes = surface.slopes(&corner);
        let holds = zeros.iter().all(|&zero| slopes[zero] >= 0.0);
        let lower = best.as_ref().is_none_or(|best| surface.value(&corner) < best.value);
        if !holds && !lower {
            continue;
        }
        let end = optimise::minimise(surface, &start, None, tolerance);
        if let Some(end) = end.filter(|end| best.as_ref().is_none_or(|b| end.value < b.value)) {
            best = Some(end);
        }
    }
    best
}

/// Follows directions of the covariances that fall, then writes theta in its one lower triangular
/// form with exact zeros.
///
/// At the best covariance G no slope by G falls along any `v v'`; that holds for no other end.
fn settled<'a>(
    profile: &mut Counted<Profile<'a>>,
    mut best: Optimum<Point<'a>>,
) -> Optimum<Point<'a>> {
    let tolerance = tolerance(profile.surface.terms);
    for _ in 0..ESCAPES_MAX {
        let Some(factors) = beyond(&profile.surface, &best.point) else { break };
        let start = theta_of(profile.surface.terms, &factors);
        match optimise::minimise(profile, &start, None, tolerance) {
            Some(end) if end.value < best.value => best = end,
            _ => {
                best.converged = false;
                break;
            }
        }
    }
    let canonical = theta_of(profile.surface.terms, &best.point.factors);
    let mut zeroed = canonical.clone();
    for (at, parameter) in profile.surface.terms.parameters.iter().enumerate() {
        let of_column = |other: &super::terms::Parameter| {
            other.block == parameter.block && other.column == parameter.column
        };
        let squares: f64 = (profile.surface.terms.parameters.iter().zip(&canonical))
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

#[cfg(test)]
mod tests {
    use super::super::Column;
    use super::super::tests::{Noise, Table, levels, table, terms};
    use super::*;

    /// 240 rows in 4 folds, met by 6 runs of each of 3 arms and fold; without some rows.
    fn nested(kept: impl Fn(usize) -> bool) -> Table {
        let mut noise = Noise(11);
        let mut draws = |count: usize| (0..count).map(|_| noise.next()).collect::<Vec<f64>>();
        let (of_row, of_own, of_run) = (draws(240), draws(720), draws(72));
        let all = (0..72usize).flat_map(|run| (0..60usize).map(move |place| (run, place)));
        let kept = all.enumerate().filter(|(at, _)| kept(*at)).map(|(_, cell)| cell);
        let mut columns: [Vec<usize>; 4] = Default::default();
        let mut y = Vec::new();
        for (run, place) in kept {
            let (arm, fold) = (run % 3, run / 3 % 4);
            let row = fold * 60 + place;
            let known = of_row[row] + 0.5 * of_own[arm * 240 + row] + 0.2 * of_run[run];
            y.push(known + 0.3 * draws(1)[0]);
            columns.iter_mut().zip([arm, fold, row, run]).for_each(|(list, at)| list.push(at));
        }
        let [arm, fold, row, run] = columns.map(|list| levels(list.into_iter()));
        table([("y", Column::Numbers(y)), ("arm", arm), ("fold", fold), ("row", row), ("run", run)])
    }

    #[test]
    fn a_search_over_an_arrow_ends_where_the_dense_one_does() {
        let formula = "y ~ arm + (1|row) + (1|arm:row) + (1|fold) + (1|run)";
        for missing in [false, true] {
            let columns = nested(|at| !(missing && at % 11 == 5));
            let terms = terms(formula, &columns);
            let arrow = Arrow::quicker(&terms).expect("a design whose rows hold other levels");
            for method in [Method::Reml, Method::Ml] {
                let (quick, _) = best(&terms, Some(&arrow), method).unwrap();
                let (dense, evaluations) = best(&terms, None, method).unwrap();

                assert!(quick.converged && dense.converged && evaluations > 10);
                assert!(
                    (quick.value - dense.value).abs() < 1e-7,
                    "{} {}",
                    quick.value,
                    dense.value
                );
                for (a, b) in quick.x.iter().zip(&dense.x) {
                    assert!((a - b).abs() <= 1e-5 * b, "{:?} {:?}", quick.x, dense.x);
                }
            }
        }
    }

    #[test]
    fn small_and_crossed_designs_are_searched_as_ever() {
        let columns = nested(|_| true);
        // One effect a row and arm, and none of rows: nothing lies within another.
        for formula in ["y ~ arm + (1|row) + (1|fold)", "y ~ arm + (1|row) + (0 + arm|run)"] {
            assert!(Arrow::quicker(&terms(formula, &columns)).is_none(), "{formula}");
        }
    }
}
