//! `coordinator members`: the replicas, and everyone admitted.
//!
//! Floor: wiring.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use common::id::{MemberId, ReplicaId};
use common::wire::message::{MemberStatus, ReplicaRole, ReplicaStatus, Request, Response};
use serde_json::{Value, json};

use super::output::{Output, duration, table};
use super::{Fresh, Target, connect};
use crate::client::{Client, ClientError};
use crate::driver::wall_clock;

/// Replicas, and admitted machines and operators.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator members\n  coordinator members remove r2\n  coordinator members remove m17"
)]
pub struct MembersArgs {
    #[command(subcommand)]
    command: Option<MembersCommand>,
    #[command(flatten)]
    fresh: Fresh,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum MembersCommand {
    /// Every replica with its role, term, lag and disk, and everyone admitted.
    List,
    /// Take a replica out of the cluster, or a member's certificate out of use, now.
    Remove {
        /// As `coordinator members` shows it, such as r2 or m17.
        #[arg(value_name = "MEMBER")]
        member: String,
    },
}

/// `coordinator members …`.
pub async fn members(args: MembersArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?.fresh(args.fresh.fresh);
    match args.command.unwrap_or(MembersCommand::List) {
        MembersCommand::List => list(&client, output).await,
        MembersCommand::Remove { member } => remove(&client, &member, output).await,
    }
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<ExitCode> {
    let Response::Replicas { replicas } = client.ask(Request::Replicas).await? else {
        return Err(ClientError::Unexpected.into());
    };
    let Response::Members { members } = client.ask(Request::Members).await? else {
        return Err(ClientError::Unexpected.into());
    };
    let headings =
        ["replica", "role", "address", "term", "commit", "lag", "disk free", "heard", "version"];
    let mut people = table(&headings, replicas.iter().map(replica_row).collect());
    if let Some(warning) = warning(&replicas) {
        people.push_str(&format!("\n{warning}"));
    }
    if !members.is_empty() {
        let rows = members.iter().map(member_row).collect();
        let members = table(&["member", "role", "joined", "token's label"], rows);
        people.push_str(&format!("\n\n{members}"));
    }
    let replicas: Vec<Value> = replicas.iter().map(replica_json).collect();
    let members: Vec<Value> = members.iter().map(member_json).collect();
    let answer = json!({ "replicas": replicas, "members": members });
    output.answer(&people, "seedsweep.members/2", answer);
    Ok(ExitCode::SUCCESS)
}

async fn remove(client: &Client, member: &str, output: &Output) -> anyhow::Result<ExitCode> {
    if let Ok(replica) = member.parse::<ReplicaId>() {
        client.ask(Request::RemoveReplica { replica }).await?;
        let text = format!("{replica} is removed; to join again it begins in an empty folder");
        output.answer(&text, "seedsweep.done/1", json!({ "replica": replica.to_string() }));
        return Ok(ExitCode::SUCCESS);
    }
    let number = member.strip_prefix('m').and_then(|digits| digits.parse().ok());
    let Some(id) = number.map(MemberId) else {
        bail!(
            "{member:?} is neither a replica nor a member; `coordinator members` shows them, such \
             as r2 or m17"
        );
    };
    client.ask(Request::RemoveMember { member: id }).await?;
    let text = format!("{id} is removed; its certificate is refused from now on");
    output.answer(&text, "seedsweep.done/1", json!({ "member": id.to_string() }));
    Ok(ExitCode::SUCCESS)
}

/// What people should know about the number of replicas.
pub(super) fn warning(replicas: &[ReplicaStatus]) -> Option<String> {
    let votes = |r: &&ReplicaStatus| matches!(r.role, ReplicaRole::Leader | ReplicaRole::Follower);
    let voters: Vec<_> = replicas.iter().filter(votes).collect();
    let silent = voters.iter().filter(|r| r.silent_ms.is_none_or(|ms| ms > SILENT_MS)).count();
    let majority = voters.len() / 2 + 1;
    if voters.len() - silent < majority && !voters.is_empty() {
        return Some(format!(
            "{silent} of {} voters are silent: without {majority} nothing is decided",
            voters.len()
        ));
    }
    if voters.len().is_multiple_of(2) && !voters.is_empty() {
        let bear = (voters.len() - 1) / 2;
        return Some(format!(
            "{} voters bear the loss of {bear}, as {} would: add one, or remove one",
            voters.len(),
            voters.len() - 1
        ));
    }
    None
}

fn replica_row(replica: &ReplicaStatus) -> Vec<String> {
    let heard = match replica.silent_ms {
        Some(ms) if ms <= SILENT_MS => "now".to_string(),
        Some(ms) => format!("{} ago", duration(ms / 1_000)),
        None => "never".to_string(),
    };
    let known = |number: u64| if number == 0 { "-".to_string() } else { number.to_string() };
    vec![
        replica.replica.to_string(),
        role(replica.role).to_string(),
        replica.address.clone().unwrap_or_else(|| "-".to_string()),
        known(replica.term),
        known(replica.commit),
        replica.lag.to_string(),
        replica.disk_free.map_or("-".to_string(), |bytes| format!("{:.1} GiB", gib(bytes))),
        heard,
        replica.version.clone(),
    ]
}

fn member_row(member: &MemberStatus) -> Vec<String> {
    let ago = duration(wall_clock().since_ms(member.joined) / 1_000);
    let role = member.role.name().to_string();
    vec![member.member.to_string(), role, format!("{ago} ago"), member.label.clone()]
}

fn replica_json(replica: &ReplicaStatus) -> Value {
    json!({
        "replica": replica.replica.to_string(),
        "role": role(replica.role),
        "address": replica.address,
        "term": replica.term,
        "commit": replica.commit,
        "lag": replica.lag,
        "disk_free_bytes": replica.disk_free,
        "version": replica.version,
        "clock_unix_ms": replica.clock.map(|at| at.0),
        "silent_ms": replica.silent_ms,
    })
}

fn member_json(member: &MemberStatus) -> Value {
    json!({
        "member": member.member.to_string(),
        "role": member.role.name(),
        "joined_unix_ms": member.joined.0,
        "label": member.label,
    })
}

pub(super) fn role(role: ReplicaRole) -> &'static str {
    match role {
        ReplicaRole::Leader => "leader",
        ReplicaRole::Follower => "follower",
        ReplicaRole::Learner => "learner",
        ReplicaRole::Joining => "joining",
        ReplicaRole::Leaving => "leaving",
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Replicas say how they are every second.
pub(super) const SILENT_MS: u64 = 5_000;
