//! What one schedule is: sizes, the ambient of the network, faults at their times, what operators do.
//!
//! Drawn up front, so that a schedule that fails can be played again without some of its faults.
//!
//! Floor: wiring.

use std::fmt;

use coordinator::planted::Fault as Planted;
use coordinator::scheduler::command::LEVEL;

use super::replicas::LEASE_MS;
use super::rng::Rng;

/// One schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub bug: Option<Bug>,
    /// Nothing goes wrong: then nothing may be trained twice either.
    pub is_calm: bool,
    pub replicas: usize,
    pub agents: usize,
    /// Seeds of each study; eight trials a seed.
    pub studies: Vec<u32>,
    pub ambient: Ambient,
    pub faults: Vec<(u64, Fault)>,
    /// When everything is healed.
    pub heal_at: u64,
    /// Entries between two snapshots, and what of the log stays.
    pub snapshot_entries: u64,
    pub margin_entries: u64,
    /// Entries between two comparisons of states.
    pub digest_entries: u64,
    /// Kinds of entries that each replica's program knows at first.
    pub levels: Vec<u16>,
    /// A trial that kills whoever trains it: study and index.
    pub poison: Option<(usize, u64)>,
    /// One in so many trials ends in NaN, and one in so many attempts in an error; 0: none.
    pub diverges: u64,
    pub errs: u64,
    /// Agents that report something else when they come late.
    pub liars: Vec<bool>,
}

/// What the network and the machines are like all the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ambient {
    /// Messages between replicas and of operators, a thousand.
    pub drop: u64,
    pub double: u64,
    pub delay_ms: u64,
    /// Messages that take much longer, a thousand.
    pub spike: u64,
    pub disk_ms: u64,
    /// Agents' connections that break by themselves, a thousand seconds.
    pub breaks: u64,
}

/// Something that goes wrong once.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A replica's process dies at a point of its work, and is back after a while.
    Crash {
        replica: usize,
        point: Point,
        down_ms: u64,
    },
    /// It stands still: a stopped process, a suspended machine.
    Pause {
        replica: usize,
        ms: u64,
    },
    SlowDisk {
        replica: usize,
        ms: u64,
        each_ms: u64,
    },
    FullDisk {
        replica: usize,
        ms: u64,
    },
    /// Its wall clock jumps.
    Clock {
        replica: usize,
        by_ms: i64,
    },
    /// It is asked to let another lead, as before its process ends.
    HandOver {
        replica: usize,
    },
    /// Its disk is lost, and it with it.
    Wipe {
        replica: usize,
    },
    /// It is started with a program that knows more.
    Upgrade {
        replica: usize,
    },
    /// Links between one machine and the others are cut, in one direction or both.
    Cut {
        machine: usize,
        others: u64,
        from: bool,
        to: bool,
        ms: u64,
    },
    AgentCrash {
        agent: usize,
        after: u64,
        down_ms: u64,
    },
    AgentPause {
        agent: usize,
        ms: u64,
    },
    /// It is told to leave within so long, and is started again.
    AgentLeaves {
        agent: usize,
        within_ms: u64,
    },
    /// Its connection breaks.
    Break {
        agent: usize,
    },
    /// A new replica joins.
    Join,
    /// An operator takes one out.
    Remove {
        replica: usize,
    },
}

/// Where in the handling of one `Ready` a process dies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Point {
    Now,
    /// Before the disk has anything of it.
    BeforeWrite,
    /// While it is written: it may be there or not.
    InWrite,
    /// When the disk has it, and nobody was told.
    AfterWrite,
    /// When it is applied, and nobody was told.
    AfterApply,
    /// When some were told.
    InSend,
    /// When a change of the membership was applied and told, before anything else is written.
    Changed,
}

/// A bug that is planted, to see that it is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bug {
    /// In the cores, by their own switch.
    Core(Planted),
    /// A commit is not on the disk when it is said to be.
    NoSync,
    /// A vote is not on the disk when it is given.
    NoVote,
    /// A replica that lost its disk comes back under its old name.
    WipedRejoins,
    /// An agent trains without a start marker.
    NoMarker,
    /// Outcomes that came with a snapshot are added to the old ones.
    OldRows,
    /// Parts of a snapshot are taken as they come.
    MixedParts,
    /// An agent forgets an outcome when it has sent it.
    SentIsForgotten,
}

