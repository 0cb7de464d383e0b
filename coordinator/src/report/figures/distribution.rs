//! Scores of each arm: all runs as a hill, seeds as points below it, the mean with its interval.
//!
//! Floor: core.

use std::collections::BTreeMap;

use super::super::content::{ArmDrawn, Interval, Report, Scores};
use super::super::number::{beside, counted};
use super::super::page::Sheet;
use super::canvas::{Canvas, Ink, Scale};
use super::{Figure, NARROW, WIDE, sign_at};

/// `None` while no arm has a score.
pub fn distribution(report: &Report) -> Option<Figure> {
    let scores: Vec<Option<&Scores>> = report.arms.iter().map(|arm| arm.scores.as_ref()).collect();
    let what = (report.study.metric.as_str(), report.study.goal, "folds and configs");
    distribution_of(what, &report.drawn.arms, &scores)
}

/// The same of any arms, `scores` in their order: by what metric and goal, and what a seed averages.
pub fn distribution_of(
    (metric, goal, over): (&str, &str, &str),
    drawn: &[ArmDrawn],
    scores: &[Option<&Scores>],
) -> Option<Figure> {
    if drawn.iter().all(|arm| arm.runs.is_empty()) {
        return None;
    }
    let caption = format!(
        "Scores ({metric}, {goal}). The hill shows all runs of an arm; each point is one seed, averaged \
         over {over}; the mark is the mean, the thick bar its 95 % interval for new seeds (T1), \
         the thin one for new samples (T2)."
    );
    Some(Figure {
        name: "distribution",
        wide: draw(metric, drawn, scores, (WIDE, &caption)),
        narrow: draw(metric, drawn, scores, (NARROW, &caption)),
        sheet: sheet(drawn, scores),
        caption,
    })
}

fn draw(
    metric: &str,
    drawn: &[ArmDrawn],
    scores: &[Option<&Scores>],
    (width, caption): (f64, &str),
) -> String {
    let arms: Vec<(usize, &ArmDrawn, &Scores)> = (drawn.iter().zip(scores).enumerate())
        .filter_map(|(place, (drawn, scores))| scores.map(|scores| (place, drawn, scores)))
        .collect();
    let height = arms.len() as f64 * ROW + 54.0;
    let mut canvas = Canvas::new(width, height);
    let shown = arms.iter().flat_map(|(_, drawn, scores)| {
        let ends = [drawn.runs.first(), drawn.runs.last()].into_iter().flatten().copied();
        let ci = scores.ci_t1.iter().chain(&scores.ci_t2).flat_map(|ci| [ci.low, ci.high]);
        ends.chain(ci)
    });
    let scale = Scale::around(shown, 12.0, width - 12.0);
    canvas.axis_below(&scale, 4.0, arms.len() as f64 * ROW + 4.0, metric);
    for (row, (place, drawn, scores)) in arms.iter().enumerate() {
        arm(&mut canvas, &scale, (row as f64 * ROW, sign_at(*place)), (drawn, scores), width);
    }
    canvas.finish(caption)
}

fn arm(
    canvas: &mut Canvas,
    scale: &Scale,
    (top, (shape, ink)): (f64, (usize, Ink)),
    (drawn, scores): (&ArmDrawn, &Scores),
    width: f64,
) {
    let ground = top + 84.0;
    canvas.bold((12.0, top + 18.0), &drawn.arm, "", width - 24.0);
    let hill = hill(&drawn.runs, scale);
    if !hill.is_empty() {
        let mut points: Vec<(f64, f64)> =
            hill.iter().map(|(x, share)| (*x, ground - share * HILL)).collect();
        points.push((hill[hill.len() - 1].0, ground));
        points.insert(0, (hill[0].0, ground));
        canvas.area(&points, ink, 0.28);
    }
    canvas.line((scale.from, ground), (scale.to, ground), Ink::Rule, 1.0);
    for (label, value, x, row) in swarm(&drawn.seeds, scale) {
        canvas.begin(&format!("seed {label}: {}", beside(value, scores.sd.unwrap_or(0.0) / 10.0)));
        canvas.dot((x, ground + 11.0 + row as f64 * 5.5), 3.0, ink, 0.8);
        canvas.end();
    }
    let digits = |ci: &Interval| (ci.high - ci.low) / 4.0;
    for (ci, thick, what) in [(&scores.ci_t2, 2.0, "samples"), (&scores.ci_t1, 5.0, "seeds")] {
        let Some(ci) = ci else { continue };
        let [mean, low, high] = [scores.mean, ci.low, ci.high].map(|x| beside(x, digits(ci)));
        canvas.begin(&format!("mean {mean}, for new {what} {low} to {high}"));
        canvas.line((scale.at(ci.low), ground), (scale.at(ci.high), ground), Ink::Text, thick);
        canvas.end();
    }
    canvas.symbol((scale.at(scores.mean), ground), 6.0, shape, Ink::Text);
}

