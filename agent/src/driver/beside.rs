//! The processor beside a card: small cohorts train on its cores where that was faster.
//!
//! Which is, is found by timing both. The cores share a cohort's trials; on a processor no outcome
//! depends on that.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, panic, thread};

use common::id::TrialIndex;
use common::study::Study;
use common::table::Dataset;
use common::trial::{Ending, FailReason};

use super::widths::{KINDS_MAX, Measured, keep};
use crate::device::{CPU, Device, DeviceError, Wanted};
use crate::trainer::{self, About, Machine, Place, Where};

/// Trains where it is faster.
#[derive(Debug)]
pub struct Beside {
    machine: Machine,
    /// A thread of its own for each core.
    pools: Vec<rayon::ThreadPool>,
    /// What outcomes of the processor say they were trained on.
    record: String,
    /// Held by the cohort that is on the processor.
    alone: Mutex<()>,
    path: Option<PathBuf>,
    found: Mutex<Found>,
}

/// A cohort on its way.
pub struct Cohort<'c> {
    pub study: &'c Study,
    pub dataset: &'c Dataset,
    pub trials: &'c [TrialIndex],
    pub stop: &'c dyn Fn() -> bool,
}

impl Beside {
    /// Beside `card`; what is found is kept in the agent's folder, if there is one.
    pub fn open(card: &Device, folder: Option<&Path>) -> Result<Self, DeviceError> {
        let processor = Device::choose(Wanted::Cpu, None, None)?;
        let pool = |number| {
            let named = move |_| format!("beside {number}");
            rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(named).build().ok()
        };
        let widths = Arc::new(Measured::open(folder, CPU));
        Ok(Self {
            machine: Machine { widths, ..Machine::default() },
            pools: (0..processor.threads.get()).filter_map(pool).collect(),
            record: processor.record(),
            alone: Mutex::new(()),
            path: folder.map(|folder| path_in(folder, &card.name)),
            found: Mutex::new(
                folder.map(|folder| found_in(folder, &card.name)).unwrap_or_default(),
            ),
        })
    }

    /// Trains on the processor or, where that is faster or not yet known to be slower, as `on_card` does:
    /// also what the processor fails to train, and while another cohort is on it.
    pub fn train(
        &self,
        cohort: &Cohort<'_>,
        on_card: &dyn Fn() -> Option<Vec<Ending>>,
    ) -> Option<Vec<Ending>> {
        let lanes = cohort.trials.len();
        if !Place::may_be(lanes) || self.pools.is_empty() {
            return on_card();
        }
        let Some(about) = trainer::about(cohort.study, cohort.dataset, cohort.trials) else {
            return on_card();
        };
        let planned = about.rows.iter().map(|(rows, epochs)| rows * epochs).sum();
        let known =
            |found: &mut Found| found.get(&about.kind).map(|place| place.of(lanes, planned));
        if let Some(on @ Where::Processor { within_s }) = self.found(known)
            && let Ok(_alone) = self.alone.try_lock()
        {
            let began = Instant::now();
            let over = || began.elapsed().as_secs_f64() > within_s;
            let trained = self.on_processor(cohort, &|| (cohort.stop)() || over());
            if trained.is_none() && (cohort.stop)() {
                return None;
            }
            if let Some(endings) = trained.filter(|endings| endings.iter().all(is_trained)) {
                return Some(self.timed(&about, on, endings, began));
            }
            self.note(&about.kind, |place| place.note_in_vain(lanes));
        }
        let began = Instant::now();
        let endings = on_card()?;
        Some(self.timed(&about, Where::Card, endings, began))
    }

    /// The endings with the time that each took. What failed or diverged tells nothing of a rate.
    fn timed(
        &self,
        about: &About,
        on: Where,
        mut endings: Vec<Ending>,
        began: Instant,
    ) -> Vec<Ending> {
        let took = began.elapsed();
        let each_us = took.as_micros() / endings.len().max(1) as u128;
        let mut met = Some(0);
        for (ending, (rows, _)) in endings.iter_mut().zip(&about.rows) {
            met = match ending {
                Ending::Complete(outcome) => {
                    outcome.duration_us = u64::try_from(each_us).unwrap_or(u64::MAX);
                    met.map(|met: u64| met + rows * u64::from(outcome.epochs))
                }
                Ending::Failed { .. } => None,
            };
        }
        if let Some(met) = met.filter(|met| *met > 0) {
            let rate = met as f64 / took.as_secs_f64();
            self.note(&about.kind, |place| place.note(endings.len(), on, rate));
        }
        endings
    }

