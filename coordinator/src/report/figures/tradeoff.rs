//! How narrow the interval of a difference gets with more seeds and more folds, and what that costs.
//!
//! Floor: core.

use common::stats::plan::{Prices, iso_cost};
use common::stats::sources::{Components, Design, Reach, error_of_difference};
use common::stats::summary::student_quantile;

use super::super::analysis::outlook::components_of;
use super::super::content::{ComparisonPart, LEVEL, Outlook, Report};
use super::super::number::{counted, duration, significant_short};
use super::super::outlook::designs_sheet;
use super::super::page::Sheet;
use super::axes::{Axis, BELOW, Sign, axes, key};
use super::canvas::{Canvas, Ink, Scale, text_width};
use super::{Figure, headline, of_pair};

/// What a pair's differences say of designs of other sizes.
pub struct Planner {
    pub components: Components,
    pub reach: Reach,
    /// The design as it is.
    pub now: Design,
    /// Agent-seconds of one seed on one fold for both arms.
    pub prices: Prices,
}

/// `None` without a pair whose spread was divided, or with one fold.
pub fn tradeoff(report: &Report) -> Option<Figure> {
    let (pair, _, outlook) = headline(report)?;
    let planner = Planner::of(report)?;
    let map = Map::of(&planner, outlook, report.study.left_out.is_none())?;
    let advice = outlook.precision.advice.map_or(String::new(), |design| {
        format!(
            " The triangle, {} on {}, would show a difference as large as the one seen in 80 of 100 \
             studies.",
            counted(design.seeds.into(), "seed"),
            counted(design.folds.into(), "fold")
        )
    });
    let caption = format!(
        "How far the 95 % interval of the difference reaches to either side (solid lines, in {}), \
         for other numbers of seeds and folds; the diamond is this study. Where a solid line runs \
         level, more seeds no longer help. Along a dashed line all designs take the same \
         training.{advice}{}",
        report.study.metric,
        of_pair(report, pair)
    );
    Some(Figure::drawn("designs", caption, sheet(pair, outlook), |width, caption| {
        draw(&planner, &map, outlook, width, caption)
    }))
}

impl Planner {
    pub fn of(report: &Report) -> Option<Self> {
        let (pair, contrast, outlook) = headline(report)?;
        let ratio = report.drawn.further.test_over_train?;
        let precision = &outlook.precision;
        // Of one seed nobody knows what others would do.
        precision.sd_seed?;
        let priced = precision.table.first()?;
        let (seeds, folds) = (f64::from(priced.seeds), f64::from(priced.folds));
        let fold = precision.fold_seconds.unwrap_or_default();
        Some(Self {
            components: components_of(precision),
            reach: Reach::Samples { test_over_train: ratio },
            now: Design { arms: 2, seeds: contrast.seeds.max(1) as u32, folds: pair.folds as u32 },
            prices: Prices { run: (priced.cost / folds - fold) / seeds, fold, seed: 0.0 },
        })
    }

    pub fn half_width(&self, seeds: u32, folds: u32) -> Option<f64> {
        let design = Design { arms: 2, seeds, folds };
        let error = error_of_difference(&self.components, design, self.reach).ok()?;
        Some(student_quantile(0.5 + LEVEL / 2.0, error.df?) * error.se)
    }
}

/// Half-widths over a grid of designs.
struct Map {
    seeds: Vec<u32>,
    folds: Vec<u32>,
    /// `[seeds][folds]`; infinite where a design cannot tell.
    heights: Vec<Vec<f64>>,
}

impl Map {
    /// `folds`: there can be more of them.
    fn of(planner: &Planner, outlook: &Outlook, folds: bool) -> Option<Self> {
        if planner.now.folds < 2 {
            return None;
        }
        let advice = outlook.precision.advice;
        let most = |now: u32, advised: Option<u32>| (4 * now).max(16).max(advised.unwrap_or(0));
        let seeds = steps(1, most(planner.now.seeds, advice.map(|design| design.seeds)));
        let most_folds = most(planner.now.folds, advice.map(|design| design.folds));
        let folds = steps(2, if folds { most_folds } else { planner.now.folds.max(3) });
        let heights = seeds
            .iter()
            .map(|seeds| {
                let height = |folds: &u32| planner.half_width(*seeds, *folds);
                folds.iter().map(|folds| height(folds).unwrap_or(f64::INFINITY)).collect()
            })
            .collect();
        Some(Self { seeds, folds, heights })
    }

