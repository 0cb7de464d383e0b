//! `simulate`: plays schedules of the cluster simulator, many at once, or one again.
//!
//! Floor: wiring.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use tests::simulation::plan::{Bug, Plan};
use tests::simulation::sweep::Sweep;
use tests::simulation::{play_plan, shrink};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
usage: simulate --seed N [--bug NAME]                    one schedule, told
       simulate --count N [--first N] [--threads N] [--twice] [--bug NAME]
       simulate --bugs                                   names of the bugs that can be planted";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
    let bug = match value("--bug").map(|name| Bug::named(&name).ok_or(name)) {
        Some(Err(name)) => {
            eprintln!("there is no bug {name:?}; --bugs names them");
            return ExitCode::from(2);
        }
        Some(Ok(bug)) => Some(bug),
        None => None,
    };
    if arguments.iter().any(|argument| argument == "--bugs") {
        Bug::ALL.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    match (number("--seed"), number("--count")) {
        (Some(seed), _) => one(seed, bug),
        (None, Some(count)) => {
            let mut sweep = Sweep { bug, enough: ENOUGH, ..Sweep::of(count) };
            sweep.first = number("--first").unwrap_or(0);
            sweep.threads = number("--threads").map_or(sweep.threads, |threads| threads as usize);
            sweep.twice = arguments.iter().any(|argument| argument == "--twice");
            many(&sweep)
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn one(seed: u64, bug: Option<Bug>) -> ExitCode {
    let plan = Plan::of(seed, bug);
    match play_plan(&plan, true) {
        Ok(figures) => {
            println!("seed {seed} holds: {figures}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("{}", shrink::tell(&plan, &violation));
            ExitCode::from(1)
        }
    }
}

fn many(sweep: &Sweep) -> ExitCode {
    let began = Instant::now();
    let watched = std::io::stderr().is_terminal();
    let swept = sweep.run(|played| {
        if watched && played.is_multiple_of(1_000) {
            let left =
                began.elapsed().as_secs_f64() / played as f64 * (sweep.count - played) as f64;
            eprint!("\r{played} of {}, {left:.0} s left ", sweep.count);
            let _ = std::io::stderr().flush();
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} schedules in {seconds:.1} s: {:.0} a minute on {} threads",
        swept.played,
        swept.played as f64 / seconds * 60.0,
        sweep.threads
    );
    println!("{}", swept.figures);
    println!("{} violations", swept.violations.len());
    for violation in swept.violations.iter().take(SHOWN) {
        println!("  seed {}: {} — {}", violation.seed, violation.rule, violation.what);
    }
    if swept.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Violations after which no more is played, and those that are shown.
const ENOUGH: usize = 20;
const SHOWN: usize = 12;
