//! How sharply the runs say how large each source of spread is: the profile zeta plot.
//!
//! Floor: core.

use super::super::content::Report;
use super::super::drawn::Curve;
use super::super::number::{beside, listed};
use super::super::page::{Sheet, columns};
use super::axes::{Axis, BELOW, Sign, axes, key};
use super::canvas::{Canvas, Ink, SHAPES};
use super::{Figure, HUES_OF_ARMS};

/// One panel an arm, one line a source; `None` where no profile was computed.
pub fn zeta(report: &Report) -> Option<Figure> {
    let arms = &report.drawn.further.zeta;
    if arms.is_empty() {
        return None;
    }
    let mut sources: Vec<&str> = Vec::new();
    for (name, _) in arms.iter().flat_map(|(_, curves)| curves) {
        if !sources.contains(&name.as_str()) {
            sources.push(name);
        }
    }
    let shown = arms.len().min(PANELS_MAX);
    let more = match arms.len() {
        all if all > shown => format!(" The first {shown} of {all} arms are drawn."),
        _ => String::new(),
    };
    let caption = format!(
        "How far the runs contradict each standard deviation of {}: zeta is the signed root of what \
         the fit loses when the deviation is held there. Between the dashed lines lies the 95 % \
         interval. A steep line is known well; a straight one is known as a mean is; one that starts \
         above the lower dashed line may be zero.{more}",
        listed(&sources.iter().map(|name| (*name).to_string()).collect::<Vec<_>>()),
    );
    let sheet = sheet(report, arms);
    let metric = &report.study.metric;
    Some(Figure::drawn("zeta", caption, sheet, |width, caption| {
        draw(&arms[..shown], &sources, metric, width, caption)
    }))
}

fn draw(
    arms: &[(String, Vec<Curve>)],
    sources: &[&str],
    metric: &str,
    width: f64,
    caption: &str,
) -> String {
    let sign = |name: &str| {
        let place = sources.iter().position(|source| *source == name).unwrap_or(0);
        (place % SHAPES, Ink::Hue(place % HUES_OF_ARMS))
    };
    let entries: Vec<(String, Sign)> = (sources.iter())
        .map(|name| {
            let (shape, ink) = sign(name);
            ((*name).to_string(), Sign::Symbol { shape, ink })
        })
        .collect();
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let mut canvas = Canvas::new(width, top + arms.len() as f64 * PANEL);
    key(&mut canvas, 0.0, width, &entries);
    let title = format!("standard deviation in {metric}");
    for (place, (arm, curves)) in arms.iter().enumerate() {
        let top = top + place as f64 * PANEL;
        canvas.bold((0.0, top + 14.0), arm, "", width);
        let points = || curves.iter().flat_map(|(_, points)| points.iter());
        let across = Axis::around(points().map(|(sd, _)| *sd), &title);
        let upright = Axis::around(points().map(|(_, z)| *z).chain([-ZETA_95, ZETA_95]), "zeta");
        let ends = (top + 18.0, top + PANEL - BELOW - 12.0);
        let (x, y) = axes(&mut canvas, ends, width, &across, &upright);
        for zeta in [-ZETA_95, ZETA_95] {
            canvas.curve(&[(x.from, y.at(zeta)), (x.to, y.at(zeta))], Ink::Faint, 1.25, 1);
        }
        for (name, points) in curves {
            let (shape, ink) = sign(name);
            let line: Vec<(f64, f64)> =
                points.iter().map(|(sd, zeta)| (x.at(*sd), y.at(*zeta))).collect();
            canvas.curve(&line, ink, 1.75, 0);
            for (at, (sd, zeta)) in line.iter().zip(points) {
                canvas.begin(&format!("{arm}, {name}: SD {}, zeta {zeta:.2}", beside(*sd, *sd)));
                canvas.symbol(*at, 3.0, shape, ink);
                canvas.end();
            }
        }
    }
    canvas.finish(caption)
}

fn sheet(report: &Report, arms: &[(String, Vec<Curve>)]) -> Sheet {
    let mut rows = Vec::new();
    for (arm, curves) in arms {
        for (name, points) in curves {
            for (sd, zeta) in points.iter().step_by(TABLE_STEP) {
                let cells = [arm.clone(), name.clone(), beside(*sd, *sd), format!("{zeta:.2}")];
                rows.push(cells.to_vec());
            }
        }
    }
    Sheet {
        title: format!("Profiles of standard deviations in {}", report.study.metric),
        columns: columns(&["Arm", "Source", "SD", "Zeta"], 2),
        rows,
        legend: Vec::new(),
    }
}

/// Where a profile interval at 95 % ends.
const ZETA_95: f64 = 1.96;
const PANELS_MAX: usize = 4;
const PANEL: f64 = 250.0;
/// Every second point stands in the table, the ends among them.
const TABLE_STEP: usize = 2;
