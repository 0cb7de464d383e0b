//! What tests and benchmarks of this package share: the cluster simulator.
//!
//! Floor: wiring.

pub mod simulation;
