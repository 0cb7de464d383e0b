//! One connection between two members, after both have greeted.
//!
//! A peer that breaks the protocol or a limit loses the connection, and one log line says why; other
//! connections do not notice. Deliberately absent: reconnecting, which is the caller's.
//!
//! Floor: shell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::wire::frame::{FIRST_FRAME_MAX, FrameError};
use common::wire::message::Open;
use quinn::{Connection, ConnectionError, Endpoint, ReadError, WriteError};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::warn;

use crate::admission::MemberPlace;
use crate::closing::{Closing, printable};
use crate::error::LinkError;
use crate::identity::Who;
use crate::limits::Limits;
use crate::stream::{Fault, FrameReceiver, FrameSender, Reading, Writing};

/// The connection closes when the last clone and the last stream of it are dropped.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Opens a stream and sends `open` as its first frame; waits while too many are open.
    pub async fn open(&self, open: &Open) -> Result<(FrameSender, FrameReceiver), LinkError> {
        let streams = self.shared.connection.open_bi().await;
        let (send, receive) = streams.map_err(|source| self.shared.connection_error(source))?;
        let mut sender = FrameSender::new(Writing::new(send), self.shared.clone());
        sender.send(open).await?;
        Ok((sender, FrameReceiver::new(Reading::new(receive), self.shared.clone())))
    }

    /// The peer's next stream and its first frame; `None` once either side closed the connection.
    ///
    /// May be dropped half-way and called again.
    pub async fn accept(&self) -> Result<Option<(Open, FrameSender, FrameReceiver)>, LinkError> {
        let mut opening = self.shared.opening.lock().await;
        loop {
            if opening.is_none() {
                let (send, receive) = match self.shared.connection.accept_bi().await {
                    Ok(streams) => streams,
                    Err(ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed) => {
                        return Ok(None);
                    }
                    Err(source) => return Err(self.shared.connection_error(source)),
                };
                *opening = Some((Writing::new(send), Reading::new(receive)));
            }
            let Some((_, reading)) = opening.as_mut() else { continue };
            let within = self.shared.limits.frame;
            // Also from no byte at all to the first: a stream opened empty must not hold up the rest.
            let first = timeout(within, reading.message::<Open>(FIRST_FRAME_MAX, within)).await;
            let first = first.unwrap_or(Err(Fault::Slow(within)));
            let Some((writing, reading)) = opening.take() else { continue };
            match first {
                Ok(Some(open)) => {
                    let sender = FrameSender::new(writing, self.shared.clone());
                    return Ok(Some((
                        open,
                        sender,
                        FrameReceiver::new(reading, self.shared.clone()),
                    )));
                }
                // Ended or given up before it began: no harm done.
                Ok(None) | Err(Fault::Read(ReadError::Reset(_)) | Fault::CutShort) => {}
                Err(fault) => return Err(self.shared.fault(fault)),
            }
        }
    }

    /// Tells this connection from every other of the process.
    pub fn id(&self) -> usize {
        self.shared.connection.stable_id()
    }

    /// On the serving side the peer, on the connecting side this process itself.
    pub fn who(&self) -> Who {
        self.shared.who
    }

    /// The newest protocol that both sides speak.
    pub fn protocol(&self) -> u16 {
        self.shared.protocol
    }

    /// The Ed25519 key in the certificate of [`Link::who`]; TLS proved that its holder has it.
    pub fn public_key(&self) -> [u8; 32] {
        self.shared.public_key
    }

    /// The peer's address, now.
    pub fn address(&self) -> SocketAddr {
        self.shared.connection.remote_address()
    }

    /// Closes at once; what is still being sent is lost unless its `finish` has returned.
    ///
    /// A process about to exit then awaits [`Link::closed`], which returns when the peer was told.
    pub fn close(&self, why: &str) {
        Closing::Done.close(&self.shared.connection, why);
    }

    /// Waits until the connection is closed, by whomever, and says why.
    pub async fn closed(&self) -> String {
        let error = self.shared.connection.closed().await;
        if let Some(endpoint) = &self.shared.endpoint {
            // The peer may be gone; then there is nobody to tell.
            let _ = timeout(LEAVE_WITHIN, endpoint.wait_idle()).await;
        }
        match error {
            ConnectionError::ApplicationClosed(close) => {
                printable(&String::from_utf8_lossy(&close.reason))
            }
            ConnectionError::LocallyClosed => "closed by this side".to_string(),
            error => error.to_string(),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

/// What a connection's links and streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub connection: Connection,
    pub who: Who,
    /// Of `who`.
    pub public_key: [u8; 32],
    pub protocol: u16,
    pub limits: Limits,
    /// The peer as errors name it.
    pub address: String,
    /// On the serving side.
    pub fingerprint: Option<String>,
    /// On the connecting side, which has one endpoint a connection.
    pub endpoint: Option<Endpoint>,
    /// On the serving side: counted against the member until dropped.
    pub _place: Option<MemberPlace>,
    /// A stream whose first frame is not complete yet.
    pub opening: Mutex<Option<(Writing, Reading)>>,
}

impl Shared {
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn frame_error(&self, source: FrameError) -> LinkError {
        LinkError::Frame { address: self.address.clone(), source }
    }

    pub(crate) fn connection_error(&self, source: ConnectionError) -> LinkError {
        LinkError::of_connection(self.address.clone(), source)
    }

    /// The error for a stream that failed; closes the connection when the peer is to blame.
    pub(crate) fn fault(&self, fault: Fault) -> LinkError {
        let address = self.address.clone();
        let blame = matches!(fault, Fault::Slow(_) | Fault::Stalled(_) | Fault::Frame(_));
        let error = fault.error(address);
        if blame {
            self.cut(&error);
        }
        error
    }

    fn cut(&self, error: &LinkError) {
        let why = chain(error);
        let (member, fingerprint) = (self.who.member, self.fingerprint.as_deref());
        warn!(address = %self.address, %member, fingerprint, reason = %why, "connection closed");
        Closing::Misbehaved.close(&self.connection, &why);
    }
}

impl Fault {
    pub(crate) fn error(self, address: String) -> LinkError {
        match self {
            Fault::Read(ReadError::ConnectionLost(source))
            | Fault::Write(WriteError::ConnectionLost(source)) => {
                LinkError::of_connection(address, source)
            }
            Fault::Read(_) | Fault::Write(_) => LinkError::Reset { address },
            Fault::CutShort => LinkError::CutShort { address },
            Fault::Slow(within) => LinkError::Slow { address, seconds: within.as_secs() },
            Fault::Stalled(within) => LinkError::Stalled { address, seconds: within.as_secs() },
            Fault::Frame(source) => LinkError::Frame { address, source },
        }
    }
}

/// An error and its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

const LEAVE_WITHIN: Duration = Duration::from_secs(1);
