//! `coordinator slurm`: agents, and coordinators, as jobs of a cluster's Slurm.
//!
//! The folder that login and compute nodes share holds all that a job needs: where the coordinators
//! are, and the join token, which only its owner may read.
//!
//! Floor: wiring.

mod coordinators;
mod fleet;
mod scale;
mod up;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Target;
use super::output::Output;

/// Agents, and coordinators, as jobs of Slurm.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    coordinator slurm up --agents 8 --gpus-per-agent 1 --time 4:00:00 --partition gpu\n  \
    coordinator slurm scale --max 32 --idle 5m --time 4:00:00\n  \
    coordinator slurm coordinators --replicas 3 --time 8:00:00\n  \
    coordinator slurm status\n  \
    coordinator slurm down")]
pub struct SlurmArgs {
    #[command(subcommand)]
    command: SlurmCommand,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum SlurmCommand {
    /// Submit jobs with one agent each.
    Up(up::UpArgs),
    /// Keep the number of agents in step with the waiting trials, until Ctrl-C.
    Scale(scale::ScaleArgs),
    /// Run the coordinators themselves as jobs, each replaced before its end.
    Coordinators(coordinators::CoordinatorsArgs),
    /// The jobs, and what their agents do.
    Status(fleet::FleetArgs),
    /// Cancel the jobs with agents; they hand back what they train.
    Down(fleet::DownArgs),
}

/// `coordinator slurm …`.
pub async fn slurm(args: SlurmArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let target = &args.target;
    match args.command {
        SlurmCommand::Up(args) => up::up(args, target, output).await,
        SlurmCommand::Scale(args) => scale::scale(args, target, output).await,
        SlurmCommand::Coordinators(args) => coordinators::coordinators(args, output).await,
        SlurmCommand::Status(args) => fleet::status(args, target, output).await,
        SlurmCommand::Down(args) => fleet::down(args, target, output).await,
    }
}
