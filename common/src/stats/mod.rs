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
pub mod crossed;
pub mod distribution;
pub mod friedman;
pub mod improvement;
pub mod ledger;
pub mod lottery;
pub mod mixed;
pub mod monitor;
pub mod multiple;
pub mod noncentral;
pub mod normality;
pub mod plan;
pub mod precision;
pub mod rank;
pub mod replication;
pub mod resample;
pub mod seed_use;
pub mod selection;
pub mod share;
pub mod sources;
pub mod spread;
pub mod stopping;
pub mod studies;
pub mod summary;
pub mod wilcoxon;
pub mod winner;
pub mod worth;
