//! The event loop: virtual time, and who is woken when.
//!
//! Floor: wiring.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use common::id::{LeaseId, ReplicaId, StudyId};
use common::study::Study;
use common::wire::message::peer::{PeerMessage, SnapshotPart};
use common::wire::message::{Answer, Ask};

use super::Figures;
use super::agents::{AgentProcess, Conn, Way};
use super::invariants::{Broken, Watch};
use super::network::{Machine, Network};
use super::operators::{Operator, Task};
use super::plan::{Fault, Plan};
use super::replicas::{Inbound, Joining, Replica};
use super::rng::Rng;

pub struct World {
    pub plan: Plan,
    pub now: u64,
    pub rng: Rng,
    queue: BinaryHeap<Scheduled>,
    next: u64,
    pub net: Network,
    pub replicas: Vec<Replica>,
    pub joining: Vec<Joining>,
    pub agents: Vec<AgentProcess>,
    pub conns: Vec<Conn>,
    pub operators: Vec<Operator>,
    /// Checked once, as submitted.
    pub studies: Vec<Study>,
    pub watch: Watch,
    pub figures: Figures,
    pub is_healed: bool,
    transcript: Option<Vec<String>>,
}

/// What happens at a time.
#[derive(Debug)]
pub enum Event {
    Tick(usize),
    Wake(usize),
    Start(usize),
    Peer {
        to: usize,
        from: ReplicaId,
        message: Box<PeerMessage>,
    },
    Part {
        to: usize,
        from: usize,
        /// The sender's life, and the number of the sending.
        run: (u64, u64),
        part: Box<SnapshotPart>,
        last: bool,
    },
    SnapshotSent {
        from: usize,
        run: (u64, u64),
        to: ReplicaId,
        arrived: bool,
    },
    Join(usize),
    AgentTick(usize),
    AgentStart(usize),
    AgentConnect(usize),
    Pump(usize, Way),
    /// A side notices that its connection is gone.
    Lost(usize, Way),
    Trained {
        agent: usize,
        life: u64,
        lease: LeaseId,
    },
    Data {
        agent: usize,
        life: u64,
        study: StudyId,
        there: bool,
    },
    /// Fetched, or handed on.
    Checkpoints {
        agent: usize,
        life: u64,
        lease: LeaseId,
        here: bool,
    },
    Operate(usize),
    Asked {
        operator: usize,
        to: usize,
        ask: Box<Ask>,
    },
    Answered {
        operator: usize,
        number: u64,
        answer: Box<Answer>,
    },
    Fault(usize),
    DiskHasRoom(usize),
    Heal,
}

struct Scheduled {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl World {
    pub fn new(plan: Plan, told: bool) -> Self {
        let studies = super::replicas::studies(&plan);
        let mut world = Self {
            now: 0,
            rng: Rng::new(plan.seed, 2),
            queue: BinaryHeap::new(),
            next: 0,
            net: Network::new(plan.ambient),
            replicas: super::replicas::first(&plan),
            joining: Vec::new(),
            agents: (0..plan.agents).map(|at| AgentProcess::new(&plan, at)).collect(),
            conns: Vec::new(),
            operators: Operator::all(&plan, &studies),
            studies,
            watch: Watch::new(&plan),
            figures: Figures::default(),
            is_healed: false,
            transcript: told.then(Vec::new),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for place in 0..self.replicas.len() {
            self.at(0, Event::Start(place));
        }
        for agent in 0..self.agents.len() {
            let at = self.rng.below(300);
            self.at(at, Event::AgentStart(agent));
            self.at(at + 10, Event::AgentTick(agent));
        }
        for operator in 0..self.operators.len() {
            let at = self.rng.below(100);
            self.at(at, Event::Operate(operator));
        }
        for number in 0..self.plan.faults.len() {
            let at = self.plan.faults[number].0;
            self.at(at, Event::Fault(number));
        }
        self.at(self.plan.heal_at, Event::Heal);
    }

    /// Plays until everything is at rest.
    pub fn play(&mut self) -> Result<Figures, Broken> {
        let limit = self.plan.heal_at + REST_WITHIN_MS;
        while let Some(Scheduled { at, event, .. }) = self.queue.pop() {
            self.now = at;
            self.figures.steps += 1;
            self.figures.trace =
                common::seed::mix(self.figures.trace ^ at ^ self.rng.clone().next());
            self.happen(event)?;
            if self.is_healed && self.figures.steps.is_multiple_of(64) && self.is_at_rest() {
                break;
            }
            if self.now > limit {
                return Err(Broken {
                    rule: "no trial is forgotten".to_string(),
                    what: format!(
                        "not at rest {} s after everything was healed: {}",
                        REST_WITHIN_MS / 1_000,
                        self.unrest()
                    ),
                });
            }
        }
        self.check_at_rest()?;
        self.figures.virtual_ms = self.now;
        Ok(self.figures)
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Tick(place) => self.replica_ticks(place),
            Event::Wake(place) => self.replica_wakes(place)?,
            Event::Start(place) => self.replica_starts(place)?,
            Event::Peer { to, from, message } => {
                self.figures.messages += 1;
                self.inbound(to, Inbound::Peer { from, message });
            }
            Event::Part { to, from, run, part, last } => {
                self.inbound(to, Inbound::Part { from, run, part, last });
            }
            Event::SnapshotSent { from, run, to, arrived } => {
                self.snapshot_sent(from, run, to, arrived);
            }
            Event::Join(number) => self.joins(number),
            Event::AgentTick(agent) => self.agent_ticks(agent)?,
            Event::AgentStart(agent) => self.agent_starts(agent),
            Event::AgentConnect(agent) => self.agent_connects(agent)?,
            Event::Pump(conn, way) => self.pump(conn, way)?,
            Event::Lost(conn, way) => self.lost(conn, way)?,
            Event::Trained { agent, life, lease } => self.trained(agent, life, lease)?,
            Event::Data { agent, life, study, there } => self.data(agent, life, study, there)?,
            Event::Checkpoints { agent, life, lease, here } => {
                self.checkpoints(agent, life, lease, here)?;
            }
            Event::Operate(operator) => self.operate(operator)?,
            Event::Asked { operator, to, ask } => {
                self.inbound(to, Inbound::Ask { operator, ask });
            }
            Event::Answered { operator, number, answer } => {
                self.answered(operator, number, *answer)?;
            }
            Event::Fault(number) => self.fault(number)?,
            Event::DiskHasRoom(place) => self.disk_has_room(place),
            Event::Heal => self.heal(),
        }
        Ok(())
    }

