//! A drawing surface: lines, marks and text in CSS pixels, written as SVG by kuva.
//!
//! Coordinates are rounded to quarters of a pixel, so that the text is short and the same
//! everywhere. Deliberately absent: kuva's own plots, whose layout and colours are not ours to set
//! for two widths and two colour schemes, and its interactive mode, which adds scripts.
//!
//! Floor: core.

use kuva::backend::svg::SvgBackend;
use kuva::render::color::Color;
use kuva::render::render::{PathData, Primitive, Scene, TextAnchor};

use super::super::html::{escaped, steers};

/// What a mark stands for; the page's style gives each a colour in light and in dark.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ink {
    Text,
    Faint,
    Rule,
    Paper,
    /// The ground of what is set apart from the page.
    Wash,
    /// Hue number of the palette; taken round.
    Hue(usize),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Align {
    Start,
    Middle,
    End,
}

pub struct Canvas {
    scene: Scene,
    width: f64,
    height: f64,
}

/// Where values of an axis lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
    pub from: f64,
    pub to: f64,
}

impl Canvas {
    pub fn new(width: f64, height: f64) -> Self {
        let mut scene = Scene::new(width, height);
        scene.background_color = None;
        scene.font_family = Some(FONT.to_string());
        Self { scene, width, height }
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink, width: f64) {
        self.scene.elements.push(Primitive::Line {
            x1: quarter(from.0),
            y1: quarter(from.1),
            x2: quarter(to.0),
            y2: quarter(to.1),
            stroke: colour(ink),
            stroke_width: width,
            stroke_dasharray: None,
        });
    }

    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), ink: Ink) {
        self.scene.elements.push(Primitive::Rect {
            x: quarter(x),
            y: quarter(y),
            width: quarter(width),
            height: quarter(height),
            fill: colour(ink),
            stroke: None,
            stroke_width: None,
            opacity: None,
        });
    }

    pub fn dot(&mut self, (x, y): (f64, f64), radius: f64, fill: Ink, opacity: f64) {
        self.scene.elements.push(Primitive::Circle {
            cx: quarter(x),
            cy: quarter(y),
            r: radius,
            fill: colour(fill),
            fill_opacity: Some(opacity),
            stroke: None,
            stroke_width: None,
        });
    }

    /// A dot ringed by the page's ground, so that it stands out on lines and areas.
    pub fn mark(&mut self, (x, y): (f64, f64), radius: f64, fill: Ink) {
        self.scene.elements.push(Primitive::Circle {
            cx: quarter(x),
            cy: quarter(y),
            r: radius,
            fill: colour(fill),
            fill_opacity: None,
            stroke: Some(colour(Ink::Paper)),
            stroke_width: Some(2.0),
        });
    }

    /// A filled area through `points`, closed.
    pub fn area(&mut self, points: &[(f64, f64)], ink: Ink, opacity: f64) {
        self.scene.elements.push(Primitive::Path(Box::new(PathData {
            d: path(points) + "Z",
            fill: Some(colour(ink)),
            stroke: Color::None,
            stroke_width: 0.0,
            opacity: Some(opacity),
            stroke_dasharray: None,
        })));
    }

    /// An open line through `points`; lines that lie in one figure get a dash each.
    pub fn curve(&mut self, points: &[(f64, f64)], ink: Ink, width: f64, dash: usize) {
        if points.len() < 2 {
            return;
        }
        self.scene.elements.push(Primitive::Path(Box::new(PathData {
            d: path(points),
            fill: None,
            stroke: colour(ink),
            stroke_width: width,
            opacity: None,
            stroke_dasharray: DASHES[dash % DASHES.len()].map(str::to_string),
        })));
    }

    /// Many pieces of one line, each from its first point to its second.
    pub fn segments(&mut self, pieces: &[[(f64, f64); 2]], ink: Ink, width: f64) {
        self.scene.elements.push(Primitive::Path(Box::new(PathData {
            d: pieces.iter().map(|piece| path(piece)).collect(),
            fill: None,
            stroke: colour(ink),
            stroke_width: width,
            opacity: None,
            stroke_dasharray: None,
        })));
    }

    /// Text on a piece of the page's ground, so that no line crosses it; it is kept on the canvas.
    pub fn tag(&mut self, (x, y): (f64, f64), text: &str, ink: Ink) {
        let half = text_width(text) / 2.0 + 3.0;
        let x = x.clamp(half, (self.width - half).max(half));
        self.wash((x - half, y - 8.0), (2.0 * half, 16.0), Ink::Paper, 0.9);
        self.text((x, y + 4.5), text, Align::Middle, ink);
    }

    /// A mark whose outline tells it apart without its colour, ringed by the page's ground unless it
    /// is so small that the ring would hide what lies beside it.
    pub fn symbol(&mut self, at: (f64, f64), radius: f64, shape: usize, ink: Ink) {
        let ringed = radius >= RINGED_FROM;
        if shape.is_multiple_of(SHAPES) {
            return match ringed {
                true => self.mark(at, radius, ink),
                false => self.dot(at, radius, ink, 1.0),
            };
        }
        let corners: &[(f64, f64)] = match shape % SHAPES {
            1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            2 => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
            3 => &[(0.0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
            _ => &[(0.0, 1.2), (1.15, -0.85), (-1.15, -0.85)],
        };
        let points: Vec<(f64, f64)> =
            corners.iter().map(|(x, y)| (at.0 + x * radius, at.1 + y * radius)).collect();
        self.scene.elements.push(Primitive::Path(Box::new(PathData {
            d: path(&points) + "Z",
            fill: Some(colour(ink)),
            stroke: if ringed { colour(Ink::Paper) } else { Color::None },
            stroke_width: if ringed { 1.5 } else { 0.0 },
            opacity: None,
            stroke_dasharray: None,
        })));
    }

    /// A rectangle of which the ground shows through.
    pub fn wash(
        &mut self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        ink: Ink,
        opacity: f64,
    ) {
        let corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)];
        self.area(&corners, ink, opacity);
    }

    pub fn text(&mut self, (x, y): (f64, f64), text: &str, align: Align, ink: Ink) {
        self.written((x, y), text, align, ink, false);
    }

    /// A name that begins at `at`, cut to `width` together with the words `after` it, which stay.
    pub fn bold(&mut self, at: (f64, f64), name: &str, after: &str, width: f64) {
        let width = width / BOLDER - text_width(after);
        let text = fitted(name, width) + after;
        self.written(at, &text, Align::Start, Ink::Text, true);
    }

    fn written(&mut self, (x, y): (f64, f64), text: &str, align: Align, ink: Ink, bold: bool) {
        let clean: String = text.chars().filter(|symbol| !symbol.is_control()).collect();
        self.scene.elements.push(Primitive::Text {
            x: quarter(x),
            y: quarter(y),
            // kuva reads what stands between two dollars as mathematics.
            content: clean.replace('$', "\\$"),
            size: TEXT_SIZE,
            anchor: match align {
                Align::Start => TextAnchor::Start,
                Align::Middle => TextAnchor::Middle,
                Align::End => TextAnchor::End,
            },
            rotate: None,
            bold,
            color: Some(colour(ink)),
        });
    }

    /// Names what is drawn until [`Canvas::end`]: a tooltip, without a script.
    pub fn begin(&mut self, title: &str) {
        self.scene.elements.push(Primitive::GroupStart {
            transform: None,
            title: Some(title.chars().filter(|symbol| !symbol.is_control()).collect()),
            extra_attrs: Some("class=\"t\"".to_string()),
        });
    }

    pub fn end(&mut self) {
        self.scene.elements.push(Primitive::GroupEnd);
    }

    /// Ticks and numbers of a horizontal axis, with a faint rule up to `top` at each.
    pub fn axis_below(&mut self, scale: &Scale, top: f64, bottom: f64, title: &str) {
        let room = ((scale.to - scale.from) / 84.0).clamp(2.0, 8.0) as usize;
        self.axis_below_at(scale, &scale.labelled(room), top, bottom, title);
    }

    /// The same with ticks of one's own; a number that would touch the one before it is not written,
    /// and of very many ticks those without a number are not drawn.
    pub fn axis_below_at(
        &mut self,
        scale: &Scale,
        ticks: &[(f64, String)],
        top: f64,
        bottom: f64,
        title: &str,
    ) {
        let mut free = f64::NEG_INFINITY;
        for (value, label) in ticks {
            let x = scale.at(*value);
            let half = text_width(label) / 2.0;
            let middle = x.clamp(half, (self.width - half).max(half));
            let written = middle - half >= free;
            if written || ticks.len() <= TICKS_ALL_DRAWN {
                self.line((x, top), (x, bottom), Ink::Rule, 1.0);
            }
            if written {
                self.text((middle, bottom + 17.0), label, Align::Middle, Ink::Faint);
                free = middle + half + 6.0;
            }
        }
        let title = fitted(title, self.width);
        let half = text_width(&title) / 2.0;
        let middle = ((scale.from + scale.to) / 2.0).clamp(half, (self.width - half).max(half));
        self.text((middle, bottom + 36.0), &title, Align::Middle, Ink::Faint);
    }

    /// The SVG element, which scales with its box and names itself to readers without sight.
    pub fn finish(self, label: &str) -> String {
        let svg = SvgBackend::new().render_scene(&self.scene);
        let body = svg.split_once('>').map_or("", |(_, body)| body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" \
             height=\"{}\" font-family=\"{FONT}\" role=\"img\" aria-label=\"{}\">{body}",
            self.width,
            self.height,
            self.width,
            self.height,
            escaped(label)
        )
    }
}

