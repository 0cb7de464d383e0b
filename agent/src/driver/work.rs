//! The threads that train: one cohort at a time each, in a one-thread pool of its own.
//!
//! A cohort always ends with an event: its endings, or that it was stopped. A trainer that panics
//! fails its cohort's trials and nothing else.
//!
//! Floor: shell.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use common::design::Design;
use common::id::{LeaseId, StudyId, TrialIndex};
use common::study::{Model, Study};
use common::table::Dataset;
use common::trial::{Ending, FailReason};

use super::beside::{Beside, Cohort};
use super::kept::Kept;
use super::slots::{Slot, Slots};
use super::widths::Measured;
use crate::device::{CPU, Device, DeviceError};
use crate::program::Programs;
use crate::trainer::{self, Machine};

/// Trains cohorts. Called from several threads at once, each inside a one-thread rayon pool.
pub trait Train: Send + Sync + 'static {
    /// One ending a trial, in their order; `None` when `stop` said so. The duration and the
    /// device's record are filled in by the caller where they are empty.
    fn train(
        &self,
        study: &Study,
        dataset: &Dataset,
        trials: &[TrialIndex],
        stop: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>>;

    /// The same for a cohort as it was granted.
    fn train_job(&self, job: &Job, stop: &dyn Fn() -> bool) -> Option<Vec<Ending>> {
        self.train(&job.study, &job.dataset, &job.trials, stop)
    }

    /// The agent leaves soon: cohorts in training may be stopped before their end.
    fn leave(&self) {}

    /// What was reached of a trial, for another agent; `None`: nothing.
    fn checkpoint(&self, _: &Study, _: TrialIndex) -> Option<Vec<u8>> {
        None
    }

    /// Keeps what another agent reached of a trial, to go on from it; false when it is of no use.
    fn take_checkpoint(&self, _: &Study, _: TrialIndex, _: &[u8]) -> bool {
        false
    }

    /// The epochs at which trials went on from checkpoints since this was last asked.
    fn resumed(&self) -> Vec<u32> {
        Vec::new()
    }

    /// What runs programs, where they are allowed.
    fn programs(&self) -> Option<&Programs> {
        None
    }
}

/// The trainer that trains.
#[derive(Debug)]
pub struct Trainer {
    slots: Slots,
    /// Beside a card.
    beside: Option<Beside>,
    kept: Option<Kept>,
}

impl Trainer {
    /// Trains on the processor, at widths that it finds and keeps in the agent's folder, if there is
    /// one.
    pub fn new(folder: Option<&Path>) -> Self {
        let widths = Arc::new(Measured::open(folder, CPU));
        let slots = Slots::shared(Machine { widths, ..Machine::default() });
        Self { slots, beside: None, kept: folder.map(Kept::open) }
    }

    /// The same on `device`; of a card's, small cohorts on the processor where that is faster. Each card has
    /// as many slots as cohorts at once, and finds its own widths.
    pub fn on(device: &Device, folder: Option<&Path>) -> Result<Self, DeviceError> {
        if device.name == CPU {
            return Ok(Self::new(folder));
        }
        let mut slots = Vec::new();
        for (card, part) in device.parts().into_iter().enumerate() {
            let widths = Arc::new(Measured::open(folder, &part.name));
            for _ in 0..part.threads.get() {
                let widths = Arc::clone(&widths);
                let machine = Machine { device: part.open()?, widths };
                if let Some(why) = kernels::why_not(&machine.device) {
                    let card = &part.name;
                    tracing::warn!(card, %why, "it trains without kernels of its own, which is slower");
                }
                slots.push(Slot { card, machine, record: part.record() });
            }
        }
        let first = device.parts().remove(0);
        let beside = Some(Beside::open(&first, folder)?);
        Ok(Self { slots: Slots::of(slots), beside, kept: folder.map(Kept::open) })
    }
}

