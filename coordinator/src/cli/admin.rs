//! `coordinator token` and `members`: who may join, who has.
//!
//! Floor: wiring.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use common::id::MemberId;
use common::wire::message::{Request, Response, Role};
use serde_json::json;

use super::output::{Output, duration, parse_duration, table};
use super::{Target, connect};
use crate::client::{Client, ClientError};
use crate::driver::{LABEL_BYTES_MAX, wall_clock};

/// Join tokens.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator token create --ttl 7d --label gpu-room\n  coordinator token list\n  coordinator token revoke 3f9a0c11d2e4"
)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token; it is shown once.
    Create {
        /// What it makes of who joins with it: `agent` or `operator`.
        #[arg(long, default_value = "agent", value_parser = ["agent", "operator"])]
        role: String,
        /// How long it is good for.
        #[arg(long, default_value = "24h", value_parser = parse_duration, value_name = "TIME")]
        ttl: Duration,
        /// How many machines may join with it; default: any number.
        #[arg(long, value_name = "N")]
        uses: Option<u32>,
        /// A name for people.
        #[arg(long, default_value = "unnamed")]
        label: String,
    },
    /// Tokens that exist, without their secrets.
    List,
    /// Make a token useless; who has joined with it stays.
    Revoke {
        /// As `coordinator token list` shows it.
        id: String,
    },
}

/// Admitted machines and operators.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  coordinator members list\n  coordinator members remove m17")]
pub struct MembersArgs {
    #[command(subcommand)]
    command: MembersCommand,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum MembersCommand {
    /// Everyone admitted.
    List,
    /// Take a member's certificate out of use, now.
    Remove {
        /// As `coordinator members list` shows it, such as m17.
        member: String,
    },
}

/// `coordinator token …`.
pub async fn token(args: TokenArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?;
    match args.command {
        TokenCommand::Create { role, ttl, uses, label } => {
            create_token(&client, &role, (ttl, uses, label), output).await?;
        }
        TokenCommand::List => {
            let Response::Tokens { tokens } = client.ask(Request::Tokens).await? else {
                return Err(ClientError::Unexpected.into());
            };
            let now = wall_clock();
            let left = |expires: common::time::Timestamp| match expires.since_ms(now) / 1000 {
                0 => "expired".to_string(),
                seconds => duration(seconds),
            };
            let uses = |uses: Option<u32>| uses.map_or("any".to_string(), |uses| uses.to_string());
            let rows = tokens
                .iter()
                .map(|t| {
                    let (role, label) = (t.role.name().to_string(), t.label.clone());
                    vec![t.id.clone(), role, uses(t.uses_left), left(t.expires), label]
                })
                .collect();
            let list: Vec<_> = tokens
                .iter()
                .map(|t| {
                    json!({
                        "id": t.id,
                        "role": t.role.name(),
                        "uses_left": t.uses_left,
                        "expires_unix_ms": t.expires.0,
                        "label": t.label,
                    })
                })
                .collect();
            let people = table(&["id", "role", "uses left", "good for", "label"], rows);
            output.answer(&people, "seedsweep.tokens/1", json!({ "tokens": list }));
        }
        TokenCommand::Revoke { id } => {
            client.ask(Request::RevokeToken { id: id.clone() }).await?;
            output.answer(
                &format!("token {id} is revoked"),
                "seedsweep.done/1",
                json!({ "id": id }),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a token and shows it, once.
async fn create_token(
    client: &Client,
    role: &str,
    (ttl, uses, label): (Duration, Option<u32>, String),
    output: &Output,
) -> anyhow::Result<()> {
    let Ok(role @ (Role::Agent | Role::Operator)) = role.parse() else {
        bail!("{role:?} is not a role; say agent or operator");
    };
    if !label.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        || label.len() > LABEL_BYTES_MAX
    {
        bail!("a label has at most {LABEL_BYTES_MAX} letters, digits, dots, dashes, underscores");
    }
    if ttl.is_zero() || uses == Some(0) {
        bail!("a token that nobody can use is of no use; give --ttl and --uses above 0");
    }
    let ttl_ms = ttl.as_millis() as u64;
    let request = Request::CreateToken { role, ttl_ms, uses, label };
    let Response::Token { token } = client.ask(request).await? else {
        return Err(ClientError::Unexpected.into());
    };
    output.say(format!("good for {}; it is shown only now:", duration(ttl.as_secs())));
    output.answer(&token, "seedsweep.token/1", json!({ "token": token, "role": role.name() }));
    Ok(())
}

/// `coordinator members …`.
pub async fn members(args: MembersArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?;
    match args.command {
        MembersCommand::List => {
            let Response::Members { members } = client.ask(Request::Members).await? else {
                return Err(ClientError::Unexpected.into());
            };
            let now = wall_clock();
            let rows = members
                .iter()
                .map(|m| {
                    let ago = format!("{} ago", duration(now.since_ms(m.joined) / 1000));
                    vec![m.member.to_string(), m.role.name().to_string(), ago, m.label.clone()]
                })
                .collect();
            let list: Vec<_> = members
                .iter()
                .map(|m| {
                    json!({
                        "member": m.member.to_string(),
                        "role": m.role.name(),
                        "joined_unix_ms": m.joined.0,
                        "label": m.label,
                    })
                })
                .collect();
            let people = table(&["member", "role", "joined", "token's label"], rows);
            output.answer(&people, "seedsweep.members/1", json!({ "members": list }));
        }
        MembersCommand::Remove { member } => {
            let number = member.strip_prefix('m').and_then(|digits| digits.parse().ok());
            let id = number.map(MemberId).with_context(|| {
                format!("{member:?} is not a member; `coordinator members list` shows them")
            })?;
            client.ask(Request::RemoveMember { member: id }).await?;
            let text = format!("{id} is removed; its certificate is refused from now on");
            output.answer(&text, "seedsweep.done/1", json!({ "member": id.to_string() }));
        }
    }
    Ok(ExitCode::SUCCESS)
}
