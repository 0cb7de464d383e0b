//! A backup over the network: the file's bytes as the coordinator makes them.
//!
//! Floor: shell.

use std::sync::atomic::Ordering;

use common::wire::message::{Bulk, Open, Request, Response};

use super::{Client, ClientError, Remote, Way};

impl Client {
    /// All that was acknowledged to anybody until now. `take` is given the bytes in order, with the
    /// length that is known of at first; what it cannot keep ends the transfer with its reason.
    pub async fn backup(
        &self,
        mut take: impl FnMut(&[u8], u64) -> Result<(), String>,
    ) -> Result<(), ClientError> {
        // An answer that is from no past, so that none of it is missing.
        self.ask(Request::Status { study: None }).await?;
        let at_least = self.seen.load(Ordering::Relaxed);
        match &self.way {
            Way::There(remote) => remote.backup(at_least, &mut take).await,
            Way::Here(_) => Err(ClientError::Unexpected),
        }
    }
}

impl Remote {
    async fn backup(
        &self,
        at_least: u64,
        take: &mut impl FnMut(&[u8], u64) -> Result<(), String>,
    ) -> Result<(), ClientError> {
        let (address, link) = self.link().await?;
        let failed = |source| ClientError::Unreachable { address: address.clone(), source };
        let (sender, mut receiver) = link.open(&Open::Backup { at_least }).await.map_err(failed)?;
        sender.finish().await.map_err(failed)?;
        let length = match receiver.receive::<Bulk>().await.map_err(failed)? {
            Some(Bulk::Here { bytes }) => bytes,
            Some(Bulk::Refused { why }) => return Err(ClientError::Refused { why }),
            None => return Err(ClientError::Unexpected),
        };
        while let Some(chunk) = receiver.chunk().await.map_err(failed)? {
            if chunk.is_empty() {
                // What follows says how it ended.
                return match receiver.receive::<Response>().await.map_err(failed)? {
                    Some(Response::Done) => Ok(()),
                    Some(Response::Refused { why }) => Err(ClientError::Refused { why }),
                    _ => Err(ClientError::Unexpected),
                };
            }
            take(&chunk, length).map_err(|why| ClientError::Refused { why })?;
        }
        Err(ClientError::Unexpected)
    }
}
