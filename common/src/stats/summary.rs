//! Summaries.
//!
//! Floor: common.
