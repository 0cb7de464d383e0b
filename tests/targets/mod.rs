//! What is fuzzed: everything that reads bytes of others, or of a disk that may be damaged.
//!
//! A target takes any bytes. It panics when they make it do what it must not: read something that
//! does not encode to the same bytes, believe what it should refuse, or panic itself. It returns what
//! it read, so that a harness can weigh that. `tests/fuzz.rs` runs all of them on every change,
//! `tests/fuzz/` each for as long as one likes, guided by coverage. Absent: limits of time and memory;
//! the harnesses have them.
//!
//! Floor: wiring.

mod join;
mod log;
mod replica;
mod samples;
mod spool;
mod study;
pub mod values;
mod wire;

use std::any::Any;

pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]) -> Read,
    /// Whether what is read is about as large as its bytes: messages are, what texts say is not.
    pub is_compact: bool,
    /// Bytes of memory that any input may take.
    pub room: u64,
    /// What the corpus begins with, by name.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// What came of an input, kept so that its memory can be told from what reading it took.
pub type Read = Option<Box<dyn Any>>;

pub const TARGETS: [Target; 12] = [
    Target {
        name: "frame",
        run: wire::frames,
        is_compact: true,
        room: MIB,
        seeds: wire::frame_seeds,
    },
    Target {
        name: "message",
        run: wire::message,
        is_compact: true,
        room: MIB,
        seeds: wire::message_seeds,
    },
    Target { name: "raft", run: replica::run, is_compact: true, room: MIB, seeds: replica::seeds },
    Target { name: "entry", run: log::entry, is_compact: true, room: MIB, seeds: log::entry_seeds },
    Target { name: "state", run: log::state, is_compact: true, room: MIB, seeds: log::state_seeds },
    Target {
        name: "transfer",
        run: log::transfer,
        is_compact: true,
        room: MIB,
        seeds: log::transfer_seeds,
    },
    Target { name: "spool", run: spool::run, is_compact: true, room: MIB, seeds: spool::seeds },
    Target {
        name: "token",
        run: join::token,
        is_compact: true,
        room: MIB,
        seeds: join::token_seeds,
    },
    Target { name: "join", run: join::run, is_compact: true, room: MIB, seeds: join::seeds },
    Target {
        name: "study",
        run: study::run,
        is_compact: false,
        room: STUDY_ROOM,
        seeds: study::seeds,
    },
    Target {
        name: "table",
        run: study::table,
        is_compact: false,
        room: TABLE_ROOM,
        seeds: study::table_seeds,
    },
    Target {
        name: "samples",
        run: samples::run,
        is_compact: false,
        room: TABLE_ROOM,
        seeds: samples::seeds,
    },
];

/// The target of this name.
pub fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name}"))
}

fn kept<T: 'static>(value: T) -> Read {
    Some(Box::new(value))
}

const MIB: u64 = 1 << 20;
/// A study file of a few hundred bytes may mean the five thousand configs that a study may have.
const STUDY_ROOM: u64 = 24 << 20;
/// A Parquet file of a few bytes may hold a million equal cells.
const TABLE_ROOM: u64 = 96 << 20;
