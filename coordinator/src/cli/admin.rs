//! `coordinator token`: who may join, and as what.
//!
//! Floor: wiring.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use common::name::{NAME_MAX, is_name};
use common::wire::message::{Request, Response, Role};
use serde_json::json;

use super::output::{Output, duration, parse_duration, table};
use super::{Target, connect};
use crate::client::{Client, ClientError, TokenWish};
use crate::driver::wall_clock;

/// Join tokens.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator token create --ttl 7d --label gpu-room\n  coordinator token create --role peer --uses 1\n  coordinator token list\n  coordinator token revoke 3f9a0c11d2e4"
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
        /// What it makes of who joins with it: `agent`, `operator`, or `peer`, a further replica.
        #[arg(long, default_value = "agent", value_parser = ["agent", "operator", "peer"])]
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
    let Ok(role) = role.parse::<Role>() else {
        bail!("{role:?} is not a role; say agent, operator or peer");
    };
    if !is_name(&label) {
        bail!(
            "a label has 1 to {NAME_MAX} letters, digits, dots, dashes and underscores, no dot first"
        );
    }
    if ttl.is_zero() || uses == Some(0) {
        bail!("a token that nobody can use is of no use; give --ttl and --uses above 0");
    }
    let token = client.create_token(TokenWish { role, ttl, uses, label }).await?.expose();
    output.say(format!("good for {}; it is shown only now:", duration(ttl.as_secs())));
    output.answer(&token, "seedsweep.token/1", json!({ "token": token, "role": role.name() }));
    Ok(())
}
