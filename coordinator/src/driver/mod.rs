//! Runs a node: one thread that owns it and its disk, fed by a queue.
//!
//! The loop takes all inputs that wait, steps them, makes what is ready durable in one commit, and
//! only then lets outputs leave. It reads the clocks; the node does not. A disk that fails stops it.
//!
//! Floor: shell.

mod images;
mod repeats;
mod roles;
mod thread;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use common::id::{ClientId, Digest, MemberId, ReplicaId, StudyId, TrialIndex};
use common::trial::Attempt;
use common::wire::message::peer::{Leadership, PeerMessage, RaftMessage};
use common::wire::message::{Answer, Ask, FromAgent, OutcomeRow, Request, Response, Role, ToAgent};
use link::{Authority, Link, LinkError, Who};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::content::{Content, ContentError};
use crate::disk::{Disk, Image, Reserve};
use crate::node::{Enrolment, Input, Join, Node, OwnFacts, SessionId};
use crate::parked::Parked;
use crate::peers::{Peers, Places};
use crate::scheduler::state::LOCAL_OPERATOR;

pub use roles::Roles;
pub use thread::wall_clock;

use thread::{Desk, Driver};

/// The way into a running node. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    inputs: Sender<Event>,
}

struct Shared {
    next: AtomicU64,
    disk: Arc<Disk>,
    content: Content,
    parked: Parked,
    authority: Arc<Authority>,
    roles: Arc<Roles>,
    peers: Arc<Peers>,
    leadership: watch::Receiver<Leadership>,
    links: Mutex<Vec<(Who, Link)>>,
    ended: watch::Receiver<Option<String>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held by whoever receives a snapshot: one at a time has a place on the disk.
    incoming: tokio::sync::Mutex<()>,
    own: ReplicaId,
}

/// What an agent says goes in here; dropped, its connection is gone.
pub struct AgentVoice {
    session: SessionId,
    handle: Handle,
}

/// Why a driver could not start.
#[derive(Debug, Error)]
pub enum DriverError {
    #[error("the coordinator's thread cannot be started: {source}")]
    Thread { source: std::io::Error },
}

/// How an admission ended, for the joiner.
pub enum Admission {
    Admitted { role: Role, number: u64, certificate: Vec<u8> },
    Refused,
    Elsewhere(Leadership),
}

pub(crate) enum Event {
    Input(Box<Input>),
    /// Connects an agent's outgoing queue.
    Agent {
        session: SessionId,
        member: MemberId,
        address: String,
        queue: mpsc::Sender<ToAgent>,
    },
    /// Answered when what it led to is on disk: an agent is heard no faster than that.
    Said {
        session: SessionId,
        message: FromAgent,
        done: oneshot::Sender<()>,
    },
    Peer {
        from: ReplicaId,
        message: Box<PeerMessage>,
        done: oneshot::Sender<()>,
    },
    Ask {
        who: MemberId,
        ask: Box<Ask>,
        answer: oneshot::Sender<Answer>,
    },
    Join {
        join: [[u8; 32]; 2],
        token_id: [u8; 6],
        answer: oneshot::Sender<Join>,
    },
    Enrol {
        replica: ReplicaId,
        address: String,
        level: u16,
        answer: oneshot::Sender<Result<(), Enrolment>>,
    },
    Snapshot {
        message: Box<RaftMessage>,
        state: Vec<u8>,
        done: oneshot::Sender<()>,
    },
    /// Looks at the node between two turns.
    Look(Box<dyn FnOnce(&Node) + Send>),
    /// Asks for all that is applied so far, as it is now.
    Image {
        answer: oneshot::Sender<Image>,
    },
    /// Lets readers of the disk see everything applied so far.
    Flush {
        done: oneshot::Sender<()>,
    },
    /// The other replicas say that this one is none.
    Removed,
    Stop,
}

/// What a node is run with.
pub struct Parts {
    pub node: Node,
    pub disk: Arc<Disk>,
    pub content: Content,
    pub parked: Parked,
    pub authority: Arc<Authority>,
    pub own: ReplicaId,
    /// Where other replicas reach this one; empty when they need not.
    pub address: String,
    /// Absent where the disk's room is not watched.
    pub reserve: Option<Reserve>,
    /// Replicas as they were known last.
    pub hints: BTreeMap<ReplicaId, String>,
    /// The folder in which they say where they are, if they share one.
    pub places: Option<Places>,
}

