//! Comparisons.
//!
//! Floor: common.
