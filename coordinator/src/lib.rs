//! The coordinator: plans trials, keeps outcomes, writes the random-effects report.
//!
//! Floor: core.

pub mod report;
