//! The chance that a second study agrees with this one, over how many seeds it trains.
//!
//! Floor: core.

use common::stats::replication::{Claim, Replication, replication_curve};
use common::stats::sources::{Design, error_of_difference};

use super::super::content::{LEVEL, Report};
use super::super::number::{counted, duration, percent};
use super::super::page::{Sheet, columns};
use super::axes::{Axis, BELOW, Sign, axes, key};
use super::canvas::{Canvas, Ink};
use super::tradeoff::Planner;
use super::{Figure, headline, of_pair};

/// `None` where no difference has an outlook.
pub fn replication(report: &Report) -> Option<Figure> {
    let (pair, contrast, _) = headline(report)?;
    let planner = Planner::of(report)?;
    let claim = Claim { difference: contrast.difference, se: contrast.se, df: contrast.df };
    let curve = |folds: u32| -> Option<Curve> {
        let errors = seeds(planner.now.seeds).into_iter().filter_map(|seeds| {
            let design = Design { arms: 2, seeds, folds };
            let error = error_of_difference(&planner.components, design, planner.reach).ok()?;
            Some((design, error))
        });
        let errors: Vec<_> = errors.collect();
        let priced: Vec<_> =
            errors.iter().map(|(design, error)| (planner.prices.cost(*design), *error)).collect();
        let chances = replication_curve(claim, &priced, 1.0 - LEVEL).ok()?;
        let points = errors.iter().zip(chances);
        Some(points.map(|((design, _), (cost, chance))| (*design, cost, chance)).collect())
    };
    let (same, double) = (curve(planner.now.folds)?, curve(2 * planner.now.folds)?);
    if same.len() < 2 {
        return None;
    }
    let caption = format!(
        "Chance that a second study, on new samples, agrees with this one, over the seeds that it \
         trains: that the same arm is ahead again, and that its own 95 % interval leaves out zero. \
         Where the lines are flat, more seeds would not make the finding more repeatable; more folds, \
         or more rows, would.{}",
        of_pair(report, pair)
    );
    let lines = [
        Line { name: "same arm ahead", points: points(&same, |c| c.same_sign), sign: (0, 0, 0) },
        Line { name: "found again", points: points(&same, |c| c.significant), sign: (2, 1, 1) },
        Line {
            name: "found again, twice the folds",
            points: points(&double, |c| c.significant),
            sign: (3, 2, 2),
        },
    ];
    let now = planner.now.seeds;
    Some(Figure::drawn("replication", caption, sheet(&same, &double), |width, caption| {
        draw(&lines, now, width, caption)
    }))
}

/// Design, agent-seconds and chances.
type Curve = Vec<(Design, f64, Replication)>;

struct Line {
    name: &'static str,
    /// Seeds and chance.
    points: Vec<(u32, f64)>,
    /// Shape, hue and dash.
    sign: (usize, usize, usize),
}

fn points(curve: &Curve, chance: impl Fn(&Replication) -> f64) -> Vec<(u32, f64)> {
    curve.iter().map(|(design, _, found)| (design.seeds, chance(found))).collect()
}

/// From one seed to eight times as many as now.
fn seeds(now: u32) -> Vec<u32> {
    let most = f64::from((8 * now).max(16));
    let step = |place: u32| most.powf(f64::from(place) / f64::from(STEPS)).round() as u32;
    let mut list: Vec<u32> = (0..=STEPS).map(step).chain([now]).collect();
    list.sort_unstable();
    list.dedup();
    list
}

fn draw(lines: &[Line], now: u32, width: f64, caption: &str) -> String {
    let entries: Vec<(String, Sign)> = lines
        .iter()
        .map(|line| {
            let (shape, hue, _) = line.sign;
            (line.name.to_string(), Sign::Symbol { shape, ink: Ink::Hue(hue) })
        })
        .collect();
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let bottom = top + HEIGHT;
    let mut canvas = Canvas::new(width, bottom + BELOW);
    key(&mut canvas, 0.0, width, &entries);
    let most = lines.iter().flat_map(|line| &line.points).map(|(seeds, _)| *seeds).max();
    let across = Axis::logarithmic(1.0, f64::from(most.unwrap_or(2)), "seeds of the second study");
    let upright = Axis {
        ends: (0.0, 1.03),
        ticks: [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| (share, percent(share))).to_vec(),
        title: "chance",
    };
    let (x, y) = axes(&mut canvas, (top, bottom), width, &across, &upright);
    let here = x.at(f64::from(now).ln());
    canvas.line((here, y.to), (here, bottom), Ink::Faint, 1.0);
    canvas.tag((here, bottom - 12.0), "as many seeds as now", Ink::Faint);
    for line in lines {
        let (shape, hue, dash) = line.sign;
        let place = |(seeds, chance): &(u32, f64)| (x.at(f64::from(*seeds).ln()), y.at(*chance));
        let path: Vec<(f64, f64)> = line.points.iter().map(place).collect();
        canvas.curve(&path, Ink::Hue(hue), 2.0, dash);
        for (point, (seeds, chance)) in path.iter().zip(&line.points) {
            let seeds = counted(u64::from(*seeds), "seed");
            canvas.begin(&format!("{}, {seeds}: {}", line.name, percent(*chance)));
            canvas.symbol(*point, 4.0, shape, Ink::Hue(hue));
            canvas.end();
        }
    }
    canvas.finish(caption)
}

fn sheet(same: &Curve, double: &Curve) -> Sheet {
    let row = |(design, cost, found): &(Design, f64, Replication)| {
        vec![
            design.seeds.to_string(),
            design.folds.to_string(),
            percent(found.same_sign),
            percent(found.significant),
            duration(*cost),
        ]
    };
    Sheet {
        title: "Chances of a second study".into(),
        columns: columns(&["Seeds", "Folds", "Same arm ahead", "Found again", "Training"], 0),
        rows: same.iter().chain(double).map(row).collect(),
        legend: Vec::new(),
    }
}

const STEPS: u32 = 12;
const HEIGHT: f64 = 230.0;
