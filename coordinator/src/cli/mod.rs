//! The command line: one file a group of commands.
//!
//! parse → resolve → run → print. stdout is the answer, stderr the talk. Exit status: 0 done, 1 the
//! study or command failed, 2 wrong usage, 3 no coordinator reached, 4 budget spent.
//!
//! Floor: wiring.

mod admin;
mod analyze;
mod backup;
mod calibrate;
mod connect;
mod control;
#[cfg(feature = "embedded")]
mod demo;
mod doctor;
mod explain;
mod files;
mod labels;
mod ledger;
mod log;
mod logs;
mod look;
mod members;
mod output;
#[cfg(feature = "embedded")]
mod plan;
mod register;
mod repeat;
#[cfg(feature = "embedded")]
mod run;
mod secret;
mod signal;
mod slurm;
mod start;
mod studies;
mod study;
mod submit;
mod verify;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use output::Output;

/// Runs many small trainings over seeds, folds and hyperparameters, and reports how much of a score
/// is luck.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command has.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Shared {
    /// Answer in JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    /// Say only the answer and errors.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// What to log on stderr, such as `info` or `coordinator=debug`.
    #[arg(long, global = true, env = "RUST_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How to log: lines for people, or a JSON object a line, with study, trial and agent as fields.
    #[arg(
        long,
        global = true,
        env = "SEEDSWEEP_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "human"
    )]
    log_format: log::Format,
}

/// Which coordinator is meant.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which coordinator")]
pub struct Target {
    /// The data folder of the coordinator on this machine.
    #[arg(long, global = true, env = "SEEDSWEEP_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of a coordinator elsewhere; of several, separated by commas, any will do.
    #[arg(
        long,
        global = true,
        env = "SEEDSWEEP_COORDINATOR",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    coordinator: Vec<String>,
    /// An operator token, needed the first time with `--coordinator`.
    #[arg(
        long,
        global = true,
        env = "SEEDSWEEP_OPERATOR_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

/// How current an answer has to be.
#[derive(Clone, Copy, Debug, Args)]
pub struct Fresh {
    /// Ask so that the answer has seen all that was acknowledged to anybody, whichever replica gives it.
    #[arg(long)]
    fresh: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a demonstration study with real data and run it, to the report.
    #[cfg(feature = "embedded")]
    Demo(demo::DemoArgs),
    /// Run a study file in this process, to the report.
    #[cfg(feature = "embedded")]
    Run(run::RunArgs),
    /// Start a coordinator for agents to join.
    Start(start::StartArgs),
    /// Check a study file and its data; say everything that is wrong.
    Check(study::CheckArgs),
    /// What a study would train, what it takes, and what it could detect.
    #[cfg(feature = "embedded")]
    Plan(plan::PlanArgs),
    /// Send a study to the coordinator.
    Submit(submit::SubmitArgs),
    /// All studies, a line each.
    List(look::LookArgs),
    /// How far studies are.
    Status(look::StatusArgs),
    /// Follow a study until it ends.
    Watch(watch::WatchArgs),
    /// Write a study's report.
    Report(files::ReportArgs),
    /// Write a study's outcomes as a table.
    Export(files::ExportArgs),
    /// Who was shown a study's scores, when, and what for.
    Ledger(ledger::LedgerArgs),
    /// Show nobody a study's scores until what it should show is registered.
    Seal(register::SealArgs),
    /// Register what a study should show, before its scores are seen.
    Register(register::RegisterArgs),
    /// Stop a study; what is complete is kept.
    Cancel(control::CancelArgs),
    /// Start nothing more of a study.
    Pause(control::PauseArgs),
    /// Go on with a study that was paused.
    Resume(control::ResumeArgs),
    /// Serve a study before others, or after them.
    Priority(control::PriorityArgs),
    /// Train failed trials again.
    Retry(control::RetryArgs),
    /// Let a study grow by seeds; only what is new is trained.
    Extend(control::ExtendArgs),
    /// Say where a trial is, and why it is not running.
    Explain(explain::ExplainArgs),
    /// What a trial's own program wrote, and how far it is.
    Logs(logs::LogsArgs),
    /// Write the report on any table of scores, or fit a mixed model to it.
    Analyze(analyze::AnalyzeArgs),
    /// Hold the report's claims against studies whose truth is known.
    Calibrate(calibrate::CalibrateArgs),
    /// Check this machine and the cluster; say what to mend.
    Doctor(doctor::DoctorArgs),
    /// Train some complete trials again and say whether their outcomes are the same.
    Verify(repeat::VerifyArgs),
    /// Read everything in a data folder and say whether it is sound.
    VerifyLog(verify::VerifyLogArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    /// The machines that train.
    Agents(look::LookArgs),
    /// Join tokens: create, list, revoke.
    Token(admin::TokenArgs),
    /// Make the secret by which replicas find each other, and their agents' token.
    Secret(secret::SecretArgs),
    /// Replicas, and admitted machines and operators: list, remove.
    Members(members::MembersArgs),
    /// Agents, and coordinators, as jobs of a cluster's Slurm.
    Slurm(slurm::SlurmArgs),
    #[cfg(feature = "embedded")]
    #[command(hide = true)]
    Exec(run::ExecArgs),
    /// Completions for a shell.
    #[command(
        after_help = "Example:\n  coordinator completions bash > ~/.local/share/bash-completion/completions/coordinator"
    )]
    Completions {
        shell: Shell,
    },
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    #[cfg(feature = "embedded")]
    if let Command::Exec(args) = cli.command {
        return ExitCode::from(run::exec(args));
    }
    let is_log_json = cli.shared.log_format == log::Format::Json;
    let output = Output::new(cli.shared.json, cli.shared.quiet).logging(is_log_json);
    let default_log = if matches!(cli.command, Command::Start(_)) { "info" } else { "error" };
    log::start(cli.shared.log.as_deref().unwrap_or(default_log), cli.shared.log_format);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the program's threads cannot be started: {error}");
            return ExitCode::from(1);
        }
    };
    let ended = runtime.block_on(async {
        let ended = dispatch(cli, &output).await;
        // A connection that was closed still has to say so.
        tokio::time::sleep(FAREWELL).await;
        ended
    });
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) => output.failure(&error),
    }
}

