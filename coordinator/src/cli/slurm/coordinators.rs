//! `coordinator slurm coordinators`: the coordinators themselves as jobs that follow each other.
//!
//! Each replica keeps its folder on the shared file system, and its jobs follow each other on it: a
//! successor begins where its predecessor has ended, on whatever node. Which node that is they tell each
//! other by files in one folder.
//!
//! Floor: wiring.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::fleet::{self, FleetArgs};
use super::up::{in_image, options, program};
use crate::cli::output::{Output, duration, parse_duration};
use crate::slurm::queue;
use crate::slurm::script::ReplicaScript;

/// Run the coordinators themselves as jobs, each replaced before its end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    coordinator slurm coordinators --replicas 3 --time 8:00:00\n  \
    coordinator slurm coordinators --replicas 3 --time 2-00:00:00 --renew 12h --partition long\n\n\
    Said again it submits only what is missing.")]
pub struct CoordinatorsArgs {
    /// How many: 3 bear the end of one.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=5))]
    replicas: u32,
    /// How long each job may run, as sbatch takes it.
    #[arg(long, value_name = "LIMIT", default_value = "8:00:00")]
    time: String,
    /// How long before a job's end its successor may take over; the longer, the longer it may wait for
    /// nodes [default: a quarter of --time].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    renew: Option<Duration>,
    /// Processors of each.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpus: u32,
    /// Memory of each job, such as 4G [default: the cluster's].
    #[arg(long, value_name = "SIZE")]
    mem: Option<String>,
    /// The partition [default: the cluster's].
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// The account that is charged [default: the user's].
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Any other option of sbatch; give it once for each option.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Run the coordinator out of this image, by `apptainer exec`.
    #[arg(long, value_name = "FILE.sif")]
    image: Option<PathBuf>,
    /// Print the script instead of submitting it.
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// `coordinator slurm coordinators`.
pub async fn coordinators(args: CoordinatorsArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let fleet = args.fleet.fleet()?;
    let time_seconds = queue::seconds(&args.time).map_err(anyhow::Error::msg)?;
    let renew_seconds = args.renew.map_or(time_seconds / 4, |renew| renew.as_secs());
    if renew_seconds < RENEW_MIN_S || renew_seconds >= time_seconds {
        bail!(
            "--renew, a quarter of --time unless given, is {}: it must be less than --time and at least \
             {}, so that every replica's successor is there before its end",
            duration(renew_seconds),
            duration(RENEW_MIN_S)
        );
    }
    let program = match &args.image {
        Some(image) => in_image(image, &fleet.folder, false, "coordinator")?,
        None => vec![program(&fleet::program_beside("coordinator")?, "--image")?],
    };
    let script = ReplicaScript {
        program,
        folder: fleet.folder.display().to_string(),
        name: fleet.queue.name().to_string(),
        cpus: args.cpus,
        time: args.time.clone(),
        time_seconds,
        renew_seconds,
        options: options(&args.partition, &args.account, &args.mem, &args.sbatch)?,
    };
    let text = script.text();
    if args.print {
        output.answer(text.trim_end(), "seedsweep.slurm_script/1", json!({ "script": text }));
        return Ok(ExitCode::SUCCESS);
    }
    fleet.make()?;
    let path = fleet.write(SCRIPT, &text)?;
    let replicas = args.replicas;
    let jobs = fleet
        .ask(move |fleet| {
            let there = fleet.queue.replica_jobs()?;
            let mut jobs = Vec::new();
            for replica in 1..=replicas {
                let name = fleet.queue.replica(replica);
                if there.iter().any(|job| job.name == name) {
                    continue;
                }
                let log = fleet.path(&format!("logs/replica-{replica}.log"));
                jobs.push(fleet.queue.submit_replica(&path, replica, &log)?);
            }
            Ok(jobs)
        })
        .await?;
    let submitted = match jobs.len() {
        0 => format!("all {replicas} coordinators are in the queue already"),
        _ => format!("coordinators as jobs {}", jobs.join(", ")),
    };
    let text = format!(
        "{submitted}\nlogs   {}\nwhen the first one runs, this user's commands find it; see it with\n  \
         coordinator members --data {}",
        fleet.path("logs/replica-*.log").display(),
        fleet.path("replica-1").display()
    );
    let answer = json!({ "jobs": jobs, "folder": fleet.folder, "data": fleet.path("replica-1") });
    output.answer(&text, "seedsweep.slurm_coordinators/1", answer);
    Ok(ExitCode::SUCCESS)
}

/// The last of five replicas has a fifth of it: two minutes, when Slurm signals the end.
const RENEW_MIN_S: u64 = 600;
/// In the shared folder; each job submits its successor from it.
const SCRIPT: &str = "coordinator.sbatch";
