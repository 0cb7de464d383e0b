//! The paragraph and references that a paper's methods section needs.
//!
//! It says what was done with this study, in the past tense, and nothing that was not.
//!
//! Floor: core.

use common::study::{Diverged, OuterKind, Study};

use super::analysis::arms;
use super::analysis::comparisons::Compared;
use super::content::{ArmPart, ComponentPart, Interval};
use super::number::{counted, listed};
use super::subject;
use super::verdict::{folds_in_words, left_out, split_in_words};
use super::{cited, several};

/// Which analyses gave a result for this study.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    /// More than one arm: runs are paired.
    paired: bool,
    components: bool,
    /// Standard deviations have intervals.
    profiled: bool,
    t1: bool,
    /// Means over test sets, by the corrected variance.
    t2: bool,
    /// How means and differences were judged for T2.
    judged: Judged,
    /// Differences that were tested, drawn again, and tested on the logit scale.
    tested: usize,
    drawn: bool,
    logit: bool,
    /// What further runs would bring was worked out.
    planned: bool,
    /// Looks at the test folds were counted.
    looked: bool,
    /// Two arms were followed seed by seed.
    monitored: bool,
}

impl Done {
    pub fn of(
        study: &Study,
        arms: &[ArmPart],
        components: &[ComponentPart],
        compared: &[Compared],
        looked: bool,
    ) -> Self {
        let scores = || arms.iter().filter_map(|arm| arm.scores.as_ref());
        let contrasts = || compared.iter().flat_map(|pair| &pair.contrast);
        Self {
            paired: study.judged().len() > 1,
            components: !components.is_empty(),
            profiled: components.iter().any(|part| part.ci_sd.is_some()),
            t1: scores().any(|scores| scores.ci_t1.is_some()),
            t2: scores().any(|scores| scores.ci_t2.is_some()),
            judged: Judged::of(
                (scores().filter_map(|scores| scores.ci_t2.as_ref()))
                    .chain(contrasts().map(|found| &found.ci)),
            ),
            tested: compared.iter().filter(|pair| pair.contrast.is_ok()).count(),
            drawn: contrasts().any(|found| found.ci_bootstrap.is_some()),
            logit: contrasts().any(|found| found.p_logit.is_some()),
            planned: compared.iter().any(|pair| pair.outlook.is_some()),
            looked,
            monitored: false,
        }
    }

    /// The same with what only the figures rest on.
    pub fn with_monitor(self, monitored: bool) -> Self {
        Self { monitored, ..self }
    }

    /// What the paragraph cites, in the alphabet's order.
    pub fn references(&self) -> Vec<&'static str> {
        let cited = [
            (self.components, BATES),
            (true, BETHARD),
            (true, BOUTHILLIER),
            (self.planned, CORANI),
            (self.components && self.profiled, DAGOSTINO),
            (self.tested > 1, HOLM),
            (self.t2 || self.tested > 0, NADEAU),
            (self.looked, RECHT),
            (self.monitored, WANG),
        ];
        cited.into_iter().filter_map(|(used, text)| used.then_some(text)).collect()
    }
}

/// How many means and differences were judged by which method for new samples (T2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Judged {
    kenward_roger: usize,
    satterthwaite: usize,
    /// By fold means alone, since seeds could not be told from folds.
    corrected: usize,
}

