//! Several studies opened side by side: which arms they share, the runs of each, and one scale.
//!
//! A run is one seed's training of an arm, averaged over the folds on which every shared arm has a
//! score, and over configs: what a study would get by training once more. Deliberately absent: any
//! statistic over studies.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::metric::Metric;
use common::study::Study;

use super::super::Material;
use super::super::analysis::arms::seed_means;
use super::super::analysis::{estimate, grouped, seed_label};
use super::super::table::{Run, Table};
use super::content::{LeftOut, ScaleKind, ScalePart};
use super::{ARMS_MAX, SeveralError};

/// One study, and its runs of the shared arms.
pub struct Opened<'a> {
    /// Its name; with the start of its digest where another one has the same.
    pub label: String,
    pub material: &'a Material<'a>,
    pub table: Table,
    /// Outer folds over all partitions on which every shared arm has a score.
    pub folds: u64,
    /// One list of runs a shared arm: seed and score.
    pub runs: Vec<Vec<(String, f64)>>,
    /// The scores that become 0 and 1.
    pub ends: (f64, f64),
}

/// All studies in the order of their labels.
pub struct Side<'a> {
    pub metric: Metric,
    pub studies: Vec<Opened<'a>>,
    pub arms: Vec<String>,
    pub left_out: Vec<LeftOut>,
    pub scale: ScalePart,
}

impl<'a> Side<'a> {
    pub fn open(materials: &'a [Material<'a>]) -> Result<Self, SeveralError> {
        let all: Vec<&Study> = materials.iter().map(|material| material.study).collect();
        let Common { labelled, metric, arms, left_out } = Common::of(&all)?;
        let mut studies = Vec::new();
        for (label, place) in labelled {
            studies.push(opened(label, &materials[place], &arms)?);
        }
        let scale = scaled(metric, &arms, &mut studies);
        Ok(Self { metric, studies, arms, left_out, scale })
    }

    /// Runs of an arm, `[study][run]`, larger better, as scored.
    pub fn scores(&self, arm: usize) -> Vec<Vec<f64>> {
        let sign = if self.metric.larger_is_better() { 1.0 } else { -1.0 };
        let of = |study: &Opened<'_>| study.runs[arm].iter().map(|(_, run)| sign * run).collect();
        self.studies.iter().map(of).collect()
    }

    /// Runs of an arm, `[study][run]`, on the common scale.
    pub fn normalised(&self, arm: usize) -> Vec<Vec<f64>> {
        let of = |study: &Opened<'_>| {
            study.runs[arm].iter().map(|(_, run)| study.normalised(*run)).collect()
        };
        self.studies.iter().map(of).collect()
    }

    /// The fewest runs that any arm has in any study.
    pub fn least_runs(&self) -> usize {
        let all = self.studies.iter().flat_map(|study| study.runs.iter().map(Vec::len));
        all.min().unwrap_or(0)
    }
}

impl Opened<'_> {
    pub fn study(&self) -> &Study {
        self.material.study
    }

    pub fn normalised(&self, score: f64) -> f64 {
        let (zero, one) = self.ends;
        // Where all runs are equal each of them is the best.
        if zero == one { 1.0 } else { (score - zero) / (one - zero) }
    }
}

/// What studies have in common by what they declare, before any outcome is seen.
pub struct Common {
    /// Labels in their order, whatever order studies were named in, each with the study's place.
    labelled: Vec<(String, usize)>,
    metric: Metric,
    arms: Vec<String>,
    left_out: Vec<LeftOut>,
}

impl Common {
    pub fn of(studies: &[&Study]) -> Result<Self, SeveralError> {
        let labelled = labelled(studies)?;
        if labelled.len() < 2 {
            return Err(SeveralError::TooFew { studies: labelled.len() });
        }
        let named: Vec<(&str, &Study)> =
            labelled.iter().map(|(label, place)| (label.as_str(), studies[*place])).collect();
        let metric = one_metric(&named)?;
        let (arms, left_out) = shared(&named)?;
        Ok(Self { metric, arms, left_out, labelled })
    }
}

