//! `agent join`: trains for a coordinator until it is told to stop.
//!
//! The token never leaves this process: it is in no log, no file, and no child's arguments.
//!
//! Floor: wiring.

use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use common::label::Label;
use etcetera::BaseStrategy;
use link::{Identity, JoinToken};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::{Failure, UNREACHED, duration, printable, until};
use crate::device::{self, AtOnce, Device, Wanted};
use crate::driver::{DriverError, LinkConnector, News, Settings, Train, Trainer, suited_to};
use crate::folder::{Folder, FolderError};
use crate::program::Programs;

/// Train for a coordinator until Ctrl-C
///
/// The first time, a token admits this machine, which keeps a certificate in its folder; afterwards
/// the address is enough.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    agent join 10.0.0.5:7461 --token SW1...\n  \
    agent join 10.0.0.5:7461 --token-file token.txt\n  \
    agent join planner.lab --threads 4 --shared /data\n  \
    agent join planner.lab --threads 1 --allow-programs\n  \
    agent join planner.lab --label gpu=a100 --label site=east\n  \
    agent join planner.lab --device cuda:0,cuda:1 --slots-per-gpu 2\n  \
    agent join planner.lab --until +2h --grace 40s")]
pub struct JoinArgs {
    /// HOST or HOST:PORT of the coordinator, or of several of one cluster; the port is 7461 unless
    /// given
    #[arg(required = true, value_name = "ADDR", value_parser = address)]
    addresses: Vec<String>,
    /// The join token, or the whole line that `coordinator start` printed, in quotes
    #[arg(long, env = "SEEDSWEEP_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with the join token or that line; it goes before --token and its variable
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What to train on: auto, cpu, or where this program was built with CUDA a card such as cuda:0, or several
    /// such as cuda:0,cuda:1. auto is every card that CUDA_VISIBLE_DEVICES and the control group leave, or
    /// else the processor
    #[arg(long, default_value = "auto")]
    device: Wanted,
    /// Cohorts trained at once [default: one a processor that the control group leaves, or --slots-per-gpu for
    /// each card]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,
    /// Cohorts trained at once on each card; means nothing on a processor [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "threads")]
    slots_per_gpu: Option<NonZeroU32>,
    /// Trials trained together in a cohort [default: what suits the device, and more where earlier runs
    /// found that to train faster]
    #[arg(long, value_name = "N")]
    lanes: Option<NonZeroU32>,
    /// Where the certificate, unsent outcomes and data files are kept [default: a folder named after
    /// the address, in the user's data folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// A folder in which data files may already be; give it once for each folder
    #[arg(long, value_name = "DIR")]
    shared: Vec<PathBuf>,
    /// Run the programs of studies, with the rights of this user: whoever may submit a study may then
    /// do on this machine what this user may
    #[arg(long)]
    allow_programs: bool,
    /// A label that studies may require, such as site=east; give it once for each. Each agent has besides
    /// device (cpu or cuda), host and arch
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<Label>,
    /// After Ctrl-C, SIGTERM or SIGUSR1, or before --until: in how much time trainings are ended or
    /// handed on, and this agent is gone
    #[arg(long, default_value = "25s", value_parser = duration)]
    grace: Duration,
    /// When this machine is taken away: a time such as 2026-11-28T18:00:00Z, Unix seconds, or +2h from
    /// now; what could not be ended or handed on before is not begun [default: the variable
    /// SLURM_JOB_END_TIME, else never]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The exit status of an agent that left because of one of those signals or since its time was over, for
    /// what takes 0 for the end of all work, such as a Job of Kubernetes
    #[arg(long, value_name = "STATUS", default_value_t = 0)]
    left_status: u8,
    /// How long to try for the first connection before giving up
    #[arg(long, default_value = "60s", value_parser = duration)]
    wait: Duration,
    /// The name this agent is shown under [default: the machine's name]
    #[arg(long, value_name = "LABEL")]
    name: Option<String>,
}

