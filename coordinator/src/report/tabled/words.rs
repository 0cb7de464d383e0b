//! The verdict on a table, and the methods, from what the table tells.
//!
//! Floor: core.

use super::super::analysis::comparisons::NoContrast;
use super::super::content::{Contrast, Verdict, VerdictKind};
use super::super::methods::{BATES, HOLM, Judged, NADEAU};
use super::super::number::{beside, count, counted, listed, percent};
use super::content::{ArmPart, PairPart, Tabled};
use super::{Known, Observations};

/// Stands in while a report is being made.
pub fn nothing() -> Verdict {
    Verdict { kind: VerdictKind::Described, text: String::new(), basis: String::new() }
}

pub fn verdict(report: &Tabled, observed: &Observations) -> Verdict {
    let (kind, text) = match (report.arms.as_slice(), report.comparisons.as_slice()) {
        ([arm], _) => (VerdictKind::Described, described(report, arm)),
        (_, [pair]) => of_pair(report, pair),
        _ => several(report),
    };
    let mut text = text + &largest(report);
    if observed.own_formula && report.comparisons.iter().any(|pair| pair.contrast.is_some()) {
        text += " Differences are judged by runs paired over the named roles, whatever the formula \
                 says; its own tests stand in the table of the model.";
    }
    Verdict { kind, text, basis: basis(report, observed) }
}

/// Kind and sentences on one pair.
pub fn of_pair(report: &Tabled, pair: &PairPart) -> (VerdictKind, String) {
    let Some(contrast) = &pair.contrast else {
        let why = pair.why.as_deref().unwrap_or("the table does not allow a test");
        let mut text =
            format!("{} and {} cannot be compared on other data: {why}.", pair.a, pair.b);
        if let Some(mixed) = &pair.mixed
            && let Some([low, high]) = mixed.ci
        {
            text += &format!(
                " By the mixed model the difference {} is {} (95 % interval {} to {}), with levels like \
                 those seen.",
                mixed.name,
                beside(mixed.estimate, mixed.se),
                beside(low, mixed.se),
                beside(high, mixed.se)
            );
        }
        return (VerdictKind::NotEstimable, text);
    };
    let sign = if report.goal == LARGER { 1.0 } else { -1.0 };
    let first = contrast.difference * sign >= 0.0;
    let (leader, other) = if first { (&pair.a, &pair.b) } else { (&pair.b, &pair.a) };
    let flip = if first { sign } else { -sign };
    let ends = (contrast.ci.low * flip, contrast.ci.high * flip);
    let written = |value: f64| beside(value, contrast.se);
    let span = format!("{} to {}", written(ends.0.min(ends.1)), written(ends.0.max(ends.1)));
    let by = written(contrast.difference.abs());
    if contrast.p_holm < ALPHA {
        let share = if first { contrast.p_a_beats_b } else { 1.0 - contrast.p_a_beats_b };
        let text = format!(
            "{leader} did better than {other}: its {} is better by {by} (95 % interval {span}). Of all \
             pairs on the same seed and fold it won {}.",
            report.metric,
            percent(share)
        );
        return (VerdictKind::Clear, text);
    }
    if contrast.p < ALPHA {
        let text = format!(
            "{leader} looked better than {other} by {by} in {} (95 % interval {span}), and alone that \
             interval would leave out zero; but several comparisons were made, and allowing for that \
             (Holm) it does not.",
            report.metric
        );
        return (VerdictKind::NotShown, text);
    }
    let text = format!(
        "{leader} was ahead of {other} by {by} in {}, and luck with seeds and folds alone can give that \
         much (95 % interval {span}). This does not show that the two are equal.",
        report.metric
    );
    (VerdictKind::NotShown, text)
}

