//! Reaching a coordinator over the network: joining once, then connecting as a member.
//!
//! The certificate won by the token is kept in the agent's folder before it is used. The token is
//! used again only when the cluster no longer knows this member. While connected, the certificate is
//! renewed before it ends. Only an agent's certificate is kept or used. All addresses are tried in
//! turn; it is final when every coordinator that answered refused.
//!
//! Floor: shell.

mod certificate;
mod replicas;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::id::Digest;
use common::trial::Attempt;
use common::wire::message::{BORROWED_PROTOCOL, Bulk, FromAgent, Open, Response, Role, ToAgent};
use link::{FrameReceiver, FrameSender, Identity, JoinToken, Link, LinkError};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::certificate::Certificate;
use self::replicas::Replicas;
use crate::dataset::{DataSource, FetchError, Fetched, Fetching, HandingOn};
use crate::driver::connect::{ConnectError, Connection, Connector, QUEUE_MESSAGES};
use crate::driver::with_causes;
use crate::session::Hears;

/// Connects to the coordinators at some addresses, as the member that a folder's certificate names.
pub struct LinkConnector {
    replicas: Replicas,
    certificate: Certificate,
    /// Not yet traded for a certificate in this process.
    token: Option<JoinToken>,
}

impl LinkConnector {
    /// Uses the folder's certificate, when there is one of the token's cluster; else the token.
    ///
    /// `addresses` are HOST:PORT, at least one.
    pub fn new(
        addresses: Vec<String>,
        folder: &Path,
        token: Option<JoinToken>,
    ) -> Result<Self, LinkError> {
        let identity = Identity::load(folder)?;
        let same_cluster =
            |identity: &Identity| token.as_ref().is_none_or(|token| identity.is_of(token));
        let identity = identity.filter(same_cluster);
        let certificate = Certificate::new(folder, identity);
        Ok(Self { replicas: Replicas::new(addresses, folder), certificate, token })
    }

    async fn reach(&mut self, address: &str) -> Result<Link, ReachError> {
        if let Some(identity) = self.certificate.identity() {
            let role = identity.who()?.role;
            if role != Role::Agent {
                return Err(ReachError::Certificate { role: role.name() });
            }
            match link::connect(address, &identity).await {
                Err(error) if error.is_refusal() && self.token.is_some() => {
                    tracing::info!(%error, "joining again with the token");
                }
                answer => return Ok(answer?),
            }
        }
        let Some(token) = &self.token else {
            return Err(LinkError::Certificate { what: "there is none; join with a token" }.into());
        };
        let addresses = [address.to_string()];
        let identity = link::join(&addresses, token, self.certificate.folder()).await?;
        let role = identity.who()?.role;
        if role != Role::Agent {
            return Err(ReachError::Token { role: role.name() });
        }
        self.certificate.replace(identity.clone())?;
        self.token = None;
        Ok(link::connect(address, &identity).await?)
    }

    async fn open(&mut self, address: &str) -> Result<Connection, ReachError> {
        let link = self.reach(address).await?;
        let (sender, receiver) = link.open(&Open::Agent).await?;
        let (up, messages) = mpsc::channel(QUEUE_MESSAGES);
        let (inbox, down) = mpsc::channel(QUEUE_MESSAGES);
        let name = format!("{} at {address}", link.who().member);
        tokio::spawn(send_all(link.clone(), sender, messages));
        tokio::spawn(receive_all(link.clone(), receiver, inbox));
        tokio::spawn(self.certificate.clone().keep_fresh(link.clone()));
        tokio::spawn(self.replicas.clone().watch(link.clone(), self.certificate.clone()));
        let hears = Hears::all_or_little(link.protocol() >= BORROWED_PROTOCOL);
        Ok(Connection { name, up, down, data: Arc::new(LinkSource { link }), hears })
    }
}

impl Connector for LinkConnector {
    async fn connect(&mut self) -> Result<Connection, ConnectError> {
        let (mut refused, mut failed, mut answered) = (None, None, false);
        let addresses = self.replicas.in_turn();
        let several = addresses.len() > 1;
        for address in addresses {
            // One that is cut off must not keep this agent from the others.
            let opening = self.open(&address);
            let opened = match several {
                true => timeout(OPEN_WITHIN, opening).await.unwrap_or_else(|_| {
                    let (address, seconds) = (address.clone(), OPEN_WITHIN.as_secs());
                    Err(LinkError::NoAnswer { address, seconds }.into())
                }),
                false => opening.await,
            };
            match opened {
                Ok(connection) => return Ok(connection),
                Err(ReachError::Link(error)) if error.is_refusal() => {
                    refused = Some(with_causes(&error));
                }
                Err(ReachError::Link(error)) => {
                    answered |= is_answer(&error);
                    failed = Some(with_causes(&error));
                }
                // No other address would make an agent of it.
                Err(error) => return Err(ConnectError::Refused { why: error.to_string() }),
            }
        }
        match (refused, failed) {
            (Some(why), None) => Err(ConnectError::Refused { why }),
            (Some(why), Some(_)) if !answered => Err(ConnectError::Refused { why }),
            (_, Some(why)) => Err(ConnectError::Later { why }),
            (None, None) => Err(ConnectError::Refused { why: "no address is given".to_string() }),
        }
    }

