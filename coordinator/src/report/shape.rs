//! Whether the shape of the scores matters to a difference: it drawn again without a model, and tested
//! on another scale.
//!
//! Floor: core.

use super::content::{ComparisonPart, Report};
use super::number::p;
use super::page::{Sheet, columns, least_se, legend, span};

/// `None` where no pair has either.
pub fn sheet(report: &Report) -> Option<Sheet> {
    let scale = least_se(report, |contrast| contrast.se);
    let row = |pair: &ComparisonPart| {
        let contrast = pair.contrast.as_ref();
        vec![
            format!("{} − {}", pair.a, pair.b),
            span(contrast.map(|c| &c.ci), scale),
            contrast.map_or("–".into(), |c| p(c.p)),
            span(contrast.and_then(|c| c.ci_bootstrap.as_ref()), scale),
            contrast.and_then(|c| c.p_logit).map_or("–".into(), p),
        ]
    };
    let shown = report.comparisons.iter().filter_map(|pair| pair.contrast.as_ref());
    let any = shown.into_iter().any(|c| c.ci_bootstrap.is_some() || c.p_logit.is_some());
    any.then(|| Sheet {
        title: "Does the shape of the scores matter?".into(),
        columns: columns(&["Arms", "As above", "p", "Bootstrap", "p, logit"], 1),
        rows: report.comparisons.iter().map(row).collect(),
        legend: legend(&[
            (
                "Bootstrap",
                "Whole folds and seeds drawn again: it asks nothing of the shape of the scores, and takes folds for independent samples. It may be too narrow with few folds or seeds, and too wide where most of the spread is the luck of single runs.",
            ),
            (
                "p, logit",
                "The p above with scores on the logit scale, for metrics between 0 and 1, which cannot get much better near 1. Where the two disagree, say so.",
            ),
        ]),
    })
}
