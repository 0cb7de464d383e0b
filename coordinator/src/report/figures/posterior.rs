//! What may be believed of each difference: its density after the data, cut at what does not matter.
//!
//! Floor: core.

use common::stats::bayes::{Areas, CorrelatedT};

use super::super::content::{ComparisonPart, Contrast, Outlook, Report};
use super::super::number::{beside, chance, significant};
use super::super::page::{Sheet, columns};
use super::axes::{BELOW, Sign, key};
use super::canvas::{Canvas, Ink, Scale, difference, fitted};
use super::{Figure, sign_of};

/// `None` where no pair has a difference with a spread.
pub fn posterior(report: &Report) -> Option<Figure> {
    let panels = panels(report);
    let width = panels.first()?.outlook.rope.width;
    let equal = match width {
        0.0 => "the dashed line is no difference at all".to_string(),
        width => format!("between the dashed lines, ± {width}, the arms are held for equal"),
    };
    let more = match panels.len() {
        drawn if drawn > PANELS_MAX => {
            format!(" The first {PANELS_MAX} of {drawn} pairs are drawn; the table has all.")
        }
        _ => String::new(),
    };
    let caption = format!(
        "How plausible each size of the true difference is on new samples, given these data and no \
         opinion beforehand: the higher the curve, the more plausible. The areas are the \
         probabilities; {equal}.{more}"
    );
    Some(Figure::drawn("posterior", caption, sheet(&panels), |width, caption| {
        draw(report, &panels[..panels.len().min(PANELS_MAX)], width, caption)
    }))
}

struct Panel<'a> {
    pair: &'a ComparisonPart,
    contrast: &'a Contrast,
    outlook: &'a Outlook,
    /// Difference and density.
    points: Vec<(f64, f64)>,
}

fn panels(report: &Report) -> Vec<Panel<'_>> {
    report
        .comparisons
        .iter()
        .filter_map(|pair| {
            let (contrast, outlook) = (pair.contrast.as_ref()?, pair.outlook.as_ref()?);
            let posterior = CorrelatedT {
                mean: contrast.difference,
                scale: contrast.se,
                df: contrast.df,
                correlation: 0.0,
                rope: outlook.rope.width,
                areas: Areas { left: 0.0, within: 0.0, right: 0.0 },
            };
            let points = posterior.density(POINTS);
            (!points.is_empty()).then_some(Panel { pair, contrast, outlook, points })
        })
        .collect()
}

fn draw(report: &Report, panels: &[Panel<'_>], width: f64, caption: &str) -> String {
    let keys: Vec<Vec<(String, Sign)>> =
        panels.iter().map(|panel| areas_key(report, panel)).collect();
    let tops: Vec<f64> =
        keys.iter().map(|list| key(&mut Canvas::new(width, 0.0), NAME, width, list)).collect();
    let height = tops.iter().map(|top| top + HILL + BELOW + GAP).sum::<f64>() - GAP;
    let mut canvas = Canvas::new(width, height);
    let mut y = 0.0;
    for ((panel, list), top) in panels.iter().zip(&keys).zip(&tops) {
        let name = difference(&panel.pair.a, &panel.pair.b, width);
        canvas.bold((0.0, y + 14.0), &name, "", width);
        key(&mut canvas, y + NAME, width, list);
        hill(&mut canvas, report, panel, (y + top + 6.0, y + top + HILL), width);
        y += top + HILL + BELOW + GAP;
    }
    canvas.finish(caption)
}

/// One of the regions: the arm that it speaks for, `None` for neither; its ends; its chance.
type Region<'a> = (Option<&'a str>, (f64, f64), f64);

fn regions<'a>(report: &Report, panel: &Panel<'a>) -> [Region<'a>; 3] {
    let rope = panel.outlook.rope;
    let (a, b) = (panel.pair.a.as_str(), panel.pair.b.as_str());
    let (below, above) = match report.study.goal {
        LARGER => ((b, rope.p_b), (a, rope.p_a)),
        _ => ((a, rope.p_a), (b, rope.p_b)),
    };
    [
        (Some(below.0), (f64::NEG_INFINITY, -rope.width), below.1),
        (None, (-rope.width, rope.width), rope.p_equal),
        (Some(above.0), (rope.width, f64::INFINITY), above.1),
    ]
}

fn areas_key(report: &Report, panel: &Panel<'_>) -> Vec<(String, Sign)> {
    let entry = |(arm, _, share): Region<'_>| {
        let (name, ink) = match arm {
            Some(arm) => (format!("{} better", fitted(arm, ARM)), sign_of(report, arm).1),
            None => ("equal".to_string(), Ink::Faint),
        };
        (format!("{name}: {}", chance(share)), Sign::Tile { ink, opacity: OPACITY })
    };
    let nothing = panel.outlook.rope.width == 0.0;
    let shown = regions(report, panel).into_iter().filter(|(arm, _, _)| arm.is_some() || !nothing);
    shown.map(entry).collect()
}

