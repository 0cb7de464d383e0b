//! How far trials are that are trained again, and how their outcomes compare.
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

use crate::id::{MemberId, TrialIndex};
use crate::repeat::Difference;

/// The answer to [`super::Request::Repeat`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// Agents that are connected and given work.
    pub agents: u64,
    /// Why none of the trials is granted just now; for people.
    pub held: Option<String>,
    /// Those that were asked for, in trial order.
    pub trials: Vec<Repeat>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    pub trial: TrialIndex,
    pub state: RepeatState,
}

/// Where one of them is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RepeatState {
    Waiting,
    Leased {
        agent: MemberId,
    },
    /// Records of where the outcome that stands was made and where the later one, as
    /// [`crate::trial::Outcome::device`]; `difference`: none when both have one digest.
    Done {
        agent: MemberId,
        devices: (String, String),
        difference: Option<Box<Difference>>,
    },
    /// It gave no second outcome.
    Failed {
        reason: String,
        detail: String,
    },
}
