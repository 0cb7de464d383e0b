//! What a program says: lines of JSON, or `::metric name=number …` on stdout, and how it ended.
//!
//! The last line counts. A metric that is absent, no number or impossible is a failure that says what
//! was expected and what was found. Deliberately absent: files and processes.
//!
//! Floor: shell.

use std::collections::BTreeMap;

use common::metric::Metric;
use common::study::Study;
use common::trial::FailReason;
use rustix::process::Signal;
use serde_json::Value;

/// One line: what it says of each name, in the order of names.
pub type Line = BTreeMap<String, Said>;

/// What a line says under one name.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// NaN and infinity among them.
    Number(f64),
    /// Something else, in words.
    Other(String),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    Status(i32),
    Signal(i32),
}

impl Exit {
    /// Whether it ended by a signal that agents are told to leave with, or as a shell says so of what
    /// it ran.
    pub fn was_told(self) -> bool {
        let by = match self {
            Self::Signal(signal) => signal,
            Self::Status(status) => status - BY_SIGNAL,
        };
        [Signal::INT, Signal::TERM, Signal::USR1].iter().any(|signal| signal.as_raw() == by)
    }
}

/// Why an attempt gives no outcome.
pub type Failure = (FailReason, String);

/// Reads a line of JSON, in which NaN and Infinity may stand as Python writes them.
pub fn json_line(text: &str) -> Result<Line, String> {
    let value: Value = serde_json::from_str(text)
        .or_else(|error| serde_json::from_str(&without_nan(text)).map_err(|_| error))
        .map_err(|_| format!("{} is no JSON object", clipped(text)))?;
    let Value::Object(object) = value else {
        return Err(format!("{} is no JSON object", clipped(text)));
    };
    let said = |value: Value| match value {
        Value::Number(number) => Said::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::Null => Said::Number(f64::NAN),
        Value::String(text) => Said::Other(format!("the text {:?}", clipped(&text))),
        Value::Bool(value) => Said::Other(value.to_string()),
        Value::Array(_) => Said::Other("a list".to_string()),
        Value::Object(_) => Said::Other("an object".to_string()),
    };
    Ok(object.into_iter().map(|(name, value)| (name, said(value))).collect())
}

/// Reads a line of stdout that begins with `::metric`; `None` for any other.
pub fn metric_line(text: &str) -> Option<Line> {
    let rest = text.trim_start().strip_prefix("::metric")?;
    if !rest.starts_with(char::is_whitespace) {
        return None;
    }
    let pair = |word: &str| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let said = value
            .parse()
            .map_or_else(|_| Said::Other(format!("the text {:?}", clipped(value))), Said::Number);
        (name.to_string(), said)
    };
    Some(rest.split_whitespace().map(pair).collect())
}

/// The line for people: `step=3 auroc=0.91`.
pub fn in_words(line: &Line) -> String {
    let step = line.iter().filter(|(name, _)| *name == "step");
    let others = line.iter().filter(|(name, _)| *name != "step");
    let words = step.chain(others).filter_map(|(name, said)| match said {
        Said::Number(number) => Some(format!("{name}={number}")),
        Said::Other(_) => None,
    });
    let words: Vec<String> = words.collect();
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    words.join(" ").chars().map(printable).take(WORDS_MAX).collect()
}

/// The study's metrics in its order, and the step, of the last line of an attempt that went well.
pub fn metrics(
    study: &Study,
    last: Option<Result<Line, String>>,
) -> Result<(Vec<f64>, u32), Failure> {
    let primary = study.primary();
    let failed = |found: String| {
        let detail = format!(
            "expected a last line such as {{\"step\": 3, \"{primary}\": 0.91}} in $SEEDSWEEP_OUT, or \
             `::metric step=3 {primary}=0.91` on stdout; found {found}"
        );
        (FailReason::Error, detail)
    };
    let line = match last {
        None => return Err(failed("no line".to_string())),
        Some(Err(why)) => return Err(failed(why)),
        Some(Ok(line)) => line,
    };
    let mut values = Vec::new();
    for &metric in &study.metrics {
        let value = match line.get(metric.name()) {
            Some(Said::Number(value)) => *value,
            Some(Said::Other(found)) => {
                return Err(failed(format!("`{metric}` to be {found}, which is no number")));
            }
            None if metric == primary => {
                let names: Vec<&str> = line.keys().take(NAMES_SHOWN).map(String::as_str).collect();
                return Err(failed(format!("a line with {}", listed(&names))));
            }
            None => f64::NAN,
        };
        if metric == primary && !value.is_finite() {
            return Err((
                FailReason::Diverged,
                format!("the program's last line says {metric} = {value}"),
            ));
        }
        if let Some(rule) = broken_rule(metric, value) {
            return Err(failed(format!("{metric} = {value}, which must be {rule}")));
        }
        values.push(value);
    }
    let step = match line.get("step") {
        Some(Said::Number(step)) if (0.0..=f64::from(u32::MAX)).contains(step) => *step as u32,
        _ => 0,
    };
    Ok((values, step))
}

