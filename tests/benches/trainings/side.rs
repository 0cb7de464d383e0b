//! The sides of the comparison: what trains, in whose words, and what a turn of it took.
//!
//! Floor: wiring.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use agent::trainer::{Lane, Machine, train_lanes};
use anyhow::{Context, Result, bail};
use common::trial::{Ending, Outcome};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use crate::work::Work;

/// What one turn of a side did.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Turn {
    pub trainings: u32,
    /// Processor seconds, of all threads.
    pub cpu_s: f64,
    /// Mean share of test rows that were right, to see that something was learnt.
    pub accuracy: f64,
}

/// One way to train.
pub struct Side<'a> {
    pub name: String,
    turn: Box<dyn FnMut() -> Result<Turn> + 'a>,
}

impl<'a> Side<'a> {
    /// `turn` trains once or as often as it trains at once.
    pub fn new(name: impl Into<String>, turn: impl FnMut() -> Result<Turn> + 'a) -> Self {
        Self { name: name.into(), turn: Box::new(turn) }
    }

    /// A side whose trainings run in this process; `train` says how many and how accurate.
    pub fn here(
        name: impl Into<String>,
        mut train: impl FnMut() -> Result<(u32, f64)> + 'a,
    ) -> Self {
        Self::new(name, move || {
            let begun = cpu_s();
            let (trainings, accuracy) = train()?;
            Ok(Turn { trainings, cpu_s: cpu_s() - begun, accuracy })
        })
    }

    /// Cohorts of `lanes` by this project's trainer, which has as many in training as its caches hold.
    pub fn ours(work: &'a Work, lanes: u32) -> Self {
        let mut next = 0;
        Self::here(ours_named(lanes), move || {
            next += u64::from(lanes);
            Ok((lanes, cohort(work, next, lanes)?))
        })
    }

    /// Turns until `cpu_s` have gone, at least one.
    pub fn turns(&mut self, cpu_s: f64) -> Result<Turn> {
        let mut all = Turn { trainings: 0, cpu_s: 0.0, accuracy: 0.0 };
        while all.trainings == 0 || all.cpu_s < cpu_s {
            let turn = (self.turn)().with_context(|| self.name.clone())?;
            all.accuracy += turn.accuracy * f64::from(turn.trainings);
            all.trainings += turn.trainings;
            all.cpu_s += turn.cpu_s;
        }
        all.accuracy /= f64::from(all.trainings);
        Ok(all)
    }
}

/// What [`Side::ours`] is called.
pub fn ours_named(lanes: u32) -> String {
    let plural = if lanes == 1 { "" } else { "s" };
    format!("seedsweep, {lanes} lane{plural}")
}

/// Trains a cohort whose seeds begin at `first`: the mean accuracy.
pub fn cohort(work: &Work, first: u64, lanes: u32) -> Result<f64> {
    let outcomes = outcomes(work, first, lanes, &Machine::default(), false)?;
    Ok(outcomes.iter().map(|outcome| outcome.metrics[0] / f64::from(lanes)).sum())
}

/// The outcomes of a cohort whose seeds begin at `first`; `keep_rows`: with a score of each test row.
pub fn outcomes(
    work: &Work,
    first: u64,
    lanes: u32,
    machine: &Machine,
    keep_rows: bool,
) -> Result<Vec<Outcome>> {
    let cohort: Vec<Lane> = (first..first + u64::from(lanes)).map(|seed| work.lane(seed)).collect();
    let metrics = [work.metric()];
    let endings = train_lanes(&work.dataset, &cohort, &metrics, keep_rows, machine, &|| false);
    let each = endings.context("nothing stops a training here")?.into_iter().map(|ending| {
        let Ending::Complete(outcome) = ending else { bail!("a training failed: {ending:?}") };
        Ok(outcome)
    });
    each.collect()
}

/// The peers of Python, in a process of their own that answers one turn at a time.
pub struct Python {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    /// `folder` holds what each [`Work`] wrote; `script` is one beside this file.
    pub fn start(python: &str, script: &str, folder: &Path, more: &[&str]) -> Result<Self> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/trainings");
        let mut process = Command::new(python)
            .arg(scripts.join(script))
            .arg(folder)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {python}"))?;
        let questions = process.stdin.take().context("asked for a pipe")?;
        let answers = BufReader::new(process.stdout.take().context("asked for a pipe")?);
        Ok(Self { process, questions, answers })
    }

    /// Versions of what it trains with, by name.
    pub fn versions(&mut self) -> Result<String> {
        Ok(self.ask("versions")?.trim().to_string())
    }

    /// One turn of the peer `name`, which trains `lanes` of a work at once.
    pub fn turn(&mut self, work: &str, name: &str, lanes: u32) -> Result<Turn> {
        let answer = self.ask(&format!("{work} {name} {lanes}"))?;
        serde_json::from_str(&answer).with_context(|| format!("the peer answered {answer:?}"))
    }

    pub fn ask(&mut self, question: &str) -> Result<String> {
        writeln!(self.questions, "{question}")?;
        self.questions.flush()?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            bail!("the peers ended at {question:?}; their error is above");
        }
        Ok(answer)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It reads nothing more, and holds nothing that must be finished.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Processor seconds of this process so far.
pub fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
