//! What crosses processes, and reference values: one binary, one module a subject.
//!
//! Floor: wiring.

mod metrics;
