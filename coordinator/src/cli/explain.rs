//! `coordinator explain`: where a trial is, and why.
//!
//! Floor: wiring.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use common::id::TrialIndex;
use common::wire::message::{Explanation, PastFailure, Request, Response, TrialPlace};
use serde_json::{Value, json};

use super::output::{Output, duration};
use super::{Target, connect};
use crate::client::ClientError;
use crate::driver::wall_clock;

/// Say where a trial is, and why it is not running.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator explain 17\n  coordinator explain wdbc:17\n  coordinator explain wdbc:17 --json"
)]
pub struct ExplainArgs {
    /// Number of the trial, of the latest study or as STUDY:TRIAL.
    #[arg(value_name = "TRIAL")]
    trial: String,
    #[command(flatten)]
    target: Target,
}

/// `coordinator explain TRIAL`.
pub async fn explain(args: ExplainArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let (study, trial) = trial_of(&args.trial)?;
    let client = connect::client(&args.target).await?;
    let study = connect::find_study(&client, study).await?;
    let request = Request::Explain { study: study.id, trial };
    let Response::Explained(explanation) = client.ask(request).await? else {
        return Err(ClientError::Unexpected.into());
    };
    let data = client.study(study.id).await?.study.data;
    let text = format!(
        "study {}, {}\ndata {} with digest {}",
        study.name,
        in_words(&explanation),
        data.path,
        data.digest.hex()
    );
    let mut answer = for_programs(&explanation);
    answer["study"] = json!(study.id.to_string());
    answer["data_digest"] = json!(data.digest.hex());
    output.answer(&text, "seedsweep.explain/1", answer);
    Ok(ExitCode::SUCCESS)
}

/// Reads `17` or `STUDY:17`.
pub fn trial_of(text: &str) -> anyhow::Result<(Option<&str>, TrialIndex)> {
    let (study, trial) = match text.rsplit_once(':') {
        Some((study, trial)) => (Some(study), trial),
        None => (None, text),
    };
    let trial = trial.parse().map(TrialIndex);
    let trial = trial
        .with_context(|| format!("{text:?} is no trial; write its number, or STUDY:NUMBER"))?;
    Ok((study, trial))
}

fn in_words(explanation: &Explanation) -> String {
    let mut text =
        format!("trial {}: {}\n{}", explanation.trial, place(&explanation.state), explanation.cell);
    for reason in &explanation.reasons {
        text.push_str(&format!("\n- {reason}"));
    }
    let now = wall_clock();
    for PastFailure { agent, reason, detail, at, .. } in &explanation.failures {
        let ago = duration(now.since_ms(*at) / 1_000);
        text.push_str(&format!("\n- {ago} ago on agent {agent}: {}: {detail}", reason.name()));
    }
    text
}

fn place(state: &TrialPlace) -> &'static str {
    match state {
        TrialPlace::Waiting => "waiting",
        TrialPlace::Leased { .. } => "leased",
        TrialPlace::Complete => "complete",
        TrialPlace::Failed => "failed",
        TrialPlace::Cancelled => "cancelled",
    }
}

fn for_programs(explanation: &Explanation) -> Value {
    let failures = explanation.failures.iter().map(|failure| {
        json!({
            "lease": failure.lease.to_string(),
            "agent": failure.agent.to_string(),
            "reason": failure.reason.name(),
            "detail": failure.detail,
            "at_unix_ms": failure.at.0,
        })
    });
    let lease = match &explanation.state {
        TrialPlace::Leased { lease, agent, left_ms } => json!({
            "lease": lease.to_string(),
            "agent": agent.to_string(),
            "left_ms": left_ms,
        }),
        _ => Value::Null,
    };
    json!({
        "trial": explanation.trial.0,
        "cell": explanation.cell,
        "state": place(&explanation.state),
        "leased": lease,
        "reasons": explanation.reasons,
        "own_failures": explanation.own_failures,
        "losses": explanation.losses,
        "attempts_allowed": explanation.attempts_allowed,
        "failures": failures.collect::<Vec<_>>(),
    })
}
