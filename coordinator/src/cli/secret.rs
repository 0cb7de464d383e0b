//! `coordinator secret`: what replicas that find each other are given, and what their agents are.
//!
//! Asks no coordinator: all follows from the secret, so that there is a token before there is a cluster.
//! Each file is its owner's alone, and a secret that is there is never written over.
//!
//! Floor: wiring.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use common::wire::message::Role;
use link::FoundingSecret;
use serde_json::json;

use super::output::Output;

/// Make the secret by which replicas find each other, and their agents' token.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator secret secrets\n  coordinator start --cluster a:7461,b:7461,c:7461 --me a:7461 --secret-file secrets/cluster-secret\n  agent join a:7461 b:7461 c:7461 --token-file secrets/agent-token\n\nThe secret is for coordinators alone: who has it can become one. The token is good for as long as the cluster's authority, ten years; `coordinator token revoke` ends it."
)]
pub struct SecretArgs {
    /// The folder of the two files, `cluster-secret` and `agent-token`; made when it is absent. Where
    /// there is a secret, only the token is written.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// `coordinator secret DIR`.
pub fn secret(args: SecretArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let folder = &args.folder;
    let cannot = || format!("cannot make the folder {}", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(cannot)?;
    let (secret_file, token_file) = (folder.join(SECRET_FILE), folder.join(AGENT_FILE));
    let is_new = !secret_file.exists();
    let secret = match is_new {
        true => {
            let secret = FoundingSecret::draw()?;
            write(&secret_file, &secret.expose())?;
            secret
        }
        false => fs::read_to_string(&secret_file)
            .with_context(|| format!("cannot read {}", secret_file.display()))?
            .parse()
            .with_context(|| format!("in {}", secret_file.display()))?,
    };
    if token_file.exists() {
        fs::remove_file(&token_file)
            .with_context(|| format!("cannot replace {}", token_file.display()))?;
    }
    write(&token_file, &secret.token(Role::Agent)?.expose())?;
    let made = if is_new { "a new one" } else { "as it was" };
    let text = format!(
        "for coordinators alone: {} ({made})\nfor agents: {}",
        secret_file.display(),
        token_file.display()
    );
    let answer = json!({ "secret_file": secret_file, "token_file": token_file, "new": is_new });
    output.answer(&text, "seedsweep.secret/1", answer);
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

const SECRET_FILE: &str = "cluster-secret";
const AGENT_FILE: &str = "agent-token";
