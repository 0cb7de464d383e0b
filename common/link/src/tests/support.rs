//! A cluster on loopback, raw peers that break rules, and the log they leave.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, SystemTime};

use common::id::{ClusterId, MemberId, ReplicaId};
use common::wire::frame::{self, FIRST_FRAME_MAX};
use common::wire::message::{Greeting, Hello, Open, Renewal, Role};
use quinn::{Connection, Endpoint};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::limits::Limits;
use crate::stream::{Reading, Writing};
use crate::{
    Arrival, Authority, Gate, Identity, JoinAttempt, JoinToken, Link, LinkError, Listener, Who, tls,
};

/// A coordinator that admits by a table of tokens, renews certificates and echoes every frame of
/// every other stream.
pub(super) struct Cluster {
    pub authority: Authority,
    pub address: String,
    pub listener: Arc<Listener>,
    pub desk: Arc<Desk>,
}

/// What a coordinator's log would hold.
#[derive(Default)]
pub(super) struct Desk {
    pub members: Mutex<BTreeMap<MemberId, Role>>,
    tokens: Mutex<BTreeMap<[u8; 6], TokenEntry>>,
    pub joins: Mutex<Vec<([u8; 6], [u8; 32])>>,
    pub links: Mutex<Vec<Link>>,
    /// Join attempts still to be dropped undecided, as by a coordinator that dies.
    pub forgets: Mutex<u32>,
}

struct TokenEntry {
    secret_hash: [u8; 32],
    uses: usize,
    admitted: Vec<([u8; 32], MemberId, SystemTime)>,
}

impl Gate for Desk {
    fn admits(&self, who: &Who) -> bool {
        locked(&self.members).get(&who.member) == Some(&who.role)
    }
}

impl Cluster {
    pub(super) fn start() -> Self {
        Self::start_limited(Limits::standard())
    }

    pub(super) fn start_limited(limits: Limits) -> Self {
        Self::start_at(SystemTime::now(), limits)
    }

    /// `issued` is when the coordinator's own certificate was made.
    pub(super) fn start_at(issued: SystemTime, limits: Limits) -> Self {
        log();
        let random = JoinToken::mint([0; 32]).expect("randomness");
        let cluster = ClusterId(random.secret()[..16].try_into().expect("16 of 32"));
        let authority = Authority::create(cluster, SystemTime::now()).expect("made");
        let identity = authority.server_identity(replica(), issued).expect("issued");
        let desk = Arc::new(Desk::default());
        let listener =
            Listener::bind_limited(LOOPBACK, &identity, &authority, desk.clone(), limits);
        let listener = Arc::new(listener.expect("a free port"));
        let address = listener.local_address().expect("bound").to_string();
        let this = Self { authority, address, listener, desk };
        this.serve();
        this
    }

    /// A token good for `uses` members.
    pub(super) fn token(&self, uses: usize) -> JoinToken {
        let token = JoinToken::mint(self.authority.hash()).expect("randomness");
        let entry = TokenEntry { secret_hash: token.secret_hash(), uses, admitted: Vec::new() };
        locked(&self.desk.tokens).insert(token.id, entry);
        token
    }

    /// A member without a join, in any role.
    pub(super) fn member_as(&self, role: Role, number: u64) -> Identity {
        locked(&self.desk.members).insert(MemberId(number), role);
        let identity = self.authority.client_identity(role, MemberId(number), SystemTime::now());
        identity.expect("issued")
    }

    /// A member without a join.
    pub(super) fn member(&self, number: u64) -> Identity {
        self.member_since(number, SystemTime::now())
    }

    /// A member with a certificate of that age.
    pub(super) fn member_since(&self, number: u64, issued: SystemTime) -> Identity {
        locked(&self.desk.members).insert(MemberId(number), Role::Agent);
        self.authority.client_identity(Role::Agent, MemberId(number), issued).expect("issued")
    }