fn several(report: &Tabled) -> (VerdictKind, String) {
    let judged: Vec<(VerdictKind, &PairPart, String)> = report
        .comparisons
        .iter()
        .map(|pair| {
            let (kind, text) = of_pair(report, pair);
            (kind, pair, text)
        })
        .collect();
    let of = |kind: VerdictKind| judged.iter().filter(move |(other, ..)| *other == kind);
    let clear = of(VerdictKind::Clear).count();
    let tested = clear + of(VerdictKind::NotShown).count();
    let sign = if report.goal == LARGER { 1.0 } else { -1.0 };
    let won = |arm: &ArmPart| {
        let wins = |(_, pair, _): &&(VerdictKind, &PairPart, String)| {
            let ahead = pair.contrast.as_ref().map_or(0.0, |c: &Contrast| c.difference * sign);
            (pair.a == arm.arm && ahead > 0.0) || (pair.b == arm.arm && ahead < 0.0)
        };
        of(VerdictKind::Clear).filter(wins).count()
    };
    let ahead = report.arms.iter().find(|arm| won(arm) + 1 == report.arms.len());
    let counted_up = format!(
        "Of {}, {} could be tested and {clear} show a difference, allowing for how many were made.",
        counted(judged.len() as u64, "comparison"),
        count(tested as u64)
    );
    match (ahead, clear, tested) {
        (Some(arm), ..) => (
            VerdictKind::Clear,
            format!("{} did better than every other arm. {counted_up}", arm.arm),
        ),
        (None, 0, 0) => {
            let why = judged.first().map_or(String::new(), |(.., text)| text.clone());
            (VerdictKind::NotEstimable, format!("No two arms can be compared on other data. {why}"))
        }
        (None, 0, _) => (
            VerdictKind::NotShown,
            format!("No arm was shown to be better than another. {counted_up}"),
        ),
        _ => (
            VerdictKind::PartlyClear,
            format!(
                "Some differences are clear, but no arm was shown to be better than every other. \
                 {counted_up}"
            ),
        ),
    }
}

fn described(report: &Tabled, arm: &ArmPart) -> String {
    let scores = &arm.scores;
    let (ci, what) = match (&scores.ci_t2, &scores.ci_t1) {
        (Some(ci), _) => (Some(ci), " for new training samples of the same size"),
        (None, Some(ci)) => (Some(ci), " for new seeds on the same rows and folds"),
        (None, None) => (None, ""),
    };
    match ci {
        Some(ci) => {
            let scale = (ci.high - ci.low) / 4.0;
            format!(
                "The mean {} is {} (95 % interval {} to {}{what}).",
                report.metric,
                beside(scores.mean, scale),
                beside(ci.low, scale),
                beside(ci.high, scale)
            )
        }
        None => {
            format!(
                "The mean {} is {}.",
                report.metric,
                beside(scores.mean, scores.sd.unwrap_or(0.0))
            )
        }
    }
}

/// A sentence on the largest named source of spread.
fn largest(report: &Tabled) -> String {
    let largest = report.model.components.iter().max_by(|x, y| x.share.total_cmp(&y.share));
    largest.map_or(String::new(), |part| {
        format!(
            " Of the spread between rows, the largest named source is {} with {}.",
            part.factor,
            percent(part.share)
        )
    })
}

fn basis(report: &Tabled, observed: &Observations) -> String {
    let blocks: std::collections::BTreeSet<u32> =
        observed.rows.iter().map(|row| row.block).collect();
    let mut parts = vec![counted(observed.rows.len() as u64, "row")];
    if report.arms.len() > 1 {
        parts.push(counted(report.arms.len() as u64, "arm"));
    }
    if report.roles.contains_key("seed") {
        parts.push(counted(observed.seeds.len() as u64, "seed"));
    }
    if report.roles.contains_key("fold") || report.roles.contains_key("repeat") {
        parts.push(counted(blocks.len() as u64, "fold"));
    }
    let left_out = match report.model.left_out {
        0 => String::new(),
        rows => format!(" {} with missing cells left out.", counted(rows as u64, "row")),
    };
    format!(
        "{}.{left_out} {} What trained these scores, and how often they were looked at, the table does \
         not tell.",
        listed(&parts),
        ratio_in_words(observed)
    )
}

