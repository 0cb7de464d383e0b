//! The seedsweep agent: takes leases, trains their trials in cohorts, reports how they ended.
//!
//! A library, so that a coordinator can hold an agent in its own process: the same driver over
//! channels instead of sockets.
//!
//! Floor: wiring.

pub mod cards;
pub mod cli;
pub mod dataset;
pub mod device;
pub mod driver;
pub mod folder;
pub mod program;
pub mod record;
pub mod session;
pub mod spool;
pub mod trainer;

#[cfg(test)]
mod sample;
