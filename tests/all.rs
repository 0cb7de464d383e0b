//! Every test that is not beside the code it tests, in one binary.
//!
//! Floor: wiring.

// What a test calls may unwrap as the test itself may.
#![allow(clippy::unwrap_used)]

mod analyze;
mod chaos;
mod cluster;
mod crash;
mod demo;
mod group;
mod metrics;
mod process;
mod reference;
mod replicas;
mod scenarios;
mod security;
mod small_disk;
mod tidy;
