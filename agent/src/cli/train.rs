//! `agent train`: one trial by hand, as an agent would train it.
//!
//! Floor: wiring.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Args;
use common::design::Design;
use common::id::{LeaseId, TrialIndex};
use common::study::{Checked, Study, check_within};
use common::trial::{Ending, Outcome};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{FAILED, Failure, answer, printable};
use crate::driver::{Job, Trainer, train_cohort};

/// Train one trial by hand and print its outcome
///
/// The file names a study file, relative to itself, and the trial's number in its plan.
#[derive(Args)]
#[command(after_help = "Example:\n  \
    echo '{\"study\": \"study.toml\", \"trial\": 17}' > trial.json\n  \
    agent train trial.json --json")]
pub struct TrainArgs {
    #[arg(value_name = "TRIAL.json")]
    trial: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialFile {
    study: PathBuf,
    trial: u64,
}

pub fn train(args: TrainArgs) -> Result<(), Failure> {
    let text = fs::read_to_string(&args.trial)
        .with_context(|| format!("cannot read {}", args.trial.display()))?;
    let file: TrialFile = serde_json::from_str(&text)
        .with_context(|| format!("{} is not as `agent train --help` says", args.trial.display()))?;
    let study_path = args.trial.parent().unwrap_or(Path::new("")).join(&file.study);
    let Checked { study, dataset, .. } = checked(&study_path)?;
    let trial = TrialIndex(file.trial);
    if Design::of(&study).key(trial).is_none() {
        let trials = Design::of(&study).trials().unwrap_or(u64::MAX);
        let why = anyhow!("the study has {trials} trials, numbered from 0: there is no {trial}");
        return Err(Failure::usage(why));
    }
    let job = Job {
        // Nobody granted it.
        lease: LeaseId { term: 0, counter: 0 },
        study: Arc::new(study),
        dataset: Arc::new(dataset),
        trials: vec![trial],
        stop: Arc::default(),
    };
    let ending = train_cohort(&job, &Trainer, "cpu").and_then(|mut endings| endings.pop());
    let ending = ending.ok_or_else(|| anyhow!("the training was stopped"))?;
    let described = described(&job.study, trial, &ending);
    if args.json {
        answer(&described.to_string())?;
    } else {
        answer(printable(&lines(&described)).trim_end())?;
    }
    match ending {
        Ending::Complete(_) => Ok(()),
        Ending::Failed { reason, detail } => {
            let error = anyhow!("the trial failed ({}): {detail}", reason.name());
            Err(Failure { status: FAILED, error })
        }
    }
}

fn checked(path: &Path) -> Result<Checked, Failure> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let shown = path.display().to_string();
    let memory = link::folder::free_memory();
    let mut read = |name: &str| {
        link::folder::read(&folder.join(name), memory)
            .map_err(|error| format!("cannot read {name}: {error}"))
    };
    check_within(&text, &mut read, memory)
        .map_err(|findings| anyhow!(findings.render(&shown)).into())
}

/// The trial, what it stands for, and how it ended, under stable keys.
fn described(study: &Study, trial: TrialIndex, ending: &Ending) -> Value {
    let mut described = Map::new();
    described.insert("schema".into(), json!("seedsweep.trial/1"));
    described.insert("study".into(), json!(study.id().to_string()));
    described.insert("trial".into(), json!(trial.0));
    if let Some(key) = Design::of(study).key(trial) {
        let names = study.seeds.factors.iter().map(|factor| factor.name.clone());
        let seeds: Map<String, Value> =
            names.zip(&key.seeds).map(|(name, seed)| (name, json!(seed))).collect();
        described.insert("arm".into(), json!(key.arm(study).name));
        described.insert("config".into(), json!(key.config(study).point.to_string()));
        described.insert("seeds".into(), Value::Object(seeds));
        described.insert("partition".into(), json!(key.partition));
        described.insert("fold".into(), json!(key.fold));
    }
    match ending {
        Ending::Complete(outcome) => describe_outcome(study, outcome, &mut described),
        Ending::Failed { reason, detail } => {
            let failed = json!({ "reason": reason.name(), "detail": detail });
            described.insert("failed".into(), failed);
        }
    }
    Value::Object(described)
}

fn describe_outcome(study: &Study, outcome: &Outcome, described: &mut Map<String, Value>) {
    let names = study.metrics.iter().map(|metric| metric.name().to_string());
    let metrics: Map<String, Value> =
        names.zip(&outcome.metrics).map(|(name, value)| (name, json!(value))).collect();
    described.insert("metrics".into(), Value::Object(metrics));
    described.insert("epochs".into(), json!(outcome.epochs));
    described.insert("rows".into(), json!(outcome.rows.len()));
    described.insert("digest".into(), json!(outcome.digest().hex()));
    described.insert("duration_us".into(), json!(outcome.duration_us));
    described.insert("device".into(), json!(outcome.device));
}

/// The same for people: a line a key, nested keys indented.
fn lines(value: &Value) -> String {
    let mut lines = String::new();
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (key, value) in value.as_object().into_iter().flatten().filter(|(key, _)| *key != "schema")
    {
        if let Value::Object(inner) = value {
            let inner: Vec<String> =
                inner.iter().map(|(key, value)| format!("{key} {}", shown(value))).collect();
            lines += &format!("{key}: {}\n", inner.join(", "));
        } else {
            lines += &format!("{key}: {}\n", shown(value));
        }
    }
    lines
}
