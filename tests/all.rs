//! Every test that is not beside the code it tests, in one binary.
//!
//! Floor: wiring.

// What a test calls may unwrap as the test itself may.
#![allow(clippy::unwrap_used)]

mod analyze;
mod cluster;
mod crash;
mod demo;
mod flood;
mod golden;
mod health;
mod metrics;
mod process;
mod reference;
mod roles;
mod scenarios;
mod security;
mod simulated;
mod tidy;
