//! What of reporting guidelines a report answers, as data.
//!
//! Floor: core.

use serde::Serialize;

/// One item of a guideline for reporting studies of prediction models.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ChecklistItem {
    pub checklist: &'static str,
    /// Its number, or the part that it stands in.
    pub item: &'static str,
    /// What it asks for, in our words.
    pub asks: &'static str,
    /// The section of this report that answers.
    pub answered_in: &'static str,
}
