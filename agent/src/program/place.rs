//! An attempt's place: its folders, the files in them, its arguments and its environment.
//!
//! Floor: shell.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::design::{Design, TrialKey};
use common::id::TrialIndex;
use common::metric::Metric;
use common::name::is_inner_path;
use common::seed::{Stream, mix};
use common::space::Value;
use common::study::program::fill;
use common::study::{Data, Program, Study, Task};
use common::table::relabelled;
use serde_json::{Map, Value as Json, json};

use super::data::DataFile;
use super::{CHECKPOINTS, DATA, Programs, WORK, held_out};
use crate::driver::Job;
use crate::trainer;

/// Everything that a program is started with.
#[derive(Debug)]
pub struct Place {
    /// Of this attempt; the other folders and files of it are within.
    pub folder: PathBuf,
    /// Where the program is started, with the arm's files.
    pub files: PathBuf,
    pub out: PathBuf,
    /// Of the trial: it outlives attempts.
    pub checkpoint: PathBuf,
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub test_rows: usize,
    /// Whether the trial helps to choose a config.
    pub chooses: bool,
    pub time_limit_s: u32,
    pub memory_mib: u32,
}

/// The rows of one trial, as they are numbered in its data file.
struct Rows {
    train: Vec<u32>,
    validation: Vec<u32>,
    test: Vec<u32>,
}