    /// Each core some trials: one ending a trial, in their order. This thread asks `stop`.
    fn on_processor<'c>(
        &'c self,
        cohort: &Cohort<'c>,
        stop: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>> {
        let stopped = AtomicBool::new(stop());
        let stopped = &stopped;
        let each = cohort.trials.len().div_ceil(self.pools.len()).max(1);
        let (study, dataset, machine) = (cohort.study, cohort.dataset, &self.machine);
        let parts: Vec<Option<Vec<Ending>>> = thread::scope(|scope| {
            let start = |(pool, trials): (&'c rayon::ThreadPool, &'c [TrialIndex])| {
                let asked = || stopped.load(Ordering::Relaxed);
                let train = move || trainer::train(study, dataset, trials, machine, &asked);
                scope.spawn(move || pool.install(train))
            };
            let threads: Vec<_> =
                self.pools.iter().zip(cohort.trials.chunks(each)).map(start).collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                stopped.fetch_or(stop(), Ordering::Relaxed);
                thread::sleep(ASKED_EVERY);
            }
            let joined = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(endings) => endings,
                Err(words) => panic::resume_unwind(words),
            };
            threads.into_iter().map(joined).collect()
        });
        let parts: Option<Vec<Vec<Ending>>> = parts.into_iter().collect();
        let mut endings = parts?.concat();
        for ending in &mut endings {
            if let Ending::Complete(outcome) = ending {
                outcome.device.clone_from(&self.record);
            }
        }
        Some(endings)
    }

    fn found<R>(&self, f: impl FnOnce(&mut Found) -> R) -> R {
        f(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes of a kind, and writes what is new.
    fn note(&self, kind: &str, note: impl FnOnce(&mut Place)) {
        self.found(|found| {
            if !found.contains_key(kind) && found.len() >= KINDS_MAX {
                return;
            }
            let place = found.entry(kind.to_string()).or_default();
            let before = place.clone();
            note(place);
            if let Some(path) = self.path.as_ref().filter(|_| *place != before) {
                keep(path, &serde_json::to_string_pretty(found).unwrap_or_default());
            }
        });
    }
}

/// Whether a training came to an end of its own, which it would have on a card too.
fn is_trained(ending: &Ending) -> bool {
    matches!(ending, Ending::Complete(_) | Ending::Failed { reason: FailReason::Diverged, .. })
}

/// What is known, by kind.
type Found = BTreeMap<String, Place>;

/// What is known of the processor beside a card in an agent's folder, by kind.
pub fn found_in(folder: &Path, card: &str) -> Found {
    let text = fs::read_to_string(path_in(folder, card)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn path_in(folder: &Path, card: &str) -> PathBuf {
    folder.join(format!("beside-{}.json", card.replace(':', "-")))
}

const ASKED_EVERY: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::sample;

    const CARD: &str = "cuda:7";

    /// What the card takes more: by twice that the processor is never late.
    const SLOW: Duration = Duration::from_millis(500);

    fn card() -> Device {
        let processor = Device::choose(Wanted::Cpu, None, None).expect("a processor");
        Device { name: CARD.to_string(), ..processor }
    }

    /// Trains twelve trials `times` times beside a card that takes `card_takes` more than a processor:
    /// which of them the card trained, and the last outcomes.
    fn trained(beside: &Beside, card_takes: Duration, times: usize) -> (Vec<bool>, Vec<Ending>) {
        let study = sample::study(sample::ROWS);
        let dataset = Dataset::read(&study.data, sample::ROWS).expect("a table");
        let trials: Vec<TrialIndex> = (0..12).map(TrialIndex).collect();
        let by_card = Cell::new(false);
        let on_card = || {
            by_card.set(true);
            thread::sleep(card_takes);
            trainer::train(&study, &dataset, &trials, &Machine::default(), &|| false)
        };
        let cohort = Cohort { study: &study, dataset: &dataset, trials: &trials, stop: &|| false };
        let mut went = Vec::new();
        let mut endings = Vec::new();
        for _ in 0..times {
            by_card.set(false);
            endings = beside.train(&cohort, &on_card).expect("not stopped");
            went.push(by_card.get());
        }
        (went, endings)
    }

    #[test]
    fn small_cohorts_go_to_the_processor_where_the_card_is_slower() {
        let folder = tempfile::tempdir().expect("a folder");
        let beside = Beside::open(&card(), Some(folder.path())).expect("a processor");
        let (went, endings) = trained(&beside, SLOW, 6);
        assert_eq!(went, [true, true, false, false, false, false]);
        let processor = Device::choose(Wanted::Cpu, None, None).expect("a processor");
        let complete = |ending: &Ending| match ending {
            Ending::Complete(outcome) => outcome.device == processor.record(),
            Ending::Failed { .. } => false,
        };
        assert!(endings.len() == 12 && endings.iter().all(complete), "{endings:?}");
        let study = sample::study(sample::ROWS);
        let dataset = Dataset::read(&study.data, sample::ROWS).expect("a table");
        let trials: Vec<TrialIndex> = (0..12).map(TrialIndex).collect();
        let alone = trainer::train(&study, &dataset, &trials, &Machine::default(), &|| false);
        let scores = |endings: Vec<Ending>| -> Vec<_> {
            let digest = |ending| match ending {
                Ending::Complete(outcome) => Some(outcome.digest()),
                Ending::Failed { .. } => None,
            };
            endings.into_iter().map(digest).collect()
        };
        assert_eq!(scores(endings), scores(alone.expect("not stopped")));

        let again = Beside::open(&card(), Some(folder.path())).expect("a processor");
        assert_eq!(trained(&again, SLOW, 1).0, [false], "what is known is kept");
        assert_eq!(
            found_in(folder.path(), CARD).values().next().expect("a kind").on_processor(),
            Some(16)
        );
    }

    #[test]
    fn a_cohort_that_is_stopped_on_the_processor_ends() {
        let beside = Beside::open(&card(), None).expect("a processor");
        trained(&beside, SLOW, 3);
        let study = sample::study(sample::ROWS);
        let dataset = Dataset::read(&study.data, sample::ROWS).expect("a table");
        let trials: Vec<TrialIndex> = (0..12).map(TrialIndex).collect();
        let cohort = Cohort { study: &study, dataset: &dataset, trials: &trials, stop: &|| true };
        assert_eq!(beside.train(&cohort, &|| panic!("stopped before")), None);
    }
}
