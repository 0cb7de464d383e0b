//! The exact test of one variance against zero: its null distribution, by simulation.
//!
//! With few levels the chi-bar-square p is too large. Under the null the restricted likelihood
//! ratio of a model with this one term is a function of a few chi-squares and of the eigenvalues
//! of the term's design, so no model is fitted in the simulation. Deliberately absent: the full
//! likelihood, whose null distribution depends on the fixed effects too.
//!
//! Source: Crainiceanu & Ruppert (2004), J. R. Stat. Soc. B 66; with more terms, the approximation
//! of Greven et al. (2008), J. Comput. Graph. Stat. 17. Checked against RLRsim by
//! `tests/inference.rs`.
//!
//! Floor: common.

use faer::{Mat, Side};
use rayon::prelude::*;

use super::df::InferenceError;
use super::fit::{Fit, Method};
use super::interval::zero_test;
use super::simulate::{Use, chi_square, stream};
use super::terms::Terms;

/// An exact test of one variance against zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExactTest {
    /// Rise of the restricted criterion when the variance is zero.
    pub statistic: f64,
    /// Share of draws at or above the statistic; 1 for a statistic of 0. Its error is about
    /// `sqrt(p (1 - p) / draws)`.
    pub p: f64,
    pub draws: usize,
    /// The model has other variances, which the simulation leaves out.
    pub approximate: bool,
}

/// Tests whether the variance of component `index` is zero, by `draws` draws of the exact null
/// distribution. The same seed gives the same p on any number of threads.
///
/// With other random terms in the model the statistic is that of dropping this one from all, and
/// the null distribution that of a model with this one alone, as RLRsim's `exactRLRT(m, mA, m0)`.
/// Cost: the eigenvalues of one [levels, levels] matrix, then some microseconds a draw.
///
/// Errors: [`InferenceError`] for a fit by full likelihood, fewer than 1,000 draws, an effect that
/// is correlated with others, or a factor of more than 3,000 levels, for which the chi-bar-square
/// p is good.
pub fn exact_zero_test(
    fit: &Fit,
    index: usize,
    draws: usize,
    seed: u64,
) -> Result<ExactTest, InferenceError> {
    if fit.method != Method::Reml {
        return Err(InferenceError::ExactNeedsReml);
    }
    if draws < DRAWS_MIN {
        return Err(InferenceError::TooFewDraws { draws, least: DRAWS_MIN });
    }
    let levels = fit.components[index].levels;
    if levels > LEVELS_MAX {
        return Err(InferenceError::ExactLevels { levels, limit: LEVELS_MAX });
    }
    if fit.correlations.iter().any(|pair| pair.components.contains(&index)) {
        return Err(InferenceError::ExactCorrelated);
    }
    let approximate = fit.components.len() > 1;
    let statistic = zero_test(fit, index).ok_or(InferenceError::Profile)?.statistic;
    if statistic == 0.0 {
        return Ok(ExactTest { statistic, p: 1.0, draws, approximate });
    }
    let null = Null::of(&fit.terms, index)?;
    let all = (0..draws as u64).into_par_iter();
    let above = all.filter(|&draw| null.draw(seed, draw) >= statistic).count();
    Ok(ExactTest { statistic, p: above as f64 / draws as f64, draws, approximate })
}

/// The null distribution of one term's restricted likelihood ratio.
struct Null {
    /// n - p.
    freedom: f64,
    /// Distinct eigenvalues of `Z'(I - QQ')Z` over the largest, and how often each occurs.
    eigenvalues: Vec<(f64, f64)>,
    /// Degrees of freedom of what the term does not touch.
    rest: f64,
    /// Ratios of variances, ascending, that are tried.
    grid: Vec<f64>,
}

