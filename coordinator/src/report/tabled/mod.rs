//! The report on a table that no study of ours made: scores by arm, seed and fold, whoever trained.
//!
//! The same statistics as a study's report, of what the table tells: nothing is said of models,
//! data, costs or seeds' use, which it does not hold. A pure function of the observations and of the
//! mixed model fitted to them. Deliberately absent: reading files.
//!
//! Floor: core.

pub mod content;
pub mod model;
mod page;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use common::stats::mixed::Fit;

use super::analysis::arms::{over_new_samples, seed_error};
use super::analysis::comparisons::{Frame, can_draw, contrast_of};
use super::analysis::{estimate, grouped, interval};
use super::content::{ArmDrawn, ComponentPart, Contrast, Interval, LEVEL, Scores, Target};
use content::{ArmPart, FitPart, PairPart, SCHEMA, SpreadPart, Tabled};
use model::Asked;

/// The rows of a table by their roles.
#[derive(Clone, Debug, PartialEq)]
pub struct Observations {
    /// What the table is called.
    pub table: String,
    pub metric: String,
    pub larger_is_better: bool,
    /// Role → column.
    pub roles: BTreeMap<String, String>,
    pub arms: Vec<String>,
    pub seeds: Vec<String>,
    pub rows: Vec<Observation>,
    /// Test rows over training rows of a fold, where that is known.
    pub ratio: Option<Ratio>,
    pub understood: Vec<String>,
    /// The model was written by hand, not made of the roles.
    pub own_formula: bool,
    pub reproduce: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    pub arm: u32,
    /// Place among the seeds; 0 where no column names them.
    pub seed: u32,
    /// The fold of its repeat, numbered over all; 0 where no column names folds.
    pub block: u32,
    pub score: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub test_over_train: f64,
    pub known: Known,
}

/// Where the share of test rows is known from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    Told {
        share: f64,
    },
    /// Every row tests once in each repeat of so many folds, as in cross-validation.
    Folds {
        folds: u32,
    },
}

/// The report on `observed`, to whose rows `fit` is fitted.
pub fn build(observed: &Observations, fit: &Fit, left_out: usize, asked: &Asked) -> Tabled {
    let part = model::of(fit, left_out, asked);
    let cells: Vec<Cells> = (0..observed.arms.len()).map(|arm| cells(observed, arm)).collect();
    let arms: Vec<ArmPart> = (0..observed.arms.len())
        .map(|arm| ArmPart {
            arm: observed.arms[arm].clone(),
            n: observed.rows.iter().filter(|row| row.arm as usize == arm).count() as u64,
            scores: scores(observed, arm, &cells[arm]),
        })
        .collect();
    let mut report = Tabled {
        schema: SCHEMA,
        table: observed.table.clone(),
        metric: observed.metric.clone(),
        goal: if observed.larger_is_better { "larger is better" } else { "smaller is better" },
        roles: observed.roles.clone(),
        understood: observed.understood.clone(),
        verdict: words::nothing(),
        arms,
        comparisons: pairs(observed, &cells, fit),
        components: components(&part),
        model: part,
        methods: String::new(),
        references: Vec::new(),
        reproduce: observed.reproduce.clone(),
        drawn: (0..observed.arms.len()).map(|arm| drawn(observed, arm, &cells[arm])).collect(),
    };
    report.verdict = words::verdict(&report, observed);
    report.methods = words::methods(&report, observed);
    report.references = words::references(&report);
    report
}

