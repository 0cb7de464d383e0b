//! `coordinator verify` in an output folder of `coordinator run`, with the agent in this process.
//!
//! Floor: wiring.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use common::id::StudyId;
use common::wire::message::StudyStatus;

use super::{Wish, verify_at};
use crate::cli::output::Output;
use crate::cli::run::{self, How, Opened};
use crate::cli::signal::interrupted;
use crate::cli::{connect, labels, study};
use crate::client::Client;
use crate::disk::Disk;

/// Where the study is.
pub struct Place<'a> {
    pub study: Option<&'a str>,
    /// When the study's name is that of a file.
    pub file: Option<&'a Path>,
    pub out: Option<&'a Path>,
}

pub async fn verify(
    place: Place<'_>,
    how: &How,
    wish: &Wish,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let (out, id) = match place.file {
        Some(file) => {
            let Some(read) = study::read(file, output)? else { return Ok(ExitCode::from(1)) };
            let own = || run::default_out(file, &read.checked.study.name);
            let out = place.out.map_or_else(own, Path::to_path_buf);
            (out, Some(read.checked.study.id()))
        }
        None => (place.out.map_or_else(PathBuf::new, Path::to_path_buf), None),
    };
    if !Disk::is_in(&run::data_folder(&out)) {
        bail!("{} is no output folder: `coordinator run STUDY --out {0}` makes one", out.display());
    }
    let Opened { cluster, mut agent, client } = run::open(&out, how).await?;
    let verifying = async {
        let status = find(&client, &place, id).await?;
        labels::check_here(&client.study(status.id).await?.study, &how.labels)?;
        verify_at(&client, &status, wish, output).await
    };
    let ended = tokio::select! {
        ended = verifying => ended,
        () = interrupted() => {
            output.warn("stopped; nothing has changed");
            Ok(ExitCode::from(run::INTERRUPTED))
        }
        why = cluster.handle.ended() => bail!("{why}"),
        why = agent.ended() => bail!("{why}"),
    };
    agent.stop().await?;
    cluster.handle.stop().await;
    ended
}

async fn find(
    client: &Client,
    place: &Place<'_>,
    id: Option<StudyId>,
) -> anyhow::Result<StudyStatus> {
    let status = match id {
        Some(id) => connect::status_of(client, id).await.with_context(|| {
            "this study, as its file is now, was not run in this folder".to_string()
        })?,
        None => connect::find_study(client, place.study).await?,
    };
    if status.state.goes_on() {
        // The agent of this process would train the rest of it.
        bail!(
            "{} of {} trainings of {} are done; end it with `coordinator run` first",
            status.complete + status.failed,
            status.planned,
            status.name
        );
    }
    Ok(status)
}