impl Scale {
    /// Values from `low` to `high` with a margin, laid from `from` to `to`.
    pub fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let margin = match high - low {
            0.0 => low.abs().max(1e-3) * 0.01,
            range => range * 0.04,
        };
        Self { low: low - margin, high: high + margin, from, to }
    }

    pub fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// [`Scale::ticks`] with their numbers written out.
    pub fn labelled(&self, room: usize) -> Vec<(f64, String)> {
        let (ticks, places) = self.ticks(room);
        let written = |value: f64| (value, super::super::number::decimals(value, places));
        ticks.into_iter().map(written).collect()
    }

    /// Round values inside, at most about `room`, and the decimals that tell them apart.
    pub fn ticks(&self, room: usize) -> (Vec<f64>, usize) {
        let raw = (self.high - self.low) / room as f64;
        let power = raw.log10().floor();
        let unit = 10f64.powf(power);
        let (step, extra) = match raw / unit {
            ratio if ratio <= 1.0 => (1.0, 0.0),
            ratio if ratio <= 2.0 => (2.0, 0.0),
            ratio if ratio <= 2.5 => (2.5, 1.0),
            ratio if ratio <= 5.0 => (5.0, 0.0),
            _ => (10.0, -1.0),
        };
        let places = (extra - power).clamp(0.0, 9.0) as usize;
        let (first, last) =
            ((self.low / (step * unit)).ceil() as i64, (self.high / (step * unit)).floor() as i64);
        ((first..=last).map(|tick| tick as f64 * step * unit).collect(), places)
    }
}

