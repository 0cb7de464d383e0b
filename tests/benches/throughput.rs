//! Trials a second through a coordinator with nothing to train: every outcome durable before it is
//! acknowledged.
//!
//! One coordinator on a real disk and one agent whose trainer does nothing, over real QUIC on
//! loopback, then in one process. Beside it the disk's own limit: one synchronised write of the same
//! bytes a trial, nothing else. The peer is run by `tests/benches/run`.
//!
//! Floor: wiring.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use agent::device::{Device, Wanted};
use agent::driver::{LinkConnector, Settings, Train};
use agent::folder::Folder;
use common::id::TrialIndex;
use common::study::Study;
use common::table::Dataset;
use common::trial::{Ending, Outcome};
use common::wire::message::{Request, Response, Role, StudyState};
use coordinator::client::{Client, TokenWish};
use coordinator::cluster::{self, Cluster};
use coordinator::driver::Handle;
use link::{JoinToken, Listener};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives what the demonstration's trials give, without training.
struct Nothing;

impl Train for Nothing {
    fn train(
        &self,
        study: &Study,
        _: &Dataset,
        trials: &[TrialIndex],
        _: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>> {
        let outcome = |trial: &TrialIndex| {
            let value = 1.0 / (2.0 + trial.0 as f64);
            Ending::Complete(Outcome {
                metrics: vec![value; study.metrics.len()],
                rows: vec![value as f32; TEST_ROWS],
                epochs: 30,
                duration_us: 0,
                device: String::new(),
            })
        };
        Some(trials.iter().map(outcome).collect())
    }
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let limit = synchronised_writes(Path::new("."))?;
    let over_quic = runtime.block_on(over_quic())?;
    let in_process = runtime.block_on(in_process())?;
    runtime.shutdown_background();
    println!("durable trials, nothing to train, {TRIALS} trials of {TEST_ROWS} test rows");
    println!("  over QUIC, one agent:       {over_quic:>9.0} trials/s");
    println!("  in one process:             {in_process:>9.0} trials/s");
    println!("  one synchronised write each: {limit:>8.0} writes/s");
    println!("  ratio over QUIC / write:    {:>9.2}", over_quic / limit);
    println!("THROUGHPUT {over_quic:.1}");
    Ok(())
}

async fn over_quic() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(".")?;
    let cluster = cluster::open(&folder.path().join("data"), Default::default()).await?;
    let authority = cluster.handle.authority();
    let identity = authority.server_identity(cluster.identity.replica, SystemTime::now())?;
    let address = "127.0.0.1:0".parse()?;
    let gate = cluster.handle.gate();
    let listener = Arc::new(Listener::bind(address, &identity, authority, gate)?);
    let address = listener.local_address()?.to_string();
    let serving = {
        let (listener, handle) = (Arc::clone(&listener), cluster.handle.clone());
        tokio::spawn(async move { coordinator::serve::serve(&listener, &handle).await })
    };
    let token = agent_token(&cluster.handle).await?;
    let agent_folder = Folder::claim(&folder.path().join("agent"))?;
    let connector = LinkConnector::new(vec![address], agent_folder.path(), Some(token))?;
    let settings = settings(agent_folder, &cluster)?;
    let agent = tokio::spawn(agent::driver::run(
        settings,
        connector,
        Arc::new(Nothing),
        std::future::pending(),
    ));
    let rate = run_study(&cluster).await;
    agent.abort();
    serving.abort();
    rate
}

async fn in_process() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(".")?;
    let cluster = cluster::open(&folder.path().join("data"), Default::default()).await?;
    let agent_folder = folder.path().join("agent");
    let trainer = Arc::new(Nothing);
    let agent = coordinator::embedded::start(&cluster.handle, &agent_folder, THREADS, trainer)?;
    let rate = run_study(&cluster).await;
    agent.stop().await?;
    rate
}

async fn agent_token(handle: &Handle) -> anyhow::Result<JoinToken> {
    let (ttl, uses, label) = (Duration::from_secs(3_600), None, String::new());
    let wish = TokenWish { role: Role::Agent, ttl, uses, label };
    Ok(Client::here(handle.clone()).create_token(wish).await?)
}

fn settings(folder: Folder, cluster: &Cluster) -> anyhow::Result<Settings> {
    Ok(Settings {
        folder,
        shared: vec![cluster.handle.content().folder().to_path_buf()],
        device: Device::choose(Wanted::Cpu, THREADS, None)?,
        host: "bench".to_string(),
        grace: Duration::from_secs(1),
        first_contact: None,
        tell: Arc::new(|_| {}),
    })
}

/// Trials a second from the submission to the last acknowledged outcome.
async fn run_study(cluster: &Cluster) -> anyhow::Result<f64> {
    let text = include_str!("../../coordinator/demo/wdbc/study.toml")
        .replace("count = 20", &format!("count = {}", TRIALS / TRIALS_A_SEED));
    let data = include_bytes!("../../coordinator/demo/wdbc/breast-cancer.csv");
    let checked = common::study::check(&text, &mut |_| Ok(data.to_vec()))
        .map_err(|findings| anyhow::anyhow!("{findings}"))?;
    let client = Client::here(cluster.handle.clone());
    let begun = Instant::now();
    let (id, _) = client.submit(checked.study, checked.text, data).await?;
    loop {
        let response = client.ask(Request::Status { study: Some(id) }).await?;
        let Response::Status { studies } = response else { anyhow::bail!("no status") };
        if studies[0].state != StudyState::Active {
            anyhow::ensure!(studies[0].complete == TRIALS, "{:?}", studies[0]);
            return Ok(TRIALS as f64 / begun.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the disk does when every outcome is written and synchronised by itself.
fn synchronised_writes(folder: &Path) -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let bytes = vec![7u8; TEST_ROWS * 4 + 64];
    let begun = Instant::now();
    let mut writes = 0u32;
    while begun.elapsed() < Duration::from_secs(2) {
        file.write_all(&bytes)?;
        File::sync_data(&file)?;
        writes += 1;
    }
    Ok(f64::from(writes) / begun.elapsed().as_secs_f64())
}

const TRIALS: u64 = 20_000;
/// Of the demonstration study: five configs, ten folds.
const TRIALS_A_SEED: u64 = 50;
const TEST_ROWS: usize = 114;
const THREADS: Option<NonZeroU32> = NonZeroU32::new(2);
