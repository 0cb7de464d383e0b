//! What a person at the terminal is told, one line each.
//!
//! Floor: shell.

use std::fmt;
use std::time::Duration;

use common::id::StudyId;
use common::trial::FailReason;

/// Something worth a line.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// An earlier life of this agent left something in the spool.
    Recovered {
        crashed: usize,
        reports: usize,
    },
    Connected {
        name: String,
    },
    Waiting,
    Training {
        study: StudyId,
        name: String,
        trials: usize,
        ended: u64,
    },
    Fetching {
        study: StudyId,
        name: String,
        bytes: u64,
    },
    NoData {
        study: StudyId,
        why: String,
        again: bool,
    },
    Apart {
        why: String,
        again: Duration,
    },
    Goodbye {
        why: String,
    },
    Leaving {
        cohorts: usize,
        grace: Duration,
        why: FailReason,
    },
    /// Of a cohort that was stopped, what it had reached is with the coordinator.
    HandedOn {
        sent: usize,
        of: usize,
        bytes: u64,
    },
    /// Trials went on from where they, or others, had left them: after how many epochs.
    Resumed {
        trials: usize,
        epochs: (u32, u32),
    },
}

/// Where news go.
pub type Tell = std::sync::Arc<dyn Fn(&News) + Send + Sync>;

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Recovered { crashed, reports } => {
                write!(
                    f,
                    "found {reports} outcomes to report, and {crashed} trials that this agent was \
                     training when it died"
                )
            }
            News::Connected { name } => write!(f, "joined as {name}"),
            News::Waiting => f.write_str("waiting for work; Ctrl-C leaves"),
            News::Training { study, name, trials, ended } => {
                write!(
                    f,
                    "training {trials} trials of study {study} ({name}); {ended} ended so far"
                )
            }
            News::Fetching { study, name, bytes } => {
                write!(f, "getting the data of study {study} ({name}, {bytes} bytes)")
            }
            News::NoData { study, why, again } => {
                let then = if *again { "; trying again" } else { "; its trials fail here" };
                write!(f, "no data for study {study}: {why}{then}")
            }
            News::Apart { why, again } => write!(
                f,
                "no connection to the coordinator ({why}): trying again in {:.1} s",
                again.as_secs_f64()
            ),
            News::Goodbye { why } => write!(f, "the coordinator is leaving: {why}"),
            News::Leaving { cohorts: 0, why, .. } => write!(f, "leaving{}", because(*why)),
            News::Leaving { cohorts, grace, why } => write!(
                f,
                "leaving{}: {cohorts} cohorts in training have {} s to end or to be handed on; Ctrl-C \
                 again leaves at once",
                because(*why),
                grace.as_secs()
            ),
            News::HandedOn { sent, of, bytes } => write!(
                f,
                "handed on {sent} of {of} trials in training ({} KiB of checkpoints)",
                bytes.div_ceil(1 << 10)
            ),
            News::Resumed { trials, epochs: (first, last) } if first == last => {
                write!(f, "resumed {trials} trials at epoch {first}")
            }
            News::Resumed { trials, epochs: (first, last) } => {
                write!(f, "resumed {trials} trials at epochs {first} to {last}")
            }
        }
    }
}

fn because(why: FailReason) -> &'static str {
    match why {
        FailReason::OutOfTime => ", since its time is nearly over",
        _ => "",
    }
}
