//! `coordinator watch`, and following a study for `run` and `submit --watch`.
//!
//! Floor: wiring.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use common::id::StudyId;
use common::wire::message::{Request, Response, StudyState, StudyStatus};

use super::output::{Output, duration};
use super::{Target, connect, look};
use crate::client::{Client, ClientError};

/// Follow a study until it ends.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coordinator watch wdbc\n\nCtrl-C stops watching; the study goes on."
)]
pub struct WatchArgs {
    /// Name or id of the study; default: the latest.
    study: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// `coordinator watch STUDY`: a bar until the study ends, then its status.
pub async fn watch(args: WatchArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?;
    let study = connect::find_study(&client, args.study.as_deref()).await?;
    let last = follow(&client, study.id, output).await?;
    look::print_status(std::slice::from_ref(&last), output);
    Ok(exit_code(&last))
}

/// Draws progress until the study has ended; returns its last status.
pub async fn follow(
    client: &Client,
    study: StudyId,
    output: &Output,
) -> Result<StudyStatus, ClientError> {
    let mut status = connect::status_of(client, study).await?;
    let bar = output.bar(status.planned);
    let mut said = (Instant::now(), String::new());
    let mut asked = false;
    while status.state.goes_on() {
        if !asked && status.leased == 0 && bar.elapsed() >= BETWEEN_LINES {
            asked = true;
            if nobody_trains(client).await? {
                output.say(
                    "no agent is connected, so nothing is trained yet: run the `agent join` line of \
                     `coordinator start` on a machine that trains, or make another token with \
                     `coordinator token create`",
                );
            }
        }
        bar.set_position(status.complete + status.failed);
        bar.set_message(message(&status));
        if bar.is_hidden() && said.0.elapsed() >= BETWEEN_LINES {
            let done = status.complete + status.failed;
            let line = format!("{done}/{} trainings  {}", status.planned, message(&status));
            if line != said.1 {
                output.say(&line);
            }
            said = (Instant::now(), line);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        status = connect::status_of(client, study).await?;
    }
    bar.set_position(status.complete + status.failed);
    bar.finish_and_clear();
    Ok(status)
}

async fn nobody_trains(client: &Client) -> Result<bool, ClientError> {
    match client.ask(Request::Agents).await? {
        Response::Agents { agents } => Ok(!agents.iter().any(|agent| agent.connected)),
        _ => Err(ClientError::Unexpected),
    }
}

/// 0 when the study ended with outcomes, else 1.
pub fn exit_code(status: &StudyStatus) -> ExitCode {
    let good = status.state == StudyState::Finished && status.complete > 0;
    if good { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn message(status: &StudyStatus) -> String {
    let left = match status.seconds_left {
        _ if status.state == StudyState::Paused => "paused".to_string(),
        Some(seconds) => format!("{} left", duration(seconds)),
        None if status.leased == 0 => "waiting for agents".to_string(),
        None => "starting".to_string(),
    };
    let failed =
        if status.failed > 0 { format!("  {} failed", status.failed) } else { String::new() };
    format!("{:.0}/s  {left}{failed}", status.rate)
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(150);
const BETWEEN_LINES: Duration = Duration::from_secs(5);
