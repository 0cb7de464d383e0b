//! The serving side: who is let in, and as what.
//!
//! Without a certificate a peer may only join: one stream, 70 bytes within two seconds. With one it
//! is a member only if the caller's [`Gate`] knows it. Every peer that is turned away costs one log
//! line with its address and the reason, and nobody else any time: each is served by its own task.
//! Deliberately absent: tokens and members themselves; the caller's log has them.
//!
//! Floor: shell.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use common::id::{ClusterId, MemberId};
use common::wire::frame::{self, FIRST_FRAME_MAX};
use common::wire::message::{Greeting, Hello};
use quinn::{Connecting, Connection, Endpoint, Incoming, SendStream, TokioRuntime};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tracing::warn;

use crate::admission::{Admission, StrangerPlace, TurnedAway};
use crate::authority::Authority;
use crate::closing::{Closing, REVOKED, printable};
use crate::connection::{Link, Shared, chain};
use crate::error::LinkError;
use crate::identity::{self, Identity, Who, fingerprint};
use crate::joining::{JoinAnswer, JoinRequest};
use crate::limits::{self, JOIN_REQUEST_BYTES, Limits};
use crate::refusals::{Cause, Refusals};
use crate::stream::{Reading, Writing};
use crate::tls;
use crate::token::{Secret, hex};

/// Who is a member now.
pub trait Gate: Send + Sync {
    /// Whether whom a certificate names has a live entry with its role; else its connection closes.
    fn admits(&self, who: &Who) -> bool;
}

/// A peer that got in.
#[derive(Debug)]
pub enum Arrival {
    Join(JoinAttempt),
    Member(Link),
}

/// A bound socket that takes connections until it is closed or dropped.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    reception: Arc<Reception>,
    arrivals: Mutex<mpsc::Receiver<Arrival>>,
}

impl Listener {
    /// Binds a UDP socket and begins to serve it; to be called inside a tokio runtime. Members that
    /// were connected to an earlier life of this coordinator learn with their next packet that it
    /// is gone.
    pub fn bind(
        address: SocketAddr,
        identity: &Identity,
        authority: &Authority,
        gate: Arc<dyn Gate>,
    ) -> Result<Self, LinkError> {
        Self::bind_limited(address, identity, authority, gate, Limits::standard())
    }

    /// As [`Listener::bind`], on a socket that is bound.
    pub fn on(
        socket: UdpSocket,
        identity: &Identity,
        authority: &Authority,
        gate: Arc<dyn Gate>,
    ) -> Result<Self, LinkError> {
        Self::on_limited(socket, identity, authority, gate, Limits::standard())
    }

    pub(crate) fn bind_limited(
        address: SocketAddr,
        identity: &Identity,
        authority: &Authority,
        gate: Arc<dyn Gate>,
        limits: Limits,
    ) -> Result<Self, LinkError> {
        let socket =
            UdpSocket::bind(address).map_err(|source| LinkError::Listen { address, source })?;
        Self::on_limited(socket, identity, authority, gate, limits)
    }

    fn on_limited(
        socket: UdpSocket,
        identity: &Identity,
        authority: &Authority,
        gate: Arc<dyn Gate>,
        limits: Limits,
    ) -> Result<Self, LinkError> {
        let config = tls::server(identity, &limits)?;
        let cluster = authority.cluster();
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(tls::endpoint(authority), Some(config), socket, runtime)
            .map_err(|source| LinkError::Socket { source })?;
        let admission = Admission::new(&limits);
        let pending = Arc::new(Semaphore::new(limits.pending));
        let refusals = Arc::default();
        let reception = Reception { cluster, gate, limits, admission, pending, refusals };
        let reception = Arc::new(reception);
        let (sender, receiver) = mpsc::channel(ARRIVALS_WAITING);
        tokio::spawn(receive_all(endpoint.clone(), reception.clone(), sender));
        Ok(Self { endpoint, reception, arrivals: Mutex::new(receiver) })
    }

    pub fn local_address(&self) -> Result<SocketAddr, LinkError> {
        self.endpoint.local_addr().map_err(|source| LinkError::Socket { source })
    }