impl Judged {
    pub fn of<'a>(intervals: impl Iterator<Item = &'a Interval>) -> Self {
        let mut counts = Self::default();
        for interval in intervals {
            *match interval.method {
                arms::KENWARD_ROGER => &mut counts.kenward_roger,
                arms::SATTERTHWAITE => &mut counts.satterthwaite,
                _ => &mut counts.corrected,
            } += 1;
        }
        counts
    }

    fn any_mixed(&self) -> bool {
        self.kenward_roger + self.satterthwaite > 0
    }

    /// `what` were judged how; `set` is what one test set is called.
    pub fn in_words(&self, what: &str, set: &str) -> String {
        let corrected = format!(
            "{what} per {set} were judged with the variance of the corrected resampled t-test"
        );
        if !self.any_mixed() {
            return corrected;
        }
        let freedom = match (self.kenward_roger, self.satterthwaite) {
            (_, 0) => "Kenward and Roger's degrees of freedom",
            (0, _) => "Satterthwaite's degrees of freedom",
            _ => {
                "Kenward and Roger's degrees of freedom, or Satterthwaite's where those could not be \
                 computed or runs were many"
            }
        };
        let mixed = format!(
            "{what} were judged by linear mixed models with random {set}s and seeds, with {freedom}; \
             the variance of the {set}s was raised as in the corrected resampled t-test"
        );
        match self.corrected {
            0 => mixed,
            _ => format!("where seeds could be told from {set}s, {mixed}; elsewhere {corrected}"),
        }
    }
}

/// The methods in one paragraph.
///
/// `nested`: the study as written, where `study` is that of its refits; `controls`: the sentences about
/// them.
pub fn paragraph(study: &Study, nested: &Study, done: &Done, controls: &str) -> String {
    let metric = study.primary();
    let arms: Vec<String> = nested
        .judged()
        .iter()
        .map(|arm| {
            let configs = counted(arm.alternatives() as u64, "config");
            let tried = arm.learned.as_ref().map_or("", |_| " tried for each choice");
            format!("{} ({}; {configs}{tried})", arm.name, subject::training(arm))
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
        "Each arm, {}, was trained with {} and tested on {} ({} rows in all); the split was {}. The primary metric \
         was {metric} on the test rows. ",
        listed(&arms),
        seeds.join(" crossed with "),
        folds_in_words(study),
        study.data.rows,
        split_in_words(study),
    );
    text += chained(study);
    text += &format!("In words, {} ", subject::metric(study));
    text += &subject::data_sentences(study);
    text += &inference(study, done);
    text += controls;
    if study.judged().iter().any(|arm| arm.configs.len() > 1) {
        text += "No config was chosen by its test score: an arm with several configs was judged by \
                 their mean. ";
    }
    text += match study.budget.diverged {
        Diverged::Report => "Diverged runs were left out and their rate is reported. ",
        Diverged::Worst => "Diverged runs were counted with the worst score of any run. ",
        Diverged::Fail => "A diverged run was declared to fail the study. ",
    };
    text + "Several sources were varied at once (Bouthillier et al., 2021), and the use of seeds was \
            classed (Bethard, 2022)."
}

/// What forward chaining does to spreads over folds.
fn chained(study: &Study) -> &'static str {
    match study.outer.kind {
        OuterKind::Ordered { share: None } => {
            "Later folds have more training rows than earlier ones, so their scores differ by more than \
             which rows test, and the correction for shared training rows, which takes the mean ratio of \
             test to training rows, is a heuristic here. "
        }
        _ => "",
    }
}

