//! Trainings that a leaving agent does not end: their lanes' checkpoints, for its next life.
//!
//! Once the agent leaves, each lane in training writes where it stands when an epoch ends, and goes
//! on: whenever it is stopped then, only what came after its last checkpoint is lost. A trial that is
//! granted to this agent again, in whatever lease, goes on from there, and ends with the same bits as
//! one that was never stopped. What has ended needs no checkpoint, and its are deleted.
//!
//! Floor: shell.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::design::Design;
use common::id::{Digest, TrialIndex};
use common::study::Study;
use common::table::Dataset;
use common::trial::Ending;

use super::checkpoints::Checkpoints;
use crate::trainer::{self, Checkpoint, Leg, Machine, Shelf};

/// The checkpoints of an agent's folder, and whether it is time to write some.
#[derive(Debug)]
pub struct Kept {
    checkpoints: Checkpoints,
    leaving: AtomicBool,
}

impl Kept {
    pub fn open(folder: &Path) -> Self {
        let checkpoints = Checkpoints::open(folder.join("checkpoints"), BYTES_MAX);
        Self { checkpoints, leaving: AtomicBool::new(false) }
    }

    /// From now on lanes in training write where they stand.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Trains as [`trainer::train`] does, each trial from where its checkpoint left it.
    pub fn train(
        &self,
        study: &Study,
        dataset: &Dataset,
        trials: &[TrialIndex],
        machine: &Machine,
        stop: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>> {
        let design = Design::of(study);
        let digest = |trial: &TrialIndex| design.key(*trial).map(|key| key.digest(study));
        let digests: Vec<Option<Digest>> = trials.iter().map(digest).collect();
        let found = |trial: &Option<Digest>| match self.checkpoints.is_empty() {
            true => None,
            false => trial.as_ref().and_then(|trial| self.checkpoints.get(trial, u32::MAX)),
        };
        let from: Vec<Option<Checkpoint>> = digests.iter().map(found).collect();
        let resumed = from.iter().flatten().count();
        if resumed > 0 {
            tracing::info!(resumed, of = trials.len(), "trials go on from their checkpoints");
        }
        let shelf = |trial: &Option<Digest>| {
            trial.map(|trial| OfTrial { kept: self, trial, last: Mutex::new(None) })
        };
        let shelves: Vec<Option<OfTrial<'_>>> = digests.iter().map(shelf).collect();
        let mut legs = vec![Leg::default(); trials.len()];
        for ((leg, from), shelf) in legs.iter_mut().zip(&from).zip(&shelves) {
            leg.from = from.as_ref();
            leg.shelf = shelf.as_ref().map(|shelf| shelf as &dyn Shelf);
        }
        let trained = trainer::train_legs(study, dataset, (trials, &legs), machine, stop)?;
        if !self.checkpoints.is_empty() {
            digests.iter().flatten().for_each(|trial| self.checkpoints.forget(trial));
        }
        Some(trained.into_iter().map(|trained| trained.ending).collect())
    }
}

/// Takes one trial's checkpoints.
#[derive(Debug)]
struct OfTrial<'k> {
    kept: &'k Kept,
    trial: Digest,
    /// When one was written.
    last: Mutex<Option<Instant>>,
}

impl Shelf for OfTrial<'_> {
    fn wants(&self) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.kept.leaving.load(Ordering::Relaxed) && last.is_none_or(|at| at.elapsed() >= AGAIN)
    }

    fn keep(&self, checkpoint: Checkpoint) {
        let checkpoints = &self.kept.checkpoints;
        match checkpoints.put(&self.trial, &checkpoint) {
            Ok(true) => checkpoints.forget_before(&self.trial, checkpoint.epochs()),
            Ok(false) => tracing::debug!("a checkpoint is larger than all there is room for"),
            Err(error) => tracing::warn!(%error, "a checkpoint cannot be written"),
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Of all checkpoints in a folder.
const BYTES_MAX: u64 = 1 << 30;

/// After one was written, the next is not wanted earlier: epochs may be shorter than a write.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::{Train, Trainer};
    use super::*;
    use crate::sample;

    /// Trains four trials of 400 epochs, and is stopped after so many steps if it is not done: how many
    /// it made, and its endings.
    fn trained(trainer: &Trainer, leaves: u32, most: u32) -> (u32, Option<Vec<Ending>>) {
        let mut study = sample::study(sample::ROWS);
        study.arms[0].configs[0].hyper.epochs = 400;
        let dataset = Dataset::read(&study.data, sample::ROWS).expect("a table");
        let trials: Vec<TrialIndex> = (0..4).map(TrialIndex).collect();
        let steps = Cell::new(0);
        let stop = || {
            if steps.get() == leaves {
                trainer.leave();
            }
            steps.set(steps.get() + 1);
            steps.get() > most
        };
        let endings = trainer.train(&study, &dataset, &trials, &stop);
        (steps.get(), endings)
    }

    #[test]
    fn a_training_that_its_agent_left_is_gone_on_with_by_the_next_life() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || Trainer::new(Some(dir.path()));
        let (whole, endings) = trained(&Trainer::new(None), u32::MAX, u32::MAX);
        assert_eq!(whole, 400, "one step an epoch, all four together");
        let (_, stopped) = trained(&open(), 250, 300);
        assert!(stopped.is_none());
        let (rest, again) = trained(&open(), u32::MAX, u32::MAX);
        assert_eq!(again, endings);
        assert!((100..=150).contains(&rest), "{rest} steps after the checkpoints");
        let files = std::fs::read_dir(dir.path().join("checkpoints")).expect("a folder");
        assert_eq!(files.count(), 0, "what ended needs none");
        let (anew, again) = trained(&open(), u32::MAX, u32::MAX);
        assert_eq!((anew, again), (whole, endings));
    }

    #[test]
    fn an_agent_that_stays_writes_no_checkpoint() {
        let dir = tempfile::tempdir().expect("a folder");
        let (_, stopped) = trained(&Trainer::new(Some(dir.path())), u32::MAX, 300);
        assert!(stopped.is_none() && !dir.path().join("checkpoints").exists());
    }
}
