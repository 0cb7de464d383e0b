//! Statistics.
//!
//! Floor: common.
