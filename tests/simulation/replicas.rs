//! Coordinators as processes: a real node, and around it what a driver does.
//!
//! The order is that of `coordinator/src/driver`: step what waits, send what need not wait for the disk,
//! write, apply, send the rest. The process may die between any two of these.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::rc::Rc;

use common::id::{ClusterId, Digest, MemberId, ReplicaId};
use common::plan::Method;
use common::space::{Axis, Space};
use common::study::{Arm, Halving, Inner, Learned, OuterKind, Race, Select, Stop, Study};
use common::time::Timestamp;
use common::trial::Attempt;
use common::wire::message::peer::{PeerMessage, RaftMessage, SnapshotPart, Voters};
use common::wire::message::{Ask, FromAgent, Role};
use coordinator::disk::RowChange;
use coordinator::node::{Input, Node, Now, OwnFacts, RequestId, Room, SessionId, Settings};
use coordinator::planted::Planted;
use coordinator::replica::incoming::Incoming;
use coordinator::replica::log::Recovered;
use coordinator::replica::{Logger, Margin, Replica as Raft, TICK_MS, Timing};
use coordinator::scheduler::command::LEVEL;
use coordinator::scheduler::state::{Member, State, Token};

use super::disk::{self, Disk, Rows};
use super::invariants::{Broken, Seen};
use super::plan::{Bug, Plan, Point};
use super::world::{Event, World};

pub struct Replica {
    pub id: ReplicaId,
    pub disk: Disk,
    pub process: Option<Process>,
    pub(super) level: u16,
    /// Removed, or its disk is lost: it never comes back.
    pub is_dead: bool,
    pub(super) inbox: VecDeque<Inbound>,
    wakes: bool,
    pub(super) busy_until: u64,
    pub(super) slow: (u64, u64),
    pub(super) full: bool,
    pub(super) wall_offset: i64,
    pub(super) crash_at: Option<(Point, u64)>,
    /// The membership when it was decided to let it die at [`Point::Changed`].
    pub(super) members_then: Voters,
    pub(super) runs: u64,
    started: u64,
    ticks: bool,
}

pub struct Process {
    pub node: Node,
    pub staged: Vec<RowChange>,
    /// Of the stream that brings a snapshot: the sender's place, life and number, and what came so far.
    pub(super) stream: Option<(usize, (u64, u64))>,
    pub(super) incoming: Incoming,
    /// Parts taken as they come, where that bug is planted.
    pub(super) mixed: Vec<u8>,
    pub(super) mixed_message: Option<Box<RaftMessage>>,
    pub(super) image: Option<Rc<Image>>,
    pub(super) sessions: BTreeMap<SessionId, usize>,
    pub(super) by_conn: BTreeMap<usize, SessionId>,
    pub(super) requests: BTreeMap<RequestId, Asker>,
    next: u64,
    /// Replicas that said that this one is none.
    pub(super) refused_by: BTreeSet<ReplicaId>,
}

/// A snapshot to be sent.
pub(super) struct Image {
    pub index: u64,
    pub state: Vec<u8>,
    pub rows: Rows,
}

pub(super) enum Asker {
    Operator { operator: usize, number: u64 },
    Joining(usize),
}

/// What reaches a replica's process.
pub enum Inbound {
    Tick,
    Arrived {
        conn: usize,
        run: u64,
        member: MemberId,
    },
    Said {
        conn: usize,
        run: u64,
        message: FromAgent,
    },
    Gone {
        conn: usize,
        run: u64,
    },
    Peer {
        from: ReplicaId,
        message: Box<PeerMessage>,
    },
    Ask {
        operator: usize,
        ask: Box<Ask>,
    },
    /// A piece of a snapshot, with the sender's place, life and number of the sending.
    Part {
        from: usize,
        run: (u64, u64),
        part: Box<SnapshotPart>,
        last: bool,
    },
    Sent {
        to: ReplicaId,
        number: u64,
        arrived: bool,
    },
    Unreachable {
        to: ReplicaId,
    },
    Room(Room),
    /// A checkpoint of an agent's is here.
    Parked {
        run: u64,
        member: MemberId,
        attempt: Attempt,
        digest: Digest,
    },
    HandOver,
    Join {
        joining: usize,
    },
    Enrol {
        joining: usize,
    },
}