    fn serve(&self) {
        let (listener, desk) = (self.listener.clone(), self.desk.clone());
        let dir = tempfile::tempdir().expect("a folder");
        self.authority.save(dir.path()).expect("saved");
        let authority = Authority::load(dir.path()).expect("readable").expect("saved");
        let authority = Arc::new(authority);
        assert_eq!(authority.hash(), self.authority.hash());
        let listener = Arc::downgrade(&listener);
        tokio::spawn(async move {
            loop {
                let Some(listener) = listener.upgrade() else { return };
                let next = tokio::time::timeout(Duration::from_millis(100), listener.accept());
                match next.await {
                    Ok(Some(Arrival::Join(attempt))) => {
                        if let Some((attempt, certificate)) = desk.decide(&authority, attempt) {
                            tokio::spawn(async move {
                                match certificate {
                                    Some(certificate) => attempt.admit(certificate).await,
                                    None => attempt.refuse().await,
                                }
                            });
                        }
                    }
                    Ok(Some(Arrival::Member(link))) => {
                        locked(&desk.links).push(link.clone());
                        tokio::spawn(echo(link, authority.clone()));
                    }
                    Ok(None) => return,
                    Err(_) => {}
                }
            }
        });
    }
}

impl Desk {
    /// The certificate for a good token; `None` in the place of the attempt to drop it.
    fn decide(
        &self,
        authority: &Authority,
        attempt: JoinAttempt,
    ) -> Option<(JoinAttempt, Option<Vec<u8>>)> {
        locked(&self.joins).push((attempt.token_id, attempt.public_key));
        let mut tokens = locked(&self.tokens);
        let member = tokens
            .get_mut(&attempt.token_id)
            .filter(|token| token.secret_hash == attempt.secret_hash)
            .and_then(|token| {
                let known = token.admitted.iter().find(|known| known.0 == attempt.public_key);
                if let Some((_, member, issued)) = known {
                    return Some((*member, *issued));
                }
                if token.admitted.len() >= token.uses {
                    return None;
                }
                let mut members = locked(&self.members);
                let member = MemberId(1_000 + members.len() as u64);
                members.insert(member, Role::Agent);
                let issued = SystemTime::now();
                token.admitted.push((attempt.public_key, member, issued));
                Some((member, issued))
            });
        let mut forgets = locked(&self.forgets);
        if *forgets > 0 {
            *forgets -= 1;
            return None;
        }
        let certificate = member.map(|(member, issued)| {
            let key = &attempt.public_key;
            authority.issue(key, Role::Agent, member, issued).expect("issued")
        });
        Some((attempt, certificate))
    }
}

async fn echo(link: Link, authority: Arc<Authority>) {
    while let Ok(Some((open, mut sender, mut receiver))) = link.accept().await {
        if open == SILENT {
            // Neither read nor dropped: the peer meets the windows.
            tokio::spawn(async move {
                let _held = (sender, receiver);
                std::future::pending::<()>().await;
            });
            continue;
        }
        if open == Open::Renew {
            let who = link.who();
            let key = link.public_key();
            let issued = authority.issue(&key, who.role, who.member, SystemTime::now());
            let answer = Renewal::Renewed { certificate: issued.expect("issued") };
            sender.send(&answer).await.expect("sent");
            continue;
        }
        tokio::spawn(async move {
            while let Ok(Some(chunk)) = receiver.chunk().await {
                if sender.send_chunk(&chunk).await.is_err() {
                    return;
                }
            }
            let _ = sender.finish().await;
        });
    }
}

/// Sends a text over a stream of its own and gets it back.
pub(super) async fn echoed(link: &Link, text: &str) -> String {
    let (mut sender, mut receiver) = link.open(&Open::Agent).await.expect("opened");
    sender.send(&text.to_string()).await.expect("sent");
    sender.finish().await.expect("finished");
    let back = receiver.receive::<String>().await.expect("received").expect("a frame");
    assert_eq!(receiver.receive::<String>().await.expect("ended"), None);
    back
}

