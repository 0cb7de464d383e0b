//! "How often were the test folds looked at?": the study's ledger, as it was when this report was
//! asked for.
//!
//! A look is counted, never judged. Deliberately absent: outcomes that a table from elsewhere holds;
//! nobody counts who saw those.
//!
//! Floor: core.

use common::ledger::{Claim, Ledger, Look, Sealing};
use common::stats::ledger;
use common::time::Timestamp;
use time::OffsetDateTime;

use super::content::{ArmPart, ClaimPart, LedgerPart, LookPart, LookerPart, Report};
use super::figures;
use super::number::{count, counted, significant};
use super::page::{Block, Sheet, columns, legend};

/// The ledger of a study, and which of its looks this report is.
#[derive(Clone, Copy, Debug)]
pub struct Looks<'a> {
    pub ledger: &'a Ledger,
    pub this: u64,
    /// What was sealed and claimed before.
    pub sealing: Option<&'a Sealing>,
}

impl Looks<'_> {
    /// Looks before this one: what may have been chosen by the test rows was chosen after these.
    pub fn before(&self) -> u64 {
        self.this.saturating_sub(1)
    }

    /// The claim that is registered.
    pub fn claim(&self) -> Option<&Claim> {
        self.sealing?.claim.as_ref()
    }
}

/// `None` for a ledger without looks. What a lucky pick could be worth is by the spread over test rows
/// of `arms` (T3).
pub fn part(looks: &Looks<'_>, arms: &[ArmPart]) -> Option<LedgerPart> {
    let Looks { ledger, this, sealing } = *looks;
    let by = ledger.by().iter().map(|(who, looker)| LookerPart {
        who: who.to_string(),
        label: labelled(&looker.label),
        looks: looker.looks,
    });
    let part = LedgerPart {
        looks: ledger.looks(),
        this,
        first: look(ledger.first()?),
        last: look(ledger.last()?),
        recent: ledger.recent().map(|(found, _)| look(found)).collect(),
        by: by.collect(),
        case_se: None,
        lucky_pick: None,
        head: ledger.head().hex(),
        sealed: sealing.and_then(|sealing| sealing.sealed.as_ref()).map(|stamp| stamp.at.0),
        claim: looks.claim().map(claim),
    };
    Some(with_optimism(part, arms))
}

/// The part, with what a lucky pick could be worth by the spread over test rows (T3).
///
/// Indicative: the mean of the largest of as many standard normals as there were looks before, times
/// the standard error over rows. One look picks from nothing.
fn with_optimism(mut part: LedgerPart, arms: &[ArmPart]) -> LedgerPart {
    let errors = arms.iter().filter_map(|arm| arm.other_rows.as_ref()).map(|found| found.se);
    part.case_se = errors.reduce(f64::max);
    let before = part.this.saturating_sub(1);
    part.lucky_pick =
        part.case_se.filter(|_| before > 1).and_then(|se| ledger::lucky_pick(se, before).ok());
    part
}

fn claim(claim: &Claim) -> ClaimPart {
    ClaimPart {
        text: claim.text.clone(),
        at_unix_ms: claim.stamp.at.0,
        who: claim.stamp.who.to_string(),
        label: labelled(&claim.stamp.label),
        outcomes: claim.outcomes,
        looks: claim.looks,
        hashed: claim.line(),
        hash: claim.hash().hex(),
    }
}

fn look(look: &Look) -> LookPart {
    LookPart {
        look: look.number,
        at_unix_ms: look.at.0,
        who: look.who.to_string(),
        label: labelled(&look.label),
        purpose: look.purpose.name(),
        outcomes: look.outcomes,
    }
}

fn labelled(label: &str) -> Option<String> {
    (!label.is_empty()).then(|| label.to_string())
}

/// What every verdict says of the looks before it, and of a claim before them.
pub fn in_basis(looks: &Looks<'_>) -> String {
    let mut text = match looks.before() {
        0 => "First look at the test folds.".to_string(),
        before => format!("{} at the test folds before this one.", counted(before, "look")),
    };
    if let Some(claim) = looks.claim() {
        text += match claim.looks {
            0 => " A claim was registered before the first.",
            1 => " A claim was registered after one look.",
            _ => " A claim was registered after several looks.",
        };
    }
    text
}

