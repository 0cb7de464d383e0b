//! Contrasts of fixed effects: estimates, t tests and intervals, alone and several at once.
//!
//! Every test is a t test; see [`Freedom`]. Deliberately absent: which contrasts a report makes.
//!
//! Floor: common.

use rayon::prelude::*;
use statrs::distribution::StudentsT;

use super::df::{Freedom, InferenceError};
use super::largest_t::LargestT;
use crate::stats::multiple::holm;
use crate::stats::summary::{student_quantile, student_two_sided};

/// One contrast `sum_j weights_j beta_j` and what can be said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Contrast {
    /// In units of the response, as all but df, t and the p-values.
    pub estimate: f64,
    pub se: f64,
    pub df: f64,
    pub t: f64,
    /// Two-sided, of this contrast alone.
    pub p: f64,
    /// Interval of this contrast alone.
    pub ci: (f64, f64),
    /// Corrected for the number of contrasts; equals p without a correction.
    pub p_adjusted: f64,
    /// Intervals that hold for all contrasts together; Dunnett's only.
    pub ci_adjusted: Option<(f64, f64)>,
}

/// How several contrasts are corrected for being several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiplicity {
    /// Each stands for itself.
    Alone,
    /// Holm's steps down; valid whatever the dependence.
    Holm,
    /// The distribution of the largest |t|, with the contrasts' own correlations: Dunnett's when
    /// all compare with one arm, and valid for any other set. All are taken at the smallest df
    /// of the set. The integral is over a lattice shifted by `seed`; its error is below 0.001
    /// with twenty contrasts, and nothing where p is small.
    Dunnett { seed: u64 },
}

/// Tests `weights`, one contrast a row, weights in the order of the fit's fixed effects.
///
/// Errors: [`InferenceError`] for weights that do not fit the model.
/// Panics when `level` is not between 0 and 1.
/// Source: Dunnett (1955), J. Am. Stat. Assoc. 50; Holm (1979), Scand. J. Stat. 6.
pub fn contrasts(
    freedom: &Freedom,
    weights: &[Vec<f64>],
    level: f64,
    multiplicity: Multiplicity,
) -> Result<Vec<Contrast>, InferenceError> {
    assert!(level > 0.0 && level < 1.0, "a level lies between 0 and 1");
    let mut tests = Vec::with_capacity(weights.len());
    for weights in weights {
        tests.push(one(freedom, weights, level)?);
    }
    match multiplicity {
        Multiplicity::Alone => {}
        Multiplicity::Holm => {
            let adjusted = holm(&tests.iter().map(|test| test.p).collect::<Vec<_>>())
                .map_err(|_| InferenceError::Flat)?;
            tests.iter_mut().zip(adjusted).for_each(|(test, p)| test.p_adjusted = p);
        }
        Multiplicity::Dunnett { seed } => {
            adjust_jointly(freedom, weights, &mut tests, level, seed)?
        }
    }
    Ok(tests)
}

fn one(freedom: &Freedom, weights: &[f64], level: f64) -> Result<Contrast, InferenceError> {
    let precision = freedom.contrast(weights)?;
    let fixed = &freedom.fit().fixed;
    let estimate: f64 = weights.iter().zip(fixed).map(|(w, fixed)| w * fixed.estimate).sum();
    let (se, df) = (precision.se, precision.df);
    let t = estimate / se;
    if !(se > 0.0 && df > 0.0 && t.is_finite()) {
        return Err(InferenceError::Flat);
    }
    let half_width = se * student_quantile(0.5 + 0.5 * level, df);
    let p = student_two_sided(t, df);
    Ok(Contrast {
        estimate,
        se,
        df,
        t,
        p,
        ci: (estimate - half_width, estimate + half_width),
        p_adjusted: p,
        ci_adjusted: None,
    })
}

fn adjust_jointly(
    freedom: &Freedom,
    weights: &[Vec<f64>],
    tests: &mut [Contrast],
    level: f64,
    seed: u64,
) -> Result<(), InferenceError> {
    let df = tests.iter().map(|test| test.df).fold(f64::INFINITY, f64::min);
    let mut correlation = vec![vec![1.0; tests.len()]; tests.len()];
    for i in 0..tests.len() {
        for j in 0..i {
            let covariance = freedom.covariance(&weights[i], &weights[j])?;
            correlation[i][j] = covariance / (tests[i].se * tests[j].se);
            correlation[j][i] = correlation[i][j];
        }
    }
    let largest = LargestT::of(&correlation, df, seed);
    let quantile = largest.quantile(level);
    tests.par_iter_mut().for_each(|test| {
        test.p_adjusted = largest.tail(test.t.abs()).max(test.p);
        let half_width = quantile * test.se;
        test.ci_adjusted = Some((test.estimate - half_width, test.estimate + half_width));
    });
    Ok(())
}

pub(super) fn student(df: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, df).unwrap_or_else(|_| unreachable!("degrees of freedom are positive"))
}
