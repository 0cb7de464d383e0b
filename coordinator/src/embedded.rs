//! A coordinator and an agent in one process: one replica and the ordinary agent over channels.
//!
//! There is no second path: the scheduler, the log, the leases, the spool and the trainer are the
//! ones a cluster uses. The agent finds data files in the coordinator's own folder.
//!
//! Floor: wiring.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::dataset::NoSource;
use agent::device::{Device, DeviceError, Wanted};
use agent::driver::CHECKPOINTS;
use agent::driver::{self, DriverError, News, Seat, Seats, Settings, Train, Trainer};
pub use agent::driver::{Piloted, pilot};
use agent::folder::{Folder, FolderError};
use agent::program::Programs;
use common::label::{Label, LabelError};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::driver::Handle;
use crate::scheduler::state::LOCAL_AGENT;

/// The agent inside this process.
pub struct LocalAgent {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), DriverError>>,
    /// What it trains on.
    pub device: Device,
}

/// Why there is no agent inside this process.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Label(#[from] LabelError),
    #[error("the agent's folder cannot be used")]
    Folder { source: FolderError },
    #[error("the folder for programs cannot be used")]
    Programs { source: std::io::Error },
}

/// What this machine trains on.
pub fn device() -> Result<Device, DeviceError> {
    Device::choose(Wanted::Auto, None, None)
}

/// Deletes what an agent's folder keeps only so that trainings need not begin anew: when all has ended.
pub fn tidy(folder: &Path) {
    // What stays costs room, and is found by the next run.
    let _ = std::fs::remove_dir_all(folder.join(CHECKPOINTS));
}

/// Starts the agent on `folder`; `programs`: it runs those of studies too; `labels`: of its user's.
pub fn start(
    handle: &Handle,
    folder: &Path,
    threads: Option<NonZeroU32>,
    programs: bool,
    labels: Vec<Label>,
) -> Result<LocalAgent, EmbeddedError> {
    let device = Device::choose(Wanted::Auto, threads, None)?;
    let labels = device.labels().with(labels)?;
    let folder = Folder::claim(folder).map_err(|source| EmbeddedError::Folder { source })?;
    let device = driver::suited_to(folder.path(), device);
    let shared = vec![handle.content().folder().to_path_buf()];
    let trainer = Trainer::on(&device, Some(folder.path()))?;
    let trainer: Arc<dyn Train> = if programs {
        let opened = Programs::open(&folder.programs(), folder.data(), shared.clone(), trainer);
        Arc::new(opened.map_err(|source| EmbeddedError::Programs { source })?)
    } else {
        Arc::new(trainer)
    };
    let settings = Settings {
        folder,
        shared,
        device: device.clone(),
        labels,
        host: agent::device::host_name(),
        grace: GRACE,
        ends: None,
        first_contact: None,
        tell: Arc::new(|news: &News| tracing::debug!(%news, "agent")),
    };
    let (connector, seats) = driver::embedded(Arc::new(NoSource));
    tokio::spawn(seat_agents(handle.clone(), seats));
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let running = tokio::spawn(driver::run(settings, connector, trainer, shutdown));
    Ok(LocalAgent { stop, running, device })
}

impl LocalAgent {
    /// Lets the cohorts in training end, within the grace time, and their outcomes be kept.
    pub async fn stop(self) -> Result<(), DriverError> {
        let _ = self.stop.send(());
        self.running.await.unwrap_or_else(|source| Err(DriverError::Interrupted { source }))
    }

    /// Resolves when the agent ended by itself, which it should not.
    pub async fn ended(&mut self) -> String {
        match (&mut self.running).await {
            Ok(Ok(())) => "the agent in this process ended".to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// Connects the agent's channels to the coordinator, as often as it asks.
async fn seat_agents(handle: Handle, mut seats: Seats) {
    while let Some(Seat { mut from_agent, to_agent }) = seats.next().await {
        let (voice, mut messages) = handle.agent(LOCAL_AGENT, "in this process".to_string());
        let up = async {
            while let Some(message) = from_agent.recv().await {
                voice.said(message).await;
            }
        };
        let down = async {
            while let Some(message) = messages.recv().await {
                if to_agent.send(message).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! { () = up => {}, () = down => {} }
    }
}

/// For a Ctrl-C: a cohort of small networks ends well within it.
const GRACE: Duration = Duration::from_secs(10);
