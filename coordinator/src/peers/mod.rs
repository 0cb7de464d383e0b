//! Connections to the other replicas: one each, made again and again, for messages and bulk.
//!
//! A message that cannot leave at once is dropped, and the node is told: Raft sends again what
//! matters. Bulk goes over streams of its own and delays no message. What a replica that was not
//! reached lately should know is in its next heartbeat, so nothing is kept for it.
//!
//! Floor: shell.

mod places;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use common::id::{MemberId, ReplicaId};
use common::wire::message::peer::PeerMessage;
use common::wire::message::{Open, Role};
use link::{Authority, FrameSender, Link, LinkError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::driver::Event;
use crate::node::Node;

pub use places::Places;
pub use snapshot::receive as receive_snapshot;

/// The lines to all other replicas.
pub struct Peers {
    own: ReplicaId,
    authority: Arc<Authority>,
    inputs: Sender<Event>,
    runtime: tokio::runtime::Handle,
    lines: Mutex<BTreeMap<ReplicaId, Line>>,
    /// Who decides that this replica, which was removed, may go.
    left_to: Mutex<Option<Vec<ReplicaId>>>,
    /// Where replicas were last known to be, while the log does not say.
    hints: BTreeMap<ReplicaId, String>,
    /// Where they say that they are, if they share a folder.
    places: Option<Places>,
}

struct Line {
    address: String,
    queue: mpsc::Sender<PeerMessage>,
    state: Arc<Mutex<LineState>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct LineState {
    link: Option<Link>,
    /// Since when the other side says that this replica is none.
    revoked: Option<Instant>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(link) = locked(&self.state).link.take() {
            link.close("this replica turns elsewhere");
        }
    }
}

impl Peers {
    pub(crate) fn new(
        own: ReplicaId,
        authority: Arc<Authority>,
        inputs: Sender<Event>,
        hints: BTreeMap<ReplicaId, String>,
        places: Option<Places>,
    ) -> Arc<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (lines, left_to) = (Mutex::default(), Mutex::default());
        Arc::new(Self { own, authority, inputs, runtime, lines, left_to, hints, places })
    }

    pub fn own(&self) -> ReplicaId {
        self.own
    }

    /// Keeps lines to whom the node knows, and to no others.
    pub(crate) fn set(&self, node: &Node) {
        let mut wanted = self.hints.clone();
        if node.state().level > 0 {
            wanted.retain(|id, _| node.knows_replica(*id));
        }
        wanted.extend(node.addresses_of_others());
        wanted.remove(&self.own);
        *locked(&self.left_to) = node.left_to();
        let mut lines = locked(&self.lines);
        lines.retain(|id, line| {
            // One that was removed is heard until Raft has it no more; its address stays.
            let needed = node.knows_replica(*id) && !node.state().replicas.contains_key(id);
            wanted.get(id).map_or(needed, |address| *address == line.address)
        });
        for (id, address) in wanted {
            lines.entry(id).or_insert_with(|| self.line(id, address));
        }
    }

    fn line(&self, to: ReplicaId, address: String) -> Line {
        let (queue, messages) = mpsc::channel(QUEUE_MESSAGES);
        let state = Arc::<Mutex<LineState>>::default();
        let keeping = Keeping {
            own: self.own,
            to,
            address: address.clone(),
            authority: Arc::clone(&self.authority),
            state: Arc::clone(&state),
            places: self.places.clone(),
        };
        let task = self.runtime.spawn(keeping.keep(messages));
        Line { address, queue, state, task }
    }

    /// Sends one message, or does not: false.
    pub(crate) fn send(&self, to: ReplicaId, message: PeerMessage) -> bool {
        let lines = locked(&self.lines);
        lines.get(&to).is_some_and(|line| line.queue.try_send(message).is_ok())
    }

    /// Every other replica there is a line to, with its connection if there is one now.
    pub fn others(&self) -> Vec<(ReplicaId, Option<Link>)> {
        let lines = locked(&self.lines);
        lines.iter().map(|(id, line)| (*id, locked(&line.state).link.clone())).collect()
    }

    fn link(&self, to: ReplicaId) -> Option<Link> {
        locked(&self.lines).get(&to).and_then(|line| locked(&line.state).link.clone())
    }

    /// Notices when most of those that decide, or for long every other replica, have said that this one
    /// is none.
    pub(crate) fn look_for_removal(&self) {
        let lines = locked(&self.lines);
        let revoked = |line: &Line| locked(&line.state).revoked;
        let told = locked(&self.left_to).as_ref().is_some_and(|left_to| {
            let refuse =
                |id: &&ReplicaId| lines.get(id).is_some_and(|line| revoked(line).is_some());
            2 * left_to.iter().filter(refuse).count() > left_to.len()
        });
        let long = |line: &Line| revoked(line).is_some_and(|since| since.elapsed() >= REVOKED_FOR);
        if told || (!lines.is_empty() && lines.values().all(long)) {
            let _ = self.inputs.send(Event::Removed);
        }
    }

    /// Ends all lines.
    pub fn stop(&self) {
        locked(&self.lines).clear();
    }
}

