//! The coordinator: plans trials, hands them to agents, keeps their outcomes, writes the report.
//!
//! Floors, from below: node, replica, scheduler and report are pure; driver, disk, content, cluster,
//! serve and client do their I/O; embedded and cli wire them together.
//!
//! Floor: wiring.

pub mod backup;
pub mod calibrate;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod content;
pub mod disk;
pub mod driver;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod http;
pub mod node;
pub mod parked;
pub mod peers;
pub mod phantom;
pub mod planted;
mod raft_log;
pub mod replica;
pub mod report;
pub mod reuse;
#[cfg(test)]
mod sample;
pub mod scheduler;
pub mod serve;
pub mod slurm;
pub mod slurm_queue;
mod spread;