/// `text` cut to what is sure to lie within `width` pixels.
pub fn fitted(text: &str, width: f64) -> String {
    let clean: String = text.chars().filter(|symbol| !steers(*symbol)).collect();
    if text_width(&clean) <= width {
        return clean;
    }
    let mut room = width - letter_width('…');
    let fits = |symbol: &char| {
        room -= letter_width(*symbol);
        room >= 0.0
    };
    let mut short: String = clean.chars().take_while(fits).collect();
    short.push('…');
    short
}

/// Two names with a minus between them, each cut to what leaves room for the other.
pub fn difference(a: &str, b: &str, width: f64) -> String {
    let room = width / BOLDER - text_width(MINUS);
    let (of_a, of_b) = (text_width(a), text_width(b));
    let least = room / 2.0;
    let a = fitted(a, (room - of_b).max(least).min(of_a.max(least)));
    format!("{a}{MINUS}{}", fitted(b, room - text_width(&a)))
}

/// Width that `text` takes at most, whichever of the page's typefaces is there.
pub fn text_width(text: &str) -> f64 {
    text.chars().map(letter_width).sum()
}

/// By kinds of letters: nothing here knows a typeface.
fn letter_width(symbol: char) -> f64 {
    let ems = match symbol {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '|' | '!' | '\'' => 0.36,
        ' ' | 'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' => 0.44,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' | '—' => 1.08,
        'A'..='Z' | '+' | '=' | '<' | '>' | '−' | '×' | '±' => 0.84,
        symbol if symbol.is_ascii() => 0.7,
        // Scripts whose letters fill a square, and pictures.
        symbol if symbol >= '\u{1100}' => 1.4,
        _ => 0.8,
    };
    ems * f64::from(TEXT_SIZE)
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (place, (x, y)) in points.iter().enumerate() {
        let pen = if place == 0 { 'M' } else { 'L' };
        path += &format!("{pen}{} {}", quarter(*x), quarter(*y));
    }
    path
}