/// Starts the node's thread. Needs a tokio runtime around it.
pub fn start(parts: Parts) -> Result<Handle, DriverError> {
    let Parts { node, disk, content, parked, authority, own, address, reserve, .. } = parts;
    let (inputs, events) = channel();
    let (ended_sender, ended) = watch::channel(None);
    let (removed, removals) = mpsc::unbounded_channel();
    let (leadership, leading) = watch::channel(node.leadership());
    let roles = Arc::new(Roles::default());
    let peers = Peers::new(own, Arc::clone(&authority), inputs.clone(), parts.hints, parts.places);
    let version = env!("CARGO_PKG_VERSION").to_string();
    // Whoever connects in the first moment is judged by what is known already.
    roles.set(&node);
    let driver = Driver {
        node,
        events,
        disk: Arc::clone(&disk),
        roles: Arc::clone(&roles),
        peers: Arc::clone(&peers),
        runtime: tokio::runtime::Handle::current(),
        reserve,
        facts: OwnFacts { version, address, disk_free: None },
        removed,
        leadership,
        parked: parked.clone(),
        desk: Desk::new(),
    };
    let thread = std::thread::Builder::new()
        .name("coordinator".to_string())
        .spawn(move || {
            let ended = driver.run().inspect_err(|error| tracing::error!("{error}"));
            let stopped = |()| "the coordinator stopped".to_string();
            ended_sender.send_replace(Some(ended.map_or_else(|e| e.to_string(), stopped)));
        })
        .map_err(|source| DriverError::Thread { source })?;
    let shared = Shared {
        next: AtomicU64::new(1),
        disk,
        content,
        parked,
        authority,
        roles,
        peers,
        leadership: leading,
        links: Mutex::new(Vec::new()),
        ended,
        thread: Mutex::new(Some(thread)),
        incoming: tokio::sync::Mutex::new(()),
        own,
    };
    let handle = Handle { shared: Arc::new(shared), inputs };
    tokio::spawn(handle.clone().close_removed(removals));
    tokio::spawn(crate::spread::keep_data(handle.clone()));
    Ok(handle)
}

impl Handle {
    pub fn gate(&self) -> Arc<Roles> {
        Arc::clone(&self.shared.roles)
    }

    pub fn authority(&self) -> &Authority {
        &self.shared.authority
    }

    pub fn content(&self) -> &Content {
        &self.shared.content
    }

    pub fn parked(&self) -> &Parked {
        &self.shared.parked
    }

    /// A checkpoint that an agent left is here whole.
    pub fn park(&self, member: MemberId, attempt: Attempt, digest: Digest) {
        self.input(Input::Parked { member, attempt, digest });
    }

    pub fn peers(&self) -> &Arc<Peers> {
        &self.shared.peers
    }

    pub fn own(&self) -> ReplicaId {
        self.shared.own
    }

