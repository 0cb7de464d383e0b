//! How sure the order of several arms is: the chance of each rank, as a map.
//!
//! Floor: core.

use super::super::content::{ArmRanks, Report};
use super::super::number::percent;
use super::super::page::{Sheet, columns};
use super::Figure;
use super::canvas::{Align, BOLDER, Canvas, Ink, text_width};

/// `None` for fewer than three arms, or where no ranks could be drawn.
pub fn ranks(report: &Report) -> Option<Figure> {
    let ranks = report.ranks.as_ref()?.arms.as_slice();
    if !(ARMS_MIN..=ARMS_MAX).contains(&ranks.len()) {
        return None;
    }
    let caption = "Chance of each rank on new samples (1 is best), the fuller the colour the more \
                   likely; a frame marks the ranks between which an arm lies with 95 %. A row without \
                   a full field is an arm whose place is not known."
        .to_string();
    Some(Figure::drawn("ranks", caption, sheet(ranks), |width, caption| {
        draw(ranks, width, caption)
    }))
}

fn draw(ranks: &[ArmRanks], width: f64, caption: &str) -> String {
    let count = ranks.len();
    // Names stand above their row where the fields would get too narrow beside them.
    let longest = ranks.iter().map(|ranked| text_width(&ranked.arm) * BOLDER).fold(0.0, f64::max);
    let beside = longest + 14.0 + count as f64 * 46.0 <= width;
    let (gutter, name) = if beside { (longest + 14.0, 0.0) } else { (0.0, 20.0) };
    let field = (width - gutter) / count as f64;
    let mut canvas = Canvas::new(width, HEAD + count as f64 * (ROW + name) + 4.0);
    for rank in 0..count {
        let middle = gutter + (rank as f64 + 0.5) * field;
        let words = format!("rank {}", rank + 1);
        let fits = text_width(&words) + 4.0 < field;
        let words = if fits { words } else { (rank + 1).to_string() };
        canvas.text((middle, 15.0), &words, Align::Middle, Ink::Faint);
    }
    for (place, ranked) in ranks.iter().enumerate() {
        let arm = &ranked.arm;
        let top = HEAD + place as f64 * (ROW + name);
        let y = top + if beside { ROW / 2.0 + 4.5 } else { 14.0 };
        canvas.bold((0.0, y), arm, "", if beside { gutter } else { width });
        let top = top + name;
        for (rank, chance) in ranked.chances.iter().enumerate() {
            let left = gutter + rank as f64 * field;
            canvas.begin(&format!("{arm}, rank {}: {}", rank + 1, percent(*chance)));
            canvas.rect((left + 1.0, top + 1.0), (field - 2.0, ROW - 4.0), Ink::Wash);
            canvas.wash((left + 1.0, top + 1.0), (field - 2.0, ROW - 4.0), Ink::Hue(0), *chance);
            if (ranked.low..=ranked.high).contains(&(rank as u64 + 1)) {
                let (right, bottom) = (left + field - 2.0, top + ROW - 4.0);
                let frame = [
                    (left + 2.0, top + 2.0),
                    (right, top + 2.0),
                    (right, bottom),
                    (left + 2.0, bottom),
                    (left + 2.0, top + 2.0),
                ];
                canvas.curve(&frame, Ink::Text, 1.5, 0);
            }
            let label = percent(*chance);
            if text_width(&label) <= field - 4.0 {
                let ink = if *chance > 0.55 { Ink::Paper } else { Ink::Text };
                canvas.text(
                    (left + field / 2.0, top + ROW / 2.0 + 3.0),
                    &label,
                    Align::Middle,
                    ink,
                );
            }
            canvas.end();
        }
    }
    canvas.finish(caption)
}

fn sheet(ranks: &[ArmRanks]) -> Sheet {
    let row = |ranked: &ArmRanks| {
        let mut cells = vec![ranked.arm.clone()];
        cells.extend(ranked.chances.iter().map(|chance| percent(*chance)));
        cells.push(format!("{} to {}", ranked.low, ranked.high));
        cells
    };
    let mut titles = vec!["Arm".to_string()];
    titles.extend((1..=ranks.len()).map(|rank| format!("Rank {rank}")));
    titles.push("95 % of ranks".to_string());
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    Sheet {
        title: "Chance of each rank".into(),
        columns: columns(&titles, 1),
        rows: ranks.iter().map(row).collect(),
        legend: Vec::new(),
    }
}

const HEAD: f64 = 24.0;
const ROW: f64 = 36.0;
const ARMS_MIN: usize = 3;
/// More arms than this are a table's matter.
const ARMS_MAX: usize = 16;
