//! Every test that is not beside the code it tests, in one binary.
//!
//! Floor: wiring.

// A test that finds nothing where it looked has failed.
#![allow(clippy::unwrap_used)]

mod metrics;
mod reference;
