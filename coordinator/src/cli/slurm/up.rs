//! `coordinator slurm up`: submits jobs with one agent each.
//!
//! Floor: wiring.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::fleet::{self, Fleet, FleetArgs};
use crate::cli::Target;
use crate::cli::output::{Output, parse_duration};
use crate::slurm::queue;
use crate::slurm::script::{AgentScript, is_option, is_plain_path};

/// Submit jobs with one agent each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    coordinator slurm up --agents 8 --gpus-per-agent 1 --time 4:00:00 --partition gpu\n  \
    coordinator slurm up --agents 20 --cpus-per-agent 8 --time 2:00:00 -- --allow-programs\n  \
    coordinator slurm up --agents 8 --time 4:00:00 --print > mine.sbatch\n  \
    coordinator slurm up --agents 8 --script mine.sbatch")]
pub struct UpArgs {
    /// How many agents, each in a job of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=AGENTS_MAX))]
    agents: u32,
    /// Print the script instead of submitting it.
    #[arg(long, conflicts_with = "script")]
    print: bool,
    #[command(flatten)]
    jobs: JobArgs,
}

/// What a job with an agent is.
#[derive(Debug, Args)]
pub struct JobArgs {
    /// GPUs of each agent; with none it trains on processors.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=64))]
    gpus_per_agent: u32,
    /// Processors of each agent.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpus_per_agent: u32,
    /// How long each job may run, as sbatch takes it: 30 for minutes, 4:00:00, 2-00:00:00.
    #[arg(long, value_name = "LIMIT", default_value = "4:00:00")]
    time: String,
    /// Memory of each job, such as 16G [default: the cluster's].
    #[arg(long, value_name = "SIZE")]
    mem: Option<String>,
    /// The partition [default: the cluster's].
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// The account that is charged [default: the user's].
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Any other option of sbatch, such as --sbatch=--constraint=a100; give it once for each option.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Put a job whose time is over into the queue again, until `coordinator slurm down`.
    #[arg(long)]
    again: bool,
    /// The agent's program, on a path that compute nodes see [default: agent, beside this program].
    #[arg(long, value_name = "PATH", conflicts_with = "image")]
    agent: Option<PathBuf>,
    /// Run the agent out of this image, by `apptainer exec`.
    #[arg(long, value_name = "FILE.sif")]
    image: Option<PathBuf>,
    /// A script of your own, made with --print; all but --agents and --folder is as it says.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["gpus_per_agent", "cpus_per_agent", "time", "mem", "partition", "account", "sbatch", "again", "agent", "image", "arguments"])]
    script: Option<PathBuf>,
    /// How long a job that waits in the queue may still join.
    #[arg(long, default_value = "7d", value_parser = parse_duration, value_name = "TIME")]
    token_ttl: Duration,
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// Arguments for `agent join`, such as --allow-programs.
    #[arg(last = true, value_name = "AGENT ARGUMENTS")]
    arguments: Vec<String>,
}

/// `coordinator slurm up`.
pub async fn up(args: UpArgs, target: &Target, output: &Output) -> anyhow::Result<ExitCode> {
    let fleet = args.jobs.fleet.fleet()?;
    let text = args.jobs.text(&fleet)?;
    if args.print {
        output.answer(text.trim_end(), "seedsweep.slurm_script/1", json!({ "script": text }));
        return Ok(ExitCode::SUCCESS);
    }
    let client = fleet::client(target).await?;
    let script = args.jobs.prepare(&fleet, &text)?;
    if let Some(warning) = fleet.tell(&client, args.jobs.token_ttl).await? {
        output.warn(warning);
    }
    let (agents, path) = (args.agents, script.clone());
    let job = fleet.ask(move |fleet| Ok(fleet.queue.submit_agents(&path, agents)?)).await?;
    let text = format!(
        "job {job}: {agents} agents, each as soon as it has nodes\nscript {}\nlogs   {}\nsee them with\n  \
         coordinator slurm status\nend them with\n  coordinator slurm down",
        script.display(),
        fleet.path(&format!("logs/agent-{job}_*.log")).display()
    );
    let answer = json!({ "job": job, "agents": agents, "script": script, "folder": fleet.folder });
    output.answer(&text, "seedsweep.slurm_up/1", answer);
    Ok(ExitCode::SUCCESS)
}

