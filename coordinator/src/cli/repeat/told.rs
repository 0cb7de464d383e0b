//! What `coordinator verify` found, for people and for programs.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::process::ExitCode;

use common::design::Design;
use common::id::TrialIndex;
use common::repeat::{Difference, LEVELS, Spread, kind_of};
use common::study::Study;
use common::wire::message::{RepeatState, StudyStatus};
use serde_json::{Value, json};

use super::{Ended, Wish};
use crate::cli::output::{Output, table};

/// Prints what was found. Exit status 1 where an outcome differs that was made on the same kind of
/// device, or could not be made again.
pub fn told(
    status: &StudyStatus,
    study: &Study,
    wish: &Wish,
    ended: &Ended,
    output: &Output,
) -> ExitCode {
    let found = Found::of(ended);
    let text = in_words(&status.name, study, ended, &found);
    let mut answer = for_programs(study, ended, &found);
    answer["study"] = json!(status.id.to_string());
    answer["name"] = json!(status.name);
    answer["seed"] = json!(wish.seed);
    output.answer(&text, "seedsweep.verify/1", answer);
    if found.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// The trials by how they ended.
#[derive(Default)]
struct Found<'a> {
    identical: u64,
    differ: Vec<(TrialIndex, &'a Difference)>,
    /// Of these, on one kind of device.
    same_kind: u64,
    failed: Vec<(TrialIndex, &'a str, &'a str)>,
    /// Of each pair of records: identical outcomes, and all.
    devices: BTreeMap<(&'a str, &'a str), (u64, u64)>,
}

impl<'a> Found<'a> {
    fn of(ended: &'a Ended) -> Self {
        let mut found = Self::default();
        for (trial, state) in ended {
            match state {
                RepeatState::Done { devices: (first, again), difference, .. } => {
                    let pair = found.devices.entry((first, again)).or_default();
                    pair.1 += 1;
                    match difference {
                        None => {
                            pair.0 += 1;
                            found.identical += 1;
                        }
                        Some(difference) => {
                            found.same_kind += u64::from(kind_of(first) == kind_of(again));
                            found.differ.push((*trial, difference));
                        }
                    }
                }
                RepeatState::Failed { reason, detail } => {
                    found.failed.push((*trial, reason, detail));
                }
                RepeatState::Waiting | RepeatState::Leased { .. } => {}
            }
        }
        found
    }

    fn is_good(&self) -> bool {
        self.same_kind == 0 && self.failed.is_empty()
    }

    /// A name for each quantity and its spread over the trials that differ: the metrics, then all
    /// scores of rows together.
    fn spreads(&self, study: &Study) -> Vec<(String, Spread)> {
        let metrics = study.metrics.iter().enumerate().map(|(place, metric)| {
            let of = self.differ.iter().filter_map(|(_, d)| d.metrics.get(place).copied());
            (metric.name().to_string(), of.collect::<Vec<f64>>())
        });
        let rows = self.differ.iter().flat_map(|(_, d)| d.rows.iter().map(|row| f64::from(*row)));
        let rows = (ROWS.to_string(), rows.collect());
        let all = metrics.chain(std::iter::once(rows));
        all.filter_map(|(name, values)| Some((name, Spread::of(&values)?))).collect()
    }
}

fn in_words(name: &str, study: &Study, ended: &Ended, found: &Found<'_>) -> String {
    let all = ended.len();
    let mut text = format!("{name}: {} of {all} trials came out identical", found.identical);
    if !found.differ.is_empty() {
        text += &format!(", {} differ", found.differ.len());
    }
    if !found.failed.is_empty() {
        text += &format!(", {} gave no outcome", found.failed.len());
    }
    for ((first, again), (identical, of)) in &found.devices {
        let where_ = match first == again {
            true => format!("on {first}"),
            false => format!("first on {first}\n  again on {again}"),
        };
        text += &format!("\n  {where_}: {identical} of {of} identical");
    }
    let spreads = found.spreads(study);
    if !spreads.is_empty() {
        let mut headings = vec!["differences of".to_string(), "not 0".to_string()];
        headings.extend(LEVELS.iter().map(|level| format!("{:.0} %", level * 100.0)));
        headings.push("largest".to_string());
        let row = |(name, spread): &(String, Spread)| {
            let mut row = vec![name.clone(), format!("{} of {}", spread.nonzero, spread.count)];
            row.extend(spread.quantiles.iter().chain([&spread.largest]).map(|value| small(*value)));
            row
        };
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        text += &format!("\n{}", table(&headings, spreads.iter().map(row).collect()));
        let trials: Vec<TrialIndex> = found.differ.iter().map(|(trial, _)| *trial).collect();
        let trials = crate::cli::control::in_ranges(&trials, trials.len() as u64);
        text += &format!("\ntrials that differ: {trials}");
        text += match found.same_kind {
            0 => "\nother kinds of devices round otherwise; the first outcomes stand",
            _ => "\nthe first outcomes stand; the study's report tells of these findings",
        };
    }
    for (trial, reason, detail) in found.failed.iter().take(FAILED_NAMED) {
        text += &format!("\ntrial {trial} gave no outcome ({reason}): {detail}");
    }
    text
}

fn for_programs(study: &Study, ended: &Ended, found: &Found<'_>) -> Value {
    let devices = found.devices.iter().map(|((first, again), (identical, trials))| {
        json!({ "first": first, "again": again, "identical": identical, "trials": trials })
    });
    let spreads = found.spreads(study);
    let of = |name: &str| spreads.iter().find(|(other, _)| other == name).map(|(_, s)| spread(s));
    let metrics = study.metrics.iter().map(|metric| metric.name());
    let metrics: serde_json::Map<String, Value> =
        metrics.filter_map(|name| Some((name.to_string(), of(name)?))).collect();
    let design = Design::of(study);
    let arm = |trial: TrialIndex| design.key(trial).map(|key| key.arm(study).name.clone());
    let trials = ended.iter().map(|(trial, state)| {
        let mut told = one(study, state);
        (told["trial"], told["arm"]) = (json!(trial.0), json!(arm(*trial)));
        told
    });
    json!({
        "trials": ended.len(),
        "identical": found.identical,
        "differ": found.differ.len(),
        "differ_on_same_kind_of_device": found.same_kind,
        "failed": found.failed.len(),
        "data_digest": study.data.digest.hex(),
        "devices": devices.collect::<Vec<_>>(),
        "differences": { "metrics": metrics, "rows": of(ROWS) },
        "each": trials.collect::<Vec<_>>(),
    })
}

/// One trial. Only distances: what the two outcomes were is not known here.
fn one(study: &Study, state: &RepeatState) -> Value {
    match state {
        RepeatState::Done { agent, devices: (first, again), difference } => {
            let differences = difference.as_ref().map(|difference| {
                let names = study.metrics.iter().map(|metric| metric.name().to_string());
                let metrics: serde_json::Map<String, Value> =
                    names.zip(difference.metrics.iter().map(|value| json!(value))).collect();
                let rows: Vec<f64> = difference.rows.iter().map(|row| f64::from(*row)).collect();
                let rows = Spread::of(&rows).map(|rows| spread(&rows));
                json!({ "metrics": metrics, "epochs": difference.epochs, "rows": rows })
            });
            json!({
                "identical": difference.is_none(),
                "agent": agent.to_string(),
                "first": first,
                "again": again,
                "differences": differences,
            })
        }
        RepeatState::Failed { reason, detail } => {
            json!({ "identical": false, "failed": { "reason": reason, "detail": detail } })
        }
        RepeatState::Waiting | RepeatState::Leased { .. } => json!({}),
    }
}

fn spread(spread: &Spread) -> Value {
    let quantiles = LEVELS.iter().map(|level| format!("{level}"));
    let quantiles: serde_json::Map<String, Value> =
        quantiles.zip(spread.quantiles.iter().map(|value| json!(value))).collect();
    json!({
        "count": spread.count,
        "nonzero": spread.nonzero,
        "quantiles": quantiles,
        "largest": spread.largest,
    })
}

/// A distance with three digits, however small.
fn small(value: f64) -> String {
    match value {
        0.0 => "0".to_string(),
        value if value.is_infinite() => "undefined once".to_string(),
        value => format!("{value:.2e}"),
    }
}

const ROWS: &str = "scores of rows";
const FAILED_NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use common::id::MemberId;

    const CPU: &str = "cpu; Example; avx2";
    const CARD: &str = "cuda:0; Example; driver 550";

    fn done(first: &str, again: &str, difference: Option<Difference>) -> RepeatState {
        let devices = (first.to_string(), again.to_string());
        RepeatState::Done { agent: MemberId(7), devices, difference: difference.map(Box::new) }
    }

    fn apart() -> Difference {
        Difference { metrics: vec![0.25], epochs: 0, rows: vec![0.0, 0.5, 1e-7] }
    }

    fn told_of(states: Vec<RepeatState>) -> (String, Value, bool) {
        let ended: Ended = (0..).map(TrialIndex).zip(states).collect();
        let (study, found) = (sample::study(2), Found::of(&ended));
        let text = in_words("s", &study, &ended, &found);
        (text, for_programs(&study, &ended, &found), found.is_good())
    }

    #[test]
    fn identical_outcomes_are_told_with_where_they_were_made() {
        let (text, json, good) = told_of(vec![done(CPU, CPU, None), done(CPU, CPU, None)]);
        assert!(good);
        assert!(text.starts_with("s: 2 of 2 trials came out identical\n  on cpu; Ex"), "{text}");
        assert!(!text.contains("differ"), "{text}");
        assert_eq!((&json["identical"], &json["differ"]), (&json!(2), &json!(0)));
        assert_eq!(json["differences"]["rows"], Value::Null);
        assert_eq!(json["each"][1]["arm"], "a");
    }

    #[test]
    fn outcomes_that_differ_are_told_by_their_distances() {
        let (text, json, good) = told_of(vec![done(CPU, CPU, None), done(CPU, CPU, Some(apart()))]);
        assert!(!good, "one processor, two outcomes");
        assert!(text.contains("1 of 2 trials came out identical, 1 differ"), "{text}");
        assert!(text.contains("auroc") && text.contains("2.50e-1"), "{text}");
        assert!(text.contains("2 of 3") && text.contains("trials that differ: 1"), "{text}");
        assert_eq!(json["differences"]["metrics"]["auroc"]["largest"], 0.25);
        assert_eq!(json["differences"]["rows"]["nonzero"], 2);
        assert_eq!(json["each"][1]["differences"]["rows"]["largest"], 0.5);
    }

    #[test]
    fn another_kind_of_device_may_differ_and_the_same_kind_may_not() {
        let (text, json, good) = told_of(vec![done(CPU, CARD, Some(apart()))]);
        assert!(good && text.contains("again on cuda:0"), "{text}");
        assert_eq!(json["differ_on_same_kind_of_device"], 0);
        let one = "cuda:1; Example; driver 550";
        assert!(!told_of(vec![done(one, CARD, Some(apart()))]).2);
    }

    #[test]
    fn a_trial_that_gave_no_second_outcome_is_no_success() {
        let failed = RepeatState::Failed { reason: "error".into(), detail: "no data".into() };
        let (text, json, good) = told_of(vec![failed]);
        assert!(!good && text.contains("trial 0 gave no outcome (error): no data"), "{text}");
        assert_eq!((&json["failed"], &json["trials"]), (&json!(1), &json!(1)));
    }
}
