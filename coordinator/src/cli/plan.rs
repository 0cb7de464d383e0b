//! `coordinator plan`: what a study would train, what it takes, and what it could detect.
//!
//! Floor: wiring.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use common::design::{Design, TrialKey};
use common::id::TrialIndex;
use common::study::{Halving, Model, Outer, Study};
use common::table::Dataset;
use common::time::Timestamp;
use common::trial::{Ending, Outcome};
use common::wire::codec;
use common::wire::message::{OutcomeRow, RowEnd};
use serde_json::{Value, json};

use super::output::{self, Output, table};
use super::{signal, study};
use crate::embedded::{self, Piloted};
use crate::report::{self, Detectable, Material, Report};
use crate::scheduler::state::LOCAL_AGENT;

/// What would be trained, what it takes, and what it could detect; a pilot is trained to see.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator plan study.toml\n  coordinator plan study.toml --pilot 60 --difference 0.01 --picture designs.svg\n\nThe pilot trains a few seeds of each arm on this machine, and keeps nothing."
)]
pub struct PlanArgs {
    /// The study file.
    study: PathBuf,
    /// Seconds of training for the pilot; 0 for none.
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    pilot: u32,
    /// A difference between two arms that matters, in the study's metric.
    #[arg(long, value_name = "D")]
    difference: Option<f64>,
    /// Write the interval's width over seeds and folds there, as SVG.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// `coordinator plan STUDY`.
pub async fn plan(args: PlanArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(read) = study::read(&args.study, output)? else { return Ok(ExitCode::from(1)) };
    let (study, dataset) = (&read.checked.study, &read.checked.dataset);
    let stages = stages(study);
    let tried = tried(study);
    let piloted = match (args.pilot, &tried) {
        (0, _) | (_, None) => None,
        (seconds, Some(tried)) => {
            let within = Duration::from_secs(seconds.into());
            let Some(piloted) = train(tried, dataset, within, output)? else {
                output.warn("stopped; nothing is kept");
                return Ok(ExitCode::from(1));
            };
            Some(piloted)
        }
    };
    let rows = piloted.as_ref().map(rows).unwrap_or_default();
    let costs = piloted.as_ref().zip(tried.as_ref());
    let costs = costs.and_then(|(piloted, tried)| Costs::of(study, tried, piloted, &rows));
    let report = tried.as_ref().filter(|_| !rows.is_empty());
    let report = report.map(|tried| report::build(&Material::of(tried, &rows)));
    let detected =
        report.as_ref().and_then(|report| report::detectable(report, study, args.difference));
    if let Some(path) = &args.picture {
        let svg = report.as_ref().and_then(report::picture).context(
            "there is no picture: the pilot's spread could not be divided; give it more seconds",
        )?;
        std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut warnings = read.checked.notes.clone();
    warnings.extend(self::warnings(study, dataset, detected.as_deref(), args.difference));
    let plan = Plan { study, stages, costs, report, detected, warnings };
    output.answer(&plan.people(args.difference), "seedsweep.plan/1", plan.programs());
    Ok(ExitCode::SUCCESS)
}

/// What there is to say.
struct Plan<'a> {
    study: &'a Study,
    stages: Vec<(&'static str, u64)>,
    costs: Option<Costs>,
    report: Option<Report>,
    detected: Option<Vec<Detectable>>,
    warnings: Vec<String>,
}

/// Trials by what they are for; none of no use.
fn stages(study: &Study) -> Vec<(&'static str, u64)> {
    let design = Design::of(study);
    let (mut choose, mut refit, mut flat, mut controls) = (0, 0, 0, 0);
    for (number, arm) in (0u32..).zip(&study.arms) {
        let chooses = design.choosing_trials(number);
        let cells = design.cells_of(number);
        let searched = design.is_searched(number);
        let reported = if searched { cells } else { cells * arm.configs.len() as u64 };
        match (arm.control().is_some(), searched) {
            (true, _) => controls += chooses + reported,
            (false, true) => {
                choose += chooses;
                refit += reported;
            }
            (false, false) => flat += reported,
        }
    }
    let all = [
        ("choose configs on inner folds", choose),
        ("train the chosen ones again", refit),
        ("arms without a choice", flat),
        ("controls", controls),
    ];
    all.into_iter().filter(|(_, trials)| *trials > 0).collect()
}

/// Trainings before the rule for stopping looks for the first time; `None` without one.
fn before_a_look(study: &Study) -> Option<u64> {
    let first = u64::from(study.budget.stop?.first);
    let design = Design::of(study);
    let of_arm = |arm: u32| first.min(design.seeds_of(arm)) * design.trained_with_a_seed(arm);
    let arms = 0..study.arms.len() as u32;
    Some(design.tuning_trials() + arms.map(of_arm).sum::<u64>())
}

/// What the pilot trains: a few seeds and configs of each model, flat. `None` where there are programs
/// alone, which a pilot does not run.
fn tried(study: &Study) -> Option<Study> {
    let mut tried = study.clone();
    tried.outer = Outer { inner: None, ..tried.outer };
    tried.arms.retain(|arm| arm.control().is_none() && arm.model != Model::Program);
    for arm in &mut tried.arms {
        // Of configs among which inner folds choose one is tried: their mean would spread less.
        let most = if study.outer.inner.is_some() { 1 } else { CONFIGS_TRIED };
        if let Some(halving) = arm.halving.take() {
            // Those that are trained to the last epoch.
            arm.configs.drain(..halving.config(halving.rungs - 1, 0) as usize);
        }
        arm.race = None;
        let every = arm.configs.len().div_ceil(most);
        arm.configs = arm.configs.iter().step_by(every).cloned().collect();
        // Of a search's tries, the examples of its space.
        arm.learned = None;
    }
    tried.seeds.factors.iter_mut().for_each(|factor| factor.count = factor.count.min(SEEDS_TRIED));
    (!tried.arms.is_empty()).then_some(tried)
}

/// Trains until the time is over; `None` where it was interrupted.
fn train(
    tried: &Study,
    dataset: &Dataset,
    within: Duration,
    output: &Output,
) -> anyhow::Result<Option<Piloted>> {
    let design = Design::of(tried);
    let device = embedded::device()?;
    let lanes = device.cohort_lanes.get().min(COHORT_MAX) as usize;
    // Cell by cell, so that what is over has whole folds; each cohort of one arm, whose time it tells.
    let keys: Vec<(TrialIndex, TrialKey)> = (0..design.trials().unwrap_or(0).min(TRIED_MAX))
        .filter_map(|trial| Some((TrialIndex(trial), design.key(TrialIndex(trial))?)))
        .collect();
    let mut cohorts: Vec<Vec<TrialIndex>> = Vec::new();
    for seed in keys.chunk_by(|(_, a), (_, b)| a.seeds == b.seeds) {
        for arm in 0..tried.arms.len() as u32 {
            let of_arm: Vec<TrialIndex> =
                seed.iter().filter(|(_, key)| key.arm == arm).map(|(trial, _)| *trial).collect();
            cohorts.extend(of_arm.chunks(lanes).map(<[TrialIndex]>::to_vec));
        }
    }
    let bar = output.counting(keys.len() as u64, "trainings");
    let stopped = AtomicBool::new(false);
    let ask = tokio::spawn(signal::interrupted());
    let stop = || {
        if ask.is_finished() {
            stopped.store(true, Ordering::Relaxed);
        }
        stopped.load(Ordering::Relaxed)
    };
    let piloted = tokio::task::block_in_place(|| {
        embedded::pilot(tried, dataset, &cohorts, device, within, &|trials| bar.inc(trials), &stop)
    });
    bar.finish_and_clear();
    let piloted = piloted?;
    Ok((!stopped.load(Ordering::Relaxed)).then_some(piloted))
}

/// The pilot's outcomes as a report takes them.
fn rows(piloted: &Piloted) -> Vec<OutcomeRow> {
    let row = |(trial, ending): &(TrialIndex, Ending)| match ending {
        Ending::Complete(outcome) => Some(OutcomeRow {
            trial: *trial,
            ended: Timestamp(0),
            agent: LOCAL_AGENT,
            end: RowEnd::Complete(outcome.clone()),
        }),
        Ending::Failed { .. } => None,
    };
    piloted.endings.iter().filter_map(row).collect()
}

/// What a study takes, by its pilot.
struct Costs {
    /// Of each arm under judgement that is no program: seconds of one training, if any ended.
    arms: Vec<(String, Option<f64>)>,
    /// Of all trials whose arm was tried.
    agent_seconds: f64,
    untried: Vec<String>,
    threads: u32,
    lanes: u32,
    device: String,
    trials: u64,
    bytes: u64,
}

impl Costs {
    fn of(study: &Study, tried: &Study, piloted: &Piloted, rows: &[OutcomeRow]) -> Option<Self> {
        let design = Design::of(tried);
        let outcomes: Vec<(u32, &Outcome)> = (rows.iter())
            .filter_map(|row| match &row.end {
                RowEnd::Complete(outcome) => Some((design.key(row.trial)?.arm, outcome)),
                RowEnd::Failed { .. } => None,
            })
            .collect();
        let seconds = |arm: u32| {
            let of_arm = outcomes.iter().filter(|(of, _)| *of == arm);
            let each: Vec<f64> = of_arm.map(|(_, o)| o.duration_us as f64 / 1e6).collect();
            (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
        };
        let arms: Vec<(String, Option<f64>)> =
            (0u32..).zip(&tried.arms).map(|(at, arm)| (arm.name.clone(), seconds(at))).collect();
        let whole = Design::of(study);
        let (mut agent_seconds, mut untried) = (0.0, Vec::new());
        for (number, arm) in (0u32..).zip(&study.arms) {
            let source = match arm.model {
                Model::Constant => continue,
                Model::Permuted { of, .. } => &study.arms[of as usize].name,
                _ => &arm.name,
            };
            let known = arms.iter().find(|(name, _)| name == source).and_then(|(_, each)| *each);
            let Some(each) = known else {
                untried.push(arm.name.clone());
                continue;
            };
            let (cells, chooses) = (whole.cells_of(number), whole.choosing_trials(number));
            let configs = if whole.is_searched(number) { 1 } else { arm.configs.len() as u64 };
            let reported = (cells * configs) as f64;
            let each_try = study.outer.inner_share() * arm.halving.map_or(1.0, Halving::share);
            agent_seconds += each * (reported + chooses as f64 * each_try);
        }
        let bytes = rows.iter().filter_map(|row| codec::encode(row).ok()).map(|b| b.len() as u64);
        let each = bytes.sum::<u64>().checked_div(rows.len() as u64)?;
        let trials = whole.trained()?;
        Some(Self {
            arms,
            agent_seconds,
            untried,
            threads: piloted.threads.get(),
            lanes: piloted.device.cohort_lanes.get(),
            device: piloted.device.record(),
            trials,
            bytes: trials.saturating_mul(each).saturating_mul(COPIES),
        })
    }

    fn here_seconds(&self) -> f64 {
        self.agent_seconds / f64::from(self.threads.max(1))
    }
}

/// What the design earns.
fn warnings(
    study: &Study,
    dataset: &Dataset,
    detected: Option<&[Detectable]>,
    difference: Option<f64>,
) -> Vec<String> {
    let mut list = Vec::new();
    let folds = study.outer.partitions * study.outer.folds;
    let seeds: u64 = study.seeds.factors.iter().map(|factor| u64::from(factor.count)).product();
    if folds == 1 && seeds > 1 {
        list.push(
            "seeds are the only source that is varied: what is found holds for these test rows alone; \
             ask for folds, or repeats of the holdout"
                .to_string(),
        );
    }
    if study.outer.inner.is_some() {
        list.push(
            "the pilot trains the first config of each arm: what choosing adds to the spread, and what \
             other configs take, is not in it"
                .to_string(),
        );
    }
    if let Some(groups) = &dataset.groups {
        let count = groups.iter().collect::<BTreeSet<_>>().len();
        if count < GROUPS_FEW {
            list.push(format!(
                "the rows are of {count} groups: so few say little of other groups, whatever the seeds"
            ));
        }
    }
    let planned = (study.seeds.factors.first().map(|f| f.count), folds);
    let row =
        detected.and_then(|rows| rows.iter().find(|row| (Some(row.seeds), row.folds) == planned));
    if let (Some(asked), Some(row)) = (difference, row)
        && row.smallest > asked
    {
        let floor = detected.unwrap_or_default().iter().filter(|other| other.folds == folds);
        let enough = floor.clone().find(|other| other.smallest <= asked);
        list.push(match enough {
            Some(other) => format!(
                "a difference of {asked} is likely missed with {} seeds; {} would do",
                row.seeds, other.seeds
            ),
            None => format!(
                "a difference of {asked} is likely missed, and more seeds alone do not help: too few \
                 test rows or folds; ask for more folds or repeats, or more rows"
            ),
        });
    }
    list
}

impl Plan<'_> {
    fn people(&self, difference: Option<f64>) -> String {
        let design = Design::of(self.study);
        let trials = design.trained().unwrap_or(0);
        let rows = self.stages.iter().map(|(what, n)| vec![what.to_string(), n.to_string()]);
        let most = match before_a_look(self.study) {
            Some(first) => format!(" at most, {first} of them before [stop] looks"),
            None if self.study.races() => " at most, if no race drops a config".to_string(),
            None if self.study.halves_at_once() => {
                ", and some more where configs go on without waiting".to_string()
            }
            None => String::new(),
        };
        let mut parts = vec![format!(
            "{}: {trials} trainings{most}\n{}",
            self.study.name,
            table(&["Stage", "Trainings"], rows.collect())
        )];
        match &self.costs {
            Some(costs) => parts.push(costs.people()),
            None => parts.push("Nothing was tried: how long it takes is not known.".to_string()),
        }
        match &self.detected {
            Some(rows) => parts.push(detected_in_words(self.study, rows, difference)),
            None if self.report.is_some() => parts.push(
                "What it could detect cannot be told: that takes two arms, two seeds and two folds in \
                 the pilot; give it more seconds."
                    .to_string(),
            ),
            None => {}
        }
        parts.extend(self.warnings.iter().map(|warning| format!("note: {warning}")));
        parts.join("\n\n")
    }

    fn programs(&self) -> Value {
        let stages: Vec<Value> = (self.stages.iter())
            .map(|(what, trials)| json!({ "stage": what, "trials": trials }))
            .collect();
        json!({
            "study": self.study.name,
            "trials": Design::of(self.study).trained(),
            "before_a_look": before_a_look(self.study),
            "stages": stages,
            "pilot": self.costs.as_ref().map(Costs::programs),
            "detectable": self.detected,
            "notes": self.warnings,
        })
    }
}

impl Costs {
    fn people(&self) -> String {
        let each = |(name, seconds): &(String, Option<f64>)| {
            let shown = seconds.map_or("none ended; give --pilot more seconds".into(), |s| {
                format!("{:.1} ms", s * 1e3)
            });
            vec![name.clone(), shown]
        };
        let mut text = format!(
            "By a pilot on {}, {} at once:\n{}\n\n{} cohorts of up to {} lanes: about {} of training, {} on this machine; about {} of \
             disk a replica",
            self.device,
            self.threads,
            table(&["Arm", "One training"], self.arms.iter().map(each).collect()),
            self.trials.div_ceil(u64::from(self.lanes.max(1))),
            self.lanes,
            output::duration(self.agent_seconds.ceil() as u64),
            output::duration(self.here_seconds().ceil() as u64),
            output::bytes(self.bytes),
        );
        if !self.untried.is_empty() {
            text += &format!("\nnot in this: {}, which were not tried", self.untried.join(", "));
        }
        text
    }

    fn programs(&self) -> Value {
        json!({
            "device": self.device,
            "threads": self.threads,
            "lanes": self.lanes,
            "trainings": self.arms.iter()
                .map(|(arm, seconds)| json!({ "arm": arm, "seconds": seconds }))
                .collect::<Vec<_>>(),
            "agent_seconds": self.agent_seconds,
            "seconds_here": self.here_seconds(),
            "untried": self.untried,
            "trials": self.trials,
            "bytes": self.bytes,
        })
    }
}

fn detected_in_words(study: &Study, rows: &[Detectable], difference: Option<f64>) -> String {
    let number = |value: f64| format!("{value:.2e}").parse::<f64>().unwrap_or(value).to_string();
    let row = |row: &Detectable| {
        let mut cells = vec![
            row.seeds.to_string(),
            row.folds.to_string(),
            number(row.half_width),
            number(row.smallest),
        ];
        cells.extend(row.power.map(|power| format!("{:.0} %", power * 100.0)));
        cells
    };
    let asked = difference.map(|difference| format!("finds {difference}"));
    let mut headings = vec!["Seeds", "Folds", "± of a difference", "found in 80 of 100"];
    headings.extend(asked.as_deref());
    let arms = study.judged().len();
    let pairs = match arms * arms.saturating_sub(1) / 2 {
        0 | 1 => String::new(),
        pairs => format!(", at the level that each of {pairs} pairs has by Holm's rule"),
    };
    format!(
        "What a difference in {} on new samples must be to be seen{pairs}, by the pilot's spread (a few seeds \
         know it within a factor of two or so):\n{}",
        study.primary(),
        table(&headings, rows.iter().map(row).collect())
    )
}

const CONFIGS_TRIED: usize = 3;
const SEEDS_TRIED: u32 = 4;
const COHORT_MAX: u32 = 8;
/// Trials that are listed for a pilot.
const TRIED_MAX: u64 = 100_000;
const GROUPS_FEW: usize = 5;
/// Of an outcome's bytes on a disk: in the log and as a row, with what is around them.
const COPIES: u64 = 3;
