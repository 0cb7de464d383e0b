//! Whether the model's assumption of bell-shaped luck holds: quantiles beside those of a normal.
//!
//! Floor: core.

use common::stats::summary::{mean, normal_quantile, sd};

use super::super::content::Report;
use super::super::number::{beside, counted};
use super::super::page::{Sheet, columns};
use super::axes::{Axis, BELOW, axes};
use super::canvas::{Canvas, Ink};
use super::{Figure, sign_of};

/// What each arm's model leaves of its runs; `None` where no model was fitted.
pub fn residual_quantiles(report: &Report) -> Option<Figure> {
    let found = &report.drawn.further.residuals;
    let panels: Vec<Panel> = found
        .iter()
        .filter_map(|(arm, values)| Panel::of(report, arm, ": residuals".to_string(), values))
        .collect();
    let caption = "What the model leaves of each run, in order, against what a bell-shaped spread \
                   would leave. Points on the line: the model's assumption holds. Points that leave \
                   the shaded band at an end: there are more extreme runs than it allows for, and \
                   intervals may be too narrow."
        .to_string();
    figure("residuals", "Quantiles of residuals", caption, panels)
}

/// The predicted effects of each arm's seeds; `None` where none was estimated above zero.
pub fn effect_quantiles(report: &Report) -> Option<Figure> {
    let panels = report
        .drawn
        .effects
        .iter()
        .filter_map(|part| {
            let values: Vec<f64> = part.levels.iter().map(|(_, effect, _)| *effect).collect();
            Panel::of(report, &part.arm, format!(": effects of {}", part.factor), &values)
        })
        .collect();
    let caption =
        "Predicted effects of the seeds (BLUPs), in order, against those of a bell-shaped \
                   spread: a seed far off the line is one that the model did not expect, such as a \
                   training that failed without saying so."
            .to_string();
    figure("effects", "Quantiles of predicted effects", caption, panels)
}

struct Panel {
    arm: String,
    /// What of the arm, to be written after its name.
    what: String,
    /// Outline and colour.
    sign: (usize, Ink),
    /// Normal quantile, standardised value, half-width of the band there.
    points: Vec<(f64, f64, f64)>,
    count: usize,
}

impl Panel {
    /// `values` ascending. `None` for fewer than five, and where they do not differ.
    fn of(report: &Report, arm: &str, what: String, values: &[f64]) -> Option<Self> {
        let spread = sd(values).filter(|spread| values.len() >= VALUES_MIN && *spread > 0.0)?;
        let (centre, count) = (mean(values), values.len());
        // Of very many only some are drawn, all of the ends among them.
        let every = count.div_ceil(POINTS_MAX).max(1);
        let chosen = (0..count).filter(|place| {
            place % every == 0 || *place < ENDS_DRAWN || count - place <= ENDS_DRAWN
        });
        let point = |place: usize| {
            let share = (place as f64 + 0.5) / count as f64;
            let z = normal_quantile(share);
            let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
            // An order statistic spreads by sqrt(p (1 - p) / n) over the density there.
            let band = NORMAL_95 * (share * (1.0 - share) / count as f64).sqrt() / density;
            (z, (values[place] - centre) / spread, band)
        };
        Some(Self {
            arm: arm.to_string(),
            what,
            sign: sign_of(report, arm),
            points: chosen.map(point).collect(),
            count,
        })
    }
}

fn figure(name: &'static str, title: &str, caption: String, panels: Vec<Panel>) -> Option<Figure> {
    if panels.is_empty() {
        return None;
    }
    let sheet = sheet(title, &panels);
    let shown = panels.len().min(PANELS_MAX);
    let caption = match panels.len() {
        all if all > shown => format!("{caption} The first {shown} of {all} are drawn."),
        _ => caption,
    };
    Some(Figure::drawn(name, caption, sheet, |width, caption| {
        draw(&panels[..shown], width, caption)
    }))
}

fn draw(panels: &[Panel], width: f64, caption: &str) -> String {
    let mut canvas = Canvas::new(width, panels.len() as f64 * PANEL);
    for (place, panel) in panels.iter().enumerate() {
        let top = place as f64 * PANEL;
        let after = format!("{} ({})", panel.what, counted(panel.count as u64, "value"));
        canvas.bold((0.0, top + 14.0), &panel.arm, &after, width);
        let across = Axis::around(panel.points.iter().map(|point| point.0), "expected, in SD");
        let both = panel.points.iter().flat_map(|(z, value, _)| [*z, *value]);
        let upright = Axis::around(both, "found, in SD");
        let ends = (top + 18.0, top + PANEL - BELOW - 12.0);
        let (x, y) = axes(&mut canvas, ends, width, &across, &upright);
        let edge = |sign: f64| {
            let at = move |(z, _, band): &(f64, f64, f64)| (*z, z + sign * band);
            panel.points.iter().map(at)
        };
        let place = |(z, value): (f64, f64)| (x.at(z), y.at(value.clamp(y.low, y.high)));
        let band: Vec<(f64, f64)> = edge(-1.0).chain(edge(1.0).rev()).map(place).collect();
        canvas.area(&band, Ink::Faint, 0.16);
        let line: Vec<(f64, f64)> = panel.points.iter().map(|(z, _, _)| place((*z, *z))).collect();
        canvas.curve(&line, Ink::Faint, 1.25, 0);
        let (shape, ink) = panel.sign;
        let radius = if panel.points.len() > POINTS_LARGE { 2.25 } else { 3.5 };
        for (z, value, _) in &panel.points {
            canvas.begin(&format!("expected {}, found {}", beside(*z, 1.0), beside(*value, 1.0)));
            canvas.symbol((x.at(*z), y.at(*value)), radius, shape, ink);
            canvas.end();
        }
    }
    canvas.finish(caption)
}

fn sheet(title: &str, panels: &[Panel]) -> Sheet {
    let row = |panel: &Panel| {
        let out = panel.points.iter().filter(|(z, value, band)| (value - z).abs() > *band).count();
        let ends = [panel.points.first(), panel.points.last()];
        let mut cells = vec![format!("{}{}", panel.arm, panel.what), panel.count.to_string()];
        cells.extend(ends.map(|end| {
            end.map_or("–".into(), |(z, value, _)| {
                format!("{} ({})", beside(*value, 1.0), beside(*z, 1.0))
            })
        }));
        cells.push(format!("{out} of {}", panel.points.len()));
        cells
    };
    Sheet {
        title: format!("{title}, in standard deviations"),
        columns: columns(
            &["Of", "Values", "Least (expected)", "Greatest (expected)", "Outside the band"],
            1,
        ),
        rows: panels.iter().map(row).collect(),
        legend: Vec::new(),
    }
}

const NORMAL_95: f64 = 1.96;
const VALUES_MIN: usize = 5;
const POINTS_MAX: usize = 120;
const POINTS_LARGE: usize = 50;
const ENDS_DRAWN: usize = 10;
const PANELS_MAX: usize = 4;
const PANEL: f64 = 268.0;
