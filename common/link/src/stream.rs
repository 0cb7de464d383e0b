//! Frames on one stream, each way.
//!
//! A frame is complete within 10 s of its first byte or the connection is closed; so is it for a
//! frame longer than allowed, judged by its header alone, and for one that is no message. Memory
//! grows with what arrived, never with what was claimed. Every call may be dropped half-way, as
//! `select!` does, and called again: no byte is lost or doubled.
//!
//! Floor: shell.

use std::sync::Arc;
use std::time::Duration;

use common::wire::frame::{self, FRAME_MAX, FrameError, HEADER_BYTES};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use crate::connection::Shared;
use crate::error::LinkError;

/// The sending half. Dropping it ends the stream; [`FrameSender::finish`] also waits for delivery.
#[derive(Debug)]
pub struct FrameSender {
    half: Writing,
    link: Arc<Shared>,
}

impl FrameSender {
    pub(crate) fn new(half: Writing, link: Arc<Shared>) -> Self {
        Self { half, link }
    }

    /// Sends one message; waits while the peer's window is full.
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), LinkError> {
        let frame = frame::encode(message).map_err(|source| self.link.frame_error(source))?;
        self.half.send(frame, self.link.limits().send_stalled).await.map_err(|f| self.fault(f))
    }

    /// Sends raw bytes as one frame, for files.
    pub async fn send_chunk(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        if bytes.len() > FRAME_MAX {
            let source = FrameError::TooLong { bytes: bytes.len(), bytes_max: FRAME_MAX };
            return Err(self.link.frame_error(source));
        }
        let mut frame = Vec::with_capacity(HEADER_BYTES + bytes.len());
        frame.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        frame.extend_from_slice(bytes);
        self.half.send(frame, self.link.limits().send_stalled).await.map_err(|f| self.fault(f))
    }

    /// Ends the stream and returns once the peer has all of it, or has said it wants no more.
    pub async fn finish(mut self) -> Result<(), LinkError> {
        let stalled = self.link.limits().send_stalled;
        self.half.finish(stalled).await.map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: Fault) -> LinkError {
        self.link.fault(fault)
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct FrameReceiver {
    half: Reading,
    link: Arc<Shared>,
}

impl FrameReceiver {
    pub(crate) fn new(half: Reading, link: Arc<Shared>) -> Self {
        Self { half, link }
    }

    /// The next message; `None` when the peer ended the stream between frames.
    pub async fn receive<T: DeserializeOwned + Serialize>(
        &mut self,
    ) -> Result<Option<T>, LinkError> {
        let within = self.link.limits().frame;
        let message = self.half.message(FRAME_MAX, within).await;
        message.map_err(|fault| self.link.fault(fault))
    }

    /// The next frame's raw bytes, for files.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        let within = self.link.limits().frame;
        let frame = self.half.frame(FRAME_MAX, within).await;
        let frame = frame.map_err(|fault| self.link.fault(fault))?;
        Ok(frame.map(|mut bytes| bytes.split_off(HEADER_BYTES)))
    }
}

/// What ended a stream, before it is known whose it was.
#[derive(Debug)]
pub(crate) enum Fault {
    Read(ReadError),
    Write(WriteError),
    CutShort,
    Slow(Duration),
    Stalled(Duration),
    Frame(FrameError),
}

/// A stream's receiving half with what arrived of the next frame.
#[derive(Debug)]
pub(crate) struct Reading {
    stream: RecvStream,
    /// Header and body so far.
    arrived: Vec<u8>,
    /// When the first byte of this frame was read.
    began: Option<Instant>,
}

impl Reading {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, arrived: Vec::new(), began: None }
    }

    pub(crate) async fn message<T: DeserializeOwned + Serialize>(
        &mut self,
        bytes_max: usize,
        within: Duration,
    ) -> Result<Option<T>, Fault> {
        let frame = self.frame(bytes_max, within).await?;
        frame
            .map(|frame| frame::decode_body(&frame[HEADER_BYTES..]).map_err(Fault::Frame))
            .transpose()
    }

    /// A whole frame, header included; `None` when the stream ended before it began.
    pub(crate) async fn frame(
        &mut self,
        bytes_max: usize,
        within: Duration,
    ) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            let header = self.arrived.first_chunk::<HEADER_BYTES>().copied();
            let wanted = match header {
                None => HEADER_BYTES,
                Some(header) => {
                    HEADER_BYTES + frame::body_length(header, bytes_max).map_err(Fault::Frame)?
                }
            };
            if header.is_some() && self.arrived.len() == wanted {
                self.began = None;
                return Ok(Some(std::mem::take(&mut self.arrived)));
            }
            // Bytes beyond this frame stay in the stream, so a dropped call leaves nothing behind.
            let next = self.stream.read_chunk(wanted - self.arrived.len(), true);
            let chunk = match self.began {
                None => next.await,
                Some(began) => {
                    timeout_at(began + within, next).await.map_err(|_| Fault::Slow(within))?
                }
            };
            match chunk.map_err(Fault::Read)? {
                Some(chunk) => {
                    self.began.get_or_insert_with(Instant::now);
                    self.arrived.extend_from_slice(&chunk.bytes);
                }
                None if self.arrived.is_empty() => return Ok(None),
                None => return Err(Fault::CutShort),
            }
        }
    }
}

/// A stream's sending half with what is still to be written of the last frame.
#[derive(Debug)]
pub(crate) struct Writing {
    stream: SendStream,
    waiting: Vec<u8>,
    written: usize,
}

impl Writing {
    pub(crate) fn new(stream: SendStream) -> Self {
        Self { stream, waiting: Vec::new(), written: 0 }
    }

    /// Writes a frame, after what an earlier call that was dropped half-way left unwritten.
    pub(crate) async fn send(&mut self, frame: Vec<u8>, stalled: Duration) -> Result<(), Fault> {
        self.flush(stalled).await?;
        (self.waiting, self.written) = (frame, 0);
        self.flush(stalled).await
    }

    pub(crate) async fn finish(&mut self, stalled: Duration) -> Result<(), Fault> {
        self.flush(stalled).await?;
        // Fails only when the peer has already said that it wants no more.
        if self.stream.finish().is_err() {
            return Ok(());
        }
        match timeout(stalled, self.stream.stopped()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(quinn::StoppedError::ConnectionLost(error))) => {
                Err(Fault::Write(WriteError::ConnectionLost(error)))
            }
            Ok(Err(quinn::StoppedError::ZeroRttRejected)) => {
                Err(Fault::Write(WriteError::ZeroRttRejected))
            }
            Err(_) => Err(Fault::Stalled(stalled)),
        }
    }

    /// Ends the stream behind what was written, without waiting for delivery.
    pub(crate) fn end(&mut self) {
        // Fails only when the peer has already said that it wants no more.
        let _ = self.stream.finish();
    }

    async fn flush(&mut self, stalled: Duration) -> Result<(), Fault> {
        while self.written < self.waiting.len() {
            let write = self.stream.write(&self.waiting[self.written..]);
            let written = timeout(stalled, write).await.map_err(|_| Fault::Stalled(stalled))?;
            self.written += written.map_err(Fault::Write)?;
        }
        Ok(())
    }
}
