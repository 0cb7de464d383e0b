//! Many agents on one leader: what their heartbeats cost, and all of them coming back at once.
//!
//! Three coordinators, and light agents over real QUIC in processes of a few thousand: each joins
//! with the token, registers, takes trials one at a time, holds each for some seconds with renewals,
//! reports it and waits for the acknowledgement. First 2,000 of them for half a minute; then 10,000,
//! who all close their connections in the same moment and come back.
//! SEEDSWEEP_CROWD and SEEDSWEEP_STORM say how many.
//!
//! Floor: wiring.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::trial::{Attempt, Ending, Outcome, Report};
use common::wire::message::{AgentAbout, FromAgent, Open, ToAgent};
use link::{FrameReceiver, FrameSender, Identity, JoinToken, Link, LinkError};
use tests::cluster::Asked;
use tests::group::Group;
use tests::nothing;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, sleep_until};

fn main() -> Result<()> {
    if let Ok(agents) = std::env::var(AGENTS) {
        return be_agents(agents.parse()?);
    }
    let wanted = |name: &str, usual| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (crowd, storm) = (wanted("SEEDSWEEP_CROWD", CROWD), wanted("SEEDSWEEP_STORM", STORM));
    let group = Group::start_with(3, &["--lease", "15s"]);
    let (checked, _) = nothing::study("crowd", SEEDS)?;
    group.site.write("crowd.toml", &checked.text);
    let data = include_str!("../../coordinator/demo/wdbc/breast-cancer.csv");
    group.site.write("breast-cancer.csv", data);
    let study = group.at(0).submit(&group.site.path("crowd.toml"));

    let mut processes = Processes::default();
    let took = processes.add(&group, crowd)?;
    println!("{crowd} agents joined and registered in {took:.1} s");
    thread::sleep(SETTLED);
    heartbeats(&group, &study, crowd)?;
    let took = processes.add(&group, storm - crowd.min(storm))?;
    println!("{storm} agents: the further ones joined and registered in {took:.1} s");
    thread::sleep(SETTLED);
    back_at_once(&group, &study, &mut processes, storm)
}

/// What half a minute of many agents costs their leader.
fn heartbeats(group: &Group, study: &str, agents: usize) -> Result<()> {
    let leader = group.replicas[0].running.as_ref().context("it runs")?;
    let (spent, before) = (leader.processor_seconds(), group.at(0).status(study).complete);
    let begun = Instant::now();
    thread::sleep(WATCHED);
    let spent = leader.processor_seconds() - spent;
    let seconds = begun.elapsed().as_secs_f64();
    let done = group.at(0).status(study).complete - before;
    println!(
        "{agents} agents for {seconds:.0} s: {:.1} outcomes/s; leader: {:.1} % of one core, {} MiB",
        done as f64 / seconds,
        100.0 * spent / seconds,
        leader.memory_kib("VmRSS") >> 10,
    );
    holds(group, study, agents)
}

/// No lease ended but with its outcome, and everybody is connected.
fn holds(group: &Group, study: &str, agents: usize) -> Result<()> {
    let (connected, lost) = seen(group, study)?;
    println!("  connected: {connected} of {agents}; leases that ended without an outcome: {lost}");
    ensure!(connected == agents && lost == 0, "leases or connections were lost");
    Ok(())
}

/// Agents that are connected, and attempts of the study that ended without an outcome.
fn seen(group: &Group, study: &str) -> Result<(usize, u64)> {
    let status = &group.at(0).ask(&["status", study])["studies"][0];
    let failures = status["failures"].as_object().context("failures")?;
    let lost = failures.values().filter_map(serde_json::Value::as_u64).sum();
    let all = group.at(0).ask(&["agents"]);
    let all = all["agents"].as_array().context("agents")?;
    Ok((all.iter().filter(|agent| agent["connected"] == true).count(), lost))
}

