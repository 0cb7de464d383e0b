//! Statistics: from numbers to estimates, with their uncertainty.
//!
//! Every function is deterministic: the same numbers give the same bits, whatever their order on
//! the way in where order has no meaning. Deliberately absent: what a number means for a study;
//! the report says that.
//!
//! Floor: common.

pub mod compare;
pub mod distribution;
pub mod ledger;
pub mod mixed;
pub mod monitor;
pub mod plan;
pub mod precision;
pub mod replication;
pub mod seed_use;
pub mod sources;
pub mod summary;
pub mod worth;
