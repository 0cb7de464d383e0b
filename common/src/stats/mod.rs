//! Statistics: from numbers to estimates, with their uncertainty.
//!
//! Every function is deterministic: the same numbers give the same bits, whatever their order on
//! the way in where order has no meaning. Deliberately absent: what a number means for a study;
//! the report says that.
//!
//! Floor: common.

pub mod compare;
pub mod mixed;
pub mod summary;