/// Why a process's end is no success; `memory_ran_out`: somebody saw the system kill for memory.
pub fn ended_well(exit: Exit, memory_ran_out: bool, words: &str) -> Result<(), Failure> {
    let last = last_words(words);
    let said = if last.is_empty() {
        "it said nothing".to_string()
    } else {
        format!("it said last: {last}")
    };
    Err(match exit {
        Exit::Status(0) => return Ok(()),
        Exit::Status(ELSEWHERE) => {
            (FailReason::Elsewhere, format!("exit status 75, try another agent; {said}"))
        }
        Exit::Status(BAD_CONFIG) => {
            (FailReason::BadConfig, format!("exit status 78, a bad config; {said}"))
        }
        Exit::Signal(KILL) if memory_ran_out => {
            (FailReason::OutOfMemory, format!("the system killed it, since memory ran out; {said}"))
        }
        Exit::Status(status) if says_out_of_memory(words) => {
            (FailReason::OutOfMemory, format!("exit status {status}; {said}"))
        }
        Exit::Status(status) => (FailReason::Error, format!("exit status {status}; {said}")),
        Exit::Signal(signal) => {
            let name = signal_name(signal);
            (FailReason::Error, format!("signal {signal}{name}, not sent by this agent; {said}"))
        }
    })
}

/// The last lines that are not blank, shortened from their beginning.
fn last_words(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES_TOLD)..].join(" | ");
    let printable: String = last.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let length = printable.chars().count();
    match length > TOLD_MAX {
        true => format!("…{}", printable.chars().skip(length - TOLD_MAX).collect::<String>()),
        false => printable,
    }
}

/// As Python, PyTorch and C++ end when they are given no more memory.
fn says_out_of_memory(words: &str) -> bool {
    let lines: Vec<&str> = words.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES_SEARCHED)..];
    last.iter().any(|line| {
        line.starts_with("MemoryError")
            || line.contains("OutOfMemoryError")
            || line.contains("CUDA out of memory")
            || line.contains("std::bad_alloc")
    })
}

/// What a metric's value must be and is not.
fn broken_rule(metric: Metric, value: f64) -> Option<&'static str> {
    let (larger, classes) = (metric.larger_is_better(), metric.is_classification());
    let broken = match (larger, classes) {
        (true, true) => !(0.0..=1.0).contains(&value),
        (true, false) => value > 1.0,
        (false, _) => value < 0.0,
    };
    let rule = match (larger, classes) {
        (true, true) => "from 0 to 1",
        (true, false) => "at most 1",
        (false, _) => "0 or above",
    };
    (broken && !value.is_nan()).then_some(rule)
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "nothing in it".to_string() } else { clipped(&names.join(", ")) }
}

/// NaN and Infinity outside of quotes, as `null`.
fn without_nan(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut quoted = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| rest.starts_with(word));
        match word.filter(|_| !quoted) {
            Some(word) => {
                cleaned.push_str("null");
                rest = &rest[word.len()..];
            }
            None if quoted && c == '\\' => {
                let two: String = rest.chars().take(2).collect();
                rest = &rest[two.len()..];
                cleaned.push_str(&two);
            }
            None => {
                quoted ^= c == '"';
                cleaned.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    cleaned
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (arithmetic fault)",
        9 => " (kill)",
        11 => " (segmentation fault)",
        15 => " (terminate)",
        24 => " (processor time used up)",
        25 => " (a file grew too large)",
        _ => "",
    }
}

