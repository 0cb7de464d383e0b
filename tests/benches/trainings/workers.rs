//! Two workers on two cores, by wall time: what one of them alone does, twice.
//!
//! Floor: wiring.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::side::{cohort, cpu_s};
use crate::work::Work;
use crate::{ROUNDS, at};

pub fn print(work: &Work, seconds: f64) -> Result<()> {
    let least = Duration::from_secs_f64(seconds / ROUNDS as f64);
    let (mut ratios, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, _) = rate(work, 1, least)?;
        let (two, cores) = rate(work, 2, least)?;
        ratios.push(two / one);
        shares.push(cores);
    }
    let (ratio, cores) = (at(&ratios, 0.5), at(&shares, 0.5));
    let verdict = if ratio >= BAR { "met" } else { "MISSED" };
    println!("\ntwo workers : one, by wall time {ratio:.2} times, bar {BAR:.2}: {verdict}");
    println!(
        "  the two had {cores:.2} cores to themselves; the highest round {:.2}",
        at(&ratios, 1.0)
    );
    Ok(())
}

/// Trainings a second of wall time, and processor seconds in one of them.
pub fn rate(work: &Work, workers: u64, least: Duration) -> Result<(f64, f64)> {
    let (begun, before) = (Instant::now(), cpu_s());
    let worker = |number: u64| {
        let mut trainings = 0u64;
        while begun.elapsed() < least {
            cohort(work, (number << 32) + trainings, LANES)?;
            trainings += u64::from(LANES);
        }
        anyhow::Ok(trainings as f64 / begun.elapsed().as_secs_f64())
    };
    let rate = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..workers).map(|number| scope.spawn(move || worker(number))).collect();
        let rates =
            threads.into_iter().map(|thread| thread.join().ok().context("a worker fell")?);
        rates.sum::<Result<f64>>()
    })?;
    Ok((rate, (cpu_s() - before) / begun.elapsed().as_secs_f64()))
}

const LANES: u32 = 8;
const BAR: f64 = 1.8;
