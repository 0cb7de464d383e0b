//! Points in time as values: drivers read clocks, everything else is told.
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

/// Milliseconds on some clock: the leader's monotonic one for leases, Unix time for stamps people read.
#[derive(
    Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize, Hash,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here, zero when the clock went back.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