fn back_at_once(
    group: &Group,
    study: &str,
    processes: &mut Processes,
    agents: usize,
) -> Result<()> {
    let of_leader = || {
        let members = group.at(1).members()?;
        let leads = members.iter().find(|replica| replica["role"] == "leader")?;
        Some((leads["replica"].as_str()?.to_string(), leads["term"].as_u64()?))
    };
    let before = of_leader();
    let leader = group.replicas[0].running.as_ref().context("it runs")?;
    let spent = leader.processor_seconds();
    let over = Arc::new(AtomicBool::new(false));
    let (took, waits) = thread::scope(|scope| {
        let asking = scope.spawn(|| questions(group, &over));
        let took = processes.back_at_once();
        over.store(true, Ordering::Relaxed);
        (took, asking.join())
    });
    let (took, waits) = (took?, waits.map_err(|_| anyhow::anyhow!("nobody answered"))?);
    let spent = leader.processor_seconds() - spent;
    println!(
        "{agents} agents closed and back, registered, in {took:.1} s; leader: {spent:.1} s of processor"
    );
    let worst = waits.iter().max().copied().unwrap_or_default();
    println!("  questions answered meanwhile: {}, the slowest in {worst:.2?}", waits.len());
    let after = of_leader();
    println!("  leader and term before {before:?}, after {after:?}");
    ensure!(before.is_some() && before == after, "the leader lost its lease");
    // Who was away for longer than a lease has lost it, and may still tell the outcome.
    let (connected, lost) = seen(group, study)?;
    println!("  connected: {connected} of {agents}; leases that ended meanwhile: {lost}");
    ensure!(connected == agents, "connections were lost");
    Ok(())
}

/// How long a question took, one after the other, each by a process and a connection of its own.
fn questions(group: &Group, over: &AtomicBool) -> Vec<Duration> {
    let mut waits = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        group.at(0).ask(&["status"]);
        waits.push(begun.elapsed());
        thread::sleep(Duration::from_millis(200));
    }
    waits
}

/// Processes of light agents, each spoken to by lines.
#[derive(Default)]
struct Processes {
    all: Vec<Speaking>,
}

