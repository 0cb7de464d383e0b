//! `agent train`: one trial by hand, as an agent would train it.
//!
//! Floor: wiring.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
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
use crate::device::{Device, Wanted};
use crate::driver::{Job, Train, Trainer, train_cohort};
use crate::program::Programs;

/// Train one trial by hand and print its outcome
///
/// The file names a study file, relative to itself, and the trial's number in its plan.
#[derive(Args)]
#[command(after_help = "Example:\n  \
    echo '{\"study\": \"study.toml\", \"trial\": 17}' > trial.json\n  \
    agent train trial.json --json\n  \
    agent train trial.json --allow-programs")]
pub struct TrainArgs {
    #[arg(value_name = "TRIAL.json")]
    trial: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Run the arm's program, where it has one; what it writes goes to stderr when it has ended
    #[arg(long)]
    allow_programs: bool,
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
    if Design::of(&study).key(trial).is_some_and(|key| !key.is_proposed(&study)) {
        let why = anyhow!(
            "which config trial {trial} trains is proposed by a search while the study runs; a study file \
             does not say it"
        );
        return Err(Failure::usage(why));
    }
    let job = Job {
        // Nobody granted it.
        lease: LeaseId { term: 0, counter: 0 },
        id: study.id(),
        study: Arc::new(study),
        dataset: Arc::new(dataset),
        trials: vec![trial],
        stop: Arc::default(),
    };
    if job.has_programs() && !args.allow_programs {
        let why = anyhow!("this trial runs a program; allow it with --allow-programs");
        return Err(Failure::usage(why));
    }
    let ending = if job.has_programs() {
        run(&job, &study_path)?
    } else {
        ended(&job, &Trainer::new(None))?
    };
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

fn ended(job: &Job, trainer: &dyn Train) -> Result<Ending, Failure> {
    let device = Device::choose(Wanted::Cpu, None, None).map_err(Failure::usage)?;
    let ending = train_cohort(job, trainer, &device.record()).and_then(|mut endings| endings.pop());
    Ok(ending.ok_or_else(|| anyhow!("the training was stopped"))?)
}

/// Runs a program in a folder of its own, which is left there when the trial fails.
fn run(job: &Job, study: &Path) -> Result<Ending, Failure> {
    let folder = std::env::temp_dir().join(format!("seedsweep-train-{}", process::id()));
    let shared = study.parent().filter(|parent| !parent.as_os_str().is_empty());
    let shared = shared.unwrap_or(Path::new(".")).to_path_buf();
    let programs = Programs::open(&folder, folder.join("cache"), vec![shared], Trainer::new(None))
        .with_context(|| format!("the folder {} cannot be used", folder.display()))?;
    eprintln!("running a program; {}", printable(&programs.limits_in_words()));
    let ending = ended(job, &programs)?;
    let mut from = 0;
    while let Some(part) = programs.log(job.id, job.trials[0], from)
        && !part.bytes.is_empty()
    {
        from = part.from + part.bytes.len() as u64;
        // It is lost only where nobody reads.
        let _ = io::stderr().write_all(&part.bytes);
    }
    // Its data are read-only, and gone with it.
    drop(programs);
    match &ending {
        Ending::Complete(_) => drop(fs::remove_dir_all(&folder)),
        Ending::Failed { .. } => eprintln!("its folder is {}", folder.join("failed").display()),
    }
    Ok(ending)
}

fn checked(path: &Path) -> Result<Checked, Failure> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let shown = path.display().to_string();
    let memory = link::memory::free();
    let mut read = |name: &str| {
        link::folder::read(&folder.join(name), memory).map_err(|error| error.to_string())
    };
    check_within(&text, &mut read, memory)
        .map_err(|findings| anyhow!(findings.render(&shown)).into())
}

/// The trial, what it stands for, and how it ended, under stable keys.
fn described(study: &Study, trial: TrialIndex, ending: &Ending) -> Value {
    let mut described = Map::new();
    described.insert("schema".into(), json!("seedsweep.trial/1"));
    described.insert("study".into(), json!(study.id().to_string()));
    // A row of outcomes lies under its study and so under these bytes; here it stands alone.
    described.insert("data_digest".into(), json!(study.data.digest.hex()));
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
        if let Some(inner) = key.inner {
            described.insert("inner_fold".into(), json!(inner));
        }
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
