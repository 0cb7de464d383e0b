//! Optuna's samplers, in processes of their own; `peers.py` says what they print.
//!
//! Floor: wiring.

use std::ops::Range;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{Found, LOOKS, Times};

pub fn versions(python: &str) -> Result<String> {
    let output = Command::new(python).args([SCRIPT, "versions"]).output()?;
    if !output.status.success() {
        bail!("{python} {SCRIPT}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_string())
}

/// Regrets of the sampler `name` on a function, one a seed.
pub fn regrets(python: &str, name: &str, function: &str, seeds: Range<u64>) -> Result<Vec<Found>> {
    let output = start(python, name, function, &seeds)?.wait_with_output()?;
    if !output.status.success() {
        bail!("{name} of Optuna ended with {}; its error is above", output.status);
    }
    let found = |line: &str| -> Result<Found> {
        let numbers = numbers(line)?;
        let (regrets, times) = numbers.split_at_checked(3).context("three regrets a seed")?;
        Ok(Found { regrets: regrets.try_into()?, asks: Times::said(times)? })
    };
    String::from_utf8(output.stdout)?.lines().map(found).collect()
}

pub fn start(python: &str, name: &str, function: &str, seeds: &Range<u64>) -> Result<Child> {
    let numbers = [u64::from(LOOKS[2]), seeds.start, seeds.end].map(|number| number.to_string());
    let mut command = Command::new(python);
    command.args([SCRIPT, name, function]).args(numbers);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    piped.spawn().with_context(|| format!("cannot start {python}"))
}

pub fn numbers(line: &str) -> Result<Vec<f64>> {
    let words = line.split_whitespace();
    let numbers: Result<_, _> = words.map(str::parse).collect();
    numbers.with_context(|| format!("the peers said {line:?}"))
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/search/peers.py");
