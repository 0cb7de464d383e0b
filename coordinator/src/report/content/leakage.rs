//! Checks for leaks, as data.
//!
//! Floor: core.

use serde::Serialize;

/// One check: whether something of the test rows could have reached the training, or a source of
/// chance is not connected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeakageCheck {
    pub check: &'static str,
    /// Absent where it was not checked; `detail` says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    pub detail: String,
}
