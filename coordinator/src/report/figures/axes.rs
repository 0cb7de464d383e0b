//! The two axes of a figure, and the key that says what its marks stand for.
//!
//! The title of the upright axis stands above it, since turned text is hard to read.
//!
//! Floor: core.

use super::canvas::{Align, Canvas, Ink, Scale, TEXT_SIZE, fitted, text_width};

/// One axis: its ends, its numbers and what they are.
pub struct Axis<'a> {
    pub ends: (f64, f64),
    /// Empty for round numbers of the axis itself.
    pub ticks: Vec<(f64, String)>,
    pub title: &'a str,
}

/// A sign of the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sign {
    Symbol { shape: usize, ink: Ink },
    Line { dash: usize, ink: Ink },
    Tile { ink: Ink, opacity: f64 },
}

impl<'a> Axis<'a> {
    /// An axis that holds all `values`, with a margin.
    pub fn around(values: impl Iterator<Item = f64>, title: &'a str) -> Self {
        let scale = Scale::around(values, 0.0, 1.0);
        Self { ends: (scale.low, scale.high), ticks: Vec::new(), title }
    }

    /// An axis of logarithms, from values above zero; it is numbered by the values themselves.
    pub fn logarithmic(low: f64, high: f64, title: &'a str) -> Self {
        let (low, high) = (low.ln(), high.max(low * 1.01).ln());
        let margin = 0.04 * (high - low);
        let ends = (low - margin, high + margin);
        let (first, last) = (
            (ends.0 / std::f64::consts::LN_10).floor() as i32,
            (ends.1 / std::f64::consts::LN_10).ceil() as i32,
        );
        let rounds = (first..=last)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
            .filter(|value| (ends.0..=ends.1).contains(&value.ln()));
        let ticks =
            rounds.map(|value| (value.ln(), super::super::number::significant_short(value)));
        Self { ends, ticks: ticks.collect(), title }
    }

    fn scale(&self, from: f64, to: f64) -> Scale {
        Scale { low: self.ends.0, high: self.ends.1, from, to }
    }

    fn ticks(&self, scale: &Scale, room: usize) -> Vec<(f64, String)> {
        if self.ticks.is_empty() { scale.labelled(room) } else { self.ticks.clone() }
    }
}

/// Draws both axes over the whole width, from `top` to `bottom` (the numbers below not included);
/// returns the scales for what is to be drawn.
pub fn axes(
    canvas: &mut Canvas,
    (top, bottom): (f64, f64),
    width: f64,
    x: &Axis<'_>,
    y: &Axis<'_>,
) -> (Scale, Scale) {
    canvas.text((0.0, top + 12.0), &fitted(y.title, width), Align::Start, Ink::Faint);
    let upright = y.scale(bottom, top + ABOVE);
    let ticks = y.ticks(&upright, ((bottom - top) / 46.0).clamp(2.0, 6.0) as usize);
    let gutter = ticks.iter().map(|(_, label)| text_width(label)).fold(16.0, f64::max) + 10.0;
    let mut free = f64::INFINITY;
    for (value, label) in &ticks {
        let at = upright.at(*value);
        canvas.line((gutter, at), (width, at), Ink::Rule, 1.0);
        if at + f64::from(TEXT_SIZE) <= free {
            canvas.text((gutter - 8.0, at + 4.5), label, Align::End, Ink::Faint);
            free = at;
        }
    }
    let level = x.scale(gutter, width - 4.0);
    let room = ((level.to - level.from) / 84.0).clamp(2.0, 8.0) as usize;
    canvas.axis_below_at(&level, &x.ticks(&level, room), top + ABOVE, bottom, x.title);
    (level, upright)
}

/// Draws the key flowing over rows from `top`; returns where the rows end.
pub fn key(canvas: &mut Canvas, top: f64, width: f64, entries: &[(String, Sign)]) -> f64 {
    let (mut x, mut y) = (0.0, top);
    for (text, sign) in entries {
        let text = fitted(text, width - SIGN);
        let length = SIGN + text_width(&text) + 18.0;
        if x > 0.0 && x + length - 18.0 > width {
            x = 0.0;
            y += KEY_ROW;
        }
        let middle = y + 10.0;
        match sign {
            Sign::Symbol { shape, ink } => canvas.symbol((x + 8.0, middle), 5.0, *shape, *ink),
            Sign::Line { dash, ink } => {
                canvas.curve(&[(x, middle), (x + 20.0, middle)], *ink, 2.0, *dash);
            }
            Sign::Tile { ink, opacity } => {
                canvas.wash((x + 2.0, middle - 6.0), (12.0, 12.0), *ink, *opacity);
            }
        }
        canvas.text((x + SIGN, middle + 4.5), &text, Align::Start, Ink::Text);
        x += length;
    }
    if entries.is_empty() { top } else { y + KEY_ROW }
}

/// Height that [`axes`] needs below its `bottom`.
pub const BELOW: f64 = 42.0;

/// Height of the upright axis's title.
const ABOVE: f64 = 22.0;
const KEY_ROW: f64 = 22.0;
/// Width of a sign with the gap after it.
const SIGN: f64 = 26.0;
