//! Memory of a lane: how much higher the peak of the resident memory of a process is that trains
//! many at once than of one that trains one, shared by the lanes that it has more.
//!
//! It counts everything that grows: values and moments, gradients, what backward keeps, the minibatch,
//! and what the allocator holds in reserve. Each process trains one cohort, all of it at once, and
//! nothing else. Beside it stands what the trainer tells beforehand, by which it limits a width.
//!
//! Floor: wiring.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use agent::trainer::{Fixed, Lane, Machine, Need};
use anyhow::{Context, Result, bail};

use crate::side::outcomes;
use crate::work::Work;

/// Trains a cohort of a work and tells the peak, in bytes.
pub fn train(works: &[Work], name: &str, lanes: u32) -> Result<()> {
    let work = works.iter().find(|work| work.name == name).context("no such work")?;
    let machine = Machine { widths: Arc::new(Fixed(lanes as usize)), ..Machine::default() };
    outcomes(work, 0, lanes, &machine, false)?;
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    println!("{}", 1024 * kib.context("no peak in /proc/self/status")?.parse::<u64>()?);
    Ok(())
}

pub fn print(work: &Work, lanes: u32) -> Result<()> {
    let (each, told) = (of_lane(work, lanes)?, told(work, lanes)?);
    println!(
        "  resident memory grows by {:.0} KiB a lane, from 1 to {lanes}; told beforehand {:.0} KiB, \
         {:.2} times",
        each / 1024.0,
        told / 1024.0,
        told / each
    );
    Ok(())
}

/// Bytes that each lane adds.
pub fn of_lane(work: &Work, lanes: u32) -> Result<f64> {
    Ok((peak(work, lanes)? - peak(work, 1)?) / f64::from(lanes - 1))
}

/// What the trainer says of that, in bytes.
pub fn told(work: &Work, lanes: u32) -> Result<f64> {
    let lanes: Vec<Lane> = (0..u64::from(lanes)).map(|seed| work.lane(seed)).collect();
    let need = Need::of(&work.dataset, &lanes.iter().collect::<Vec<_>>())?;
    Ok((need.lane + need.ended) as f64)
}

fn peak(work: &Work, lanes: u32) -> Result<f64> {
    let program = std::env::current_exe()?;
    let output =
        Command::new(program).args(["--memory", work.name, &lanes.to_string()]).output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
