//! A share of trials, such as those that failed or diverged, with Wilson's score limits.
//!
//! The limits stay between 0 and 1, and "none of 20 failed" still has an upper one. Deliberately
//! absent: shares of dependent trials.
//!
//! Floor: common.

use thiserror::Error;

use super::summary::wilson_interval;

/// How many of several trials, and what that says of the next ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub share: f64,
    /// Both sides at the level.
    pub interval: (f64, f64),
    /// One side at the level: the true share is at most this.
    pub upper: f64,
    /// One side at the level: the true share is at least this.
    pub lower: f64,
}

/// Why there is no share.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ShareError {
    #[error("a share of no trials is not defined")]
    NoTrials,
    #[error("{count} of {trials} trials cannot be; a share is at most all of them")]
    TooMany { count: u64, trials: u64 },
    #[error("the level of a limit is {level}; it must lie between 0.5 and 1")]
    Level { level: f64 },
}

impl Share {
    /// `count` of `trials`. Source: Wilson (1927), J. Am. Stat. Assoc. 22.
    pub fn of(count: u64, trials: u64, level: f64) -> Result<Self, ShareError> {
        if trials == 0 {
            return Err(ShareError::NoTrials);
        }
        if count > trials {
            return Err(ShareError::TooMany { count, trials });
        }
        if level.is_nan() || level <= 0.5 || level >= 1.0 {
            return Err(ShareError::Level { level });
        }
        let share = count as f64 / trials as f64;
        // One tail of 1 - level is as much as two tails of half of it each.
        let (lower, upper) = wilson_interval(count, trials, 2.0 * level - 1.0);
        Ok(Self { share, interval: wilson_interval(count, trials, level), upper, lower })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sided_limits_are_tighter_and_never_leave_the_unit_interval() {
        let none = Share::of(0, 20, 0.95).unwrap();
        let some = Share::of(3, 20, 0.95).unwrap();
        let all = Share::of(20, 20, 0.95).unwrap();

        assert_eq!((none.share, none.interval.0, none.lower), (0.0, 0.0, 0.0));
        assert!(none.upper > 0.1 && none.upper < none.interval.1);
        assert!(some.interval.0 < some.lower && some.lower < some.share);
        assert!(some.share < some.upper && some.upper < some.interval.1);
        assert_eq!((all.share, all.interval.1, all.upper), (1.0, 1.0, 1.0));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        assert_eq!(Share::of(0, 0, 0.95), Err(ShareError::NoTrials));
        assert_eq!(Share::of(3, 2, 0.95), Err(ShareError::TooMany { count: 3, trials: 2 }));
        assert_eq!(Share::of(1, 2, 1.0), Err(ShareError::Level { level: 1.0 }));
        assert_eq!(Share::of(1, 2, 0.5), Err(ShareError::Level { level: 0.5 }));
    }
}