    /// Something will happen then.
    pub fn at(&mut self, at: u64, event: Event) {
        let number = self.next;
        self.next += 1;
        self.queue.push(Scheduled { at: at.max(self.now), number, event });
    }

    /// Something will happen so much later.
    pub fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now + ms, event);
    }

    /// A line of the transcript, made only where it is wanted.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(format!("{:>7} ms  {}", self.now, line()));
        }
    }

    pub fn ended(&mut self) -> (u64, Vec<String>) {
        (self.now, self.transcript.take().unwrap_or_default())
    }

    fn fault(&mut self, number: usize) -> Result<(), Broken> {
        let (_, fault) = self.plan.faults[number].clone();
        if self.is_healed {
            return Ok(());
        }
        self.tell(|| format!("fault {number}: {fault}"));
        match fault {
            Fault::Crash { replica, point, down_ms } => self.crash_at(replica, point, down_ms),
            Fault::Pause { replica, ms } => self.pause_replica(replica, ms),
            Fault::SlowDisk { replica, ms, each_ms } => self.slow_disk(replica, ms, each_ms),
            Fault::FullDisk { replica, ms } => self.fill_disk(replica, ms),
            Fault::Clock { replica, by_ms } => self.move_clock(replica, by_ms),
            Fault::HandOver { replica } => {
                if replica < self.replicas.len() {
                    self.inbound(replica, Inbound::HandOver);
                }
            }
            Fault::Wipe { replica } => self.wipe(replica),
            Fault::Upgrade { replica } => self.upgrade(replica),
            Fault::Cut { machine, others, from, to, ms } => {
                let replicas = self.plan.replicas + 1;
                let machine = match machine {
                    at if at < replicas => Machine::Replica(at),
                    at => Machine::Agent(at - replicas),
                };
                self.net.cut(machine, others, (from, to), self.now + ms);
            }
            Fault::AgentCrash { agent, after, down_ms } => {
                self.agents[agent].crash_after = Some((after, down_ms));
            }
            Fault::AgentPause { agent, ms } => {
                self.agents[agent].paused_until = self.now + ms;
            }
            Fault::AgentLeaves { agent, within_ms } => self.agent_leaves(agent, within_ms)?,
            Fault::Break { agent } => self.break_connection(agent),
            Fault::Join => self.begin_join(),
            Fault::Remove { replica } => {
                if let Some(id) = self.replicas.get(replica).map(|replica| replica.id) {
                    self.operators[0].tasks.push_back(Task::Remove(id));
                }
            }
        }
        Ok(())
    }

    /// From here on nothing goes wrong any more.
    fn heal(&mut self) {
        self.tell(|| "everything is healed".to_string());
        self.is_healed = true;
        self.net.heal();
        for agent in &mut self.agents {
            agent.heal(self.now);
        }
        self.heal_replicas();
        self.heal_operators();
    }
}

/// Virtual time within which a healed cluster finishes its studies.
const REST_WITHIN_MS: u64 = 240_000;
