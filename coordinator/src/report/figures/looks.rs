//! When the test folds were looked at, beside when their outcomes came in.
//!
//! Floor: core.

use common::time::Timestamp;

use super::super::content::{LedgerPart, LookPart, Report};
use super::super::looks::date;
use super::super::number::{count, counted};
use super::super::page::{Sheet, columns};
use super::Figure;
use super::axes::{Axis, BELOW, Sign, axes, key};
use super::canvas::{Canvas, Ink};

/// `None` where nobody counts looks.
pub fn looks(report: &Report) -> Option<Figure> {
    let part = report.ledger.as_ref()?;
    let ended = &report.drawn.ended;
    let kept = part.recent.len() as u64;
    let latest = if kept < part.looks {
        format!(" Drawn are the latest {} of {}.", count(kept), counted(part.looks, "look"))
    } else {
        String::new()
    };
    let caption = format!(
        "Complete trials over time (line), and each time that their scores on the test folds were shown \
         to somebody (marks; this report is the last it knows of). A look below the line's final height \
         saw a part of the study.{latest}"
    );
    Some(Figure::drawn("looks", caption, sheet(part), |width, caption| {
        draw(part, ended, width, caption)
    }))
}

fn draw(part: &LedgerPart, ended: &[u64], width: f64, caption: &str) -> String {
    let purposes: Vec<&str> = PURPOSES
        .into_iter()
        .filter(|purpose| part.recent.iter().any(|look| look.purpose == *purpose))
        .collect();
    let mut entries = vec![("complete".to_string(), Sign::Line { dash: 0, ink: Ink::Hue(6) })];
    entries.extend(purposes.iter().map(|purpose| {
        let (shape, ink) = sign(purpose);
        (format!("look for {}", self::purpose(purpose)), Sign::Symbol { shape, ink })
    }));
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let bottom = top + HEIGHT;
    let mut canvas = Canvas::new(width, bottom + BELOW);
    key(&mut canvas, 0.0, width, &entries);
    let times = || ended.iter().copied().chain(part.recent.iter().map(|look| look.at_unix_ms));
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let (unit, name) = unit(last - first);
    let since = |at: u64| (at - first) as f64 / unit;
    let title = format!("{name} since {}", date(Timestamp(first)));
    let span = since(last).max(1e-3);
    let across = Axis { ends: (-0.03 * span, 1.03 * span), ticks: Vec::new(), title: &title };
    let most = part.recent.iter().map(|look| look.outcomes).max().unwrap_or(0);
    let most = most.max(ended.len() as u64).max(1) as f64;
    let upright = Axis { ends: (0.0, 1.08 * most), ticks: Vec::new(), title: "complete trials" };
    let (x, y) = axes(&mut canvas, (top, bottom), width, &across, &upright);
    let every = ended.len().div_ceil(POINTS_MAX).max(1);
    let mut line = vec![(x.at(0.0), y.at(0.0))];
    for (place, at) in ended.iter().enumerate() {
        if (place + 1).is_multiple_of(every) || place + 1 == ended.len() {
            line.push((x.at(since(*at)), y.at((place + 1) as f64)));
        }
    }
    line.push((x.at(span), y.at(ended.len() as f64)));
    canvas.curve(&line, Ink::Hue(6), 2.0, 0);
    for look in &part.recent {
        let (shape, ink) = sign(look.purpose);
        canvas.begin(&said(look));
        canvas.symbol((x.at(since(look.at_unix_ms)), y.at(look.outcomes as f64)), 5.0, shape, ink);
        canvas.end();
    }
    canvas.finish(caption)
}

fn sign(purpose: &str) -> (usize, Ink) {
    let place = PURPOSES.iter().position(|other| *other == purpose).unwrap_or(0);
    (place, Ink::Hue(place))
}

fn purpose(name: &str) -> String {
    let article = if name.starts_with('e') { "an" } else { "a" };
    format!("{article} {name}")
}

fn said(look: &LookPart) -> String {
    format!(
        "look {}, {} for {}, by {}, with {} complete",
        look.look,
        date(Timestamp(look.at_unix_ms)),
        purpose(look.purpose),
        named(look),
        counted(look.outcomes, "trial")
    )
}

fn named(look: &LookPart) -> String {
    match &look.label {
        Some(label) => format!("{} ({label})", look.who),
        None => look.who.clone(),
    }
}

/// Milliseconds of a unit that suits a span of so many, and its name.
fn unit(span_ms: u64) -> (f64, &'static str) {
    match span_ms {
        short if short < 120_000 => (1e3, "seconds"),
        short if short < 7_200_000 => (6e4, "minutes"),
        short if short < 172_800_000 => (3.6e6, "hours"),
        _ => (8.64e7, "days"),
    }
}

fn sheet(part: &LedgerPart) -> Sheet {
    let row = |look: &LookPart| {
        vec![
            date(Timestamp(look.at_unix_ms)),
            named(look),
            look.purpose.to_string(),
            count(look.look),
            count(look.outcomes),
        ]
    };
    Sheet {
        title: "Looks at the test folds".into(),
        columns: columns(&["When", "Who", "Purpose", "Look", "Complete trials"], 3),
        rows: part.recent.iter().map(row).collect(),
        legend: Vec::new(),
    }
}

/// As the ledger names them.
const PURPOSES: [&str; 3] = ["report", "export", "run"];
const HEIGHT: f64 = 190.0;
/// Points of the line of complete trials.
const POINTS_MAX: usize = 200;