impl Null {
    fn of(terms: &Terms, index: usize) -> Result<Self, InferenceError> {
        let mut values = eigenvalues(terms, index).ok_or(InferenceError::Flat)?;
        values.sort_by(|a, b| b.total_cmp(a));
        let largest = values[0];
        let mut grouped: Vec<(f64, f64)> = Vec::new();
        for value in values.into_iter().map(|value| value / largest) {
            match grouped.last_mut() {
                _ if value < ZERO => break,
                Some((last, count)) if *last - value < SAME * *last => *count += 1.0,
                _ => grouped.push((value, 1.0)),
            }
        }
        let freedom = (terms.n - terms.p) as f64;
        let touched: f64 = grouped.iter().map(|(_, count)| count).sum();
        let step = (GRID_HIGH - GRID_LOW) / (GRID - 1) as f64;
        let grid = (0..GRID).map(|i| (GRID_LOW + step * i as f64).exp()).collect();
        Ok(Self { freedom, eigenvalues: grouped, rest: freedom - touched, grid })
    }

    /// One draw: the largest over lambda >= 0 of
    /// `(n - p) log(1 + N / D) - sum log(1 + lambda mu)`, `N = sum lambda mu w / (1 + lambda mu)`,
    /// `D = sum w / (1 + lambda mu) + w_rest`, with w independent chi-squares.
    fn draw(&self, seed: u64, draw: u64) -> f64 {
        let mut rng = stream(Use::Null, seed, draw);
        let squares: Vec<f64> =
            self.eigenvalues.iter().map(|&(_, count)| chi_square(&mut rng, count)).collect();
        let rest = if self.rest > 0.0 { chi_square(&mut rng, self.rest) } else { 0.0 };
        let ratio = |lambda: f64| {
            let (mut above, mut below, mut log_det) = (0.0, rest, 0.0);
            for (&(mu, count), square) in self.eigenvalues.iter().zip(&squares) {
                let inflation = 1.0 + lambda * mu;
                above += lambda * mu * square / inflation;
                below += square / inflation;
                log_det += count * inflation.ln();
            }
            self.freedom * (above / below).ln_1p() - log_det
        };
        // As RLRsim: on while the ratio rises.
        let (mut best, mut at) = (0.0, None);
        for (index, &lambda) in self.grid.iter().enumerate() {
            let value = ratio(lambda);
            if value < best {
                break;
            }
            (best, at) = (value, Some(index));
        }
        let Some(at) = at else { return 0.0 };
        let (low, high) = (self.grid[at.saturating_sub(1)], self.grid[(at + 1).min(GRID - 1)]);
        best.max(golden(|log| ratio(log.exp()), low.ln(), high.ln()))
    }
}

/// Eigenvalues of `Z_k'(I - QQ')Z_k`.
fn eigenvalues(terms: &Terms, index: usize) -> Option<Vec<f64>> {
    let (place, column) = terms.effects()[index];
    let block = &terms.blocks[place];
    let (q1, k) = (terms.blocks[0].range().len(), block.width);
    let at = |level: usize| block.at(level) + column;
    let shared = |i: usize, j: usize| match place {
        0 if i == j => terms.counts[(i * k + column) * k + column],
        0 => 0.0,
        _ => terms.gram[(at(i) - q1, at(j) - q1)],
    };
    let size = block.levels.len();
    let left = Mat::from_fn(size, size, |i, j| {
        let fixed = (0..terms.p).map(|c| terms.border[(at(i), c)] * terms.border[(at(j), c)]);
        shared(i, j) - fixed.sum::<f64>()
    });
    left.self_adjoint_eigenvalues(Side::Lower).ok()
}

/// Largest value of a unimodal function between two points.
fn golden(function: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let ratio = 0.5 * (5.0f64.sqrt() - 1.0);
    let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_a, mut at_b) = (function(a), function(b));
    for _ in 0..GOLDEN_STEPS {
        if at_a > at_b {
            (high, b, at_b) = (b, a, at_a);
            a = high - ratio * (high - low);
            at_a = function(a);
        } else {
            (low, a, at_a) = (a, b, at_b);
            b = low + ratio * (high - low);
            at_b = function(b);
        }
    }
    at_a.max(at_b)
}

const DRAWS_MIN: usize = 1_000;
const LEVELS_MAX: usize = 3_000;
/// Logarithms of the ratios tried, over the largest eigenvalue; RLRsim's.
const GRID_LOW: f64 = -10.0;
const GRID_HIGH: f64 = 8.0;
const GRID: usize = 100;
const GOLDEN_STEPS: u32 = 12;
/// Eigenvalues closer than this share are one; balanced designs have only a few.
const SAME: f64 = 1e-9;
const ZERO: f64 = 1e-10;
