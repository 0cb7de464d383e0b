//! A pilot: some of a study's trials, trained here for a while to see how long they take.
//!
//! Cohorts begin in their order until the time is over; those that have begun then may end, up to four
//! times as late. Deliberately absent: which trials; the caller lists them.
//!
//! Floor: shell.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::id::TrialIndex;
use common::study::Study;
use common::table::Dataset;
use common::trial::Ending;

use super::work::{Train, Trainer};
use crate::device::{Device, DeviceError};

/// What came of a pilot.
#[derive(Debug)]
pub struct Piloted {
    /// In the order of their cohorts; outcomes say how long a trial took as one of its cohort.
    pub endings: Vec<(TrialIndex, Ending)>,
    /// That trained at once.
    pub threads: NonZeroU32,
    pub device: Device,
}

/// Trains `cohorts` on `device` for about `within`; `tick` hears of trials that ended, `stop` is asked often.
pub fn pilot(
    study: &Study,
    dataset: &Dataset,
    cohorts: &[Vec<TrialIndex>],
    device: Device,
    within: Duration,
    tick: &(dyn Fn(u64) + Sync),
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Piloted, DeviceError> {
    let trainer = Trainer::on(&device, None)?;
    let (began, next) = (Instant::now(), AtomicUsize::new(0));
    let done: Mutex<Vec<(usize, Vec<Ending>)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(trials) = cohorts.get(number) else { return };
            if began.elapsed() >= within || stop() {
                return;
            }
            let cohort_began = Instant::now();
            let late = || stop() || began.elapsed() >= within * LATEST;
            let Some(mut endings) = trainer.train(study, dataset, trials, &late) else { return };
            let each_us = cohort_began.elapsed().as_micros() / trials.len().max(1) as u128;
            for ending in &mut endings {
                if let Ending::Complete(outcome) = ending {
                    outcome.duration_us = u64::try_from(each_us).unwrap_or(u64::MAX);
                    outcome.device = device.record();
                }
            }
            tick(endings.len() as u64);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((number, endings));
        }
    };
    thread::scope(|scope| {
        for _ in 0..device.threads.get() {
            scope.spawn(|| {
                // As agents' threads are: candle asks the pool that it is called in.
                if let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(1).build() {
                    pool.install(work);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    let ended = |(number, endings): (usize, Vec<Ending>)| {
        cohorts[number].iter().copied().zip(endings).collect::<Vec<_>>()
    };
    let endings = done.into_iter().flat_map(ended).collect();
    Ok(Piloted { endings, threads: device.threads, device })
}

/// Times as long as a pilot may take, for cohorts that began in time.
const LATEST: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Wanted;
    use crate::sample;

    fn piloted(within: Duration, stop: bool) -> Vec<TrialIndex> {
        let study = sample::study(sample::ROWS);
        let dataset = Dataset::read(&study.data, sample::ROWS).expect("a table");
        let cohorts: Vec<Vec<TrialIndex>> =
            (0..5).map(|first| (first * 4..first * 4 + 4).map(TrialIndex).collect()).collect();
        let device = Device::choose(Wanted::Cpu, None, None).expect("a processor");
        let piloted =
            pilot(&study, &dataset, &cohorts, device, within, &|_| {}, &|| stop).expect("a device");
        let timed = |ending: &Ending| matches!(ending, Ending::Complete(outcome) if outcome.device.starts_with("cpu"));
        assert!(piloted.endings.iter().all(|(_, ending)| timed(ending)));
        piloted.endings.into_iter().map(|(trial, _)| trial).collect()
    }

    #[test]
    fn a_pilot_trains_all_that_it_is_given_where_there_is_time() {
        let all: Vec<TrialIndex> = (0..20).map(TrialIndex).collect();
        assert_eq!(piloted(Duration::from_secs(60), false), all);
    }

    #[test]
    fn a_pilot_that_is_stopped_or_without_time_trains_nothing() {
        assert_eq!(piloted(Duration::ZERO, false), []);
        assert_eq!(piloted(Duration::from_secs(60), true), []);
    }
}
