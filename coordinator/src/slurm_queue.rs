//! Slurm's own commands: submits, lists and cancels jobs as the user at the keyboard would.
//!
//! No argument ever holds a secret: whoever is logged in sees them.
//!
//! Floor: shell.

use std::path::Path;
use std::process::{Command, Stdio};

use thiserror::Error;

use crate::slurm::queue::{self, FORMAT, Job};

/// The jobs of one user whose names begin alike.
#[derive(Clone, Debug)]
pub struct Queue {
    name: String,
}

/// Why Slurm did not do what it was told.
#[derive(Debug, Error)]
pub enum SlurmError {
    #[error(
        "there is no `{program}` here: run this on a login node of the cluster, where Slurm's commands \
         are on the path (on some after `module load slurm`)"
    )]
    Absent { program: &'static str },
    #[error("`{program}` cannot be run: {source}")]
    Unusable { program: &'static str, source: std::io::Error },
    #[error("{program} refused: {said}")]
    Refused { program: &'static str, said: String },
    #[error(transparent)]
    Unread(#[from] queue::QueueError),
}

impl Queue {
    /// `name`: what the names of its jobs begin with.
    pub fn of(name: &str) -> Self {
        Self { name: name.to_string() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Submits `script` as `agents` jobs of one array; the array's number.
    pub fn submit_agents(&self, script: &Path, agents: u32) -> Result<String, SlurmError> {
        let array = format!("--array=1-{agents}");
        let name = format!("--job-name={}", self.agents());
        self.submit(&[array, name], script, &[])
    }

    /// Submits `script` as the job of a replica.
    pub fn submit_replica(
        &self,
        script: &Path,
        replica: u32,
        log: &Path,
    ) -> Result<String, SlurmError> {
        let name = format!("--job-name={}", self.replica(replica));
        let output = format!("--output={}", log.display());
        self.submit(&[name, output], script, &[replica.to_string()])
    }

    fn submit(
        &self,
        options: &[String],
        script: &Path,
        arguments: &[String],
    ) -> Result<String, SlurmError> {
        let script = script.display().to_string();
        let mut words = vec!["--parsable".to_string()];
        words.extend(options.iter().cloned());
        words.push(script);
        words.extend(arguments.iter().cloned());
        Ok(queue::submitted(&run("sbatch", &words)?)?)
    }

    /// The jobs with agents, in the queue's order.
    pub fn agent_jobs(&self) -> Result<Vec<Job>, SlurmError> {
        let name = self.agents();
        self.jobs(|job| job == name)
    }

    /// The jobs of all replicas.
    pub fn replica_jobs(&self) -> Result<Vec<Job>, SlurmError> {
        let begin = self.replica_prefix();
        self.jobs(|job| job.starts_with(&begin))
    }

    fn jobs(&self, ours: impl Fn(&str) -> bool) -> Result<Vec<Job>, SlurmError> {
        let user = rustix::process::getuid().as_raw();
        let words = ["--noheader", "--array", "--format", FORMAT].map(str::to_string);
        let mut words = words.to_vec();
        words.push(format!("--user={user}"));
        Ok(queue::jobs(&run("squeue", &words)?, ours)?)
    }

    /// Cancels jobs; scancel says nothing of one that has ended meanwhile.
    pub fn cancel(&self, jobs: &[String]) -> Result<(), SlurmError> {
        if jobs.is_empty() {
            return Ok(());
        }
        run("scancel", jobs).map(|_| ())
    }

    fn agents(&self) -> String {
        format!("{}-agents", self.name)
    }

    /// The name of a replica's jobs, one of which follows the other.
    pub fn replica(&self, replica: u32) -> String {
        format!("{}{replica}", self.replica_prefix())
    }

    fn replica_prefix(&self) -> String {
        format!("{}-replica-", self.name)
    }
}

/// Runs a command to its end; its stdout.
fn run(program: &'static str, words: &[String]) -> Result<String, SlurmError> {
    // Settings of the user for other jobs, which would change what is asked for or how it is answered;
    // and what no job needs, but would be given with the rest of the environment.
    let settings = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        let slurms = ["SBATCH_", "SQUEUE_", "SCANCEL_"].iter().any(|begin| name.starts_with(begin));
        slurms || SECRETS.contains(&name.as_ref())
    });
    let mut command = Command::new(program);
    settings.for_each(|name| _ = command.env_remove(name));
    let output =
        command.args(words).stdin(Stdio::null()).output().map_err(|source| {
            match source.kind() {
                std::io::ErrorKind::NotFound => SlurmError::Absent { program },
                _ => SlurmError::Unusable { program, source },
            }
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(SlurmError::Refused { program, said: lines.join("; ") })
}

/// Variables that may hold a token.
const SECRETS: [&str; 3] = ["SEEDSWEEP_TOKEN", "SEEDSWEEP_PEER_TOKEN", "SEEDSWEEP_OPERATOR_TOKEN"];
