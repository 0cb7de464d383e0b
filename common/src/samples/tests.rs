//! Files of every format, sound and broken.
//!
//! Floor: common.
