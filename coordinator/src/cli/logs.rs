//! `coordinator logs`: what a trial's own program wrote to stdout and stderr.
//!
//! It comes from the agent that runs the program, or ran it last: the last mebibyte, as it was
//! written. It is not the answer of a question but its stream, so it goes to stdout byte by byte.
//!
//! Floor: wiring.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use common::id::{LeaseId, StudyId, TrialIndex};
use common::wire::message::{LogPart, Request, Response};
use serde_json::json;

use super::output::Output;
use super::{Target, connect, explain};
use crate::client::{Client, ClientError};

/// What a trial's own program wrote, and how far it is.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator logs 17\n  coordinator logs wdbc:17 --follow\n  coordinator logs wdbc:17 --json"
)]
pub struct LogsArgs {
    /// Number of the trial, of the latest study or as STUDY:TRIAL.
    #[arg(value_name = "TRIAL")]
    trial: String,
    /// Go on until the attempt ends.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

/// `coordinator logs TRIAL`.
pub async fn logs(args: LogsArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let (study, trial) = explain::trial_of(&args.trial)?;
    let client = connect::client(&args.target).await?;
    let study = connect::find_study(&client, study).await?;
    let name = (study.id, trial);
    let (mut from, mut whole) = (0, Vec::new());
    let mut attempt: Option<LeaseId> = None;
    let (agent, last) = loop {
        let (agent, part) = ask(&client, name, from).await?;
        if attempt.replace(part.lease).is_some_and(|before| before != part.lease) {
            output.say(format!("another attempt began: {}", part.lease));
            if from > 0 {
                from = 0;
                continue;
            }
        }
        if output.is_json() {
            whole.extend(&part.bytes);
        } else if print(&part.bytes).is_err() {
            // A reader that went away has what it wanted.
            return Ok(ExitCode::SUCCESS);
        }
        from = part.from + part.bytes.len() as u64;
        if from < part.written {
            continue;
        }
        if !args.follow || !part.running {
            break (agent, part);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    };
    let state = if last.running { "running" } else { "ended" };
    if output.is_json() {
        let answer = json!({
            "study": study.id.to_string(),
            "trial": trial.0,
            "attempt": last.lease.to_string(),
            "agent": agent.to_string(),
            "state": state,
            "said": last.state,
            "written_bytes": last.written,
            "log": String::from_utf8_lossy(&whole),
        });
        output.answer("", "seedsweep.logs/1", answer);
    } else {
        let told = if last.state.is_empty() { String::new() } else { format!(": {}", last.state) };
        output.say(format!("attempt {} on agent {agent}, {state}{told}", last.lease));
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(
    client: &Client,
    (study, trial): (StudyId, TrialIndex),
    from: u64,
) -> anyhow::Result<(common::id::MemberId, LogPart)> {
    match client.ask(Request::Log { study, trial, from }).await? {
        Response::Log { agent, part } => Ok((agent, part)),
        _ => Err(ClientError::Unexpected).context("a log was asked for"),
    }
}

/// As it was written, but for what would steer a terminal.
fn print(bytes: &[u8]) -> std::io::Result<()> {
    let harmless = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\n' | b'\t' | b'\r');
    let printable: Vec<u8> = bytes.iter().copied().filter(harmless).collect();
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&printable).and_then(|()| stdout.flush())
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
