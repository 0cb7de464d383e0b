//! When this machine is taken away: what `--until` and Slurm's variable say.
//!
//! Floor: wiring.

use std::env;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::duration;

/// The end that `until` says, or else the variable; `None`: there is none.
pub fn end(until: Option<&str>) -> anyhow::Result<Option<SystemTime>> {
    let now = SystemTime::now();
    let variable = env::var(VARIABLE).ok();
    match (until, variable.as_deref().map(str::trim).filter(|text| !text.is_empty())) {
        (Some(text), _) => read(text, now).context("--until").map(Some),
        (None, Some(text)) => read(text, now)
            .with_context(|| format!("{VARIABLE}, which --until takes the place of"))
            .map(Some),
        (None, None) => Ok(None),
    }
}

/// Reads a time of day with its date, Unix seconds, or a duration from `now`.
fn read(text: &str, now: SystemTime) -> anyhow::Result<SystemTime> {
    let text = text.trim();
    let end = if let Some(later) = text.strip_prefix('+') {
        let later = duration(later).map_err(anyhow::Error::msg)?;
        now.checked_add(later)
    } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().ok().map(Duration::from_secs);
        seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(seconds))
    } else if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        Some(at.into())
    } else {
        bail!(
            "{text:?} is no time: say one with its date and zone, such as 2026-11-28T18:00:00Z, Unix \
             seconds, or a duration from now, such as +2h"
        );
    };
    match end {
        Some(end) if end > now => Ok(end),
        Some(_) => bail!("{text} is over: say a time to come, such as +2h"),
        None => bail!("{text} is too far away; without an end, say none"),
    }
}

/// Unix seconds; Slurm sets it in every job.
const VARIABLE: &str = "SLURM_JOB_END_TIME";

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    #[test]
    fn an_end_is_a_time_with_its_zone_unix_seconds_or_a_duration_from_now() {
        for (text, later) in [
            ("+2h", 7_200),
            ("+90s", 90),
            ("1700000100", 100),
            (" 1700000100 ", 100),
            ("2023-11-14T22:14:20Z", 60),
            ("2023-11-15T00:13:25+02:00", 5),
        ] {
            let end = read(text, now()).expect(text);
            assert_eq!(end, now() + Duration::from_secs(later), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_to_come_is_refused_with_what_to_say() {
        let why = |text: &str| read(text, now()).expect_err(text).to_string();
        for text in ["", "2h", "tomorrow", "2023-11-14", "2023-11-14T22:14:20", "UNLIMITED"] {
            assert!(why(text).contains("such as +2h"), "{text}: {}", why(text));
        }
        assert!(why("+2").contains("such as 25s"));
        for text in ["1699999999", "2023-11-14T22:13:20Z", "+0s"] {
            assert!(why(text).contains("is over"), "{text}: {}", why(text));
        }
        assert!(why("99999999999999999999999").contains("too far"));
    }
}