/// How spread, means and differences were judged.
fn inference(study: &Study, done: &Done) -> String {
    let mut text = String::new();
    if done.paired {
        text += "Seeds and test sets were the same for all arms, so runs are paired. ";
    }
    if done.components {
        text += "The spread of scores was divided by linear mixed models with random intercepts, \
                 fitted by restricted maximum likelihood (Bates et al., 2015)";
        text += match done.profiled {
            true => {
                ", with profile likelihood intervals of standard deviations at 95 % where the luck of \
                 runs passed a test of normality (D'Agostino et al., 1990). "
            }
            false => ". ",
        };
    }
    if done.t1 {
        text += "Intervals for new seeds on the same rows and test sets (T1) are t intervals over \
                 seed means. ";
    }
    if done.t2 || done.tested > 0 {
        let drawn = match left_out(study) {
            Some(column) => format!("a new {column}"),
            None => "new training samples of the same size".to_string(),
        };
        let what = if done.tested > 0 { "means and paired differences" } else { "means" };
        text += &format!(
            "For {drawn} (T2), {}, which allows for training rows that test sets' trainings share \
             (Nadeau and Bengio, 2003). ",
            done.judged.in_words(what, "test set")
        );
    } else {
        text += "Nothing was inferred about trainings on other rows. ";
    }
    if done.tested > 0 {
        text += if done.judged.any_mixed() {
            "The corrected resampled t-test over means per test set and the uncorrected paired t-test \
             are reported beside it. "
        } else {
            "The uncorrected paired t-test is reported beside it. "
        };
    }
    if done.drawn {
        text += "So are bootstrap intervals over whole folds and seeds. ";
    }
    if done.logit {
        text += "Differences were tested on the logit scale too. ";
    }
    if done.planned {
        text += "Chances that a difference matters are those of the Bayesian correlated t-test (Corani \
                 and Benavoli, 2015); what other designs would show follows from the variance \
                 components of the paired differences, with Satterthwaite's degrees of freedom. ";
    }
    if done.tested > 1 {
        text += &format!(
            "The p-values of the {} comparisons were adjusted by Holm's method (Holm, 1979). ",
            done.tested
        );
    }
    if done.monitored {
        text += "The first two arms were followed seed by seed with a confidence sequence that holds at \
                 every number of seeds (Wang and Ramdas, 2025). ";
    }
    if study.budget.stop.is_some() {
        text += "Seeds were trained one by one, by a rule that was stated beforehand and looks at such \
                 sequences after each. ";
    }
    text
}

/// What the policy for diverged runs did, as in "they are …".
pub fn diverged_policy(study: &Study) -> &'static str {
    match study.budget.diverged {
        Diverged::Report => "left out of all means",
        Diverged::Worst => "counted with the worst score that any run of the study had",
        Diverged::Fail => "left out of all means, and fail the study as it declares",
    }
}

/// A work that reports cite: its key, how the text names it, and its entry for BibTeX.
#[derive(Debug)]
pub struct Reference {
    pub key: &'static str,
    /// As in brackets within a sentence.
    pub in_text: &'static str,
    /// As in the list of references.
    pub entry: &'static str,
    pub bibtex: &'static str,
}

impl Reference {
    /// The work whose entry in the list of references this is.
    pub fn of(entry: &str) -> Option<&'static Self> {
        let mut all = REFERENCES.iter().chain(&cited::REFERENCES).chain(&several::REFERENCES);
        all.find(|reference| reference.entry == entry)
    }
}

pub const BATES: &str = "Bates D, Mächler M, Bolker B, Walker S (2015). Fitting linear mixed-effects models using lme4. \
     Journal of Statistical Software 67(1).";

const BETHARD: &str = "Bethard S (2022). We need to talk about random seeds. arXiv:2210.13393.";

pub const BOUTHILLIER: &str = "Bouthillier X et al. (2021). Accounting for variance in machine learning benchmarks. \
     Proceedings of Machine Learning and Systems 3. arXiv:2103.03098.";

const CORANI: &str = "Corani G, Benavoli A (2015). A Bayesian approach for comparing cross-validated algorithms on \
     multiple data sets. Machine Learning 100(2).";

const DAGOSTINO: &str = "D'Agostino RB, Belanger A, D'Agostino RB Jr (1990). A suggestion for using powerful and informative \
     tests of normality. The American Statistician 44(4).";

pub const HOLM: &str = "Holm S (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal \
     of Statistics 6(2).";

pub const NADEAU: &str =
    "Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine Learning 52(3).";

pub const RECHT: &str = "Recht B, Roelofs R, Schmidt L, Shankar V (2019). Do ImageNet classifiers generalize to ImageNet? \
     Proceedings of Machine Learning Research 97 (ICML).";

pub const WANG: &str = "Wang H, Ramdas A (2025). Anytime-valid t-tests and confidence sequences for Gaussian means with \
     unknown variance. Sequential Analysis 44(1). arXiv:2310.03722.";

