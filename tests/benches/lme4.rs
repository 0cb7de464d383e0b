//! Large crossed mixed models beside lme4 and mixeff-rs, on the same rows in one run.
//!
//! 73,000 rows, 3,000 levels crossed with 1,100, then with a third factor of 28: the shape of lme4's
//! own InstEval. Rscript with lme4 fits them from the same file, and so does the program that
//! SEEDSWEEP_MIXEFF names, if any. Deliberately absent: small fits,
//! which are in `fit.rs`.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;

use common::id::Digest;
use common::seed::{Stream, StreamRng};
use common::stats::mixed::{Column, Formula, Method, fit};

fn main() -> anyhow::Result<()> {
    let columns = rows();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.csv");
    std::fs::write(&path, csv(&columns)?)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/lme4.R");
    let answer = Command::new("Rscript").arg(script).arg(&path).output();
    let answer = answer.context("Rscript is needed: apt-get install r-base-core r-cran-lme4")?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let errors = String::from_utf8_lossy(&answer.stderr);
    anyhow::ensure!(answer.status.success(), "lme4 did not answer: {errors}");
    let mut lines = text.lines();
    let mixeff = mixeff(&path)?;
    let mut mixeff = mixeff.lines();
    println!("crossed fits by REML, 73,000 rows, one thread of ours");
    for formula in FORMULAS {
        let line = lines.next().context("lme4 said too little")?;
        let peer: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let parsed = Formula::parse(formula)?;
        let mut seconds: Vec<f64> = Vec::new();
        let mut criterion = 0.0;
        for _ in 0..RUNS {
            let begun = Instant::now();
            let fitted = fit(&parsed, &columns, Method::Reml)?;
            seconds.push(begun.elapsed().as_secs_f64());
            anyhow::ensure!(fitted.converged, "{formula} did not converge");
            criterion = fitted.criterion;
        }
        seconds.sort_by(f64::total_cmp);
        let ours = seconds[RUNS / 2];
        anyhow::ensure!(peer.len() == 3, "lme4 said {line:?}");
        println!("{formula}");
        println!("  ours, median of {RUNS}: {ours:>8.2} s, criterion {criterion:.6}");
        println!("  lme4:             {:>8.2} s, criterion {:.6}", peer[0], peer[2]);
        println!("  ratio:            {:>8.1}", peer[0] / ours);
        if let Some((seconds, criterion)) = mixeff.next().and_then(|line| line.split_once(' ')) {
            let seconds: f64 = seconds.parse()?;
            println!("  mixeff-rs:        {seconds:>8.2} s, criterion {criterion}");
            println!("  ratio:            {:>8.1}", seconds / ours);
        }
    }
    println!("lme4 {}", lines.next().unwrap_or("of unknown version"));
    Ok(())
}

/// What mixeff-rs says of the rows, a line a formula; nothing where its program is not named.
fn mixeff(rows: &Path) -> anyhow::Result<String> {
    let Some(program) = std::env::var_os("SEEDSWEEP_MIXEFF") else { return Ok(String::new()) };
    let answer = Command::new(program).arg(rows).output().context("SEEDSWEEP_MIXEFF")?;
    let errors = String::from_utf8_lossy(&answer.stderr);
    anyhow::ensure!(answer.status.success(), "mixeff-rs did not answer: {errors}");
    Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
}

fn rows() -> BTreeMap<String, Column> {
    let mut rng = StreamRng::new(&Digest([1; 32]), Stream::Noise, 0, 0);
    let factors = [("a", 3_000u64, 0.3), ("b", 1_100, 0.5), ("c", 28, 0.1)];
    let mut columns = BTreeMap::new();
    let mut y = vec![0.0; ROWS];
    for (name, levels, sd) in factors {
        let effects: Vec<f64> = (0..levels).map(|_| sd * rng.normal()).collect();
        let codes: Vec<u32> = (0..ROWS).map(|_| (rng.unit_f64() * levels as f64) as u32).collect();
        y.iter_mut().zip(&codes).for_each(|(y, code)| *y += effects[*code as usize]);
        let names = (0..levels).map(|level| format!("{level:04}")).collect();
        columns.insert(name.to_string(), Column::Levels { codes, names });
    }
    y.iter_mut().for_each(|y| *y += 3.0 + 1.2 * rng.normal());
    columns.insert("y".to_string(), Column::Numbers(y));
    columns
}

fn csv(columns: &BTreeMap<String, Column>) -> anyhow::Result<String> {
    let mut text = "y,a,b,c\n".to_string();
    for row in 0..ROWS {
        if let Some(Column::Numbers(y)) = columns.get("y") {
            write!(text, "{}", y[row])?;
        }
        for name in ["a", "b", "c"] {
            if let Some(Column::Levels { codes, .. }) = columns.get(name) {
                write!(text, ",{}", codes[row])?;
            }
        }
        text.push('\n');
    }
    Ok(text)
}

const FORMULAS: [&str; 2] = ["y ~ 1 + (1|a) + (1|b)", "y ~ 1 + (1|a) + (1|b) + (1|c)"];
const ROWS: usize = 73_000;
const RUNS: usize = 3;