/// Density of `runs` along the axis, highest point 1: a Gaussian kernel over narrow bins, with
/// Silverman's bandwidth. Empty where all runs are equal.
fn hill(runs: &[f64], scale: &Scale) -> Vec<(f64, f64)> {
    let (Some(low), Some(high)) = (runs.first(), runs.last()) else { return Vec::new() };
    if low == high || runs.len() < 2 {
        return Vec::new();
    }
    let count = runs.len() as f64;
    let mean = runs.iter().sum::<f64>() / count;
    let sd = (runs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
    let quarter = runs.len() / 4;
    let iqr = runs[runs.len() - 1 - quarter] - runs[quarter];
    let spread = if iqr > 0.0 { sd.min(iqr / 1.34) } else { sd };
    let bandwidth = 0.9 * spread * count.powf(-0.2);
    let step = (high - low) / BINS as f64;
    let mut bins = vec![0.0; BINS];
    for run in runs {
        bins[(((run - low) / step) as usize).min(BINS - 1)] += 1.0;
    }
    let density = |value: f64| -> f64 {
        let kernel = |(bin, weight): (usize, &f64)| {
            let z = (value - (low + (bin as f64 + 0.5) * step)) / bandwidth.max(step);
            weight * (-0.5 * z * z).exp()
        };
        bins.iter().enumerate().map(kernel).sum()
    };
    // The hill ends where the runs end: no density is drawn where a metric cannot be.
    let heights: Vec<(f64, f64)> = (0..=BINS)
        .map(|bin| low + bin as f64 * step)
        .map(|value| (scale.at(value), density(value)))
        .collect();
    let most = heights.iter().map(|(_, height)| *height).fold(0.0, f64::max);
    heights.into_iter().map(|(x, height)| (x, height / most)).collect()
}

/// Points stacked downward where they would touch: label, value, x, row.
fn swarm<'a>(seeds: &'a [(String, f64)], scale: &Scale) -> Vec<(&'a str, f64, f64, usize)> {
    let mut sorted: Vec<&(String, f64)> = seeds.iter().collect();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    let mut last_in_row: Vec<f64> = Vec::new();
    sorted
        .into_iter()
        .take(SEEDS_DRAWN)
        .map(|(label, value)| {
            let x = scale.at(*value);
            let free = last_in_row.iter().position(|last| x - last >= 6.5);
            let row = free.unwrap_or(last_in_row.len()).min(ROWS_OF_POINTS - 1);
            if row == last_in_row.len() {
                last_in_row.push(x);
            } else {
                last_in_row[row] = x;
            }
            (label.as_str(), *value, x, row)
        })
        .collect()
}

fn sheet(drawn: &[ArmDrawn], scores: &[Option<&Scores>]) -> Sheet {
    let arms: Vec<&ArmDrawn> = drawn.iter().filter(|arm| !arm.seeds.is_empty()).collect();
    let scale_of = |name: &str| {
        let place = drawn.iter().position(|arm| arm.arm == name);
        let scores = place.and_then(|place| scores.get(place).copied().flatten());
        scores.and_then(|scores| scores.sd).unwrap_or(0.0) / 10.0
    };
    let mut labels: Vec<&String> = Vec::new();
    let mut means: BTreeMap<(&str, usize), f64> = BTreeMap::new();
    for (column, arm) in arms.iter().enumerate() {
        for (label, mean) in &arm.seeds {
            if column == 0 || arms[..column].iter().all(|a| a.seeds.iter().all(|s| s.0 != *label)) {
                labels.push(label);
            }
            means.insert((label, column), *mean);
        }
    }
    let mut columns = vec![("Seed".to_string(), false)];
    columns.extend(
        arms.iter()
            .map(|arm| (format!("{} ({})", arm.arm, counted(arm.runs.len() as u64, "run")), true)),
    );
    let rows = labels
        .iter()
        .map(|label| {
            let mut row = vec![label.to_string()];
            row.extend(arms.iter().enumerate().map(|(column, arm)| {
                means
                    .get(&(label.as_str(), column))
                    .map_or("–".into(), |mean| beside(*mean, scale_of(&arm.arm)))
            }));
            row
        })
        .collect();
    Sheet { title: "Mean score of each seed".into(), columns, rows, legend: Vec::new() }
}

/// Height of one arm's strip.
const ROW: f64 = 128.0;
const HILL: f64 = 54.0;
const BINS: usize = 160;
const ROWS_OF_POINTS: usize = 6;
const SEEDS_DRAWN: usize = 1000;