/// A new replica on its way in.
pub struct Joining {
    pub(super) key: u8,
    pub(super) target: usize,
    pub(super) id: Option<ReplicaId>,
    pub is_over: bool,
}

/// The studies of a schedule, checked.
pub fn studies(plan: &Plan) -> Vec<Study> {
    thread_local! {
        static SAMPLE: Study = sample();
    }
    let study = |(number, seeds): (usize, &u32)| {
        let mut study = SAMPLE.with(Clone::clone);
        study.name = format!("s{number}");
        study.seeds.factors[0].count = *seeds;
        study.outer.inner = inner(plan, number);
        if study.outer.inner.is_some() && plan.seed.is_multiple_of(3) {
            search(plan, &mut study);
        } else if study.outer.inner.is_some() && plan.seed % 3 == 1 {
            race(&mut study);
        } else if study.outer.inner.is_some() {
            halve(&mut study);
        }
        // A search that begins anew with each seed is not bought by seeds.
        let by_seed = study.learns() && !plan.seed.is_multiple_of(2);
        if is_bought(plan, number) && !by_seed {
            buy(&mut study);
        }
        study
    };
    plan.studies.iter().enumerate().map(study).collect()
}

/// Some schedules buy seeds one by one, and some of these choose configs too.
fn is_bought(plan: &Plan, study: usize) -> bool {
    (plan.seed % 3) == study as u64 && plan.poison.is_none() && plan.level() == LEVEL
}

/// A second arm, more seeds, and a rule that may end them.
fn buy(study: &mut Study) {
    study.seeds.factors[0].count += 3;
    let second = Arm { name: "b".to_string(), ..study.arms[0].clone() };
    study.arms.push(second);
    let stop = Stop { first: 2, hopeless: Some(0.3), ..Stop::default() };
    study.budget.stop = Some(stop);
}

/// Some schedules choose configs: by each seed for itself, or by two for all.
fn inner(plan: &Plan, study: usize) -> Option<Inner> {
    let nested = (plan.seed % 5) == study as u64 && plan.poison.is_none() && plan.level() == LEVEL;
    let tune = plan.seed.is_multiple_of(2).then_some(2);
    let inner = Inner { kind: OuterKind::KFold, folds: 2, tune, select: Select::Best };
    nested.then_some(inner)
}

/// Three configs of the arm race over four tuning seeds, and are soon dropped.
fn race(study: &mut Study) {
    let arm = &mut study.arms[0];
    arm.configs.push(arm.configs[0].clone());
    arm.race = Some(Race { first: 2, alpha: 0.9 });
    if let Some(inner) = &mut study.outer.inner {
        inner.tune = Some(4);
    }
}

/// Four configs of the arm are halved, none waiting for the others.
fn halve(study: &mut Study) {
    let arm = &mut study.arms[0];
    let whole = arm.configs[0].clone();
    let mut brief = whole.clone();
    brief.hyper.until = Some(1);
    arm.configs = [vec![brief; 4], vec![whole; 4]].concat();
    arm.halving = Some(Halving { configs: 4, rungs: 2, factor: 2, at_once: true });
}

/// The arm's rate is searched for in two rounds of tries.
fn search(plan: &Plan, study: &mut Study) {
    let method = if plan.seed.is_multiple_of(2) { Method::CmaEs } else { Method::Gaussian };
    let range = Axis::LogRange { low: 0.01, high: 1.0 };
    let space = Space { axes: vec![("lr".to_string(), range)], ..Space::default() };
    let arm = &mut study.arms[0];
    let example = arm.configs[0].clone();
    arm.learned = Some(Box::new(Learned::new(method, space, example.hyper.clone())));
    arm.configs = vec![example; 6];
}

/// One arm of two configs, two partitions of two folds: eight trials a seed.
fn sample() -> Study {
    let text = "[study]\nname = \"sample\"\nmetric = \"auroc\"\n\
                controls = { constant = false }\n[data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
                [split]\nouter = { folds = 2, repeats = 2 }\n[seeds]\ncount = 1\n\
                [arms.a]\nmodel = \"linear\"\nepochs = 2\nspace = { lr = [0.1, 0.2] }\n";
    let rows: Vec<String> = (0..40).map(|n| format!("{}.5,{}\n", n * 7 % 13, n % 2)).collect();
    let csv = format!("x,y\n{}", rows.concat());
    match common::study::check(text, &mut |_| Ok(csv.clone().into_bytes())) {
        Ok(checked) => checked.study,
        Err(findings) => panic!("the sample study is valid: {findings}"),
    }
}

