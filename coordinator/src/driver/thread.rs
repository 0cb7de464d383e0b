//! The node's thread: takes what waits, steps it, makes it durable in one commit, lets outputs leave.
//!
//! The clocks are read here and handed to the node. Messages that need not wait for the disk leave
//! before it is written. A disk that fails ends the thread; one that is full is waited for, and who
//! asks meanwhile is told so.
//!
//! Floor: shell.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::id::{MemberId, ReplicaId, StudyId};
use common::time::Timestamp;
use common::wire::message::peer::{Leadership, RaftMessage};
use common::wire::message::{Answer, OutcomeRow, Response, ToAgent};
use thiserror::Error;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Event, Roles};
use crate::disk::{Disk, DiskError, Image, Look, Reserve, RowChange};
use crate::node::{
    Enrolment, Input, Join, Node, NodeError, Now, Output, OwnFacts, RequestId, Room, SessionId,
};
use crate::parked::Parked;
use crate::peers::Peers;
use crate::replica::TICK_MS;
use crate::replica::log::{Persist, Source};

/// What the thread owns.
pub(super) struct Driver {
    pub node: Node,
    pub events: Receiver<Event>,
    pub disk: Arc<Disk>,
    pub roles: Arc<Roles>,
    pub peers: Arc<Peers>,
    pub runtime: runtime::Handle,
    pub reserve: Option<Reserve>,
    pub facts: OwnFacts,
    pub removed: mpsc::UnboundedSender<MemberId>,
    pub leadership: watch::Sender<Leadership>,
    pub parked: Parked,
    pub desk: Desk,
}

/// Who waits for what, and what is on its way to the disk.
pub(super) struct Desk {
    started: Instant,
    next_request: u64,
    answers: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    joins: BTreeMap<RequestId, oneshot::Sender<Join>>,
    enrolments: BTreeMap<RequestId, oneshot::Sender<Result<(), Enrolment>>>,
    agents: BTreeMap<SessionId, mpsc::Sender<ToAgent>>,
    staged: Vec<RowChange>,
    /// What came while the disk was full.
    later: VecDeque<Event>,
    /// Messages that are being worked on.
    heard: Vec<oneshot::Sender<()>>,
    unreachable: Vec<ReplicaId>,
    image: Option<Arc<Image>>,
    looked: Option<Instant>,
    was_removed: bool,
    /// Who wants an image of all that is applied.
    images: Vec<oneshot::Sender<Image>>,
}

#[derive(Debug, Error)]
pub(super) enum DriveError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(
        "this replica was removed from the cluster; to join again, start it in an empty folder with \
         --join and a new token"
    )]
    Removed,
}

impl Desk {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            next_request: 0,
            answers: BTreeMap::new(),
            joins: BTreeMap::new(),
            enrolments: BTreeMap::new(),
            agents: BTreeMap::new(),
            staged: Vec::new(),
            later: VecDeque::new(),
            heard: Vec::new(),
            unreachable: Vec::new(),
            image: None,
            looked: None,
            was_removed: false,
            images: Vec::new(),
        }
    }

    fn number(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }
}

