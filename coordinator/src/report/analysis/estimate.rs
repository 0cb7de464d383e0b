//! The border to `common::stats`: the report's runs in, plain numbers out.
//!
//! The only file of the studies' report that names the mixed models' types; tables have their own in
//! `tabled/`. Factors travel under the names `f0`, `f1`, …, since a factor's own name may mean
//! something in a formula.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::stats::compare::{self, CompareError, PairedT};
use common::stats::crossed;
use common::stats::mixed::{self, Column, Component, DfMethod, Fit, Formula, Method};
use common::stats::multiple;
use common::stats::summary;

use super::super::content::LEVEL;

/// A factor's level of each run, with the levels' names.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    pub name: String,
    pub codes: Vec<u32>,
    pub levels: Vec<String>,
}

/// A fitted division of the spread; parts in the factors' order.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    pub parts: Vec<Part>,
    pub residual: Part,
    pub converged: bool,
    /// What the model leaves of each score, predicted effects of all factors taken away; empty
    /// where a fixed factor has means of its own.
    pub residuals: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub levels: u64,
    pub variance: f64,
    pub sd: f64,
    pub share: f64,
    pub ci_sd: Option<(f64, f64)>,
    /// Standard deviation and zeta, where a profile was asked for with one arm.
    pub zeta: Vec<(f64, f64)>,
    /// Chance of a variance this far from zero when there is none; absent for the residual.
    pub p_zero: Option<f64>,
    pub at_boundary: bool,
    /// Level, predicted effect, conditional standard deviation.
    pub effects: Vec<(String, f64, f64)>,
}

/// A t-test of a mean against zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    pub mean: f64,
    pub se: f64,
    pub df: f64,
    pub p: f64,
    pub ci: (f64, f64),
}

/// A difference of arms judged for two targets by a mixed model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossed {
    /// Folds as independent samples.
    pub independent: Paired,
    /// T2.
    pub samples: Paired,
    /// Both have Kenward and Roger's standard errors and degrees of freedom, and else
    /// Satterthwaite's.
    pub kenward_roger: bool,
}

/// The mixed model of paired differences: fold, seeds, difference. `None` with one seed, and where
/// the runs do not allow one.
pub fn crossed(paired: &[(u32, &[u32], f64)], test_over_train: f64) -> Option<Crossed> {
    let first = paired.first()?.1;
    if paired.iter().all(|(_, seeds, _)| *seeds == first) {
        return None;
    }
    let differences: Vec<f64> = paired.iter().map(|(_, _, d)| *d).collect();
    let folds: Vec<u32> = paired.iter().map(|(fold, _, _)| *fold).collect();
    let seeds: Vec<Vec<u32>> = (0..first.len())
        .map(|stream| paired.iter().map(|(_, seeds, _)| seeds[stream]).collect())
        .collect();
    let paired = crossed::Paired { differences: &differences, folds: &folds, seeds: &seeds };
    let found = crossed::difference(&paired, test_over_train, LEVEL).ok()?;
    let of = |judged: crossed::Judged| Paired {
        mean: found.difference,
        se: judged.se,
        df: judged.df,
        p: judged.p,
        ci: judged.ci,
    };
    Some(Crossed {
        independent: of(found.independent),
        samples: of(found.samples),
        kenward_roger: found.method == DfMethod::KenwardRoger,
    })
}

/// Divides the spread of `scores` by REML over crossed and nested `factors`.
///
/// `fixed`, when given, is a factor whose levels have means of their own. `intervals` asks for the
/// profile intervals, which cost some hundred times the fit.
/// Errors: in words, why the design cannot tell the parts from each other.
pub fn spread(
    scores: &[f64],
    factors: &[Factor],
    fixed: Option<&Factor>,
    intervals: bool,
) -> Result<Spread, String> {
    let mut columns = BTreeMap::from([("y".to_string(), Column::Numbers(scores.to_vec()))]);
    let mut text = "y ~ 1".to_string();
    if let Some(factor) = fixed {
        text += " + x";
        columns.insert("x".to_string(), levels(factor));
    }
    for (place, factor) in factors.iter().enumerate() {
        text += &format!(" + (1 | f{place})");
        columns.insert(format!("f{place}"), levels(factor));
    }
    let named = |words: String| {
        // Longest place first, so that `f1` is not found in `f10`.
        (0..factors.len())
            .rev()
            .fold(words, |words, place| words.replace(&format!("`f{place}`"), &factors[place].name))
    };
    let formula = Formula::parse(&text).map_err(|error| error.to_string())?;
    let fit =
        mixed::fit(&formula, &columns, Method::Reml).map_err(|error| named(error.to_string()))?;
    let levels: usize = factors.iter().map(|factor| factor.levels.len()).sum();
    let profiles = intervals && fixed.is_none() && levels <= LEVELS_DRAWN;
    let parts = fit
        .components
        .iter()
        .enumerate()
        .map(|(place, component)| part(&fit, component, Some(place), (intervals, profiles)))
        .collect();
    Ok(Spread {
        parts,
        residual: part(&fit, &fit.residual, None, (intervals, profiles)),
        converged: fit.converged,
        residuals: if fixed.is_none() { residuals(&fit, scores, factors) } else { Vec::new() },
    })
}

