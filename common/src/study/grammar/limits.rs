//! `[stop]` and `[budget]`: when a study has trained enough.
//!
//! Floor: common.

use std::ops::Range;

use super::super::finding::{At, Inspection};
use super::super::{Budget, Diverged, Stop, StopWorth};
use super::walk::{Item, Section};

/// `[stop]` as written. `race` where the file says it.
pub(in super::super) struct StopDraft {
    pub span: Range<usize>,
    pub stop: Stop,
    pub race: Option<bool>,
}

pub(super) fn stop(root: &Section<'_>, inspection: &mut Inspection<'_>) -> Option<StopDraft> {
    let item = root.find("stop")?;
    let known = [
        "half_width",
        "rope",
        "difference",
        "first",
        "level",
        "target",
        "race",
        "hopeless",
        "worth",
    ];
    let section = item.section("[stop]", &known, inspection)?;
    let mut stop = Stop::default();
    let mut above_0 = |key: &str, what: &str| -> Option<f64> {
        let number = section.find(key)?.number(what, |value| value > 0.0, inspection)?;
        Some(number.value)
    };
    let units = "a difference of the metric above 0, such as 0.005";
    stop.half_width = above_0("half_width", units);
    stop.rope = above_0("rope", units);
    let within_1 = |key: &str, what: &str, inspection: &mut Inspection<'_>| -> Option<f64> {
        let inside = |value: f64| value > 0.0 && value < 1.0;
        Some(section.find(key)?.number(what, inside, inspection)?.value)
    };
    if let Some(level) = within_1("level", "a level between 0 and 1, such as 0.95", inspection) {
        stop.alpha = 1.0 - level;
    }
    stop.hopeless = within_1("hopeless", "a chance between 0 and 1, such as 0.05", inspection);
    if let Some(difference) = section.find("difference").and_then(|item| item.boolean(inspection)) {
        stop.difference = difference.value;
    }
    if let Some(first) =
        section.find("first").and_then(|item| item.whole(2..=FIRST_MAX, inspection))
    {
        stop.first = first.value as u32;
    }
    let targets = [("seeds", false), ("sample", true)];
    if let Some(sample) = section.find("target").and_then(|item| item.choice(&targets, inspection))
    {
        stop.sample = sample.value;
    }
    let race = section.find("race").and_then(|item| item.boolean(inspection));
    stop.worth = section.find("worth").and_then(|item| worth(item, inspection));
    Some(StopDraft { span: item.span.clone(), stop, race: race.map(|race| race.value) })
}

/// `{ point_value = 500, hour_price = 2 }`.
fn worth(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<StopWorth> {
    let section = item.section("worth", &["point_value", "hour_price"], inspection)?;
    let mut money = |key: &str, example: &str| -> Option<f64> {
        let item = section.require(key, example, inspection)?;
        Some(item.number("a sum of money, 0 or above", |value| value >= 0.0, inspection)?.value)
    };
    let point_value =
        money("point_value", "point_value = 500: what a score better by 0.01 is worth");
    let hour_price = money("hour_price", "hour_price = 2: what an hour of training costs");
    Some(StopWorth { point_value: point_value?, hour_price: hour_price? })
}

pub(super) fn budget(root: &Section<'_>, budget: &mut Budget, inspection: &mut Inspection<'_>) {
    let Some(item) = root.find("budget") else { return };
    let known = ["attempts", "diverged", "hours", "agent_hours"];
    let Some(section) = item.section("[budget]", &known, inspection) else { return };
    let mut hours = |key: &str| -> Option<f64> {
        let hours = section.find(key)?.number(
            "a number of hours above 0, such as 8 or 0.5",
            |hours| hours > 0.0,
            inspection,
        )?;
        Some(hours.value)
    };
    (budget.hours, budget.agent_hours) = (hours("hours"), hours("agent_hours"));
    let attempts = section.find("attempts").and_then(|item| item.whole(1..=100, inspection));
    if let Some(attempts) = attempts {
        budget.attempts = attempts.value as u32;
    }
    let policies =
        [("report", Diverged::Report), ("worst", Diverged::Worst), ("fail", Diverged::Fail)];
    let diverged = section.find("diverged").and_then(|item| item.choice(&policies, inspection));
    if let Some(At { value, .. }) = diverged {
        budget.diverged = value;
    }
}

/// Who trains so many seeds before the first look has no use for one.
const FIRST_MAX: i64 = 1_000;