/// A connection that keeps to QUIC and TLS, and to nothing above.
pub(super) async fn raw(
    address: &str,
    config: quinn::ClientConfig,
) -> Result<(Connection, Endpoint), quinn::ConnectionError> {
    let endpoint = Endpoint::client(LOOPBACK).expect("a free port");
    let address: SocketAddr = address.parse().expect("an address");
    let connecting = endpoint.connect_with(config, address, tls::SERVER_NAME).expect("valid");
    Ok((connecting.await?, endpoint))
}

/// A raw connection without a certificate.
pub(super) async fn raw_stranger(cluster: &Cluster) -> (Connection, Endpoint) {
    let pin = tls::Pin::new(cluster.authority.hash());
    let config = tls::joiner(pin, &Limits::standard()).expect("configured");
    raw(&cluster.address, config).await.expect("handshake")
}

/// A raw connection of a member that has not greeted.
pub(super) async fn raw_member(cluster: &Cluster, number: u64) -> (Connection, Endpoint) {
    let identity = cluster.member(number);
    let config = tls::client(&identity, &Limits::standard()).expect("configured");
    raw(&cluster.address, config).await.expect("handshake")
}

/// A raw connection of a member that has greeted as it should.
pub(super) async fn greeted_member(cluster: &Cluster, number: u64) -> (Connection, Endpoint) {
    let (connection, endpoint) = raw_member(cluster, number).await;
    let (send, receive) = connection.open_bi().await.expect("the first stream");
    let (mut writing, mut reading) = (Writing::new(send), Reading::new(receive));
    let within = Duration::from_secs(3);
    let hello = frame::encode(&Hello::ours()).expect("short");
    writing.send(hello, within).await.expect("sent");
    writing.end();
    reading.message::<Hello>(FIRST_FRAME_MAX, within).await.expect("read").expect("a hello");
    let greeting = reading.message::<Greeting>(FIRST_FRAME_MAX, within).await.expect("read");
    assert!(matches!(greeting, Some(Greeting::Welcome { .. })), "{greeting:?}");
    (connection, endpoint)
}

pub(super) fn replica() -> ReplicaId {
    ReplicaId(1.try_into().expect("not zero"))
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panicked with it")
}

/// Log lines so far that contain `text`; the first call begins the recording, at every level.
pub(super) fn logged(text: &str) -> Vec<String> {
    locked(log()).iter().filter(|line| line.contains(text)).cloned().collect()
}

/// The one warning that contains `text`, once it is there.
pub(super) async fn warning(text: &str) -> String {
    for _ in 0..200 {
        let lines = logged(text);
        if let Some(line) = lines.iter().find(|line| line.starts_with("WARN link")) {
            return line.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no warning about {text}");
}

fn log() -> &'static Mutex<Vec<String>> {
    static LINES: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    LINES.get_or_init(|| {
        tracing::subscriber::set_global_default(Recorder).expect("the only one");
        Mutex::default()
    })
}

/// Keeps every event and every span's fields as one line.
struct Recorder;

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut line = Line::of(span.metadata());
        span.record(&mut line);
        locked(log()).push(line.0);
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        locked(log()).push(line.0);
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::of(event.metadata());
        event.record(&mut line);
        locked(log()).push(line.0);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Line {
    fn of(metadata: &Metadata<'_>) -> Self {
        Self(format!("{} {}", metadata.level(), metadata.target()))
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("memory");
    }
}

/// Opens a stream that the cluster accepts and leaves alone.
pub(super) const SILENT: Open = Open::Ask;

pub(super) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Joins with a key of its own.
pub(super) async fn join(address: &str, token: &JoinToken) -> Result<Identity, LinkError> {
    join_limited(address, token, &Limits::standard()).await
}

pub(super) async fn join_limited(
    address: &str,
    token: &JoinToken,
    limits: &Limits,
) -> Result<Identity, LinkError> {
    let folder = tempfile::tempdir().expect("a folder");
    let addresses = [address.to_string()];
    crate::client::join_limited(&addresses, token, folder.path(), limits).await
}
