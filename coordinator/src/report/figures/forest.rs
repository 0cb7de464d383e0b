//! Forest plots: every arm, and every difference, as marks with their intervals under each other.
//!
//! Floor: core.

use super::super::content::{ArmPart, ComparisonPart, Interval, Report};
use super::super::number::beside;
use super::super::page::{Sheet, columns};
use super::axes::{Sign, key};
use super::canvas::{Canvas, Ink, Scale, difference};
use super::{Figure, sign_of};

/// The mean of each arm with what new seeds, and what new samples, would do to it; `None` without
/// any interval.
pub fn arms_forest(report: &Report) -> Option<Figure> {
    let row = |arm: &ArmPart| {
        let scores = arm.scores.as_ref()?;
        let rows = arm.other_rows.as_ref().map(|found| &found.ci);
        let found = [(T1, scores.ci_t1.as_ref()), (T2, scores.ci_t2.as_ref()), (T3, rows)];
        let (shape, ink) = sign_of(report, &arm.arm);
        Some(Row::of((arm.arm.as_str(), None), scores.mean, found, |kind| match kind {
            T1 => (shape, ink),
            T2 => (shape, Ink::Text),
            _ => (shape, Ink::Faint),
        }))
    };
    let rows: Vec<Row> = report.arms.iter().filter_map(row).collect();
    if rows.iter().all(|row| row.spans.is_empty()) {
        return None;
    }
    let caption = format!(
        "Mean {} of each arm ({}). The first bar is where the mean would lie if the same rows \
         were trained with other seeds (T1); the second, on new samples (T2); the third, where there \
         is one, if these very models met other test rows (T3).{}",
        report.study.metric,
        report.study.goal,
        cut_short(rows.len(), "arms")
    );
    let sheet = sheet("Means with their intervals", "Arm", "Mean", &[T1, T2, T3], &rows);
    let axis = report.study.metric.clone();
    Some(Figure::drawn("arms", caption, sheet, |width, caption| {
        draw(&Forest { rows: &rows, band: None, axis: &axis, key: &[] }, width, caption)
    }))
}

/// Every difference with each of its intervals, over the band of differences that do not matter;
/// `None` without a difference.
pub fn contrast_forest(report: &Report) -> Option<Figure> {
    let row = |pair: &ComparisonPart| {
        let contrast = pair.contrast.as_ref()?;
        // With one seed the two are one.
        let corrected = (contrast.ci != contrast.ci_corrected).then_some(&contrast.ci_corrected);
        let found = [
            (DECIDES, Some(&contrast.ci)),
            (CORRECTED, corrected),
            (NAIVE, Some(&contrast.ci_naive)),
            (T1, contrast.ci_t1.as_ref()),
            (T3, pair.other_rows.as_ref().map(|found| &found.ci)),
        ];
        let names = (pair.a.as_str(), Some(pair.b.as_str()));
        Some(Row::of(names, contrast.difference, found, sign_of_kind))
    };
    let rows: Vec<Row> = report.comparisons.iter().filter_map(row).collect();
    if rows.is_empty() {
        return None;
    }
    let outlook = report.comparisons.iter().find_map(|pair| pair.outlook.as_ref());
    let rope = outlook.map(|outlook| outlook.rope.width).filter(|width| *width > 0.0);
    let band = rope.map_or(String::new(), |width| {
        format!(
            " Within the shaded band, up to {width} to either side, two arms are held for equal."
        )
    });
    let many = match rows.len() {
        1 => "",
        _ => ", by a p that allows for the number of comparisons",
    };
    let caption = format!(
        "Differences in {} ({}), first arm minus second: right of the line the first one scored \
         higher. An interval that crosses the line leaves open which arm is ahead; the one for new \
         samples decides here{many}.{band}{}",
        report.study.metric,
        report.study.goal,
        cut_short(rows.len(), "pairs")
    );
    let kinds = [DECIDES, CORRECTED, NAIVE, T1, T3];
    let sheet = sheet("Differences with their intervals", "Arms", "Difference", &kinds, &rows);
    let shown = kinds
        .iter()
        .filter(|kind| rows.iter().any(|row| row.spans.iter().any(|span| span.kind == **kind)));
    let key: Vec<(String, Sign)> = shown
        .map(|kind| {
            let (shape, ink) = sign_of_kind(kind);
            (kind.to_string(), Sign::Symbol { shape, ink })
        })
        .collect();
    let axis = format!("difference in {}", report.study.metric);
    Some(Figure::drawn("differences", caption, sheet, |width, caption| {
        let band = Some(rope.unwrap_or(0.0));
        draw(&Forest { rows: &rows, band, axis: &axis, key: &key }, width, caption)
    }))
}

struct Forest<'a> {
    rows: &'a [Row],
    /// Half-width of the band about zero; `None` where zero has no meaning.
    band: Option<f64>,
    axis: &'a str,
    key: &'a [(String, Sign)],
}

struct Row {
    arm: String,
    /// What is taken from it.
    other: Option<String>,
    centre: f64,
    spans: Vec<Span>,
}

struct Span {
    kind: &'static str,
    low: f64,
    high: f64,
    shape: usize,
    ink: Ink,
}

