//! The folder that jobs share, and what is ours in the queue.
//!
//! Jobs are told apart by a name made of the folder's path, so that a command finds those of an earlier
//! one again, and leaves those of another folder alone.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use common::id::Digest;
use common::wire::message::{AgentStatus, ReplicaRole, Request, Response, Role};
use link::JoinToken;
use serde_json::json;

use crate::cli::output::{Output, table};
use crate::cli::{Target, connect};
use crate::client::{Client, ClientError, TokenWish};
use crate::driver::wall_clock;
use crate::slurm::queue::{Job, JobState, agent_name};
use crate::slurm::script::is_plain_path;
use crate::slurm_queue::Queue;

/// Where the jobs' things lie.
#[derive(Clone, Debug, Args)]
pub struct FleetArgs {
    /// A folder that login and compute nodes share [default: slurm, in the user's data folder].
    #[arg(long, value_name = "DIR", env = "SEEDSWEEP_SLURM")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct DownArgs {
    /// Cancel the coordinators' jobs too; their data stay.
    #[arg(long)]
    coordinators: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// The shared folder, and the jobs that belong to it.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub folder: PathBuf,
    pub queue: Queue,
}

impl FleetArgs {
    /// The folder by its full path; it is not made yet.
    pub fn fleet(&self) -> anyhow::Result<Fleet> {
        let folder = match &self.folder {
            Some(folder) => std::path::absolute(folder).context("the folder has no full path")?,
            None => connect::slurm_folder()?,
        };
        let path = folder.display().to_string();
        if !is_plain_path(&path) {
            bail!(
                "{path:?} cannot stand in a batch script: name a folder of letters, digits and \
                 / . _ - + , = @ : with --folder"
            );
        }
        let queue = Queue::of(&format!("seedsweep-{}", &Digest::of(path.as_bytes()).hex()[..8]));
        Ok(Fleet { folder, queue })
    }
}

impl Fleet {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes the folder, for its owner alone.
    pub fn make(&self) -> anyhow::Result<()> {
        for folder in [self.folder.clone(), self.path("logs"), self.path("agents")] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(())
    }

    /// Writes a file that only its owner may read, whole or not at all: jobs may be reading it.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let (path, beside) = (self.path(name), self.path(&format!("{name}.new")));
        let failed = || format!("cannot write {}", path.display());
        // One that is there with other rights would keep them.
        let _ = std::fs::remove_file(&beside);
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.create_new(true).write(true).mode(0o600).open(&beside).with_context(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
        std::fs::rename(&beside, &path).with_context(failed)?;
        Ok(path)
    }

    /// Writes where the coordinators are and a token that is good for a while; says what looks wrong.
    pub async fn tell(&self, client: &Client, ttl: Duration) -> anyhow::Result<Option<String>> {
        let Response::Replicas { replicas } = client.ask(Request::Replicas).await? else {
            return Err(ClientError::Unexpected.into());
        };
        let stays = replicas.iter().filter(|replica| replica.role != ReplicaRole::Leaving);
        let mut addresses: Vec<String> =
            stays.filter_map(|replica| replica.address.clone()).collect();
        addresses.sort();
        let lines = addresses.join("\n") + "\n";
        if std::fs::read_to_string(self.path(ADDRESSES)).ok().as_deref() != Some(lines.as_str()) {
            self.write(ADDRESSES, &lines)?;
        }
        self.keep_token(client, ttl).await?;
        let loopback = |address: &&String| {
            let host = address.rsplit_once(':').map_or("", |(host, _)| host);
            host == "localhost" || host == "[::1]" || host.starts_with("127.")
        };
        let alone: Vec<&str> = addresses.iter().filter(loopback).map(String::as_str).collect();
        Ok((!alone.is_empty()).then(|| {
            format!(
                "jobs are told to join the coordinator at {}, which only this machine reaches: start it \
                 with --advertise NAME:PORT",
                alone.join(", ")
            )
        }))
    }

    /// The kept token stays while it is good for a quarter of its time.
    async fn keep_token(&self, client: &Client, ttl: Duration) -> anyhow::Result<()> {
        if let Some(kept) = self.token() {
            let Response::Tokens { tokens } = client.ask(Request::Tokens).await? else {
                return Err(ClientError::Unexpected.into());
            };
            let now = wall_clock();
            let quarter = u64::try_from(ttl.as_millis() / 4).unwrap_or(u64::MAX);
            let good = |left: u64| left > quarter;
            if tokens.iter().any(|t| t.id == kept.id_hex() && good(t.expires.since_ms(now))) {
                return Ok(());
            }
        }
        let wish = TokenWish { role: Role::Agent, ttl, uses: None, label: "slurm".to_string() };
        let token = client.create_token(wish).await.context("no join token could be made")?;
        self.write(TOKEN, &format!("{}\n", token.expose()))?;
        Ok(())
    }

    fn token(&self) -> Option<JoinToken> {
        std::fs::read_to_string(self.path(TOKEN)).ok()?.trim().parse().ok()
    }

    /// Makes the token useless and forgets it.
    async fn revoke_token(&self, client: &Client) -> anyhow::Result<()> {
        let Some(token) = self.token() else { return Ok(()) };
        client.ask(Request::RevokeToken { id: token.id_hex() }).await?;
        std::fs::remove_file(self.path(TOKEN)).context("the token's file cannot be removed")
    }

