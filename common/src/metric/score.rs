//! Metrics computed from predictions.
//!
//! Floor: common.