    fn hear(&mut self, message: &ToAgent) {
        match message {
            ToAgent::Replicas { addresses } => self.replicas.learn(addresses),
            ToAgent::Elsewhere { leader, addresses } => {
                self.replicas.learn(addresses);
                self.replicas.turn_to(leader.as_deref());
            }
            _ => {}
        }
    }

    fn soon(&mut self) -> Option<Duration> {
        self.replicas.soon()
    }
}

/// Why an address was not reached as an agent.
#[derive(Debug, Error)]
enum ReachError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("this token is for {role}s; make one for agents with `coordinator token create`")]
    Token { role: &'static str },
    #[error("the certificate in the folder is for {role}s; give the agent its own with --folder")]
    Certificate { role: &'static str },
}

/// Whether a coordinator was there and may serve later.
fn is_answer(error: &LinkError) -> bool {
    matches!(error, LinkError::Busy { .. } | LinkError::Closed { .. })
}

async fn send_all(link: Link, mut sender: FrameSender, mut messages: mpsc::Receiver<FromAgent>) {
    while let Some(message) = messages.recv().await {
        if let Err(error) = sender.send(&message).await {
            tracing::debug!(%error, "the control stream cannot be written");
            link.close("the control stream cannot be written");
            return;
        }
    }
    // The last messages must arrive: the coordinator closes when it has read the stream's end.
    if sender.finish().await.is_ok() {
        let _ = timeout(LAST_WORDS, link.closed()).await;
    }
    link.close("the agent is leaving");
}

async fn receive_all(link: Link, mut receiver: FrameReceiver, inbox: mpsc::Sender<ToAgent>) {
    loop {
        match receiver.receive().await {
            Ok(Some(message)) => {
                if inbox.send(message).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "the control stream ended");
                break;
            }
        }
    }
    link.close("the control stream ended");
}

/// Data files from the coordinator at the other end, each over a stream of its own.
struct LinkSource {
    link: Link,
}

impl DataSource for LinkSource {
    fn fetch(&self, digest: Digest, offset: u64) -> Fetching<'_> {
        Box::pin(async move {
            let opened = self.link.open(&Open::Fetch { digest, offset }).await;
            let (_sender, mut receiver) = opened.map_err(|error| unreachable_now(&error))?;
            let header: Option<Bulk> =
                receiver.receive().await.map_err(|error| unreachable_now(&error))?;
            let bytes = match header {
                Some(Bulk::Here { bytes }) => bytes,
                Some(Bulk::Refused { why }) => return Err(FetchError::Refused { why }),
                None => {
                    let why = "the coordinator sent no file".to_string();
                    return Err(FetchError::Unreachable { why });
                }
            };
            let (forward, chunks) = mpsc::channel(CHUNKS_WAITING);
            tokio::spawn(async move {
                while let Ok(Some(chunk)) = receiver.chunk().await {
                    if forward.send(chunk).await.is_err() {
                        break;
                    }
                }
            });
            Ok(Fetched { bytes, chunks })
        })
    }

    fn hand_on(&self, attempt: Attempt, checkpoint: Vec<u8>) -> HandingOn<'_> {
        Box::pin(async move {
            let (digest, bytes) = (Digest::of(&checkpoint), checkpoint.len() as u64);
            let opened = self.link.open(&Open::Checkpoint { attempt, digest, bytes }).await;
            let (mut sender, mut receiver) = opened.map_err(|error| unreachable_now(&error))?;
            let header: Option<Bulk> =
                receiver.receive().await.map_err(|error| unreachable_now(&error))?;
            let there = match header {
                Some(Bulk::Here { bytes }) => usize::try_from(bytes).unwrap_or(usize::MAX),
                Some(Bulk::Refused { why }) => return Err(FetchError::Refused { why }),
                None => return Err(no_answer()),
            };
            for chunk in checkpoint.get(there..).unwrap_or_default().chunks(CHUNK_BYTES) {
                sender.send_chunk(chunk).await.map_err(|error| unreachable_now(&error))?;
            }
            sender.finish().await.map_err(|error| unreachable_now(&error))?;
            match receiver.receive().await.map_err(|error| unreachable_now(&error))? {
                Some(Response::Done) => Ok(()),
                Some(Response::Refused { why }) => Err(FetchError::Refused { why }),
                _ => Err(no_answer()),
            }
        })
    }
}

fn no_answer() -> FetchError {
    FetchError::Unreachable { why: "the coordinator gave no answer".to_string() }
}

fn unreachable_now(error: &LinkError) -> FetchError {
    FetchError::Unreachable { why: with_causes(error) }
}

/// How long one of several coordinators may take to answer.
const OPEN_WITHIN: Duration = Duration::from_secs(4);

/// How long a leaving agent waits for the coordinator to close the connection.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Of a checkpoint, in one frame.
const CHUNK_BYTES: usize = 1 << 18;

/// Chunks read ahead of the disk, up to 1 MiB each.
const CHUNKS_WAITING: usize = 4;
