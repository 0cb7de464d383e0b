//! What crosses sockets and disks: each message once, one frame, one byte format.
//!
//! Floor: common.

pub mod codec;
pub mod frame;
pub mod message;
mod modest;