const REFERENCES: [Reference; 9] = [
    Reference {
        key: "bates2015",
        in_text: "Bates et al., 2015",
        entry: BATES,
        bibtex: "@article{bates2015,
  author = {Bates, Douglas and M{\\\"a}chler, Martin and Bolker, Ben and Walker, Steve},
  title = {Fitting Linear Mixed-Effects Models Using {lme4}},
  journal = {Journal of Statistical Software},
  volume = {67}, number = {1}, year = {2015},
}",
    },
    Reference {
        key: "bethard2022",
        in_text: "Bethard, 2022",
        entry: BETHARD,
        bibtex: "@misc{bethard2022,
  author = {Bethard, Steven},
  title = {We Need to Talk About Random Seeds},
  howpublished = {arXiv:2210.13393}, year = {2022},
}",
    },
    Reference {
        key: "bouthillier2021",
        in_text: "Bouthillier et al., 2021",
        entry: BOUTHILLIER,
        bibtex: "@inproceedings{bouthillier2021,
  author = {Bouthillier, Xavier and others},
  title = {Accounting for Variance in Machine Learning Benchmarks},
  booktitle = {Proceedings of Machine Learning and Systems},
  volume = {3}, year = {2021}, note = {arXiv:2103.03098},
}",
    },
    Reference {
        key: "corani2015",
        in_text: "Corani and Benavoli, 2015",
        entry: CORANI,
        bibtex: "@article{corani2015,
  author = {Corani, Giorgio and Benavoli, Alessio},
  title = {A {Bayesian} Approach for Comparing Cross-Validated Algorithms on Multiple Data Sets},
  journal = {Machine Learning},
  volume = {100}, number = {2}, year = {2015},
}",
    },
    Reference {
        key: "dagostino1990",
        in_text: "D'Agostino et al., 1990",
        entry: DAGOSTINO,
        bibtex: "@article{dagostino1990,
  author = {D'Agostino, Ralph B. and Belanger, Albert and D'Agostino, Jr., Ralph B.},
  title = {A Suggestion for Using Powerful and Informative Tests of Normality},
  journal = {The American Statistician},
  volume = {44}, number = {4}, year = {1990},
}",
    },
    Reference {
        key: "holm1979",
        in_text: "Holm, 1979",
        entry: HOLM,
        bibtex: "@article{holm1979,
  author = {Holm, Sture},
  title = {A Simple Sequentially Rejective Multiple Test Procedure},
  journal = {Scandinavian Journal of Statistics},
  volume = {6}, number = {2}, year = {1979},
}",
    },
    Reference {
        key: "nadeau2003",
        in_text: "Nadeau and Bengio, 2003",
        entry: NADEAU,
        bibtex: "@article{nadeau2003,
  author = {Nadeau, Claude and Bengio, Yoshua},
  title = {Inference for the Generalization Error},
  journal = {Machine Learning},
  volume = {52}, number = {3}, year = {2003},
}",
    },
    Reference {
        key: "recht2019",
        in_text: "Recht et al., 2019",
        entry: RECHT,
        bibtex: "@inproceedings{recht2019,
  author = {Recht, Benjamin and Roelofs, Rebecca and Schmidt, Ludwig and Shankar, Vaishaal},
  title = {Do {ImageNet} Classifiers Generalize to {ImageNet}?},
  booktitle = {Proceedings of the 36th International Conference on Machine Learning},
  series = {PMLR}, volume = {97}, year = {2019},
}",
    },
    Reference {
        key: "wang2025",
        in_text: "Wang and Ramdas, 2025",
        entry: WANG,
        bibtex: "@article{wang2025,
  author = {Wang, Hongjian and Ramdas, Aaditya},
  title = {Anytime-Valid $t$-Tests and Confidence Sequences for {Gaussian} Means with Unknown Variance},
  journal = {Sequential Analysis},
  volume = {44}, number = {1}, year = {2025}, note = {arXiv:2310.03722},
}",
    },
];
