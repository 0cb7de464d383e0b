//! What was decided about buying more of a study.
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Whether more of a study is trained, decided once and for all replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    pub at: Timestamp,
    /// Seeds that had been bought of every arm that went on.
    pub seeds: u32,
    /// The arms of which one seed more is bought, ascending; none where nothing more is trained.
    pub go_on: Vec<u32>,
    pub why: Why,
    /// With its numbers, as people are told it; empty where all arms go on and nothing is settled.
    pub words: String,
}

/// What decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// The study's rule, by the scores.
    Rule,
    /// The hours of its budget are used, or the agents' hours.
    Spent,
    /// Somebody asked for more seeds than the rule had bought.
    Asked,
}

impl Decided {
    /// Whether nothing more is trained.
    pub fn stops(&self) -> bool {
        self.go_on.is_empty()
    }
}
