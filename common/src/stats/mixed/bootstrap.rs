//! Parametric bootstrap: what the estimates would be in repetitions of the study.
//!
//! New responses are drawn from the fitted model and fitted again, each replicate with a stream of
//! its own, so the draws are the same for any number of threads. Rows are never seen. Deliberately
//! absent: tests; a bootstrap of a null model is one of the model without the term.
//!
//! Floor: common.

use rayon::prelude::*;

use super::arrow::Arrow;
use super::df::{InferenceError, check_weights};
use super::fit::Fit;
use super::information::{Information, Kind};
use super::interval::Part;
use super::optimise::{self, Inverse};
use super::redraw::Redraw;
use super::refit::Refit;
use super::simulate::Simulator;
use crate::stats::summary::quantile_of_sorted;

/// The estimates of many replicates of a fit.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    replicates: Vec<Replicate>,
    failed: usize,
    /// The fit's fixed effects.
    fixed: Vec<f64>,
}

/// The estimates of one replicate.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicate {
    /// Standard deviations over the residual's, one a component, in the order of the formula.
    pub relative: Vec<f64>,
    /// Shares of all spread, one a component, then the residual's.
    pub shares: Vec<f64>,
    /// One a correlation of the fit; `None` where a variance is zero.
    pub correlations: Vec<Option<f64>>,
    /// Residual standard deviation, in units of the response.
    pub sigma: f64,
    /// How far each fixed effect is from the fit's, in the fit's order.
    pub moved: Vec<f64>,
}

impl Replicate {
    /// In units of the response.
    pub fn sd(&self, part: Part) -> f64 {
        self.relative(part) * self.sigma
    }

    /// Of the sum of all components and the residual: an intraclass correlation.
    pub fn share(&self, part: Part) -> f64 {
        match part {
            Part::Component(index) => self.shares[index],
            Part::Residual => self.shares[self.shares.len() - 1],
        }
    }

    fn relative(&self, part: Part) -> f64 {
        match part {
            Part::Component(index) => self.relative[index],
            Part::Residual => 1.0,
        }
    }
}

/// Draws and refits `draws` replicates of `fit` by the fit's own method. The same seed gives the
/// same replicates on any number of threads.
///
/// A refit is searched from the fit's theta, with the fit's curvature. One that does not converge
/// is left out and counted.
///
/// Errors: [`InferenceError`] for fewer than 1,000 draws, when more than one refit in a hundred
/// fails, or for random slopes with more than 2,000 effects. Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
/// Checked by `tests/inference.rs` against lme4's `bootMer`.
pub fn bootstrap(fit: &Fit, draws: usize, seed: u64) -> Result<Bootstrap, InferenceError> {
    if draws < DRAWS_MIN {
        return Err(InferenceError::TooFewDraws { draws, least: DRAWS_MIN });
    }
    let replicates = if fit.terms.intercepts_alone() {
        of_intercepts(fit, draws, seed)
    } else {
        let redraw = Redraw::of(fit)?;
        (0..draws as u64).into_par_iter().map(|draw| redraw.refit(seed, draw)).collect()
    };
    let replicates: Vec<Replicate> = replicates.into_iter().flatten().collect();
    let failed = draws - replicates.len();
    if failed * 100 > draws {
        return Err(InferenceError::Refits { failed, draws });
    }
    let fixed = fit.fixed.iter().map(|fixed| fixed.estimate).collect();
    Ok(Bootstrap { replicates, failed, fixed })
}

impl Bootstrap {
    /// Those that converged, in the order of their draws.
    pub fn replicates(&self) -> &[Replicate] {
        &self.replicates
    }

    /// Refits that did not converge.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Percentile interval of a standard deviation, in units of the response.
    pub fn sd(&self, part: Part, level: f64) -> (f64, f64) {
        self.interval(level, |replicate| replicate.sd(part))
    }

    /// Percentile interval of a variance, in squared units of the response.
    pub fn variance(&self, part: Part, level: f64) -> (f64, f64) {
        self.interval(level, |replicate| replicate.sd(part).powi(2))
    }

    /// Percentile interval of a part's share of all spread.
    pub fn share(&self, part: Part, level: f64) -> (f64, f64) {
        self.interval(level, |replicate| replicate.share(part))
    }

