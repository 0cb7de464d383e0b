//! How fast a study goes, and how long it will take.
//!
//! Soft state on the leader's monotonic clock: a rate over the last minute of outcomes.
//!
//! Floor: core.

use std::collections::VecDeque;

use common::time::Timestamp;

/// Ends of trials over the last minute, in buckets of a second.
#[derive(Debug, Default)]
pub struct Progress {
    /// (second, ends in it), ascending.
    seconds: VecDeque<(u64, u64)>,
    first_ms: Option<u64>,
}

impl Progress {
    pub fn ended(&mut self, now: Timestamp) {
        self.first_ms.get_or_insert(now.0);
        let second = now.0 / 1000;
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        while self.seconds.front().is_some_and(|(first, _)| first + WINDOW_SECONDS < second) {
            self.seconds.pop_front();
        }
    }

    /// Trials ended a second.
    pub fn rate(&self, now: Timestamp) -> f64 {
        let Some(first_ms) = self.first_ms else { return 0.0 };
        let oldest = (now.0 / 1000).saturating_sub(WINDOW_SECONDS);
        let recent = self.seconds.iter().filter(|(second, _)| *second >= oldest);
        let ended: u64 = recent.map(|(_, count)| count).sum();
        let span_ms = now.0.saturating_sub(first_ms.max(oldest * 1000)).max(1000);
        ended as f64 * 1000.0 / span_ms as f64
    }

    /// Whole seconds until `open` trials have ended at the present rate.
    pub fn seconds_left(&self, open: u64, now: Timestamp) -> Option<u64> {
        if open == 0 {
            return Some(0);
        }
        let rate = self.rate(now);
        (rate > 0.0).then(|| (open as f64 / rate).ceil() as u64)
    }
}

const WINDOW_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_ends_a_second_leave_ten_seconds_for_a_hundred() {
        let mut progress = Progress::default();
        (0..100).for_each(|n| progress.ended(Timestamp(n * 100)));
        let now = Timestamp(10_000);
        assert!((progress.rate(now) - 10.0).abs() < 0.5, "{}", progress.rate(now));
        assert_eq!(progress.seconds_left(100, now), Some(10));
    }

    #[test]
    fn before_the_first_end_nothing_is_promised() {
        assert_eq!(Progress::default().seconds_left(5, Timestamp(1)), None);
    }
}
