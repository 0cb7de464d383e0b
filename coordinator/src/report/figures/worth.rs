//! What choosing the leading arm is expected to lose, over how much more training is bought first.
//!
//! Floor: core.

use super::super::content::{NextBlock, Report, Worth};
use super::super::number::{counted, duration, significant, significant_short};
use super::super::outlook::NEXT_TO_NOTHING;
use super::super::page::{Sheet, columns};
use super::axes::{Axis, BELOW, Sign, axes, key};
use super::canvas::{Canvas, Ink};
use super::{Figure, headline, of_pair};

/// `None` where fewer than two larger designs would lower the loss.
pub fn worth(report: &Report) -> Option<Figure> {
    let (pair, _, outlook) = headline(report)?;
    let part = &outlook.worth;
    if part.frontier.len() < 2 {
        return None;
    }
    let metric = &report.study.metric;
    let small = (outlook.rope.width > 0.0).then_some(outlook.rope.width / NEXT_TO_NOTHING);
    let nothing = match small {
        Some(small) if part.expected_loss < small => format!(
            " All of it lies below {}, which is next to nothing beside what counts here.",
            significant(small)
        ),
        Some(small) if part.expected_loss < TOP * small => String::new(),
        Some(small) => format!(" Below {} it is next to nothing.", significant(small)),
        None => String::new(),
    };
    let money = part.money.filter(|_| pays(part)).map_or(String::new(), |money| {
        format!(
            " Below the dotted line training is worth its price, at {} for each 0.01 and {} an hour.",
            significant_short(money.value_of_a_hundredth),
            significant_short(money.price_of_an_hour)
        )
    });
    let caption = format!(
        "What choosing between {} and {} is expected to lose in {metric}, since the leader may be the \
         wrong one, after so much more training: the cheapest designs for each loss. The line at the \
         top is the loss of choosing now.{nothing}{money}{}",
        pair.a,
        pair.b,
        of_pair(report, pair)
    );
    let axis = format!("expected loss in {metric}");
    Some(Figure::drawn("worth", caption, sheet(part), |width, caption| {
        draw(part, small, &axis, width, caption)
    }))
}

fn draw(part: &Worth, small: Option<f64>, axis: &str, width: f64, caption: &str) -> String {
    let now = part.expected_loss;
    let mut entries = vec![
        ("choosing now".to_string(), Sign::Line { dash: 0, ink: Ink::Text }),
        ("after more training".to_string(), Sign::Symbol { shape: 0, ink: Ink::Hue(0) }),
    ];
    let small = small.filter(|small| *small < now);
    entries.extend(
        small.map(|_| ("next to nothing".to_string(), Sign::Line { dash: 1, ink: Ink::Hue(2) })),
    );
    entries.extend(
        part.money.filter(|_| pays(part)).map(|_| {
            ("worth its price below".to_string(), Sign::Line { dash: 2, ink: Ink::Hue(1) })
        }),
    );
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let bottom = top + HEIGHT;
    let mut canvas = Canvas::new(width, bottom + BELOW);
    key(&mut canvas, 0.0, width, &entries);
    let (first, last) = (part.frontier[0].cost, part.frontier[part.frontier.len() - 1].cost);
    let (unit, title) = unit(last);
    let across = Axis::logarithmic(first / unit, last / unit, title);
    let upright = Axis { ends: (0.0, TOP * now), ticks: Vec::new(), title: axis };
    let (x, y) = axes(&mut canvas, (top, bottom), width, &across, &upright);
    let at = |next: &NextBlock| (x.at((next.cost / unit).ln()), y.at(next.expected_loss));
    canvas.begin(&format!("choosing now: {}", significant(now)));
    canvas.line((x.from, y.at(now)), (x.to, y.at(now)), Ink::Text, 1.5);
    canvas.end();
    if let Some(small) = small {
        canvas.curve(&[(x.from, y.at(small)), (x.to, y.at(small))], Ink::Hue(2), 1.5, 1);
    }
    if let Some(money) = part.money.filter(|_| pays(part)) {
        let loss = |seconds: f64| {
            now - seconds / HOUR * money.price_of_an_hour / (100.0 * money.value_of_a_hundredth)
        };
        let steps =
            (0..=STEPS).map(|step| first * (last / first).powf(f64::from(step) / f64::from(STEPS)));
        let line = steps.filter(|seconds| loss(*seconds) >= 0.0);
        let line: Vec<(f64, f64)> =
            line.map(|seconds| (x.at((seconds / unit).ln()), y.at(loss(seconds)))).collect();
        canvas.curve(&line, Ink::Hue(1), 1.75, 2);
    }
    // A loss holds until the next design is paid for.
    let mut steps = vec![(x.from, y.at(now))];
    for next in &part.frontier {
        let (to, level) = at(next);
        let before = steps[steps.len() - 1].1;
        steps.extend([(to, before), (to, level)]);
    }
    canvas.curve(&steps, Ink::Hue(0), 1.5, 0);
    for next in &part.frontier {
        canvas.begin(&format!("{}: {}", designed(next), significant(next.expected_loss)));
        canvas.symbol(at(next), 4.5, 0, Ink::Hue(0));
        canvas.end();
    }
    canvas.finish(caption)
}

/// Whether the line of equal value and price crosses the figure.
fn pays(part: &Worth) -> bool {
    let first = part.frontier.first().map_or(f64::INFINITY, |next| next.cost);
    part.money.is_some_and(|money| {
        let hours = first / HOUR;
        hours * money.price_of_an_hour < part.expected_loss * 100.0 * money.value_of_a_hundredth
    })
}

/// Seconds of a unit that suits `seconds`, and the axis's title.
fn unit(seconds: f64) -> (f64, &'static str) {
    match seconds {
        short if short < 120.0 => (1.0, "seconds more of training"),
        short if short < 7200.0 => (60.0, "minutes more of training"),
        _ => (HOUR, "hours more of training"),
    }
}

fn designed(next: &NextBlock) -> String {
    format!(
        "{} on {}, {} more",
        counted(u64::from(next.seeds), "seed"),
        counted(u64::from(next.folds), "fold"),
        duration(next.cost)
    )
}

fn sheet(part: &Worth) -> Sheet {
    let row = |next: &NextBlock| {
        vec![
            next.seeds.to_string(),
            next.folds.to_string(),
            duration(next.cost),
            significant(next.expected_loss),
            significant(part.expected_loss - next.expected_loss),
        ]
    };
    Sheet {
        title: "What more training would save".into(),
        columns: columns(&["Seeds", "Folds", "More training", "Expected loss", "Saved"], 0),
        rows: part.frontier.iter().map(row).collect(),
        legend: Vec::new(),
    }
}

const HEIGHT: f64 = 230.0;
/// Points of the line of equal value and price.
const STEPS: u32 = 60;
/// How far the axis goes beyond the loss of choosing now.
const TOP: f64 = 1.06;
const HOUR: f64 = 3600.0;
