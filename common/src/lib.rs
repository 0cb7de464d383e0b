//! The language all sides of seedsweep speak, and the mathematics.
//!
//! Everything here is a pure function of its arguments: time, randomness and file contents arrive
//! as values. Deliberately absent: sockets, threads of our own, clocks, files, devices.
//!
//! Floor: common.

pub mod choosing;
pub mod curve;
pub mod design;
pub mod id;
pub mod label;
pub mod ledger;
pub mod metric;
pub mod name;
pub mod plan;
pub mod racing;
pub mod repeat;
pub mod samples;
pub mod searching;
pub mod seed;
pub mod space;
pub mod split;
pub mod stats;
pub mod study;
pub mod table;
pub mod time;
pub mod trial;
pub mod wire;
