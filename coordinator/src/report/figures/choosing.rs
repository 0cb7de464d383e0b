//! What choosing did: scores where they were chosen beside those of the refits, and the best of n tries.
//!
//! Floor: core.

use super::super::content::{ExpectedBest, Report, SelectionPart};
use super::super::number::{beside, count, counted};
use super::super::page::{Sheet, columns};
use super::super::selection::time;
use super::axes::{Axis, BELOW, Sign, axes, key};
use super::canvas::{Align, Canvas, Ink, Scale, text_width};
use super::{Figure, sign_of};

/// Slopes from the folds that chose to the test rows that did not; `None` without inner folds.
pub fn slopes(report: &Report) -> Option<Figure> {
    let parts: Vec<&SelectionPart> =
        report.selection.iter().filter(|part| !part.slopes.is_empty()).collect();
    if parts.is_empty() {
        return None;
    }
    let caption = format!(
        "Score of each chosen config, in {} ({}): above on the inner folds that chose it, below trained \
         anew and tested on outer rows that chose nothing. Lines that lean to the worse side were \
         flattered by their choice; the thick line is the mean.{}",
        report.study.metric,
        report.study.goal,
        match parts.len() {
            all if all > PANELS_MAX => format!(" The first {PANELS_MAX} of {all} arms are drawn."),
            _ => String::new(),
        }
    );
    Some(Figure::drawn("choices", caption, slope_sheet(&parts), |width, caption| {
        draw_slopes(report, &parts[..parts.len().min(PANELS_MAX)], width, caption)
    }))
}

fn draw_slopes(report: &Report, parts: &[&SelectionPart], width: f64, caption: &str) -> String {
    let bottom = parts.len() as f64 * PANEL;
    let mut canvas = Canvas::new(width, bottom + BELOW);
    let (above, below) = ("where chosen", "refit");
    let gutter = text_width(above) + 8.0;
    let all = parts.iter().flat_map(|part| part.slopes.iter().flat_map(|(a, b)| [*a, *b]));
    let scale = Scale::around(all, gutter, width - 8.0);
    canvas.axis_below(&scale, 26.0, bottom, &report.study.metric);
    for (place, part) in parts.iter().enumerate() {
        let top = place as f64 * PANEL;
        let after = format!(": {}", counted(part.slopes.len() as u64, "choice"));
        canvas.bold((0.0, top + 15.0), &part.arm, &after, width);
        let (chosen, refit) = (top + 38.0, top + PANEL - 22.0);
        canvas.text((0.0, chosen + 4.5), above, Align::Start, Ink::Faint);
        canvas.text((0.0, refit + 4.5), below, Align::Start, Ink::Faint);
        let ink = sign_of(report, &part.arm).1;
        let every = part.slopes.len().div_ceil(LINES_MAX).max(1);
        for (from, to) in part.slopes.iter().step_by(every) {
            let (a, b) = (scale.at(*from), scale.at(*to));
            canvas.line((a, chosen), (b, refit), ink, 0.7);
            canvas.symbol((a, chosen), 2.0, 0, ink);
            canvas.symbol((b, refit), 2.0, 0, ink);
        }
        if let Some((from, to)) = part.chosen.zip(part.refit) {
            let words = format!("mean {}: {from:.4} where chosen, {to:.4} refit", part.arm);
            canvas.begin(&words);
            canvas.line((scale.at(from), chosen), (scale.at(to), refit), Ink::Text, 3.0);
            canvas.end();
        }
    }
    canvas.finish(caption)
}

fn slope_sheet(parts: &[&SelectionPart]) -> Sheet {
    let rows = parts.iter().flat_map(|part| {
        let scale = part.nested_gap.and_then(|gap| gap.se).unwrap_or(0.0) / 2.0;
        part.slopes.iter().take(ROWS_MAX).map(move |(chosen, refit)| {
            vec![part.arm.clone(), beside(*chosen, scale), beside(*refit, scale)]
        })
    });
    Sheet {
        title: "Scores of chosen configs".into(),
        columns: columns(&["Arm", "Where chosen", "Refit"], 1),
        rows: rows.collect(),
        legend: Vec::new(),
    }
}