/// The section of the page.
pub fn blocks(report: &Report) -> Vec<Block> {
    let Some(part) = &report.ledger else { return Vec::new() };
    vec![
        Block::Heading("How often were the test folds looked at?".into()),
        Block::Text(sentences(part) + &optimism(report, part)),
    ]
    .into_iter()
    .chain(claimed(part).map(Block::Text))
    .chain(figures::looks(report).map(Block::Figure))
    .chain([Block::Sheet(sheet(part))])
    .collect()
}

fn sentences(part: &LedgerPart) -> String {
    let mut text = match part.this.saturating_sub(1) {
        0 => "Nobody was shown a score of the test folds before this report.".to_string(),
        before => {
            let times =
                if before == 1 { "once".into() } else { format!("{} times", count(before)) };
            format!(
                "The test folds were looked at {times} before this report, first on {} ({}, with {} \
                 complete).",
                date(Timestamp(part.first.at_unix_ms)),
                part.first.purpose,
                counted(part.first.outcomes, "trial"),
            )
        }
    };
    text += " Whatever is chosen after a look, such as an arm, a space or the claim itself, may have \
             been chosen by the test rows. A count of looks is no proof that this was done or did \
             harm (Recht et al., 2019).";
    text
}

/// What was claimed, when, and what could be known by then.
fn claimed(part: &LedgerPart) -> Option<String> {
    let claim = part.claim.as_ref()?;
    let by = claim.label.as_ref().unwrap_or(&claim.who);
    let known = match (claim.looks, claim.outcomes) {
        (0, 0) => "before any training had ended".to_string(),
        (0, outcomes) => {
            format!("after {}, and before anybody was shown a score", counted(outcomes, "training"))
        }
        (looks, _) => format!("after {} at the test folds", counted(looks, "look")),
    };
    let sealed = match part.sealed {
        Some(at) => {
            format!(" Scores were sealed from {} until then.", date(Timestamp(at)))
        }
        None => String::new(),
    };
    Some(format!(
        "Registered on {} by {by}, {known}: \u{201c}{}\u{201d}.{sealed} Whether the claim holds is for the reader \
         to judge by the verdict above. The registration's hash fixes its words and what was known by \
         then, and whoever published it then can show when: {}.",
        date(Timestamp(claim.at_unix_ms)),
        claim.text.trim_end_matches('.'),
        claim.hash
    ))
}

/// What luck could have gained by looking; empty where nobody can say, or nothing was picked from.
fn optimism(report: &Report, part: &LedgerPart) -> String {
    let (Some(gain), Some(se)) = (part.lucky_pick, part.case_se) else { return String::new() };
    format!(
        " Looked {} times before this claim: a lucky pick of this size is expected to gain up to {} in \
         {}, if every look had chosen among equals (the standard error over test rows is {}). That \
         bounds what luck could give; it does not say that anything was picked.",
        count(part.this.saturating_sub(1)),
        significant(gain),
        report.study.metric,
        significant(se)
    )
}

fn sheet(part: &LedgerPart) -> Sheet {
    let row = |looker: &LookerPart| {
        let label = looker.label.clone().unwrap_or_else(|| "–".to_string());
        vec![looker.who.clone(), label, count(looker.looks)]
    };
    let mut rows: Vec<Vec<String>> = part.by.iter().map(row).collect();
    let named: u64 = part.by.iter().map(|looker| looker.looks).sum();
    if named < part.looks {
        rows.push(vec!["others".into(), "–".into(), count(part.looks - named)]);
    }
    Sheet {
        title: "Who looked".into(),
        columns: columns(&["Operator", "Label", "Looks"], 2),
        rows,
        legend: legend(&[
            (
                "Operator",
                "The member of the cluster whose certificate asked; \"local\" is whoever works on a coordinator's own machine.",
            ),
            ("Looks", "Reports, exports and runs that showed outcomes, this report included."),
            (
                "Head",
                &format!(
                    "{}: the hash to which every look ({} in all) is chained; \"coordinator ledger\" shows the chain.",
                    part.head,
                    counted(part.looks, "look"),
                ),
            ),
        ]),
    }
}

/// `2026-01-31 14:05 UTC`.
pub fn date(at: Timestamp) -> String {
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    let Ok(at) = OffsetDateTime::from_unix_timestamp(seconds) else { return "–".to_string() };
    let (year, month, day) = at.to_calendar_date();
    format!("{year:04}-{:02}-{day:02} {:02}:{:02} UTC", u8::from(month), at.hour(), at.minute())
}
