//! Data files on every replica: copied to a majority before a study is taken, to the rest after.
//!
//! A study whose data lay on the leader alone would stop with that leader's disk.
//!
//! Floor: shell.

use std::time::Duration;

use common::id::Digest;
use common::wire::message::{Bulk, Open, Response};
use link::{Link, LinkError};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::content::{Content, ContentError};
use crate::driver::{CHUNK_BYTES, Handle};

/// Why a file was not copied.
#[derive(Debug, Error)]
pub enum CopyError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error("{why}")]
    Refused { why: String },
    #[error("the answer was to another question")]
    Unexpected,
}

/// Sees to it that a majority of the voters has the data; else the answer to whoever submits.
pub async fn ensure(handle: &Handle, digest: &Digest, study: &str) -> Result<(), Response> {
    if !handle.content().has(digest) && !fetch_from_anyone(handle, digest).await {
        return Err(Response::NeedsData);
    }
    let voters = handle.look(|node| node.replica().voters().voters).await.unwrap_or_default();
    let majority = voters.len() / 2 + 1;
    let mut have = usize::from(voters.contains(&handle.own().0.get()));
    if have >= majority {
        return Ok(());
    }
    let mut copies = JoinSet::new();
    for (id, link) in handle.peers().others() {
        if let Some(link) = link.filter(|_| voters.contains(&id.0.get())) {
            let (content, digest) = (handle.content().clone(), *digest);
            copies.spawn(async move { copy(&link, &content, digest).await });
        }
    }
    let until = tokio::time::Instant::now() + COPY_WITHIN;
    while have < majority {
        match tokio::time::timeout_at(until, copies.join_next()).await {
            Ok(Some(Ok(Ok(())))) => have += 1,
            Ok(Some(failed)) => {
                if let Ok(Err(error)) = failed {
                    tracing::warn!(%error, "the data could not be copied to another replica");
                }
            }
            Ok(None) | Err(_) => {
                let why = format!(
                    "the data of study {study} reached {have} of {} replicas; a majority must have \
                     them: see `coordinator members`",
                    voters.len()
                );
                return Err(Response::Refused { why });
            }
        }
    }
    // The others get theirs while the study already runs.
    copies.detach_all();
    Ok(())
}

async fn copy(link: &Link, content: &Content, digest: Digest) -> Result<(), CopyError> {
    let read = |offset| {
        let content = content.clone();
        tokio::task::spawn_blocking(move || content.read(&digest, offset, CHUNK_BYTES))
    };
    let absent = || ContentError::Absent { digest: digest.hex() };
    let (_, bytes) = read(0).await.map_err(|_| absent())??;
    let (mut sender, mut receiver) = link.open(&Open::Upload { digest, bytes }).await?;
    let mut offset = match receiver.receive::<Bulk>().await? {
        Some(Bulk::Here { bytes }) => bytes,
        Some(Bulk::Refused { why }) => return Err(CopyError::Refused { why }),
        None => return Err(CopyError::Unexpected),
    };
    while offset < bytes {
        let (chunk, _) = read(offset).await.map_err(|_| absent())??;
        offset += chunk.len() as u64;
        sender.send_chunk(&chunk).await?;
    }
    sender.finish().await?;
    match receiver.receive::<Response>().await? {
        Some(Response::Done) => Ok(()),
        Some(Response::Refused { why }) => Err(CopyError::Refused { why }),
        _ => Err(CopyError::Unexpected),
    }
}

async fn fetch_from_anyone(handle: &Handle, digest: &Digest) -> bool {
    for (id, link) in handle.peers().others() {
        let Some(link) = link else { continue };
        match fetch(&link, handle.content(), *digest).await {
            Ok(()) => return true,
            Err(error) => tracing::debug!(replica = %id, %error, "no data there"),
        }
    }
    false
}

async fn fetch(link: &Link, content: &Content, digest: Digest) -> Result<(), CopyError> {
    let (_sender, mut receiver) = link.open(&Open::Fetch { digest, offset: 0 }).await?;
    let bytes = match receiver.receive::<Bulk>().await? {
        Some(Bulk::Here { bytes }) => bytes,
        Some(Bulk::Refused { why }) => return Err(CopyError::Refused { why }),
        None => return Err(CopyError::Unexpected),
    };
    let mut arriving = content.arrive(&digest, bytes)?;
    arriving.restart()?;
    while let Some(chunk) = receiver.chunk().await? {
        arriving.append(&chunk)?;
    }
    let finishing = tokio::task::spawn_blocking(move || arriving.finish());
    Ok(finishing.await.map_err(|_| CopyError::Unexpected)??)
}

/// For as long as this coordinator runs: gets the data of every study that it lacks, and notices when
/// the others no longer want it.
pub async fn keep_data(handle: Handle) {
    let caring = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            handle.peers().look_for_removal();
            if handle.peers().others().is_empty() {
                continue;
            }
            let wanted = handle.look(|node| {
                let studies = node.state().studies.values();
                studies.map(|record| record.study.data.digest).collect::<Vec<Digest>>()
            });
            for digest in wanted.await.unwrap_or_default() {
                if !handle.content().has(&digest) && fetch_from_anyone(&handle, &digest).await {
                    tracing::info!(digest = %digest.hex(), "got the data of a study");
                }
            }
        }
    };
    tokio::select! {
        () = caring => {}
        _ = handle.ended() => {}
    }
}

const COPY_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_secs(2);
