//! Choosing configs in words: what it flattered, and whether trying more of them is worth it.
//!
//! Floor: core.

use common::stats::summary::student_quantile;
use common::study::{OuterKind, Select, Study};

use super::content::{LEVEL, Report, SelectionPart};
use super::figures;
use super::number::{beside, count, counted, duration, percent};
use super::page::{Block, Sheet, columns, legend};
use super::searches;

/// How many configs are spelled out for an arm.
const CONFIGS_SHOWN: usize = 8;

/// The section of the page; empty where no arm has several configs.
pub fn blocks(report: &Report) -> Vec<Block> {
    if report.selection.is_empty() {
        return Vec::new();
    }
    let mut list = vec![Block::Heading("What did choosing a config do?".into())];
    list.extend(report.selection.iter().map(|part| Block::Text(sentence(report, part))));
    list.extend(figures::slopes(report).map(Block::Figure));
    list.push(Block::Sheet(sheet(report)));
    list.extend(Some(frequency(report)).filter(|sheet| !sheet.rows.is_empty()).map(Block::Sheet));
    list.extend(searches::sheets(report).into_iter().map(Block::Sheet));
    list.extend(figures::expected_best(report).map(Block::Figure));
    list
}

fn scale(part: &SelectionPart) -> f64 {
    let gap = part.nested_gap.as_ref().and_then(|gap| gap.se);
    gap.or(part.tibshirani_bias).unwrap_or(0.0) / 2.0
}

fn sentence(report: &Report, part: &SelectionPart) -> String {
    let (metric, scale) = (&report.study.metric, scale(part));
    let often = part.frequency.first().map(|first| {
        format!(
            " Most often chosen: {} ({} of {}).",
            first.config,
            count(first.chosen),
            counted(part.choices, "choice")
        )
    });
    let searched = part.searched.as_ref().map(searches::chosen_in_words);
    let raced = part.race.as_ref().map(searches::raced_in_words).unwrap_or_default();
    let often = often.or(searched).unwrap_or_default() + &raced;
    let known = part.nested_gap.zip(part.chosen.zip(part.refit));
    if known.is_none() && report.design.inner_folds.is_some() {
        return format!(
            "{}: no config has both its scores on inner folds and a refit's.{often}",
            part.arm
        );
    }
    let Some((gap, (chosen, refit))) = known else {
        let bias = part.tibshirani_bias.map(|bias| {
            format!(
                "choosing it on the same {} flatters its own mean there by about {} in {metric} \
                 (Tibshirani and Tibshirani's estimate)",
                part.chosen_on,
                beside(bias, scale)
            )
        });
        let bias = bias.unwrap_or_else(|| "by how much it is flattered cannot be told".to_string());
        return format!(
            "{}: if each seed chose its best of {} by its own scores, {bias}. Inner folds (inner = {{ \
             folds = 3 }} in [split]) choose without seeing the test rows.{often}",
            part.arm,
            counted(part.configs, "config")
        );
    };
    let (flattered, size) = match gap.mean >= 0.0 {
        true => ("better", gap.mean),
        false => ("worse", -gap.mean),
    };
    let error = gap.se.map(|se| format!(", standard error {}", beside(se, scale)));
    // One number an outer fold.
    let reach = student_quantile(0.5 + LEVEL / 2.0, gap.folds.saturating_sub(1).max(1) as f64);
    let meaning = match gap.se {
        Some(se) if gap.mean > reach * se => {
            " A score reported on the folds that chose would have promised that much too much."
        }
        Some(se) if gap.mean < -reach * se => {
            " Inner folds train on fewer rows, and that weighs more here than the luck of choosing."
        }
        _ => " That is not more than these outer folds can tell from nothing.",
    };
    format!(
        "{}: the chosen configs scored {} in {metric} on the folds that chose them, and {} on test rows \
         that chose nothing: {} {flattered} where they were chosen ({}{}).{meaning}{often}",
        part.arm,
        beside(chosen, scale),
        beside(refit, scale),
        beside(size, scale),
        counted(gap.folds, "outer fold"),
        error.unwrap_or_default(),
    )
}

fn sheet(report: &Report) -> Sheet {
    let row = |part: &SelectionPart| {
        let scale = scale(part);
        let number = |value: Option<f64>| value.map_or("–".to_string(), |v| beside(v, scale));
        vec![
            part.arm.clone(),
            count(part.configs),
            count(part.choices),
            number(part.chosen),
            number(part.refit),
            number(part.nested_gap.map(|gap| gap.mean)),
            number(part.nested_gap.and_then(|gap| gap.se)),
            number(part.tibshirani_bias),
            part.entropy.map_or("–".to_string(), |bits| format!("{bits:.2}")),
        ]
    };
    Sheet {
        title: "Choices".into(),
        columns: columns(
            &[
                "Arm",
                "Configs",
                "Choices",
                "Where chosen",
                "Refit",
                "Gap",
                "Its error",
                "Bias",
                "Entropy",
            ],
            1,
        ),
        rows: report.selection.iter().map(row).collect(),
        legend: legend(&[
            ("Where chosen", "mean score of the chosen configs on the folds that chose them"),
            (
                "Refit",
                "mean score of the same configs, trained anew, on test rows that chose nothing",
            ),
            ("Gap", "how much better they looked where they were chosen; positive: flattered"),
            (
                "Its error",
                "standard error over outer folds, which share training rows: it is a little too small",
            ),
            (
                "Bias",
                "what choosing alone adds, estimated from the choosing folds (Tibshirani and Tibshirani, 2009)",
            ),
            (
                "Entropy",
                "of which config was chosen, in bits: 0 where it always was the same; of a search none, \
                 since each choice has tries of its own",
            ),
        ]),
    }
}

