//! What goes wrong, drawn from a seed.
//!
//! Floor: wiring.

use std::fmt;
use std::time::Duration;

use common::seed::mix;

/// One thing that goes wrong, for a while. Processes are numbered: coordinators first, then agents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// SIGKILL; then it is started again.
    Kill { process: usize },
    /// Nothing reaches the leader, and nothing comes from it.
    CutLeader,
    /// Nothing reaches a process; it is still heard.
    Deaf { process: usize },
    /// Nothing comes from a process; it still hears.
    Mute { process: usize },
    /// Three of ten packets are lost.
    Lossy { process: usize },
    /// Two processes do not reach each other; others reach both.
    Apart { processes: [usize; 2] },
    /// SIGSTOP, then SIGCONT.
    Sleep { process: usize },
    /// Somebody else fills a coordinator's disk, once, or again whenever it has made room.
    Full { again: bool },
}

/// The order of things in one run.
pub struct Draw {
    state: u64,
    coordinators: usize,
    processes: usize,
}

/// What can be done here.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    pub network: bool,
    pub disk: bool,
}

impl Draw {
    pub fn new(seed: u64, coordinators: usize, processes: usize) -> Self {
        Self { state: mix(seed), coordinators, processes }
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.state = mix(self.state.wrapping_add(1));
        (self.state % limit as u64) as usize
    }

    /// Milliseconds between two numbers of seconds.
    pub fn seconds(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from * 1_000 + self.below((to - from) * 1_000)) as u64)
    }

    /// A fault that can be made here, and for how long.
    pub fn fault(&mut self, means: Means) -> (Fault, Duration) {
        loop {
            let drawn = self.any();
            let possible = match drawn.0 {
                Fault::Kill { .. } | Fault::Sleep { .. } => true,
                Fault::Full { .. } => means.disk,
                _ => means.network,
            };
            if possible {
                return drawn;
            }
        }
    }

    fn any(&mut self) -> (Fault, Duration) {
        let coordinator = self.below(self.coordinators);
        let agent = self.coordinators + self.below(self.processes - self.coordinators);
        // Coordinators are fewer, and more is to be lost with them.
        let process = if self.below(2) == 0 { coordinator } else { agent };
        match self.below(9) {
            0 => (Fault::Kill { process: coordinator }, self.seconds(0, 4)),
            1 => (Fault::Kill { process: agent }, self.seconds(0, 4)),
            2 => (Fault::CutLeader, self.seconds(1, 7)),
            3 => (Fault::Deaf { process }, self.seconds(1, 7)),
            4 => (Fault::Mute { process }, self.seconds(1, 7)),
            5 => (Fault::Lossy { process }, self.seconds(2, 8)),
            6 => {
                let next = (coordinator + 1) % self.coordinators;
                let other = if self.below(2) == 0 { next } else { agent };
                (Fault::Apart { processes: [coordinator, other] }, self.seconds(1, 7))
            }
            7 => (Fault::Sleep { process }, self.seconds(1, 8)),
            _ => (Fault::Full { again: self.below(2) == 0 }, self.seconds(2, 8)),
        }
    }
}

impl Fault {
    /// For counting.
    pub fn kind(self) -> &'static str {
        match self {
            Fault::Kill { .. } => "kills",
            Fault::CutLeader => "cuts of the leader",
            Fault::Deaf { .. } | Fault::Mute { .. } => "one-way cuts",
            Fault::Lossy { .. } => "lossy links",
            Fault::Apart { .. } => "pairs apart",
            Fault::Sleep { .. } => "stops",
            Fault::Full { .. } => "full disks",
        }
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kills and stops")?;
        f.write_str(if self.network { ", cuts and losses" } else { "; nothing is cut off" })?;
        f.write_str(if self.disk { ", a full disk" } else { "; no disk is filled" })
    }
}
