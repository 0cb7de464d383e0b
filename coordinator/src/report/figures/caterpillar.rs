//! Seeds in order of their predicted effect, each with its interval: is a good seed good?
//!
//! Floor: core.

use super::super::content::{Report, SeedEffects};
use super::super::number::{decimals, listed, places, significant};
use super::super::page::Sheet;
use super::canvas::{Align, Canvas, Ink, Scale, text_width};
use super::{Figure, NARROW, WIDE, sign_of};

/// `None` when no seed effect was estimable, or all were estimated as exactly zero.
pub fn caterpillar(report: &Report) -> Option<Figure> {
    if panels(report).is_empty() {
        return None;
    }
    let caption =
        "Seeds in order of their predicted effect on the score, with 95 % intervals, drawn \
                   in towards zero as far as chance suggests. An interval that crosses the line \
                   belongs to a seed that cannot be told from the average one."
            .to_string();
    Some(Figure {
        name: "caterpillar",
        wide: draw(report, WIDE, &caption),
        narrow: draw(report, NARROW, &caption),
        sheet: sheet(report),
        caption,
    })
}

/// One sentence on the seed variances estimated as exactly zero, which have no panel.
pub fn no_seed_effect(report: &Report) -> Option<String> {
    let names: Vec<String> = report
        .drawn
        .effects
        .iter()
        .filter(|panel| is_zero(report, panel))
        .map(|panel| format!("{} of {}", panel.factor, panel.arm))
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "The variance was estimated as exactly zero for {}: no level can be told from the \
             average one, and none is drawn; the table of components says how large it could \
             still be.",
            listed(&names)
        )
    })
}

fn panels(report: &Report) -> Vec<&SeedEffects> {
    let all = report.drawn.effects.iter();
    all.filter(|panel| !panel.levels.is_empty() && !is_zero(report, panel)).collect()
}

fn is_zero(report: &Report, panel: &SeedEffects) -> bool {
    report.components.iter().any(|part| {
        part.arm.as_ref() == Some(&panel.arm) && part.factor == panel.factor && part.variance == 0.0
    })
}

fn draw(report: &Report, width: f64, caption: &str) -> String {
    let panels = panels(report);
    let ends = panels
        .iter()
        .flat_map(|panel| panel.levels.iter())
        .flat_map(|(_, effect, sd)| [effect - NORMAL_95 * sd, effect + NORMAL_95 * sd]);
    let all = Scale::around(ends.chain([0.0]), 0.0, 1.0);
    let mut canvas = Canvas::new(width, panels.len() as f64 * PANEL);
    for (place, panel) in panels.iter().enumerate() {
        let sign = sign_of(report, &panel.arm);
        draw_panel(&mut canvas, place as f64 * PANEL, width, &all, panel, sign);
    }
    canvas.finish(caption)
}

fn draw_panel(
    canvas: &mut Canvas,
    top: f64,
    width: f64,
    all: &Scale,
    panel: &SeedEffects,
    (shape, ink): (usize, Ink),
) {
    let scale = Scale { from: top + PANEL - 34.0, to: top + 30.0, ..*all };
    let after = format!(": effect of {}", panel.factor);
    canvas.bold((0.0, top + 16.0), &panel.arm, &after, width);
    let (ticks, digits) = scale.ticks(4);
    let gutter =
        ticks.iter().map(|tick| text_width(&decimals(*tick, digits))).fold(20.0, f64::max) + 10.0;
    for tick in ticks {
        let y = scale.at(tick);
        canvas.line((gutter, y), (width, y), Ink::Rule, 1.0);
        canvas.text((gutter - 8.0, y + 4.5), &decimals(tick, digits), Align::End, Ink::Faint);
    }
    canvas.line((gutter, scale.at(0.0)), (width, scale.at(0.0)), Ink::Faint, 1.0);
    let step = (width - gutter) / panel.levels.len().max(1) as f64;
    let radius = (step * 0.3).clamp(1.0, 5.0);
    let every = panel
        .levels
        .iter()
        .map(|(label, _, _)| ((text_width(label) + 6.0) / step).ceil() as usize)
        .max()
        .unwrap_or(1)
        .max(1);
    for (place, (label, effect, sd)) in panel.levels.iter().enumerate() {
        let x = gutter + (place as f64 + 0.5) * step;
        let (low, high) = (effect - NORMAL_95 * sd, effect + NORMAL_95 * sd);
        canvas.begin(&format!("{} {label}: {}", panel.factor, significant(*effect)));
        canvas.line((x, scale.at(low)), (x, scale.at(high)), ink, (step * 0.2).clamp(0.5, 1.75));
        canvas.symbol((x, scale.at(*effect)), radius, shape, ink);
        canvas.end();
        if place % every == 0 {
            canvas.text((x, top + PANEL - 12.0), label, Align::Middle, Ink::Faint);
        }
    }
}

fn sheet(report: &Report) -> Sheet {
    let rows = panels(report)
        .into_iter()
        .flat_map(|panel| {
            panel.levels.iter().map(move |(label, effect, sd)| {
                let digits = places(*sd);
                vec![
                    panel.arm.clone(),
                    format!("{} {label}", panel.factor),
                    decimals(*effect, digits),
                    format!(
                        "{} to {}",
                        decimals(effect - NORMAL_95 * sd, digits),
                        decimals(effect + NORMAL_95 * sd, digits)
                    ),
                ]
            })
        })
        .collect();
    Sheet {
        title: "Predicted effects of seeds".into(),
        columns: vec![
            ("Arm".into(), false),
            ("Seed".into(), false),
            ("Effect".into(), true),
            ("95 % interval".into(), true),
        ],
        rows,
        legend: Vec::new(),
    }
}

/// Height of one arm's panel.
const PANEL: f64 = 214.0;

const NORMAL_95: f64 = 1.96;