impl Bug {
    /// Every bug with its name and the rule that it breaks.
    pub const ALL: [(&'static str, Bug); 23] = [
        ("fence", Bug::Core(Planted::Fence)),
        ("ack-early", Bug::Core(Planted::AckEarly)),
        ("no-sync", Bug::NoSync),
        ("no-vote", Bug::NoVote),
        ("wiped-rejoins", Bug::WipedRejoins),
        ("blind", Bug::Core(Planted::Blind)),
        ("snapshot-lost", Bug::Core(Planted::SnapshotLost)),
        ("old-clock", Bug::Core(Planted::OldClock)),
        ("no-marker", Bug::NoMarker),
        ("old-voters", Bug::Core(Planted::OldVoters)),
        ("mixed-parts", Bug::MixedParts),
        ("old-rows", Bug::OldRows),
        ("level", Bug::Core(Planted::Level)),
        ("sent-is-forgotten", Bug::SentIsForgotten),
        ("stale-read", Bug::Core(Planted::StaleRead)),
        ("twice", Bug::Core(Planted::Twice)),
        ("full", Bug::Core(Planted::Full)),
        ("dropped", Bug::Core(Planted::Dropped)),
        ("forgotten", Bug::Core(Planted::Forgotten)),
        ("unheard", Bug::Core(Planted::Unheard)),
        ("stranger", Bug::Core(Planted::Stranger)),
        ("unlooked", Bug::Core(Planted::Unlooked)),
        ("unlike", Bug::Core(Planted::Unlike)),
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, bug)| *bug)
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, bug)| *bug == self).map_or("", |(name, _)| *name)
    }

    pub fn core(self) -> Option<Planted> {
        match self {
            Bug::Core(planted) => Some(planted),
            // A state of mixed parts would be refused, and sent again.
            Bug::MixedParts => Some(Planted::Unchecked),
            _ => None,
        }
    }
}

impl Plan {
    pub fn of(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::new(seed, 1);
        let replicas = [1, 2, 3, 3, 3, 5][rng.below(6) as usize];
        let is_calm = seed.is_multiple_of(16);
        let agents = rng.within(1, 4) as usize;
        let studies: Vec<u32> = (0..rng.within(1, 2)).map(|_| rng.within(1, 3) as u32).collect();
        let heal_at = rng.within(4_000, 14_000);
        let poisoned = rng.chance(250).then(|| rng.below(studies.len() as u64) as usize);
        let poison = poisoned.map(|study| (study, rng.below(u64::from(studies[study]) * 8)));
        let old = rng.chance(200);
        let level =
            |rng: &mut Rng| if old && rng.chance(600) { rng.within(1, 2) as u16 } else { LEVEL };
        let mut plan = Self {
            seed,
            bug,
            is_calm,
            replicas,
            agents,
            ambient: Ambient::of(&mut rng, is_calm),
            faults: Vec::new(),
            heal_at,
            snapshot_entries: rng.within(4, 40),
            margin_entries: rng.below(6),
            digest_entries: rng.within(3, 20),
            levels: (0..replicas).map(|_| level(&mut rng)).collect(),
            poison: poison.filter(|_| !is_calm),
            diverges: if is_calm { 0 } else { rng.sometimes(300, 12) },
            errs: if is_calm { 0 } else { rng.sometimes(300, 12) },
            liars: (0..agents).map(|_| !is_calm && rng.chance(150)).collect(),
            studies,
        };
        if !is_calm {
            plan.faults = faults(&mut rng, &plan);
        }
        plan
    }

    /// The kinds of entries that are used at first.
    pub fn level(&self) -> u16 {
        self.levels.iter().copied().min().unwrap_or(LEVEL)
    }

    /// The command that plays this again.
    pub fn command(&self) -> String {
        let bug = self.bug.map(|bug| format!(" --bug {}", bug.name())).unwrap_or_default();
        format!("cargo run --package tests --bin simulate -- --seed {}{bug}", self.seed)
    }
}

