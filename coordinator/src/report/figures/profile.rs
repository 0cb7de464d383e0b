//! Performance profile: for every score, the share of runs above it.
//!
//! Floor: core.

use super::super::number::{decimals, percent};
use super::super::page::Sheet;
use super::super::several::content::{ArmPart, PointPart, Several};
use super::Figure;
use super::canvas::{Align, Canvas, Ink, Scale, fitted, text_width};

pub fn profile(report: &Several) -> Figure {
    let band = match report.arms.iter().any(|arm| arm.iqm_ci.is_some()) {
        true => " Bands hold point by point at 95 %, if all were trained again with new seeds.",
        false => "",
    };
    let more = match report.arms.len() > ARMS_DRAWN {
        true => format!(" The {ARMS_DRAWN} arms with the best interquartile mean are drawn."),
        false => String::new(),
    };
    let caption = format!(
        "Share of runs, over all studies, that score above a value of the common scale. A curve that \
         lies higher everywhere belongs to the better arm; where curves cross, it depends on what \
         score is asked for.{band}{more}"
    );
    Figure::drawn("performance-profile", caption, sheet(report), |width, caption| {
        draw(report, width, caption)
    })
}

/// Arms with their hue, those with the best interquartile mean where there are too many.
fn drawn(report: &Several) -> Vec<(Ink, &ArmPart)> {
    let mut places: Vec<usize> = (0..report.arms.len()).collect();
    places.sort_by(|x, y| report.arms[*y].iqm.total_cmp(&report.arms[*x].iqm).then(x.cmp(y)));
    places.truncate(ARMS_DRAWN);
    places.sort_unstable();
    places.into_iter().enumerate().map(|(n, at)| (Ink::Hue(n), &report.arms[at])).collect()
}

fn draw(report: &Several, width: f64, caption: &str) -> String {
    let arms = drawn(report);
    let names: Vec<String> = arms.iter().map(|(_, arm)| fitted(&arm.arm, width / 2.0)).collect();
    let key = key_places(&names, width);
    let top = key.last().map_or(0.0, |(_, row)| (row + 1.0) * KEY_ROW) + 12.0;
    let bottom = top + PLOT;
    let mut canvas = Canvas::new(width, bottom + 46.0);
    let thresholds = arms.iter().flat_map(|(_, arm)| arm.profile.iter().map(|p| p.threshold));
    let (low, high) = ends(thresholds);
    let across = Scale { low, high, from: GUTTER, to: width - 10.0 };
    let up = Scale { low: 0.0, high: 1.0, from: bottom, to: top };
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let y = up.at(tick);
        canvas.line((GUTTER, y), (across.to, y), Ink::Rule, 1.0);
        canvas.text((GUTTER - 8.0, y + 4.5), &percent(tick), Align::End, Ink::Faint);
    }
    canvas.axis_below(&across, top, bottom, "score on the common scale");
    for (dash, (((ink, _), name), (x, row))) in arms.iter().zip(&names).zip(&key).enumerate() {
        let y = row * KEY_ROW + 12.0;
        canvas.curve(&[(*x, y), (x + 18.0, y)], *ink, 2.5, dash);
        canvas.text((x + 24.0, y + 4.5), name, Align::Start, Ink::Text);
    }
    for (ink, arm) in &arms {
        band(&mut canvas, &across, &up, &arm.profile, *ink);
    }
    for (dash, (ink, arm)) in arms.iter().enumerate() {
        canvas.begin(&format!("{}: {}", arm.arm, half(&arm.profile)));
        canvas.curve(&steps(&across, &up, &arm.profile), *ink, 2.0, dash);
        canvas.end();
    }
    canvas.finish(caption)
}

/// Left end and row of each name of the key.
fn key_places(names: &[String], width: f64) -> Vec<(f64, f64)> {
    let (mut x, mut row) = (GUTTER, 0.0);
    let mut places = Vec::new();
    for name in names {
        let room = text_width(name) + 44.0;
        if x > GUTTER && x + room > width {
            (x, row) = (GUTTER, row + 1.0);
        }
        places.push((x, row));
        x += room;
    }
    places
}

/// The score that half of an arm's runs are above.
fn half(points: &[PointPart]) -> String {
    match points.iter().rev().find(|point| point.above >= 0.5) {
        Some(point) => format!("half of its runs score above {}", decimals(point.threshold, 3)),
        None => "less than half of its runs are drawn".to_string(),
    }
}

fn band(canvas: &mut Canvas, across: &Scale, up: &Scale, points: &[PointPart], ink: Ink) {
    let side = |end: fn(&PointPart) -> Option<f64>| -> Vec<(f64, f64)> {
        let ends = points.iter().filter_map(|point| Some((point.threshold, end(point)?)));
        ends.map(|(x, y)| (across.at(x), up.at(y))).collect()
    };
    let mut outline = side(|point| point.ci.as_ref().map(|ci| ci.low));
    let upper = side(|point| point.ci.as_ref().map(|ci| ci.high));
    outline.extend(upper.into_iter().rev());
    if !outline.is_empty() {
        canvas.area(&outline, ink, 0.18);
    }
}

/// The curve, which falls only at a threshold; stretches without a fall are one line.
fn steps(across: &Scale, up: &Scale, points: &[PointPart]) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for point in points {
        let next = (across.at(point.threshold), up.at(point.above));
        match corners.last() {
            Some(last) if last.1 != next.1 => corners.extend([(next.0, last.1), next]),
            Some(_) => {}
            None => corners.push(next),
        }
    }
    if let (Some(point), Some(last)) = (points.last(), corners.last().copied()) {
        corners.push((across.at(point.threshold), last.1));
    }
    corners
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low < high { (low, high) } else { (0.0, 1.0) }
}

fn sheet(report: &Several) -> Sheet {
    let mut columns = vec![("Score above".to_string(), true)];
    columns.extend(report.arms.iter().map(|arm| (arm.arm.clone(), true)));
    let points = report.arms.first().map_or(0, |arm| arm.profile.len());
    let row = |place: usize| {
        let mut cells = vec![decimals(report.arms[0].profile[place].threshold, 3)];
        cells.extend(report.arms.iter().map(|arm| match &arm.profile[place] {
            PointPart { above, ci: Some(ci), .. } => {
                format!("{} ({} to {})", percent(*above), percent(ci.low), percent(ci.high))
            }
            point => percent(point.above),
        }));
        cells
    };
    Sheet {
        title: "Share of runs above a score".into(),
        columns,
        rows: (0..points).step_by(ROWS_STEP).map(row).collect(),
        legend: Vec::new(),
    }
}

const PLOT: f64 = 240.0;
const GUTTER: f64 = 52.0;
const KEY_ROW: f64 = 22.0;

/// Hues before grey.
const ARMS_DRAWN: usize = 6;

/// Every fifth point is enough to read.
const ROWS_STEP: usize = 5;
