//! The verdict over several studies, what a reader should know first, and the methods.
//!
//! A claim about other data sets rests on ranks alone; intervals over runs speak of these studies.
//!
//! Floor: core.

use super::super::content::{Interval, Verdict, VerdictKind};
use super::super::methods::{BOUTHILLIER, RECHT, Reference};
use super::super::number::{beside, count, counted, decimals, listed, p, percent};
use super::super::subject;
use super::content::{ArmPart, FriedmanPart, PairPart, ScaleKind, Several};
use super::open::{Opened, Side};
use super::{ALPHA, DRAWS, STUDIES_MIN};

/// The page's title.
pub fn title(report: &Several) -> String {
    let names: Vec<String> = report.studies.iter().map(|study| study.study.clone()).collect();
    match names.as_slice() {
        [first, .., last] if names.len() > NAMES_IN_TITLE => {
            format!("{}, from {first} to {last}", studies(report))
        }
        _ => listed(&names),
    }
}

pub fn reproduce(side: &Side<'_>) -> String {
    let name = |study: &Opened<'_>| {
        let namesakes = side.studies.iter().filter(|s| s.study().name == study.study().name);
        match namesakes.count() {
            1 => study.study().name.clone(),
            _ => study.study().id().to_string(),
        }
    };
    let names: Vec<String> = side.studies.iter().map(name).collect();
    format!("coordinator report --studies {}", names.join(","))
}

/// Stands in while a report is being made.
pub fn nothing() -> Verdict {
    Verdict { kind: VerdictKind::Described, text: String::new(), basis: String::new() }
}

pub fn verdict(report: &Several) -> Verdict {
    let (kind, text) = match &report.friedman {
        Some(test) => over_data_sets(report, test),
        None => (VerdictKind::Described, on_these(report)),
    };
    Verdict { kind, text, basis: basis(report) }
}

/// What ranks over data sets show.
fn over_data_sets(report: &Several, test: &FriedmanPart) -> (VerdictKind, String) {
    let sets = format!("these {} data sets", count(test.studies));
    let behind = |a: &ArmPart, b: &ArmPart| b.mean_rank - a.mean_rank >= test.critical_difference;
    let whole = test.p_f < ALPHA;
    let clear: Vec<(&ArmPart, &ArmPart)> = report
        .arms
        .iter()
        .flat_map(|a| report.arms.iter().map(move |b| (a, b)))
        .filter(|(a, b)| whole && behind(a, b))
        .collect();
    let ahead = report.arms.iter().find(|arm| {
        clear.iter().filter(|(a, _)| a.arm == arm.arm).count() + 1 == report.arms.len()
    });
    let tested = format!(
        "Friedman's test p {}, critical difference of mean ranks {}",
        equals(test.p_f),
        decimals(test.critical_difference, 2)
    );
    if let Some(arm) = ahead {
        let rank = decimals(arm.mean_rank, 2);
        let text = format!(
            "{} did better than every other arm over {sets}: its mean rank is {rank}, where 1 is the \
             best, and every other arm lies further behind than chance explains ({tested}). {}",
            arm.arm,
            beats(report, arm)
        );
        return (VerdictKind::Clear, text);
    }
    if clear.is_empty() {
        let as_a_whole = match whole {
            true => {
                "The arms differ as a whole, but no two of them lie further apart than chance \
                     explains"
            }
            false => "Differences between these ranks are what chance alone would give",
        };
        let text = format!(
            "No arm was shown to do better than another over {sets}. {as_a_whole} ({tested}). This \
             does not show that they are equal. {}",
            on_these(report)
        );
        return (VerdictKind::NotShown, text);
    }
    let spelled: Vec<String> = (clear.iter().take(PAIRS_SPELLED))
        .map(|(a, b)| format!("{} did better than {}", a.arm, b.arm))
        .collect();
    let more = match clear.len().saturating_sub(PAIRS_SPELLED) {
        0 => String::new(),
        more => format!(", and {} more", counted(more as u64, "pair")),
    };
    let text = format!(
        "Some differences over {sets} are clear, but no arm was shown to do better than every other: \
         {}{more} ({tested}).",
        listed(&spelled)
    );
    (VerdictKind::PartlyClear, text)
}

/// What the runs show of these studies alone.
fn on_these(report: &Several) -> String {
    let most = report.arms.iter().map(|arm| arm.iqm).fold(f64::NEG_INFINITY, f64::max);
    let leaders: Vec<&ArmPart> = report.arms.iter().filter(|arm| arm.iqm == most).collect();
    let named = format!("On these {} studies", count(report.studies.len() as u64));
    let text = match leaders.as_slice() {
        [leader] => {
            let led = format!(
                "{named} {} had the best interquartile mean of normalised scores, {}.",
                leader.arm,
                with_interval(leader.iqm, leader.iqm_ci.as_ref())
            );
            format!("{led} {}", beats(report, leader))
        }
        _ => {
            let names: Vec<String> = leaders.iter().map(|arm| arm.arm.clone()).collect();
            format!("{named} {} had the same interquartile mean.", listed(&names))
        }
    };
    if report.friedman.is_some() {
        return text;
    }
    let more = STUDIES_MIN.saturating_sub(report.studies.len());
    match more {
        0 => text,
        _ => format!(
            "{text} Nothing is said of other data sets: ranks over data sets need {STUDIES_MIN} \
             studies, {} more than these.",
            count(more as u64)
        ),
    }
}