fn labelled(studies: &[&Study]) -> Result<Vec<(String, usize)>, SeveralError> {
    let mut list = Vec::new();
    for (place, study) in studies.iter().enumerate() {
        if studies[..place].iter().any(|other| other.id() == study.id()) {
            return Err(SeveralError::Twice { study: study.name.clone() });
        }
        let namesakes = studies.iter().filter(|other| other.name == study.name).count();
        let digest = study.digest().hex();
        let label = match namesakes {
            1 => study.name.clone(),
            _ => format!("{} ({})", study.name, digest.get(..8).unwrap_or_default()),
        };
        list.push((label, place));
    }
    list.sort();
    Ok(list)
}

fn one_metric(studies: &[(&str, &Study)]) -> Result<Metric, SeveralError> {
    let (first, study) = studies[0];
    let metric = study.primary();
    match studies.iter().find(|(_, other)| other.primary() != metric) {
        None => Ok(metric),
        Some((other, study)) => Err(SeveralError::Metrics {
            a: first.to_string(),
            a_metric: metric,
            b: other.to_string(),
            b_metric: study.primary(),
        }),
    }
}

/// Arms that all studies have, and those that only some have.
fn shared(studies: &[(&str, &Study)]) -> Result<(Vec<String>, Vec<LeftOut>), SeveralError> {
    let mut names: Vec<&String> = Vec::new();
    for arm in studies.iter().flat_map(|(_, study)| study.judged()) {
        if !names.contains(&&arm.name) {
            names.push(&arm.name);
        }
    }
    let has = |study: &Study, name: &str| study.judged().iter().any(|arm| arm.name == name);
    let lacking = |name: &String| -> Vec<String> {
        let without = studies.iter().filter(|(_, study)| !has(study, name));
        without.map(|(label, _)| label.to_string()).collect()
    };
    let (shared, rest): (Vec<_>, Vec<_>) = names
        .into_iter()
        .map(|name| (name, lacking(name)))
        .partition(|(_, lacking)| lacking.is_empty());
    let shared: Vec<String> = shared.into_iter().map(|(name, _)| name.clone()).collect();
    if shared.len() < 2 {
        let of = |(label, study): &(&str, &Study)| {
            let arms: Vec<&str> = study.judged().iter().map(|arm| arm.name.as_str()).collect();
            format!("{label} has {}", arms.join(", "))
        };
        let arms: Vec<String> = studies.iter().map(of).collect();
        return Err(SeveralError::Arms { shared: shared.len(), arms: arms.join("; ") });
    }
    if shared.len() > ARMS_MAX {
        return Err(SeveralError::TooManyArms { arms: shared.len() });
    }
    let left_out =
        rest.into_iter().map(|(arm, lacking)| LeftOut { arm: arm.clone(), lacking }).collect();
    Ok((shared, left_out))
}

fn opened<'a>(
    label: String,
    material: &'a Material<'a>,
    arms: &[String],
) -> Result<Opened<'a>, SeveralError> {
    let (study, table) = (material.study, Table::open(material));
    let place = |name: &String| study.judged().iter().position(|arm| arm.name == *name);
    let places: Vec<usize> = arms.iter().filter_map(place).collect();
    let blocks_of = |place: &usize| -> BTreeSet<u32> {
        table.arms[*place].iter().map(|run| run.block(study)).collect()
    };
    let all: Vec<BTreeSet<u32>> = places.iter().map(blocks_of).collect();
    if let Some(arm) = all.iter().position(BTreeSet::is_empty) {
        return Err(SeveralError::NoScore { study: label, arm: arms[arm].clone() });
    }
    let blocks = all.into_iter().reduce(|a, b| &a & &b).unwrap_or_default();
    if blocks.is_empty() {
        return Err(SeveralError::NoFold { study: label });
    }
    let runs = places.iter().map(|place| of_seeds(study, &table.arms[*place], &blocks)).collect();
    Ok(Opened { label, material, table, folds: blocks.len() as u64, runs, ends: (0.0, 1.0) })
}