/// What is taken for the share of rows that test.
pub fn ratio_in_words(observed: &Observations) -> String {
    match observed.ratio.map(|ratio| ratio.known) {
        Some(Known::Told { share }) => {
            format!("Folds test {} of the rows, as told by --test-share.", percent(share))
        }
        Some(Known::Folds { folds }) => format!(
            "Folds are taken for those of {folds}-fold cross-validation, which test 1/{folds} of the rows \
             each (1/{} of those that train); --test-share says otherwise.",
            folds - 1
        ),
        None => "Nothing tells how many rows a fold tests, so nothing is inferred about other data (T2)."
            .to_string(),
    }
}

/// Why two arms have no test, in words of a table.
pub fn why(observed: &Observations, why: NoContrast) -> String {
    match why {
        NoContrast::NoCell => "there is no seed and fold that both have".to_string(),
        NoContrast::OneFold if !observed.roles.contains_key("fold") => {
            "no column names folds; name it with --fold".to_string()
        }
        NoContrast::NoRatio => {
            "nothing tells how many rows a fold tests; say so with --test-share".to_string()
        }
        other => other.to_string(),
    }
}

pub fn methods(report: &Tabled, observed: &Observations) -> String {
    let model = &report.model;
    let likelihood = if model.method == "REML" { "restricted maximum" } else { "maximum" };
    let mut text = format!(
        "{} of {} were analysed. The linear mixed model {} was fitted by {likelihood} likelihood (Bates et \
         al., 2015){}",
        counted(observed.rows.len() as u64, "row"),
        report.metric,
        model.formula,
        match &model.intervals_absent {
            None => ", with profile likelihood intervals of standard deviations at 95 %",
            Some(_) => "",
        },
    );
    text += match &model.inference_absent {
        None if model.df_method == "Kenward-Roger" => {
            " and t tests of fixed effects with Kenward and Roger's degrees of freedom. "
        }
        None => " and t tests of fixed effects with Satterthwaite's degrees of freedom. ",
        Some(_) => ". ",
    };
    let scores = || report.arms.iter().map(|arm| &arm.scores);
    if scores().any(|scores| scores.ci_t1.is_some()) {
        text += "Intervals for new seeds on the same rows and folds (T1) are t intervals over seed means. ";
    }
    let tested = report.comparisons.iter().filter(|pair| pair.contrast.is_some()).count();
    if tested > 0 || scores().any(|scores| scores.ci_t2.is_some()) {
        let means = scores().filter_map(|scores| scores.ci_t2.as_ref());
        let differences = report.comparisons.iter().filter_map(|pair| pair.contrast.as_ref());
        let judged = Judged::of(means.chain(differences.map(|contrast| &contrast.ci)));
        let what = if tested > 0 { "means and paired differences" } else { "means" };
        text += &format!(
            "For new training samples of the same size (T2), {} (Nadeau and Bengio, 2003). {} ",
            judged.in_words(what, "fold"),
            ratio_in_words(observed)
        );
    }
    if tested > 1 {
        text += &format!(
            "The p-values of the {tested} comparisons were adjusted by Holm's method (Holm, 1979). "
        );
    }
    text.trim_end().to_string()
}

pub fn references(report: &Tabled) -> Vec<&'static str> {
    let tested = report.comparisons.iter().filter(|pair| pair.contrast.is_some()).count();
    let t2 = report.arms.iter().any(|arm| arm.scores.ci_t2.is_some());
    let cited = [(true, BATES), (tested > 1, HOLM), (tested > 0 || t2, NADEAU)];
    cited.into_iter().filter_map(|(used, text)| used.then_some(text)).collect()
}

/// Below this a difference is called clear, after Holm's adjustment.
const ALPHA: f64 = 0.05;

const LARGER: &str = "larger is better";