    /// Round half-widths that cross the map, at most seven.
    fn levels(&self) -> Vec<f64> {
        let finite =
            || self.heights.iter().flatten().copied().filter(|h| h.is_finite() && *h > 0.0);
        let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(0.0, f64::max));
        if low >= high {
            return Vec::new();
        }
        let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
        let all: Vec<f64> = powers
            .flat_map(|power| [1.0, 1.5, 2.0, 3.0, 5.0, 7.0].map(|digit| digit * 10f64.powi(power)))
            .filter(|level| (low..high).contains(level))
            .collect();
        let every = all.len().div_ceil(LEVELS_MAX).max(1);
        all.into_iter().step_by(every).collect()
    }

    /// Pieces of the line where the half-width is `level`, by marching squares in logarithms.
    fn line(&self, level: f64, x: &Scale, y: &Scale) -> Vec<[(f64, f64); 2]> {
        let mut pieces = Vec::new();
        for column in 0..self.seeds.len() - 1 {
            for row in 0..self.folds.len() - 1 {
                let corner = |(right, up): (usize, usize)| {
                    let (seeds, folds) = (self.seeds[column + right], self.folds[row + up]);
                    let at = (x.at(f64::from(seeds).ln()), y.at(f64::from(folds).ln()));
                    (at, self.heights[column + right][row + up])
                };
                let corners = [(0, 0), (1, 0), (1, 1), (0, 1)].map(corner);
                let crossings: Vec<(f64, f64)> = (0..4)
                    .filter_map(|edge| crossing(corners[edge], corners[(edge + 1) % 4], level))
                    .collect();
                if let [from, to] = crossings[..] {
                    pieces.push([from, to]);
                }
            }
        }
        pieces
    }
}

type Corner = ((f64, f64), f64);

fn crossing((from, low): Corner, (to, high): Corner, level: f64) -> Option<(f64, f64)> {
    if (low < level) == (high < level) || !low.is_finite() || !high.is_finite() {
        return None;
    }
    let part = (level.ln() - low.ln()) / (high.ln() - low.ln());
    Some((from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1)))
}

/// Whole numbers from `low` to `high`, evenly in logarithms.
fn steps(low: u32, high: u32) -> Vec<u32> {
    let ratio = f64::from(high) / f64::from(low);
    let step = |place: u32| f64::from(low) * ratio.powf(f64::from(place) / f64::from(STEPS));
    let mut list: Vec<u32> = (0..=STEPS).map(|place| step(place).round() as u32).collect();
    list.dedup();
    list
}

fn draw(planner: &Planner, map: &Map, outlook: &Outlook, width: f64, caption: &str) -> String {
    let advice = outlook.precision.advice;
    let mut entries = vec![
        ("half-width".to_string(), Sign::Line { dash: 0, ink: Ink::Hue(0) }),
        ("equal training".to_string(), Sign::Line { dash: 1, ink: Ink::Hue(1) }),
        ("this study".to_string(), Sign::Symbol { shape: 2, ink: Ink::Text }),
    ];
    entries.extend(
        advice
            .map(|_| ("would be enough".to_string(), Sign::Symbol { shape: 3, ink: Ink::Hue(2) })),
    );
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, &entries) + 4.0;
    let bottom = top + HEIGHT;
    let mut canvas = Canvas::new(width, bottom + BELOW);
    key(&mut canvas, 0.0, width, &entries);
    let ends = |list: &[u32]| (f64::from(list[0]), f64::from(list[list.len() - 1]));
    let ((s_low, s_high), (f_low, f_high)) = (ends(&map.seeds), ends(&map.folds));
    let across = Axis::logarithmic(s_low, s_high, "seeds");
    let upright = Axis::logarithmic(f_low, f_high, "folds, over all partitions");
    let (x, y) = axes(&mut canvas, (top, bottom), width, &across, &upright);
    let mut tags: Vec<(f64, f64, String, Ink)> = Vec::new();
    for level in map.levels() {
        let pieces = map.line(level, &x, &y);
        canvas.begin(&format!("± {}", significant_short(level)));
        canvas.segments(&pieces, Ink::Hue(0), 1.75);
        canvas.end();
        let aim = x.from + 0.72 * (x.to - x.from);
        let off = |piece: &&[(f64, f64); 2]| (piece[0].0 - aim).abs();
        if let Some(piece) = pieces.iter().min_by(|a, b| off(a).total_cmp(&off(b))) {
            tags.push((
                piece[0].0,
                piece[0].1,
                format!("± {}", significant_short(level)),
                Ink::Hue(0),
            ));
        }
    }
    tags.extend(costs(&mut canvas, planner, map, &x, &y));
    let mut written: Vec<(f64, f64, f64)> = Vec::new();
    for (at_x, at_y, text, ink) in tags {
        let half = text_width(&text) / 2.0;
        let clear = |(x, y, other): &(f64, f64, f64)| {
            (x - at_x).abs() > half + other + 8.0 || (y - at_y).abs() > 16.0
        };
        if written.iter().all(clear) {
            canvas.tag((at_x, at_y), &text, ink);
            written.push((at_x, at_y, half));
        }
    }
    if let Some(design) = advice {
        mark(
            &mut canvas,
            (&x, &y),
            (design.seeds, design.folds),
            3,
            Ink::Hue(2),
            "would be enough",
        );
    }
    let now = (planner.now.seeds, planner.now.folds);
    mark(&mut canvas, (&x, &y), now, 2, Ink::Text, "this study");
    canvas.finish(caption)
}

