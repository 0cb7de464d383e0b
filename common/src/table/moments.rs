//! Moments: columns that say when a row was, as numbers or as ISO dates and times.
//!
//! Deliberately absent: calendars other than the proleptic Gregorian, and time zones by name.
//!
//! Floor: common.

use super::{Column, Values};

/// Each row's place in time, from 0 and without gaps; rows of one moment have the same. Numbers are
/// compared as numbers, dates and times as what they say.
///
/// Errors: the rows that say no moment, missing cells among them.
pub(crate) fn ranks(column: &Column, rows: &[usize]) -> Result<Vec<u32>, Vec<usize>> {
    match &column.values {
        Values::Numbers(numbers) => {
            let of = |row: usize| Some(numbers[row]).filter(|n| !n.is_nan()).map(sortable);
            dense(rows, of)
        }
        Values::Text(texts) => dense(rows, |row| moment(texts[row].as_deref()?)),
    }
}

fn dense<T: Ord + Copy>(
    rows: &[usize],
    of: impl Fn(usize) -> Option<T>,
) -> Result<Vec<u32>, Vec<usize>> {
    let wrong: Vec<usize> = rows.iter().copied().filter(|&row| of(row).is_none()).collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let moments: Vec<T> = rows.iter().filter_map(|&row| of(row)).collect();
    let mut known = moments.clone();
    known.sort_unstable();
    known.dedup();
    Ok(moments.iter().map(|m| known.partition_point(|other| other < m) as u32).collect())
}

/// Whole numbers in the order of the numbers; both zeros are one.
fn sortable(number: f64) -> i64 {
    let bits = (number + 0.0).to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// Seconds since 1970 began and nanoseconds beyond: of `2019-03-07`, of `2019-03-07T10:00`, with
/// seconds and their fractions, `Z` or an offset such as `+02:00`; a space may stand for the `T`.
/// Without an offset the time is read as if in UTC.
pub(crate) fn moment(text: &str) -> Option<(i64, u32)> {
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    if !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) {
        return None;
    }
    let midnight = days(year, month, day) * 86_400;
    let Some(rest) = text[10..].strip_prefix(['T', ' ']) else {
        return text[10..].is_empty().then_some((midnight, 0));
    };
    let clock_ends = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(clock_ends);
    let (seconds, nanos) = clock_of(clock.strip_suffix(' ').unwrap_or(clock))?;
    Some((midnight + seconds - offset_of(offset)?, nanos))
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `10:00`, `10:00:30` or `10:00:30.25`.
fn clock_of(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
    let parts: Vec<&str> = whole.split(':').collect();
    if !(2..=3).contains(&parts.len()) || parts.iter().any(|part| part.len() != 2) {
        return None;
    }
    let numbers: Vec<i64> = parts.iter().map(|part| digits(part)).collect::<Option<_>>()?;
    let (hour, minute, second) = (numbers[0], numbers[1], numbers.get(2).copied().unwrap_or(0));
    // A leap second is the last of its minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let nanos = match fraction {
        Some(_) if parts.len() < 3 => return None,
        Some(fraction) if (1..=9).contains(&fraction.len()) => {
            digits(fraction)? * 10i64.pow(9 - fraction.len() as u32)
        }
        Some(_) => return None,
        None => 0,
    };
    Some((hour * 3600 + minute * 60 + second.min(59), nanos as u32))
}

/// Seconds ahead of UTC: of nothing, `Z`, `+02:00`, `+0200` or `+02`.
fn offset_of(text: &str) -> Option<i64> {
    if text.is_empty() || text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let clock = text[1..].replacen(':', "", 1);
    let (hours, minutes) = match clock.len() {
        2 => (digits(&clock)?, 0),
        4 => (digits(&clock[..2])?, digits(&clock[2..])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years begin in March, so that leap days end them.
/// Source: Hinnant, "chrono-compatible low-level date algorithms".
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(cells: &[&str]) -> Column {
        let texts = cells.iter().map(|cell| Some(cell.to_string()).filter(|c| !c.is_empty()));
        Column { name: "when".into(), values: Values::Text(texts.collect()) }
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(moment("1970-01-01"), Some((0, 0)));
        assert_eq!(moment("2000-02-29T12:00"), Some((951_825_600, 0)));
        assert_eq!(moment("2019-03-07T10:00:00"), Some((1_551_952_800, 0)));
        assert_eq!(moment("2019-03-07 12:00:00.25+02:00"), Some((1_551_952_800, 250_000_000)));
        assert_eq!(moment("2019-03-07 10:00:00 +00:00"), moment("2019-03-07T10:00Z"));
        assert_eq!(moment("1969-12-31T23:59:59"), Some((-1, 0)));
        for wrong in [
            "",
            "2019",
            "2019-3-7",
            "07.03.2019",
            "2019-02-29",
            "2019-13-01",
            "2019-03-07T",
            "2019-03-07T10",
            "2019-03-07T25:00",
            "2019-03-07x",
            "2019-03-07T10:00:00.",
            "2019-03-07T10:00+2",
            "2019-03-0é",
            "+019-03-07",
            "2019-03-07T10:00:00.1234567890",
            "1900-02-29",
        ] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn moments_written_in_other_ways_are_one() {
        let column =
            texts(&["2019-03-07", "2018-12-31", "2019-03-07T00:00:00Z", "2019-03-07T01:00+01:00"]);
        assert_eq!(ranks(&column, &[0, 1, 2, 3]), Ok(vec![1, 0, 1, 1]));
    }

    #[test]
    fn rows_without_a_moment_are_named() {
        let column = texts(&["2019-03-07", "March", "", "2019-03-08"]);
        assert_eq!(ranks(&column, &[0, 1, 2, 3]), Err(vec![1, 2]));
        assert_eq!(ranks(&column, &[0, 3]), Ok(vec![0, 1]));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let numbers = vec![10.0, 9.0, -0.0, 0.0, -3.5, -20.0, f64::INFINITY];
        let column = Column { name: "day".into(), values: Values::Numbers(numbers) };
        assert_eq!(ranks(&column, &[0, 1, 2, 3, 4, 5, 6]), Ok(vec![4, 3, 2, 2, 1, 0, 5]));
        let column = Column { name: "day".into(), values: Values::Numbers(vec![1.0, f64::NAN]) };
        assert_eq!(ranks(&column, &[0, 1]), Err(vec![1]));
    }
}
