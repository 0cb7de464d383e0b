//! Every check of a study, against its file and its data.
//!
//! A study file with several faults gives all of its findings at once. Deliberately absent: file
//! access; the caller reads, by the path as written.
//!
//! Floor: common.

mod controls;
mod data;
mod division;
mod models;
mod nested;
mod ordered;
mod programs;
mod samples;
mod searches;
mod size;
mod stopping;

use super::finding::{At, Inspection, did_you_mean};
use super::grammar::{self, ArmDraft, Draft, SeedsDraft, TaskKind};
use super::learned::{Learned, tried};
use super::{Arm, ArmConfig, Budget, Findings, Model, Seeds, Study, Task};
use crate::metric::Metric;
use crate::table::Dataset;

/// A study that passed every check, with its rows.
#[derive(Debug)]
pub struct Checked {
    pub study: Study,
    pub dataset: Dataset,
    pub text: String,
    /// Things worth saying that forbid nothing.
    pub notes: Vec<String>,
}

/// Checks a study file's text and the bytes of the data it names.
///
/// `read` gives the bytes of a file named in the study, by the path as written there.
pub fn check(
    text: &str,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<Checked, Findings> {
    check_within(text, read, u64::MAX)
}

/// The same, and data that take more than `memory` bytes are refused, with what they take.
pub fn check_within(
    text: &str,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    memory: u64,
) -> Result<Checked, Findings> {
    let mut inspection = Inspection::new(text);
    let mut notes = Vec::new();
    let checked = grammar::read(text, &mut inspection)
        .and_then(|draft| study(draft, read, memory, &mut notes, &mut inspection));
    match checked {
        Some((study, dataset)) if inspection.is_clean() => {
            Ok(Checked { study, dataset, text: text.to_string(), notes })
        }
        _ => Err(inspection.findings()),
    }
}

fn study(
    mut draft: Draft,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    memory: u64,
    notes: &mut Vec<String>,
    inspection: &mut Inspection<'_>,
) -> Option<(Study, Dataset)> {
    let metrics = metrics(&draft, inspection);
    programs::read_files(&mut draft, read, inspection);
    let facts = data::facts(&draft, read, memory, notes, inspection);
    let outer = division::outer(&draft, facts.as_ref(), notes, inspection);
    controls::check(&draft, inspection);
    let stop = stopping::stop(&draft, inspection);
    searches::check(&draft, inspection);
    size::check(&draft, outer.as_ref(), inspection);
    if !inspection.is_clean() {
        return None;
    }
    let facts = facts?;
    let data = facts.data?;
    let dataset = match facts.samples {
        Some(samples) => Dataset::of_samples(&data, samples),
        None => Dataset::of(&data, &facts.table),
    };
    let dataset = match dataset {
        Ok(dataset) => dataset,
        Err(sentence) => {
            inspection.refuse(&draft.data.path.as_ref()?.span, sentence, "");
            return None;
        }
    };
    for arm in &mut draft.arms {
        if let Err(error) = arm.draw(data.digest) {
            inspection.refuse(&arm.space.span, error.to_string(), "");
            return None;
        }
    }
    searches::check_drawn(&draft.arms, inspection);
    models::check(&draft.arms, &dataset, inspection);
    let written = draft.arms.iter().map(arm).collect();
    let kind = (&data.format, matches!(data.task, Task::Segmentation { .. }));
    let arms = controls::beside(written, (&draft.controls, &draft.requires), kind);
    let inner_span =
        draft.outer.as_ref().and_then(|outer| Some(outer.inner.as_ref()?.span.clone()));
    let outer_span = draft.outer.as_ref()?.span.clone();
    let SeedsDraft { span: seeds_span, factors, .. } = draft.seeds?;
    let seeds = Seeds { factors };
    if seeds.factors.iter().all(|factor| factor.count == 1) {
        notes.push("one seed shows no spread over seeds; the report can say nothing of it".into());
    }
    let study = Study {
        name: draft.name?,
        notes: draft.notes,
        metrics,
        data,
        outer: outer?,
        seeds,
        arms,
        budget: Budget { stop, ..draft.budget },
    };
    notes.extend(controls::notes(&study));
    notes.extend(programs::notes(&study, draft.controls.permuted.is_some()));
    notes.extend(stopping::notes(&study));
    notes.extend(searches::notes(&study, &draft.arms));
    nested::check(&study, &dataset, &inner_span.unwrap_or_default(), notes, inspection);
    ordered::check(&study, &dataset, &outer_span, notes, inspection);
    size::check_controls(&study, &seeds_span, inspection);
    size::check_travels(&study, inspection);
    Some((study, dataset))
}

/// The metrics that exist and belong to the task.
fn metrics(draft: &Draft, inspection: &mut Inspection<'_>) -> Vec<Metric> {
    let task = draft.data.task.as_ref().map(|task| task.value);
    let fits = |metric: &Metric| task.is_none_or(|task| task == TaskKind::of(*metric));
    let fitting: Vec<&str> =
        Metric::ALL.iter().filter(|metric| fits(metric)).map(|metric| metric.name()).collect();
    let of_task = match task {
        Some(TaskKind::Classification) => "for classification",
        Some(TaskKind::Regression) => "for regression",
        Some(TaskKind::Segmentation) => "for segmentation",
        None => "here",
    };
    let mut metrics = Vec::new();
    for At { value: name, span } in &draft.metrics {
        let known = format!("known {of_task}: {}", fitting.join(", "));
        match name.parse::<Metric>() {
            Ok(metric) if fits(&metric) => metrics.push(metric),
            Ok(metric) => {
                let other = TaskKind::of(metric).name();
                let message = format!("metric {name:?} measures {other}, not this study's task");
                inspection.refuse(span, message, known);
            }
            Err(()) => {
                let crowded = inspection.is_crowded();
                let names = Metric::ALL.map(Metric::name);
                let near = if crowded { String::new() } else { did_you_mean(name, names) };
                let help = if near.is_empty() { known } else { format!("{near} {known}") };
                inspection.refuse(span, format!("there is no metric {name:?}"), help);
            }
        }
    }
    metrics
}

fn arm(draft: &ArmDraft) -> Arm {
    let mut configs = match draft.model {
        Model::Program => programs::configs(draft),
        _ => {
            let points = draft.points.iter().cloned();
            points.zip(draft.hypers()).map(|(point, hyper)| ArmConfig { point, hyper }).collect()
        }
    };
    let learned = draft.learns().map(|method| {
        configs.iter_mut().enumerate().for_each(|(at, config)| config.point = tried(at));
        Box::new(Learned::new(method, draft.space.value.clone(), draft.fixed.clone()))
    });
    let halving = draft.halving();
    if let Some(halving) = halving {
        configs = halving.rungs_of(&configs);
    }
    Arm {
        name: draft.name.value.clone(),
        model: draft.model,
        written: grammar::written(draft),
        configs,
        learned,
        halving,
        race: draft.race.as_ref().map(|race| race.value),
        requires: draft.requires.clone(),
    }
}

#[cfg(test)]
mod refusals;
#[cfg(test)]
mod required;
#[cfg(test)]
mod tests;
