//! The connecting side: joining with a token, connecting as a member, renewing a certificate.
//!
//! The token's secret is sent only on a connection whose chain ended in the CA the token names.
//! Deliberately absent: retries after a failure and back-off, which are the caller's, and where
//! identities are kept.
//!
//! Floor: shell.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use common::wire::frame::{self, FIRST_FRAME_MAX};
use common::wire::message::{Greeting, Hello, Open, Renewal};
use quinn::{Connection, Endpoint};
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::closing::{Closing, printable};
use crate::connection::{Link, Shared};
use crate::error::LinkError;
use crate::identity::{self, Identity};
use crate::joining::{JoinAnswer, JoinRequest};
use crate::limits::{JOIN_ANSWER_MAX, JOIN_HOPS_MAX, JOIN_TRIES, Limits};
use crate::server::speakable;
use crate::stream::{Reading, Writing};
use crate::tls::{self, Pin, Seen};
use crate::token::{JoinToken, Secret};

/// Trades a token for an identity: has a coordinator sign this folder's key.
///
/// `addresses` are HOST:PORT, at least one; replicas that do not lead send on to the others. The key
/// is kept in `folder` until [`Identity::save`]: a join that is repeated, after a lost answer or a
/// crash, is the same join, so that a token for one use is spent once.
pub async fn join(
    addresses: &[String],
    token: &JoinToken,
    folder: &Path,
) -> Result<Identity, LinkError> {
    join_limited(addresses, token, folder, &Limits::standard()).await
}

/// What one coordinator says to a token.
#[derive(Debug)]
pub enum Inquiry {
    /// It has a cluster, and let this folder's key in.
    Admitted(Box<Identity>),
    /// It has a cluster in which another one decides, or nobody just now.
    Elsewhere,
    /// It has none. The number is another one in every life of that process.
    Unfounded([u8; 16]),
}

