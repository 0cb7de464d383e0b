//! A study of a million trials: how fast it is taken, what it costs, and how it is found again.
//!
//! One coordinator and two agents of one thread that train nothing, 64 trials a cohort, processes of one machine, over
//! QUIC. Told are the submission, the coordinator's memory and its folder while all trials are run
//! to the end, a restart with all outcomes, and the time from a submission to its first training.
//! SEEDSWEEP_SEEDS says how many seeds of 50 trials the study has (20,000).
//!
//! Floor: wiring.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::wire::message::StudyState;
use coordinator::client::Client;
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
    let seeds = std::env::var("SEEDSWEEP_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds = seeds.unwrap_or(SEEDS);
    tokio::runtime::Runtime::new()?.block_on(async {
        let (mut group, client) = nothing::cluster(1).await?;
        latency(&group, &client).await?;
        to_the_end(&group, &client, seeds).await?;
        restart(&mut group, seeds * nothing::A_SEED).await
    })
}

/// From the submission of a small study to the beginning of its first training, agents being idle.
async fn latency(group: &Group, client: &Client) -> Result<()> {
    let agent = nothing::start_agent(group, "idle", nothing::LANES_USUAL)?;
    let (warm, _) = nothing::submit(client, "warm", 1).await?;
    nothing::finish(client, warm).await?;
    let mut waits = Vec::new();
    // Each of another size: the same study again would be taken for the one that is there.
    for seeds in 1..=SUBMISSIONS {
        let known = marks(&agent.marks).len();
        let (checked, data) = nothing::study(nothing::FIRST, seeds)?;
        let begun = nothing::unix_micros();
        let (study, _) = client.submit(checked.study, checked.text, data).await?;
        nothing::finish(client, study).await?;
        let began = *marks(&agent.marks).get(known).context("nothing was trained")?;
        waits.push((began.saturating_sub(begun)) as f64 / 1e3);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    waits.sort_by(f64::total_cmp);
    let (median, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!(
        "submission to first training, {SUBMISSIONS} times: median {median:.1} ms, worst {worst:.1} ms"
    );
    Ok(())
}

fn marks(path: &Path) -> Vec<u128> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

async fn to_the_end(group: &Group, client: &Client, seeds: u64) -> Result<()> {
    let trials = seeds * nothing::A_SEED;
    let coordinator = group.replicas[0].running.as_ref().context("it runs")?;
    let before = coordinator.memory_kib("VmRSS");
    let (study, took) = nothing::submit(client, "million", seeds).await?;
    let submitted = coordinator.memory_kib("VmRSS");
    let each = |kib: u64| kib.saturating_sub(before) as f64 * 1024.0 / trials as f64;
    println!("submission of {trials} trials: {:.3} s", took.as_secs_f64());
    println!("memory a trial once it is submitted: {:.0} bytes", each(submitted));

    let agents = ["one", "two"].map(|name| nothing::start_agent(group, name, nothing::LANES_MANY));
    let folder = group.site.path(&group.replicas[0].name);
    let begun = Instant::now();
    let processor = coordinator.processor_seconds();
    let mut told = 0;
    println!("    complete  memory MiB  folder MiB  seconds");
    loop {
        let now = nothing::status(client, study).await?;
        let ended = now.state == StudyState::Finished;
        if now.complete >= told || ended {
            let memory = coordinator.memory_kib("VmRSS") as f64 / 1024.0;
            let stored = bytes_below(&folder) as f64 / f64::from(1 << 20);
            let seconds = begun.elapsed().as_secs_f64();
            println!("{:>12} {memory:>11.0} {stored:>11.0} {seconds:>8.1}", now.complete);
            told = now.complete + trials / 10;
        }
        if ended {
            ensure!(now.complete == trials && now.failures.is_empty(), "{now:?}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    let (now, most) = (coordinator.memory_kib("VmRSS"), coordinator.memory_kib("VmHWM"));
    println!("run to the end: {took:.1} s, {:.0} trials/s", trials as f64 / took);
    let spent = coordinator.processor_seconds() - processor;
    println!("coordinator: {:.1} microseconds of processor a trial", spent * 1e6 / trials as f64);
    println!("memory a trial at the end: {:.0} bytes, at the most {:.0}", each(now), each(most));
    drop(agents);
    Ok(())
}

/// SIGKILL with everything in the folder, and the time until a question about it is answered.
async fn restart(group: &mut Group, trials: u64) -> Result<()> {
    group.kill(0);
    let begun = Instant::now();
    tokio::task::block_in_place(|| group.start_again(0));
    let listens = begun.elapsed().as_secs_f64();
    let client = nothing::client(group, 0).await?.fresh(true);
    let studies = client.ask(common::wire::message::Request::Status { study: None }).await?;
    let answers = begun.elapsed().as_secs_f64();
    let common::wire::message::Response::Status { studies } = studies else {
        anyhow::bail!("no status")
    };
    ensure!(studies.iter().any(|study| study.complete == trials), "outcomes are missing");
    println!(
        "restart with {trials} outcomes: listens after {listens:.2} s, answers after {answers:.2} s"
    );
    Ok(())
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

const SEEDS: u64 = 20_000;
const SUBMISSIONS: u64 = 20;
