//! Each arm alone: its scores, their intervals, its configs.
//!
//! An interval for T1 treats seeds as drawn and rows and folds as given; one for T2 treats the
//! training sample as drawn too. Deliberately absent: a best config. Which one is best was seen on
//! the test rows, so its own mean would flatter it.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::metric::Metric;
use common::study::{ArmConfig, Study};

use super::super::content::{
    AlsoPart, ArmDrawn, ArmPart, ConfigPart, Interval, MeanErrors, Scores, Target,
};
use super::super::subject;
use super::super::table::{Run, Table};
use super::components::Decomposition;
use super::{estimate, grouped, interval, seed_label};

/// Everything the report says of one arm. `parts` is its decomposition, for the next run's range.
pub fn describe(study: &Study, table: &Table, arm: usize, parts: &Decomposition) -> ArmPart {
    let written = &study.arms[arm];
    let runs = &table.arms[arm];
    let failed = table
        .missing
        .iter()
        .filter(|((of, _, reason), _)| *of as usize == arm && !UNENDED.contains(&reason.as_str()))
        .map(|(_, trials)| trials)
        .sum();
    ArmPart {
        arm: written.name.clone(),
        model: written.model.name(),
        training: subject::training(written),
        n: runs.len() as u64,
        failed,
        scores: scores(study, runs, parts),
        other_rows: None,
        configs: configs(study, arm, runs),
        also: also(study, runs),
        remarks: remarks(study, runs),
    }
}

/// What the figures show of an arm.
pub fn drawn(study: &Study, arm: usize, runs: &[Run]) -> ArmDrawn {
    let mut sorted: Vec<f64> = runs.iter().map(|run| run.score).collect();
    sorted.sort_by(f64::total_cmp);
    let seeds = seed_means(study, runs)
        .into_iter()
        .map(|(seeds, mean)| (seed_label(&seeds), mean))
        .collect();
    ArmDrawn { arm: study.arms[arm].name.clone(), runs: sorted, seeds }
}

/// Mean of each seed, freed of which folds and configs it happens to have: the arm's mean plus the
/// mean of `score − mean of the same config and fold over seeds`.
///
/// Equal to the plain means per seed where no run is missing. Empty where no fold has two seeds.
pub fn seed_means(study: &Study, runs: &[Run]) -> Vec<(Vec<u32>, f64)> {
    let deviations = deviations(study, runs);
    if deviations.is_empty() {
        return Vec::new();
    }
    let centre = estimate::mean(&scores_of(runs));
    let by_seed = grouped(deviations, |(run, _)| run.seeds.clone());
    by_seed
        .into_iter()
        .map(|(seeds, group)| {
            let values: Vec<f64> = group.iter().map(|(_, deviation)| *deviation).collect();
            (seeds, centre + estimate::mean(&values))
        })
        .collect()
}

/// Standard error and degrees of freedom of a mean over new seeds, rows and folds kept.
///
/// For one seed factor the standard error of its levels' means. For crossed factors the sum of
/// theirs (their joint term is counted once for each, which errs on the wide side), with
/// Satterthwaite's degrees of freedom. `values` are deviations that average to zero in each fold.
pub fn seed_error(factors: usize, values: &[(&[u32], f64)]) -> Option<(f64, f64)> {
    let mut variance = 0.0;
    let mut denominator = 0.0;
    for factor in 0..factors {
        let by_level = grouped(values.iter(), |(seeds, _)| seeds[factor]);
        let means: Vec<f64> = by_level
            .values()
            .map(|group| estimate::mean(&group.iter().map(|(_, v)| *v).collect::<Vec<f64>>()))
            .collect();
        if means.len() < 2 {
            continue;
        }
        let term = estimate::sd(&means)?.powi(2) / means.len() as f64;
        variance += term;
        denominator += term * term / (means.len() - 1) as f64;
    }
    (variance > 0.0).then(|| (variance.sqrt(), variance * variance / denominator))
}

