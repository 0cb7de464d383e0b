//! Which cells of the design have a score, as a map: what is missing, and whether it has a pattern.
//!
//! Floor: core.

use common::stats::share::Share;

use super::super::content::{LEVEL, Report};
use super::super::drawn::{ArmCells, Tile};
use super::super::number::{count, percent};
use super::super::page::{Sheet, columns};
use super::Figure;
use super::axes::{Sign, key};
use super::canvas::{Align, Canvas, Ink};

/// `None` for a study without arms.
pub fn missingness(report: &Report) -> Option<Figure> {
    let arms = &report.drawn.further.cells;
    if arms.iter().all(|arm| arm.rows.is_empty()) {
        return None;
    }
    let together = match arms.iter().any(|arm| arm.folds == 0) {
        true => " Where trials are many, a field stands for several and shows the worst of them.",
        false => "",
    };
    // What has not ended keeps to the last seeds, and says nothing.
    let lost = |tile: &Tile| tile.failed + tile.diverged + tile.undefined > 0;
    let holes = match arms.iter().any(|arm| lost(&arm.total())) {
        true => {
            " Marks that keep to one row, or to the same fold of every seed, suggest that what is \
             missing is not missing by chance, and that the numbers of what is left may flatter."
        }
        false => "",
    };
    let caption = format!(
        "Every planned training: one row a config, from left to right the folds of each seed. \
         {}{holes}{together}",
        rates(arms)
    );
    Some(Figure::drawn("cells", caption, sheet(arms), |width, caption| draw(arms, width, caption)))
}

/// Failure and divergence of all arms, with Wilson's limits.
fn rates(arms: &[ArmCells]) -> String {
    let sum = |of: fn(&Tile) -> u64| arms.iter().map(|arm| of(&arm.total())).sum::<u64>();
    let ended = sum(Tile::ended);
    let rate = |count: u64| limits(count, ended).unwrap_or_else(|| "–".to_string());
    if ended == 0 {
        return "None has ended yet.".to_string();
    }
    let (failed, diverged) =
        (sum(|t| u64::from(t.failed) + u64::from(t.diverged)), sum(|t| t.diverged.into()));
    format!(
        "Of {} that ended, {} gave no outcome ({}), {} of them by diverging ({}).",
        count(ended),
        count(failed),
        rate(failed),
        count(diverged),
        rate(diverged)
    )
}

/// `1.2 %, 95 % interval 0.3 % to 4.1 %`.
fn limits(count: u64, of: u64) -> Option<String> {
    let share = Share::of(count, of, LEVEL).ok()?;
    let (low, high) = share.interval;
    Some(format!("{}, 95 % interval {} to {}", percent(share.share), percent(low), percent(high)))
}

/// How a tile is shown: by the worst of its trials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Complete,
    Undefined,
    Open,
    Failed,
    Diverged,
}

impl State {
    fn of(tile: &Tile) -> Self {
        match () {
            () if tile.diverged > 0 => State::Diverged,
            () if tile.failed > 0 => State::Failed,
            () if tile.open > 0 => State::Open,
            () if tile.undefined > 0 => State::Undefined,
            () => State::Complete,
        }
    }

    /// Name, outline and colour.
    fn sign(self) -> (&'static str, usize, Ink) {
        match self {
            State::Complete => ("complete", 1, Ink::Hue(0)),
            State::Undefined => ("metric not defined", 2, Ink::Hue(3)),
            State::Open => ("not ended or cancelled", 0, Ink::Hue(6)),
            State::Failed => ("failed", 4, Ink::Hue(4)),
            State::Diverged => ("diverged", 3, Ink::Hue(1)),
        }
    }
}