/// Lines of equal cost: what this study took, and a quarter, four and sixteen times that.
fn costs(
    canvas: &mut Canvas,
    planner: &Planner,
    map: &Map,
    x: &Scale,
    y: &Scale,
) -> Vec<(f64, f64, String, Ink)> {
    let mut tags = Vec::new();
    let spent = planner.prices.cost(planner.now);
    for times in [0.25, 1.0, 4.0, 16.0] {
        let inside = |(_, seeds): &(u32, f64)| (x.low..=x.high).contains(&seeds.ln());
        let line: Vec<(f64, f64)> = iso_cost(planner.prices, times * spent, &map.folds)
            .unwrap_or_default()
            .into_iter()
            .filter(inside)
            .map(|(folds, seeds)| (x.at(seeds.ln()), y.at(f64::from(folds).ln())))
            .collect();
        let label = match times * spent {
            short if short < 1.0 => format!("{} s", significant_short(short)),
            long => duration(long),
        };
        let long = |ends: [&(f64, f64); 2]| (ends[0].0 - ends[1].0).abs() > LINE_MIN;
        if line.first().zip(line.last()).is_some_and(|(first, last)| long([first, last])) {
            canvas.begin(&format!("{label} of training"));
            canvas.curve(&line, Ink::Hue(1), 1.25, 1);
            canvas.end();
            let (at_x, at_y) = line[line.len() / 4];
            tags.push((at_x, at_y, label, Ink::Hue(1)));
        }
    }
    tags
}

fn mark(
    canvas: &mut Canvas,
    (x, y): (&Scale, &Scale),
    (seeds, folds): (u32, u32),
    shape: usize,
    ink: Ink,
    what: &str,
) {
    let words =
        format!("{what}: {} on {}", counted(seeds.into(), "seed"), counted(folds.into(), "fold"));
    canvas.begin(&words);
    canvas.symbol((x.at(f64::from(seeds).ln()), y.at(f64::from(folds).ln())), 6.5, shape, ink);
    canvas.end();
}

fn sheet(pair: &ComparisonPart, outlook: &Outlook) -> Sheet {
    let designs = outlook.precision.table.iter().chain(&outlook.precision.advice);
    let title = format!("Some of these designs, {} − {}", pair.a, pair.b);
    designs_sheet(title, outlook, designs)
}

const STEPS: u32 = 28;
/// Shorter lines of equal cost are not drawn.
const LINE_MIN: f64 = 40.0;
const LEVELS_MAX: usize = 7;
const HEIGHT: f64 = 300.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_map_lies_where_the_height_is_its_own() {
        let (seeds, folds) = (vec![1, 2, 4, 8], vec![2, 4, 8]);
        // Half-width 1 / (seeds folds): in logarithms a plane, whose lines are straight.
        let heights =
            seeds.iter().map(|s| folds.iter().map(|f| 1.0 / f64::from(s * f)).collect()).collect();
        let map = Map { seeds, folds, heights };
        let identity = |high: f64| Scale { low: 0.0, high, from: 0.0, to: high };
        let pieces = map.line(1.0 / 11.0, &identity(3.0), &identity(3.0));
        assert!(pieces.len() > 3);
        for point in pieces.iter().flatten() {
            assert!((point.0 + point.1 - 11f64.ln()).abs() < 1e-12, "{point:?}");
        }
        assert!(map.line(0.9, &identity(3.0), &identity(3.0)).is_empty());
    }

    #[test]
    fn designs_of_the_map_begin_and_end_where_they_are_asked_to() {
        let steps = steps(2, 160);
        assert_eq!((steps.first(), steps.last()), (Some(&2), Some(&160)));
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
