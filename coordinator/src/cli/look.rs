//! `coordinator list`, `status` and `agents`: looking without touching.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use common::id::MemberId;
use common::label::{self, Labels};
use common::time::Timestamp;
use common::wire::message::{
    AgentStatus, Request, Response, Stay, StudyState, StudyStatus, Wanting,
};
use serde_json::{Value, json};

use super::control::in_ranges;
use super::output::{Output, duration, table};
use super::{Fresh, Target, connect, labels};
use crate::client::{Client, ClientError};
use crate::driver::wall_clock;

/// How far studies are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  coordinator status\n  coordinator status wdbc --json")]
pub struct StatusArgs {
    /// Name or id of the study; default: all of them.
    study: Option<String>,
    #[command(flatten)]
    fresh: Fresh,
    #[command(flatten)]
    target: Target,
}

/// What there is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  coordinator list\n  coordinator agents --json")]
pub struct LookArgs {
    #[command(flatten)]
    fresh: Fresh,
    #[command(flatten)]
    target: Target,
}

/// `coordinator list`: a line a study.
pub async fn list(args: LookArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?.fresh(args.fresh.fresh);
    let studies = all(&client).await?;
    let rows = studies
        .iter()
        .map(|study| {
            let done = format!("{}/{}", study.complete + study.failed, study.planned);
            vec![study.id.to_string(), study.name.clone(), state(study), done, ago(study.submitted)]
        })
        .collect();
    let people = if studies.is_empty() {
        "no studies yet".to_string()
    } else {
        table(&["id", "name", "state", "done", "submitted"], rows)
    };
    output.answer(&people, "seedsweep.status/1", json!({ "studies": studies_json(&studies) }));
    Ok(ExitCode::SUCCESS)
}

/// `coordinator status [STUDY]`.
pub async fn status(args: StatusArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?.fresh(args.fresh.fresh);
    let studies = match &args.study {
        None => all(&client).await?,
        Some(name) => vec![connect::find_study(&client, Some(name)).await?],
    };
    let wanting = labels::wanting(&client, &studies).await;
    print_status(&studies, &wanting, output);
    Ok(ExitCode::SUCCESS)
}

/// Prints what `status` and `watch` know.
pub fn print_status(studies: &[StudyStatus], wanting: &[Wanting], output: &Output) {
    let rows = studies
        .iter()
        .map(|study| {
            let left = match (study.state, study.seconds_left) {
                (StudyState::Active, Some(seconds)) => duration(seconds),
                (StudyState::Active, None) => "unknown".to_string(),
                _ => "-".to_string(),
            };
            let counts = [study.planned, study.complete, study.failed, study.waiting, study.leased];
            let mut row = vec![study.id.to_string(), study.name.clone(), state(study)];
            row.extend(counts.iter().map(u64::to_string));
            row.push(left);
            row
        })
        .collect();
    let headings =
        ["id", "name", "state", "planned", "complete", "failed", "waiting", "leased", "time left"];
    let mut people = if studies.is_empty() {
        "no studies yet; send one with `coordinator submit STUDY`".to_string()
    } else {
        table(&headings, rows)
    };
    for study in studies {
        for (reason, count) in &study.failures {
            people.push_str(&format!("\n{}: {count} attempts ended with: {reason}", study.name));
        }
        if !study.poison.is_empty() {
            let count = study.poison.len() as u64;
            people.push_str(&format!(
                "\n{}: given up as poison, since agents died of them: trial {}",
                study.name,
                in_ranges(&study.poison, count)
            ));
        }
        if study.differing > 0 {
            people.push_str(&format!(
                "\n{}: {} trials gave another outcome when trained again; training is not \
                 reproducible on these agents",
                study.name, study.differing
            ));
        }
    }
    for want in wanting {
        people.push_str(&format!("\n{}", labels::in_words(want, studies)));
    }
    let wanting: Vec<Value> = wanting.iter().map(wanting_json).collect();
    let answer = json!({ "studies": studies_json(studies), "wanting": wanting });
    output.answer(&people, "seedsweep.status/1", answer);
}

fn wanting_json(want: &Wanting) -> Value {
    let requires = want.requires.iter().map(|(key, values)| (key.clone(), json!(values)));
    json!({
        "study": want.study.to_string(),
        "arms": want.arms,
        "requires": Value::Object(requires.collect()),
        "agents": want.agents,
    })
}

