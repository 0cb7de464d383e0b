//! Critical-difference diagram: arms by mean rank, and bars over those that are not told apart.
//!
//! Source: Demšar (2006), J. Mach. Learn. Res. 7.
//!
//! Floor: core.

use super::super::number::decimals;
use super::super::page::Sheet;
use super::super::several::content::{ArmPart, FriedmanPart, Several};
use super::Figure;
use super::canvas::{Align, Canvas, Ink, fitted};

/// `None` where there are too few studies for ranks.
pub fn critical(report: &Several) -> Option<Figure> {
    let test = report.friedman.as_ref()?;
    let caption = format!(
        "Mean rank of each arm over {} data sets, 1 being the best. A bar joins arms whose mean ranks \
         lie closer than the critical difference of {}: these data sets do not tell them apart.",
        test.studies,
        decimals(test.critical_difference, 2)
    );
    Some(Figure::drawn("critical-difference", caption, sheet(report, test), |width, caption| {
        draw(report, test, width, caption)
    }))
}

fn draw(report: &Several, test: &FriedmanPart, width: f64, caption: &str) -> String {
    let order = in_order(report);
    let side = width * SIDE_SHARE;
    let (from, to) = (side + 8.0, width - side - 8.0);
    let arms = order.len();
    let at = |rank: f64| from + (rank - 1.0) / (arms as f64 - 1.0).max(1.0) * (to - from);
    // Arms hang left and right of the axis, the outer ones highest.
    let rows = arms.div_ceil(2) as f64;
    let bars = test.alike.len() as f64 * BAR_ROW;
    let hung = AXIS + 16.0 + bars;
    let mut canvas = Canvas::new(width, hung + rows * ROW + 8.0);
    length(&mut canvas, test, (from, to), &at);
    canvas.line((from, AXIS), (to, AXIS), Ink::Text, 1.5);
    let every = ((arms as f64 - 1.0) * 26.0 / (to - from)).ceil().max(1.0) as usize;
    for rank in (1..=arms).step_by(every) {
        let x = at(rank as f64);
        canvas.line((x, AXIS - 6.0), (x, AXIS), Ink::Text, 1.0);
        canvas.text((x, AXIS - 11.0), &rank.to_string(), Align::Middle, Ink::Faint);
    }
    for (place, group) in test.alike.iter().enumerate() {
        let inside = order.iter().filter(|arm| group.contains(&arm.arm)).map(|arm| arm.mean_rank);
        let (low, high) =
            inside.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), r| (l.min(r), h.max(r)));
        let y = AXIS + 12.0 + place as f64 * BAR_ROW;
        canvas.begin(&format!("not told apart: {}", group.join(", ")));
        canvas.line((at(low) - 3.0, y), (at(high) + 3.0, y), Ink::Hue(0), 5.0);
        canvas.end();
    }
    for (place, arm) in order.iter().enumerate() {
        let left = place < arms.div_ceil(2);
        let row = if left { place } else { arms - 1 - place } as f64;
        let y = hung + row * ROW + 8.0;
        let (x, end, align) = match left {
            true => (at(arm.mean_rank), side, Align::End),
            false => (at(arm.mean_rank), width - side, Align::Start),
        };
        let text = match left {
            true => (end - 4.0, y + 4.5),
            false => (end + 4.0, y + 4.5),
        };
        canvas.begin(&format!("{}: mean rank {}", arm.arm, decimals(arm.mean_rank, 2)));
        canvas.line((x, AXIS), (x, y), Ink::Faint, 1.0);
        canvas.line((x, y), (end, y), Ink::Faint, 1.0);
        canvas.mark((x, AXIS), 4.5, Ink::Text);
        canvas.text(text, &fitted(&arm.arm, side - 6.0), align, Ink::Text);
        canvas.end();
    }
    canvas.finish(caption)
}

/// The critical difference as a length of the axis, cut where the axis ends.
fn length(
    canvas: &mut Canvas,
    test: &FriedmanPart,
    (from, to): (f64, f64),
    at: &impl Fn(f64) -> f64,
) {
    let whole = at(1.0 + test.critical_difference);
    let end = whole.min(to);
    let text = format!("critical difference {}", decimals(test.critical_difference, 2));
    canvas.line((from, 26.0), (end, 26.0), Ink::Hue(1), 2.5);
    canvas.line((from, 21.0), (from, 31.0), Ink::Hue(1), 1.5);
    // Longer than the axis, it has no end here.
    if whole <= to {
        canvas.line((end, 21.0), (end, 31.0), Ink::Hue(1), 1.5);
    }
    canvas.text((from, 14.0), &text, Align::Start, Ink::Faint);
}

fn in_order(report: &Several) -> Vec<&ArmPart> {
    let mut order: Vec<&ArmPart> = report.arms.iter().collect();
    order.sort_by(|x, y| x.mean_rank.total_cmp(&y.mean_rank));
    order
}

fn sheet(report: &Several, test: &FriedmanPart) -> Sheet {
    let row = |arm: &&ArmPart| {
        let peers: Vec<&str> = report
            .arms
            .iter()
            .filter(|other| other.arm != arm.arm)
            .filter(|other| (other.mean_rank - arm.mean_rank).abs() < test.critical_difference)
            .map(|other| other.arm.as_str())
            .collect();
        let peers = if peers.is_empty() { "–".to_string() } else { peers.join(", ") };
        vec![arm.arm.clone(), decimals(arm.mean_rank, 2), peers]
    };
    Sheet {
        title: format!("Mean ranks; critical difference {}", decimals(test.critical_difference, 2)),
        columns: vec![
            ("Arm".into(), false),
            ("Mean rank".into(), true),
            ("Not told apart from".into(), false),
        ],
        rows: in_order(report).iter().map(row).collect(),
        legend: Vec::new(),
    }
}

/// Height of the axis in the drawing.
const AXIS: f64 = 68.0;
const ROW: f64 = 24.0;
const BAR_ROW: f64 = 11.0;

/// Names on each side take this share of the width.
const SIDE_SHARE: f64 = 0.27;