/// What keeps one line.
struct Keeping {
    own: ReplicaId,
    to: ReplicaId,
    address: String,
    authority: Arc<Authority>,
    state: Arc<Mutex<LineState>>,
    places: Option<Places>,
}

impl Keeping {
    async fn keep(self, mut messages: mpsc::Receiver<PeerMessage>) {
        let mut pause = PAUSE_FIRST;
        let mut told = false;
        loop {
            match self.connect().await {
                Ok((link, sender)) => {
                    pause = PAUSE_FIRST;
                    told = false;
                    tracing::debug!(replica = %self.to, address = %self.address, "connected");
                    // What waited is of the past: Raft has counted it as lost.
                    while messages.try_recv().is_ok() {}
                    let over = self.send_all(&link, sender, &mut messages).await;
                    locked(&self.state).link = None;
                    link.close("the line is over");
                    if over {
                        return;
                    }
                }
                Err(error) => {
                    self.note_refusal(&error);
                    if !std::mem::replace(&mut told, true) {
                        let why = chain(&error);
                        tracing::info!(replica = %self.to, address = %self.address, %why, "not reached");
                    }
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    async fn connect(&self) -> Result<(Link, FrameSender), LinkError> {
        // A new certificate for each connection: none of them ever gets old.
        let member = MemberId(self.own.0.get());
        let identity = self.authority.client_identity(Role::Peer, member, SystemTime::now())?;
        let link = match self.place().await {
            Some(place) => match link::connect_peer(&place, &identity).await {
                Ok(link) => link,
                Err(_) => link::connect_peer(&self.address, &identity).await?,
            },
            None => link::connect_peer(&self.address, &identity).await?,
        };
        let (sender, _) = link.open(&Open::Peer).await?;
        let mut state = locked(&self.state);
        state.revoked = None;
        state.link = Some(link.clone());
        drop(state);
        Ok((link, sender))
    }

    /// Where the other one says that it is, if that is elsewhere than where it was.
    async fn place(&self) -> Option<String> {
        let (places, to) = (self.places.clone()?, self.to);
        let place = tokio::task::spawn_blocking(move || places.of(to)).await.ok()?;
        place.filter(|place| *place != self.address)
    }

    fn note_refusal(&self, error: &LinkError) {
        let mut state = locked(&self.state);
        match error {
            LinkError::Revoked { .. } => {
                state.revoked.get_or_insert_with(Instant::now);
            }
            // Nobody is there: that says nothing.
            _ => state.revoked = None,
        }
    }

    /// Sends what comes, until the connection ends. True when nothing will come any more.
    async fn send_all(
        &self,
        link: &Link,
        mut sender: FrameSender,
        messages: &mut mpsc::Receiver<PeerMessage>,
    ) -> bool {
        let sending = async {
            while let Some(message) = messages.recv().await {
                if sender.send(&message).await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::select! {
            over = sending => over,
            why = link.closed() => {
                tracing::debug!(replica = %self.to, %why, "the line is cut");
                false
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// Between half of it and one and a half times.
pub(crate) fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hash keys are the only randomness here.
    let drawn = std::collections::hash_map::RandomState::new().build_hasher().finish();
    pause.mul_f64(0.5 + drawn as f64 / u64::MAX as f64)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages that may wait for one replica; further ones are lost, as on any network.
const QUEUE_MESSAGES: usize = 1_024;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_millis(1_000);
/// One replica may not know yet that this one was admitted; all of them for so long know better.
const REVOKED_FOR: Duration = Duration::from_secs(20);
