//! Who was shown outcomes of the test folds, as data.
//!
//! Floor: core.

use serde::Serialize;

/// How often outcomes of the test folds were shown, and to whom, up to this report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerPart {
    /// All of them, this report's own included.
    pub looks: u64,
    /// The number of this report's own.
    pub this: u64,
    pub first: LookPart,
    pub last: LookPart,
    /// The latest looks, oldest first; a hundred at most.
    pub recent: Vec<LookPart>,
    /// By the number of the member.
    pub by: Vec<LookerPart>,
    /// The standard error of an arm's mean over test rows, the largest of all arms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_se: Option<f64>,
    /// What the luckiest of as many equal candidates as there were looks before is expected to gain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lucky_pick: Option<f64>,
    /// The hash that all looks are chained to, in hexadecimal.
    pub head: String,
    /// When outcomes were sealed, to be shown to nobody before a claim.
    #[serde(rename = "sealed_at_unix_ms", skip_serializing_if = "Option::is_none")]
    pub sealed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimPart>,
}

/// What was registered that the study would show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClaimPart {
    pub text: String,
    pub at_unix_ms: u64,
    pub who: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Complete trials at that time.
    pub outcomes: u64,
    /// Looks before it.
    pub looks: u64,
    /// What the hash is of.
    pub hashed: String,
    /// blake3, in hexadecimal.
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LookPart {
    pub look: u64,
    pub at_unix_ms: u64,
    pub who: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub purpose: &'static str,
    /// Complete trials at that time.
    pub outcomes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LookerPart {
    pub who: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub looks: u64,
}