/// sysexits.h: EX_TEMPFAIL and EX_CONFIG.
const ELSEWHERE: i32 = 75;
const BAD_CONFIG: i32 = 78;
const KILL: i32 = 9;
/// A shell's status of what a signal ended is this and the signal's number.
const BY_SIGNAL: i32 = 128;
const WORDS_MAX: usize = 200;
const NAMES_SHOWN: usize = 8;
const SHOWN_MAX: usize = 80;
const LINES_TOLD: usize = 3;
const TOLD_MAX: usize = 240;
const LINES_SEARCHED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn of(line: &str) -> Result<(Vec<f64>, u32), Failure> {
        metrics(&sample::study(sample::ROWS), Some(json_line(line)))
    }

    fn detail(line: &str) -> String {
        let (reason, detail) = of(line).expect_err(line);
        assert_eq!(reason, FailReason::Error, "{detail}");
        detail
    }

    #[test]
    fn the_last_line_gives_the_studys_metrics_in_its_order() {
        let study = sample::study(sample::ROWS);
        let name = study.primary().name();
        let (values, step) =
            of(&format!("{{\"loss\": 3, \"step\": 7, \"{name}\": 0.5}}")).expect("good");
        assert_eq!((values[0], step), (0.5, 7));
        assert!(values[1..].iter().all(|value| value.is_nan()));
        let line = metric_line(&format!("::metric step=2 {name}=0.25")).expect("a line");
        assert_eq!(in_words(&line), format!("step=2 {name}=0.25"));
        assert_eq!(metrics(&study, Some(Ok(line))).expect("good").0[0], 0.25);
        assert_eq!(metric_line("::metrics a=1"), None);
        assert_eq!(metric_line("metric a=1"), None);
    }

    #[test]
    fn a_missing_or_malformed_metric_says_what_was_expected_and_what_was_found() {
        let study = sample::study(sample::ROWS);
        let name = study.primary().name();
        let expected = format!("\"{name}\": 0.91");
        for (line, found) in [
            ("{\"step\": 1, \"acc\": 0.5}".to_string(), "a line with acc, step"),
            ("{}".to_string(), "nothing in it"),
            ("[1]".to_string(), "[1] is no JSON object"),
            ("epoch 3".to_string(), "epoch 3 is no JSON object"),
            (format!("{{\"{name}\": \"0.9\"}}"), "the text \"0.9\", which is no number"),
            (format!("{{\"{name}\": 91.5}}"), "91.5, which must be from 0 to 1"),
        ] {
            let said = detail(&line);
            assert!(said.contains(&expected) && said.contains(found), "{line}: {said}");
        }
        let (_, none) = metrics(&study, None).expect_err("nothing was said");
        assert!(none.ends_with("found no line"), "{none}");
    }

    #[test]
    fn a_metric_that_is_no_finite_number_is_a_divergence() {
        let name = sample::study(sample::ROWS).primary().name();
        for value in ["NaN", "null", "-Infinity"] {
            let (reason, detail) =
                of(&format!("{{\"n\\\"NaN\": 1, \"{name}\": {value}}}")).expect_err(value);
            assert_eq!(reason, FailReason::Diverged, "{detail}");
        }
    }

    #[test]
    fn what_tells_an_agent_to_leave_is_known_by_its_signal_or_a_shells_word_for_it() {
        for told in [Signal::TERM, Signal::INT, Signal::USR1].map(Signal::as_raw) {
            assert!(Exit::Signal(told).was_told() && Exit::Status(128 + told).was_told());
        }
        for other in [Exit::Status(0), Exit::Status(1), Exit::Status(15), Exit::Status(137)] {
            assert!(!other.was_told(), "{other:?}");
        }
        assert!(!Exit::Signal(9).was_told() && !Exit::Signal(11).was_told());
    }

    #[test]
    fn ends_are_told_apart() {
        let reason =
            |exit, memory, words| ended_well(exit, memory, words).expect_err("no success").0;
        assert_eq!(ended_well(Exit::Status(0), false, ""), Ok(()));
        assert_eq!(reason(Exit::Status(75), false, ""), FailReason::Elsewhere);
        assert_eq!(reason(Exit::Status(78), false, ""), FailReason::BadConfig);
        assert_eq!(reason(Exit::Status(1), false, "x"), FailReason::Error);
        assert_eq!(reason(Exit::Status(1), false, "a\nMemoryError\n"), FailReason::OutOfMemory);
        assert_eq!(reason(Exit::Signal(9), true, ""), FailReason::OutOfMemory);
        assert_eq!(reason(Exit::Signal(9), false, ""), FailReason::Error);
        let (_, said) =
            ended_well(Exit::Signal(11), true, "one\n\n two \nthree\nfour").expect_err("");
        assert_eq!(
            said,
            "signal 11 (segmentation fault), not sent by this agent; \
                          it said last: two | three | four"
        );
    }
}
