//! Memory of a lane: how much higher the peak of the resident memory of a process is that trains
//! many at once than of one that trains one, shared by the lanes that it has more.
//!
//! It counts everything that grows: values and moments, gradients, what backward keeps, the minibatch,
//! and what the allocator holds in reserve. Each process trains one cohort and nothing else.
//!
//! Floor: wiring.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::side::cohort;
use crate::work::Work;

/// Trains a cohort of a work and tells the peak, in bytes.
pub fn train(works: &[Work], name: &str, lanes: u32) -> Result<()> {
    let work = works.iter().find(|work| work.name == name).context("no such work")?;
    cohort(work, 0, lanes)?;
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    println!("{}", 1024 * kib.context("no peak in /proc/self/status")?.parse::<u64>()?);
    Ok(())
}

pub fn print(work: &Work, lanes: u32) -> Result<()> {
    let (one, many) = (peak(work, 1)?, peak(work, lanes)?);
    let each = (many - one) / f64::from(lanes - 1) / 1024.0;
    println!("  resident memory grows by {each:.0} KiB a lane, from 1 to {lanes}");
    Ok(())
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
