//! Every test that is not beside the code it tests, in one binary.
//!
//! Floor: wiring.

mod metrics;
mod reference;