fn frequency(report: &Report) -> Sheet {
    let rows = report.selection.iter().flat_map(|part| {
        part.frequency.iter().take(CONFIGS_SHOWN).map(|one| {
            vec![part.arm.clone(), one.config.clone(), count(one.chosen), percent(one.share)]
        })
    });
    Sheet {
        title: "How often each config was chosen".into(),
        columns: columns(&["Arm", "Config", "Chosen", "Share"], 2),
        rows: rows.collect(),
        legend: Vec::new(),
    }
}

/// How configs were chosen, for the methods and the facts; `None` without inner folds.
pub fn in_words(study: &Study) -> Option<String> {
    let inner = study.outer.inner.as_ref()?;
    let folds = match &inner.kind {
        OuterKind::Holdout { share } => {
            format!("{} of the training rows held out", percent(*share))
        }
        OuterKind::Ordered { share: Some(share) } => {
            format!("the latest {} of the training rows held out", percent(*share))
        }
        OuterKind::Ordered { share: None } => {
            format!("forward chaining with {} folds of the training rows", inner.folds)
        }
        OuterKind::KFold | OuterKind::LeaveOut => {
            format!("{} folds of the training rows", inner.folds)
        }
    };
    let rule = match inner.select {
        Select::Best => "the best mean",
        Select::OneSe => "the cheapest within one standard error of the best mean",
        Select::Majority => "the one that was best for most tuning seeds",
    };
    let who = match inner.tune {
        Some(1) => "one tuning seed for all seeds".to_string(),
        Some(tune) => format!("{tune} tuning seeds for all seeds"),
        None => "each seed for itself".to_string(),
    };
    Some(format!("{folds}, {who}; {rule} is trained again on all of them"))
}

/// For the methods paragraph.
pub fn sentences(study: &Study, parts: &[SelectionPart]) -> String {
    let mut text = String::new();
    if let Some(words) = in_words(study) {
        text += &format!(
            "Configs were chosen within the training rows of each outer fold ({words}), so that no outer \
             test row had a part in any choice (Varma and Simon, 2006; Cawley and Talbot, 2010). "
        );
    }
    text += &searches::sentence(study);
    if parts.iter().any(|part| part.tibshirani_bias.is_some()) {
        text += "What choosing adds to the chosen score was estimated from the folds that chose \
                 (Tibshirani and Tibshirani, 2009). ";
    }
    if parts.iter().any(|part| !part.expected_best.is_empty()) {
        text += "The expected best of n configs is Tang et al.'s (2020). ";
    }
    text
}

/// What these cite.
pub fn references(study: &Study, parts: &[SelectionPart]) -> Vec<&'static str> {
    let nested = study.outer.inner.is_some();
    let bias = parts.iter().any(|part| part.tibshirani_bias.is_some());
    let best = parts.iter().any(|part| !part.expected_best.is_empty());
    let cited =
        [(nested, CAWLEY), (nested, VARMA), (bias, TIBSHIRANI), (best, DODGE), (best, TANG)];
    let cited = cited.into_iter().filter_map(|(used, text)| used.then_some(text));
    cited.chain(searches::references(study)).collect()
}

/// A sheet's column of time.
pub fn time(seconds: f64) -> String {
    if seconds < 0.1 { format!("{:.1} ms", seconds * 1e3) } else { duration(seconds) }
}

const CAWLEY: &str = "Cawley GC, Talbot NLC (2010). On over-fitting in model selection and subsequent selection bias in \
     performance evaluation. Journal of Machine Learning Research 11.";

const VARMA: &str = "Varma S, Simon R (2006). Bias in error estimation when using cross-validation for model selection. \
     BMC Bioinformatics 7, 91.";

const TIBSHIRANI: &str = "Tibshirani RJ, Tibshirani R (2009). A bias correction for the minimum error rate in \
     cross-validation. The Annals of Applied Statistics 3(2).";

const DODGE: &str = "Dodge J, Gururangan S, Card D et al. (2019). Show your work: improved reporting of experimental \
     results. EMNLP.";

const TANG: &str =
    "Tang R, Lee J, Xin J et al. (2020). Showing your work doesn't always work. ACL.";
