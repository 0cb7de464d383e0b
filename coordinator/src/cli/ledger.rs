//! `coordinator ledger`: who was shown a study's outcomes. Looking at the ledger is no look.
//!
//! The chain is computed anew here, not believed.
//!
//! Floor: wiring.

use std::process::ExitCode;

use clap::Args;
use common::id::{Digest, StudyId};
use common::ledger::{Claim, Ledger, Look, Sealing, Stamp};
use common::wire::message::StudyStatus;
use serde_json::{Value, json};

use super::output::{Output, table};
use super::{Fresh, Target, connect};
use crate::client::Entered;
use crate::report::date;

/// Who was shown a study's scores.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coordinator ledger wdbc\n\nEvery report, export and run of a study shows scores of its test folds. Each such look is\nentered here before anything is shown, and chained to the one before by a hash. A report\nprints the hash it was written with: it stays in the chain, or the chain was changed."
)]
pub struct LedgerArgs {
    /// Name or id of the study; default: the latest.
    study: Option<String>,
    #[command(flatten)]
    fresh: Fresh,
    #[command(flatten)]
    target: Target,
}

/// `coordinator ledger STUDY`. Exit status 1 where the chain does not hold.
pub async fn ledger(args: LedgerArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?.fresh(args.fresh.fresh);
    let study = connect::find_study(&client, args.study.as_deref()).await?;
    let Entered { ledger, sealing } = client.ledger(study.id).await?;
    let sound = ledger.is_sound();
    let mut text = for_people(&study, &ledger, sound);
    sealed_for_people(&sealing).iter().for_each(|line| text.push_str(&format!("\n{line}")));
    let mut answer = for_programs(study.id, &study.name, &ledger, sound);
    answer["sealed"] = json!(sealing.sealed.as_ref().map(stamp_json));
    answer["claim"] = json!(sealing.claim.as_ref().map(claim_json));
    output.answer(&text, "seedsweep.ledger/1", answer);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn for_people(study: &StudyStatus, ledger: &Ledger, sound: bool) -> String {
    let Some(first) = ledger.first() else {
        return format!("{}: nobody was shown a score of the test folds", study.name);
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    if ledger.look(first.number).is_none() {
        rows.push(row(first, None));
    }
    rows.extend(ledger.recent().map(|(look, link)| row(look, Some(link))));
    let headings = ["look", "at", "who", "label", "for", "complete then", "link"];
    let mut text = table(&headings, rows);
    let looks = ledger.looks();
    let times = if looks == 1 { "1 look".to_string() } else { format!("{looks} looks") };
    text.push_str(&format!("\n{}: {times} at the test folds", study.name));
    let by: Vec<String> = ledger
        .by()
        .iter()
        .map(|(who, looker)| match looker.label.as_str() {
            "" => format!("{} by {who}", looker.looks),
            label => format!("{} by {who} ({label})", looker.looks),
        })
        .collect();
    text.push_str(&format!(": {}", by.join(", ")));
    let chain = if sound {
        "the chain holds"
    } else {
        "the chain does not hold: this ledger was changed, or is damaged"
    };
    text.push_str(&format!("\nhead {}: {chain}", ledger.head().hex()));
    text
}

fn sealed_for_people(sealing: &Sealing) -> Vec<String> {
    let by = |stamp: &Stamp| match stamp.label.as_str() {
        "" => format!("on {} by {}", date(stamp.at), stamp.who),
        label => format!("on {} by {} ({label})", date(stamp.at), stamp.who),
    };
    let mut lines = Vec::new();
    lines.extend(sealing.sealed.as_ref().map(|stamp| match sealing.is_closed() {
        true => format!("sealed {}: register a claim to see scores", by(stamp)),
        false => format!("sealed {}, and opened by the claim", by(stamp)),
    }));
    if let Some(claim) = &sealing.claim {
        let by = by(&claim.stamp);
        lines.push(format!(
            "claimed {by}, after {} looks, with {} trials complete: {}",
            claim.looks, claim.outcomes, claim.text
        ));
        lines.push(format!("registration {}", claim.hash().hex()));
    }
    lines
}

fn stamp_json(stamp: &Stamp) -> Value {
    json!({ "at_unix_ms": stamp.at.0, "who": stamp.who.to_string(), "label": stamp.label })
}

/// A registered claim, and what its hash is of.
pub fn claim_json(claim: &Claim) -> Value {
    let mut value = stamp_json(&claim.stamp);
    value["text"] = json!(claim.text);
    value["outcomes"] = json!(claim.outcomes);
    value["looks"] = json!(claim.looks);
    value["hashed"] = json!(claim.line());
    value["hash"] = json!(claim.hash().hex());
    value
}

fn row(look: &Look, link: Option<Digest>) -> Vec<String> {
    vec![
        look.number.to_string(),
        date(look.at),
        look.who.to_string(),
        look.label.clone(),
        look.purpose.name().to_string(),
        look.outcomes.to_string(),
        link.map_or("…".to_string(), |link| link.hex()[..LINK_SHOWN].to_string()),
    ]
}

fn for_programs(id: StudyId, name: &str, ledger: &Ledger, sound: bool) -> Value {
    let by: Vec<Value> = ledger
        .by()
        .iter()
        .map(|(who, looker)| {
            json!({ "who": who.to_string(), "label": looker.label, "looks": looker.looks })
        })
        .collect();
    let recent: Vec<Value> =
        ledger.recent().map(|(look, link)| look_json(look, Some(link))).collect();
    json!({
        "study": id.to_string(),
        "name": name,
        "looks": ledger.looks(),
        "head": ledger.head().hex(),
        "chain_holds": sound,
        "by": by,
        "first": ledger.first().map(|look| look_json(look, None)),
        "latest": recent,
    })
}

fn look_json(look: &Look, link: Option<Digest>) -> Value {
    json!({
        "look": look.number,
        "at_unix_ms": look.at.0,
        "who": look.who.to_string(),
        "label": look.label,
        "purpose": look.purpose.name(),
        "outcomes": look.outcomes,
        "study_digest": look.study.hex(),
        "split_digest": look.split.hex(),
        "chained": look.line(),
        "link": link.map(|link| link.hex()),
    })
}

/// Hexadecimal digits of a link that people are shown.
const LINK_SHOWN: usize = 12;
