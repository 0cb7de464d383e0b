//! Sending a snapshot to a replica that is too far behind for the log, and receiving one.
//!
//! Floor: shell.

use std::sync::Arc;
use std::time::Duration;

use common::id::ReplicaId;
use common::wire::message::peer::{RaftMessage, SnapshotPart};
use common::wire::message::{Open, Response};
use link::{FrameReceiver, FrameSender, LinkError};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use super::{Peers, chain};
use crate::disk::{DiskError, Image};
use crate::driver::{Event, Handle};
use crate::node::Input;
use crate::replica::incoming::{Cutter, Incoming, PART_BYTES, Taken, TransferError};

/// Why a snapshot was not sent or taken.
#[derive(Debug, Error)]
pub enum SnapshotError {
    #[error("the snapshot is held no longer")]
    Gone,
    #[error("there is no connection")]
    Apart,
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error("the other replica says: {why}")]
    Refused { why: String },
    #[error("the stream ended before the snapshot did")]
    CutShort,
}

impl Peers {
    /// Sends `image` to a replica, and tells the node how that went.
    pub(crate) async fn send_snapshot(
        &self,
        (to, number): (ReplicaId, u64),
        message: RaftMessage,
        image: Option<Arc<Image>>,
    ) {
        let sent = match image {
            Some(image) => self.stream(to, message, image).await,
            None => Err(SnapshotError::Gone),
        };
        if let Err(error) = &sent {
            tracing::info!(replica = %to, why = %chain(error), "a snapshot was not sent");
        }
        let arrived = sent.is_ok();
        let sent = Input::SnapshotSent { to, number, arrived };
        let _ = self.inputs.send(Event::Input(Box::new(sent)));
    }

    async fn stream(
        &self,
        to: ReplicaId,
        message: RaftMessage,
        image: Arc<Image>,
    ) -> Result<(), SnapshotError> {
        let link = self.link(to).ok_or(SnapshotError::Apart)?;
        let (mut sender, mut receiver) = link.open(&Open::Snapshot).await?;
        tracing::info!(replica = %to, entry = image.index, "sending a snapshot");
        let (mut cutter, begin) = Cutter::begin(message, random());
        sender.send(&begin).await?;
        for piece in image.state.chunks(PART_BYTES) {
            sender.send(&cutter.state(piece.to_vec())).await?;
        }
        let mut from = Some(crate::disk::Place::default());
        while let Some(place) = from {
            let image = Arc::clone(&image);
            let read = tokio::task::spawn_blocking(move || image.rows(place, PART_BYTES)).await;
            let (rows, next) = read.map_err(|_| SnapshotError::Gone)??;
            if !rows.is_empty() {
                sender.send(&cutter.rows(rows)).await?;
            }
            from = next;
        }
        sender.send(&cutter.end()).await?;
        sender.finish().await?;
        match receiver.receive::<Response>().await? {
            Some(Response::Done) => Ok(()),
            Some(Response::Refused { why }) => Err(SnapshotError::Refused { why }),
            _ => Err(SnapshotError::CutShort),
        }
    }
}

/// Takes a snapshot from the leader `from`; it is installed, or of no use, when this returns.
pub async fn receive(
    from: ReplicaId,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
    handle: &Handle,
) -> Result<(), LinkError> {
    let response = match take(from, &mut receiver, handle).await {
        Ok(()) => Response::Done,
        Err(SnapshotError::Link(error)) => return Err(error),
        Err(error) => {
            tracing::warn!(replica = %from, why = %chain(&error), "a snapshot was not taken");
            Response::Refused { why: chain(&error) }
        }
    };
    sender.send(&response).await?;
    sender.finish().await
}

async fn take(
    from: ReplicaId,
    receiver: &mut FrameReceiver,
    handle: &Handle,
) -> Result<(), SnapshotError> {
    let (_place, disk) = handle.incoming().await;
    let mut incoming = Incoming::default();
    loop {
        let part = tokio::time::timeout(PART_WITHIN, receiver.receive::<SnapshotPart>()).await;
        let part = part.map_err(|_| SnapshotError::CutShort)??.ok_or(SnapshotError::CutShort)?;
        let keep = match incoming.take(part)? {
            Taken::Nothing => continue,
            Taken::Begun => None,
            Taken::Rows(rows) => Some(rows),
            Taken::Whole { message, state } => {
                if message.from != from.0.get() {
                    return Err(TransferError::OtherTransfer.into());
                }
                let disk = Arc::clone(&disk);
                blocking(move || disk.finish_incoming()).await?;
                handle.snapshot_arrived(message, state).await;
                return Ok(());
            }
        };
        let disk = Arc::clone(&disk);
        blocking(move || match keep {
            Some(rows) => disk.stage_incoming(&rows),
            None => disk.begin_incoming(),
        })
        .await?;
    }
}

async fn blocking(
    work: impl FnOnce() -> Result<(), DiskError> + Send + 'static,
) -> Result<(), SnapshotError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(SnapshotError::CutShort),
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness two transfers are still told apart by their connections.
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// The next part comes within this, or the sender is gone.
const PART_WITHIN: Duration = Duration::from_secs(30);
