//! The agent: trains the trials that a coordinator hands it.
//!
//! Floor: wiring.

pub mod trainer;
