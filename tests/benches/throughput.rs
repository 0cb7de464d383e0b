//! Trials a second with nothing to train, each outcome on disk before it is acknowledged: one
//! coordinator and three, and as many tasks that do nothing through other systems, in one run.
//!
//! Two worker slots each: here two agents of one thread, all processes of one machine, over QUIC.
//! SEEDSWEEP_PYTHON names a Python that has the peers; `tests/benches/run` makes one.
//! SEEDSWEEP_ROUNDS says how often each is measured (3); the medians are told.
//!
//! Floor: wiring.

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mimalloc::MiMalloc;
use tests::group::Group;
use tests::nothing;

/// The agent's own allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> Result<()> {
    if nothing::was_agent()? {
        return Ok(());
    }
    let rounds = std::env::var("SEEDSWEEP_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let python = std::env::var("SEEDSWEEP_PYTHON").ok();
    if python.is_none() {
        println!("the peers are left out: SEEDSWEEP_PYTHON is not set; see tests/benches/run");
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let mut ours: Vec<Vec<f64>> = vec![Vec::new(); OURS.len()];
    let mut peers: Vec<Vec<f64>> = vec![Vec::new(); PEERS.len()];
    let mut writes = Vec::new();
    // In turn, so that a busy hour of the machine is everybody's.
    for _ in 0..rounds {
        for ((replicas, lanes), rates) in OURS.into_iter().zip(&mut ours) {
            rates.push(runtime.block_on(measure(replicas, lanes))?);
        }
        writes.push(synchronised_writes()?);
        if let Some(python) = &python {
            for (name, rates) in PEERS.iter().zip(&mut peers) {
                rates.push(theirs(python, name)?);
            }
        }
    }
    println!("tasks a second, nothing to do, two worker slots, median of {rounds} rounds");
    let peers: Vec<(&str, f64)> = PEERS
        .into_iter()
        .zip(peers)
        .filter(|(_, rates)| !rates.is_empty())
        .map(|(name, rates)| (name, median(rates)))
        .collect();
    peers.iter().for_each(|(name, rate)| println!("  {name:<40} {rate:>8.0}"));
    println!("  {:<40} {:>8.0}", "synchronised writes", median(writes));
    for ((replicas, lanes), rates) in OURS.into_iter().zip(ours) {
        let rate = median(rates);
        let times: Vec<String> =
            peers.iter().map(|(name, theirs)| format!("{name} {:.1}", rate / theirs)).collect();
        let what = format!("seedsweep, {replicas} replica(s), --lanes {lanes}");
        println!("  {what:<40} {rate:>8.0}   times {}", times.join(", "));
    }
    Ok(())
}

/// Trials a second from the submission to the last outcome that is acknowledged.
async fn measure(replicas: usize, lanes: u32) -> Result<f64> {
    let (group, client) = nothing::cluster(replicas).await?;
    let agents = ["one", "two"].map(|name| nothing::start_agent(&group, name, lanes));
    let (warm, _) = nothing::submit(&client, "warm", 100).await?;
    nothing::finish(&client, warm).await?;
    let begun = Instant::now();
    let (study, _) = nothing::submit(&client, "nothing", SEEDS).await?;
    nothing::finish(&client, study).await?;
    let took = begun.elapsed();
    processor_times(&group, took);
    drop(agents);
    Ok((SEEDS * nothing::A_SEED) as f64 / took.as_secs_f64())
}

fn processor_times(group: &Group, took: Duration) {
    let seconds = |at: usize| group.replicas[at].running.as_ref().map(|r| r.processor_seconds());
    let all: Vec<String> =
        group.up().filter_map(seconds).map(|seconds| format!("{seconds:.1}")).collect();
    let took = took.as_secs_f64();
    println!(
        "  {took:.1} s with {} replicas, whose processor seconds: {}",
        all.len(),
        all.join(" ")
    );
}

fn theirs(python: &str, name: &str) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py");
    let output = Command::new(python).args([script, name]).arg(folder.path()).output()?;
    if !output.status.success() {
        bail!("{script} {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout)?.trim().parse().context("the peer told no rate")
}

/// What the disk does when every outcome is written and synchronised by itself, a second.
fn synchronised_writes() -> Result<f64> {
    let mut file = tempfile::tempfile()?;
    let bytes = [7u8; 128];
    let begun = Instant::now();
    let mut writes = 0u32;
    while begun.elapsed() < Duration::from_secs(1) {
        file.write_all(&bytes)?;
        File::sync_data(&file)?;
        writes += 1;
    }
    Ok(f64::from(writes) / begun.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Replicas, and trials of a cohort.
const OURS: [(usize, u32); 4] = [
    (1, nothing::LANES_USUAL),
    (3, nothing::LANES_USUAL),
    (1, nothing::LANES_MANY),
    (3, nothing::LANES_MANY),
];
const PEERS: [&str; 4] = ["ray", "dask", "hyperqueue", "optuna"];
const ROUNDS: usize = 3;
const SEEDS: u64 = 2_000;
