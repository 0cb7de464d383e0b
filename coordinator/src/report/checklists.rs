//! Which items of reporting guidelines a report answers, and in which of its sections.
//!
//! Numbers and parts are the guidelines', the words are ours. Deliberately absent: items that no
//! report on outcomes can answer, such as where patients came from; those are the authors' to write.
//!
//! Sources: Tejani et al. (2024), items 1 to 44; Collins et al. (2024), items 1 to 27c; Norgeot et
//! al. (2020), parts 1 to 6.
//!
//! Floor: core.

use super::content::{ChecklistItem, Report};
use super::page::{Block, Sheet, columns};

/// The items that `report` answers, by guideline and number.
pub fn answered(report: &Report) -> Vec<ChecklistItem> {
    let lists = [(CLAIM, &CLAIM_ITEMS[..]), (TRIPOD, &TRIPOD_ITEMS), (MI_CLAIM, &MI_CLAIM_ITEMS)];
    let of_list = |(checklist, items): (&'static str, &'static [Item])| {
        let told = items.iter().filter(|(.., section)| section.is_in(report));
        told.map(move |(item, asks, section)| ChecklistItem {
            checklist,
            item,
            asks,
            answered_in: section.heading(),
        })
    };
    lists.into_iter().flat_map(of_list).collect()
}

/// Folded up, since it serves authors alone.
pub fn block(report: &Report) -> Option<Block> {
    let row = |item: &ChecklistItem| {
        [item.checklist, item.item, item.asks, item.answered_in].map(String::from).to_vec()
    };
    let sheet = Sheet {
        title: "Items that this report answers".into(),
        columns: columns(&["Guideline", "Item", "What it asks for", "Section"], 4),
        rows: report.checklists.iter().map(row).collect(),
        legend: Vec::new(),
    };
    let text = "For the checklist that a journal asks for: CLAIM for imaging (Tejani et al., 2024), \
                TRIPOD+AI for prediction models (Collins et al., 2024) and MI-CLAIM (Norgeot et al., \
                2020). What else they ask for, such as where patients came from, who annotated them \
                and what the model is meant for, is not in the outcomes and is the authors' to write.";
    (!report.checklists.is_empty()).then(|| Block::Further {
        title: "Reporting guidelines".into(),
        blocks: vec![Block::Text(text.into()), Block::Sheet(sheet)],
    })
}

/// Number or part, what it asks for, and where that is told.
type Item = (&'static str, &'static str, Section);

/// A section of the report.
#[derive(Clone, Copy, Debug)]
enum Section {
    Head,
    Arms,
    Comparisons,
    OtherRows,
    Spread,
    Leaks,
    Methods,
    /// The spread between the values that are left out in turn, such as hospitals.
    LeftOut,
    Again,
}

impl Section {
    fn heading(self) -> &'static str {
        match self {
            Section::Head => HEAD,
            Section::Arms => "How good is each arm?",
            Section::Comparisons => "Is one better than another?",
            Section::OtherRows => "Would other rows say the same?",
            Section::Spread | Section::LeftOut => "Where does the spread come from?",
            Section::Leaks => "Could something have leaked?",
            Section::Methods => "Methods",
            Section::Again => "Do it again",
        }
    }

    /// Whether it says anything in this report.
    fn is_in(self, report: &Report) -> bool {
        match self {
            Section::Comparisons => !report.comparisons.is_empty(),
            Section::OtherRows => report.t3.missing.is_none(),
            Section::Spread => !report.components.is_empty(),
            Section::LeftOut => report.study.left_out.is_some() && !report.components.is_empty(),
            Section::Arms => (report.arms.iter().filter_map(|arm| arm.scores.as_ref()))
                .any(|scores| scores.ci_t1.is_some() || scores.ci_t2.is_some()),
            _ => true,
        }
    }
}

/// What stands before the first heading.
pub const HEAD: &str = "the head of the report";

const CLAIM: &str = "CLAIM 2024";
const TRIPOD: &str = "TRIPOD+AI 2024";
const MI_CLAIM: &str = "MI-CLAIM 2020";

const CLAIM_ITEMS: [Item; 14] = [
    ("9", "how data were processed before training", Section::Methods),
    ("12", "how missing data were handled", Section::Head),
    ("19", "how data were assigned to partitions", Section::Head),
    ("20", "at which level partitions are disjoint", Section::Leaks),
    ("22", "the model", Section::Head),
    ("24", "how parameters were initialised, by seeds", Section::Head),
    ("25", "how it was trained", Section::Head),
    ("26", "how the final model was selected", Section::Methods),
    ("28", "metrics of performance", Section::Head),
    ("29", "measures of significance and uncertainty", Section::Methods),
    ("30", "robustness or sensitivity", Section::Spread),
    ("32", "evaluation on internal data", Section::Arms),
    ("37", "performance with its statistical uncertainty", Section::Arms),
    ("38", "diagnostic performance and its precision", Section::OtherRows),
];

const TRIPOD_ITEMS: [Item; 8] = [
    ("11", "how missing data were handled", Section::Head),
    ("12a", "how data were used and partitioned", Section::Methods),
    ("12b", "how predictors were handled", Section::Methods),
    ("12c", "type of model, steps of building it, tuning, internal validation", Section::Methods),
    ("12d", "differences of performance between clusters", Section::LeftOut),
    ("12e", "measures and plots of performance, and how models were compared", Section::Methods),
    ("18f", "where the code of the analysis is", Section::Again),
    ("23a", "performance with confidence intervals", Section::Arms),
];

const MI_CLAIM_ITEMS: [Item; 6] = [
    ("part 3", "transformations of the data", Section::Methods),
    ("part 3", "independence of training and test sets", Section::Leaks),
    ("part 3", "the models that were evaluated", Section::Head),
    ("part 4", "the primary metric", Section::Head),
    ("part 4", "comparison with a baseline, and how sure it is", Section::Comparisons),
    ("part 6", "how to do it again", Section::Again),
];