impl Ambient {
    fn of(rng: &mut Rng, is_calm: bool) -> Self {
        let (double, delay_ms) = (rng.sometimes(600, 100), rng.within(1, 12));
        let ambient = Self {
            drop: rng.sometimes(600, 100),
            double,
            delay_ms,
            spike: rng.sometimes(400, 30),
            disk_ms: rng.within(0, 4),
            breaks: rng.sometimes(400, 300),
        };
        if is_calm {
            return Self { double, delay_ms, disk_ms: ambient.disk_ms, ..Self::default() };
        }
        ambient
    }
}

/// Faults of a subset of all kinds, at random times before everything is healed.
fn faults(rng: &mut Rng, plan: &Plan) -> Vec<(u64, Fault)> {
    // How many of each kind; most schedules lack some of them.
    let mut count = |per_mille, most| rng.sometimes(per_mille, most);
    let counts = [
        count(700, 8),
        count(400, 3),
        count(300, 2),
        count(250, 2),
        count(200, 2),
        count(150, 1),
        count(400, 3),
        count(700, 4),
        count(600, 5),
        count(400, 3),
        count(300, 3),
        count(400, 2),
        count(300, 1),
        count(400, 3),
        count(500, 4),
    ];
    let mut faults = Vec::new();
    for (kind, count) in counts.into_iter().enumerate() {
        for _ in 0..count {
            let at = rng.within(100, plan.heal_at - 200);
            faults.push((at, fault(rng, plan, kind)));
            if kind == HAND_OVER && rng.chance(500) {
                faults.extend(at_a_bad_time(rng, plan, at));
            }
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// A hand-over that comes to nothing, while a lease ends: what is proposed meanwhile is refused.
fn at_a_bad_time(rng: &mut Rng, plan: &Plan, at: u64) -> [(u64, Fault); 2] {
    let agent = rng.below(plan.agents as u64) as usize;
    let machine = rng.below(plan.replicas as u64) as usize;
    let pauses = at.saturating_sub(LEASE_MS + rng.below(400)).max(100);
    let (from, to) = (true, true);
    let cut = Fault::Cut { machine, others: u64::MAX, from, to, ms: rng.within(300, 900) };
    [
        (pauses, Fault::AgentPause { agent, ms: LEASE_MS + 2_000 }),
        (at.saturating_sub(rng.within(1, 100)), cut),
    ]
}

const HAND_OVER: usize = 13;
const LEAVES: usize = 14;

fn fault(rng: &mut Rng, plan: &Plan, kind: usize) -> Fault {
    // A replica that joined later may be hit too.
    let replica = rng.below(plan.replicas as u64 + 1) as usize;
    let agent = rng.below(plan.agents as u64) as usize;
    match kind {
        0 => {
            let points = [
                Point::Now,
                Point::BeforeWrite,
                Point::InWrite,
                Point::AfterWrite,
                Point::AfterApply,
                Point::InSend,
                Point::Changed,
            ];
            let point = points[rng.below(points.len() as u64) as usize];
            Fault::Crash { replica, point, down_ms: rng.within(20, 3_000) }
        }
        1 => Fault::Pause { replica, ms: rng.within(100, 9_000) },
        2 => {
            let each_ms = rng.within(50, 1_500);
            Fault::SlowDisk { replica, ms: rng.within(500, 4_000), each_ms }
        }
        3 => Fault::FullDisk { replica, ms: rng.within(300, 5_000) },
        4 => {
            let hour = 3_600_000;
            Fault::Clock { replica, by_ms: rng.within(0, 2 * hour) as i64 - hour as i64 }
        }
        5 => Fault::Wipe { replica },
        6 => Fault::Upgrade { replica },
        7 => {
            let machines = (plan.replicas + 1 + plan.agents) as u64;
            let (from, to) = [(true, true), (true, false), (false, true)][rng.below(3) as usize];
            Fault::Cut {
                machine: rng.below(machines) as usize,
                others: rng.next() | rng.next(),
                from,
                to,
                ms: rng.within(200, 5_000),
            }
        }
        8 => Fault::AgentCrash { agent, after: rng.below(4), down_ms: rng.within(20, 2_000) },
        9 => Fault::AgentPause { agent, ms: rng.within(200, 6_000) },
        10 => Fault::Break { agent },
        11 => Fault::Join,
        HAND_OVER => Fault::HandOver { replica },
        LEAVES => Fault::AgentLeaves { agent, within_ms: rng.within(0, 2_000) },
        _ => Fault::Remove { replica },
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