/// One run a seed; a single one where no two seeds met on a fold.
fn of_seeds(study: &Study, runs: &[Run], blocks: &BTreeSet<u32>) -> Vec<(String, f64)> {
    let runs: Vec<Run> =
        runs.iter().filter(|run| blocks.contains(&run.block(study))).cloned().collect();
    let means = seed_means(study, &runs);
    if means.is_empty() {
        let seeds: BTreeSet<String> = runs.iter().map(|run| seed_label(&run.seeds)).collect();
        let scores: Vec<f64> = runs.iter().map(|run| run.score).collect();
        let label = seeds.into_iter().collect::<Vec<_>>().join(", ");
        return vec![(label, estimate::mean(&scores))];
    }
    means.into_iter().map(|(seeds, mean)| (seed_label(&seeds), mean)).collect()
}

/// Sets each study's ends, by the first rule that all studies can follow.
fn scaled(metric: Metric, arms: &[String], studies: &mut [Opened<'_>]) -> ScalePart {
    let best = if metric.larger_is_better() { 1.0 } else { 0.0 };
    let sign = if metric.larger_is_better() { 1.0 } else { -1.0 };
    let room = |zero: f64| sign * (best - zero) > ROOM_MIN;
    let constants: Vec<f64> = studies.iter().filter_map(constant).filter(|z| room(*z)).collect();
    if constants.len() == studies.len() {
        for (study, zero) in studies.iter_mut().zip(constants) {
            study.ends = (zero, best);
        }
        return ScalePart {
            kind: ScaleKind::Constant,
            zero: "what the constant control scored in the study",
            one: "the metric's best value",
        };
    }
    if let Some(zero) = chance(metric) {
        studies.iter_mut().for_each(|study| study.ends = (zero, best));
        return ScalePart {
            kind: ScaleKind::Chance,
            zero: "what a guess scores",
            one: "the metric's best value",
        };
    }
    for study in studies {
        let all = (0..arms.len()).flat_map(|arm| study.runs[arm].iter().map(|(_, run)| *run));
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), run| {
            (low.min(run), high.max(run))
        });
        study.ends = if metric.larger_is_better() { (low, high) } else { (high, low) };
    }
    ScalePart {
        kind: ScaleKind::Range,
        zero: "the worst run that these arms had in the study",
        one: "the best run that these arms had in the study",
    }
}

/// Mean score of the study's constant control over folds.
fn constant(study: &Opened<'_>) -> Option<f64> {
    let runs = &study.table.arms[study.study().constant()?];
    let by_fold: BTreeMap<u32, Vec<&Run>> = grouped(runs, |run| run.block(study.study()));
    let mean = |group: &Vec<&Run>| {
        estimate::mean(&group.iter().map(|run| run.score).collect::<Vec<f64>>())
    };
    let means: Vec<f64> = by_fold.values().map(mean).collect();
    (!means.is_empty()).then(|| estimate::mean(&means))
}

/// What knowing nothing scores, where the metric's definition says so whatever the data.
fn chance(metric: Metric) -> Option<f64> {
    match metric {
        Metric::Auroc => Some(0.5),
        Metric::R2 => Some(0.0),
        Metric::Auprc
        | Metric::Accuracy
        | Metric::BalancedAccuracy
        | Metric::F1
        | Metric::LogLoss
        | Metric::Brier
        | Metric::Rmse
        | Metric::Mae
        | Metric::Dice
        | Metric::Iou
        | Metric::Hausdorff95 => None,
    }
}

/// A control closer than this to the best value leaves no scale.
const ROOM_MIN: f64 = 1e-9;
