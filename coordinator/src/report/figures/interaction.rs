//! One line an arm over the outer folds: where lines cross, the better arm depends on the fold.
//!
//! Floor: core.

use super::super::content::Report;
use super::super::number::beside;
use super::super::page::{Sheet, columns};
use super::axes::{Axis, BELOW, Sign, axes, key};
use super::canvas::Canvas;
use super::{Figure, sign_of};

/// `None` for fewer than two folds or arms with a score.
pub fn interaction(report: &Report) -> Option<Figure> {
    let folds = &report.drawn.further.folds;
    let scored = folds.arms.iter().filter(|(_, means)| means.iter().any(Option::is_some)).count();
    if folds.folds.len() < 2 || scored < 2 {
        return None;
    }
    let what = match report.study.left_out.as_deref() {
        Some(column) => format!("each value of {column} tested"),
        None => "each outer fold".to_string(),
    };
    let caption = format!(
        "Mean {} of each arm in {what}. Lines that run side by side mean that the arms differ by the \
         same everywhere; lines that cross mean that which arm is better depends on the rows tested.",
        report.study.metric
    );
    Some(Figure::drawn("interaction", caption, sheet(report), |width, caption| {
        draw(report, width, caption)
    }))
}

fn draw(report: &Report, width: f64, caption: &str) -> String {
    let folds = &report.drawn.further.folds;
    let arms = &folds.arms[..folds.arms.len().min(ARMS_MAX)];
    let entries: Vec<(String, Sign)> = arms
        .iter()
        .map(|(arm, _)| {
            let (shape, ink) = sign_of(report, arm);
            (arm.clone(), Sign::Symbol { shape, ink })
        })
        .collect();
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let bottom = top + HEIGHT;
    let mut canvas = Canvas::new(width, bottom + BELOW);
    key(&mut canvas, 0.0, width, &entries);
    let count = folds.folds.len();
    let labels = folds.folds.iter().enumerate();
    let across = Axis {
        ends: (-0.5, count as f64 - 0.5),
        ticks: labels.map(|(place, label)| (place as f64, label.clone())).collect(),
        title: report.study.left_out.as_deref().unwrap_or("outer fold"),
    };
    let all = arms.iter().flat_map(|(_, means)| means.iter().flatten().copied());
    let upright = Axis::around(all, &report.study.metric);
    let (x, y) = axes(&mut canvas, (top, bottom), width, &across, &upright);
    let radius = ((x.to - x.from) / count as f64 * 0.3).clamp(1.5, 5.0);
    for (place, (arm, means)) in arms.iter().enumerate() {
        let (shape, ink) = sign_of(report, arm);
        let at = |(fold, mean): (usize, &Option<f64>)| Some((x.at(fold as f64), y.at((*mean)?)));
        // A fold without a score is a gap.
        for piece in means.iter().enumerate().map(at).collect::<Vec<_>>().split(Option::is_none) {
            canvas.curve(&piece.iter().flatten().copied().collect::<Vec<_>>(), ink, 1.75, place);
        }
        // Of very many folds the lines say all that can be seen.
        let every = count.div_ceil(MARKS_MAX);
        for (fold, mean) in means.iter().enumerate().step_by(every) {
            let Some(mean) = mean else { continue };
            canvas.begin(&format!("{arm}, fold {}: {}", folds.folds[fold], beside(*mean, 0.0)));
            canvas.symbol((x.at(fold as f64), y.at(*mean)), radius, shape, ink);
            canvas.end();
        }
    }
    canvas.finish(caption)
}

fn sheet(report: &Report) -> Sheet {
    let folds = &report.drawn.further.folds;
    let scale = |arm: &str| {
        let part = report.arms.iter().find(|part| part.arm == arm);
        part.and_then(|part| part.scores.as_ref()?.sd).unwrap_or(0.0) / 10.0
    };
    let row = |(place, fold): (usize, &String)| {
        let mut cells = vec![fold.clone()];
        cells.extend(folds.arms.iter().map(|(arm, means)| {
            means[place].map_or("–".into(), |mean| beside(mean, scale(arm)))
        }));
        cells
    };
    let titles: Vec<&str> =
        ["Fold"].into_iter().chain(folds.arms.iter().map(|(arm, _)| arm.as_str())).collect();
    Sheet {
        title: "Mean score of each arm in each fold".into(),
        columns: columns(&titles, 1),
        rows: folds.folds.iter().enumerate().map(row).collect(),
        legend: Vec::new(),
    }
}

const HEIGHT: f64 = 240.0;
const ARMS_MAX: usize = 12;
const MARKS_MAX: usize = 80;
