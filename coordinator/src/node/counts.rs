//! What this process has counted since it began.
//!
//! Of what happens in the cluster the leader alone counts, so that the sum over all replicas is what
//! happened: what is applied again after a restart is not counted again. Nothing here decides
//! anything.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::time::Timestamp;

use super::Now;
use crate::scheduler::{Applied, Ended};

/// Counters that only grow, and how long things took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Cohorts that agents were given, and those whose agents were silent for too long.
    pub granted: u64,
    pub expired: u64,
    /// Trials that ended with an outcome of an agent's.
    pub accepted: u64,
    /// Outcomes that an earlier study knew.
    pub adopted: u64,
    /// Trials that were given up.
    pub given_up: u64,
    /// Attempts that failed and are followed by another one.
    pub again: u64,
    /// What was told of a trial that had ended, and was in the log.
    pub late: u64,
    /// What was told again although the log had it: acknowledged, and not written.
    pub repeated: u64,
    /// Uses of tokens.
    pub admitted: u64,
    pub refused: u64,
    /// From a proposal to its entry's being applied, of those that succeed.
    pub commit: Spread,
    /// Writes to the disk that hold a group of entries.
    pub disk: Spread,
}

/// How long something took, as counts between [`BOUNDS_US`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// One more than there are bounds: the last is without one.
    pub counts: [u64; BOUNDS_US.len() + 1],
    pub sum_us: u64,
}

impl Spread {
    pub fn add(&mut self, us: u64) {
        let at = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.counts[at] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The counts, and what they need to be made.
#[derive(Default)]
pub(super) struct Counting {
    pub counts: Counts,
    /// The time of the last input.
    clock: Timestamp,
    /// When what waits was proposed.
    proposed: BTreeMap<u64, Timestamp>,
}

impl Counting {
    pub fn is_now(&mut self, now: Now) {
        self.clock = now.mono;
    }

    pub fn proposed(&mut self, number: u64) {
        self.proposed.insert(number, self.clock);
    }

    /// Nobody waits for what this replica proposed.
    pub fn forget_proposals(&mut self) {
        self.proposed.clear();
    }

    /// An entry is applied, which this replica proposed under `number`.
    pub fn applied(&mut self, number: Option<u64>, applied: &Applied, leads: bool, now: Now) {
        if let Some(since) = number.and_then(|number| self.proposed.remove(&number)) {
            self.counts.commit.add(now.mono.since_ms(since) * 1_000);
        }
        match applied {
            Applied::Reported(ended) if leads => {
                ended.iter().for_each(|ended| self.counts.ended(ended));
            }
            Applied::Admission { admitted } if leads => match admitted {
                Some(_) => self.counts.admitted += 1,
                None => self.counts.refused += 1,
            },
            _ => {}
        }
    }
}

impl Counts {
    fn ended(&mut self, ended: &Ended) {
        use common::wire::message::RowEnd;
        let count = match ended {
            Ended::Trial { attempt, .. } if attempt.lease.term == 0 => &mut self.adopted,
            Ended::Trial { row, .. } if matches!(row.end, RowEnd::Complete(_)) => {
                &mut self.accepted
            }
            Ended::Trial { .. } => &mut self.given_up,
            Ended::Again { .. } => &mut self.again,
            Ended::Late { .. } | Ended::Unknown { .. } => &mut self.late,
        };
        *count += 1;
    }
}

/// Microseconds; each bound belongs to what is below it.
pub const BOUNDS_US: [u64; 13] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_what_is_below_it() {
        let mut spread = Spread::default();
        [500, 501, 6_000_000].into_iter().for_each(|us| spread.add(us));
        assert_eq!((spread.counts[0], spread.counts[1]), (1, 1));
        assert_eq!(spread.counts[BOUNDS_US.len()], 1, "what took longer than all bounds");
        assert_eq!((spread.count(), spread.sum_us), (3, 6_001_001));
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS_US.is_sorted());
    }
}
