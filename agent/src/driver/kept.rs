//! Trainings that a leaving agent does not end: their lanes' checkpoints, for its next life.
//!
//! Once the agent leaves, each lane in training writes where it stands when an epoch ends, and goes
//! on: whenever it is stopped then, only what came after its last checkpoint is lost. A trial that is
//! granted to this agent again, in whatever lease, goes on from there, and ends with the same bits as
//! one that was never stopped. What has ended needs no checkpoint, and its are deleted; but a config that
//! is halved is trained on from its rung's end.
//!
//! A checkpoint of another program or another kind of device may lie beside this agent's own: it is
//! never gone on from, and stays until the lane that did not believe it has one of its own.
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
        let Sought { whole, most } = Sought::of(study, &Design::of(study), trial)?;
        self.checkpoints.get(&whole, most)?.bytes().ok()
    }

    /// Keeps what another agent reached of a trial, beside what this one did. Whether it is of that
    /// training is seen when it begins.
    pub fn take(&self, study: &Study, trial: TrialIndex, bytes: &[u8]) -> bool {
        let sought = Sought::of(study, &Design::of(study), trial);
        let (Some(sought), Ok(checkpoint)) = (sought, Checkpoint::read(bytes)) else {
            return false;
        };
        if !self.checkpoints.has(&sought.whole, checkpoint.epochs()) {
            self.put(&sought.whole, &checkpoint, false);
        }
        true
    }

    /// The epochs at which trials went on since this was last asked.
    pub fn resumed(&self) -> Vec<u32> {
        std::mem::take(&mut self.resumed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the place of those of fewer epochs; false when it is not kept.
    fn keep(&self, trial: &Digest, checkpoint: &Checkpoint, durably: bool) -> bool {
        let kept = self.put(trial, checkpoint, durably);
        if kept {
            self.checkpoints.forget_before(trial, checkpoint.epochs());
        }
        kept
    }

    fn put(&self, trial: &Digest, checkpoint: &Checkpoint, durably: bool) -> bool {
        let put = self.checkpoints.put(trial, checkpoint, durably);
        match &put {
            Ok(true) => {}
            Ok(false) => tracing::debug!("a checkpoint is larger than all there is room for"),
            Err(error) => tracing::warn!(%error, "a checkpoint cannot be written"),
        }
        put.is_ok_and(|kept| kept)
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
        let sought = |trial: &TrialIndex| Sought::of(study, &design, *trial);
        let sought: Vec<Option<Sought>> = trials.iter().map(sought).collect();
        let found = |sought: &Option<Sought>| {
            let wanted = sought.as_ref().filter(|_| !self.checkpoints.is_empty());
            wanted.map(|sought| self.checkpoints.all(&sought.whole, sought.most))
        };
        let from: Vec<Vec<Checkpoint>> =
            sought.iter().map(|sought| found(sought).unwrap_or_default()).collect();
        let shelf = |sought: &Option<Sought>| {
            sought.map(|sought| OfTrial { kept: self, sought, last: Mutex::new(None) })
        };
        let shelves: Vec<Option<OfTrial<'_>>> = sought.iter().map(shelf).collect();
        let mut legs = vec![Leg::default(); trials.len()];
        for ((leg, from), shelf) in legs.iter_mut().zip(&from).zip(&shelves) {
            leg.from = from;
            leg.shelf = shelf.as_ref().map(|shelf| shelf as &dyn Shelf);
        }
        let is_rung = |sought: &Option<Sought>| sought.is_some_and(|sought| sought.is_rung());
        legs.iter_mut().zip(&sought).for_each(|(leg, sought)| leg.keep = is_rung(sought));
        let trained = trainer::train_legs(study, dataset, (trials, &legs), machine, stop)?;
        for (sought, trained) in sought.iter().zip(&trained) {
            let Some(Sought { whole, .. }) = sought else { continue };
            match &trained.checkpoint {
                Some(checkpoint) => {
                    self.keep(whole, checkpoint, false);
                }
                None if !self.checkpoints.is_empty() => self.checkpoints.forget(whole),
                None => {}
            }
        }
        Some(trained.into_iter().map(|trained| trained.ending).collect())
    }
}

/// Which checkpoints a trial may begin with.
#[derive(Clone, Copy, Debug)]
struct Sought {
    /// Of the whole training that the trial is, or is a part of.
    whole: Digest,
    /// Epochs that one has at most.
    most: u32,
}

impl Sought {
    fn of(study: &Study, design: &Design, trial: TrialIndex) -> Option<Self> {
        let key = design.key(trial)?;
        let until = key.config(study).hyper.until;
        // One that is trained again to compare does not begin at its own end.
        let most = until.map_or(u32::MAX, |until| until.saturating_sub(1));
        Some(Self { whole: whole(design, study, &key).digest(study), most })
    }

    /// Whether it is a part of a training.
    fn is_rung(&self) -> bool {
        self.most < u32::MAX
    }
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
    sought: Sought,
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
        let Sought { whole, most } = self.sought;
        if self.kept.keep(&whole, &checkpoint, true) {
            // The lane saw these when it began, and believed none of them.
            let further = checkpoint.epochs().saturating_add(1)..=most;
            self.kept.checkpoints.forget_within(&whole, further);
        }
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

    /// Of 400 epochs.
    fn study(lr: f64) -> Study {
        let mut study = sample::study(sample::ROWS);
        let hyper = &mut study.arms[0].configs[0].hyper;
        (hyper.epochs, hyper.lr) = (400, lr);
        study
    }

    /// Trains four trials of [`study`], and is stopped after so many steps if it is not done: how many it
    /// made, and its endings.
    fn trained(trainer: &Trainer, leaves: u32, most: u32) -> (u32, Option<Vec<Ending>>) {
        trained_at(LR, trainer, leaves, most)
    }

    fn trained_at(
        lr: f64,
        trainer: &Trainer,
        leaves: u32,
        most: u32,
    ) -> (u32, Option<Vec<Ending>>) {
        let study = study(lr);
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

    /// What an agent reached of the four trials in another training, after some 350 epochs: as that of
    /// another kind of device it is not believed here.
    fn foreign() -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().expect("a folder");
        let trainer = Trainer::new(Some(dir.path()));
        trained_at(LR * 2.0, &trainer, 350, 360);
        let reached = |trial| trainer.checkpoint(&study(LR * 2.0), TrialIndex(trial));
        (0..4).map(|trial| reached(trial).expect("reached")).collect()
    }

    fn epochs(bytes: &[u8]) -> u32 {
        Checkpoint::read(bytes).expect("a checkpoint").epochs()
    }

    /// How far the trainer says that the four trials are.
    fn reached(trainer: &Trainer) -> Vec<u32> {
        let reached = |trial| trainer.checkpoint(&study(LR), TrialIndex(trial)).expect("reached");
        (0..4).map(|trial| epochs(&reached(trial))).collect()
    }

    #[test]
    fn what_is_not_believed_hides_nothing_that_is_reached_after_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || Trainer::new(Some(dir.path()));
        let (first, foreign) = (open(), foreign());
        for (trial, bytes) in (0..).map(TrialIndex).zip(&foreign) {
            assert!(epochs(bytes) >= 350 && first.take_checkpoint(&study(LR), trial, bytes));
        }
        assert!(reached(&first).iter().all(|&epochs| epochs >= 350), "it is handed on as it came");
        let (_, stopped) = trained(&first, 100, 150);
        assert!(stopped.is_none());
        let handed_on = reached(&first);
        assert!(handed_on.iter().all(|epochs| (100..=150).contains(epochs)), "{handed_on:?}");
        let (rest, endings) = trained(&open(), u32::MAX, u32::MAX);
        assert!((250..=300).contains(&rest), "{rest} steps after its own checkpoints");
        assert_eq!(endings, trained(&Trainer::new(None), u32::MAX, u32::MAX).1);
    }

    #[test]
    fn what_comes_from_others_leaves_what_this_agent_reached() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || Trainer::new(Some(dir.path()));
        assert!(trained(&open(), 250, 300).1.is_none());
        let next = open();
        for (trial, bytes) in (0..).map(TrialIndex).zip(&foreign()) {
            assert!(next.take_checkpoint(&study(LR), trial, bytes));
        }
        let (rest, endings) = trained(&next, u32::MAX, u32::MAX);
        assert!((100..=150).contains(&rest), "{rest} steps after its own checkpoints");
        assert_eq!(endings, trained(&Trainer::new(None), u32::MAX, u32::MAX).1);
    }

    #[test]
    fn an_agent_that_stays_writes_no_checkpoint() {
        let dir = tempfile::tempdir().expect("a folder");
        let (_, stopped) = trained(&Trainer::new(Some(dir.path())), u32::MAX, 300);
        assert!(stopped.is_none() && !dir.path().join("checkpoints").exists());
    }

    const LR: f64 = 1e-2;
}