impl JobArgs {
    pub fn token_ttl(&self) -> Duration {
        self.token_ttl
    }

    /// The script's text: the user's own, or the usual one.
    pub fn text(&self, fleet: &Fleet) -> anyhow::Result<String> {
        if let Some(path) = &self.script {
            let read = std::fs::read_to_string(path);
            return read.with_context(|| format!("cannot read {}", path.display()));
        }
        let seconds = queue::seconds(&self.time).map_err(anyhow::Error::msg)?;
        if seconds < TIME_MIN_S {
            bail!(
                "--time {} leaves nothing to train in: agents are told to leave 2 minutes before the \
                 end; at least 5 minutes are needed",
                self.time
            );
        }
        let script = AgentScript {
            program: self.program(fleet)?,
            folder: fleet.folder.display().to_string(),
            gpus: self.gpus_per_agent,
            cpus: self.cpus_per_agent,
            time: self.time.clone(),
            options: options(&self.partition, &self.account, &self.mem, &self.sbatch)?,
            arguments: self.arguments.clone(),
            again: self.again,
        };
        Ok(script.text())
    }

    /// Makes the folder and puts the script into it; a user's own stays where it is.
    pub fn prepare(&self, fleet: &Fleet, text: &str) -> anyhow::Result<PathBuf> {
        fleet.make()?;
        match &self.script {
            Some(path) => Ok(path.clone()),
            None => fleet.write(SCRIPT, text),
        }
    }

    fn program(&self, fleet: &Fleet) -> anyhow::Result<Vec<String>> {
        if let Some(image) = &self.image {
            return in_image(image, &fleet.folder, self.gpus_per_agent > 0, "agent");
        }
        let path = match &self.agent {
            Some(path) => std::path::absolute(path).context("the agent has no full path")?,
            None => fleet::program_beside("agent")?,
        };
        program(&path, "--agent").map(|program| vec![program])
    }
}

/// The words before a program's arguments when it runs out of an image.
pub fn in_image(
    image: &Path,
    folder: &Path,
    gpus: bool,
    name: &str,
) -> anyhow::Result<Vec<String>> {
    let image =
        program(&std::path::absolute(image).context("the image has no full path")?, "--image")?;
    let mut words = vec!["apptainer".to_string(), "exec".to_string()];
    if gpus {
        words.push("--nv".to_string());
    }
    words.extend(["--bind".to_string(), folder.display().to_string(), image, name.to_string()]);
    Ok(words)
}

/// A file that a script may name.
pub fn program(path: &Path, flag: &str) -> anyhow::Result<String> {
    let text = path.display().to_string();
    if !path.is_file() {
        bail!("{text} is not there; name it with {flag}");
    }
    if !is_plain_path(&text) {
        bail!("{text:?} cannot stand in a batch script: copy it to a path without spaces ({flag})");
    }
    Ok(text)
}

/// Options of sbatch, as they stand in the script.
pub fn options(
    partition: &Option<String>,
    account: &Option<String>,
    mem: &Option<String>,
    further: &[String],
) -> anyhow::Result<Vec<String>> {
    let named = [("--partition", partition), ("--account", account), ("--mem", mem)];
    let named =
        named.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value).as_ref()?)));
    let all: Vec<String> = named.chain(further.iter().cloned()).collect();
    let wrong: Vec<String> = all
        .iter()
        .filter(|option| !is_option(option))
        .map(|option| format!("{option:?}"))
        .collect();
    if !wrong.is_empty() {
        bail!("{}: an option of sbatch begins with a dash and is one line", wrong.join(", "));
    }
    Ok(all)
}

const AGENTS_MAX: i64 = 1_000;
/// Two minutes before the end agents leave.
const TIME_MIN_S: u64 = 300;
/// In the shared folder.
const SCRIPT: &str = "agent.sbatch";