    /// Percentile interval of the correlation at `index`, from the replicates that have one; `None`
    /// where fewer than half have.
    pub fn correlation(&self, index: usize, level: f64) -> Option<(f64, f64)> {
        let mut values: Vec<f64> = (self.replicates.iter())
            .filter_map(|replicate| replicate.correlations.get(index).copied().flatten())
            .collect();
        values.sort_by(f64::total_cmp);
        (2 * values.len() > self.replicates.len()).then(|| ends(&values, level))
    }

    /// Percentile interval of `sum_j weights_j beta_j`, in units of the response.
    pub fn contrast(&self, weights: &[f64], level: f64) -> Result<(f64, f64), InferenceError> {
        check_weights(weights, self.fixed.len())?;
        let along =
            |values: &[f64]| -> f64 { weights.iter().zip(values).map(|(w, b)| w * b).sum() };
        let estimate = along(&self.fixed);
        Ok(self.interval(level, |replicate| estimate + along(&replicate.moved)))
    }

    /// Percentile interval of anything computed from a replicate.
    ///
    /// Panics when `level` is not between 0 and 1.
    pub fn interval(&self, level: f64, of: impl Fn(&Replicate) -> f64) -> (f64, f64) {
        assert!(level > 0.0 && level < 1.0, "a level lies between 0 and 1");
        let mut values: Vec<f64> = self.replicates.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        ends(&values, level)
    }
}

fn ends(sorted: &[f64], level: f64) -> (f64, f64) {
    (quantile_of_sorted(sorted, 0.5 - 0.5 * level), quantile_of_sorted(sorted, 0.5 + 0.5 * level))
}

/// By the shape of the design, which makes a refit quick.
fn of_intercepts(fit: &Fit, draws: usize, seed: u64) -> Vec<Option<Replicate>> {
    let simulator = Simulator::of(fit);
    let arrow = Arrow::of(&fit.terms);
    let curvature = curvature(fit);
    (0..draws as u64)
        .into_par_iter()
        .map(|draw| refit(fit, &arrow, &simulator, curvature.as_ref(), seed, draw))
        .collect()
}

fn refit(
    fit: &Fit,
    arrow: &Arrow,
    simulator: &Simulator,
    curvature: Option<&Inverse>,
    seed: u64,
    draw: u64,
) -> Option<Replicate> {
    let replicate = simulator.draw(seed, draw);
    let mut refit = Refit { arrow, replicate: &replicate, method: fit.method };
    let tolerance = tolerance(fit, curvature);
    let end = optimise::minimise(&mut refit, &fit.block_theta, curvature.cloned(), tolerance)?;
    if !end.converged {
        return None;
    }
    let terms = &fit.terms;
    let mut relative = vec![0.0; end.x.len()];
    for (&(block, _), value) in terms.effects().iter().zip(&mut relative) {
        *value = end.x[block];
    }
    let total = 1.0 + relative.iter().map(|theta| theta * theta).sum::<f64>();
    let shares = relative.iter().map(|theta| theta * theta / total).chain([1.0 / total]).collect();
    let coefficients = &end.point.coefficients;
    let moved = (0..terms.p)
        .map(|i| (0..terms.p).map(|j| terms.back[(i, j)] * coefficients[j]).sum())
        .collect();
    let sigma = end.point.variance.sqrt() * terms.y_scale;
    Some(Replicate { relative, shares, correlations: Vec::new(), sigma, moved })
}

/// Inverse Hessian of the profiled criterion by theta, with arguments at zero left as they are;
/// `None` where it is not to be had.
///
/// By phi it is half the covariance of the phis, sigma's share included; by theta,
/// `d theta = theta d phi / 2`. Of random intercepts.
fn curvature(fit: &Fit) -> Option<Inverse> {
    let size = fit.block_theta.len();
    let information = Information::of(fit, Kind::Observed)?;
    if information.pairs.len() < size {
        return None;
    }
    let entry = |i: usize, j: usize| {
        information.covariance[(i, j)] * fit.block_theta[i] * fit.block_theta[j] / 8.0
    };
    Some((0..size).map(|i| (0..size).map(|j| entry(i, j)).collect()).collect())
}