/// Asks coordinators, each once and all at the same time, whether they have a cluster; the request is
/// that of [`join`]. The answers are in the order of the addresses.
pub async fn inquire(
    addresses: &[String],
    token: &JoinToken,
    folder: &Path,
) -> Result<Vec<Result<Inquiry, LinkError>>, LinkError> {
    let key = Arc::new(identity::joining_key(folder)?);
    let mut asking = JoinSet::new();
    for (at, address) in addresses.iter().cloned().enumerate() {
        let (token, key) = (token.clone(), key.clone());
        asking.spawn(async move {
            let answer = join_at(&address, &token, &key, &Limits::standard()).await;
            let answer = answer.map(|joined| match joined {
                Joined::Admitted(identity) => Inquiry::Admitted(identity),
                Joined::Elsewhere(_) => Inquiry::Elsewhere,
                Joined::Unfounded(life) => Inquiry::Unfounded(life),
            });
            (at, answer)
        });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// Connects as a member and greets. `address` is HOST:PORT, resolved anew on every call.
pub async fn connect(address: &str, identity: &Identity) -> Result<Link, LinkError> {
    connect_limited(address, identity, &Limits::standard()).await
}

/// Connects one replica to another: as [`connect`], but a silent connection ends soon.
pub async fn connect_peer(address: &str, identity: &Identity) -> Result<Link, LinkError> {
    connect_limited(address, identity, &Limits::peer()).await
}

/// Asks for the certificate of `identity` anew over `link`, a connection made with it.
///
/// The connection goes on with the old certificate; the next one is made with what is returned.
pub async fn renew(link: &Link, identity: &Identity) -> Result<Identity, LinkError> {
    let shared = link.shared();
    let address = || shared.address.clone();
    let within = shared.limits.join_answer;
    let answer = async {
        let (_sender, mut receiver) = link.open(&Open::Renew).await?;
        receiver.receive::<Renewal>().await
    };
    let answer = timeout(within, answer).await.unwrap_or_else(|_| {
        Err(LinkError::NoAnswer { address: address(), seconds: within.as_secs() })
    });
    match answer? {
        Some(Renewal::Renewed { certificate }) => identity.renewed(certificate),
        Some(Renewal::Refused { why }) => {
            Err(LinkError::RenewalRefused { address: address(), why: printable(&why) })
        }
        None => Err(LinkError::Unexpected { address: address() }),
    }
}

pub(crate) async fn join_limited(
    addresses: &[String],
    token: &JoinToken,
    folder: &Path,
    limits: &Limits,
) -> Result<Identity, LinkError> {
    let key = identity::joining_key(folder)?;
    let mut waiting: VecDeque<String> = addresses.iter().cloned().collect();
    let mut sent_on = 0;
    let mut failure = LinkError::NoAddress { address: addresses.join(", ") };
    while let Some(address) = waiting.pop_front() {
        match join_at(&address, token, &key, limits).await {
            Ok(Joined::Admitted(identity)) => return Ok(*identity),
            Ok(Joined::Elsewhere(others)) => {
                failure = LinkError::Leaderless { address };
                sent_on += 1;
                if sent_on <= JOIN_HOPS_MAX {
                    others.into_iter().rev().for_each(|other| {
                        waiting.retain(|known| *known != other);
                        waiting.push_front(other);
                    });
                    tokio::time::sleep(limits.hop_pause).await;
                }
            }
            Ok(Joined::Unfounded(_)) => failure = LinkError::Unfounded { address },
            // A decision stands; what else was heard is worth less.
            Err(error) if error.is_refusal() => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

enum Joined {
    Admitted(Box<Identity>),
    Elsewhere(Vec<String>),
    Unfounded([u8; 16]),
}

async fn join_at(
    address: &str,
    token: &JoinToken,
    key: &KeyPair,
    limits: &Limits,
) -> Result<Joined, LinkError> {
    let mut tries = 1;
    loop {
        let pin = Pin::new(token.ca_hash);
        let config = tls::joiner(pin.clone(), limits)?;
        let dialled = dial(address, config, limits).await;
        if let (Seen::OtherAuthority, Err(_)) = (pin.seen(), &dialled) {
            return Err(LinkError::OtherCluster { address: address.to_string() });
        }
        let dialled = dialled?;
        let Seen::Trusted(ca) = pin.seen() else {
            return Err(LinkError::OtherCluster { address: address.to_string() });
        };
        match ask(&dialled, token, key, limits).await {
            Err(
                LinkError::Closed { .. }
                | LinkError::Lost { .. }
                | LinkError::Reset { .. }
                | LinkError::NoAnswer { .. },
            ) if tries < JOIN_TRIES => tries += 1,
            answer => {
                return Ok(match answer? {
                    JoinAnswer::Admitted(certificate) => {
                        let identity = accepted(CertificateDer::from(certificate), ca, key)?;
                        Joined::Admitted(Box::new(identity))
                    }
                    JoinAnswer::Elsewhere(addresses) => Joined::Elsewhere(addresses),
                    JoinAnswer::Unfounded(life) => Joined::Unfounded(life),
                    JoinAnswer::Refused => return Err(LinkError::TokenRefused),
                });
            }
        }
    }
}

pub(crate) async fn connect_limited(
    address: &str,
    identity: &Identity,
    limits: &Limits,
) -> Result<Link, LinkError> {
    let (who, public_key) = (identity.who()?, identity.public_key()?);
    let dialled = dial(address, tls::client(identity, limits)?, limits).await?;
    let greeted = timeout(2 * limits.first_frame, greet(&dialled, limits)).await;
    let protocol = match greeted.unwrap_or_else(|_| Err(dialled.no_answer(limits.first_frame))) {
        Ok(protocol) => protocol,
        Err(error) => {
            if let LinkError::Version { why, .. } = &error {
                Closing::Version.close(&dialled.connection, why);
            }
            return Err(error);
        }
    };
    Ok(Link::new(Shared {
        connection: dialled.connection,
        who,
        public_key,
        protocol,
        limits: *limits,
        address: dialled.address,
        fingerprint: None,
        endpoint: Some(dialled.endpoint),
        _place: None,
        opening: Mutex::default(),
    }))
}

/// A connection on an endpoint of its own.
struct Dialled {
    address: String,
    connection: Connection,
    endpoint: Endpoint,
}

impl Dialled {
    fn no_answer(&self, within: std::time::Duration) -> LinkError {
        LinkError::NoAnswer { address: self.address.clone(), seconds: within.as_secs() }
    }

    fn lost(&self, source: quinn::ConnectionError) -> LinkError {
        LinkError::of_connection(self.address.clone(), source)
    }
}

/// Tries every address the name has, in the resolver's order.
async fn dial(
    address: &str,
    config: quinn::ClientConfig,
    limits: &Limits,
) -> Result<Dialled, LinkError> {
    // A name server that answers nothing must not hold up what the next try may find.
    let found = timeout(limits.connect, lookup_host(address)).await;
    let found = found
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| LinkError::Address { address: address.to_string(), source })?;
    let mut failure = LinkError::NoAddress { address: address.to_string() };
    for socket in found {
        match dial_one(address, socket, config.clone(), limits).await {
            Ok(dialled) => return Ok(dialled),
            // What a coordinator said is worth more than that another address has none.
            Err(error) if says_little(&failure) => failure = error,
            Err(_) => {}
        }
    }
    Err(failure)
}

fn says_little(error: &LinkError) -> bool {
    matches!(error, LinkError::NoAddress { .. } | LinkError::NothingListens { .. })
}

async fn dial_one(
    address: &str,
    socket: SocketAddr,
    config: quinn::ClientConfig,
    limits: &Limits,
) -> Result<Dialled, LinkError> {
    let name = || address.to_string();
    let endpoint =
        Endpoint::client(any_address(socket)).map_err(|source| LinkError::Socket { source })?;
    let connecting = endpoint
        .connect_with(config, socket, tls::SERVER_NAME)
        .map_err(|source| LinkError::Connect { address: name(), source })?;
    let connection = tokio::select! {
        connected = timeout(limits.connect, connecting) => connected
            .map_err(|_| LinkError::NoAnswer { address: name(), seconds: limits.connect.as_secs() })?
            .map_err(|source| LinkError::of_handshake(name(), source))?,
        source = nothing_listens(socket) => {
            return Err(LinkError::NothingListens { address: name(), source });
        }
    };
    Ok(Dialled { address: name(), connection, endpoint })
}

/// Returns when the machine at `socket` says that nothing listens there; else never.
///
/// QUIC's own socket is not connected, so the system does not hand it that answer. The one byte
/// sent here is no QUIC packet and is dropped by whoever listens.
async fn nothing_listens(socket: SocketAddr) -> io::Error {
    let answer = async {
        let probe = UdpSocket::bind(any_address(socket)).await?;
        probe.connect(socket).await?;
        probe.send(&[0]).await?;
        probe.recv(&mut [0]).await
    };
    match answer.await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => error,
        _ => std::future::pending().await,
    }
}

/// Sends the join request and returns what was decided; a refusal is an error.
async fn ask(
    dialled: &Dialled,
    token: &JoinToken,
    key: &KeyPair,
    limits: &Limits,
) -> Result<JoinAnswer, LinkError> {
    let address = || dialled.address.clone();
    let answer = async {
        let streams = dialled.connection.open_bi().await;
        let (mut send, mut receive) = streams.map_err(|source| dialled.lost(source))?;
        let request = JoinRequest::bytes(&token.id, token.secret(), key.public_key_raw());
        // A failed write says less than the read after it, which has the reason for the close.
        let _ = send.write_all(request.expose()).await;
        let _ = send.finish();
        receive.read_to_end(JOIN_ANSWER_MAX).await.map_err(|error| match error {
            quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(source)) => {
                dialled.lost(source)
            }
            quinn::ReadToEndError::Read(_) => LinkError::Reset { address: address() },
            quinn::ReadToEndError::TooLong => LinkError::Unexpected { address: address() },
        })
    };
    let answer = timeout(limits.join_answer, answer).await;
    let answer = answer.unwrap_or_else(|_| Err(dialled.no_answer(limits.join_answer)))?;
    Closing::Done.close(&dialled.connection, "joined");
    match JoinAnswer::read(&answer) {
        Some(JoinAnswer::Refused) => Err(LinkError::TokenRefused),
        Some(answer) => Ok(answer),
        None => Err(LinkError::Unexpected { address: address() }),
    }
}

fn accepted(
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
    key: &KeyPair,
) -> Result<Identity, LinkError> {
    tls::verify_member(&ca, &certificate, UnixTime::now())
        .map_err(|source| LinkError::WrongCertificate { source })?;
    let identity = Identity { ca, certificate, key: Secret::new(key.serialize_der()) };
    identity.who()?;
    if identity.public_key()? != key.public_key_raw() {
        return Err(LinkError::Certificate { what: "it is for another key" });
    }
    Ok(identity)
}

/// A hello each way and a greeting down: the protocol that both speak.
async fn greet(dialled: &Dialled, limits: &Limits) -> Result<u16, LinkError> {
    let address = || dialled.address.clone();
    let streams = dialled.connection.open_bi().await;
    let (send, receive) = streams.map_err(|source| dialled.lost(source))?;
    let (mut writing, mut reading) = (Writing::new(send), Reading::new(receive));
    let ours = Hello::ours();
    let frame =
        frame::encode(&ours).map_err(|source| LinkError::Frame { address: address(), source })?;
    let within = limits.first_frame;
    writing.send(frame, within).await.map_err(|fault| fault.error(address()))?;
    let unexpected = || LinkError::Unexpected { address: address() };
    let hello = reading.message::<Hello>(FIRST_FRAME_MAX, within).await;
    let hello = hello.map_err(|fault| fault.error(address()))?.ok_or_else(unexpected)?;
    let agreed = ours.agree(&speakable(hello));
    let protocol = agreed.map_err(|why| LinkError::Version { address: address(), why })?;
    let greeting = reading.message::<Greeting>(FIRST_FRAME_MAX, within).await;
    match greeting.map_err(|fault| fault.error(address()))?.ok_or_else(unexpected)? {
        Greeting::Welcome { .. } => Ok(protocol),
        Greeting::Refused { why } => {
            Err(LinkError::Version { address: address(), why: printable(&why) })
        }
    }
}

fn any_address(towards: SocketAddr) -> SocketAddr {
    match towards {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