impl Driver {
    pub fn run(mut self) -> Result<(), DriveError> {
        self.members_changed();
        self.look_at_the_disk(true);
        self.turn()?;
        let tick = Duration::from_millis(TICK_MS);
        let mut next_tick = Instant::now() + tick;
        loop {
            let patience = next_tick.saturating_duration_since(Instant::now());
            let mut stop = false;
            let mut flushes: Vec<oneshot::Sender<()>> = Vec::new();
            match self.next_event(patience) {
                Ok(event) => {
                    stop |= self.event(event, &mut flushes);
                    for _ in 0..EVENTS_AT_ONCE {
                        let Ok(event) = self.next_event(Duration::ZERO) else { break };
                        stop |= self.event(event, &mut flushes);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => stop = true,
            }
            if Instant::now() >= next_tick {
                self.look_at_the_disk(false);
                let now = self.now();
                self.node.step(Input::Tick, now);
                next_tick = Instant::now() + tick;
            }
            self.turn()?;
            self.tell_leadership();
            for done in self.desk.heard.drain(..) {
                let _ = done.send(());
            }
            if !flushes.is_empty() || !self.desk.images.is_empty() || stop {
                self.flush(stop)?;
            }
            self.give_images();
            // What found no room cannot be read yet; dropped, they say so.
            for done in flushes.into_iter().filter(|_| self.desk.staged.is_empty()) {
                let _ = done.send(());
            }
            if self.desk.was_removed {
                return Err(DriveError::Removed);
            }
            if stop {
                return Ok(());
            }
        }
    }

    fn next_event(&mut self, patience: Duration) -> Result<Event, RecvTimeoutError> {
        match self.desk.later.pop_front() {
            Some(event) => Ok(event),
            None => self.events.recv_timeout(patience),
        }
    }

    /// Persists and applies until nothing is ready, then grants.
    fn turn(&mut self) -> Result<(), DriveError> {
        loop {
            while let Some(persist) = self.node.ready()? {
                // A leader's messages go to the others while its own disk is written.
                self.dispatch();
                self.persist(&persist)?;
                let now = self.now();
                self.node.persisted(now)?;
                self.dispatch();
            }
            let now = self.now();
            self.node.settle(now);
            let sent = self.dispatch();
            let unreachable = std::mem::take(&mut self.desk.unreachable);
            for to in &unreachable {
                self.node.step(Input::Unreachable { to: *to }, now);
            }
            if sent == 0 && unreachable.is_empty() {
                return Ok(());
            }
        }
    }

    fn persist(&mut self, persist: &Persist) -> Result<(), DriveError> {
        if persist.is_empty() {
            return Ok(());
        }
        let source = persist.snapshot.as_ref().map(|save| save.source);
        if source == Some(Source::Leader) {
            // They belong to the state that is replaced.
            self.desk.staged.clear();
        }
        let staged = std::mem::take(&mut self.desk.staged);
        let began = Instant::now();
        self.commit(persist, &staged)?;
        self.node.disk_took(began.elapsed().as_micros() as u64);
        if let (Some(Source::Own { offered: true, .. }), Some(save)) = (source, &persist.snapshot) {
            let record = &save.record;
            let image = self.disk.image(record.meta.index, record.state.clone())?;
            self.desk.image = Some(Arc::new(image));
        }
        Ok(())
    }

    /// One commit, made again for as long as the disk is full.
    fn commit(&mut self, persist: &Persist, rows: &[RowChange]) -> Result<(), DriveError> {
        let mut told = false;
        loop {
            let committed = match self.is_exhausted() {
                true => Err(DiskError::Full { path: self.disk.path().to_path_buf() }),
                false => self.disk.commit(persist, rows),
            };
            match committed {
                Err(DiskError::Full { .. }) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!("the disk and its reserve are full; waiting for room");
                    }
                    self.wait_for_room()?;
                }
                done => return Ok(done?),
            }
        }
    }