    /// How many connections were turned away so far.
    pub fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.reception.refusals)
    }

    /// Serves later connections with another certificate; those that are open stay.
    pub fn renew(&self, identity: &Identity) -> Result<(), LinkError> {
        let config = tls::server(identity, &self.reception.limits)?;
        self.endpoint.set_server_config(Some(config));
        Ok(())
    }

    /// The next peer that got in; `None` once the listener is closed. May be dropped half-way.
    pub async fn accept(&self) -> Option<Arrival> {
        let mut arrivals = self.arrivals.lock().await;
        loop {
            let arrival = arrivals.recv().await?;
            // The entry may have gone while the peer waited here.
            if let Arrival::Member(link) = &arrival
                && !self.reception.gate.admits(&link.who())
            {
                let shared = link.shared();
                let fingerprint = shared.fingerprint.clone();
                self.reception.refusals.count(Cause::Revoked);
                let refusal = Refusal::revoked(fingerprint.unwrap_or_default());
                refusal.tell(&shared.connection, link.address());
                continue;
            }
            return Some(arrival);
        }
    }

    /// Closes every connection and returns when the peers have been told.
    pub async fn close(&self, why: &str) {
        self.endpoint.close(0u32.into(), why.as_bytes());
        // Peers that are gone cannot be told.
        let _ = timeout(limits::FIRST_FRAME_WITHIN, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.endpoint.close(0u32.into(), b"the coordinator stopped");
    }
}

/// A peer that offers a token. Dropping it undecided closes the connection, and the peer may retry.
#[derive(Debug)]
pub struct JoinAttempt {
    pub token_id: [u8; 6],
    pub secret_hash: [u8; 32],
    pub public_key: [u8; 32],
    pub address: SocketAddr,
    connection: Connection,
    answer: SendStream,
    reception: Arc<Reception>,
    _place: StrangerPlace,
}

impl JoinAttempt {
    /// Sends the certificate, in DER.
    pub async fn admit(self, certificate: Vec<u8>) {
        self.answer(JoinAnswer::Admitted(certificate)).await;
    }

    /// Sends the joiner to the replicas that may decide.
    pub async fn send_elsewhere(self, addresses: &[String]) {
        self.answer(JoinAnswer::Elsewhere(addresses.to_vec())).await;
    }

    /// Says that there is no cluster here yet. `life`: drawn anew by every process that says so.
    pub async fn say_unfounded(self, life: [u8; 16]) {
        self.answer(JoinAnswer::Unfounded(life)).await;
    }

    /// Sends the one refusal there is, whatever the cause, and counts it against the address.
    pub async fn refuse(self) {
        let token = hex(&self.token_id);
        warn!(address = %self.address, %token, reason = "token refused", "join refused");
        self.reception.refusals.count(Cause::Token);
        self.reception.admission.refused(self.address.ip(), Instant::now());
        self.answer(JoinAnswer::Refused).await;
    }

    async fn answer(mut self, answer: JoinAnswer) {
        let told = async {
            if self.answer.write_all(&answer.bytes()).await.is_ok() && self.answer.finish().is_ok()
            {
                // The peer may have left; it asks again with the same key.
                let _ = self.answer.stopped().await;
            }
        };
        let _ = timeout(self.reception.limits.join_request, told).await;
        Closing::JoinOnly.close(&self.connection, "joining is over");
    }
}

impl Drop for JoinAttempt {
    fn drop(&mut self) {
        // Before the stream is dropped, which would look like an empty answer. Without effect after
        // an answer.
        Closing::Done.close(&self.connection, "no decision was made; try again");
    }
}

/// What all connections of one listener share.
struct Reception {
    cluster: ClusterId,
    gate: Arc<dyn Gate>,
    limits: Limits,
    admission: Arc<Admission>,
    pending: Arc<Semaphore>,
    refusals: Arc<Refusals>,
}

impl std::fmt::Debug for Reception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reception").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Why a connection is closed again.
struct Refusal {
    closing: Closing,
    why: String,
    fingerprint: Option<String>,
    /// Whether somebody reading the log has not seen this yet.
    logged: bool,
}

impl Refusal {
    fn new(closing: Closing, why: impl Into<String>) -> Self {
        Self { closing, why: why.into(), fingerprint: None, logged: true }
    }

    fn revoked(fingerprint: String) -> Self {
        Self { fingerprint: Some(fingerprint), ..Self::new(Closing::Revoked, REVOKED) }
    }

    fn tell(&self, connection: &Connection, address: SocketAddr) {
        if self.logged {
            let fingerprint = self.fingerprint.as_deref();
            warn!(%address, fingerprint, reason = %self.why, "connection refused");
        }
        self.closing.close(connection, &self.why);
    }
}

