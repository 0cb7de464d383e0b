//! Judged arms beside their controls, fold by fold.
//!
//! A control enters nothing else of the report: no comparison, no adjustment for their number, no
//! model of the spread. An arm beats a control when the 95 % interval of their difference over folds,
//! with the variance corrected after Nadeau and Bengio, lies on the better side of zero; a permuted
//! control is above chance by the same measure. That is stricter than 2.5 % where nothing is learned,
//! since a control's folds share less than an arm's. Deliberately absent: words; `controls.rs`
//! beside this folder has them.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::design::Design;
use common::metric::Metric;
use common::study::{Control, Study};

use super::super::content::{Beside, ControlledPart, ControlsPart, Target};
use super::super::table::{Run, Table};
use super::{estimate, grouped, interval};

/// Every judged arm beside its controls, without findings; `None` where the study has no control.
pub fn of_all(study: &Study, table: &Table) -> Option<ControlsPart> {
    let judged = study.judged().len();
    let controls = &study.arms[judged..];
    if controls.is_empty() {
        return None;
    }
    let design = Design::of(study);
    let planned = (judged..).zip(controls).map(|(number, arm)| {
        design.cells_of(number as u32).saturating_mul(arm.configs.len() as u64)
    });
    let seeds: u64 = study.seeds.factors.iter().map(|factor| u64::from(factor.count)).product();
    let repeats = controls.iter().find_map(|arm| match arm.control() {
        Some(Control::Permuted { repeats, .. }) => Some(u64::from(repeats).min(seeds)),
        _ => None,
    });
    Some(ControlsPart {
        constant: study.constant().map(|number| study.arms[number].name.clone()),
        repeats,
        planned: planned.sum(),
        arms: (0..judged).map(|arm| of_arm(study, table, arm)).collect(),
    })
}

fn of_arm(study: &Study, table: &Table, arm: usize) -> ControlledPart {
    let own = by_fold(study, &table.arms[arm]);
    let against = |number: usize| Against::runs(study, &table.arms[number]);
    let constant = study.constant().map(against);
    let repeated = study.permuted(arm);
    let permuted = repeated.map(against);
    // A constant scores what a guess does, on the very test rows; without one the metric must say.
    let chance = match (&constant, study.primary()) {
        (Some(constant), _) if constant.n > 0 => Some(constant.clone()),
        (_, Metric::Auroc) => Some(Against::level(0.5, permuted.as_ref())),
        _ => None,
    };
    let constant = constant.and_then(|control| beside(study, &own, &control));
    let above_chance = permuted
        .as_ref()
        .and_then(|permuted| chance.and_then(|chance| beside(study, &permuted.folds, &chance)));
    let permuted = permuted.and_then(|control| beside(study, &own, &control));
    let beats: Vec<Option<bool>> =
        [&constant, &permuted].into_iter().flatten().map(|beside| beside.better).collect();
    let learned = match beats.as_slice() {
        [] => None,
        all if all.contains(&Some(false)) => Some(false),
        all if all.contains(&None) => None,
        _ => Some(true),
    };
    let scores: Vec<f64> = table.arms[arm].iter().map(|run| run.score).collect();
    ControlledPart {
        arm: study.arms[arm].name.clone(),
        mean: (!scores.is_empty()).then(|| estimate::mean(&scores)),
        leaks: above_chance.as_ref().and_then(|beside| beside.better),
        constant,
        permuted,
        above_chance,
        learned,
        findings: Vec::new(),
    }
}

/// What an arm is held against.
#[derive(Clone)]
struct Against {
    n: u64,
    mean: f64,
    sd: Option<f64>,
    folds: BTreeMap<u32, f64>,
}

impl Against {
    fn runs(study: &Study, runs: &[Run]) -> Self {
        let scores: Vec<f64> = runs.iter().map(|run| run.score).collect();
        let mean = if scores.is_empty() { f64::NAN } else { estimate::mean(&scores) };
        let folds = by_fold(study, runs);
        Self { n: scores.len() as u64, mean, sd: estimate::sd(&scores), folds }
    }

    /// The same in every fold that `other` has.
    fn level(mean: f64, other: Option<&Self>) -> Self {
        let folds = other.into_iter().flat_map(|other| other.folds.keys());
        Self { n: 0, mean, sd: None, folds: folds.map(|&fold| (fold, mean)).collect() }
    }
}

/// Mean score of each outer fold that has one.
fn by_fold(study: &Study, runs: &[Run]) -> BTreeMap<u32, f64> {
    grouped(runs, |run| run.block(study))
        .into_iter()
        .map(|(fold, group)| {
            let scores: Vec<f64> = group.iter().map(|run| run.score).collect();
            (fold, estimate::mean(&scores))
        })
        .collect()
}

/// `None` without a fold that both have.
fn beside(study: &Study, own: &BTreeMap<u32, f64>, other: &Against) -> Option<Beside> {
    let pairs = own.iter().filter_map(|(fold, score)| Some(score - other.folds.get(fold)?));
    let differences: Vec<f64> = pairs.collect();
    let first = *differences.first()?;
    let sign = if study.primary().larger_is_better() { 1.0 } else { -1.0 };
    let difference = estimate::mean(&differences);
    let several = differences.len() > 1;
    let steady = differences.iter().all(|other| *other == first);
    let ci = study
        .test_over_train()
        .and_then(|ratio| estimate::corrected_t(&differences, ratio))
        .and_then(|t| interval(t.ci, CORRECTED, Some(Target::T2)));
    let better = match &ci {
        Some(ci) => Some((ci.low * sign).min(ci.high * sign) > 0.0),
        // The same in every fold: no luck of the folds is left that could have made it.
        None => (several && steady).then_some(difference * sign > 0.0),
    };
    let folds = differences.len() as u64;
    Some(Beside { n: other.n, mean: other.mean, sd: other.sd, folds, difference, ci, better })
}

const CORRECTED: &str = "corrected resampled t over fold means (Nadeau and Bengio)";