impl Train for Trainer {
    fn train(
        &self,
        study: &Study,
        dataset: &Dataset,
        trials: &[TrialIndex],
        stop: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>> {
        let train = |machine: &Machine| match &self.kept {
            Some(kept) => kept.train(study, dataset, trials, machine, stop),
            None => trainer::train(study, dataset, trials, machine, stop),
        };
        let here = || self.slots.train(&train);
        match &self.beside {
            Some(beside) => beside.train(&Cohort { study, dataset, trials, stop }, &here),
            None => here(),
        }
    }

    fn leave(&self) {
        if let Some(kept) = &self.kept {
            kept.leave();
        }
    }

    fn checkpoint(&self, study: &Study, trial: TrialIndex) -> Option<Vec<u8>> {
        self.kept.as_ref()?.reached(study, trial)
    }

    fn take_checkpoint(&self, study: &Study, trial: TrialIndex, bytes: &[u8]) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.take(study, trial, bytes))
    }

    fn resumed(&self) -> Vec<u32> {
        self.kept.as_ref().map(Kept::resumed).unwrap_or_default()
    }
}

/// One cohort for a thread.
pub struct Job {
    pub lease: LeaseId,
    /// As the coordinator calls the study, which may have grown since.
    pub id: StudyId,
    pub study: Arc<Study>,
    pub dataset: Arc<Dataset>,
    pub trials: Vec<TrialIndex>,
    pub stop: Arc<AtomicBool>,
}

impl Job {
    /// Whether a program of a user's is to be run.
    pub fn has_programs(&self) -> bool {
        let design = Design::of(&self.study);
        self.trials
            .iter()
            .filter_map(|trial| design.key(*trial))
            .any(|key| self.study.model_of(key.arm(&self.study)) == Model::Program)
    }
}

/// How a thread tells that a cohort ended.
pub type Ended = Arc<dyn Fn(LeaseId, Option<Vec<Ending>>) + Send + Sync>;

/// The threads. They end when this is dropped and their cohorts are done.
pub struct Workers {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub fn start(
        threads: usize,
        device: &str,
        trainer: &Arc<dyn Train>,
        ended: &Ended,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let start = |number| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .thread_name(move |_| format!("train {number}"))
                .build()
                .map_err(std::io::Error::other)?;
            let (queue, trainer, ended) =
                (Arc::clone(&queue), Arc::clone(trainer), Arc::clone(ended));
            let device = device.to_string();
            thread::Builder::new().name(format!("cohort {number}")).spawn(move || {
                while let Some(job) = next(&queue) {
                    let endings = pool.install(|| run(&job, trainer.as_ref(), &device));
                    ended(job.lease, endings);
                }
            })
        };
        let threads = (0..threads).map(start).collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Queues a cohort for the next free thread.
    pub fn give(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Threads end only after this sender is gone.
            let _ = jobs.send(job);
        }
    }

    /// Waits until every thread has ended its cohort. Blocks.
    pub fn join(mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Trains one cohort: `None` when it was stopped, else one ending a trial.
pub fn run(job: &Job, trainer: &dyn Train, device: &str) -> Option<Vec<Ending>> {
    let stop = || job.stop.load(Ordering::Relaxed);
    if stop() {
        return None;
    }
    let began = Instant::now();
    let forbidden = trainer.programs().is_none() && job.has_programs();
    let train = || match forbidden {
        true => Some(failed(job, "this agent runs no programs: start it with --allow-programs")),
        false => trainer.train_job(job, &stop),
    };
    let trained = panic::catch_unwind(AssertUnwindSafe(train));
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut endings = match trained {
        Ok(endings) => endings?,
        Err(panic) => failed(job, &format!("the trainer panicked: {}", words_of(&*panic))),
    };
    if endings.len() != job.trials.len() {
        let (got, wanted) = (endings.len(), job.trials.len());
        endings = failed(job, &format!("the trainer gave {got} endings for {wanted} trials"));
    }
    for ending in &mut endings {
        if let Ending::Complete(outcome) = ending {
            if outcome.duration_us == 0 {
                outcome.duration_us = took_us / job.trials.len() as u64;
            }
            if outcome.device.is_empty() {
                outcome.device = device.to_string();
            }
        }
    }
    Some(endings)
}

fn next(queue: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn failed(job: &Job, detail: &str) -> Vec<Ending> {
    let ending = Ending::Failed { reason: FailReason::Error, detail: detail.to_string() };
    vec![ending; job.trials.len()]
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".to_string())
}