/// `report.json`, indented, with a line end.
pub fn json(report: &Tabled) -> String {
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

pub fn html(report: &Tabled) -> String {
    let origin = "the table alone: the same rows give the same page";
    super::html::page(&report.table, &page::blocks(report), origin, report.schema)
}

pub fn markdown(report: &Tabled) -> String {
    super::markdown::page(&report.table, &page::blocks(report))
}

pub fn latex(report: &Tabled) -> String {
    let blocks = page::blocks(report);
    super::latex::page(&report.table, &blocks, &report.references)
}

/// Mean over cases of each fold and seed.
type Cells = BTreeMap<(u32, [u32; 1]), f64>;

fn cells(observed: &Observations, arm: usize) -> Cells {
    let own = observed.rows.iter().filter(|row| row.arm as usize == arm);
    grouped(own, |row| (row.block, [row.seed]))
        .into_iter()
        .map(|(cell, rows)| {
            (cell, estimate::mean(&rows.iter().map(|row| row.score).collect::<Vec<f64>>()))
        })
        .collect()
}

fn scores(observed: &Observations, arm: usize, cells: &Cells) -> Scores {
    let own = observed.rows.iter().filter(|row| row.arm as usize == arm);
    let values: Vec<f64> = own.map(|row| row.score).collect();
    let mean = estimate::mean(&values);
    let seeds: Vec<f64> = seed_means(cells).into_values().collect();
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let several = seeds.len() > 1;
    let (se_t1, ci_t1) = over_seeds(cells, mean).unzip();
    let (se_t2, ci_t2) = over_folds(observed, cells).unzip();
    Scores {
        mean,
        sd: estimate::sd(&values),
        median: estimate::median(&values),
        iqm: estimate::iqm(&values),
        min: least(&values),
        max: most(&values),
        seed_min: several.then(|| least(&seeds)),
        seed_max: several.then(|| most(&seeds)),
        se_t1,
        ci_t1: ci_t1.flatten(),
        se_t2,
        ci_t2: ci_t2.flatten(),
        cut: false,
        next_run: None,
    }
}

/// Each cell minus the mean of its fold over seeds, where a fold has several.
fn deviations(cells: &Cells) -> Vec<([u32; 1], f64)> {
    let mut list = Vec::new();
    for group in grouped(cells, |((block, _), _)| *block).values().filter(|g| g.len() > 1) {
        let mean = estimate::mean(&group.iter().map(|(_, score)| **score).collect::<Vec<f64>>());
        list.extend(group.iter().map(|((_, seed), score)| (*seed, *score - mean)));
    }
    list
}

/// Mean of each seed, freed of which folds it has; empty where no fold has two seeds.
fn seed_means(cells: &Cells) -> BTreeMap<u32, f64> {
    let centre = estimate::mean(&cells.values().copied().collect::<Vec<f64>>());
    grouped(deviations(cells), |([seed], _)| *seed)
        .into_iter()
        .map(|(seed, group)| {
            let values: Vec<f64> = group.iter().map(|(_, deviation)| *deviation).collect();
            (seed, centre + estimate::mean(&values))
        })
        .collect()
}

/// Standard error and interval over new seeds.
fn over_seeds(cells: &Cells, mean: f64) -> Option<(f64, Option<Interval>)> {
    let deviations = deviations(cells);
    let values: Vec<(&[u32], f64)> =
        deviations.iter().map(|(seed, value)| (seed.as_slice(), *value)).collect();
    let (se, df) = seed_error(1, &values)?;
    let half = estimate::t_quantile(df) * se;
    Some((se, interval((mean - half, mean + half), "t over seed means", Some(Target::T1))))
}

/// Standard error and interval over new samples.
fn over_folds(observed: &Observations, cells: &Cells) -> Option<(f64, Option<Interval>)> {
    let means: Vec<f64> = grouped(cells, |((block, _), _)| *block)
        .values()
        .map(|group| estimate::mean(&group.iter().map(|(_, score)| **score).collect::<Vec<f64>>()))
        .collect();
    let cells: Vec<(u32, &[u32], f64)> =
        cells.iter().map(|(cell, score)| (cell.0, cell.1.as_slice(), *score)).collect();
    let (test, method) = over_new_samples(&cells, &means, observed.ratio?.test_over_train)?;
    Some((test.se, interval(test.ci, method, Some(Target::T2))))
}

fn pairs(observed: &Observations, cells: &[Cells], fit: &Fit) -> Vec<PairPart> {
    let frame = Frame {
        ratio: observed.ratio.map(|ratio| ratio.test_over_train),
        larger_is_better: observed.larger_is_better,
        seed_factors: 1,
        drawn: can_draw(cells),
    };
    let of_pair = |a: usize, b: usize| {
        let paired: Vec<(u32, &[u32], f64)> = cells[a]
            .iter()
            .filter_map(|(cell, score)| {
                cells[b].get(cell).map(|other| (cell.0, cell.1.as_slice(), score - other))
            })
            .collect();
        let folds: Vec<f64> = grouped(&paired, |(fold, _, _)| *fold)
            .values()
            .map(|group| estimate::mean(&group.iter().map(|(_, _, d)| *d).collect::<Vec<f64>>()))
            .collect();
        let contrast = contrast_of(&frame, &paired, &folds);
        let names = (&observed.arms[a], &observed.arms[b]);
        PairPart {
            a: names.0.clone(),
            b: names.1.clone(),
            cells: paired.len() as u64,
            folds: folds.len() as u64,
            why: contrast.as_ref().err().map(|why| words::why(observed, *why)),
            contrast: contrast.ok(),
            mixed: model::difference(fit, ARM, names.0, names.1),
        }
    };
    let arms = observed.arms.len();
    let places = (0..arms).flat_map(|a| (a + 1..arms).map(move |b| (a, b)));
    let mut all: Vec<PairPart> = places.map(|(a, b)| of_pair(a, b)).collect();
    let tested: Vec<&mut Contrast> =
        all.iter_mut().filter_map(|pair| pair.contrast.as_mut()).collect();
    let p: Vec<f64> = tested.iter().map(|contrast| contrast.p).collect();
    for (contrast, adjusted) in tested.into_iter().zip(estimate::holm(&p)) {
        contrast.p_holm = adjusted;
    }
    all
}

fn drawn(observed: &Observations, arm: usize, cells: &Cells) -> ArmDrawn {
    let own = observed.rows.iter().filter(|row| row.arm as usize == arm);
    let mut runs: Vec<f64> = own.map(|row| row.score).collect();
    runs.sort_by(f64::total_cmp);
    let label = |seed: u32| observed.seeds.get(seed as usize).cloned().unwrap_or_default();
    let seeds = seed_means(cells).into_iter().map(|(seed, mean)| (label(seed), mean)).collect();
    ArmDrawn { arm: observed.arms[arm].clone(), runs, seeds }
}

/// The sources of spread, as a study's figure draws them; with slopes their shares do not add up.
fn components(model: &FitPart) -> Vec<ComponentPart> {
    let mut seen = BTreeSet::new();
    let slopes = model.components.iter().any(|part| !seen.insert(part.factor.clone()));
    if slopes || model.correlations.iter().any(|pair| pair.share != 0.0) {
        return Vec::new();
    }
    let of = |part: &SpreadPart, factor: &str| ComponentPart {
        arm: None,
        factor: factor.to_string(),
        levels: part.levels as u64,
        variance: part.variance,
        sd: part.sd,
        share: part.share,
        ci_sd: part
            .ci_sd
            .and_then(|[low, high]| interval((low, high), "profile likelihood", None))
            .map(|interval| Interval { level: LEVEL, ..interval }),
        method: model.method,
        p: part.p,
        at_boundary: part.at_boundary,
        meaning: String::new(),
    };
    let mut list: Vec<ComponentPart> =
        model.components.iter().map(|part| of(part, &part.factor)).collect();
    list.push(of(&model.residual, "residual"));
    list
}

/// The variable of the model that stands for the arm's column.
pub const ARM: &str = "arm";
