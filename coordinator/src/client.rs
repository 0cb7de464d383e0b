//! An operator's way to a coordinator: over a socket, or to the one in this process.
//!
//! A lost answer is asked for again, but for commands about tokens and members: asked twice they
//! would make two, or find nothing to remove.
//!
//! Floor: shell.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::id::{Digest, StudyId, TrialIndex};
use common::study::Study;
use common::time::Timestamp;
use common::wire::message::{Bulk, Open, OutcomeRow, Request, Response};
use link::{Identity, Link, LinkError};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::driver::{CHUNK_BYTES, Handle};

/// A coordinator that can be asked.
pub enum Client {
    /// In this process.
    Here(Handle),
    There(Remote),
}

/// A coordinator at an address, reconnected to as needed.
pub struct Remote {
    address: String,
    identity: Identity,
    kept: Option<PathBuf>,
    link: Mutex<Option<Link>>,
}

/// Why a question has no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("the coordinator at {address} cannot be reached: {source}")]
    Unreachable { address: String, source: LinkError },
    #[error(
        "no coordinator has run in {}; start one with `coordinator start`, or name another \
         machine's with --coordinator HOST:PORT", folder.display()
    )]
    NoCoordinator { folder: PathBuf },
    #[error("{why}")]
    Refused { why: String },
    #[error("the coordinator gave an answer to another question; are both of the same version?")]
    Unexpected,
}

/// A study as the coordinator keeps it.
pub struct StoredStudy {
    pub study: Study,
    pub text: String,
    pub submitted: Timestamp,
}

impl Client {
    /// Connects now, so that an unreachable coordinator is told at once.
    ///
    /// `kept`: the folder with the identity, where a renewed one belongs.
    pub async fn connect(
        address: &str,
        identity: Identity,
        kept: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let (address, kept) = (address.to_string(), kept.map(Path::to_path_buf));
        let remote = Remote { address, identity, kept, link: Mutex::new(None) };
        remote.link().await?;
        Ok(Self::There(remote))
    }

    /// Asks; a refusal is an error.
    pub async fn ask(&self, request: Request) -> Result<Response, ClientError> {
        let response = match self {
            Client::Here(handle) => handle.ask(request).await,
            Client::There(remote) => remote.ask(request).await?,
        };
        match response {
            Response::Refused { why } => Err(ClientError::Refused { why }),
            answer => Ok(answer),
        }
    }

    /// Submits a study, sending its data first when the coordinator lacks it. True when it was known.
    pub async fn submit(
        &self,
        study: Study,
        text: String,
        data: &[u8],
    ) -> Result<(StudyId, bool), ClientError> {
        self.send_data(&study.data.digest, data).await?;
        match self.ask(Request::Submit { study: Box::new(study), text }).await? {
            Response::Submitted { study, known } => Ok((study, known)),
            _ => Err(ClientError::Unexpected),
        }
    }

    async fn send_data(&self, digest: &Digest, data: &[u8]) -> Result<(), ClientError> {
        let there = self.ask(Request::HasData { digest: *digest }).await?;
        if matches!(there, Response::HasData { complete: true }) {
            return Ok(());
        }
        match self {
            Client::Here(handle) => {
                let kept = handle.content().put(data);
                kept.map(|_| ()).map_err(|error| ClientError::Refused { why: error.to_string() })
            }
            Client::There(remote) => remote.upload(digest, data).await,
        }
    }