/// Takes packets of new connections for as long as the endpoint is open; never waits for a peer.
async fn receive_all(
    endpoint: Endpoint,
    reception: Arc<Reception>,
    arrivals: mpsc::Sender<Arrival>,
) {
    let mut full_told: Option<Instant> = None;
    while let Some(incoming) = endpoint.accept().await {
        let limits = &reception.limits;
        let permit = reception.pending.clone().try_acquire_owned().ok();
        let room = endpoint.open_connections() < limits.connections;
        let Some(permit) = permit.filter(|_| room) else {
            reception.refusals.count(Cause::Full);
            // One line for a flood: the flood itself must not fill the log.
            if full_told.is_none_or(|told| told.elapsed() > FULL_TOLD_EVERY) {
                full_told = Some(Instant::now());
                let address = incoming.remote_address();
                warn!(%address, reason = "too many connections", "connection ignored");
            }
            incoming.ignore();
            continue;
        };
        let pending = limits.pending - reception.pending.available_permits();
        if pending > limits.pending_unvalidated && !incoming.remote_address_validated() {
            drop(permit);
            if let Err(error) = incoming.retry() {
                error.into_incoming().ignore();
            }
            continue;
        }
        begin(incoming, &reception, permit, &arrivals);
    }
}

fn begin(
    incoming: Incoming,
    reception: &Arc<Reception>,
    permit: OwnedSemaphorePermit,
    arrivals: &mpsc::Sender<Arrival>,
) {
    let address = incoming.remote_address();
    match incoming.accept() {
        Ok(connecting) => {
            let (reception, arrivals) = (reception.clone(), arrivals.clone());
            tokio::spawn(async move {
                if let Some(arrival) = reception.receive(connecting, address, permit).await {
                    // Fails only when the listener is gone; the connection goes with it.
                    let _ = arrivals.send(arrival).await;
                }
            });
        }
        Err(error) => {
            reception.refusals.count(Cause::Handshake);
            warn!(%address, reason = %chain(&error), "connection refused");
        }
    }
}

impl Reception {
    /// From the first packet to an arrival, or to one log line.
    async fn receive(
        self: Arc<Self>,
        connecting: Connecting,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Arrival> {
        let connection = match timeout(self.limits.handshake, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                self.refusals.count(Cause::Handshake);
                let reason = printable(&chain(&error));
                warn!(%address, %reason, "connection refused");
                return None;
            }
            Err(_) => {
                self.refusals.count(Cause::Handshake);
                warn!(%address, reason = "handshake not finished in time", "connection refused");
                return None;
            }
        };
        drop(permit);
        let arrival = match peer_certificate(&connection) {
            Some(certificate) => {
                self.member(&connection, &certificate).await.map(Arrival::Member).map_err(
                    |refusal| Refusal { fingerprint: Some(fingerprint(&certificate)), ..refusal },
                )
            }
            None => self.clone().stranger(&connection).await.map(Arrival::Join),
        };
        let told = |refusal: Refusal| {
            self.refusals.count(Cause::of(refusal.closing));
            refusal.tell(&connection, address);
        };
        arrival.map_err(told).ok()
    }

    /// One stream, one request of fixed size, little time.
    async fn stranger(self: Arc<Self>, connection: &Connection) -> Result<JoinAttempt, Refusal> {
        let address = connection.remote_address();
        let place = self.admission.stranger(address.ip(), Instant::now());
        let _place = place.map_err(|turned_away| match turned_away {
            TurnedAway::TooMany => {
                Refusal::new(Closing::Busy, "too many connections without a certificate")
            }
            TurnedAway::Barred { first } => Refusal {
                logged: first,
                ..Refusal::new(Closing::Busy, "too many refused joins; try again in a minute")
            },
        })?;
        let request = async {
            let (answer, mut stream) = connection.accept_bi().await.ok()?;
            let request = Secret::new(stream.read_to_end(JOIN_REQUEST_BYTES).await.ok()?);
            Some((answer, JoinRequest::read(request.expose())?))
        };
        let Ok(Some((answer, request))) = timeout(self.limits.join_request, request).await else {
            self.admission.refused(address.ip(), Instant::now());
            let why = "without a certificate, only a join request is read";
            return Err(Refusal::new(Closing::JoinOnly, why));
        };
        let JoinRequest { token_id, secret_hash, public_key } = request;
        Ok(JoinAttempt {
            token_id,
            secret_hash,
            public_key,
            address,
            connection: connection.clone(),
            answer,
            reception: self.clone(),
            _place,
        })
    }

