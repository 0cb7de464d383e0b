//! `coordinator seal` and `register`: a claim that is made before scores are seen.
//!
//! Both are in the log: a claim cannot be changed, nor moved before a look.
//!
//! Floor: wiring.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use common::id::StudyId;
use common::ledger::not_a_claim;
use serde_json::json;

use super::ledger::claim_json;
use super::output::Output;
use super::{Target, connect};
use crate::client::Client;

/// Show nobody a study's scores until what it should show is registered.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coordinator seal wdbc\n\nReports, exports and programs' output are refused until `coordinator register` was called. A study\nwhose scores somebody has seen cannot be sealed; `coordinator submit --sealed` is soonest. What\nagents keep on their own machines is not sealed."
)]
pub struct SealArgs {
    /// Name or id of the study.
    study: String,
    #[command(flatten)]
    target: Target,
}

/// Register what a study should show, before its scores are seen.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coordinator register wdbc --claim \"mlp beats linear by more than 0.01 in AUROC\"\n\nThe claim stands for ever: another one is refused. Reports print it, its hash, and how often scores\nwere looked at before."
)]
pub struct RegisterArgs {
    /// Name or id of the study.
    study: String,
    /// What it should show, in a sentence.
    #[arg(long, value_name = "TEXT", value_parser = claim)]
    claim: String,
    #[command(flatten)]
    target: Target,
}

/// `coordinator seal STUDY`.
pub async fn seal(args: SealArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?;
    let study = connect::find_study(&client, Some(&args.study)).await?;
    let closed = sealed(&client, study.id).await?;
    let text = match closed {
        true => format!("{} is sealed: {}", study.name, opened_by(study.id)),
        false => format!("{} was sealed, and its claim has opened it", study.name),
    };
    let answer = json!({ "study": study.id.to_string(), "name": study.name, "closed": closed });
    output.answer(&text, "seedsweep.seal/1", answer);
    Ok(ExitCode::SUCCESS)
}

/// Seals a study; whether no score of it is shown now: a claim may have opened it since.
pub async fn sealed(client: &Client, study: StudyId) -> anyhow::Result<bool> {
    let not = format!("study {study} is not sealed; `coordinator cancel {study}` stops it");
    client.seal(study).await.context(not)?;
    Ok(client.ledger(study).await?.sealing.is_closed())
}

/// What opens a sealed study.
pub fn opened_by(study: StudyId) -> String {
    format!("register what it should show with `coordinator register {study} --claim \"…\"`")
}

/// `coordinator register STUDY --claim TEXT`.
pub async fn register(args: RegisterArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?;
    let study = connect::find_study(&client, Some(&args.study)).await?;
    let claim = registered(&client, study.id, args.claim, output).await?;
    let hash = claim["hash"].as_str().unwrap_or_default();
    let text = format!("{}: registered as {hash}", study.name);
    let answer = json!({ "study": study.id.to_string(), "name": study.name, "claim": claim });
    output.answer(&text, "seedsweep.register/1", answer);
    Ok(ExitCode::SUCCESS)
}

/// Registers a claim, and warns where scores were seen before it; the claim as it stands.
pub async fn registered(
    client: &Client,
    study: StudyId,
    text: String,
    output: &Output,
) -> anyhow::Result<serde_json::Value> {
    client.register(study, text).await?;
    let Some(claim) = client.ledger(study).await?.sealing.claim else {
        anyhow::bail!("the claim is registered, and this coordinator has not heard of it yet");
    };
    if claim.looks > 0 {
        let times = if claim.looks == 1 { "once".into() } else { format!("{} times", claim.looks) };
        output
            .warn(format!("scores of these test rows were looked at {times} before this claim; reports will say so"));
    }
    Ok(claim_json(&claim))
}

/// A text that can be a claim.
pub fn claim(text: &str) -> Result<String, String> {
    match not_a_claim(text) {
        Some(why) => Err(why),
        None => Ok(text.to_string()),
    }
}
