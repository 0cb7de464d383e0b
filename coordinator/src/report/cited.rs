//! Methods and references of what rests on rows, of spreads and of ranks.
//!
//! Floor: core.

use super::content::{
    AgreementPart, ComparisonPart, LotteryPart, OtherRowsPart, RanksPart, SpreadsPart,
};
use super::methods::Reference;

/// Which of these analyses gave a result for this study.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct More {
    lottery: bool,
    /// Rows, or groups of them, were drawn again.
    other_rows: Option<bool>,
    spreads: bool,
    ranks: bool,
    /// Configs' means were held for a sample of those that could be.
    generalized: bool,
    /// A single run of each arm was compared on one test set.
    one_seed: bool,
}

impl More {
    pub fn of(
        lottery: &[LotteryPart],
        t3: &OtherRowsPart,
        spreads: Option<&SpreadsPart>,
        ranks: Option<&RanksPart>,
        agreement: &[AgreementPart],
    ) -> Self {
        Self {
            lottery: lottery.iter().any(|part| part.cases.is_some()),
            other_rows: t3.missing.is_none().then_some(t3.unit != "row"),
            spreads: spreads.is_some_and(|part| part.test.is_some()),
            ranks: ranks.is_some_and(|part| part.missing.is_none()),
            generalized: agreement.iter().any(|part| part.configs.is_some()),
            one_seed: false,
        }
    }

    /// The same with what comparisons rest on.
    pub fn with_papers(self, comparisons: &[ComparisonPart]) -> Self {
        let mut outlooks = comparisons.iter().filter_map(|pair| pair.outlook.as_ref());
        Self { one_seed: outlooks.any(|found| found.replication.one_seed.is_some()), ..self }
    }

    pub fn sentences(&self) -> String {
        let mut text = String::new();
        if let Some(grouped) = self.other_rows {
            let drawn = if grouped { "whole groups of rows" } else { "rows" };
            text += &format!(
                "For the trained models on other test rows (T3), {drawn} were resampled, the same for \
                 all runs (Efron and Tibshirani, 1993). "
            );
        }
        if self.lottery {
            text += "Single seeds of each arm were compared by paired t-tests and Wilcoxon's \
                     signed-rank tests over test rows, to see how often these call seeds different \
                     (Åkesson et al., 2024). ";
        }
        if self.spreads {
            text += "Whether seeds move all configs alike was tested by Brown and Forsythe's test \
                     (1974). ";
        }
        if self.ranks {
            text += "Chances of ranks are of means drawn again from the fitted model. ";
        }
        if self.generalized {
            text += "How well configs are told apart is said by generalizability coefficients \
                     (Brennan, 2001). ";
        }
        if self.one_seed {
            text += "What a paper with one seed and one test set would report follows from its believed \
                     and its real spread (Gelman and Carlin, 2014). ";
        }
        text
    }

    /// What these cite.
    pub fn references(&self) -> Vec<&'static str> {
        let cited =
            [(self.lottery, AKESSON), (self.spreads, BROWN), (self.other_rows.is_some(), EFRON)];
        let further = [(self.generalized, BRENNAN), (self.one_seed, GELMAN)];
        let guides = [COLLINS, NORGEOT, TEJANI].map(|guide| (true, guide));
        let cited = cited.into_iter().chain(further).chain(guides);
        cited.into_iter().filter_map(|(used, text)| used.then_some(text)).collect()
    }
}

/// References of both kinds in the alphabet's order, Å as A.
pub fn in_order(one: Vec<&'static str>, other: Vec<&'static str>) -> Vec<&'static str> {
    let mut all = [one, other].concat();
    all.sort_by_key(|entry| entry.replace('Å', "A"));
    all
}

const AKESSON: &str = "Åkesson J, Töger J, Heiberg E (2024). Random effects during training: implications for deep \
     learning-based medical image segmentation. Computers in Biology and Medicine 180, 108944.";

const BRENNAN: &str = "Brennan RL (2001). Generalizability theory. Springer.";

const GELMAN: &str = "Gelman A, Carlin J (2014). Beyond power calculations: assessing type S (sign) and type M (magnitude) \
     errors. Perspectives on Psychological Science 9(6).";

const BROWN: &str = "Brown MB, Forsythe AB (1974). Robust tests for the equality of variances. Journal of the \
     American Statistical Association 69(346).";

const EFRON: &str =
    "Efron B, Tibshirani RJ (1993). An introduction to the bootstrap. Chapman and Hall.";

