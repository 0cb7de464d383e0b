//! `coordinator calibrate`: do the report's intervals hold what they claim, and the rules that stop?
//!
//! Floor: wiring.

mod sequential;

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Output};
use super::signal;
use crate::calibrate::{Count, Prepared, Setting, Tally, settings};

/// Hold the report's claims against studies whose truth is known.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator calibrate\n  coordinator calibrate --design missing --studies 500 --json\n  coordinator calibrate --sequential\n\nEach study is made with known effects and analysed as every study is. A 95 % interval should hold the truth in 95 of 100 studies; a test should speak of a difference that is none in at most 5 of 100. Rows such as \"fold at zero\" test a source of spread: in a design that has that source, a high share is power; in \"no seed effect\" and \"no fold effect\" it is false alarms."
)]
pub struct CalibrateArgs {
    /// Only designs whose name, such as `30 % missing, 5 seeds, 10 folds`, holds this text.
    #[arg(long, value_name = "TEXT")]
    design: Option<String>,
    /// Studies of each design [default: 1000; with --sequential 20000].
    #[arg(long, value_name = "N")]
    studies: Option<NonZeroU64>,
    /// Instead: do studies that stop early claim too much, and how many trainings do they save?
    #[arg(long)]
    sequential: bool,
}

/// `coordinator calibrate [--design TEXT] [--studies N] [--sequential]`.
pub async fn calibrate(args: CalibrateArgs, output: &Output) -> anyhow::Result<ExitCode> {
    if args.sequential {
        return sequential::calibrate(args, output).await;
    }
    let all = settings();
    let studies = args.studies.map_or(STUDIES, NonZeroU64::get);
    let wanted = args.design.unwrap_or_default().to_lowercase();
    let chosen: Vec<Setting> = all
        .iter()
        .filter(|setting| setting.title().to_lowercase().contains(&wanted))
        .cloned()
        .collect();
    if chosen.is_empty() {
        let known: Vec<String> = all.iter().map(Setting::title).collect();
        bail!("no design is called {wanted:?}; there are\n  {}", known.join("\n  "));
    }
    let bar = output.counting(chosen.len() as u64 * studies, "studies");
    let stopped = AtomicBool::new(false);
    let ask = tokio::spawn(signal::interrupted());
    let mut tallies = Vec::new();
    for setting in chosen {
        let prepared = Prepared::of(setting);
        let tick = || {
            bar.inc(1);
            if ask.is_finished() {
                stopped.store(true, Ordering::Relaxed);
            }
        };
        let judge = |number| prepared.judge(number);
        let mut tally = Tally::default();
        for study in tokio::task::block_in_place(|| run(studies, &stopped, judge, tick)) {
            tally.add(&study);
        }
        if stopped.load(Ordering::Relaxed) {
            bar.finish_and_clear();
            output.warn("stopped; nothing is kept");
            return Ok(ExitCode::from(1));
        }
        tallies.push((prepared.setting, tally));
    }
    bar.finish_and_clear();
    let programs = json!({ "designs": tallies.iter().map(programs).collect::<Vec<_>>() });
    output.answer(&people(&tallies), "seedsweep.calibrate/1", programs);
    Ok(ExitCode::SUCCESS)
}

/// Studies number 0, 1, … on all cores, in that order, so that sums are the same on any number of
/// threads.
fn run<T: Send>(
    studies: u64,
    stopped: &AtomicBool,
    judge: impl Fn(u64) -> T + Sync,
    tick: impl Fn() + Sync,
) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let all = Mutex::new((0..studies).map(|_| None).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= studies || stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let study = judge(number);
                    if let Ok(mut all) = all.lock() {
                        all[number as usize] = Some(study);
                    }
                    tick();
                }
            });
        }
    });
    all.into_inner().unwrap_or_default().into_iter().flatten().collect()
}

fn people(tallies: &[(Setting, Tally)]) -> String {
    let mut parts = Vec::new();
    for (setting, tally) in tallies {
        let percent = |count: &Count| match (count.rate(), count.error()) {
            (Some(rate), Some(error)) => {
                format!("{:.1} % ± {:.1}", rate * 100.0, error * 100.0)
            }
            _ => "–".to_string(),
        };
        let intervals = tally.intervals.iter().map(|(claim, count)| {
            let width = count.widths / count.made.max(1) as f64;
            vec![claim.clone(), count.made.to_string(), percent(count), format!("{width:.4}")]
        });
        let tests = tally
            .tests
            .iter()
            .map(|(claim, count)| vec![claim.clone(), count.made.to_string(), percent(count)]);
        parts.push(format!(
            "{}: {} studies\n{}\n\n{}",
            setting.title(),
            tally.studies,
            output::table(
                &["95 % interval", "printed", "held the truth", "width"],
                intervals.collect()
            ),
            output::table(&["test at 5 %", "made", "spoke of an effect"], tests.collect()),
        ));
    }
    parts.join("\n\n")
}

fn programs((setting, tally): &(Setting, Tally)) -> Value {
    let counted = |counts: &std::collections::BTreeMap<String, Count>| -> Vec<Value> {
        counts
            .iter()
            .map(|(claim, count)| {
                json!({
                    "claim": claim,
                    "made": count.made,
                    "rate": count.rate(),
                    "error": count.error(),
                    "width": (count.made > 0).then(|| count.widths / count.made as f64),
                })
            })
            .collect()
    };
    json!({
        "design": setting.name,
        "seeds": setting.seeds,
        "folds": setting.folds,
        "studies": tally.studies,
        "intervals": counted(&tally.intervals),
        "tests": counted(&tally.tests),
    })
}

const STUDIES: u64 = 1_000;
