//! The coordinator: plans trials, hands them to agents, keeps their outcomes, writes the report.
//!
//! Floor: wiring.

pub mod content;
pub mod disk;
pub mod node;
pub mod replica;
pub mod scheduler;