/// Guidelines for reporting, which every report is mapped to.
const COLLINS: &str = "Collins GS, Moons KGM, Dhiman P et al. (2024). TRIPOD+AI statement: updated guidance for reporting \
     clinical prediction models that use regression or machine learning methods. BMJ 385, e078378.";

const NORGEOT: &str = "Norgeot B, Quer G, Beaulieu-Jones BK et al. (2020). Minimum information about clinical artificial \
     intelligence modeling: the MI-CLAIM checklist. Nature Medicine 26, 1320-1324.";

const TEJANI: &str = "Tejani AS, Klontzas ME, Gatti AA et al. (2024). Checklist for Artificial Intelligence in Medical \
     Imaging (CLAIM): 2024 update. Radiology: Artificial Intelligence 6(4), e240300.";

pub const REFERENCES: [Reference; 8] = [
    Reference {
        key: "brennan2001",
        in_text: "Brennan, 2001",
        entry: BRENNAN,
        bibtex: "@book{brennan2001,
  author = {Brennan, Robert L.},
  title = {Generalizability Theory},
  publisher = {Springer}, year = {2001},
}",
    },
    Reference {
        key: "gelman2014",
        in_text: "Gelman and Carlin, 2014",
        entry: GELMAN,
        bibtex: "@article{gelman2014,
  author = {Gelman, Andrew and Carlin, John},
  title = {Beyond Power Calculations: Assessing Type {S} (Sign) and Type {M} (Magnitude) Errors},
  journal = {Perspectives on Psychological Science},
  volume = {9}, number = {6}, year = {2014},
}",
    },
    Reference {
        key: "akesson2024",
        in_text: "Åkesson et al., 2024",
        entry: AKESSON,
        bibtex: "@article{akesson2024,
  author = {{\\AA}kesson, Julius and T{\\\"o}ger, Johannes and Heiberg, Einar},
  title = {Random Effects during Training: Implications for Deep Learning-Based Medical Image Segmentation},
  journal = {Computers in Biology and Medicine},
  volume = {180}, pages = {108944}, year = {2024},
}",
    },
    Reference {
        key: "brown1974",
        in_text: "Brown and Forsythe, 1974",
        entry: BROWN,
        bibtex: "@article{brown1974,
  author = {Brown, Morton B. and Forsythe, Alan B.},
  title = {Robust Tests for the Equality of Variances},
  journal = {Journal of the American Statistical Association},
  volume = {69}, number = {346}, year = {1974},
}",
    },
    Reference {
        key: "efron1993",
        in_text: "Efron and Tibshirani, 1993",
        entry: EFRON,
        bibtex: "@book{efron1993,
  author = {Efron, Bradley and Tibshirani, Robert J.},
  title = {An Introduction to the Bootstrap},
  publisher = {Chapman and Hall}, year = {1993},
}",
    },
    Reference {
        key: "collins2024",
        in_text: "Collins et al., 2024",
        entry: COLLINS,
        bibtex: "@article{collins2024,
  author = {Collins, Gary S. and Moons, Karel G. M. and Dhiman, Paula and others},
  title = {{TRIPOD+AI} Statement: Updated Guidance for Reporting Clinical Prediction Models That Use Regression or Machine Learning Methods},
  journal = {BMJ},
  volume = {385}, pages = {e078378}, year = {2024},
}",
    },
    Reference {
        key: "norgeot2020",
        in_text: "Norgeot et al., 2020",
        entry: NORGEOT,
        bibtex: "@article{norgeot2020,
  author = {Norgeot, Beau and Quer, Giorgio and Beaulieu-Jones, Brett K. and others},
  title = {Minimum Information about Clinical Artificial Intelligence Modeling: The {MI-CLAIM} Checklist},
  journal = {Nature Medicine},
  volume = {26}, pages = {1320--1324}, year = {2020},
}",
    },
    Reference {
        key: "tejani2024",
        in_text: "Tejani et al., 2024",
        entry: TEJANI,
        bibtex: "@article{tejani2024,
  author = {Tejani, Ali S. and Klontzas, Michail E. and Gatti, Anthony A. and others},
  title = {Checklist for Artificial Intelligence in Medical Imaging ({CLAIM}): 2024 Update},
  journal = {Radiology: Artificial Intelligence},
  volume = {6}, number = {4}, pages = {e240300}, year = {2024},
}",
    },
];
