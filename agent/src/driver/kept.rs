//! Trainings that a leaving agent does not end: their lanes' checkpoints, for its next life.
//!
//! Once the agent leaves, each lane in training writes where it stands when an epoch ends, and goes
//! on: whenever it is stopped then, only what came after its last checkpoint is lost. A trial that is
//! granted to this agent again, in whatever lease, goes on from there, and ends with the same bits as
//! one that was never stopped. What has ended needs no checkpoint, and its are deleted; but a config that
//! is halved is trained on from its rung's end.
//!
//! Floor: shell.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::design::{Design, TrialKey};
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
    /// Epochs at which trials went on, since that was last asked.
    resumed: Mutex<Vec<u32>>,
}

impl Kept {
    pub fn open(folder: &Path) -> Self {
        let checkpoints = Checkpoints::open(folder.join(CHECKPOINTS), BYTES_MAX);
        Self { checkpoints, leaving: AtomicBool::new(false), resumed: Mutex::default() }
    }

    /// From now on lanes in training write where they stand.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// The bytes of what was reached of a trial.
    pub fn reached(&self, study: &Study, trial: TrialIndex) -> Option<Vec<u8>> {
        let digest = digest(study, trial)?;
        self.checkpoints.get(&digest, u32::MAX)?.bytes().ok()
    }

    /// Keeps what another agent reached of a trial. Whether it is of that training is seen when it
    /// begins.
    pub fn take(&self, study: &Study, trial: TrialIndex, bytes: &[u8]) -> bool {
        let (Some(digest), Ok(checkpoint)) = (digest(study, trial), Checkpoint::read(bytes)) else {
            return false;
        };
        let here = self.checkpoints.get(&digest, u32::MAX);
        if here.is_none_or(|here| here.epochs() < checkpoint.epochs()) {
            self.keep(&digest, &checkpoint, false);
        }
        true
    }

    /// The epochs at which trials went on since this was last asked.
    pub fn resumed(&self) -> Vec<u32> {
        std::mem::take(&mut self.resumed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, trial: &Digest, checkpoint: &Checkpoint, durably: bool) {
        match self.checkpoints.put(trial, checkpoint, durably) {
            Ok(true) => self.checkpoints.forget_before(trial, checkpoint.epochs()),
            Ok(false) => tracing::debug!("a checkpoint is larger than all there is room for"),
            Err(error) => tracing::warn!(%error, "a checkpoint cannot be written"),
        }
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
        let whole = |trial: &TrialIndex| Some(whole(&design, study, &design.key(*trial)?));
        let keys: Vec<Option<TrialKey>> = trials.iter().map(whole).collect();
        let digest = |key: &Option<TrialKey>| key.as_ref().map(|key| key.digest(study));
        let digests: Vec<Option<Digest>> = keys.iter().map(digest).collect();
        let until = |trial: &TrialIndex| design.key(*trial)?.config(study).hyper.until;
        let until: Vec<Option<u32>> = trials.iter().map(until).collect();
        let found = |(trial, until): (&Option<Digest>, &Option<u32>)| {
            // One that is trained again to compare does not begin at its own end.
            let until = until.map_or(u32::MAX, |until| until.saturating_sub(1));
            let wanted = trial.as_ref().filter(|_| !self.checkpoints.is_empty());
            wanted.and_then(|trial| self.checkpoints.get(trial, until))
        };
        let from: Vec<Option<Checkpoint>> = digests.iter().zip(&until).map(found).collect();
        let shelf = |trial: &Option<Digest>| {
            trial.map(|trial| OfTrial { kept: self, trial, last: Mutex::new(None) })
        };
        let shelves: Vec<Option<OfTrial<'_>>> = digests.iter().map(shelf).collect();
        let mut legs = vec![Leg::default(); trials.len()];
        for ((leg, from), shelf) in legs.iter_mut().zip(&from).zip(&shelves) {
            leg.from = from.as_ref();
            leg.shelf = shelf.as_ref().map(|shelf| shelf as &dyn Shelf);
        }
        legs.iter_mut().zip(&until).for_each(|(leg, until)| leg.keep = until.is_some());
        let trained = trainer::train_legs(study, dataset, (trials, &legs), machine, stop)?;
        for (trial, trained) in digests.iter().zip(&trained) {
            match (trial, &trained.checkpoint) {
                (Some(trial), Some(checkpoint)) => self.keep(trial, checkpoint, false),
                (Some(trial), None) if !self.checkpoints.is_empty() => {
                    self.checkpoints.forget(trial);
                }
                _ => {}
            }
        }
        Some(trained.into_iter().map(|trained| trained.ending).collect())
    }
}

/// Of the whole training that a trial is, or is a part of.
fn digest(study: &Study, trial: TrialIndex) -> Option<Digest> {
    let design = Design::of(study);
    Some(whole(&design, study, &design.key(trial)?).digest(study))
}

/// The training that a rung is a part of: that of the last rung.
fn whole(design: &Design, study: &Study, key: &TrialKey) -> TrialKey {
    let rung = key.config(study).hyper.until.and(design.halving(key.arm));
    let config = rung.map_or(key.config, |halving| {
        halving.config(halving.rungs - 1, halving.place(key.config).1)
    });
    TrialKey { config, ..key.clone() }
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

    fn goes_on(&self, epochs: u32) {
        self.kept.resumed.lock().unwrap_or_else(PoisonError::into_inner).push(epochs);
    }

    fn keep(&self, checkpoint: Checkpoint) {
        self.kept.keep(&self.trial, &checkpoint, true);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Where they lie in an agent's folder.
pub const CHECKPOINTS: &str = "checkpoints";

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
