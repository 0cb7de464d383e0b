//! `coordinator watch`, and following a study for `run` and `submit --watch`.
//!
//! Floor: wiring.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use common::id::StudyId;
use common::wire::message::{Decided, Request, Response, StudyState, StudyStatus, Why};

use super::output::{Output, duration};
use super::{Target, connect, labels, look};
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
    let why = why_it_ended(&client, study.id).await?;
    say_why(&last, why.as_ref(), output);
    look::print_status(std::slice::from_ref(&last), &[], output);
    Ok(exit_code(&last, why.as_ref()))
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
    let mut warnings = labels::Warnings::new();
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
        warnings.look(client, &status, output).await;
        // A study that stops early has fewer trainings than it was planned to have.
        bar.set_length(status.planned);
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

/// What ended a study before all of it was trained, where that was its rule or its budget.
pub async fn why_it_ended(client: &Client, study: StudyId) -> Result<Option<Decided>, ClientError> {
    let stored = client.study(study).await?;
    let last = stored.decided.last().filter(|last| last.stops());
    Ok(last.cloned())
}

/// Says what ended a study early.
pub fn say_why(status: &StudyStatus, why: Option<&Decided>, output: &Output) {
    if let Some(why) = why {
        output.say(format!("{}: {}", status.name, why.words));
    }
}

/// 0 when the study ended with outcomes, 4 when its budget did before, else 1.
pub fn exit_code(status: &StudyStatus, why: Option<&Decided>) -> ExitCode {
    let spent = why.is_some_and(|why| why.why == Why::Spent);
    if status.state == StudyState::Cancelled && spent {
        return ExitCode::from(SPENT);
    }
    let good = status.state == StudyState::Finished && status.complete > 0;
    if good { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// A budget was spent before the study's end.
const SPENT: u8 = 4;

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
