//! Every test that is not beside the code it tests, in one binary.
//!
//! Floor: wiring.

// What a test calls may unwrap as the test itself may.
#![allow(clippy::unwrap_used)]

use tests::{cluster, group, process};

mod analyze;
mod asha;
mod backup;
mod borrowed;
mod browser;
mod chaos;
mod comparisons;
mod containers;
mod controls;
mod crash;
mod demo;
mod finding;
mod flood;
mod golden;
mod halved;
mod health;
mod inference;
mod kubernetes;
mod labels;
mod learned;
mod ledger;
mod logs;
mod manifests;
mod metrics;
mod monitoring;
mod nested;
mod openmetrics;
mod ordered;
mod plan;
mod planning;
mod podman;
mod programs;
mod raced;
mod readmes;
mod reference;
mod replicas;
mod roles;
mod scenarios;
mod security;
mod simulated;
mod slurm;
mod small_disk;
mod stopping;
mod studies;
mod tidy;
mod upgrades;
mod verify;
