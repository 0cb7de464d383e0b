//! `coordinator report --studies A,B,C`: one report over several finished studies.
//!
//! Everything that can be refused is, before any outcome is shown: a refusal is no look. Then each
//! study is looked at once, and its ledger says so.
//!
//! Floor: wiring.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use common::ledger::Purpose;
use common::wire::message::{StudyState, StudyStatus};
use serde_json::json;

use super::files::{Format, material, naming, replace, write_to};
use super::output::Output;
use super::{connect, register};
use crate::client::Client;
use crate::report::Material;
use crate::report::several::{self, content::Several};

/// Writes the report over the studies that `names` mean.
pub async fn report(
    client: &Client,
    names: &[String],
    format: Option<Format>,
    out: Option<PathBuf>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let built = built(client, names).await?;
    if let Some(format) = format {
        let text = match format {
            Format::Html => several::html(&built),
            Format::Md => several::markdown(&built),
            Format::Tex => several::latex(&built),
            Format::Json => several::json(&built),
        };
        write_to(out.as_deref(), text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let out = out.unwrap_or_else(|| PathBuf::from(FOLDER));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let files = [
        ("report.html", several::html(&built)),
        ("report.json", several::json(&built)),
        ("report.md", several::markdown(&built)),
        ("report.tex", several::latex(&built)),
    ];
    let mut paths = Vec::new();
    for (name, text) in files {
        let path = out.join(name);
        replace(&path, text.as_bytes())?;
        paths.push(path);
    }
    let text = format!("{}\n{}", built.verdict.text, naming(&paths));
    let answer = json!({
        "files": paths,
        "verdict": built.verdict.text,
        "verdict_kind": built.verdict.kind,
    });
    output.answer(&text, "seedsweep.files/1", answer);
    Ok(ExitCode::SUCCESS)
}

async fn built(client: &Client, names: &[String]) -> anyhow::Result<Several> {
    let mut found: Vec<StudyStatus> = Vec::new();
    for name in names {
        found.push(connect::find_study(client, Some(name.trim())).await?);
    }
    found.iter().try_for_each(finished)?;
    let mut stored = Vec::new();
    for status in &found {
        stored.push(client.study(status.id).await?);
    }
    let studies: Vec<_> = stored.iter().map(|stored| &stored.study).collect();
    several::fit_together(&studies)?;
    for status in &found {
        // Before the first look, which would count although nothing was shown.
        let closed = client.ledger(status.id).await.is_ok_and(|kept| kept.sealing.is_closed());
        if closed {
            bail!("{} is sealed: {}", status.name, register::opened_by(status.id));
        }
    }
    let mut shown = Vec::new();
    for status in &found {
        shown.push(client.look(status.id, Purpose::Report).await?);
    }
    let materials: Vec<Material<'_>> = (stored.iter().zip(&shown).zip(&found))
        .map(|((stored, shown), status)| material(stored, shown, status))
        .collect();
    Ok(several::build(&materials)?)
}

/// A study that goes on would be reported as it is by chance just now.
fn finished(status: &StudyStatus) -> anyhow::Result<()> {
    let name = &status.name;
    let ended = status.complete + status.failed;
    match status.state {
        StudyState::Finished => Ok(()),
        StudyState::Active => bail!(
            "{name} has not finished: {ended} of {} trials have ended; wait with `coordinator watch \
             {name}`, or leave it out of --studies",
            status.planned
        ),
        StudyState::Paused => bail!(
            "{name} is paused with {ended} of {} trials ended; `coordinator resume {name}`, or leave it \
             out of --studies",
            status.planned
        ),
        StudyState::Cancelled => bail!(
            "{name} was cancelled with {ended} of {} trials ended; submit it again under another name, or leave it \
             out of --studies",
            status.planned
        ),
    }
}

/// Where the files go unless told otherwise.
const FOLDER: &str = "studies";
