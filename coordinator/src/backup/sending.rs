//! Sending a backup to the operator who asked for it, while it is made.
//!
//! Floor: shell.

use std::io::{self, BufWriter, Write};

use common::wire::message::{Bulk, Response};
use link::{FrameSender, LinkError};
use tokio::sync::mpsc;

use super::{Source, write};
use crate::driver::Handle;

/// A header, the file in chunks, an empty chunk, and how it ended.
pub async fn send(
    mut sender: FrameSender,
    handle: &Handle,
    at_least: u64,
) -> Result<(), LinkError> {
    let source = match Source::running(handle, at_least).await {
        Ok(source) => source,
        Err(why) => {
            sender.send(&Bulk::Refused { why }).await?;
            return sender.finish().await;
        }
    };
    sender.send(&Bulk::Here { bytes: source.bytes_at_least() }).await?;
    let (pieces, mut written) = mpsc::channel::<Vec<u8>>(PIECES_WAITING);
    let writing = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces));
        write(&source, &mut out).map_err(|error| error.to_string())
    });
    while let Some(piece) = written.recv().await {
        for chunk in piece.chunks(PIECE_BYTES) {
            sender.send_chunk(chunk).await?;
        }
    }
    let ended = writing.await.unwrap_or_else(|error| Err(error.to_string()));
    sender.send_chunk(&[]).await?;
    let response = match ended {
        Ok((about, outcomes)) => {
            tracing::info!(entry = about.index, outcomes, "a backup was sent");
            Response::Done
        }
        Err(why) => Response::Refused { why },
    };
    sender.send(&response).await?;
    sender.finish().await
}

/// Where a thread writes what another one sends.
struct Pieces(mpsc::Sender<Vec<u8>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(bytes.to_vec());
        sent.map_err(|_| io::Error::other("whoever asked for it is gone"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const PIECE_BYTES: usize = 256 << 10;
/// A slow receiver holds back the thread.
const PIECES_WAITING: usize = 4;
