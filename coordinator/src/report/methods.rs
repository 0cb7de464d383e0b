//! The paragraph and references that a paper's methods section needs.
//!
//! It says what was done with this study, in the past tense, and nothing that was not.
//!
//! Floor: core.

use common::study::{Diverged, Study};

use super::number::counted;
use super::verdict::{folds_in_words, split_in_words};

/// The methods in one paragraph.
pub fn paragraph(study: &Study) -> String {
    let metric = study.primary();
    let arms: Vec<String> = study
        .arms
        .iter()
        .map(|arm| match arm.configs.len() {
            1 => format!("{} ({})", arm.name, arm.model.name()),
            configs => format!("{} ({}, {configs} configs)", arm.name, arm.model.name()),
        })
        .collect();
    let seeds: Vec<String> = study
        .seeds
        .factors
        .iter()
        .map(|factor| {
            let streams: Vec<&str> = factor.streams.iter().map(|stream| stream.name()).collect();
            format!("{} of {}", counted(u64::from(factor.count), "seed"), streams.join(", "))
        })
        .collect();
    let mut text = format!(
        "Each arm, {}, was trained with {} on {} of {} rows; the split was {}. The primary metric \
         was {metric} on the test rows. ",
        listed(&arms),
        seeds.join(" crossed with "),
        folds_in_words(study),
        study.data.rows,
        split_in_words(study),
    );
    text += "Seeds, partitions and folds were the same for all arms, so comparisons are paired. \
             The spread of scores was divided by linear mixed models with random intercepts, fitted \
             by restricted maximum likelihood (Bates et al., 2015), with profile likelihood \
             intervals of standard deviations at 95 %. Two inference targets are told apart: new \
             seeds on the same rows and folds (T1, t intervals over seed means), and new training \
             samples of the same size (T2). For T2, means and differences per outer fold were \
             tested by the corrected resampled t-test, which allows for training rows that folds \
             share (Nadeau and Bengio, 2003); the uncorrected test is reported beside it. \
             p-values of several comparisons were adjusted by Holm's method. ";
    if study.arms.iter().any(|arm| arm.configs.len() > 1) {
        text += "No config was chosen by its test score: an arm with several configs was judged by \
                 their mean. ";
    }
    text += match study.budget.diverged {
        Diverged::Report => "Diverged runs were left out and their rate is reported. ",
        Diverged::Worst => "Diverged runs were counted with the worst score of any run. ",
        Diverged::Fail => "A diverged run was declared to fail the study. ",
    };
    text + "Varying several sources at once follows Bouthillier et al. (2021); the use of seeds is \
            classed after Bethard (2022)."
}

/// `a`, `a and b`, `a, b and c`.
fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// What the policy for diverged runs did, as in "they are …".
pub fn diverged_policy(study: &Study) -> &'static str {
    match study.budget.diverged {
        Diverged::Report => "left out of all means",
        Diverged::Worst => "counted with the worst score that any run of the study had",
        Diverged::Fail => "left out of all means, and fail the study as it declares",
    }
}

/// What the paragraph cites.
pub const REFERENCES: [&str; 5] = [
    "Bates D, Mächler M, Bolker B, Walker S (2015). Fitting linear mixed-effects models using lme4. \
     Journal of Statistical Software 67(1).",
    "Bethard S (2022). We need to talk about random seeds. arXiv:2210.13393.",
    "Bouthillier X et al. (2021). Accounting for variance in machine learning benchmarks. \
     Proceedings of Machine Learning and Systems 3. arXiv:2103.03098.",
    "Holm S (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal \
     of Statistics 6(2).",
    "Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine Learning 52(3).",
];