fn scores(study: &Study, runs: &[Run], parts: &Decomposition) -> Option<Scores> {
    let values = scores_of(runs);
    if values.is_empty() {
        return None;
    }
    let mean = estimate::mean(&values);
    let seeds: Vec<f64> = seed_means(study, runs).into_iter().map(|(_, mean)| mean).collect();
    let several = seeds.len() > 1;
    let MeanErrors { se_t1, ci_t1, se_t2, ci_t2 } = errors_of_mean(study, runs);
    let next_run = next_run(study, runs, parts);
    let (least, most) = bounds(study.primary());
    let cut = [&ci_t1, &ci_t2, &next_run]
        .into_iter()
        .flatten()
        .any(|interval| interval.low == least || interval.high == most);
    Some(Scores {
        mean,
        sd: estimate::sd(&values),
        median: estimate::median(&values),
        iqm: estimate::iqm(&values),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        seed_min: several.then(|| seeds.iter().copied().fold(f64::INFINITY, f64::min)),
        seed_max: several.then(|| seeds.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        se_t1,
        ci_t1,
        se_t2,
        ci_t2,
        cut,
        next_run,
    })
}

/// How far the mean of `runs`, which is not empty, would move: over new seeds, and over new samples.
fn errors_of_mean(study: &Study, runs: &[Run]) -> MeanErrors {
    let (se_t1, ci_t1) = over_seeds(study, runs).unzip();
    let (se_t2, ci_t2) = over_samples(study, runs)
        .map(|(t, method)| (t.se, interval(within_metric(study, t.ci), method, Some(Target::T2))))
        .unzip();
    MeanErrors { se_t1, ci_t1: ci_t1.flatten(), se_t2, ci_t2: ci_t2.flatten() }
}

fn over_seeds(study: &Study, runs: &[Run]) -> Option<(f64, Option<Interval>)> {
    let mean = estimate::mean(&scores_of(runs));
    let deviations = deviations(study, runs);
    let values: Vec<(&[u32], f64)> =
        deviations.iter().map(|(run, value)| (run.seeds.as_slice(), *value)).collect();
    let (se, df) = seed_error(study.seeds.factors.len(), &values)?;
    let half = estimate::t_quantile(df) * se;
    let ends = within_metric(study, (mean - half, mean + half));
    Some((se, interval(ends, "t over seed means", Some(Target::T1))))
}

/// The mean with its error over new samples, and the method: the mixed model of folds and seeds,
/// or with one seed the corrected resampled standard error over folds.
fn over_samples(study: &Study, runs: &[Run]) -> Option<(estimate::Paired, &'static str)> {
    let ratio = study.test_over_train()?;
    let cells = grouped(runs, |run| (run.block(study), run.seeds.as_slice()));
    let means: Vec<(u32, &[u32], f64)> = (cells.iter())
        .map(|(&(fold, seeds), group)| {
            (fold, seeds, estimate::mean(&group.iter().map(|run| run.score).collect::<Vec<f64>>()))
        })
        .collect();
    over_new_samples(&means, &fold_means(study, runs), ratio)
}

/// The mean of `cells` (fold, seeds, score) over new samples; `folds` are their means by fold.
pub fn over_new_samples(
    cells: &[(u32, &[u32], f64)],
    folds: &[f64],
    ratio: f64,
) -> Option<(estimate::Paired, &'static str)> {
    if let Some(mixed) = estimate::crossed(cells, ratio) {
        let method = if mixed.kenward_roger { KENWARD_ROGER } else { SATTERTHWAITE };
        return Some((mixed.samples, method));
    }
    Some((estimate::corrected_t(folds, ratio)?, CORRECTED))
}

/// Mean score of each outer fold of each partition.
fn fold_means(study: &Study, runs: &[Run]) -> Vec<f64> {
    grouped(runs, |run| run.block(study))
        .values()
        .map(|group| estimate::mean(&group.iter().map(|run| run.score).collect::<Vec<f64>>()))
        .collect()
}

/// Mean ± t·√(variance of the mean + variance of one run), cut where the metric ends.
///
/// The variance of one run is the sum of all components where they could be estimated, else the
/// plain variance of the runs. Without a spread between test sets the next run is one on the same
/// test rows, and without one between seeds either there is nothing to expect it from.
fn next_run(study: &Study, runs: &[Run], parts: &Decomposition) -> Option<Interval> {
    let values = scores_of(runs);
    let (mean, plain) = (estimate::mean(&values), estimate::sd(&values)?.powi(2));
    let total = parts.total_variance().unwrap_or(plain);
    let (target, variance_of_mean, df) = match over_samples(study, runs) {
        Some((t, _)) => (Target::T2, t.se.powi(2), t.df),
        None if deviations(study, runs).is_empty() => return None,
        None => (Target::T1, plain / values.len() as f64, (values.len() - 1) as f64),
    };
    let half = estimate::t_quantile(df) * (total + variance_of_mean).sqrt();
    let ends = within_metric(study, (mean - half, mean + half));
    interval(ends, "t, sum of variance components and variance of the mean", Some(target))
}

/// Each run with its score minus the mean of its config and fold over seeds. Runs without a peer
/// say nothing about seeds and are left out.
fn deviations<'a>(study: &Study, runs: &'a [Run]) -> Vec<(&'a Run, f64)> {
    let cells = grouped(runs, |run| (run.config, run.block(study)));
    let mut list = Vec::with_capacity(runs.len());
    for group in cells.values().filter(|group| group.len() > 1) {
        let mean = estimate::mean(&group.iter().map(|run| run.score).collect::<Vec<f64>>());
        list.extend(group.iter().map(|run| (*run, run.score - mean)));
    }
    list
}

