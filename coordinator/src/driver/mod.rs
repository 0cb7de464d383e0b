//! Runs a node: one thread that owns it and its disk, fed by a queue.
//!
//! The loop takes all inputs that wait, steps them, makes what is ready durable in one commit, and
//! only then lets outputs leave. It reads the clocks; the node does not. A disk that fails stops it.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::id::{Digest, MemberId, StudyId, TrialIndex};
use common::time::Timestamp;
use common::wire::message::{FromAgent, OutcomeRow, Request, Response, Role, ToAgent};
use link::{Authority, JoinToken, Link};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::content::{Content, ContentError};
use crate::disk::{Disk, DiskError};
use crate::node::{Input, Node, NodeError, Now, Output, RequestId, SessionId};
use crate::replica::TICK_MS;
use crate::scheduler::command::NewToken;
use crate::scheduler::state::{LOCAL_OPERATOR, Member};

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
    authority: Arc<Authority>,
    roles: Arc<Roles>,
    links: Mutex<Vec<(MemberId, Link)>>,
    ended: watch::Receiver<Option<String>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Live members and their roles: the gate that every connection passes.
#[derive(Default)]
pub struct Roles(RwLock<BTreeMap<MemberId, Role>>);

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

enum Event {
    Input(Input),
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
    Request {
        request: Request,
        answer: oneshot::Sender<Response>,
    },
    Token {
        token: NewToken,
        text: String,
        answer: oneshot::Sender<Response>,
    },
    Join {
        join: [[u8; 32]; 2],
        token_id: [u8; 6],
        answer: oneshot::Sender<Option<(MemberId, Member)>>,
    },
    /// Lets readers of the disk see everything applied so far.
    Flush {
        done: oneshot::Sender<()>,
    },
    Stop,
}

/// What the thread owns.
struct Driver {
    node: Node,
    disk: Arc<Disk>,
    roles: Arc<Roles>,
    started: Instant,
    next_request: u64,
    answers: BTreeMap<RequestId, oneshot::Sender<Response>>,
    joins: BTreeMap<RequestId, oneshot::Sender<Option<(MemberId, Member)>>>,
    agents: BTreeMap<SessionId, mpsc::Sender<ToAgent>>,
    staged: Vec<(StudyId, OutcomeRow)>,
    /// Agents whose messages are being worked on.
    heard: Vec<oneshot::Sender<()>>,
    removed: mpsc::UnboundedSender<MemberId>,
}

#[derive(Debug, Error)]
enum DriveError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Starts the node's thread. Needs a tokio runtime around it.
pub fn start(
    node: Node,
    disk: Arc<Disk>,
    content: Content,
    authority: Arc<Authority>,
) -> Result<Handle, DriverError> {
    let (inputs, events) = channel();
    let (ended_sender, ended) = watch::channel(None);
    let (removed, removals) = mpsc::unbounded_channel();
    let roles = Arc::new(Roles::default());
    let driver = Driver {
        node,
        disk: Arc::clone(&disk),
        roles: Arc::clone(&roles),
        started: Instant::now(),
        next_request: 0,
        answers: BTreeMap::new(),
        joins: BTreeMap::new(),
        agents: BTreeMap::new(),
        staged: Vec::new(),
        heard: Vec::new(),
        removed,
    };
    let thread = std::thread::Builder::new()
        .name("coordinator".to_string())
        .spawn(move || {
            let why = match driver.run(&events) {
                Ok(()) => "the coordinator stopped".to_string(),
                Err(error) => {
                    tracing::error!("{error}");
                    error.to_string()
                }
            };
            ended_sender.send_replace(Some(why));
        })
        .map_err(|source| DriverError::Thread { source })?;
    let links = Mutex::new(Vec::new());
    let thread = Mutex::new(Some(thread));
    let next = AtomicU64::new(1);
    let shared = Shared { next, disk, content, authority, roles, links, ended, thread };
    let handle = Handle { shared: Arc::new(shared), inputs };
    tokio::spawn(handle.clone().close_removed(removals));
    Ok(handle)
}