async fn dispatch(cli: Cli, output: &Output) -> anyhow::Result<ExitCode> {
    match cli.command {
        #[cfg(feature = "embedded")]
        Command::Demo(args) => demo::demo(args, output).await,
        #[cfg(feature = "embedded")]
        Command::Run(args) => run::run(args, output).await,
        Command::Start(args) => start::start(args, output).await,
        Command::Check(args) => study::check(args, output),
        #[cfg(feature = "embedded")]
        Command::Plan(args) => plan::plan(args, output).await,
        Command::Submit(args) => submit::submit(args, output).await,
        Command::List(args) => look::list(args, output).await,
        Command::Status(args) => look::status(args, output).await,
        Command::Watch(args) => watch::watch(args, output).await,
        Command::Report(args) => files::report(args, output).await,
        Command::Export(args) => files::export(args, output).await,
        Command::Ledger(args) => ledger::ledger(args, output).await,
        Command::Seal(args) => register::seal(args, output).await,
        Command::Register(args) => register::register(args, output).await,
        Command::Cancel(args) => control::cancel(args, output).await,
        Command::Pause(args) => control::pause(args, output).await,
        Command::Resume(args) => control::resume(args, output).await,
        Command::Priority(args) => control::priority(args, output).await,
        Command::Retry(args) => control::retry(args, output).await,
        Command::Extend(args) => control::extend(args, output).await,
        Command::Explain(args) => explain::explain(args, output).await,
        Command::Logs(args) => logs::logs(args, output).await,
        #[cfg(feature = "embedded")]
        Command::Exec(args) => Ok(ExitCode::from(run::exec(args))),
        Command::Analyze(args) => analyze::analyze(args, output),
        Command::Calibrate(args) => calibrate::calibrate(args, output).await,
        Command::Doctor(args) => doctor::doctor(args, output).await,
        Command::Verify(args) => repeat::verify(args, output).await,
        Command::VerifyLog(args) => verify::verify_log(args, output).await,
        Command::Backup(args) => backup::backup(args, output).await,
        Command::Restore(args) => backup::restore(args, output).await,
        Command::Agents(args) => look::agents(args, output).await,
        Command::Token(args) => admin::token(args, output).await,
        Command::Secret(args) => secret::secret(args, output),
        Command::Members(args) => members::members(args, output).await,
        Command::Slurm(args) => slurm::slurm(args, output).await,
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "coordinator",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

const FAREWELL: Duration = Duration::from_millis(10);

const EXAMPLES: &str = "\
Examples:
  coordinator demo                        a real study on real data, in seconds
  coordinator run study.toml              a study of your own, on this machine
  coordinator start                       a coordinator; it prints how agents join
  coordinator submit study.toml --watch   the same study on all agents\n\nExit status: 0 done, 1 the study or command failed, 2 wrong usage, 3 no coordinator reached, 4 a budget was spent, 130 after Ctrl-C.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
        }
    }
}