impl Place {
    /// Makes the folders and writes the files. Errors: a sentence.
    pub fn make(
        programs: &Programs,
        job: &Job,
        trial: TrialIndex,
        card: Option<String>,
    ) -> Result<Self, String> {
        let study = &job.study;
        let key = Design::of(study).key(trial).ok_or(format!("the study has no trial {trial}"))?;
        if !key.is_proposed(study) {
            return Err(format!("the study does not say yet which config trial {trial} has"));
        }
        let config = key.config(study);
        let program = config.hyper.program.as_ref().ok_or("the arm has no program")?;
        let data = programs.data_file(&study.data)?;
        let (rows, labels) = rows(job, trial, &key, &data)?;
        let (name, lease) = (format!("{}-{trial}", job.id), job.lease);
        let folder =
            programs.folder.join(WORK).join(format!("{name}-{}-{}", lease.term, lease.counter));
        let (files, checkpoint) =
            (folder.join("files"), programs.folder.join(CHECKPOINTS).join(name));
        let failed =
            |error: io::Error| format!("the folder {} cannot be used: {error}", folder.display());
        // What an attempt of the same lease left, of another life of this agent.
        super::data::remove_all(&folder.join(DATA));
        let _ = fs::remove_dir_all(&folder);
        for folder in [&files, &folder.join(TMP), &checkpoint] {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut place = Self {
            out: files.join("results.jsonl"),
            test_rows: rows.test.len(),
            chooses: key.inner.is_some(),
            time_limit_s: program.time_limit_s,
            memory_mib: program.memory_mib,
            command: Vec::new(),
            env: Vec::new(),
            folder: folder.clone(),
            files,
            checkpoint,
        };
        place.put_files(study, &key).map_err(failed)?;
        place.put_rows(&rows).map_err(failed)?;
        let data = match labels {
            Some(labels) => {
                let bytes = programs.bytes(&study.data)?;
                place.put_relabelled(&study.data, &data, &bytes, &labels)?
            }
            None => data,
        };
        let told = place.told(job, trial, &key, program, &data);
        let told = serde_json::to_vec_pretty(&told).map_err(|error| error.to_string())?;
        fs::write(folder.join(TRIAL), told).map_err(failed)?;
        let mut value = |name: &str| place.value(name, job, trial, &key, program, &data);
        let filled = |text: &String, value: &mut dyn FnMut(&str) -> Option<String>| {
            fill(text, value).map_err(|name| format!("nothing is called `{name}` here"))
        };
        let command: Vec<String> = program
            .command
            .iter()
            .map(|text| filled(text, &mut value))
            .collect::<Result<_, _>>()?;
        let mut own = Vec::new();
        for (name, text) in &program.env {
            own.push((name.clone(), filled(text, &mut value)?));
        }
        place.command = command;
        place.env = place.environment(card);
        place.env.extend(own);
        Ok(place)
    }

    /// The arm's files, those that begin as scripts do made to be started.
    fn put_files(&self, study: &Study, key: &TrialKey) -> io::Result<()> {
        for file in key.arm(study).program_files() {
            if !is_inner_path(&file.path) {
                return Err(io::Error::other(format!("{:?} leads out of it", file.path)));
            }
            let path = self.files.join(&file.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, &file.bytes)?;
            if file.bytes.starts_with(b"#!") {
                to_be_started(&path)?;
            }
        }
        Ok(())
    }

    /// A number a line.
    fn put_rows(&self, rows: &Rows) -> io::Result<()> {
        let written = |rows: &[u32]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        fs::write(self.folder.join(TRAIN), written(&rows.train))?;
        fs::write(self.folder.join(VALIDATION), written(&rows.validation))?;
        fs::write(self.folder.join(TEST), written(&rows.test))
    }

    /// The data of a permuted control: training rows have each other's labels. `bytes` are the study's.
    fn put_relabelled(
        &self,
        data: &Data,
        file: &DataFile,
        bytes: &[u8],
        labels: &[u32],
    ) -> Result<DataFile, String> {
        let placed = |row: u32| file.places.as_ref().map_or(row, |places| places[row as usize]);
        let moved = (0..).zip(labels).filter(|(row, giver)| row != *giver);
        let givers: Vec<(u32, u32)> =
            moved.map(|(row, giver)| (placed(row), placed(*giver))).collect();
        let changed = relabelled(&data.format, bytes, &data.target, &givers)?;
        file.other(self.folder.join(DATA), data, bytes, changed)
    }

    /// What `SEEDSWEEP_TRIAL` names.
    fn told(
        &self,
        job: &Job,
        trial: TrialIndex,
        key: &TrialKey,
        program: &Program,
        data: &DataFile,
    ) -> Json {
        let study = &job.study;
        let values = program.fixed.iter().chain(&key.config(study).point.values);
        let config: Map<String, Json> =
            values.map(|(name, value)| (name.clone(), in_json(value))).collect();
        let seeds: Map<String, Json> = streams(study, key)
            .into_iter()
            .map(|(stream, seed)| (stream.name().to_string(), json!(seed)))
            .collect();
        let metric = |metric: &Metric| {
            let better = if metric.larger_is_better() { "larger" } else { "smaller" };
            json!({ "name": metric.name(), "better": better })
        };
        let (task, classes) = match &study.data.task {
            Task::Classification { classes } => ("classification", Some(classes)),
            Task::Regression => ("regression", None),
            Task::Segmentation { classes } => ("segmentation", Some(classes)),
        };
        let some = |number: u32| (number > 0).then_some(number);
        let holds_out = key.config(study).hyper.recipe.validation > 0.0;
        json!({
            "schema": "seedsweep.program/1",
            "study": study.name,
            "study_id": job.id.to_string(),
            "trial": trial.0,
            "attempt": job.lease.to_string(),
            "arm": key.arm(study).name,
            "config": config,
            "seed": seed(study, key),
            "seeds": seeds,
            "partition": key.partition,
            "fold": key.fold,
            "inner_fold": key.inner,
            "metrics": study.metrics.iter().map(metric).collect::<Vec<_>>(),
            "task": task,
            "classes": classes,
            "data": data.path,
            "row_names": data.row_names,
            "target": study.data.target,
            "drop": study.data.drop,
            "group": study.data.group,
            "rows": {
                "train": self.folder.join(TRAIN),
                "validation": holds_out.then(|| self.folder.join(VALIDATION)),
                "test": self.folder.join(TEST),
            },
            "out": self.out,
            "scores": self.files.join("rows.csv"),
            "checkpoint": self.checkpoint,
            "time_limit_s": some(self.time_limit_s),
            "memory_mib": some(self.memory_mib),
        })
    }

    /// What `{name}` stands for.
    fn value(
        &self,
        name: &str,
        job: &Job,
        trial: TrialIndex,
        key: &TrialKey,
        program: &Program,
        data: &DataFile,
    ) -> Option<String> {
        let study = &job.study;
        let values = program.fixed.iter().chain(&key.config(study).point.values);
        let own =
            values.into_iter().find(|(own, _)| own == name).map(|(_, value)| value.to_string());
        let path = |path: &Path| Some(path.to_string_lossy().into_owned());
        let of_stream = |name: &str| {
            let mut streams = streams(study, key).into_iter();
            let found = streams.find(|(stream, _)| stream.name() == name);
            found.map(|(_, seed)| seed.to_string())
        };
        match name {
            "seed" => Some(seed(study, key).to_string()),
            "fold" => Some(key.fold.to_string()),
            // Empty for a trial that is tested on its outer fold.
            "inner_fold" => Some(key.inner.map(|inner| inner.to_string()).unwrap_or_default()),
            "partition" => Some(key.partition.to_string()),
            "trial" => Some(trial.0.to_string()),
            "study" => Some(study.name.clone()),
            "arm" => Some(key.arm(study).name.clone()),
            "data" => path(&data.path),
            "out" => path(&self.out),
            "checkpoint" => path(&self.checkpoint),
            // Empty for what does not exist beside this config's other values.
            _ => own
                .or_else(|| name.strip_prefix("seed.").and_then(of_stream))
                .or_else(|| key.arm(study).varies(name).then(String::new)),
        }
    }

    /// What is let through of the agent's environment, and what is told; the arm's own come after.
    fn environment(&self, card: Option<String>) -> Vec<(String, String)> {
        let let_through = LET_THROUGH.into_iter();
        let mut env: Vec<(String, String)> = let_through
            .filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?)))
            .collect();
        let mut set = |name: &str, value: String| env.push((name.to_string(), value));
        let path = |path: &Path| path.to_string_lossy().into_owned();
        set("SEEDSWEEP_TRIAL", path(&self.folder.join(TRIAL)));
        set("SEEDSWEEP_OUT", path(&self.out));
        set("SEEDSWEEP_CHECKPOINT", path(&self.checkpoint));
        set("TMPDIR", path(&self.folder.join(TMP)));
        set("CUDA_VISIBLE_DEVICES", card.unwrap_or_default());
        // An agent runs one program a core; libraries that start a thread a core would crowd it.
        for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
            set(name, "1".to_string());
        }
        // Progress is seen as it is made, and hashes do not move outcomes.
        set("PYTHONUNBUFFERED", "1".to_string());
        set("PYTHONHASHSEED", "0".to_string());
        env
    }
}

