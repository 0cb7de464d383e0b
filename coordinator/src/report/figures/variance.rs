//! Shares of variance as one bar an arm.
//!
//! Floor: core.

use super::super::content::{ComponentPart, Report};
use super::super::number::{percent, significant};
use super::super::page::Sheet;
use super::canvas::{Align, Canvas, Ink, text_width};
use super::{Figure, NARROW, WIDE};

/// `None` when no model could be fitted.
pub fn variance(report: &Report) -> Option<Figure> {
    variance_of(&report.components)
}

/// The same of any models' components.
pub fn variance_of(components: &[ComponentPart]) -> Option<Figure> {
    if components.is_empty() {
        return None;
    }
    let caption =
        "Where the variance of a single run comes from. Each bar is one model and adds up \
                   to 100 %; a source without a piece was estimated at or near zero."
            .to_string();
    Some(Figure {
        name: "variance",
        wide: draw(components, WIDE, &caption),
        narrow: draw(components, NARROW, &caption),
        sheet: sheet(components),
        caption,
    })
}

/// Components of one model, and its name.
fn models(components: &[ComponentPart]) -> Vec<(String, Vec<&ComponentPart>)> {
    let mut models: Vec<(String, Vec<&ComponentPart>)> = Vec::new();
    for part in components {
        let name = part.arm.clone().unwrap_or_else(|| JOINT.to_string());
        match models.last_mut() {
            Some((last, parts)) if *last == name => parts.push(part),
            _ => models.push((name, vec![part])),
        }
    }
    models
}

/// Factors in order of appearance, the residual last.
fn factors(components: &[ComponentPart]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for part in components {
        if part.factor != "residual" && !names.contains(&part.factor.as_str()) {
            names.push(&part.factor);
        }
    }
    names.push("residual");
    names
}

fn ink(factors: &[&str], factor: &str) -> Ink {
    match factor {
        "residual" => Ink::Hue(RESIDUAL_HUE),
        _ => Ink::Hue(place(factors, factor) % RESIDUAL_HUE),
    }
}

/// Hues that come again are paler.
fn opacity(factors: &[&str], factor: &str) -> f64 {
    let again = factor != "residual" && place(factors, factor) >= RESIDUAL_HUE;
    if again { 0.45 } else { 1.0 }
}

fn place(factors: &[&str], factor: &str) -> usize {
    factors.iter().position(|name| *name == factor).unwrap_or(0)
}

fn draw(components: &[ComponentPart], width: f64, caption: &str) -> String {
    let models = models(components);
    let factors = factors(components);
    let (legend, legend_rows) = legend(&factors, width);
    let top = legend_rows as f64 * 24.0 + 10.0;
    let mut canvas = Canvas::new(width, top + models.len() as f64 * ROW + 4.0);
    for (factor, x, row) in legend {
        let y = row as f64 * 24.0 + 6.0;
        canvas.wash((x, y), (12.0, 12.0), ink(&factors, factor), opacity(&factors, factor));
        canvas.text((x + 18.0, y + 11.0), factor, Align::Start, Ink::Text);
    }
    for (place, (name, parts)) in models.iter().enumerate() {
        let y = top + place as f64 * ROW;
        canvas.bold((0.0, y + 16.0), name, "", width);
        bar(&mut canvas, y + 24.0, width, parts, &factors);
    }
    canvas.finish(caption)
}

fn bar(canvas: &mut Canvas, y: f64, width: f64, parts: &[&ComponentPart], factors: &[&str]) {
    let mut x = 0.0;
    for part in parts {
        let length = part.share * width;
        if length < 0.5 {
            continue;
        }
        canvas.begin(&format!("{}: {} of the variance", part.factor, percent(part.share)));
        let size = ((length - 1.5).max(0.5), BAR);
        canvas.wash((x, y), size, ink(factors, &part.factor), opacity(factors, &part.factor));
        let label = percent(part.share);
        if text_width(&label) + 8.0 < length {
            let pale = opacity(factors, &part.factor) < 1.0;
            let ink = if pale { Ink::Text } else { Ink::Paper };
            canvas.text((x + length / 2.0, y + BAR / 2.0 + 4.5), &label, Align::Middle, ink);
        }
        canvas.end();
        x += length;
    }
}

/// Legend entries flowing over rows: name, x, row; and the number of rows.
fn legend<'a>(factors: &[&'a str], width: f64) -> (Vec<(&'a str, f64, usize)>, usize) {
    let mut entries = Vec::new();
    let (mut x, mut row) = (0.0, 0);
    for factor in factors {
        let length = 18.0 + text_width(factor) + 20.0;
        if x > 0.0 && x + length > width {
            x = 0.0;
            row += 1;
        }
        entries.push((*factor, x, row));
        x += length;
    }
    (entries, row + 1)
}

fn sheet(components: &[ComponentPart]) -> Sheet {
    let rows = components
        .iter()
        .map(|part| {
            vec![
                part.arm.clone().unwrap_or_else(|| JOINT.to_string()),
                part.factor.clone(),
                significant(part.variance),
                percent(part.share),
            ]
        })
        .collect();
    Sheet {
        title: "Shares of variance".into(),
        columns: vec![
            ("Model".into(), false),
            ("Source".into(), false),
            ("Variance".into(), true),
            ("Share".into(), true),
        ],
        rows,
        legend: Vec::new(),
    }
}

const ROW: f64 = 66.0;
const BAR: f64 = 30.0;
const RESIDUAL_HUE: usize = 6;
const JOINT: &str = "all arms";
