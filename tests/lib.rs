//! What the tests of this package share with its benchmarks and the fuzzing of `fuzz/`: clusters of
//! real processes, the cluster simulator, and the fuzz targets.
//!
//! Floor: wiring.

// What a test calls may unwrap as the test itself may.
#![allow(clippy::unwrap_used)]

pub mod cluster;
pub mod group;
pub mod nothing;
pub mod process;
pub mod simulation;
pub mod targets;
