//! Real QUIC on loopback: what is let in, what is turned away, and that others do not notice.
//!
//! Floor: shell.

mod elsewhere;
mod limits;
mod members;
mod strangers;
mod support;