impl Row {
    fn of<const N: usize>(
        (arm, other): (&str, Option<&str>),
        centre: f64,
        found: [(&'static str, Option<&Interval>); N],
        sign: impl Fn(&'static str) -> (usize, Ink),
    ) -> Self {
        let span = |(kind, interval): (&'static str, Option<&Interval>)| {
            let (shape, ink) = sign(kind);
            interval.map(|ci| Span { kind, low: ci.low, high: ci.high, shape, ink })
        };
        Self {
            arm: arm.to_string(),
            other: other.map(str::to_string),
            centre,
            spans: found.into_iter().filter_map(span).collect(),
        }
    }

    fn name(&self) -> String {
        match &self.other {
            Some(other) => format!("{} − {other}", self.arm),
            None => self.arm.clone(),
        }
    }
}

fn sign_of_kind(kind: &'static str) -> (usize, Ink) {
    match kind {
        DECIDES => (2, Ink::Text),
        CORRECTED => (3, Ink::Hue(2)),
        NAIVE => (1, Ink::Hue(1)),
        T3 => (4, Ink::Hue(3)),
        _ => (0, Ink::Hue(0)),
    }
}

fn draw(forest: &Forest<'_>, width: f64, caption: &str) -> String {
    let rows = &forest.rows[..forest.rows.len().min(ROWS_MAX)];
    let heights: Vec<f64> =
        rows.iter().map(|row| NAME + row.spans.len().max(1) as f64 * STEP + GAP).collect();
    let top = key(&mut Canvas::new(width, 0.0), 0.0, width, forest.key) + 4.0;
    let bottom = top + heights.iter().sum::<f64>();
    let mut canvas = Canvas::new(width, bottom + super::axes::BELOW);
    key(&mut canvas, 0.0, width, forest.key);
    let ends = rows.iter().flat_map(|row| {
        row.spans.iter().flat_map(|span| [span.low, span.high]).chain([row.centre])
    });
    let zero = forest.band.map(|band| [-band, 0.0, band]);
    let scale = Scale::around(ends.chain(zero.into_iter().flatten()), 6.0, width - 6.0);
    if let Some(band) = forest.band {
        let (low, high) = (scale.at(-band), scale.at(band));
        canvas.wash((low, top), (high - low, bottom - top), Ink::Faint, 0.14);
    }
    canvas.axis_below(&scale, top, bottom, forest.axis);
    if forest.band.is_some() {
        canvas.line((scale.at(0.0), top), (scale.at(0.0), bottom), Ink::Text, 1.0);
    }
    let mut y = top;
    for (row, height) in rows.iter().zip(&heights) {
        one(&mut canvas, &scale, y, width, row);
        y += height;
    }
    canvas.finish(caption)
}

fn one(canvas: &mut Canvas, scale: &Scale, top: f64, width: f64, row: &Row) {
    let name = match &row.other {
        Some(other) => difference(&row.arm, other, width),
        None => row.arm.clone(),
    };
    canvas.bold((0.0, top + 14.0), &name, "", width);
    if row.spans.is_empty() {
        canvas.begin(&format!("{}: {}", row.name(), beside(row.centre, 0.0)));
        canvas.symbol((scale.at(row.centre), top + NAME + STEP / 2.0), 5.0, 0, Ink::Text);
        canvas.end();
    }
    for (place, span) in row.spans.iter().enumerate() {
        let y = top + NAME + (place as f64 + 0.5) * STEP;
        let digits = (span.high - span.low) / 4.0;
        let ends = [row.centre, span.low, span.high].map(|value| beside(value, digits));
        canvas.begin(&format!(
            "{}, {}: {} ({} to {})",
            row.name(),
            span.kind,
            ends[0],
            ends[1],
            ends[2]
        ));
        let (low, high) = (scale.at(span.low), scale.at(span.high));
        canvas.line((low, y), (high, y), span.ink, 2.0);
        for end in [low, high] {
            canvas.line((end, y - 4.0), (end, y + 4.0), span.ink, 2.0);
        }
        canvas.symbol((scale.at(row.centre), y), 5.0, span.shape, span.ink);
        canvas.end();
    }
}

fn sheet(title: &str, first: &str, centre: &str, kinds: &[&'static str], rows: &[Row]) -> Sheet {
    let row = |row: &Row| {
        let least = row.spans.iter().map(|span| (span.high - span.low) / 4.0);
        let digits = least.fold(f64::INFINITY, f64::min);
        let mut cells = vec![row.name(), beside(row.centre, digits)];
        cells.extend(kinds.iter().map(|kind| {
            let span = row.spans.iter().find(|span| span.kind == *kind);
            span.map_or("–".into(), |span| {
                format!("{} to {}", beside(span.low, digits), beside(span.high, digits))
            })
        }));
        cells
    };
    let titles: Vec<&str> = [first, centre].into_iter().chain(kinds.iter().copied()).collect();
    Sheet {
        title: title.into(),
        columns: columns(&titles, 1),
        rows: rows.iter().map(row).collect(),
        legend: Vec::new(),
    }
}

fn cut_short(rows: usize, what: &str) -> String {
    if rows <= ROWS_MAX {
        return String::new();
    }
    format!(" The first {ROWS_MAX} of {rows} {what} are drawn; the table has all.")
}

const T1: &str = "new seeds (T1)";
const T2: &str = "new samples (T2)";
const T3: &str = "these models, other rows (T3)";
const DECIDES: &str = "new samples (T2)";
const CORRECTED: &str = "corrected t";
const NAIVE: &str = "naive";

const ROWS_MAX: usize = 30;
const NAME: f64 = 20.0;
const STEP: f64 = 17.0;
const GAP: f64 = 12.0;
