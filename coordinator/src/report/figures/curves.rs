//! How trainings went: the band of each arm's learning curves.
//!
//! Floor: core.

use super::super::content::{CurvePart, CurvePoint, Report, Shows};
use super::super::number::{beside, count, counted};
use super::super::page::{Sheet, columns, legend};
use super::axes::{Axis, BELOW, Sign, axes, key};
use super::canvas::{Canvas, Ink};
use super::{Figure, sign_of};

/// One figure for each thing that curves show: losses apart from what programs say.
pub fn curves(report: &Report) -> Vec<Figure> {
    let groups = report.curves.chunk_by(|a, b| a.shows == b.shows);
    let groups = groups.filter(|parts| parts.iter().any(|part| part.points.len() > 1));
    NAMES.into_iter().zip(groups).map(|(name, parts)| figure(report, name, parts)).collect()
}

fn figure(report: &Report, name: &'static str, parts: &[CurvePart]) -> Figure {
    let by = parts[0].by;
    let what = match &parts[0].shows {
        Shows::TrainingLoss => "training loss".to_string(),
        Shows::ValidationLoss => "validation loss".to_string(),
        Shows::Said(name) => name.clone(),
    };
    let meaning = match &parts[0].shows {
        Shows::TrainingLoss => {
            "where it still falls at the end, longer training would fit the training rows better, \
             which is no promise for others"
        }
        Shows::ValidationLoss => {
            "these rows were held out of the training, and where it rises while the training loss \
             still falls, an arm learns its training rows by heart"
        }
        Shows::Said(_) => "as the programs told it while they ran, on rows of their own choice",
    };
    let rest = match parts.len() {
        drawn if drawn > ARMS_DRAWN => format!(" (the first {ARMS_DRAWN} arms of {drawn})"),
        _ => String::new(),
    };
    let caption = format!(
        "{} by {by}{rest}, median of each arm's trainings (line) and the middle 90 % of them \
         (band): {meaning}.",
        capital(&what)
    );
    let lines: Vec<Line<'_>> = (parts.iter().take(ARMS_DRAWN).enumerate())
        .map(|(dash, part)| Line { part, dash, ink: sign_of(report, &part.arm).1 })
        .collect();
    Figure::drawn(name, caption, sheet(&what, by, parts), |width, caption| {
        draw(&lines, &what, by, width, caption)
    })
}

struct Line<'a> {
    part: &'a CurvePart,
    dash: usize,
    ink: Ink,
}

fn draw(lines: &[Line<'_>], what: &str, by: &str, width: f64, caption: &str) -> String {
    let entries: Vec<(String, Sign)> = lines
        .iter()
        .map(|line| (line.part.arm.clone(), Sign::Line { dash: line.dash, ink: line.ink }))
        .collect();
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let bottom = top + HEIGHT;
    let mut canvas = Canvas::new(width, bottom + BELOW);
    key(&mut canvas, 0.0, width, &entries);
    let points = || lines.iter().flat_map(|line| &line.part.points);
    // A few trainings that went astray would else press all others into a line.
    let medians = Axis::around(points().map(|point| point.median), what).ends;
    let room = BAND_ROOM * (medians.1 - medians.0);
    let within = |value: f64| value.clamp(medians.0 - room, medians.1 + room);
    let spread = points().flat_map(|point| [point.low, point.high].map(within));
    let upright = Axis::around(spread.chain([medians.0, medians.1]), what);
    let ats = points().map(|point| f64::from(point.at));
    let (first, last) = ats.fold((f64::INFINITY, 0.0f64), |e, at| (e.0.min(at), e.1.max(at)));
    let margin = 0.02 * (last - first);
    let across =
        Axis { ends: (first - margin, last + margin), ticks: whole(first, last), title: by };
    let (x, y) = axes(&mut canvas, (top, bottom), width, &across, &upright);
    let place = |at: u32, value: f64| (x.at(f64::from(at)), y.at(value.clamp(y.low, y.high)));
    for line in lines {
        let lower = line.part.points.iter().map(|point| place(point.at, point.low));
        let upper = line.part.points.iter().rev().map(|point| place(point.at, point.high));
        canvas.area(&lower.chain(upper).collect::<Vec<_>>(), line.ink, 0.16);
    }
    for line in lines {
        let median = line.part.points.iter().map(|point| place(point.at, point.median));
        canvas.curve(&median.collect::<Vec<_>>(), line.ink, 2.0, line.dash);
    }
    for line in lines {
        for point in &line.part.points {
            canvas.begin(&said(line.part, point));
            canvas.dot(place(point.at, point.median), 2.5, line.ink, 1.0);
            canvas.end();
        }
    }
    canvas.finish(caption)
}

/// Round whole numbers from `first` to `last`.
fn whole(first: f64, last: f64) -> Vec<(f64, String)> {
    let raw = ((last - first) / 7.0).max(1.0);
    let unit = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * unit).into_iter().find(|s| *s >= raw);
    let step = step.unwrap_or(raw);
    let mut at = (first / step).ceil() * step;
    let mut ticks = Vec::new();
    while at <= last {
        ticks.push((at, count(at as u64)));
        at += step;
    }
    ticks
}

fn said(part: &CurvePart, point: &CurvePoint) -> String {
    let scale = scale(part);
    format!(
        "{}, {} {}: {} ({} to {} in the middle 90 % of {})",
        part.arm,
        part.by,
        count(u64::from(point.at)),
        beside(point.median, scale),
        beside(point.low, scale),
        beside(point.high, scale),
        counted(point.trainings, "training")
    )
}

/// What decides the digits of an arm's curve: a part of the way that it goes.
fn scale(part: &CurvePart) -> f64 {
    let medians = || part.points.iter().map(|point| point.median);
    (medians().fold(f64::MIN, f64::max) - medians().fold(f64::MAX, f64::min)) / 20.0
}

fn sheet(what: &str, by: &str, parts: &[CurvePart]) -> Sheet {
    let rows = parts.iter().flat_map(|part| {
        let scale = scale(part);
        part.points.iter().map(move |point| {
            vec![
                part.arm.clone(),
                count(u64::from(point.at)),
                count(point.trainings),
                beside(point.median, scale),
                format!("{} to {}", beside(point.low, scale), beside(point.high, scale)),
            ]
        })
    });
    Sheet {
        title: format!("{} by {by}", capital(what)),
        columns: columns(&["Arm", &capital(by), "Trainings", "Median", "5 % to 95 %"], 1),
        rows: rows.collect(),
        legend: legend(&[(
            "Trainings",
            "Those that had not ended before; trainings keep at most 32 points of their curves, and are read in between by straight lines.",
        )]),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Of figures in a page's address; programs with more names for what they say are not all drawn.
const NAMES: [&str; 5] = ["curves", "curves-2", "curves-3", "curves-4", "curves-5"];

/// More bands than this cannot be told apart.
const ARMS_DRAWN: usize = 6;

/// How far bands may reach beyond the medians, as a share of what these span.
const BAND_ROOM: f64 = 0.6;

const HEIGHT: f64 = 240.0;