fn configs(study: &Study, arm: usize, runs: &[Run]) -> Vec<ConfigPart> {
    let by_config = grouped(runs, |run| run.config);
    let several = study.arms[arm].configs.len() > 1;
    let described = |(number, config): (usize, &ArmConfig)| {
        let group = by_config.get(&(number as u32));
        let own: Vec<Run> = group.into_iter().flatten().map(|run| (*run).clone()).collect();
        let values = scores_of(&own);
        // An arm of one config has these errors itself.
        let judged = !own.is_empty() && number < CONFIGS_JUDGED && several;
        ConfigPart {
            config: config.point.to_string(),
            n: own.len() as u64,
            mean: (!own.is_empty()).then(|| estimate::mean(&values)),
            sd: estimate::sd(&values),
            errors: if judged { errors_of_mean(study, &own) } else { MeanErrors::default() },
        }
    };
    study.arms[arm].configs.iter().enumerate().map(described).collect()
}

fn also(study: &Study, runs: &[Run]) -> Vec<AlsoPart> {
    let of_metric = |(place, metric): (usize, &Metric)| {
        let values: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.also.get(place).copied())
            .filter(|value| value.is_finite())
            .collect();
        (!values.is_empty()).then(|| AlsoPart {
            metric: metric.to_string(),
            n: values.len() as u64,
            mean: estimate::mean(&values),
            sd: estimate::sd(&values),
        })
    };
    study.metrics.iter().skip(1).enumerate().filter_map(of_metric).collect()
}

/// Signs that a source of randomness is not connected.
fn remarks(study: &Study, runs: &[Run]) -> Vec<String> {
    let mut found = Vec::new();
    let deviations = deviations(study, runs);
    let seeds: BTreeSet<&Vec<u32>> = runs.iter().map(|run| &run.seeds).collect();
    if seeds.len() > 1 && !deviations.is_empty() && deviations.iter().all(|(_, d)| *d == 0.0) {
        found.push(
            "Every seed gave exactly the same score in every fold: either this arm uses no \
             randomness, or the seed does not reach it."
                .to_string(),
        );
    }
    let by_block: BTreeMap<u32, Vec<&Run>> = grouped(runs, |run| run.block(study));
    let first = runs.first().map(|run| run.score);
    if by_block.len() > 1 && found.is_empty() && runs.iter().all(|run| Some(run.score) == first) {
        found.push(
            "Every run of this arm gave exactly the same score: check that folds and seeds reach \
             it."
            .to_string(),
        );
    }
    found
}

fn scores_of(runs: &[Run]) -> Vec<f64> {
    runs.iter().map(|run| run.score).collect()
}

/// An interval cut where the metric ends: no score lies beyond.
pub fn within_metric(study: &Study, (low, high): (f64, f64)) -> (f64, f64) {
    let (least, most) = bounds(study.primary());
    (low.max(least), high.min(most))
}

/// Least and greatest value that the metric can have.
pub fn bounds(metric: Metric) -> (f64, f64) {
    match metric {
        Metric::Auroc
        | Metric::Auprc
        | Metric::Accuracy
        | Metric::BalancedAccuracy
        | Metric::F1
        | Metric::Dice
        | Metric::Iou => (0.0, 1.0),
        Metric::LogLoss | Metric::Brier | Metric::Rmse | Metric::Mae | Metric::Hausdorff95 => {
            (0.0, f64::INFINITY)
        }
        Metric::R2 => (f64::NEG_INFINITY, 1.0),
    }
}

/// Methods of intervals for T2, of means and of differences.
pub const KENWARD_ROGER: &str = "mixed model over folds and seeds, folds as overlapping samples \
                                 (Nadeau and Bengio), Kenward and Roger's degrees of freedom";
pub const SATTERTHWAITE: &str = "mixed model over folds and seeds, folds as overlapping samples \
                                 (Nadeau and Bengio), Satterthwaite's degrees of freedom";
pub const CORRECTED: &str = "corrected resampled t over fold means (Nadeau and Bengio)";

/// Configs of an arm whose means have intervals: each takes a mixed model.
pub const CONFIGS_JUDGED: usize = 200;

/// Reasons in `Table::missing` that are not failures.
const UNENDED: [&str; 2] = ["cancelled", "not ended yet"];
