//! Memory for trainings on a processor: as many lanes as what is free has room for.
//!
//! Cohorts that train at once share it. What a stack that has just begun will take is not yet missing
//! from what is called free, so it is taken off here. Deliberately absent: waiting for memory.
//!
//! Floor: shell.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use common::samples::bytes_in_words;

use crate::trainer::{Need, NoRoom};

/// What is free, and what trains.
#[derive(Debug)]
pub struct Memory {
    free: fn() -> u64,
    /// By the thread that trains it.
    stacks: Mutex<HashMap<ThreadId, Begun>>,
    /// Kinds that were warned of.
    warned: Mutex<BTreeSet<String>>,
}

/// A stack that takes so many bytes, or will soon.
#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Instant,
    bytes: u64,
}

impl Memory {
    /// `free`: bytes that are.
    pub fn new(free: fn() -> u64) -> Self {
        Self { free, stacks: Mutex::default(), warned: Mutex::default() }
    }

    /// How many of `lanes` this thread's next stack has room for, `wanted` at most.
    ///
    /// Errors: where not even one would have room if nothing else trained here. An estimate may be too
    /// high and what is free changes, so one that only may not fit is tried.
    pub fn width(
        &self,
        kind: &str,
        wanted: usize,
        lanes: usize,
        need: &Need,
    ) -> Result<usize, NoRoom> {
        let mut stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        let own = thread::current().id();
        stacks.remove(&own);
        let free = (self.free)();
        let sum = |of: &dyn Fn(&Begun) -> bool| {
            let bytes = stacks.values().filter(|begun| of(begun)).map(|begun| begun.bytes);
            bytes.fold(0, u64::saturating_add)
        };
        let alone = free.saturating_add(sum(&|_| true));
        if need.is_beyond(alone) {
            return Err(NoRoom { needs: need.of_stack(1, 1), free: alone });
        }
        let left = free.saturating_sub(sum(&|begun| begun.at.elapsed() < TAKEN_WITHIN));
        let width = need.width(wanted, lanes, left);
        let bytes = need.of_stack(width, lanes);
        if bytes > left {
            self.warn(kind, bytes, left);
        } else if width < wanted {
            tracing::info!(kind, wanted, width, "less memory is free than so many lanes need");
        }
        stacks.insert(own, Begun { at: Instant::now(), bytes });
        Ok(width)
    }

    /// This thread's stack has ended.
    pub fn ended(&self) {
        let mut stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        stacks.remove(&thread::current().id());
    }

    /// Once of each kind.
    fn warn(&self, kind: &str, bytes: u64, left: u64) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < KINDS_MAX && warned.insert(kind.to_string()) {
            let (needed, free) = (bytes_in_words(bytes), bytes_in_words(left));
            tracing::warn!(kind, needed, free, "trained one by one, for which memory may be short");
        }
    }
}

/// A step or two touch all that a stack takes.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// Studies may come with any number of networks.
const KINDS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need { lane: 100, ended: 1, beside: 20, tested: 90 };

    #[test]
    fn a_stack_is_as_wide_as_what_is_free_has_room_for() {
        let width = |free, wanted| Memory::new(free).width("mlp", wanted, 16, &NEED);
        assert_eq!(width(|| u64::MAX, 16), Ok(16));
        assert_eq!(width(|| 1_636, 16), Ok(16));
        assert_eq!(width(|| 1_635, 16), Ok(8), "a power of two");
        assert_eq!(width(|| 1_000, 13), Ok(8));
        assert_eq!(width(|| 435, 16), Ok(2));
    }

    #[test]
    fn one_lane_is_tried_unless_it_is_sure_to_have_no_room() {
        let width = |free| Memory::new(free).width("mlp", 8, 16, &NEED);
        assert_eq!(width(|| 100), Ok(1), "the estimate may be too high");
        assert_eq!(width(|| 60), Ok(1));
        let refused = width(|| 59).expect_err("half of it is more");
        assert_eq!(refused, NoRoom { needs: 121, free: 59 });
        assert!(refused.to_string().contains("121 bytes"), "{refused}");
        assert!(refused.to_string().contains("59 bytes are free"), "{refused}");
    }

    #[test]
    fn what_other_threads_have_begun_is_taken_off() {
        let memory = Memory::new(|| 1_700);
        assert_eq!(memory.width("mlp", 8, 16, &NEED), Ok(8));
        assert_eq!(memory.width("mlp", 16, 16, &NEED), Ok(16), "this thread's own has ended");
        let beside = |wanted| {
            let begun = || memory.width("mlp", wanted, 16, &NEED);
            thread::scope(|scope| scope.spawn(begun).join().expect("no panic"))
        };
        assert_eq!(beside(16), Ok(1));
        assert_eq!(memory.width("mlp", 8, 16, &NEED), Ok(8));
        memory.ended();
        let memory = Memory::new(|| 50);
        assert!(memory.width("mlp", 1, 1, &NEED).is_err());
        let begun = Begun { at: Instant::now(), bytes: 100 };
        let other =
            thread::scope(|scope| scope.spawn(|| thread::current().id()).join().expect("no panic"));
        memory.stacks.lock().expect("no panic").insert(other, begun);
        assert_eq!(memory.width("mlp", 1, 1, &NEED), Ok(1), "there is room once the other ended");
    }
}