fn residuals(fit: &Fit, scores: &[f64], factors: &[Factor]) -> Vec<f64> {
    let intercept = fit.fixed.first().map_or(0.0, |fixed| fixed.estimate);
    let mut left: Vec<f64> = scores.iter().map(|score| score - intercept).collect();
    for (factor, blups) in factors.iter().zip(&fit.blups) {
        let means: BTreeMap<&str, f64> =
            blups.iter().map(|blup| (blup.level.as_str(), blup.mean)).collect();
        for (residual, code) in left.iter_mut().zip(&factor.codes) {
            let level = factor.levels[*code as usize].as_str();
            *residual -= means.get(level).copied().unwrap_or(0.0);
        }
    }
    left
}

fn levels(factor: &Factor) -> Column {
    Column::Levels { codes: factor.codes.clone(), names: factor.levels.clone() }
}

fn part(
    fit: &Fit,
    component: &Component,
    place: Option<usize>,
    (intervals, profiles): (bool, bool),
) -> Part {
    let which = place.map_or(mixed::Part::Residual, mixed::Part::Component);
    let effects = place.and_then(|place| fit.blups.get(place)).map_or(&[][..], Vec::as_slice);
    Part {
        levels: component.levels as u64,
        variance: component.variance,
        sd: component.sd,
        share: component.share,
        ci_sd: intervals.then(|| mixed::profile_interval(fit, which, LEVEL)).flatten(),
        zeta: match profiles {
            true => mixed::profile_zeta(fit, which, ZETA_LEVEL, ZETA_POINTS),
            false => Vec::new(),
        },
        p_zero: place.and_then(|place| mixed::zero_test(fit, place)).map(|test| test.p),
        at_boundary: component.at_boundary,
        effects: effects.iter().map(|blup| (blup.level.clone(), blup.mean, blup.sd)).collect(),
    }
}

/// Mean of one or more values. Equal values have exactly that mean, so that scores without spread
/// are not given one by rounding.
pub fn mean(values: &[f64]) -> f64 {
    if all_equal(values) { values[0] } else { summary::mean(values) }
}

/// Standard deviation with n − 1; `None` for fewer than two values.
pub fn sd(values: &[f64]) -> Option<f64> {
    if values.len() > 1 && all_equal(values) { Some(0.0) } else { summary::sd(values) }
}

pub fn median(values: &[f64]) -> f64 {
    summary::median(values)
}

/// Mean of the middle half.
pub fn iqm(values: &[f64]) -> f64 {
    summary::iqm(values)
}

/// Half-width of a 95 % interval in standard errors, at `df` degrees of freedom.
pub fn t_quantile(df: f64) -> f64 {
    summary::student_quantile(0.5 + LEVEL / 2.0, df)
}

/// Plain t-test of the mean of `values`; `None` where it has no spread or fewer than two values.
pub fn naive_t(values: &[f64]) -> Option<Paired> {
    judged(values, compare::naive_t)
}

/// Corrected resampled t-test of the mean of `values`, one a fold.
///
/// Variance of the mean: `(1/J + n_test/n_train) s²`. Source: Nadeau & Bengio (2003).
pub fn corrected_t(values: &[f64], test_over_train: f64) -> Option<Paired> {
    judged(values, |values| compare::corrected_t(values, test_over_train))
}

/// Holm's adjustment of the p-values of tests, in their order.
pub fn holm(p: &[f64]) -> Vec<f64> {
    multiple::holm(p).unwrap_or_else(|error| unreachable!("tests give p-values: {error}"))
}

fn judged(
    values: &[f64],
    test: impl Fn(&[f64]) -> Result<PairedT, CompareError>,
) -> Option<Paired> {
    if all_equal(values) {
        return None;
    }
    let PairedT { mean, se, df, p, ci, .. } = test(values).ok()?;
    Some(Paired { mean, se, df, p, ci })
}

fn all_equal(values: &[f64]) -> bool {
    values.first().is_some_and(|first| values.iter().all(|value| value == first))
}

/// How far a profile is drawn: beyond the interval at 95 %.
const ZETA_LEVEL: f64 = 0.99;
const ZETA_POINTS: usize = 15;
/// Levels up to which profiles are drawn: beyond, they would take seconds.
const LEVELS_DRAWN: usize = 300;