    /// Asks Slurm without holding up anything else.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let own = self.clone();
        let answered = tokio::task::spawn_blocking(move || question(&own)).await;
        answered.context("a command of Slurm did not end")?
    }
}

/// A client, or what a user of a cluster has to do first.
pub async fn client(target: &Target) -> anyhow::Result<Client> {
    connect::client(target).await.map_err(|error| {
        let none = error
            .chain()
            .any(|cause| matches!(cause.downcast_ref(), Some(ClientError::NoCoordinator { .. })));
        match none {
            true => error.context(FIRST),
            false => error,
        }
    })
}

/// `coordinator slurm status`.
pub async fn status(args: FleetArgs, target: &Target, output: &Output) -> anyhow::Result<ExitCode> {
    let fleet = args.fleet()?;
    let (agents, replicas) =
        fleet.ask(|fleet| Ok((fleet.queue.agent_jobs()?, fleet.queue.replica_jobs()?))).await?;
    // Without a coordinator the queue is still worth seeing.
    let known = match client(target).await {
        Ok(client) => connected(&client).await?,
        Err(error) => {
            output.warn(format!("what the agents do is not known: {error:#}"));
            BTreeMap::new()
        }
    };
    let row = |job: &Job| {
        let agent = known.get(&agent_name(&job.id));
        let leased = agent.map_or("-".to_string(), |agent| agent.leased.to_string());
        let done = agent.map_or("-".to_string(), |agent| agent.complete.to_string());
        let what = job.name.strip_prefix(fleet.queue.name()).unwrap_or_default();
        let what = what.trim_start_matches('-').trim_end_matches('s').to_string();
        let (state, ran) = (state(job).to_string(), job.ran.clone());
        vec![job.id.clone(), what, state, ran, leased, done, reason(job)]
    };
    let all = || replicas.iter().chain(&agents);
    let mut people = match all().next() {
        None => "no jobs; submit some with `coordinator slurm up`".to_string(),
        Some(_) => table(
            &["job", "what", "state", "ran", "trains", "done", "why"],
            all().map(row).collect(),
        ),
    };
    for job in all().filter(|job| job.is_held()) {
        let id = &job.id;
        people.push_str(&format!("\n{id} is held ({}): scontrol release {id}", job.reason));
    }
    let told = |job: &Job| {
        let agent = known.get(&agent_name(&job.id));
        json!({
            "job": job.id, "state": state(job), "name": job.name, "reason": job.reason,
            "leased": agent.map(|agent| agent.leased), "complete": agent.map(|agent| agent.complete),
        })
    };
    let list = |jobs: &[Job]| jobs.iter().map(told).collect::<Vec<_>>();
    let answer = json!({ "agents": list(&agents), "coordinators": list(&replicas) });
    output.answer(&people, "seedsweep.slurm_status/1", answer);
    Ok(ExitCode::SUCCESS)
}

/// `coordinator slurm down`.
pub async fn down(args: DownArgs, target: &Target, output: &Output) -> anyhow::Result<ExitCode> {
    let fleet = args.fleet.fleet()?;
    let coordinators = args.coordinators;
    let cancelled = fleet
        .ask(move |fleet| {
            let mut jobs = fleet.queue.agent_jobs()?;
            if coordinators {
                jobs.extend(fleet.queue.replica_jobs()?);
            }
            let ids: Vec<String> = jobs.into_iter().map(|job| job.id).collect();
            fleet.queue.cancel(&ids)?;
            Ok(ids)
        })
        .await?;
    // A token that nobody needs any more; where no coordinator answers it ends by itself.
    if !coordinators
        && let Ok(client) = client(target).await
        && let Err(error) = fleet.revoke_token(&client).await
    {
        output.warn(format!("the agents' token is still good: {error:#}"));
    }
    let text = match cancelled.len() {
        0 => "no jobs to cancel".to_string(),
        count => format!("{count} jobs cancelled; what they train is handed back"),
    };
    output.answer(&text, "seedsweep.slurm_down/1", json!({ "cancelled": cancelled }));
    Ok(ExitCode::SUCCESS)
}

/// The agents that are connected, by name.
pub async fn connected(client: &Client) -> Result<BTreeMap<String, AgentStatus>, ClientError> {
    let Response::Agents { agents } = client.ask(Request::Agents).await? else {
        return Err(ClientError::Unexpected);
    };
    let connected = agents.into_iter().filter(|agent| agent.connected);
    Ok(connected.map(|agent| (agent.about.host.clone(), agent)).collect())
}

fn state(job: &Job) -> &'static str {
    match job.state {
        JobState::Pending => "pending",
        JobState::Running => "running",
        JobState::Ending => "ending",
    }
}

fn reason(job: &Job) -> String {
    match job.reason.as_str() {
        "None" => String::new(),
        reason => reason.to_string(),
    }
}

/// The path of the program beside this one.
pub fn program_beside(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program's path is not known")?;
    Ok(own.parent().unwrap_or(Path::new("/")).join(name))
}

const FIRST: &str = "\
agents need a coordinator first. Where long processes are allowed on this node, in another terminal \
(tmux):\n  coordinator start\nelsewhere, as jobs:\n  coordinator slurm coordinators --replicas 3 --time \
8:00:00\nthen run this again";

/// Read by every job when it starts: where coordinators are, one a line; and the token.
const ADDRESSES: &str = "coordinators";
const TOKEN: &str = "token";