/// The replicas of the beginning, which have voted before.
pub fn first(plan: &Plan) -> Vec<Replica> {
    let one = id(1);
    let mut state = State::new(ClusterId([7; 16]), one, Some(address(one)), plan.level());
    for number in 2..=plan.replicas as u64 {
        let record = state.replicas[&one].clone();
        let address = Some(address(id(number)));
        state
            .replicas
            .insert(id(number), coordinator::scheduler::state::ReplicaRecord { address, ..record });
    }
    state.next_replica = plan.replicas as u64 + 1;
    for agent in 0..plan.agents as u64 {
        let member = Member {
            role: Role::Agent,
            label: String::new(),
            joined: Timestamp(0),
            public_key: [agent as u8; 32],
            token_id: [0; 6],
        };
        state.members.insert(MemberId(super::agents::FIRST_AGENT + agent), member);
    }
    let token = Token {
        secret_hash: PEER_SECRET,
        role: Role::Peer,
        uses_left: None,
        expires: Timestamp(u64::MAX),
        label: String::new(),
    };
    state.tokens.insert(PEER_TOKEN, token);
    state.pass(1);
    let bytes = state.encode().expect("encodes");
    let mut recovered = Recovered::first(1, bytes);
    recovered.snapshot.meta.voters.voters = (1..=plan.replicas as u64).collect();
    (1..=plan.replicas as u64)
        .map(|number| {
            let disk = Disk::new(recovered.clone(), plan.bug);
            Replica::new(id(number), disk, plan.levels[number as usize - 1])
        })
        .collect()
}

fn id(number: u64) -> ReplicaId {
    ReplicaId(NonZeroU64::new(number).expect("not zero"))
}

fn address(id: ReplicaId) -> String {
    format!("{id}:1")
}

impl Replica {
    pub(super) fn new(id: ReplicaId, disk: Disk, level: u16) -> Self {
        Self {
            id,
            disk,
            process: None,
            level,
            is_dead: false,
            inbox: VecDeque::new(),
            wakes: false,
            busy_until: 0,
            slow: (0, 0),
            full: false,
            wall_offset: 0,
            crash_at: None,
            members_then: Voters::default(),
            runs: 0,
            started: 0,
            ticks: false,
        }
    }

    /// The number of its process, while there is one.
    pub fn run(&self) -> Option<u64> {
        self.process.as_ref().map(|_| self.runs)
    }

    pub(super) fn clock(&self, now: u64) -> Now {
        let wall = (WALL_MS + now).saturating_add_signed(self.wall_offset);
        Now { mono: Timestamp(now - self.started), wall: Timestamp(wall) }
    }

    /// Outcomes as readers see them.
    pub fn rows(&self) -> Rows {
        let mut rows = self.disk.rows.clone();
        if let Some(process) = &self.process {
            disk::apply(&mut rows, &process.staged);
        }
        rows
    }
}

impl Process {
    fn asked(&mut self, asker: Asker) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        self.requests.insert(id, asker);
        id
    }
}

