//! Endings on their way to the coordinator: those not yet sent, and those sent and not acknowledged.
//!
//! A report leaves only by acknowledgement. What was sent over a lost connection is sent again, in
//! the order in which it ended. Deliberately absent: the disk, which holds the same reports.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::id::LeaseId;
use common::trial::{Attempt, Ending, Report};
use common::wire::frame::FRAME_MAX;
use common::wire::message::REPORTS_MAX;

/// Reports in order of their ending, each under a number that only grows.
#[derive(Debug, Default)]
pub struct Outbox {
    reports: BTreeMap<u64, Report>,
    numbers: BTreeMap<Attempt, u64>,
    /// The first number not sent over the present connection.
    unsent: u64,
    next: u64,
    in_flight: usize,
}

impl Outbox {
    pub fn push(&mut self, report: Report) {
        if self.numbers.insert(report.attempt, self.next).is_none() {
            self.reports.insert(self.next, report);
            self.next += 1;
        }
    }

    /// Everything not acknowledged is to be sent again.
    pub fn connection_lost(&mut self) {
        self.unsent = self.reports.first_key_value().map_or(self.next, |(&number, _)| number);
        self.in_flight = 0;
    }

    /// Forgets an acknowledged attempt. False when it was not here.
    pub fn acknowledge(&mut self, attempt: &Attempt) -> bool {
        let Some(number) = self.numbers.remove(attempt) else { return false };
        self.reports.remove(&number);
        if number < self.unsent {
            self.in_flight -= 1;
        }
        true
    }

    /// The next message's reports: as many as one message and the window of unacknowledged ones
    /// allow. Empty when there is nothing to send or the window is full.
    pub fn batch(&mut self) -> Vec<Report> {
        let room = REPORTS_MAX.min(UNACKNOWLEDGED_MAX.saturating_sub(self.in_flight));
        let mut bytes = 0;
        let mut batch = Vec::new();
        for (&number, report) in self.reports.range(self.unsent..).take(room) {
            bytes += bytes_bound(report);
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                break;
            }
            batch.push(report.clone());
            self.unsent = number + 1;
        }
        self.in_flight += batch.len();
        batch
    }

    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// Whether the coordinator is so far behind that more outcomes should not be made.
    pub fn is_full(&self) -> bool {
        self.reports.len() >= UNACKNOWLEDGED_MAX
    }

    pub fn attempts(&self) -> impl Iterator<Item = Attempt> {
        self.numbers.keys().copied()
    }

    pub fn leases(&self) -> impl Iterator<Item = LeaseId> {
        self.numbers.keys().map(|attempt| attempt.lease)
    }
}

/// At least the bytes of a report's encoding, found without encoding it.
fn bytes_bound(report: &Report) -> usize {
    let ending = match &report.ending {
        Ending::Complete(outcome) => {
            8 * outcome.metrics.len() + 4 * outcome.rows.len() + outcome.device.len()
        }
        Ending::Failed { detail, .. } => detail.len(),
    };
    REPORT_FIXED_BYTES + ending
}

/// Outcomes a coordinator holds of one agent before it has committed them.
pub const UNACKNOWLEDGED_MAX: usize = 4_096;

/// Half a frame: the bound leaves room for what it does not count.
const BATCH_BYTES_MAX: usize = FRAME_MAX / 2;

/// Four numbers of an attempt, four lengths, two counts and a tag, nine bytes each at most.
const REPORT_FIXED_BYTES: usize = 11 * 9;

#[cfg(test)]
mod tests {
    use common::id::{StudyId, TrialIndex};
    use common::trial::{FailReason, Outcome};
    use common::wire::{codec, frame, message::FromAgent};

    use super::*;

    fn report(trial: u64, rows: usize) -> Report {
        let attempt = Attempt {
            study: StudyId(u64::MAX),
            trial: TrialIndex(trial),
            lease: LeaseId { term: u64::MAX, counter: u64::MAX },
        };
        let outcome = Outcome {
            metrics: vec![0.5; 10],
            rows: vec![0.25; rows],
            epochs: u32::MAX,
            duration_us: u64::MAX,
            device: "cuda:0".into(),
            curve: None,
        };
        Report { attempt, ending: Ending::Complete(outcome) }
    }

    #[test]
    fn a_batch_holds_no_more_than_a_message_may() {
        let mut outbox = Outbox::default();
        (0..200).for_each(|trial| outbox.push(report(trial, 1)));
        let lengths: Vec<usize> =
            std::iter::repeat_with(|| outbox.batch().len()).take_while(|&n| n > 0).collect();
        assert_eq!(lengths, [64, 64, 64, 8]);
    }

    #[test]
    fn a_batch_of_long_reports_fits_a_frame() {
        let mut outbox = Outbox::default();
        (0..40).for_each(|trial| outbox.push(report(trial, 16_384)));
        let mut sent = 0;
        loop {
            let reports = outbox.batch();
            if reports.is_empty() {
                break;
            }
            sent += reports.len();
            assert!(frame::encode(&FromAgent::Reports { reports }).is_ok());
        }
        assert_eq!(sent, 40);
    }

    #[test]
    fn the_window_of_unacknowledged_reports_closes_and_opens() {
        let mut outbox = Outbox::default();
        (0..5_000).for_each(|trial| outbox.push(report(trial, 0)));
        let mut sent = Vec::new();
        while let batch = outbox.batch()
            && !batch.is_empty()
        {
            sent.extend(batch);
        }
        assert_eq!(sent.len(), UNACKNOWLEDGED_MAX);

        assert!(sent[..10].iter().all(|report| outbox.acknowledge(&report.attempt)));
        let opened = outbox.batch();
        assert_eq!(opened.len(), 10);
        assert_eq!(opened[0].attempt.trial, TrialIndex(4_096));
    }

    #[test]
    fn what_a_lost_connection_carried_is_sent_again_in_order() {
        let mut outbox = Outbox::default();
        (0..3).for_each(|trial| outbox.push(report(trial, 0)));
        let sent = outbox.batch();
        assert!(outbox.acknowledge(&sent[1].attempt));
        outbox.connection_lost();
        assert_eq!(outbox.batch(), [sent[0].clone(), sent[2].clone()]);
        assert!(!outbox.acknowledge(&sent[1].attempt), "acknowledged before");
    }

    #[test]
    fn the_bound_on_a_reports_bytes_holds() {
        let failed = Report {
            ending: Ending::Failed { reason: FailReason::Error, detail: "x".repeat(3_000) },
            ..report(u64::MAX, 0)
        };
        for report in [report(u64::MAX, 16_384), report(1, 0), failed] {
            let bytes = codec::encode(&report).expect("encodes").len();
            assert!(bytes <= bytes_bound(&report), "{bytes}");
        }
    }
}