/// How often a run of the leader beats one of each other arm, and whether luck with seeds explains it.
fn beats(report: &Several, leader: &ArmPart) -> String {
    let seen: Vec<Seen<'_>> =
        report.improvement.iter().filter_map(|pair| Seen::from(pair, &leader.arm)).collect();
    let Some(least) = seen.iter().min_by(|x, y| x.share.total_cmp(&y.share)) else {
        return String::new();
    };
    let of_all = if seen.len() > 1 { ", the arm it beats least often," } else { "" };
    let chance = format!(
        "Trained once more, it would beat {}{of_all} in {} of pairs on the same study",
        least.other,
        percent(least.share)
    );
    let Some((low, high)) = least.ends else {
        return format!("{chance}; with one seed a study, nothing says how sure that is.");
    };
    let wide = if seen.len() > 1 { ", allowing for the number of pairs" } else { "" };
    let span = format!("95 % interval {} to {}{wide}", percent(low), percent(high));
    if high < 0.5 {
        return format!(
            "{chance} ({span}): though it is ahead here, {} wins most pairs.",
            least.other
        );
    }
    match low > 0.5 {
        true => format!("{chance} ({span}): lucky seeds do not explain it."),
        false => format!("{chance} ({span}), which luck with seeds alone can give."),
    }
}

/// A pair as one of its arms sees it.
struct Seen<'a> {
    other: &'a str,
    share: f64,
    /// Adjusted for the number of pairs.
    ends: Option<(f64, f64)>,
}

impl<'a> Seen<'a> {
    fn from(pair: &'a PairPart, arm: &str) -> Option<Self> {
        let ends = pair.p_a_beats_b_adjusted.as_ref().map(|ci| (ci.low, ci.high));
        match (pair.a == arm, pair.b == arm) {
            (true, _) => Some(Self { other: &pair.b, share: pair.p_a_beats_b, ends }),
            (_, true) => Some(Self {
                other: &pair.a,
                share: 1.0 - pair.p_a_beats_b,
                ends: ends.map(|(low, high)| (1.0 - high, 1.0 - low)),
            }),
            _ => None,
        }
    }
}

fn equals(value: f64) -> String {
    let text = p(value);
    if text.starts_with('<') { text } else { format!("= {text}") }
}

/// A number on the common scale with its interval.
fn with_interval(value: f64, interval: Option<&Interval>) -> String {
    match interval {
        Some(ci) => {
            let scale = (ci.high - ci.low) / 4.0;
            format!(
                "{} (95 % interval {} to {})",
                beside(value, scale),
                beside(ci.low, scale),
                beside(ci.high, scale)
            )
        }
        None => decimals(value, 3),
    }
}

fn basis(report: &Several) -> String {
    let of = |study: &super::content::StudyPart| {
        let looks = study.ledger.as_ref().map(|ledger| ledger.this.saturating_sub(1));
        format!(
            "{} ({}, {}, {}{})",
            study.study,
            counted(study.rows, "row"),
            counted(study.seeds, "seed"),
            counted(study.folds, "fold"),
            looks.map_or(String::new(), |looks| format!(", {} before", counted(looks, "look"))),
        )
    };
    let all: Vec<String> = report.studies.iter().map(of).collect();
    let failed: u64 = report.studies.iter().map(|study| study.failed).sum();
    format!(
        "Intervals: new seeds on the same rows and folds (T1). Ranks: other data sets like these, where \
         tested. {}. {} failed.",
        listed(&all),
        counted(failed, "run")
    )
}

/// What a reader should know before trusting the numbers.
pub fn remarks(side: &Side<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (place, arm) in side.arms.iter().enumerate() {
        let trained: Vec<String> = side.studies.iter().map(|study| training(study, arm)).collect();
        if trained.iter().any(|other| *other != trained[0]) {
            let words = side.studies.iter().zip(&trained);
            let words: Vec<String> =
                words.map(|(study, text)| format!("in {}: {text}", study.label)).collect();
            found.push(format!("{arm} is not trained alike everywhere; {}.", words.join("; ")));
        }
        let undrawn: Vec<String> = (side.studies.iter())
            .filter(|study| study.runs[place].len() == 1)
            .map(|study| study.label.clone())
            .collect();
        if !undrawn.is_empty() {
            found.push(format!("{arm} has one run in {}: no interval is given.", listed(&undrawn)));
        }
    }
    let data = |study: &Opened<'_>| (study.study().data.digest, study.study().data.target.clone());
    for (place, one) in side.studies.iter().enumerate() {
        if let Some(other) = side.studies[..place].iter().find(|other| data(other) == data(one)) {
            found.push(format!(
                "{} and {} are of the same data and target, which counts twice.",
                other.label, one.label
            ));
        }
    }
    let numbers: Vec<usize> =
        side.studies.iter().flat_map(|study| study.runs.iter().map(Vec::len)).collect();
    let (least, most) = (side.least_runs(), numbers.into_iter().max().unwrap_or(0));
    if (2..SEEDS_FEW).contains(&least) {
        found.push(format!(
            "With {} a study, intervals drawn from so few runs tend to be too narrow.",
            counted(least as u64, "seed")
        ));
    }
    if least < most {
        found.push(
            "Studies differ in their number of runs: in the interquartile mean, the optimality gap \
             and the profile those with more runs weigh more."
                .to_string(),
        );
    }
    found.extend(side.studies.iter().filter(|study| study.ends.0 == study.ends.1).map(|study| {
        format!("In {} all runs scored the same; each counts as the best.", study.label)
    }));
    found
}

