//! The network: which machine reaches which, and how long that takes.
//!
//! Messages between replicas and of operators are lost, doubled and late. Agents' connections keep
//! their order, as QUIC does: what is cut off waits, until one side gives the connection up.
//!
//! Floor: wiring.

use super::plan::Ambient;
use super::rng::Rng;

/// A machine of the network: replicas by their place, then agents, then operators.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Machine {
    Replica(usize),
    Agent(usize),
    Operator(usize),
}

pub struct Network {
    pub ambient: Ambient,
    /// Directed cuts with their ends.
    cuts: Vec<Cut>,
}

struct Cut {
    machine: Machine,
    others: u64,
    from: bool,
    to: bool,
    until: u64,
}

impl Machine {
    fn bit(self) -> u64 {
        match self {
            Machine::Replica(at) => 1 << (at % 16),
            Machine::Agent(at) => 1 << (16 + at % 16),
            Machine::Operator(at) => 1 << (32 + at % 16),
        }
    }
}

impl Network {
    pub fn new(ambient: Ambient) -> Self {
        Self { ambient, cuts: Vec::new() }
    }

    pub fn cut(&mut self, machine: Machine, others: u64, ways: (bool, bool), until: u64) {
        let (from, to) = ways;
        self.cuts.push(Cut { machine, others, from, to, until });
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
        let Ambient { delay_ms, disk_ms, .. } = self.ambient;
        self.ambient = Ambient { delay_ms, disk_ms, ..Ambient::default() };
    }

    pub fn is_cut(&self, from: Machine, to: Machine, now: u64) -> bool {
        self.cuts.iter().any(|cut| {
            now < cut.until
                && ((cut.from && from == cut.machine && cut.others & to.bit() != 0)
                    || (cut.to && to == cut.machine && cut.others & from.bit() != 0))
        })
    }

    /// When each copy of a message arrives; none when it is lost.
    pub fn arrivals(
        &self,
        from: Machine,
        to: Machine,
        now: u64,
        rng: &mut Rng,
    ) -> [Option<u64>; 2] {
        if self.is_cut(from, to, now) || rng.chance(self.ambient.drop) {
            return [None, None];
        }
        let second = rng.chance(self.ambient.double).then(|| now + self.delay(rng));
        [Some(now + self.delay(rng)), second]
    }

    pub fn delay(&self, rng: &mut Rng) -> u64 {
        let late = if rng.chance(self.ambient.spike) { rng.below(600) } else { 0 };
        1 + rng.below(self.ambient.delay_ms) + late
    }
}