/// `coordinator agents`: the machines that train.
pub async fn agents(args: LookArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?.fresh(args.fresh.fresh);
    let Response::Agents { agents } = client.ask(Request::Agents).await? else {
        return Err(ClientError::Unexpected.into());
    };
    // A coordinator of before there were labels does not know the question.
    let known = client.labels().await.map(|(agents, _)| agents).unwrap_or_default();
    let known: BTreeMap<MemberId, Labels> = known.into_iter().collect();
    let (none, stays) = (Labels::none(), client.stays().await?);
    let further = |agent: &AgentStatus| Further {
        labels: known.get(&agent.member).unwrap_or(&none),
        stay: stays.iter().rev().find(|stay| stay.member == agent.member),
    };
    let rows = agents.iter().map(|agent| agent_row(agent, further(agent))).collect();
    let headings = [
        "agent", "state", "host", "device", "lanes", "leased", "complete", "failed", "labels",
        "ends", "address", "heard",
    ];
    let mut people = if agents.is_empty() {
        "no agents yet; `coordinator start` prints how they join".to_string()
    } else {
        table(&headings, rows)
    };
    for agent in &agents {
        if let Some(why) = &agent.set_aside {
            people.push_str(&format!(
                "\n{} is given nothing: {why}; start it again when that is mended",
                agent.member
            ));
        }
    }
    let list: Vec<Value> = agents.iter().map(|agent| agent_json(agent, further(agent))).collect();
    output.answer(&people, "seedsweep.agents/1", json!({ "agents": list }));
    Ok(ExitCode::SUCCESS)
}

async fn all(client: &Client) -> anyhow::Result<Vec<StudyStatus>> {
    match client.ask(Request::Status { study: None }).await? {
        Response::Status { studies } => Ok(studies),
        _ => Err(ClientError::Unexpected.into()),
    }
}

/// What is told of an agent beside its [`AgentStatus`].
#[derive(Clone, Copy)]
struct Further<'a> {
    labels: &'a Labels,
    stay: Option<&'a Stay>,
}

fn agent_row(agent: &AgentStatus, Further { labels, stay }: Further<'_>) -> Vec<String> {
    // Host and device have columns of their own.
    let further = labels.iter().filter(|(key, _)| ![label::HOST, label::DEVICE].contains(key));
    let further: Vec<String> = further.map(|(key, value)| format!("{key}={value}")).collect();
    let ends = match stay.and_then(|stay| stay.ends).map(|ends| ends.since_ms(wall_clock())) {
        Some(0) => "over".to_string(),
        Some(left_ms) => format!("in {}", duration(left_ms / 1_000)),
        None => "-".to_string(),
    };
    let state = match (&agent.set_aside, agent.connected) {
        (Some(_), _) => "set aside",
        (None, true) => "connected",
        (None, false) => "away",
    };
    vec![
        agent.member.to_string(),
        state.to_string(),
        agent.about.host.clone(),
        format!("{} ({})", agent.about.device, agent.about.model),
        agent.about.lanes.to_string(),
        agent.leased.to_string(),
        agent.complete.to_string(),
        agent.failed.to_string(),
        if further.is_empty() { "-".to_string() } else { further.join(" ") },
        ends,
        agent.address.clone(),
        ago(agent.heard),
    ]
}

fn agent_json(agent: &AgentStatus, Further { labels, stay }: Further<'_>) -> Value {
    let labels = labels.iter().map(|(key, value)| (key.to_string(), json!(value)));
    json!({
        "member": agent.member.to_string(),
        "host": agent.about.host,
        "device": agent.about.device,
        "model": agent.about.model,
        "version": agent.about.version,
        "lanes": agent.about.lanes,
        "cohort_lanes": agent.about.cohort_lanes,
        "leased": agent.leased,
        "complete": agent.complete,
        "failed": agent.failed,
        "labels": Value::Object(labels.collect()),
        "interrupted": stay.map(|stay| stay.interrupted),
        "ends_unix_ms": stay.and_then(|stay| stay.ends).map(|ends| ends.0),
        "address": agent.address,
        "connected": agent.connected,
        "set_aside": agent.set_aside,
        "heard_unix_ms": agent.heard.0,
    })
}

fn studies_json(studies: &[StudyStatus]) -> Vec<Value> {
    let failures = |study: &StudyStatus| {
        let pairs = study.failures.iter().map(|(reason, count)| (reason.clone(), json!(count)));
        Value::Object(pairs.collect())
    };
    let one = |study: &StudyStatus| {
        json!({
            "id": study.id.to_string(),
            "name": study.name,
            "state": state(study),
            "priority": study.priority,
            "planned": study.planned,
            "complete": study.complete,
            "failed": study.failed,
            "cancelled": study.cancelled,
            "waiting": study.waiting,
            "leased": study.leased,
            "seconds_left": study.seconds_left,
            "rate": study.rate,
            "failures": failures(study),
            "poison": study.poison.iter().map(|trial| trial.0).collect::<Vec<_>>(),
            "differing": study.differing,
            "submitted_unix_ms": study.submitted.0,
            "finished_unix_ms": study.finished.map(|at| at.0),
        })
    };
    studies.iter().map(one).collect()
}

fn state(study: &StudyStatus) -> String {
    match study.state {
        StudyState::Active if study.leased > 0 => "active",
        StudyState::Active => "waiting",
        StudyState::Paused => "paused",
        StudyState::Finished => "finished",
        StudyState::Cancelled => "cancelled",
    }
    .to_string()
}

fn ago(at: Timestamp) -> String {
    format!("{} ago", duration(wall_clock().since_ms(at) / 1000))
}