fn quarter(value: f64) -> f64 {
    (value * 4.0).round() / 4.0
}

fn colour(ink: Ink) -> Color {
    let name = match ink {
        Ink::Text => "var(--ink,#1d1d1f)".to_string(),
        Ink::Faint => "var(--faint,#6b6b70)".to_string(),
        Ink::Rule => "var(--rule,#e3e1dc)".to_string(),
        Ink::Paper => "var(--paper,#ffffff)".to_string(),
        Ink::Wash => "var(--wash,#f6f4ee)".to_string(),
        Ink::Hue(number) => {
            let number = number % HUES.len();
            format!("var(--hue{number},{})", HUES[number])
        }
    };
    Color::Css(name.into())
}

/// Size of all text, in CSS pixels.
pub const TEXT_SIZE: u32 = 13;

/// Hues after Okabe and Ito (2008), darkened where white text lies on them; the last is grey.
pub const HUES: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#9a9a9f"];

const RINGED_FROM: f64 = 3.0;

const TICKS_ALL_DRAWN: usize = 30;

/// How much wider bold letters are at most.
pub const BOLDER: f64 = 1.1;

const MINUS: &str = " − ";

/// Outlines that [`Canvas::symbol`] has.
pub const SHAPES: usize = 5;

const DASHES: [Option<&str>; 4] = [None, Some("6 4"), Some("2 3"), Some("9 3 2 3")];

const FONT: &str = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale { low: 0.9712, high: 1.0004, from: 0.0, to: 400.0 };
        let (ticks, places) = scale.ticks(5);
        let shown: Vec<String> = ticks.iter().map(|t| format!("{t:.places$}")).collect();
        assert_eq!(shown, ["0.98", "0.99", "1.00"]);
    }

    #[test]
    fn an_axis_of_one_value_has_room_on_both_sides() {
        let scale = Scale::around([0.5].into_iter(), 0.0, 100.0);
        assert!((scale.at(0.5) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn text_in_a_figure_is_only_text() {
        let mut canvas = Canvas::new(100.0, 50.0);
        canvas.begin("<b>");
        canvas.text((0.0, 10.0), "<script>$x$ & $y$", Align::Start, Ink::Text);
        canvas.end();
        let svg = canvas.finish("\"><script>");
        assert!(!svg.contains("<script"), "{svg}");
        assert!(svg.contains("&lt;script&gt;$x$ &amp; $y$"), "{svg}");
        assert!(svg.starts_with("<svg xmlns") && svg.contains("viewBox=\"0 0 100 50\""));
    }
}