    /// A while without the disk. Nobody must wait for an answer that only a disk can give: who asks
    /// is sent to the other replicas, or told what is missing here.
    fn wait_for_room(&mut self) -> Result<(), DriveError> {
        self.look_at_the_disk(true);
        // What they asked may be on its way to the disk; asked again it is still done once.
        for (_, asked) in std::mem::take(&mut self.desk.answers) {
            let _ = asked.send(self.no_room());
        }
        let until = Instant::now() + WAIT_FOR_ROOM;
        loop {
            match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Ask { answer, .. }) => {
                    let _ = answer.send(self.no_room());
                }
                Ok(Event::Look(look)) => look(&self.node),
                // Nothing of what waits was acknowledged.
                Ok(Event::Stop) => {
                    return Err(DiskError::Full { path: self.disk.path().to_path_buf() }.into());
                }
                Ok(event) => self.desk.later.push_back(event),
                Err(_) => break,
            }
        }
        match self.disk.reopen() {
            Err(DiskError::Full { .. }) => Ok(()),
            opened => Ok(opened?),
        }
    }

    fn no_room(&self) -> Answer {
        let state = self.node.state();
        let response = match state.replicas.len() {
            0 | 1 => Response::Refused { why: self.full(self.facts.disk_free.unwrap_or_default()) },
            _ => Response::Elsewhere { leader: None },
        };
        Answer { applied: state.applied, response, addresses: state.addresses() }
    }

    fn is_exhausted(&mut self) -> bool {
        let look = self.reserve.as_mut().map(Reserve::look);
        match look {
            Some(Ok(look)) if look.is_full => {
                self.tell_room(&look);
                look.is_exhausted
            }
            _ => false,
        }
    }

    /// What the disk has room for, twice a second.
    fn look_at_the_disk(&mut self, now: bool) {
        let due = self.desk.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if !due && !now {
            return;
        }
        self.desk.looked = Some(Instant::now());
        let Some(reserve) = &mut self.reserve else { return };
        match reserve.look() {
            Ok(look) => {
                self.facts.disk_free = Some(look.space.free);
                self.node.know_yourself(self.facts.clone());
                self.tell_room(&look);
            }
            Err(error) => tracing::warn!(%error, "the disk's free space cannot be read"),
        }
    }

    fn tell_room(&mut self, look: &Look) {
        let room = if look.is_exhausted {
            Room::Nothing { why: self.full(look.space.free) }
        } else if look.is_full {
            Room::OutcomesOnly { why: self.full(look.space.free) }
        } else {
            Room::Plenty
        };
        let now = self.now();
        self.node.step(Input::Room(room), now);
    }

    fn full(&self, free: u64) -> String {
        format!(
            "the disk of {} is full ({} MiB are free): make room, and this goes on by itself",
            self.peers.own(),
            free >> 20
        )
    }

    fn flush(&mut self, durable: bool) -> Result<(), DriveError> {
        let staged = std::mem::take(&mut self.desk.staged);
        if durable {
            self.commit(&Persist::default(), &staged)?;
        } else if !staged.is_empty() {
            match self.disk.stage(&staged) {
                // Readers see them when there is room again; the log has them.
                Err(DiskError::Full { .. }) => {
                    self.desk.staged = staged;
                    self.wait_for_room()?;
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// State and outcomes of one moment, for those who asked; dropped, there is none.
    fn give_images(&mut self) {
        let asked = std::mem::take(&mut self.desk.images);
        for answer in asked.into_iter().filter(|_| self.desk.staged.is_empty()) {
            let state = self.node.state();
            match state.encode().map(|bytes| self.disk.image(state.applied, bytes)) {
                Ok(Ok(image)) => drop(answer.send(image)),
                Ok(Err(error)) => tracing::warn!(%error, "no image of the outcomes can be made"),
                Err(error) => tracing::warn!(%error, "the state cannot be written"),
            }
        }
    }

    /// Hands an event to the node. True when it asks to stop.
    fn event(&mut self, event: Event, flushes: &mut Vec<oneshot::Sender<()>>) -> bool {
        let now = self.now();
        match event {
            Event::Input(input) => {
                if let Input::AgentGone { session } = input.as_ref() {
                    self.desk.agents.remove(session);
                }
                self.node.step(*input, now);
            }
            Event::Agent { session, member, address, queue } => {
                self.desk.agents.insert(session, queue);
                self.node.step(Input::AgentArrived { session, member, address }, now);
            }
            Event::Said { session, message, done } => {
                self.desk.heard.push(done);
                self.node.step(Input::AgentSaid { session, message }, now);
            }
            Event::Peer { from, message, done } => {
                self.desk.heard.push(done);
                self.node.step(Input::PeerSaid { from, message: *message }, now);
            }
            Event::Ask { who, ask, answer } => {
                let id = self.desk.number();
                self.desk.answers.insert(id, answer);
                self.node.step(Input::Asked { id, who, ask: *ask }, now);
            }
            Event::Join { join: [secret_hash, public_key], token_id, answer } => {
                let id = self.desk.number();
                self.desk.joins.insert(id, answer);
                self.node.step(Input::Join { id, token_id, secret_hash, public_key }, now);
            }
            Event::Enrol { replica, address, level, answer } => {
                let id = self.desk.number();
                self.desk.enrolments.insert(id, answer);
                self.node.step(Input::Enrol { id, replica, address, level }, now);
            }
            Event::Snapshot { message, state, done } => {
                self.desk.heard.push(done);
                self.node.step(Input::SnapshotArrived { message, state }, now);
            }
            Event::Look(look) => look(&self.node),
            Event::Image { answer } => self.desk.images.push(answer),
            Event::Flush { done } => flushes.push(done),
            Event::Removed => self.desk.was_removed = true,
            Event::Stop => return true,
        }
        false
    }

    /// Sends what the node put out; returns how much it was.
    fn dispatch(&mut self) -> usize {
        let outputs = self.node.outputs();
        let count = outputs.len();
        for output in outputs {
            self.put_out(output);
        }
        count
    }

    fn put_out(&mut self, output: Output) {
        let desk = &mut self.desk;
        match output {
            Output::ToAgent { session, message } => {
                let queue = desk.agents.get(&session);
                if queue.is_some_and(|queue| queue.try_send(message).is_err()) {
                    // It does not read, or it is gone: it comes back and registers again.
                    desk.agents.remove(&session);
                }
            }
            Output::CloseAgent { session, last } => {
                if let Some(queue) = desk.agents.remove(&session) {
                    let _ = queue.try_send(last);
                }
            }
            Output::Answer { id, answer } => {
                if let Some(asked) = desk.answers.remove(&id) {
                    let _ = asked.send(answer);
                }
            }
            Output::Admission { id, join, .. } => {
                if let Some(asked) = desk.joins.remove(&id) {
                    let _ = asked.send(join);
                }
            }
            Output::Enrolled { id, enrolled } => {
                if let Some(asked) = desk.enrolments.remove(&id) {
                    let _ = asked.send(enrolled);
                }
            }
            Output::ToPeer { to, message } => {
                if !self.peers.send(to, message) {
                    desk.unreachable.push(to);
                }
            }
            Output::SendSnapshot { to, number, message } => {
                self.send_snapshot(to, number, message);
            }
            Output::Withdraw => desk.image = None,
            Output::Keep { study, row } => desk.keep(study, *row),
            Output::Drop { study, trial } => desk.staged.push(RowChange::Drop(study, trial)),
            Output::Unpark { digest } => self.parked.remove(&digest),
            Output::MemberRemoved { member } => drop(self.removed.send(member)),
            Output::MembersChanged => self.members_changed(),
            Output::Installed => tracing::info!("the leader's snapshot is installed"),
        }
    }

    fn send_snapshot(&mut self, to: ReplicaId, number: u64, message: Box<RaftMessage>) {
        let wanted = message.snapshot.as_ref().map(|meta| meta.index);
        let image = self.desk.image.clone().filter(|image| Some(image.index) == wanted);
        let peers = Arc::clone(&self.peers);
        self.runtime.spawn(async move { peers.send_snapshot((to, number), *message, image).await });
    }

    fn members_changed(&self) {
        self.roles.set(&self.node);
        self.peers.set(&self.node);
    }

    fn tell_leadership(&self) {
        let new = self.node.leadership();
        self.leadership.send_if_modified(|old| {
            let changed = *old != new;
            if changed {
                if (old.term, &old.leader) != (new.term, &new.leader) {
                    let leader = new.leader.as_deref().unwrap_or("nobody");
                    tracing::info!(term = new.term, leader, "who leads");
                }
                *old = new;
            }
            changed
        });
    }

    fn now(&self) -> Now {
        let mono = Timestamp(self.desk.started.elapsed().as_millis() as u64);
        Now { mono, wall: wall_clock() }
    }
}

impl Desk {
    fn keep(&mut self, study: StudyId, row: OutcomeRow) {
        self.staged.push(RowChange::Keep(study, row));
    }
}

/// Unix time in milliseconds.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as u64)
}

/// Inputs stepped before the disk is written: a group commit.
const EVENTS_AT_ONCE: usize = 4_096;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const WAIT_FOR_ROOM: Duration = Duration::from_millis(200);