    /// Who leads, now and whenever it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.clone()
    }

    /// One question or command of an operator, who is known by their certificate.
    pub async fn ask(&self, who: MemberId, ask: Ask) -> Answer {
        match &ask.request {
            Request::Outcomes { study, from } | Request::OutcomesFor { study, from, .. } => {
                let (study, from) = (*study, *from);
                let answer = self.ask_log(who, ask).await;
                match answer.response {
                    Response::Done => {
                        let response = self.outcomes(study, from).await;
                        Answer { response, ..answer }
                    }
                    _ => answer,
                }
            }
            Request::Repeat { study, number, .. } => {
                let (study, number) = (*study, *number);
                let answer = self.ask_log(who, ask).await;
                match answer.response {
                    Response::Repeats(repeats) => {
                        let response = self.compared(study, number, *repeats).await;
                        Answer { response, ..answer }
                    }
                    _ => answer,
                }
            }
            Request::HasData { digest } => {
                let complete = self.shared.content.has(digest);
                self.answer(Response::HasData { complete })
            }
            Request::Submit { study, .. } => {
                if self.look(Node::is_leader).await == Some(true) {
                    let (digest, name) = (study.data.digest, study.name.clone());
                    if let Err(response) = crate::spread::ensure(self, &digest, &name).await {
                        return self.answer(response);
                    }
                }
                let answer = self.ask_log(who, ask).await;
                if let Response::Submitted { study, known: false } = answer.response {
                    let taken = crate::reuse::reuse(self, study).await;
                    tracing::info!(%study, taken, "submitted");
                }
                answer
            }
            _ => self.ask_log(who, ask).await,
        }
    }

    fn leads_alone(&self) -> bool {
        self.shared.peers.others().is_empty()
    }

    /// An answer that needs no log.
    fn answer(&self, response: Response) -> Answer {
        let addresses = self.shared.leadership.borrow().addresses.clone();
        Answer { applied: 0, response, addresses }
    }

    /// A question of its own. A command would need a number of its own besides, by which it is known
    /// when it comes twice.
    pub async fn ask_own(&self, request: Request) -> Response {
        let client = ClientId(self.shared.own.0.get());
        let ask = Ask { client, number: 0, at_least: 0, fresh: false, request };
        self.ask_log(LOCAL_OPERATOR, ask).await.response
    }

    /// Gives a study outcomes that are known already; returns when they are applied.
    pub async fn adopt(&self, study: StudyId, rows: Vec<OutcomeRow>) {
        self.input(Input::Adopt { study, rows });
        let (done, applied) = oneshot::channel();
        self.send(Event::Flush { done });
        let _ = applied.await;
    }

    /// A question or command for the log itself.
    async fn ask_log(&self, who: MemberId, ask: Ask) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.send(Event::Ask { who, ask: Box::new(ask), answer });
        match answered.await {
            Ok(answer) => answer,
            Err(_) => self.answer(self.stopped()),
        }
    }

    /// What the node knows, looked up between two turns.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Node) -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        self.send(Event::Look(Box::new(move |node| drop(tell.send(look(node))))));
        told.await.ok()
    }

    /// Lets readers of the disk see everything applied so far, or says why it cannot be read.
    async fn flushed(&self) -> Result<(), String> {
        let (done, flushed) = oneshot::channel();
        self.send(Event::Flush { done });
        flushed.await.map_err(|_| {
            let why = "the newest outcomes cannot be read: the disk is full; make room";
            self.shared.ended.borrow().clone().unwrap_or_else(|| why.to_string())
        })
    }

    /// A page of a study's outcomes.
    pub async fn outcomes(&self, study: StudyId, from: TrialIndex) -> Response {
        if let Err(why) = self.flushed().await {
            return Response::Refused { why };
        }
        let disk = Arc::clone(&self.shared.disk);
        let read = move || disk.outcomes(study, from, PAGE_BYTES);
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok((rows, next))) => Response::Outcomes { rows, next },
            Ok(Err(error)) => Response::Refused { why: error.to_string() },
            Err(error) => Response::Refused { why: error.to_string() },
        }
    }

    /// Decides on a key that joins with this token.
    pub async fn admit(
        &self,
        token_id: [u8; 6],
        secret_hash: [u8; 32],
        public_key: [u8; 32],
    ) -> Option<Admission> {
        let (answer, answered) = oneshot::channel();
        self.send(Event::Join { join: [secret_hash, public_key], token_id, answer });
        let admitted = match answered.await.ok()? {
            Join::Admitted(admitted) => admitted,
            Join::Refused => return Some(Admission::Refused),
            Join::Elsewhere(leadership) => return Some(Admission::Elsewhere(leadership)),
        };
        let (role, number) = (admitted.role, admitted.number);
        let joined = std::time::UNIX_EPOCH + Duration::from_millis(admitted.joined.0);
        match self.shared.authority.issue(&public_key, role, MemberId(number), joined) {
            Ok(certificate) => Some(Admission::Admitted { role, number, certificate }),
            Err(error) => {
                tracing::error!(%error, "a certificate could not be signed");
                None
            }
        }
    }

    /// Lets a replica in that has proved who it is.
    pub async fn enrol(
        &self,
        replica: ReplicaId,
        address: String,
        level: u16,
    ) -> Result<(), Enrolment> {
        let (answer, answered) = oneshot::channel();
        self.send(Event::Enrol { replica, address, level, answer });
        let stopping = || Enrolment::Elsewhere(self.shared.leadership.borrow().clone());
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// What another replica said, told to the node now; what is returned ends when it is worked on.
    pub fn peer_says(
        &self,
        from: ReplicaId,
        message: PeerMessage,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (done, heard) = oneshot::channel();
        self.send(Event::Peer { from, message: Box::new(message), done });
        async move {
            let _ = heard.await;
        }
    }

    /// Every replica and where it is.
    pub async fn replicas(&self) -> Vec<(ReplicaId, String)> {
        let known = self.look(|node| {
            let replicas = node.state().replicas.iter();
            replicas.filter_map(|(id, record)| Some((*id, record.address.clone()?))).collect()
        });
        known.await.unwrap_or_default()
    }

    /// The disk's place for a snapshot that arrives; waits for an earlier one to be done.
    pub async fn incoming(&self) -> (tokio::sync::MutexGuard<'_, ()>, Arc<Disk>) {
        (self.shared.incoming.lock().await, Arc::clone(&self.shared.disk))
    }

    /// A snapshot whose outcomes are in the disk's place; returns when it is installed or ignored.
    pub async fn snapshot_arrived(&self, message: Box<RaftMessage>, state: Vec<u8>) {
        let (done, heard) = oneshot::channel();
        self.send(Event::Snapshot { message, state, done });
        let _ = heard.await;
    }

    /// Connects an agent, whether over a socket or in this process.
    pub fn agent(
        &self,
        member: MemberId,
        address: String,
    ) -> (AgentVoice, mpsc::Receiver<ToAgent>) {
        let session = SessionId(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let (queue, to_agent) = mpsc::channel(AGENT_QUEUE);
        self.send(Event::Agent { session, member, address, queue });
        (AgentVoice { session, handle: self.clone() }, to_agent)
    }

    /// A chunk of a data file or checkpoint, and its whole length.
    pub fn read_data(&self, digest: &Digest, offset: u64) -> Result<(Vec<u8>, u64), ContentError> {
        match self.shared.content.read(digest, offset, CHUNK_BYTES) {
            Err(ContentError::Absent { .. }) => {
                self.shared.parked.read(digest, offset, CHUNK_BYTES)
            }
            read => read,
        }
    }

    /// Remembers a member's connection, so that its removal can close it.
    pub fn connected(&self, link: Link) {
        let mut links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.push((link.who(), link));
    }

    /// Forgets a connection that has closed.
    pub fn disconnected(&self, link: &Link) {
        let mut links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|(_, kept)| kept.id() != link.id());
    }

    /// Connections of members that are open.
    pub fn connections(&self) -> usize {
        self.shared.links.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn close_removed(self, mut removals: mpsc::UnboundedReceiver<MemberId>) {
        while let Some(member) = removals.recv().await {
            let links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = |(who, _): &&(Who, Link)| who.member == member && who.role != Role::Peer;
            links.iter().filter(gone).for_each(|(_, link)| link.close("revoked"));
        }
    }

    /// Resolves with the reason when the node's thread has ended, whatever ended it.
    pub async fn ended(&self) -> String {
        let mut ended = self.shared.ended.clone();
        let why = ended.wait_for(Option::is_some).await.map(|why| why.clone());
        why.ok().flatten().unwrap_or_else(|| "the coordinator stopped".to_string())
    }

    /// Lets another replica lead, if there is one that can, before this one stops.
    pub async fn hand_over(&self) {
        let leads = self.look(|node| node.is_leader()).await.unwrap_or(false);
        if !leads || self.leads_alone() {
            return;
        }
        self.input(Input::HandOver);
        let until = tokio::time::Instant::now() + HAND_OVER_WITHIN;
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if !self.look(|node| node.replica().is_leader()).await.unwrap_or(false) {
                // Agents and operators are being told who leads instead.
                return tokio::time::sleep(TELL_WITHIN).await;
            }
        }
    }

    /// Stops the node after what it has under way; everything acknowledged is on disk.
    pub async fn stop(&self) {
        self.send(Event::Stop);
        self.ended().await;
        self.shared.peers.stop();
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn input(&self, input: Input) {
        self.send(Event::Input(Box::new(input)));
    }

    fn send(&self, event: Event) {
        // A driver that has ended is noticed by whoever waits for the answer.
        let _ = self.inputs.send(event);
    }

    fn stopped(&self) -> Response {
        let why = self.shared.ended.borrow().clone();
        Response::Refused { why: why.unwrap_or_else(|| "the coordinator is stopping".to_string()) }
    }
}

impl AgentVoice {
    /// What the agent said; returns when it is worked on, so that nobody can say more than is heard.
    pub async fn said(&self, message: FromAgent) {
        let (done, heard) = oneshot::channel();
        self.handle.send(Event::Said { session: self.session, message, done });
        let _ = heard.await;
    }
}

impl Drop for AgentVoice {
    fn drop(&mut self) {
        self.handle.input(Input::AgentGone { session: self.session });
    }
}

/// The number in a peer's certificate, as a replica's.
pub fn replica_of(who: &Who) -> Result<ReplicaId, LinkError> {
    let number = NonZeroU64::new(who.member.0);
    number.map(ReplicaId).ok_or(LinkError::Certificate { what: "it names replica 0" })
}

/// Messages that may wait for one agent.
const AGENT_QUEUE: usize = 4_096;
/// Bytes of outcomes in one answer.
const PAGE_BYTES: usize = 768 << 10;
/// Bytes of a data file in one frame.
pub const CHUNK_BYTES: usize = 1 << 18;
const TELL_WITHIN: Duration = Duration::from_millis(200);
/// An election between two that are up.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);