fn training(study: &Opened<'_>, arm: &str) -> String {
    let arm = study.study().judged().iter().find(|written| written.name == arm);
    arm.map_or(String::new(), subject::training)
}

pub fn methods(report: &Several) -> String {
    let arms: Vec<String> = report.arms.iter().map(|arm| arm.arm.clone()).collect();
    let mut text = format!(
        "{} were compared over {} by {} ({}). A run is one training seed's mean score over the folds \
         that all compared arms share. Scores of each study were brought to one scale, 0 being {} and \
         1 {}. ",
        listed(&arms),
        studies(report),
        report.metric,
        report.goal,
        report.scale.zero,
        report.scale.one,
    );
    if report.scale.kind == ScaleKind::Range {
        text += "That scale itself was not drawn anew. ";
    }
    text += "The interquartile mean of all runs, the optimality gap below 1, the performance profile \
             and the probability of improvement are those of rliable (Agarwal et al., 2021)";
    text += &match report.arms.iter().any(|arm| arm.iqm_ci.is_some()) {
        true => format!(
            ", with 95 % percentile intervals of {} bootstrap draws of runs within each study. ",
            count(u64::from(DRAWS))
        ),
        false => "; no interval was drawn, since a study had one run of an arm. ".to_string(),
    };
    text += &match (&report.friedman, &report.friedman_absent) {
        (Some(_), _) => format!(
            "Mean scores were ranked within each study and the ranks compared by Friedman's test in Iman \
             and Davenport's form, then pairwise by Nemenyi's critical difference at {ALPHA} \
             (Demšar, 2006). "
        ),
        (None, Some(why)) => format!("{why} "),
        (None, None) => String::new(),
    };
    if report.studies.iter().any(|study| study.ledger.is_some()) {
        text += "Looks at test folds were counted, which is no proof that they did harm (Recht et al., \
                 2019). ";
    }
    text + "Several sources were varied at once (Bouthillier et al., 2021)."
}

fn studies(report: &Several) -> String {
    format!("{} studies", count(report.studies.len() as u64))
}

pub fn references(report: &Several) -> Vec<&'static str> {
    let looked = report.studies.iter().any(|study| study.ledger.is_some());
    let cited = [
        (true, AGARWAL),
        (true, BOUTHILLIER),
        (report.friedman.is_some(), DEMSAR),
        (looked, RECHT),
    ];
    cited.into_iter().filter_map(|(used, text)| used.then_some(text)).collect()
}

const AGARWAL: &str = "Agarwal R, Schwarzer M, Castro PS, Courville A, Bellemare MG (2021). Deep reinforcement learning \
     at the edge of the statistical precipice. Advances in Neural Information Processing Systems 34.";

const DEMSAR: &str = "Demšar J (2006). Statistical comparisons of classifiers over multiple data sets. Journal of Machine \
     Learning Research 7.";

/// Works that only a report over studies cites.
pub const REFERENCES: [Reference; 2] = [
    Reference {
        key: "agarwal2021",
        in_text: "Agarwal et al., 2021",
        entry: AGARWAL,
        bibtex: "@inproceedings{agarwal2021,
  author = {Agarwal, Rishabh and Schwarzer, Max and Castro, Pablo Samuel and Courville, Aaron and
    Bellemare, Marc G.},
  title = {Deep Reinforcement Learning at the Edge of the Statistical Precipice},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {34}, year = {2021},
}",
    },
    Reference {
        key: "demsar2006",
        in_text: "Demšar, 2006",
        entry: DEMSAR,
        bibtex: "@article{demsar2006,
  author = {Dem{\\v{s}}ar, Janez},
  title = {Statistical Comparisons of Classifiers over Multiple Data Sets},
  journal = {Journal of Machine Learning Research},
  volume = {7}, year = {2006},
}",
    },
];

/// Seeds below which a bootstrap over them knows too little of its tails.
const SEEDS_FEW: usize = 5;

const NAMES_IN_TITLE: usize = 4;
const PAIRS_SPELLED: usize = 3;
