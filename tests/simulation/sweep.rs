//! Many schedules, on several threads.
//!
//! Floor: wiring.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plan::Bug;
use super::{Figures, Violation, play};

/// Which schedules to play.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    pub first: u64,
    pub count: u64,
    pub threads: usize,
    pub bug: Option<Bug>,
    /// Each is played again, and must go the same way.
    pub twice: bool,
    /// Violations after which no more is played.
    pub enough: usize,
}

/// What they did.
#[derive(Debug, Default)]
pub struct Swept {
    pub played: u64,
    pub figures: Figures,
    /// In the order of their seeds.
    pub violations: Vec<Violation>,
}

impl Sweep {
    /// This many schedules from seed 0, on all cores.
    pub fn of(count: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { first: 0, count, threads, bug: None, twice: false, enough: 1 }
    }

    /// Plays them; `tick` hears how many are done.
    pub fn run(&self, tick: impl Fn(u64) + Sync) -> Swept {
        let next = AtomicU64::new(self.first);
        let total = Mutex::new(Swept::default());
        let locked = || total.lock().unwrap_or_else(|poison| poison.into_inner());
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let over = seed >= self.first + self.count;
                        if over || locked().violations.len() >= self.enough {
                            return;
                        }
                        let played = self.one(seed);
                        let mut total = locked();
                        total.played += 1;
                        match played {
                            Ok(figures) => total.figures.add(&figures),
                            Err(violation) => total.violations.push(*violation),
                        }
                        tick(total.played);
                    }
                });
            }
        });
        let mut swept = total.into_inner().unwrap_or_else(|poison| poison.into_inner());
        swept.violations.sort_by_key(|violation| violation.seed);
        swept
    }

    fn one(&self, seed: u64) -> Result<Figures, Box<Violation>> {
        let played = play(seed, self.bug);
        if !self.twice || play(seed, self.bug) == played {
            return played;
        }
        Err(Box::new(Violation {
            seed,
            at: 0,
            rule: "a seed gives one schedule".to_string(),
            what: "played twice it goes two ways".to_string(),
            transcript: Vec::new(),
        }))
    }
}