    pub async fn study(&self, study: StudyId) -> Result<StoredStudy, ClientError> {
        match self.ask(Request::Study { study }).await? {
            Response::Study { study, text, submitted } => {
                Ok(StoredStudy { study: *study, text, submitted })
            }
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Every outcome of a study, in trial order.
    pub async fn outcomes(&self, study: StudyId) -> Result<Vec<OutcomeRow>, ClientError> {
        let (mut all, mut from) = (Vec::new(), Some(TrialIndex(0)));
        while let Some(first) = from {
            match self.ask(Request::Outcomes { study, from: first }).await? {
                Response::Outcomes { rows, next } => {
                    all.extend(rows);
                    from = next;
                }
                _ => return Err(ClientError::Unexpected),
            }
        }
        Ok(all)
    }
}

impl Remote {
    async fn link(&self) -> Result<Link, ClientError> {
        let mut kept = self.link.lock().await;
        if let Some(link) = kept.as_ref() {
            return Ok(link.clone());
        }
        let link = link::connect(&self.address, &self.identity)
            .await
            .map_err(|source| ClientError::Unreachable { address: self.address.clone(), source })?;
        *kept = Some(link.clone());
        self.renew(&link).await;
        Ok(link)
    }

    /// Takes a new certificate well before the old one ends, where one is kept. That it fails is no
    /// reason not to answer: the old one is good for days.
    async fn renew(&self, link: &Link) {
        let due = self.identity.is_due(SystemTime::now()).unwrap_or(false);
        if let (Some(folder), true) = (&self.kept, due) {
            let renewed = link::renew(link, &self.identity).await;
            if let Err(error) = renewed.and_then(|identity| identity.save(folder)) {
                tracing::warn!(%error, "this operator's certificate could not be renewed");
            }
        }
    }

    async fn ask(&self, request: Request) -> Result<Response, ClientError> {
        let once = matches!(
            request,
            Request::CreateToken { .. }
                | Request::RevokeToken { .. }
                | Request::RemoveMember { .. }
        );
        let mut tries = 0;
        loop {
            tries += 1;
            let asked = self.ask_once(&request).await;
            let again = match &asked {
                Err(ClientError::Unreachable { source, .. }) => !source.is_refusal() && !once,
                _ => false,
            };
            if !again || tries >= TRIES {
                return asked;
            }
            *self.link.lock().await = None;
            tokio::time::sleep(BETWEEN_TRIES * tries).await;
        }
    }

    async fn ask_once(&self, request: &Request) -> Result<Response, ClientError> {
        let link = self.link().await?;
        let failed = |source| match source {
            // It was reached, and said no.
            LinkError::Closed { why, .. } if why.starts_with("not allowed") => {
                ClientError::Refused { why }
            }
            source => ClientError::Unreachable { address: self.address.clone(), source },
        };
        let (mut sender, mut receiver) = link.open(&Open::Request).await.map_err(failed)?;
        sender.send(request).await.map_err(failed)?;
        sender.finish().await.map_err(failed)?;
        receiver.receive().await.map_err(failed)?.ok_or(ClientError::Unexpected)
    }

    async fn upload(&self, digest: &Digest, data: &[u8]) -> Result<(), ClientError> {
        let link = self.link().await?;
        let failed = |source| ClientError::Unreachable { address: self.address.clone(), source };
        let open = Open::Upload { digest: *digest, bytes: data.len() as u64 };
        let (mut sender, mut receiver) = link.open(&open).await.map_err(failed)?;
        let offset = match receiver.receive::<Bulk>().await.map_err(failed)? {
            Some(Bulk::Here { bytes }) => bytes as usize,
            Some(Bulk::Refused { why }) => return Err(ClientError::Refused { why }),
            None => return Err(ClientError::Unexpected),
        };
        for chunk in data.get(offset..).unwrap_or_default().chunks(CHUNK_BYTES) {
            sender.send_chunk(chunk).await.map_err(failed)?;
        }
        sender.finish().await.map_err(failed)?;
        match receiver.receive::<Response>().await.map_err(failed)? {
            Some(Response::Done) => Ok(()),
            Some(Response::Refused { why }) => Err(ClientError::Refused { why }),
            _ => Err(ClientError::Unexpected),
        }
    }
}

impl Drop for Remote {
    /// Tells the coordinator, so that it need not wait for the silence to be long enough.
    fn drop(&mut self) {
        if let Some(link) = self.link.get_mut().take() {
            link.close("done");
        }
    }
}

/// A coordinator that restarts is back within seconds.
const TRIES: u32 = 6;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