impl World {
    pub fn place_of(&self, id: ReplicaId) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.id == id)
    }

    pub fn place_at(&self, address_: &str) -> Option<usize> {
        self.replicas.iter().position(|replica| address(replica.id) == address_)
    }

    pub fn replica_starts(&mut self, place: usize) -> Result<(), Broken> {
        let (now, plan) = (self.now, &self.plan);
        let settings = settings(plan, self.replicas[place].level);
        let replica = &mut self.replicas[place];
        if replica.process.is_some() || replica.is_dead {
            return Ok(());
        }
        let state = match replica.disk.recovered.snapshot.state.as_slice() {
            [] => State::empty(ClusterId([7; 16])),
            bytes => State::decode(bytes).expect("a snapshot"),
        };
        let level = state.level;
        replica.runs += 1;
        (replica.started, replica.busy_until) = (now, now);
        let run = replica.id.0.get() << 32 | replica.runs;
        let logger = Logger::root(slog::Discard, slog::o!());
        let raft = Raft::new(replica.id, replica.disk.recovered.clone(), settings.timing, &logger)
            .expect("starts");
        let mut node = Node::new(raft, state, settings, run);
        let (version, address) = ("0".to_string(), address(replica.id));
        node.know_yourself(OwnFacts { version, address, disk_free: None });
        replica.process = Some(Process {
            node,
            staged: Vec::new(),
            stream: None,
            incoming: Incoming::default(),
            mixed: Vec::new(),
            mixed_message: None,
            image: None,
            sessions: BTreeMap::new(),
            refused_by: BTreeSet::new(),
            by_conn: BTreeMap::new(),
            requests: BTreeMap::new(),
            next: 0,
        });
        let id = replica.id;
        if !std::mem::replace(&mut replica.ticks, true) {
            let first = self.rng.below(TICK_MS);
            self.after(first, Event::Tick(place));
        }
        self.tell(|| format!("{id} starts, level {level}"));
        self.watch.see(&Seen::Started { replica: id })?;
        if self.replicas[place].full {
            let why = "the disk is full".to_string();
            self.inbound(place, Inbound::Room(Room::OutcomesOnly { why }));
        }
        self.turn(place)
    }

    pub fn replica_ticks(&mut self, place: usize) {
        if self.replicas[place].is_dead {
            return;
        }
        self.after(TICK_MS, Event::Tick(place));
        let waits =
            self.replicas[place].inbox.iter().any(|inbound| matches!(inbound, Inbound::Tick));
        if !waits {
            self.inbound(place, Inbound::Tick);
        }
    }

    /// Queues what reaches a process; what reaches none is lost.
    pub fn inbound(&mut self, place: usize, inbound: Inbound) {
        let replica = &mut self.replicas[place];
        if replica.process.is_none() {
            return;
        }
        replica.inbox.push_back(inbound);
        if !std::mem::replace(&mut replica.wakes, true) {
            let at = replica.busy_until.max(self.now);
            self.at(at, Event::Wake(place));
        }
    }

    pub fn replica_wakes(&mut self, place: usize) -> Result<(), Broken> {
        self.replicas[place].wakes = false;
        let replica = &mut self.replicas[place];
        if replica.process.is_none() {
            replica.inbox.clear();
            return Ok(());
        }
        if self.now < replica.busy_until {
            if !replica.inbox.is_empty() {
                replica.wakes = true;
                let at = replica.busy_until;
                self.at(at, Event::Wake(place));
            }
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.replicas[place].inbox);
        for inbound in waiting {
            self.takes(place, inbound)?;
        }
        self.turn(place)
    }

    pub(super) fn step(&mut self, place: usize, input: Input) {
        let replica = &mut self.replicas[place];
        let now = replica.clock(self.now);
        if let Some(process) = &mut replica.process {
            process.node.step(input, now);
        }
    }

    fn takes(&mut self, place: usize, inbound: Inbound) -> Result<(), Broken> {
        let runs = self.replicas[place].runs;
        let Some(process) = &mut self.replicas[place].process else { return Ok(()) };
        match inbound {
            Inbound::Tick => self.step(place, Input::Tick),
            Inbound::Arrived { conn, run, member } if run == runs => {
                process.next += 1;
                let session = SessionId(process.next);
                process.sessions.insert(session, conn);
                process.by_conn.insert(conn, session);
                self.step(place, Input::AgentArrived { session, member, address: "a".into() });
            }
            Inbound::Said { conn, run, message } if run == runs => {
                if let Some(session) = process.by_conn.get(&conn).copied() {
                    self.step(place, Input::AgentSaid { session, message });
                }
            }
            Inbound::Gone { conn, run } if run == runs => {
                if let Some(session) = process.by_conn.remove(&conn) {
                    process.sessions.remove(&session);
                    self.step(place, Input::AgentGone { session });
                }
            }
            Inbound::Parked { run, member, attempt, digest } if run == runs => {
                self.step(place, Input::Parked { member, attempt, digest });
            }
            Inbound::Arrived { .. }
            | Inbound::Said { .. }
            | Inbound::Gone { .. }
            | Inbound::Parked { .. } => {}
            Inbound::Peer { from, message } => {
                // As the gate does: who is none of the cluster is not heard.
                if process.node.knows_replica(from) {
                    self.step(place, Input::PeerSaid { from, message: *message });
                } else {
                    self.refused(from, self.replicas[place].id);
                }
            }
            Inbound::Ask { operator, ask } => {
                let id = process.asked(Asker::Operator { operator, number: ask.number });
                let who = super::operators::member(operator);
                self.step(place, Input::Asked { id, who, ask: *ask });
            }
            Inbound::Part { from, run, part, last } => {
                self.takes_part(place, (from, run), *part, last);
            }
            Inbound::HandOver => self.step(place, Input::HandOver),
            Inbound::Sent { to, number, arrived } => {
                self.step(place, Input::SnapshotSent { to, number, arrived });
            }
            Inbound::Unreachable { to } => self.step(place, Input::Unreachable { to }),
            Inbound::Room(room) => {
                let (replica, is_full) = (self.replicas[place].id, room != Room::Plenty);
                self.watch.see(&Seen::Room { replica, is_full })?;
                self.step(place, Input::Room(room));
            }
            Inbound::Join { joining } => {
                let id = process.asked(Asker::Joining(joining));
                self.takes_joining(place, joining, id);
            }
            Inbound::Enrol { joining } => {
                let id = process.asked(Asker::Joining(joining));
                if let Some(replica) = self.joining[joining].id {
                    let (address, level) = (address(replica), NEW_LEVEL);
                    self.step(place, Input::Enrol { id, replica, address, level });
                }
            }
        }
        Ok(())
    }

    fn takes_joining(&mut self, place: usize, joining: usize, id: RequestId) {
        let public_key = [200 + self.joining[joining].key; 32];
        let (token_id, secret_hash) = (PEER_TOKEN, PEER_SECRET);
        self.step(place, Input::Join { id, token_id, secret_hash, public_key });
    }

    /// Persists, applies and sends until nothing is ready.
    fn turn(&mut self, place: usize) -> Result<(), Broken> {
        let mut leaves = self.now;
        loop {
            loop {
                let Some(process) = &mut self.replicas[place].process else { return Ok(()) };
                let ready = match process.node.ready() {
                    Ok(ready) => ready,
                    Err(error) => return self.stops(place, &error),
                };
                let Some(persist) = ready else { break };
                self.puts_out(place, leaves)?;
                leaves += self.persists(place, &persist)?;
                let replica = &mut self.replicas[place];
                let now = replica.clock(leaves);
                let Some(process) = &mut replica.process else { return Ok(()) };
                if let Err(error) = process.node.persisted(now) {
                    return self.stops(place, &error);
                }
                self.observe(place)?;
                if !self.dies(place, Point::AfterApply) {
                    self.puts_out(place, leaves)?;
                }
            }
            let replica = &mut self.replicas[place];
            let now = replica.clock(leaves);
            let Some(process) = &mut replica.process else { return Ok(()) };
            process.node.settle(now);
            if process.node.is_leader() {
                let (replica, node, mono) = (replica.id, &process.node, now.mono);
                self.watch.see(&Seen::Leads { replica, node, mono })?;
            }
            if self.puts_out(place, leaves)? == 0 {
                break;
            }
        }
        let replica = &mut self.replicas[place];
        replica.busy_until = replica.busy_until.max(leaves);
        let replica = replica.id;
        self.watch.see(&Seen::Turned { replica })
    }
}

fn settings(plan: &Plan, level: u16) -> Settings {
    let planted = Planted { fault: plan.bug.and_then(Bug::core) };
    Settings {
        lease_ms: LEASE_MS,
        grace_ms: 500,
        snapshot_entries: plan.snapshot_entries,
        margin: Margin { entries: plan.margin_entries, bytes: 1 << 20 },
        digest_entries: plan.digest_entries,
        timing: Timing { seed: Some(plan.seed), planted, ..Timing::default() },
        level,
        planted,
    }
}

/// A lease of the simulated cluster.
pub const LEASE_MS: u64 = 3_000;
/// What a program that is started later knows.
const NEW_LEVEL: u16 = LEVEL;
const WALL_MS: u64 = 1_700_000_000_000;
const PEER_TOKEN: [u8; 6] = [9; 6];
const PEER_SECRET: [u8; 32] = [7; 32];