impl Driver {
    fn run(mut self, events: &Receiver<Event>) -> Result<(), DriveError> {
        self.members_changed();
        self.turn()?;
        let tick = Duration::from_millis(TICK_MS);
        let mut next_tick = Instant::now() + tick;
        loop {
            let patience = next_tick.saturating_duration_since(Instant::now());
            let mut stop = false;
            let mut flushes: Vec<oneshot::Sender<()>> = Vec::new();
            match events.recv_timeout(patience) {
                Ok(event) => {
                    stop |= self.event(event, &mut flushes);
                    for event in events.try_iter().take(EVENTS_AT_ONCE) {
                        stop |= self.event(event, &mut flushes);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => stop = true,
            }
            if Instant::now() >= next_tick {
                let now = self.now();
                self.node.step(Input::Tick, now);
                next_tick = Instant::now() + tick;
            }
            self.turn()?;
            for done in self.heard.drain(..) {
                let _ = done.send(());
            }
            if !flushes.is_empty() || stop {
                self.flush(stop)?;
            }
            for done in flushes {
                let _ = done.send(());
            }
            if stop {
                return Ok(());
            }
        }
    }

    /// Persists and applies until nothing is ready, then grants.
    fn turn(&mut self) -> Result<(), DriveError> {
        loop {
            while let Some(persist) = self.node.ready()? {
                if !persist.is_empty() {
                    self.disk.commit(&persist, &self.staged)?;
                    self.staged.clear();
                }
                let now = self.now();
                self.node.persisted(now)?;
                self.dispatch();
            }
            let now = self.now();
            self.node.settle(now);
            if self.dispatch() == 0 {
                return Ok(());
            }
        }
    }

    fn flush(&mut self, durable: bool) -> Result<(), DriveError> {
        if durable {
            self.disk.commit(&crate::replica::log::Persist::default(), &self.staged)?;
        } else if !self.staged.is_empty() {
            self.disk.stage(&self.staged)?;
        }
        self.staged.clear();
        Ok(())
    }

    /// Hands an event to the node. True when it asks to stop.
    fn event(&mut self, event: Event, flushes: &mut Vec<oneshot::Sender<()>>) -> bool {
        let now = self.now();
        match event {
            Event::Input(input) => {
                if let Input::AgentGone { session } = &input {
                    self.agents.remove(session);
                }
                self.node.step(input, now);
            }
            Event::Agent { session, member, address, queue } => {
                self.agents.insert(session, queue);
                self.node.step(Input::AgentArrived { session, member, address }, now);
            }
            Event::Said { session, message, done } => {
                self.heard.push(done);
                self.node.step(Input::AgentSaid { session, message }, now);
            }
            Event::Request { request, answer } => {
                let id = self.number();
                self.answers.insert(id, answer);
                self.node.step(Input::Asked { id, request }, now);
            }
            Event::Token { token, text, answer } => {
                let id = self.number();
                self.answers.insert(id, answer);
                self.node.step(Input::TokenMinted { id, token, text }, now);
            }
            Event::Join { join: [secret_hash, public_key], token_id, answer } => {
                let id = self.number();
                self.joins.insert(id, answer);
                self.node.step(Input::Join { id, token_id, secret_hash, public_key }, now);
            }
            Event::Flush { done } => flushes.push(done),
            Event::Stop => return true,
        }
        false
    }

    /// Sends what the node put out; returns how much it was.
    fn dispatch(&mut self) -> usize {
        let outputs = self.node.outputs();
        let count = outputs.len();
        for output in outputs {
            match output {
                Output::ToAgent { session, message } => {
                    let queue = self.agents.get(&session);
                    if queue.is_some_and(|queue| queue.try_send(message).is_err()) {
                        // It does not read, or it is gone: it comes back and registers again.
                        self.agents.remove(&session);
                    }
                }
                Output::CloseAgent { session, why } => {
                    if let Some(queue) = self.agents.remove(&session) {
                        let _ = queue.try_send(ToAgent::Goodbye { why });
                    }
                }
                Output::Answer { id, response } => {
                    if let Some(answer) = self.answers.remove(&id) {
                        let _ = answer.send(response);
                    }
                }
                Output::Admission { id, member, .. } => {
                    if let Some(answer) = self.joins.remove(&id) {
                        // The gate must know the member before it can come.
                        self.members_changed();
                        let _ = answer.send(member);
                    }
                }
                Output::Keep { study, row } => self.staged.push((study, *row)),
                Output::MemberRemoved { member } => drop(self.removed.send(member)),
                Output::MembersChanged => self.members_changed(),
            }
        }
        count
    }

    fn members_changed(&self) {
        let members = self.node.state().members.iter();
        let mut roles: BTreeMap<MemberId, Role> = members.map(|(id, m)| (*id, m.role)).collect();
        roles.insert(LOCAL_OPERATOR, Role::Operator);
        *self.roles.0.write().unwrap_or_else(PoisonError::into_inner) = roles;
    }

    fn number(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn now(&self) -> Now {
        let mono = Timestamp(self.started.elapsed().as_millis() as u64);
        Now { mono, wall: wall_clock() }
    }
}

/// Unix time in milliseconds.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as u64)
}

impl link::Gate for Roles {
    fn role(&self, member: MemberId) -> Option<Role> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&member).copied()
    }
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

    /// One question or command of an operator.
    pub async fn ask(&self, request: Request) -> Response {
        match request {
            Request::Outcomes { study, from } => self.outcomes(study, from).await,
            Request::HasData { digest } => {
                Response::HasData { complete: self.shared.content.has(&digest) }
            }
            Request::CreateToken { role, ttl_ms, uses, label } => {
                self.create_token(role, ttl_ms, uses, label).await
            }
            Request::Submit { study, text } => {
                if !self.shared.content.has(&study.data.digest) {
                    let why =
                        format!("the data of study {} is not here yet; send it first", study.name);
                    return Response::Refused { why };
                }
                let response = self.ask_log(Request::Submit { study, text }).await;
                if let Response::Submitted { study, known: false } = response {
                    let taken = crate::reuse::reuse(self, study).await;
                    tracing::info!(%study, taken, "submitted");
                }
                response
            }
            other => self.ask_log(other).await,
        }
    }

