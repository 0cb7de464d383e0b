//! The program's commands: parse, run, print.
//!
//! stdout is the answer, stderr the talk. Exit status: 0 done, 1 failed, 2 wrong usage, 3 no
//! coordinator reached.
//!
//! Floor: wiring.

mod devices;
mod join;
mod log;
mod train;
mod until;

use std::io::{self, Write};
use std::process::{self, ExitCode};
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::program::{ExecArgs, exec};

/// Trains the trials that a seedsweep coordinator hands out.
#[derive(Parser)]
#[command(name = "agent", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    talk: Talk,
}

#[derive(Args)]
struct Talk {
    /// Say nothing but errors
    #[arg(long, short, global = true, display_order = 100)]
    quiet: bool,
    /// What to log to stderr, such as `info` or `link=debug`; RUST_LOG does the same
    #[arg(long, global = true, value_name = "FILTER", display_order = 101)]
    log: Option<String>,
    /// How to log: lines for people, or a JSON object a line, with study, trial and agent as fields
    #[arg(
        long,
        global = true,
        env = "SEEDSWEEP_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "human",
        display_order = 102
    )]
    log_format: log::Format,
}

#[derive(Subcommand)]
enum Command {
    Join(Box<join::JoinArgs>),
    Devices(devices::DevicesArgs),
    Train(train::TrainArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    Exec(ExecArgs),
}

/// Print a completion script for a shell
#[derive(Args)]
#[command(
    after_help = "Example:\n  agent completions bash > ~/.local/share/bash-completion/completions/agent"
)]
struct CompletionsArgs {
    shell: Shell,
}

/// Why a command ends with another status than 0.
struct Failure {
    status: u8,
    error: anyhow::Error,
}

impl Failure {
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { status: USAGE, error: error.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { status: FAILED, error }
    }
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let (quiet, format) = (cli.talk.quiet, cli.talk.log_format);
    let logs = format == log::Format::Json;
    let started = log::start(cli.talk.log.as_deref(), format);
    let ended = started.and_then(|()| match cli.command {
        Command::Join(args) => join::join(*args, quiet, logs),
        Command::Devices(args) => devices::devices(args).map(|()| DONE),
        Command::Train(args) => train::train(args).map(|()| DONE),
        Command::Completions(args) => {
            clap_complete::generate(args.shell, &mut Cli::command(), "agent", &mut io::stdout());
            Ok(DONE)
        }
        Command::Exec(args) => process::exit(exec(args).into()),
    });
    match ended {
        Ok(status) => status.into(),
        Err(Failure { status, error }) => {
            let text = printable(&format!("{error:#}"));
            if logs {
                log::last_word(&text);
            } else {
                eprintln!("error: {text}");
            }
            ExitCode::from(status)
        }
    }
}

/// Prints an answer. A reader that went away is no failure.
fn answer(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot print").into())
        }
        _ => Ok(()),
    }
}

/// The text without control characters: some of it was written by other machines.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// Reads `25s`, `500ms`, `2m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("say a number with ms, s, m or h, such as 25s".to_string()),
    };
    let number: u64 = number.parse().map_err(|_| "say a whole number, such as 25s".to_string())?;
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(|| "too long".to_string())
}

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{help}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("25s"), Ok(Duration::from_secs(25)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for refused in ["25", "s", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(duration(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn escape_codes_are_not_printed() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a [31mb\nc");
    }
}