/// A slope by theta that leaves theta wrong by less than a thousandth of its standard error.
fn tolerance(fit: &Fit, curvature: Option<&Inverse>) -> f64 {
    let spreads = curvature
        .iter()
        .flat_map(|inverse| inverse.iter().enumerate().map(|(i, row)| row[i].sqrt()));
    let widest = spreads.fold(0.0, f64::max);
    if widest > 0.0 { CLOSE / widest } else { CLOSE * (fit.terms.border.nrows() as f64).sqrt() }
}

const DRAWS_MIN: usize = 1_000;
const CLOSE: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::super::simulate::{Use, stream};
    use super::super::tests::{Table, crossed, fitted, three};
    use super::super::{Column, Formula, Method};
    use super::*;

    /// Two samples of 1,000: Kolmogorov and Smirnov's distance at p = 0.001.
    const DISTANCE: f64 = 1.949 * 0.044_721;

    #[test]
    fn draws_of_cross_products_are_distributed_as_those_of_rows() {
        let columns = crossed();
        let fit = fitted("y ~ x + (1|a) + (1|b)", &columns);
        let drawn = bootstrap(&fit, 1_000, 1).unwrap();
        let rows: Vec<Fit> = (0..1_000).map(|draw| from_rows(&fit, &columns, draw)).collect();

        let of_drawn = |of: &dyn Fn(&Replicate) -> f64| drawn.replicates().iter().map(of).collect();
        let of_rows = |of: &dyn Fn(&Fit) -> f64| rows.iter().map(of).collect();
        for index in 0..2 {
            let part = Part::Component(index);
            close(of_drawn(&|r| r.sd(part)), of_rows(&|fit| fit.components[index].sd));
            close(of_drawn(&|r| r.share(part)), of_rows(&|fit| fit.components[index].share));
            let moved = |other: &Fit| other.fixed[index].estimate - fit.fixed[index].estimate;
            close(of_drawn(&|r| r.moved[index]), of_rows(&moved));
        }
        close(of_drawn(&|r| r.sigma), of_rows(&Fit::sigma));
    }

    #[test]
    fn a_refit_ends_where_a_fit_does() {
        // One draw of rows, seen both ways: the fit's own response counts as the replicate.
        let fit = fitted("y ~ x + arm + (1|a) + (1|b) + (1|a:arm)", &crossed());
        let terms = &fit.terms;
        let replicate = super::super::simulate::Replicate::of(terms);
        let arrow = Arrow::of(terms);
        let mut refit = Refit { arrow: &arrow, replicate: &replicate, method: Method::Reml };
        let end = optimise::minimise(&mut refit, &[2.0, 0.1, 0.4], None, 1e-6).unwrap();
        for (refitted, theta) in end.x.iter().zip(&fit.block_theta) {
            assert!((refitted - theta).abs() <= 1e-5 * theta, "{:?} {:?}", end.x, fit.block_theta);
        }
        assert!((end.value - fit.criterion).abs() < 1e-6, "{} {}", end.value, fit.criterion);
    }

    fn from_rows(fit: &Fit, columns: &Table, draw: u64) -> Fit {
        let mut rng = stream(Use::Shift, 99, draw);
        let (y, a, b) = three(columns);
        let mut effects = |index: usize| -> Vec<f64> {
            let component = &fit.components[index];
            (0..component.levels).map(|_| component.sd * rng.normal()).collect()
        };
        let (of_a, of_b) = (effects(0), effects(1));
        let Column::Numbers(x) = &columns["x"] else { panic!() };
        let y = (0..y.len()).map(|row| {
            let fixed = fit.fixed[0].estimate + fit.fixed[1].estimate * x[row];
            let random = of_a[a[row] as usize] + of_b[b[row] as usize];
            fixed + random + fit.sigma() * rng.normal()
        });
        let mut drawn = columns.clone();
        drawn.insert("y".into(), Column::Numbers(y.collect()));
        let formula = Formula::parse(&fit.formula).unwrap();
        super::super::fit(&formula, &drawn, Method::Reml).unwrap()
    }

    #[track_caller]
    fn close(mut a: Vec<f64>, mut b: Vec<f64>) {
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        let share = |values: &[f64], at: f64| {
            values.partition_point(|value| *value <= at) as f64 / values.len() as f64
        };
        let distances = a.iter().chain(&b).map(|&at| (share(&a, at) - share(&b, at)).abs());
        let largest = distances.fold(0.0, f64::max);
        assert!(largest < DISTANCE, "{largest}");
    }
}
