//! Interval-estimate panel: each arm over all studies, one panel a summary.
//!
//! Floor: core.

use super::super::content::Interval;
use super::super::number::{beside, decimals};
use super::super::page::Sheet;
use super::super::several::content::{ArmPart, Several};
use super::canvas::{Align, Canvas, Ink, Scale, fitted, text_width};
use super::{Figure, NARROW, sign_at};

pub fn estimates(report: &Several) -> Figure {
    let drawn = match report.arms.iter().any(|arm| arm.iqm_ci.is_some()) {
        true => {
            "with the 95 % interval if all were trained again with new seeds on the same rows and folds"
        }
        false => "without intervals, since a study has a single run of an arm",
    };
    let caption = format!(
        "Each arm over all studies on the common scale, {drawn}. Interquartile mean: larger is better. \
         Optimality gap: smaller is better."
    );
    Figure::drawn("estimates", caption, sheet(report), |width, caption| {
        draw(report, width, caption)
    })
}

/// One summary: its name, and the value and interval of an arm.
type Panel = (&'static str, fn(&ArmPart) -> (f64, Option<&Interval>));

const PANELS: [Panel; 2] = [
    ("Interquartile mean", |arm| (arm.iqm, arm.iqm_ci.as_ref())),
    ("Optimality gap", |arm| (arm.optimality_gap, arm.optimality_gap_ci.as_ref())),
];

/// Side by side on a page, one below the other on a phone.
fn draw(report: &Several, width: f64, caption: &str) -> String {
    let names = report.arms.iter().map(|arm| text_width(&arm.arm));
    let gutter = names.fold(30.0, f64::max).min(width * GUTTER_SHARE) + 12.0;
    let height = report.arms.len() as f64 * ROW + 78.0;
    let beside = width > NARROW;
    let mut canvas = Canvas::new(width, if beside { height } else { 2.0 * height });
    let room = (width - gutter - BETWEEN) / 2.0;
    for (place, panel) in PANELS.iter().enumerate() {
        let (left, right, top) = match beside {
            true => {
                let left = gutter + place as f64 * (room + BETWEEN);
                (left, left + room, 0.0)
            }
            false => (gutter, width - 12.0, place as f64 * height),
        };
        if !beside || place == 0 {
            for (row, arm) in report.arms.iter().enumerate() {
                let y = top + 36.0 + (row as f64 + 0.5) * ROW;
                canvas.text(
                    (0.0, y + 4.5),
                    &fitted(&arm.arm, gutter - 12.0),
                    Align::Start,
                    Ink::Text,
                );
            }
        }
        draw_panel(&mut canvas, report, panel, (left, right), top);
    }
    canvas.finish(caption)
}

fn draw_panel(
    canvas: &mut Canvas,
    report: &Several,
    (name, of): &Panel,
    (left, right): (f64, f64),
    top: f64,
) {
    let all = report.arms.iter().flat_map(|arm| {
        let (value, ci) = of(arm);
        ci.map_or([value, value], |ci| [ci.low, ci.high])
    });
    let scale = Scale::around(all, left + 6.0, right - 6.0);
    canvas.bold((left, top + 18.0), name, "", right - left);
    let bottom = top + 36.0 + report.arms.len() as f64 * ROW;
    canvas.axis_below(&scale, top + 30.0, bottom, "");
    for (row, arm) in report.arms.iter().enumerate() {
        let y = top + 36.0 + (row as f64 + 0.5) * ROW;
        let ((value, ci), (shape, ink)) = (of(arm), sign_at(row));
        canvas.begin(&format!("{}, {name}: {}", arm.arm, spelled(value, ci)));
        if let Some(ci) = ci {
            let (from, to) = (scale.at(ci.low), scale.at(ci.high));
            canvas.rect((from, y - 5.0), ((to - from).max(1.0), 10.0), ink);
        }
        canvas.symbol((scale.at(value), y), 6.0, shape, Ink::Text);
        canvas.end();
    }
}

/// A number and its interval, as a cell or tooltip has room for.
pub fn spelled(value: f64, ci: Option<&Interval>) -> String {
    match ci {
        Some(ci) => {
            let scale = (ci.high - ci.low) / 4.0;
            let written = |value: f64| beside(value, scale);
            format!("{} ({} to {})", written(value), written(ci.low), written(ci.high))
        }
        None => decimals(value, 3),
    }
}

fn sheet(report: &Several) -> Sheet {
    let row = |arm: &ArmPart| {
        let mut cells = vec![arm.arm.clone()];
        cells.extend(PANELS.iter().map(|(_, of)| {
            let (value, ci) = of(arm);
            spelled(value, ci)
        }));
        cells
    };
    let mut columns = vec![("Arm".to_string(), false)];
    columns.extend(PANELS.iter().map(|(name, _)| (name.to_string(), true)));
    Sheet {
        title: "Summaries over all studies, with 95 % intervals".into(),
        columns,
        rows: report.arms.iter().map(row).collect(),
        legend: Vec::new(),
    }
}

const ROW: f64 = 32.0;

/// Room between two panels side by side.
const BETWEEN: f64 = 28.0;

/// Names take this share of the width at most.
const GUTTER_SHARE: f64 = 0.3;
