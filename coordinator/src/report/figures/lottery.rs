//! Seeds of one arm in order of their score, with a star on each that the best one "beats".
//!
//! Floor: core.

use super::super::content::{CaseLottery, LotteryPart, Report, SeedDrawn};
use super::super::number::{decimals, places};
use super::super::page::Sheet;
use super::canvas::{Align, Canvas, Ink, Scale, text_width};
use super::{Figure, sign_of};

/// `None` when no seeds were compared row by row, or all of them score the same.
pub fn lottery(report: &Report) -> Option<Figure> {
    if panels(report).is_empty() {
        return None;
    }
    let caption =
        "The seed lottery of the first partition: seeds in order of their mean score over \
                   rows, the best one as a ring. A star marks each seed that the best one beats with p < 0.05 in a paired \
                   t-test over rows, although only the seed differs."
            .to_string();
    Some(Figure::drawn("lottery", caption, sheet(report), |width, caption| {
        draw(report, width, caption)
    }))
}

fn panels(report: &Report) -> Vec<(&LotteryPart, &CaseLottery)> {
    let differ = |cases: &CaseLottery| {
        cases.drawn.iter().any(|seed| cases.drawn.first().is_some_and(|f| f.mean != seed.mean))
    };
    let all = report.lottery.iter().filter_map(|part| Some((part, part.cases.as_ref()?)));
    all.filter(|(_, cases)| differ(cases)).collect()
}

/// From the worst to the best; seeds of equal scores by their place.
fn sorted(cases: &CaseLottery) -> Vec<&SeedDrawn> {
    let best = cases.drawn.iter().find(|seed| seed.is_best).map_or(0.0, |seed| seed.mean);
    let mut seeds: Vec<&SeedDrawn> = cases.drawn.iter().collect();
    seeds.sort_by(|a, b| (b.mean - best).abs().total_cmp(&(a.mean - best).abs()));
    seeds
}

fn draw(report: &Report, width: f64, caption: &str) -> String {
    let panels = panels(report);
    let mut canvas = Canvas::new(width, panels.len() as f64 * PANEL);
    for (place, (part, cases)) in panels.iter().enumerate() {
        let (_, ink) = sign_of(report, &part.arm);
        draw_panel(&mut canvas, place as f64 * PANEL, width, (part, cases), ink);
    }
    canvas.finish(caption)
}

fn draw_panel(
    canvas: &mut Canvas,
    top: f64,
    width: f64,
    (part, cases): (&LotteryPart, &CaseLottery),
    ink: Ink,
) {
    let seeds = sorted(cases);
    let scale = Scale::around(seeds.iter().map(|seed| seed.mean), top + PANEL - 34.0, top + 46.0);
    let stars = seeds.iter().filter(|seed| seed.beaten).count();
    let after = format!(": {stars} of {} seeds beaten", seeds.len().saturating_sub(1));
    canvas.bold((0.0, top + 16.0), &part.arm, &after, width);
    let (ticks, digits) = scale.ticks(4);
    let gutter =
        ticks.iter().map(|tick| text_width(&decimals(*tick, digits))).fold(20.0, f64::max) + 10.0;
    for tick in ticks {
        let y = scale.at(tick);
        canvas.line((gutter, y), (width, y), Ink::Rule, 1.0);
        canvas.text((gutter - 8.0, y + 4.5), &decimals(tick, digits), Align::End, Ink::Faint);
    }
    let step = (width - gutter) / seeds.len().max(1) as f64;
    let radius = (step * 0.3).clamp(1.0, 4.0);
    let labels = seeds.iter().map(|seed| ((text_width(&seed.seed) + 6.0) / step).ceil() as usize);
    let every = labels.max().unwrap_or(1).max(1);
    for (place, seed) in seeds.iter().enumerate() {
        let at = (gutter + (place as f64 + 0.5) * step, scale.at(seed.mean));
        let beaten = if seed.beaten { ", beaten by the best" } else { "" };
        canvas.begin(&format!("seed {}: {}{beaten}", seed.seed, decimals(seed.mean, digits + 2)));
        if seed.is_best {
            canvas.dot(at, radius + 2.5, ink, 1.0);
            canvas.dot(at, radius, Ink::Paper, 1.0);
        } else {
            canvas.dot(at, radius, ink, 1.0);
        }
        if seed.beaten {
            canvas.area(
                &star((at.0, at.1 - radius - 7.0), (step * 0.45).clamp(1.5, 4.5)),
                Ink::Text,
                1.0,
            );
        }
        canvas.end();
        if place % every == 0 {
            canvas.text((at.0, top + PANEL - 12.0), &seed.seed, Align::Middle, Ink::Faint);
        }
    }
}

/// Five points about `centre`, the first upward.
fn star((x, y): (f64, f64), radius: f64) -> Vec<(f64, f64)> {
    let corner = |place: i32| {
        let angle = f64::from(place) * std::f64::consts::PI / 5.0;
        let reach = if place % 2 == 0 { radius } else { radius * 0.42 };
        (x + reach * angle.sin(), y - reach * angle.cos())
    };
    (0..10).map(corner).collect()
}

fn sheet(report: &Report) -> Sheet {
    let rows = panels(report)
        .into_iter()
        .flat_map(|(part, cases)| {
            let means: Vec<f64> = cases.drawn.iter().map(|seed| seed.mean).collect();
            let count = means.len() as f64;
            let centre = means.iter().sum::<f64>() / count;
            let spread = means.iter().map(|m| (m - centre).powi(2)).sum::<f64>() / count;
            let digits = places(spread.sqrt() / 10.0);
            let said = |seed: &SeedDrawn| match (seed.is_best, seed.beaten) {
                (true, _) => "the best".to_string(),
                (_, true) => "yes".to_string(),
                _ => "no".to_string(),
            };
            let row = move |seed: &SeedDrawn| {
                vec![part.arm.clone(), seed.seed.clone(), decimals(seed.mean, digits), said(seed)]
            };
            sorted(cases).into_iter().map(row).collect::<Vec<_>>()
        })
        .collect();
    Sheet {
        title: "Seeds in order of their mean score over rows".into(),
        columns: vec![
            ("Arm".into(), false),
            ("Seed".into(), false),
            ("Mean over rows".into(), true),
            ("Beaten by the best".into(), false),
        ],
        rows,
        legend: Vec::new(),
    }
}

/// Height of one arm's panel.
const PANEL: f64 = 214.0;