/// `logs`: stderr is a log for programs. Returns the exit status.
pub fn join(args: JoinArgs, quiet: bool, logs: bool) -> Result<u8, Failure> {
    let token = token_of(&args)?;
    let ends = until::end(args.until.as_deref()).map_err(Failure::usage)?;
    let at_once =
        AtOnce { threads: args.threads, slots: args.slots_per_gpu, cohort_lanes: args.lanes };
    let device = Device::choose_for(args.device.clone(), at_once).map_err(Failure::usage)?;
    let labels = device.labels().with(args.label.clone()).map_err(Failure::usage)?;
    let folder = match &args.folder {
        Some(path) => {
            check_certificate(path, token.as_ref())?;
            Folder::claim(path).map_err(anyhow::Error::new)?
        }
        None => default_folder(&args.addresses[0], token.as_ref())?,
    };
    set_aside_the_spool_of_another_cluster(&folder, token.as_ref())?;
    let device = match args.lanes {
        Some(_) => device,
        None => suited_to(folder.path(), device),
    };
    let connector = LinkConnector::new(args.addresses, folder.path(), token)
        .context("the kept certificate cannot be used")?;
    let trainer = Trainer::on(&device, Some(folder.path())).map_err(Failure::usage)?;
    let trainer = trainer_of(trainer, args.allow_programs, &folder, &args.shared, quiet || logs)?;
    let settings = Settings {
        folder,
        shared: args.shared,
        device,
        labels,
        host: args.name.unwrap_or_else(device::host_name),
        grace: args.grace,
        ends,
        first_contact: Some(args.wait),
        tell: Arc::new(move |news: &News| {
            if logs {
                news.log();
            } else if !quiet {
                eprintln!("{}", printable(&news.to_string()));
            }
        }),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let (stop, stopped) = oneshot::channel();
    let inside = runtime.enter();
    let signals = Signals::listen().context("signals cannot be listened to")?;
    runtime.spawn(obey(signals, stop, logs));
    drop(inside);
    let shutdown = async {
        let _ = stopped.await;
    };
    let running = crate::driver::run(settings, connector, trainer, shutdown);
    let ended = runtime.block_on(running);
    // What still runs, such as a step of a training, is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Ok(args.left_status),
        Err(error @ DriverError::Unreached { .. }) => {
            Err(Failure { status: UNREACHED, error: error.into() })
        }
        Err(error) => Err(anyhow::Error::new(error).into()),
    }
}

fn trainer_of(
    trainer: Trainer,
    programs: bool,
    folder: &Folder,
    shared: &[PathBuf],
    quiet: bool,
) -> Result<Arc<dyn Train>, Failure> {
    if !programs {
        return Ok(Arc::new(trainer));
    }
    let opened = Programs::open(&folder.programs(), folder.data(), shared.to_vec(), trainer);
    let programs = opened.context("the folder for programs cannot be used")?;
    if !quiet {
        eprintln!("programs of studies run here; {}", printable(&programs.limits_in_words()));
    }
    Ok(Arc::new(programs))
}

/// The first signal asks the agent to leave; Ctrl-C after it leaves. What managers of machines send
/// comes several times: before the end, at it, and to a whole group.
async fn obey(mut signals: Signals, stop: oneshot::Sender<()>, logs: bool) {
    signals.next().await;
    let _ = stop.send(());
    signals.interrupt().await;
    let told = "left at once; what was training is reported as crashed at the next start";
    match logs {
        true => tracing::warn!("{told}"),
        false => eprintln!("{told}"),
    }
    process::exit(LEFT_AT_ONCE);
}

#[cfg(unix)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    user: Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { interrupt, terminate, user: signal(SignalKind::user_defined1())? })
    }

    /// Ctrl-C, SIGTERM or SIGUSR1.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.user.recv() => {}
        }
    }

    async fn interrupt(&mut self) {
        self.interrupt.recv().await;
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }

    async fn interrupt(&mut self) {
        self.next().await;
    }
}

fn token_of(args: &JoinArgs) -> Result<Option<JoinToken>, Failure> {
    let text = match &args.token_file {
        Some(path) => Some(
            fs::read_to_string(path)
                .with_context(|| format!("cannot read the token in {}", path.display()))?,
        ),
        None => args.token.clone(),
    };
    // An empty variable is no token: containers set it so.
    let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    text.map(|text| JoinToken::find(text).map_err(Failure::usage)).transpose()
}

