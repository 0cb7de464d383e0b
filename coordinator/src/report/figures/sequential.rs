//! The difference of two arms after each seed, within limits that may be read at any time.
//!
//! Floor: core.

use super::super::content::Report;
use super::super::monitor::{MonitorLook, MonitorPart};
use super::super::number::beside;
use super::super::page::{Sheet, columns};
use super::Figure;
use super::axes::{Axis, BELOW, Sign, axes, key};
use super::canvas::{Canvas, Ink};

/// `None` where the report has no monitor.
pub fn sequential(report: &Report) -> Option<Figure> {
    let part = report.monitor.as_ref()?;
    let caption = format!(
        "Difference in {} of {} minus {} after each complete seed (points: that seed alone; line: \
         all seeds so far) within limits that hold however often one looks. Once they leave out zero \
         one may stop training seeds; before that, one may not call it a difference.",
        report.study.metric, part.a, part.b
    );
    let axis = format!("difference in {}", report.study.metric);
    Some(Figure::drawn("monitor", caption, sheet(part), |width, caption| {
        draw(part, &axis, width, caption)
    }))
}

fn draw(part: &MonitorPart, axis: &str, width: f64, caption: &str) -> String {
    let entries = vec![
        ("one seed".to_string(), Sign::Symbol { shape: 0, ink: Ink::Hue(6) }),
        ("all so far".to_string(), Sign::Line { dash: 0, ink: Ink::Hue(0) }),
        ("limits".to_string(), Sign::Tile { ink: Ink::Hue(0), opacity: 0.22 }),
    ];
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let bottom = top + HEIGHT;
    let mut canvas = Canvas::new(width, bottom + BELOW);
    key(&mut canvas, 0.0, width, &entries);
    // The first limits can be wider than all that follows: the axis is that of the later half.
    let later = &part.looks[part.looks.len() / 2..];
    let limits = later.iter().flat_map(|look| [look.low, look.high]).flatten();
    let seeds = part.looks.iter().flat_map(|look| [look.difference, look.mean]);
    let upright = Axis::around(limits.chain(seeds).chain([0.0]), axis);
    let count = part.looks.len();
    let step = count.div_ceil(TICKS_MAX).next_multiple_of(if count > TICKS_MAX { 5 } else { 1 });
    let numbers = (1..=count).filter(|seeds| seeds.is_multiple_of(step));
    let ticks = numbers.map(|seeds| (seeds as f64, seeds.to_string())).collect();
    let across = Axis { ends: (0.5, count as f64 + 0.5), ticks, title: "complete seeds" };
    let (x, y) = axes(&mut canvas, (top, bottom), width, &across, &upright);
    let inside = |value: f64| y.at(value.clamp(y.low, y.high));
    let bounded: Vec<(f64, f64, f64)> = (part.looks.iter().enumerate())
        .filter_map(|(place, look)| {
            Some((x.at(place as f64 + 1.0), inside(look.low?), inside(look.high?)))
        })
        .collect();
    let lower = bounded.iter().map(|(x, low, _)| (*x, *low));
    let upper: Vec<(f64, f64)> = bounded.iter().rev().map(|(x, _, high)| (*x, *high)).collect();
    canvas.area(&lower.clone().chain(upper.iter().copied()).collect::<Vec<_>>(), Ink::Hue(0), 0.22);
    canvas.curve(&lower.collect::<Vec<_>>(), Ink::Hue(0), 1.25, 1);
    canvas.curve(&upper, Ink::Hue(0), 1.25, 1);
    canvas.line((x.from, y.at(0.0)), (x.to, y.at(0.0)), Ink::Text, 1.0);
    let mean = part.looks.iter().enumerate();
    let mean: Vec<(f64, f64)> =
        mean.map(|(place, look)| (x.at(place as f64 + 1.0), y.at(look.mean))).collect();
    canvas.curve(&mean, Ink::Hue(0), 2.25, 0);
    let every = part.looks.len().div_ceil(SEEDS_DRAWN);
    let radius = if part.looks.len() > SEEDS_LARGE { 2.0 } else { 3.5 };
    for (place, look) in part.looks.iter().enumerate().step_by(every.max(1)) {
        canvas.begin(&said(place, look));
        canvas.dot((x.at(place as f64 + 1.0), y.at(look.difference)), radius, Ink::Hue(6), 0.9);
        canvas.end();
    }
    if let Some((place, at)) = part.decided_after.and_then(|seeds| {
        let place = seeds.checked_sub(1)? as usize;
        Some((place, *mean.get(place)?))
    }) {
        canvas.begin(&format!("zero is left out after {} seeds", place + 1));
        canvas.symbol(at, 6.0, 3, Ink::Text);
        canvas.end();
    }
    canvas.finish(caption)
}

fn said(place: usize, look: &MonitorLook) -> String {
    let scale = scale(look);
    format!(
        "seed {}, number {}: {}; all so far {}",
        look.seed,
        place + 1,
        beside(look.difference, scale),
        beside(look.mean, scale)
    )
}

fn scale(look: &MonitorLook) -> f64 {
    look.low.zip(look.high).map_or(0.0, |(low, high)| (high - low) / 8.0)
}

fn sheet(part: &MonitorPart) -> Sheet {
    let digits = part.looks.last().map_or(0.0, scale);
    let row = |(place, look): (usize, &MonitorLook)| {
        let limits = look.low.zip(look.high);
        vec![
            (place + 1).to_string(),
            look.seed.clone(),
            beside(look.difference, digits),
            beside(look.mean, digits),
            limits.map_or("not bounded".into(), |(low, high)| {
                format!("{} to {}", beside(low, digits), beside(high, digits))
            }),
        ]
    };
    Sheet {
        title: format!("{} − {} after each seed", part.a, part.b),
        columns: columns(&["Seeds", "Seed", "This seed", "All so far", "Limits"], 0),
        rows: part.looks.iter().enumerate().map(row).collect(),
        legend: Vec::new(),
    }
}

const HEIGHT: f64 = 240.0;
const TICKS_MAX: usize = 24;
/// Points of single seeds, and how many of them may be large.
const SEEDS_DRAWN: usize = 150;
const SEEDS_LARGE: usize = 50;