/// The expected best of n configs; `None` where no arm has three.
pub fn expected_best(report: &Report) -> Option<Figure> {
    let parts: Vec<&SelectionPart> =
        report.selection.iter().filter(|part| part.expected_best.len() > 2).collect();
    if parts.is_empty() {
        return None;
    }
    let caption = format!(
        "Expected {} of the best of n configs, on the folds that choose; bands hold the middle 95 % over \
         choices drawn again. Where a line is flat, trying more configs gains nothing. The values are \
         those of chosen scores, and flattered as these are.",
        report.study.metric
    );
    Some(Figure::drawn("expected-best", caption, best_sheet(report, &parts), |width, caption| {
        draw_best(report, &parts, width, caption)
    }))
}

fn draw_best(report: &Report, parts: &[&SelectionPart], width: f64, caption: &str) -> String {
    let sign = |part: &SelectionPart| sign_of(report, &part.arm);
    let entries: Vec<(String, Sign)> = parts
        .iter()
        .map(|part| {
            let (shape, ink) = sign(part);
            (part.arm.clone(), Sign::Symbol { shape, ink })
        })
        .collect();
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let bottom = top + HEIGHT;
    let mut canvas = Canvas::new(width, bottom + BELOW);
    key(&mut canvas, 0.0, width, &entries);
    let points = || parts.iter().flat_map(|part| &part.expected_best);
    let most = points().map(|point| point.configs).max().unwrap_or(2);
    let across = Axis::logarithmic(1.0, most as f64, "configs tried");
    let ends = |point: &ExpectedBest| {
        [Some(point.expected), point.low, point.high].into_iter().flatten().collect::<Vec<_>>()
    };
    let upright = Axis::around(points().flat_map(ends), &report.study.metric);
    let (x, y) = axes(&mut canvas, (top, bottom), width, &across, &upright);
    for part in parts {
        let (shape, ink) = sign(part);
        let at =
            |point: &ExpectedBest, value: f64| (x.at((point.configs as f64).ln()), y.at(value));
        let line = part.expected_best.iter();
        let lower: Option<Vec<_>> = line.clone().map(|p| Some(at(p, p.low?))).collect();
        let upper: Option<Vec<_>> = line.clone().rev().map(|p| Some(at(p, p.high?))).collect();
        if let Some((lower, upper)) = lower.zip(upper) {
            canvas.area(&[lower, upper].concat(), ink, 0.15);
        }
        let path: Vec<(f64, f64)> = line.clone().map(|point| at(point, point.expected)).collect();
        canvas.curve(&path, ink, 2.0, 0);
        for (place, point) in path.iter().zip(line) {
            let configs = counted(point.configs, "config");
            canvas.begin(&format!("{}, {configs}: {:.4}", part.arm, point.expected));
            canvas.symbol(*place, 4.0, shape, ink);
            canvas.end();
        }
    }
    canvas.finish(caption)
}

fn best_sheet(report: &Report, parts: &[&SelectionPart]) -> Sheet {
    let rows = parts.iter().flat_map(|part| {
        let spread = |point: &ExpectedBest| Some((point.high? - point.low?) / 8.0);
        let scale = part.expected_best.first().and_then(spread).unwrap_or(0.0);
        part.expected_best.iter().map(move |point| {
            let span = match (point.low, point.high) {
                (Some(low), Some(high)) => {
                    format!("{} to {}", beside(low, scale), beside(high, scale))
                }
                _ => "–".to_string(),
            };
            vec![
                part.arm.clone(),
                count(point.configs),
                beside(point.expected, scale),
                span,
                beside(point.replaced, scale),
                time(point.agent_seconds),
            ]
        })
    });
    Sheet {
        title: format!("Expected best of n configs ({})", report.study.metric),
        columns: columns(&["Arm", "n", "Expected", "95 %", "Put back", "Training"], 1),
        rows: rows.collect(),
        legend: vec![(
            "Put back".into(),
            "Dodge et al.'s estimate, for comparison: drawn configs may come again, so it is too low"
                .into(),
        )],
    }
}

const PANEL: f64 = 128.0;
const PANELS_MAX: usize = 6;
const LINES_MAX: usize = 150;
const ROWS_MAX: usize = 200;
const HEIGHT: f64 = 230.0;