    async fn member(
        &self,
        connection: &Connection,
        certificate: &CertificateDer<'static>,
    ) -> Result<Link, Refusal> {
        let unusable = |error: LinkError| Refusal::new(Closing::Misbehaved, chain(&error));
        let who = identity::who(certificate).map_err(unusable)?;
        let public_key = identity::public_key(certificate).map_err(unusable)?;
        if who.cluster != self.cluster {
            return Err(Refusal::new(Closing::Misbehaved, "a member of another cluster"));
        }
        if !self.gate.admits(&who) {
            return Err(Refusal::new(Closing::Revoked, REVOKED));
        }
        let greeting = timeout(self.limits.first_frame, self.greet(connection, who.member));
        let Ok(greeted) = greeting.await else {
            return Err(Refusal::new(Closing::Misbehaved, "no greeting in time"));
        };
        let protocol = greeted?;
        let (place, oldest) = self.admission.member(who.role, who.member, connection.clone());
        if let Some(oldest) = oldest {
            let address = oldest.remote_address();
            let why = "replaced by a newer connection of the same member";
            let refusal = Refusal::new(Closing::Busy, why);
            Refusal { fingerprint: Some(fingerprint(certificate)), ..refusal }
                .tell(&oldest, address);
        }
        connection.set_receive_window(limits::CONNECTION_WINDOW.into());
        connection.set_max_concurrent_bi_streams(limits::STREAMS_MAX.into());
        connection.set_max_concurrent_uni_streams(limits::STREAMS_MAX.into());
        Ok(Link::new(Shared {
            connection: connection.clone(),
            who,
            public_key,
            protocol,
            limits: self.limits,
            address: connection.remote_address().to_string(),
            fingerprint: Some(fingerprint(certificate)),
            endpoint: None,
            _place: Some(place),
            opening: Mutex::default(),
        }))
    }

    /// A hello each way and a greeting down: the protocol that both speak.
    async fn greet(&self, connection: &Connection, member: MemberId) -> Result<u16, Refusal> {
        let misbehaved = |error: LinkError| Refusal::new(Closing::Misbehaved, chain(&error));
        let address = || connection.remote_address().to_string();
        let lost = |source| misbehaved(LinkError::of_connection(address(), source));
        let (send, receive) = connection.accept_bi().await.map_err(lost)?;
        let (mut sender, mut reading) = (Writing::new(send), Reading::new(receive));
        let within = self.limits.first_frame;
        let hello = reading.message::<Hello>(FIRST_FRAME_MAX, within).await;
        let hello = hello
            .map_err(|fault| misbehaved(fault.error(address())))?
            .ok_or_else(|| misbehaved(LinkError::Unexpected { address: address() }))?;
        let ours = Hello::ours();
        let agreed = ours.agree(&speakable(hello));
        let greeting = match &agreed {
            Ok(protocol) => {
                Greeting::Welcome { cluster: self.cluster, member, protocol: *protocol }
            }
            Err(why) => Greeting::Refused { why: why.clone() },
        };
        let frames = [frame::encode(&ours), frame::encode(&greeting)];
        for frame in frames {
            let frame = frame
                .map_err(|source| misbehaved(LinkError::Frame { address: address(), source }))?;
            let sent = sender.send(frame, within).await;
            sent.map_err(|fault| misbehaved(fault.error(address())))?;
        }
        match agreed {
            Ok(protocol) => {
                sender.end();
                Ok(protocol)
            }
            Err(why) => {
                // The close that follows must not overtake the reason.
                let _ = sender.finish(within).await;
                Err(Refusal::new(Closing::Version, why))
            }
        }
    }
}

/// A hello whose version can be printed.
pub(crate) fn speakable(hello: Hello) -> Hello {
    Hello {
        version: printable(&hello.version).chars().take(VERSION_PRINTED_MAX).collect(),
        ..hello
    }
}

fn peer_certificate(connection: &Connection) -> Option<CertificateDer<'static>> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.into_iter().next()
}

/// Peers that got in and wait for the caller; more wait in their own tasks.
const ARRIVALS_WAITING: usize = 64;
const FULL_TOLD_EVERY: std::time::Duration = std::time::Duration::from_secs(10);
const VERSION_PRINTED_MAX: usize = 40;
