//! What the tests of this package share with the fuzzing of `fuzz/`: the fuzz targets.
//!
//! Floor: wiring.

// What a test calls may unwrap as the test itself may.
#![allow(clippy::unwrap_used)]

pub mod targets;