/// HOST:PORT of an argument that may lack its port; a bare IPv6 address gets its brackets.
fn address(text: &str) -> Result<String, String> {
    let wrong = || format!("an address is HOST or HOST:PORT, such as 10.0.0.5:{}", link::PORT);
    let allowed = |c: char| c.is_alphanumeric() || "-._:[]%".contains(c);
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]:{}", link::PORT));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (text, link::PORT),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let possible = match bracketed {
        Some(inner) => inner.contains(':'),
        None => !host.contains([':', '[', ']']),
    };
    if host.is_empty() || port == 0 || !possible || !host.chars().all(allowed) {
        return Err(wrong());
    }
    Ok(format!("{host}:{port}"))
}

/// Without a token the folder must hold a certificate; it is not made to say that it does not.
fn check_certificate(folder: &Path, token: Option<&JoinToken>) -> Result<(), Failure> {
    let kept = Identity::load(folder).context("the kept certificate cannot be read")?;
    if kept.is_some() || token.is_some() {
        return Ok(());
    }
    Err(Failure::usage(anyhow::anyhow!(
        "{} holds no certificate: give the token that `coordinator start` printed, with --token, \
         --token-file or SEEDSWEEP_TOKEN",
        folder.display()
    )))
}

/// The first folder named after the address that no other agent of this machine uses.
fn default_folder(address: &str, token: Option<&JoinToken>) -> Result<Folder, Failure> {
    let base = etcetera::choose_base_strategy().context("this user has no home; give --folder")?;
    let named = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = address.chars().take(NAME_CHARS_MAX).map(named).collect();
    let path = |number| match number {
        1 => format!("agent-{name}"),
        number => format!("agent-{name}-{number}"),
    };
    let base = base.data_dir().join(FOLDERS);
    for number in 1..=FOLDERS_MAX {
        let path = base.join(path(number));
        check_certificate(&path, token)?;
        match Folder::claim(&path) {
            Err(FolderError::Taken { .. }) => {}
            claimed => return Ok(claimed.map_err(anyhow::Error::new)?),
        }
    }
    let base = base.display();
    Err(anyhow::anyhow!("{FOLDERS_MAX} agents use the folders in {base}; give --folder").into())
}

/// The folders of this user's agents that were not told another one.
pub fn default_folders() -> Vec<PathBuf> {
    let Ok(base) = etcetera::choose_base_strategy() else { return Vec::new() };
    let Ok(entries) = fs::read_dir(base.data_dir().join(FOLDERS)) else { return Vec::new() };
    let is_agents = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("agent-"))
    };
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_agents).collect();
    folders.sort();
    folders
}

/// Outcomes for one cluster are nothing to another: its lease ids may even be the same.
fn set_aside_the_spool_of_another_cluster(
    folder: &Folder,
    token: Option<&JoinToken>,
) -> Result<(), Failure> {
    let identity = Identity::load(folder.path()).context("the kept certificate cannot be read")?;
    let (Some(identity), Some(token)) = (identity, token) else { return Ok(()) };
    let spool = folder.spool();
    if identity.is_of(token) || !spool.exists() {
        return Ok(());
    }
    let who = identity.who().context("the kept certificate cannot be read")?;
    let aside = folder.path().join(format!("spool-of-{}.log", who.cluster));
    fs::rename(&spool, &aside).with_context(|| format!("cannot rename {}", spool.display()))?;
    tracing::warn!(
        kept = %aside.display(),
        "this folder served another cluster; what was not yet reported to it is kept"
    );
    Ok(())
}

/// Of the user's data folder.
const FOLDERS: &str = "seedsweep";
const FOLDERS_MAX: u32 = 64;
const NAME_CHARS_MAX: usize = 100;

/// As a shell says of a process that an interrupt ended.
const LEFT_AT_ONCE: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_gets_the_coordinators() {
        for (text, meant) in [
            ("10.0.0.5:7461", "10.0.0.5:7461"),
            ("10.0.0.5", "10.0.0.5:7461"),
            ("planner.lab:99", "planner.lab:99"),
            ("planner", "planner:7461"),
            ("::1", "[::1]:7461"),
            ("[fe80::1%eth0]", "[fe80::1%eth0]:7461"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(address(text).as_deref(), Ok(meant));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":7461",
            "host:",
            "host:0",
            "host:65536",
            "host:port",
            "a:b:1",
            "[host]:1",
            "[::1",
            "http://host",
            "host/path",
            "two words",
            "SW1.a.b.c:",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
