//! How sure the order of several arms is: the chance of each rank, as a map.
//!
//! Floor: core.

use super::super::content::Report;
use super::super::drawn::Ranks;
use super::super::number::{counted, percent};
use super::super::page::{Sheet, columns};
use super::Figure;
use super::canvas::{Align, BOLDER, Canvas, Ink, text_width};

/// `None` for fewer than three arms, or without folds that all of them have.
pub fn ranks(report: &Report) -> Option<Figure> {
    let ranks = report.drawn.further.ranks.as_ref()?;
    if ranks.arms.len() > ARMS_MAX {
        return None;
    }
    let caption = format!(
        "Chance of each rank on new samples (1 is best), the fuller the colour the more likely; a frame \
         marks the ranks between which an arm lies with 95 %. From means over {} that all arms share, \
         drawn again with the spread of their corrected intervals. A row without a full field is an \
         arm whose place is not known.",
        counted(ranks.folds, "fold")
    );
    Some(Figure::drawn("ranks", caption, sheet(ranks), |width, caption| {
        draw(ranks, width, caption)
    }))
}

fn draw(ranks: &Ranks, width: f64, caption: &str) -> String {
    let count = ranks.arms.len();
    // Names stand above their row where the fields would get too narrow beside them.
    let longest = ranks.arms.iter().map(|arm| text_width(arm) * BOLDER).fold(0.0, f64::max);
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
    for (place, arm) in ranks.arms.iter().enumerate() {
        let top = HEAD + place as f64 * (ROW + name);
        let y = top + if beside { ROW / 2.0 + 4.5 } else { 14.0 };
        canvas.bold((0.0, y), arm, "", if beside { gutter } else { width });
        let top = top + name;
        for (rank, chance) in ranks.chances[place].iter().enumerate() {
            let left = gutter + rank as f64 * field;
            let (low, high) = ranks.intervals[place];
            canvas.begin(&format!("{arm}, rank {}: {}", rank + 1, percent(*chance)));
            canvas.rect((left + 1.0, top + 1.0), (field - 2.0, ROW - 4.0), Ink::Wash);
            canvas.wash((left + 1.0, top + 1.0), (field - 2.0, ROW - 4.0), Ink::Hue(0), *chance);
            if (low..=high).contains(&(rank + 1)) {
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

fn sheet(ranks: &Ranks) -> Sheet {
    let row = |(place, arm): (usize, &String)| {
        let mut cells = vec![arm.clone()];
        cells.extend(ranks.chances[place].iter().map(|chance| percent(*chance)));
        let (low, high) = ranks.intervals[place];
        cells.push(format!("{low} to {high}"));
        cells
    };
    let mut titles = vec!["Arm".to_string()];
    titles.extend((1..=ranks.arms.len()).map(|rank| format!("Rank {rank}")));
    titles.push("95 % of ranks".to_string());
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    Sheet {
        title: "Chance of each rank".into(),
        columns: columns(&titles, 1),
        rows: ranks.arms.iter().enumerate().map(row).collect(),
        legend: Vec::new(),
    }
}

const HEAD: f64 = 24.0;
const ROW: f64 = 36.0;
/// More arms than this are a table's matter.
const ARMS_MAX: usize = 16;