    /// Gives a study outcomes that are known already; returns when they are applied.
    pub async fn adopt(&self, study: StudyId, rows: Vec<OutcomeRow>) {
        self.send(Event::Input(Input::Adopt { study, rows }));
        let (done, applied) = oneshot::channel();
        self.send(Event::Flush { done });
        let _ = applied.await;
    }

    /// A question or command for the log itself.
    pub async fn ask_log(&self, request: Request) -> Response {
        let (answer, answered) = oneshot::channel();
        self.send(Event::Request { request, answer });
        answered.await.unwrap_or_else(|_| self.stopped())
    }

    async fn create_token(
        &self,
        role: Role,
        ttl_ms: u64,
        uses: Option<u32>,
        label: String,
    ) -> Response {
        if label.len() > LABEL_BYTES_MAX {
            let why = format!("a label has at most {LABEL_BYTES_MAX} letters");
            return Response::Refused { why };
        }
        let minted = match JoinToken::mint(self.shared.authority.hash()) {
            Ok(minted) => minted,
            Err(error) => return Response::Refused { why: error.to_string() },
        };
        let token = NewToken {
            id: minted.id,
            secret_hash: minted.secret_hash(),
            role,
            uses,
            expires: wall_clock().plus_ms(ttl_ms),
            label,
        };
        let (answer, answered) = oneshot::channel();
        self.send(Event::Token { token, text: minted.expose(), answer });
        answered.await.unwrap_or_else(|_| self.stopped())
    }

    /// A page of a study's outcomes.
    pub async fn outcomes(&self, study: StudyId, from: TrialIndex) -> Response {
        let (done, flushed) = oneshot::channel();
        self.send(Event::Flush { done });
        if flushed.await.is_err() {
            return self.stopped();
        }
        let disk = Arc::clone(&self.shared.disk);
        let read = move || disk.outcomes(study, from, PAGE_BYTES);
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok((rows, next))) => Response::Outcomes { rows, next },
            Ok(Err(error)) => Response::Refused { why: error.to_string() },
            Err(error) => Response::Refused { why: error.to_string() },
        }
    }

    /// The certificate of a key that joins with this token, or `None`: refused.
    pub async fn admit(
        &self,
        token_id: [u8; 6],
        secret_hash: [u8; 32],
        public_key: [u8; 32],
    ) -> Option<(MemberId, Vec<u8>)> {
        let (answer, answered) = oneshot::channel();
        self.send(Event::Join { join: [secret_hash, public_key], token_id, answer });
        let (id, member) = answered.await.ok()??;
        let joined = UNIX_EPOCH + Duration::from_millis(member.joined.0);
        match self.shared.authority.issue(&public_key, member.role, id, joined) {
            Ok(certificate) => Some((id, certificate)),
            Err(error) => {
                tracing::error!(%error, "a certificate could not be signed");
                None
            }
        }
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

    /// A chunk of a data file and its whole length.
    pub fn read_data(&self, digest: &Digest, offset: u64) -> Result<(Vec<u8>, u64), ContentError> {
        self.shared.content.read(digest, offset, CHUNK_BYTES)
    }

    /// Remembers a member's connection, so that its removal can close it.
    pub fn connected(&self, member: MemberId, link: Link) {
        let mut links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.push((member, link));
    }

    /// Forgets a connection that has closed.
    pub fn disconnected(&self, member: MemberId, link: &Link) {
        let mut links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|(other, kept)| *other != member || kept.id() != link.id());
    }

    async fn close_removed(self, mut removals: mpsc::UnboundedReceiver<MemberId>) {
        while let Some(member) = removals.recv().await {
            let links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.iter().filter(|(other, _)| *other == member).for_each(|(_, link)| {
                link.close("revoked");
            });
        }
    }

    /// Resolves with the reason when the node's thread has ended, whatever ended it.
    pub async fn ended(&self) -> String {
        let mut ended = self.shared.ended.clone();
        let why = ended.wait_for(Option::is_some).await.map(|why| why.clone());
        why.ok().flatten().unwrap_or_else(|| "the coordinator stopped".to_string())
    }

    /// Stops the node after what it has under way; everything acknowledged is on disk.
    pub async fn stop(&self) {
        self.send(Event::Stop);
        self.ended().await;
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
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
        self.handle.send(Event::Input(Input::AgentGone { session: self.session }));
    }
}

/// Inputs stepped before the disk is written: a group commit.
const EVENTS_AT_ONCE: usize = 4_096;
/// A token's name for people.
pub const LABEL_BYTES_MAX: usize = 64;
/// Messages that may wait for one agent.
const AGENT_QUEUE: usize = 4_096;
/// Bytes of outcomes in one answer.
const PAGE_BYTES: usize = 768 << 10;
/// Bytes of a data file in one frame.
pub const CHUNK_BYTES: usize = 1 << 18;