struct Speaking {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Processes {
    /// Starts so many more agents; the seconds until all are registered.
    fn add(&mut self, group: &Group, agents: usize) -> Result<f64> {
        let begun = Instant::now();
        let mut left = agents;
        while left > 0 {
            let here = left.min(AGENTS_A_PROCESS);
            left -= here;
            let folder = group.site.path(&format!("crowd-{}", self.all.len()));
            let mut child = Command::new(std::env::current_exe()?)
                .env(AGENTS, here.to_string())
                // The buffers of a connection are large and hardly used: fresh ones take no memory.
                .env("MALLOC_MMAP_THRESHOLD_", "1000000")
                .env(FOLDER, folder)
                .env(ADDRESS, &group.replicas[0].address)
                .env(TOKEN, &group.token)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let to = child.stdin.take().context("a pipe")?;
            let from = BufReader::new(child.stdout.take().context("a pipe")?);
            let mut process = Speaking { child, to, from };
            process.hear("ready")?;
            self.all.push(process);
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// The seconds until all are registered again.
    fn back_at_once(&mut self) -> Result<f64> {
        let begun = Instant::now();
        for one in &mut self.all {
            writeln!(one.to, "again")?;
        }
        self.all.iter_mut().try_for_each(|one| one.hear("ready"))?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

impl Speaking {
    fn hear(&mut self, expected: &str) -> Result<()> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        if line.trim() != expected {
            bail!("agents said {line:?}; {:?}", self.child.wait()?);
        }
        Ok(())
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the agents of one process share.
struct Shared {
    address: String,
    token: JoinToken,
    folder: PathBuf,
    metrics: usize,
    /// Grows by one whenever all shall close their connections and come back.
    round: watch::Sender<u64>,
    registered: AtomicU64,
    /// As many join at once as one address may.
    joining: Semaphore,
}

fn be_agents(agents: u64) -> Result<()> {
    let (checked, _) = nothing::study("crowd", 1)?;
    let shared = Arc::new(Shared {
        address: std::env::var(ADDRESS)?,
        token: std::env::var(TOKEN)?.parse()?,
        folder: std::env::var(FOLDER)?.into(),
        metrics: checked.study.metrics.len(),
        round: watch::Sender::new(0),
        registered: AtomicU64::new(0),
        joining: Semaphore::new(JOINING),
    });
    let runtime = nothing::small_runtime()?;
    for number in 0..agents {
        runtime.spawn(be_agent(Arc::clone(&shared), number));
    }
    let all_are_ready = |round: u64| {
        while shared.registered.load(Ordering::SeqCst) < agents * (round + 1) {
            thread::sleep(Duration::from_millis(20));
        }
        println!("ready");
    };
    all_are_ready(0);
    for (line, round) in std::io::stdin().lines().zip(1..) {
        ensure!(line?.trim() == "again", "an unknown order");
        shared.round.send_replace(round);
        all_are_ready(round);
    }
    Ok(())
}

/// Works until the process ends, connecting anew whenever the connection ends.
async fn be_agent(shared: Arc<Shared>, number: u64) {
    let folder = shared.folder.join(number.to_string());
    let mut pause = Pause::new(number);
    let mut rounds = shared.round.subscribe();
    let (mut identity, mut counted): (Option<Identity>, Option<u64>) = (None, None);
    let mut held = Vec::new();
    loop {
        let round = *rounds.borrow_and_update();
        let whole = async {
            let member = match &identity {
                Some(member) => member.clone(),
                None => {
                    let _turn = shared.joining.acquire().await?;
                    let addresses = std::slice::from_ref(&shared.address);
                    let joined = link::join(addresses, &shared.token, &folder).await?;
                    identity.insert(joined).clone()
                }
            };
            let link = link::connect(&shared.address, &member).await?;
            let worked = work(&shared, &link, &mut held, || {
                pause.reset();
                if counted != Some(round) {
                    counted = Some(round);
                    shared.registered.fetch_add(1, Ordering::SeqCst);
                }
            });
            let ended = tokio::select! {
                ended = worked => ended,
                _ = rounds.changed() => Ok(()),
            };
            link.close("on the way back");
            ended
        };
        let ended: Result<()> = whole.await;
        if ended.is_err() {
            sleep(pause.next()).await;
        }
    }
}

/// A trial in training: when it ends.
type Held = (Attempt, tokio::time::Instant);

/// One connection. Trials are held across connections, as an agent's are.
async fn work(
    shared: &Shared,
    link: &Link,
    held: &mut Vec<Held>,
    mut registered: impl FnMut(),
) -> Result<()> {
    let (mut sender, mut receiver) = link.open(&Open::Agent).await?;
    let holding = held.iter().map(|(attempt, _)| *attempt).collect();
    let about = AgentAbout {
        host: "crowd".to_string(),
        device: "cpu".to_string(),
        model: "none".to_string(),
        lanes: 1,
        cohort_lanes: 1,
        version: env!("CARGO_PKG_VERSION").to_string(),
    };
    let life = u64::from(std::process::id());
    sender.send(&FromAgent::Register { about, life, holding, crashed: Vec::new() }).await?;
    let renew = match receive(&mut receiver).await? {
        ToAgent::Registered { lease_ms, keep } => {
            held.retain(|(attempt, _)| keep.contains(&attempt.lease));
            Duration::from_millis(lease_ms / 3)
        }
        other => bail!("not registered: {other:?}"),
    };
    registered();
    offer(&mut sender, held).await?;
    let now = tokio::time::Instant::now();
    // What was told on the last connection and not acknowledged is told again.
    held.iter_mut().filter(|(_, ends)| *ends > now + TRAINING).for_each(|(_, ends)| *ends = now);
    let mut renewals = tokio::time::interval(renew);
    loop {
        let ends = held.iter().map(|(_, ends)| *ends).min().unwrap_or(now + FAR);
        tokio::select! {
            message = receive(&mut receiver) => match message? {
                ToAgent::Assign { lease, study, trials, .. }
                | ToAgent::AssignFrom { lease, study, trials, .. } => {
                    let ends = tokio::time::Instant::now() + TRAINING;
                    let attempt = |trial| (Attempt { study, trial, lease }, ends);
                    held.extend(trials.into_iter().map(attempt));
                }
                ToAgent::Acknowledge { attempts } => {
                    held.retain(|(attempt, _)| !attempts.contains(attempt));
                    offer(&mut sender, held).await?;
                }
                ToAgent::Elsewhere { .. } | ToAgent::Goodbye { .. } => bail!("not here"),
                ToAgent::Revoke { .. } => bail!("nothing is cancelled here"),
                ToAgent::Registered { .. }
                | ToAgent::Study { .. }
                | ToAgent::Replicas { .. }
                | ToAgent::SendLog { .. } => {}
            },
            _ = renewals.tick() => {
                let leases = held.iter().map(|(attempt, _)| attempt.lease).collect();
                sender.send(&FromAgent::Renew { leases }).await?;
            }
            () = sleep_until(ends) => {
                let now = tokio::time::Instant::now();
                let due = held.iter_mut().filter(|(_, ends)| *ends <= now);
                let reports = due.map(|(attempt, ends)| {
                    // Told once on this connection.
                    *ends = now + FAR;
                    Report { attempt: *attempt, ending: outcome(shared, attempt) }
                });
                let reports = reports.collect();
                sender.send(&FromAgent::Reports { reports }).await?;
            }
        }
    }
}

async fn receive(receiver: &mut FrameReceiver) -> Result<ToAgent> {
    receiver.receive().await?.context("the coordinator closed the stream")
}

async fn offer(sender: &mut FrameSender, held: &[Held]) -> Result<(), LinkError> {
    sender.send(&FromAgent::Offer { lanes: u32::from(held.is_empty()) }).await
}

fn outcome(shared: &Shared, attempt: &Attempt) -> Ending {
    let value = 1.0 / (2.0 + attempt.trial.0 as f64);
    Ending::Complete(Outcome {
        metrics: vec![value; shared.metrics],
        rows: Vec::new(),
        epochs: 1,
        duration_us: 1,
        device: String::new(),
        curve: None,
    })
}

/// Longer from try to try, and never the same as a neighbour's.
struct Pause {
    state: u64,
    most: f64,
}

impl Pause {
    fn new(number: u64) -> Self {
        Self { state: number + 1, most: PAUSE_FIRST }
    }

    fn reset(&mut self) {
        self.most = PAUSE_FIRST;
    }

    fn next(&mut self) -> Duration {
        // Knuth's MMIX generator.
        let (by, plus) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
        self.state = self.state.wrapping_mul(by).wrapping_add(plus);
        let part = (self.state >> 40) as f64 / f64::from(1 << 24);
        let pause = self.most * (0.5 + 0.5 * part);
        self.most = (2.0 * self.most).min(PAUSE_MOST);
        Duration::from_secs_f64(pause)
    }
}

const CROWD: usize = 2_000;
const STORM: usize = 10_000;
const AGENTS_A_PROCESS: usize = 2_000;
/// In each process; processes are started one after the other.
const JOINING: usize = 6;
/// More trials than are trained meanwhile.
const SEEDS: u64 = 10_000;
const TRAINING: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(12);
const WATCHED: Duration = Duration::from_secs(30);
const FAR: Duration = Duration::from_secs(86_400);
/// Seconds, as an agent's.
const PAUSE_FIRST: f64 = 0.2;
const PAUSE_MOST: f64 = 5.0;

const AGENTS: &str = "SEEDSWEEP_BENCH_CROWD";
const FOLDER: &str = "SEEDSWEEP_BENCH_FOLDER";
const ADDRESS: &str = "SEEDSWEEP_BENCH_ADDRESS";
const TOKEN: &str = "SEEDSWEEP_BENCH_TOKEN";
