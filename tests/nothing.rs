//! Clusters for benchmarks whose agents train nothing: real coordinators, and agents of one thread
//! that are all an agent is but for its trainer, each a process.
//!
//! Floor: wiring.

use std::fs::OpenOptions;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::group::Group;
use agent::device::{Device, Wanted};
use agent::driver::{LinkConnector, Settings, Train};
use agent::folder::Folder;
use anyhow::{Context, Result, bail, ensure};
use common::id::{StudyId, TrialIndex};
use common::study::{Checked, Study};
use common::table::Dataset;
use common::trial::{Ending, Outcome};
use common::wire::message::{Request, Response, StudyState, StudyStatus};
use coordinator::client::Client;
use link::{Identity, JoinToken};
use tokio::runtime::Runtime;

/// Gives an outcome without training; of the first trials it notes when they came.
struct Nothing {
    marks: PathBuf,
}

impl Train for Nothing {
    fn train(
        &self,
        study: &Study,
        _: &Dataset,
        trials: &[TrialIndex],
        _: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>> {
        if study.name == FIRST {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.marks).ok()?;
            writeln!(file, "{}", unix_micros()).ok()?;
        }
        let outcome = |trial: &TrialIndex| {
            let value = 1.0 / (2.0 + trial.0 as f64);
            Ending::Complete(Outcome {
                metrics: vec![value; study.metrics.len()],
                rows: Vec::new(),
                epochs: 30,
                duration_us: 1,
                device: String::new(),
                curve: None,
            })
        };
        Some(trials.iter().map(outcome).collect())
    }
}

/// An agent in a process of its own; killed when dropped.
pub struct Agent {
    child: Child,
    /// When it began to train trials of studies named [`FIRST`], in microseconds since 1970.
    pub marks: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the benchmark's own program as an agent of the group, in the folder `name`. `lanes`: trials
/// of a cohort, as with `agent join --lanes`.
pub fn start_agent(group: &Group, name: &str, lanes: u32) -> Result<Agent> {
    let folder = group.site.path(name);
    let addresses: Vec<&str> = group.replicas.iter().map(|r| r.address.as_str()).collect();
    let child = Command::new(std::env::current_exe()?)
        .env(AGENT, &folder)
        .env(ADDRESSES, addresses.join(","))
        .env(TOKEN, &group.token)
        .env(LANES, lanes.to_string())
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Agent { child, marks: folder.join(MARKS) })
}

/// Whether this process was started by [`start_agent`]; it then is an agent until it is killed.
pub fn was_agent() -> Result<bool> {
    let Some(folder) = std::env::var_os(AGENT) else { return Ok(false) };
    let addresses = std::env::var(ADDRESSES)?.split(',').map(str::to_string).collect();
    let token: JoinToken = std::env::var(TOKEN)?.parse()?;
    let lanes: NonZeroU32 = std::env::var(LANES)?.parse()?;
    let folder = Folder::claim(Path::new(&folder))?;
    let marks = folder.path().join(MARKS);
    small_runtime()?
        .block_on(async {
            let connector = LinkConnector::new(addresses, folder.path(), Some(token))?;
            let settings = Settings {
                folder,
                shared: Vec::new(),
                device: Device::choose(Wanted::Cpu, NonZeroU32::new(1), Some(lanes))?,
                labels: Default::default(),
                host: "bench".to_string(),
                grace: Duration::from_secs(1),
                ends: None,
                first_contact: None,
                tell: Arc::new(|_| {}),
            };
            let trainer = Arc::new(Nothing { marks });
            Ok(agent::driver::run(settings, connector, trainer, std::future::pending()).await?)
        })
        .map(|()| true)
}

/// One thread: several processes share the machine.
pub fn small_runtime() -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build()
}

/// A cluster of so many replicas, and the client of the one that leads.
pub async fn cluster(replicas: usize) -> Result<(Group, Client)> {
    let group = tokio::task::spawn_blocking(move || Group::start(replicas)).await?;
    let client = client(&group, 0).await?;
    Ok((group, client))
}

/// As the operator of one replica.
pub async fn client(group: &Group, at: usize) -> Result<Client> {
    let replica = &group.replicas[at];
    let folder = group.site.path(&replica.name).join("operator");
    let identity = Identity::load(&folder)?.context("no operator")?;
    Ok(Client::connect(std::slice::from_ref(&replica.address), identity, None).await?)
}

/// The demonstration's study of [`A_SEED`] trials a seed.
pub fn study(name: &str, seeds: u64) -> Result<(Checked, &'static [u8])> {
    let data = include_bytes!("../coordinator/demo/wdbc/breast-cancer.csv");
    let text = include_str!("../coordinator/demo/wdbc/study.toml")
        .replace("count = 20", &format!("count = {seeds}"));
    let named = text.lines().map(|line| match line.starts_with("name = ") {
        // The constant has one seed, and here each has as many trials as another.
        true => format!("name = \"{name}\"\ncontrols = {{ constant = false }}\n"),
        false => format!("{line}\n"),
    });
    let checked = common::study::check(&named.collect::<String>(), &mut |_| Ok(data.to_vec()));
    let checked = checked.map_err(|findings| anyhow::anyhow!("{findings}"))?;
    Ok((checked, data))
}

pub async fn submit(client: &Client, name: &str, seeds: u64) -> Result<(StudyId, Duration)> {
    let (checked, data) = study(name, seeds)?;
    let begun = Instant::now();
    let (id, _) = client.submit(checked.study, checked.text, data).await?;
    Ok((id, begun.elapsed()))
}

pub async fn status(client: &Client, study: StudyId) -> Result<StudyStatus> {
    match client.ask(Request::Status { study: Some(study) }).await? {
        Response::Status { mut studies } => studies.pop().context("no such study"),
        other => bail!("no status: {other:?}"),
    }
}

/// Waits for the end of a study in which nothing may fail.
pub async fn finish(client: &Client, study: StudyId) -> Result<()> {
    loop {
        let now = status(client, study).await?;
        if now.state == StudyState::Finished {
            ensure!(now.complete == now.planned && now.failures.is_empty(), "{now:?}");
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

pub fn unix_micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
}

/// Of the demonstration study: five configs, ten folds.
pub const A_SEED: u64 = 50;
/// Trials of a cohort, by default and for trials so short that they would rather wait for the disk
/// together.
pub const LANES_USUAL: u32 = 8;
pub const LANES_MANY: u32 = 64;
/// A study whose trials' beginnings are noted.
pub const FIRST: &str = "first";

const AGENT: &str = "SEEDSWEEP_BENCH_AGENT";
const ADDRESSES: &str = "SEEDSWEEP_BENCH_ADDRESSES";
const TOKEN: &str = "SEEDSWEEP_BENCH_TOKEN";
const LANES: &str = "SEEDSWEEP_BENCH_LANES";
const MARKS: &str = "marks";
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