fn draw(arms: &[ArmCells], width: f64, caption: &str) -> String {
    let states = [State::Complete, State::Undefined, State::Open, State::Failed, State::Diverged];
    let there = |state: &State| {
        let tiles = arms.iter().flat_map(|arm| arm.rows.iter().flatten());
        *state == State::Complete || tiles.map(State::of).any(|found| found == *state)
    };
    let entries: Vec<(String, Sign)> = states
        .into_iter()
        .filter(there)
        .map(|state| match state.sign() {
            (name, _, ink) if state == State::Complete => {
                (name.to_string(), Sign::Tile { ink, opacity: COMPLETE })
            }
            (name, shape, ink) => (name.to_string(), Sign::Symbol { shape, ink }),
        })
        .collect();
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let heights: Vec<f64> =
        arms.iter().map(|arm| NAME + arm.rows.len() as f64 * ROW + GAP).collect();
    let mut canvas = Canvas::new(width, top + heights.iter().sum::<f64>() + NAME);
    key(&mut canvas, 0.0, width, &entries);
    let mut y = top;
    for (arm, height) in arms.iter().zip(&heights) {
        canvas.bold((0.0, y + 14.0), &arm.arm, "", width);
        for line in 0..arm.rows.len() {
            row(&mut canvas, arm, line, y + NAME + line as f64 * ROW, width);
        }
        y += height;
    }
    canvas.text((0.0, y + 8.0), "first seed", Align::Start, Ink::Faint);
    canvas.text((width, y + 8.0), "last seed", Align::End, Ink::Faint);
    canvas.finish(caption)
}

/// A bar for each run of tiles of one state within a seed, marked unless it is complete.
fn row(canvas: &mut Canvas, arm: &ArmCells, line: usize, y: f64, width: f64) {
    let tiles = &arm.rows[line];
    let step = width / tiles.len().max(1) as f64;
    // Where several seeds share a column nothing sets them apart.
    let (seed, gap) = if arm.folds == 0 { (tiles.len().max(1), 0.0) } else { (arm.folds, 1.5) };
    let name = match arm.configs[line].as_str() {
        "" => arm.arm.clone(),
        config => format!("{}, {config}", arm.arm),
    };
    let mut at = 0;
    for group in tiles.chunks(seed) {
        for run in group.chunk_by(|a, b| State::of(a) == State::of(b)) {
            let state = State::of(&run[0]);
            let (what, shape, ink) = state.sign();
            let (left, length) = (at as f64 * step, run.len() as f64 * step - gap);
            at += run.len();
            let sum = run.iter().fold(Tile::default(), Tile::and);
            canvas.begin(&format!("{name}: {what}; {}", counts(&sum)));
            let opacity = if state == State::Complete { COMPLETE } else { 0.18 };
            canvas.wash((left, y), (length.max(1.0), ROW - 2.0), ink, opacity);
            let marks = match run.len() {
                _ if state == State::Complete => 0,
                few if few <= MARKED_EACH => few,
                _ => MARKED_OF_MANY,
            };
            for mark in 0..marks {
                let x = left + (mark as f64 + 0.5) * length / marks as f64;
                let radius = (step * 0.4).clamp(1.5, 5.0);
                canvas.symbol((x, y + ROW / 2.0 - 1.0), radius, shape, ink);
            }
            canvas.end();
        }
    }
}

fn counts(tile: &Tile) -> String {
    format!(
        "{} complete, {} failed, {} diverged, {} not ended",
        tile.complete + tile.undefined,
        tile.failed,
        tile.diverged,
        tile.open
    )
}

fn sheet(arms: &[ArmCells]) -> Sheet {
    let row = |arm: &ArmCells| {
        let sum = arm.total();
        let ended = sum.ended();
        let rate = |part: u64| {
            let share = Share::of(part, ended, LEVEL).ok();
            share.map_or("–".into(), |share| {
                let (low, high) = share.interval;
                format!("{} to {}", percent(low), percent(high))
            })
        };
        let failed = u64::from(sum.failed) + u64::from(sum.diverged);
        vec![
            arm.arm.clone(),
            count(ended + u64::from(sum.open)),
            count(sum.complete.into()),
            count(failed),
            rate(failed),
            count(sum.diverged.into()),
            rate(sum.diverged.into()),
            count(sum.open.into()),
        ]
    };
    Sheet {
        title: "How trainings ended".into(),
        columns: columns(
            &[
                "Arm",
                "Planned",
                "Scored",
                "Failed",
                "95 % interval",
                "Diverged",
                "95 % interval",
                "Not ended",
            ],
            1,
        ),
        rows: arms.iter().map(row).collect(),
        legend: Vec::new(),
    }
}

const COMPLETE: f64 = 0.5;
/// Neighbours up to which each has its mark, and marks of more of them.
const MARKED_EACH: usize = 5;
const MARKED_OF_MANY: usize = 3;
const NAME: f64 = 20.0;
const ROW: f64 = 14.0;
const GAP: f64 = 10.0;