fn hill(
    canvas: &mut Canvas,
    report: &Report,
    panel: &Panel<'_>,
    (top, ground): (f64, f64),
    width: f64,
) {
    let rope = panel.outlook.rope.width;
    let ends = panel.points.iter().map(|(x, _)| *x).chain([0.0]);
    let scale = Scale::around(ends, 6.0, width - 6.0);
    let most = panel.points.iter().map(|(_, density)| *density).fold(0.0, f64::max);
    let place = |(x, density): (f64, f64)| (scale.at(x), ground - density / most * (ground - top));
    canvas.axis_below(&scale, top, ground, &format!("difference in {}", report.study.metric));
    for (arm, (low, high), share) in regions(report, panel) {
        let inside: Vec<(f64, f64)> =
            cut(&panel.points, low, high).into_iter().map(place).collect();
        let (Some(first), Some(last)) = (inside.first().copied(), inside.last().copied()) else {
            continue;
        };
        let ink = arm.map_or(Ink::Faint, |arm| sign_of(report, arm).1);
        let mut outline = vec![(first.0, ground)];
        outline.extend(&inside);
        outline.push((last.0, ground));
        let name = arm.map_or("equal".to_string(), |arm| format!("{arm} better"));
        canvas.begin(&format!("{name}: {}", chance(share)));
        canvas.area(&outline, ink, OPACITY);
        canvas.end();
    }
    let line: Vec<(f64, f64)> = panel.points.iter().copied().map(place).collect();
    canvas.curve(&line, Ink::Text, 1.5, 0);
    for edge in if rope > 0.0 { vec![-rope, rope] } else { vec![0.0] } {
        canvas.curve(&[(scale.at(edge), top), (scale.at(edge), ground)], Ink::Text, 1.0, 1);
    }
    canvas.begin(&format!("difference seen: {}", significant(panel.contrast.difference)));
    canvas.symbol((scale.at(panel.contrast.difference), ground), 5.5, 2, Ink::Text);
    canvas.end();
}

/// The part of a density between `low` and `high`, its ends interpolated.
fn cut(points: &[(f64, f64)], low: f64, high: f64) -> Vec<(f64, f64)> {
    let mut inside = Vec::new();
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let (from, to) = (x0.max(low), x1.min(high));
        if from >= to {
            continue;
        }
        let at = |x: f64| (x, y0 + (y1 - y0) * (x - x0) / (x1 - x0));
        if inside.is_empty() {
            inside.push(at(from));
        }
        inside.push(at(to));
    }
    inside
}

fn sheet(panels: &[Panel<'_>]) -> Sheet {
    let row = |panel: &Panel<'_>| {
        let (contrast, rope) = (panel.contrast, panel.outlook.rope);
        vec![
            format!("{} − {}", panel.pair.a, panel.pair.b),
            beside(contrast.difference, contrast.se),
            significant(contrast.se),
            beside(contrast.df, 0.0).trim_end_matches('0').trim_end_matches('.').to_string(),
            chance(rope.p_a),
            chance(rope.p_equal),
            chance(rope.p_b),
        ]
    };
    Sheet {
        title: "Posterior of each difference: Student's t".into(),
        columns: columns(
            &["Arms", "Centre", "Scale", "df", "First better", "Equal", "Second better"],
            1,
        ),
        rows: panels.iter().map(row).collect(),
        legend: Vec::new(),
    }
}

const LARGER: &str = "larger is better";
const POINTS: usize = 161;
const PANELS_MAX: usize = 4;
const OPACITY: f64 = 0.42;
const NAME: f64 = 22.0;
/// Width of an arm's name in the key, where its chance stands behind it.
const ARM: f64 = 170.0;
const HILL: f64 = 130.0;
const GAP: f64 = 18.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_areas_that_are_drawn_are_the_chances_that_are_told() {
        let differences = [0.02, -0.01, 0.03, 0.011, 0.004];
        let posterior = common::stats::bayes::correlated_t(&differences, 0.25, 0.01).unwrap();
        let points = posterior.density(2001);
        let area = |low: f64, high: f64| -> f64 {
            let part = cut(&points, low, high);
            part.windows(2).map(|p| 0.5 * (p[1].0 - p[0].0) * (p[0].1 + p[1].1)).sum()
        };
        // The density ends where 99 % of it lie.
        let told = posterior.areas;
        assert!((area(f64::NEG_INFINITY, -0.01) - told.left).abs() < 0.006);
        assert!((area(-0.01, 0.01) - told.within).abs() < 1e-4);
        assert!((area(0.01, f64::INFINITY) - told.right).abs() < 0.006);
        assert!(cut(&points, 0.0, 0.0).is_empty());
    }
}
