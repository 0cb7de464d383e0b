//! Statistics: from numbers to estimates, with their uncertainty.
//!
//! Every function is deterministic: the same numbers give the same bits, whatever their order on
//! the way in where order has no meaning. Deliberately absent: what a number means for a study;
//! the report says that.
//!
//! Floor: common.

pub mod bayes;
pub mod cases;
pub mod compare;
pub mod distribution;
pub mod friedman;
pub mod improvement;
pub mod lottery;
pub mod mixed;
pub mod multiple;
pub mod rank;
pub mod resample;
pub mod share;
pub mod spread;
pub mod studies;
pub mod summary;
pub mod wilcoxon;
pub mod winner;