/// The trial's rows, and of a permuted control the row whose label each row of the study has.
fn rows(
    job: &Job,
    trial: TrialIndex,
    key: &TrialKey,
    data: &DataFile,
) -> Result<(Rows, Option<Vec<u32>>), String> {
    let lane = trainer::open(&job.study, &job.dataset, &[trial]).pop();
    let lane = lane.ok_or("the trial has no rows")?.map_err(|error| error.to_string())?;
    let share = key.config(&job.study).hyper.recipe.validation;
    let of = (key.partition, key.fold);
    let how = (job.study.outer.stratify, trainer::time_order(&job.study, &job.dataset));
    let (train, validation) = held_out::cut(&job.dataset, &lane.train_rows, share, how, of);
    let placed = |rows: Vec<u32>| match &data.places {
        Some(places) => rows.iter().map(|row| places[*row as usize]).collect(),
        None => rows,
    };
    let rows = Rows {
        train: placed(train),
        validation: placed(validation),
        test: placed(lane.test_rows.clone()),
    };
    Ok((rows, lane.labels))
}

/// The seed of each stream; that of the split is the partition's number.
fn streams(study: &Study, key: &TrialKey) -> Vec<(Stream, u64)> {
    let training = Stream::TRAINING.map(|stream| (stream, key.seed_of(study, stream)));
    let split = (Stream::Split, u64::from(key.partition));
    training.into_iter().chain([split]).collect()
}

/// One number for all training streams: theirs where they move together, else mixed of them.
fn seed(study: &Study, key: &TrialKey) -> u64 {
    let seeds = Stream::TRAINING.map(|stream| key.seed_of(study, stream));
    let together = seeds.iter().all(|seed| *seed == seeds[0]);
    // In 31 bits, which every library takes.
    if together { seeds[0] } else { seeds.into_iter().fold(0, |sum, seed| mix(sum ^ seed)) >> 33 }
}

fn in_json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Ints(numbers) => json!(numbers),
    }
}

#[cfg(unix)]
fn to_be_started(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn to_be_started(_: &Path) -> io::Result<()> {
    Ok(())
}

const TRIAL: &str = "trial.json";
const TRAIN: &str = "train-rows.txt";
const VALIDATION: &str = "validation-rows.txt";
const TEST: &str = "test-rows.txt";
const TMP: &str = "tmp";

/// Of the agent's environment. Whatever else is in it, such as a token, no program sees.
const LET_THROUGH: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYENV_ROOT",
];
