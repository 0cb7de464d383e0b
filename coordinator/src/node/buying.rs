//! Buying more of a study, or ending it: the leader compares scores and clocks, and proposes.
//!
//! When every trial of what is bought has ended, the study's rule says which arms get one seed more. A
//! seed in which a trial gave no score counts for no arm. Hours are those in which something of the study
//! was in training, as leaders measure them: the log is told once a minute, and a leader that is lost takes
//! less than that with it. What is decided and does not get into the log is proposed again.
//!
//! Floor: core.

use common::design::{Design, TrialKey};
use common::id::StudyId;
use common::stats::stopping::{Next, decide_among};
use common::study::Halving;
use common::wire::message::{Decided, Response, Why};

use super::{Asker, Node, Now, asks};
use crate::scheduler::buying::Buying;
use crate::scheduler::command::Command;
use crate::scheduler::state::StudyRecord;

impl Node {
    /// Proposes what scores and clocks decide. `again`: also what was proposed before.
    pub(super) fn buy_what_is_due(&mut self, again: bool, now: Now) {
        if !self.soft.leading || self.state.buying.is_empty() {
            return;
        }
        let mut due = Vec::new();
        for (study, buying) in &self.state.buying {
            let Some(record) = self.state.studies.get(study) else { continue };
            let number = buying.decided().len();
            if !record.state.goes_on() || !again && self.soft.bought.get(study) == Some(&number) {
                continue;
            }
            let more_ms = self.soft.training.get(study).copied().unwrap_or_default();
            if let Some(words) = spent(record, buying, more_ms) {
                let (seeds, why) = (buying.seeds(0).unwrap_or_default(), Why::Spent);
                let decided = Decided { at: now.wall, seeds, go_on: Vec::new(), why, words };
                due.push((*study, number, decided));
            } else if record.is_due(buying) {
                due.push((*study, number, decided(record, buying, now)));
            }
        }
        for (study, number, decided) in due {
            self.soft.bought.insert(study, number);
            // What it is spent by stands in the log before.
            if decided.why == Why::Spent
                && let Some(ms) = self.soft.training.remove(&study)
            {
                self.propose(Command::Worked { study, ms }, Asker::Nobody);
            }
            self.propose(Command::Decide { study, decided }, Asker::Nobody);
        }
    }

    /// Once a second: for how long studies are in training, and what is due and not in the log yet.
    pub(super) fn tend_buying(&mut self, now: Now) {
        let passed_ms = now.mono.since_ms(self.soft.tended);
        if self.state.buying.is_empty() || passed_ms < TENDED_MS {
            return;
        }
        self.soft.tended = now.mono;
        let limited: Vec<StudyId> = self.state.buying.keys().copied().collect();
        for study in limited {
            let more_ms = self.soft.training.entry(study).or_default();
            if self.soft.leases.leased(study) > 0 {
                // Of a gap nobody knows what was trained in it.
                *more_ms += passed_ms.min(2 * TENDED_MS);
            }
            let hours = self.state.studies.get(&study).and_then(|known| known.study.budget.hours);
            if hours.is_some() && *more_ms >= WORKED_MS {
                let ms = std::mem::take(more_ms);
                self.propose(Command::Worked { study, ms }, Asker::Nobody);
            }
        }
        self.buy_what_is_due(true, now);
    }

    pub(super) fn decided(&self, study: StudyId) -> Response {
        if !self.state.studies.contains_key(&study) {
            return asks::unknown_study(study);
        }
        let known = self.state.buying(study);
        let mut decided = known.map_or_else(Vec::new, |known| known.decided().to_vec());
        let mut seeds: Vec<u32> = (0..).map_while(|arm| known?.seeds(arm)).collect();
        if self.state.is_closed(study) {
            // Which arm goes on says which one lost.
            let most = seeds.iter().copied().max().unwrap_or_default();
            seeds.fill(most);
            decided.drain(..decided.len().saturating_sub(1));
            for last in decided.iter_mut().filter(|last| last.why != Why::Spent) {
                last.go_on.truncate(1);
                last.words = "sealed".to_string();
            }
        }
        Response::Decided { decided, seeds }
    }
}

/// What the scores of the seeds so far decide.
fn decided(record: &StudyRecord, buying: &Buying, now: Now) -> Decided {
    let study = &record.study;
    let judged = study.judged().len();
    let names: Vec<&str> = study.judged().iter().map(|arm| arm.name.as_str()).collect();
    let open: Vec<u32> = buying.open().filter(|arm| (*arm as usize) < judged).collect();
    let seeds = open.first().and_then(|arm| buying.seeds(*arm)).unwrap_or_default();
    let ruled = study.stopping_rule(hours_per_block(record, buying)).map(|rule| {
        let scores = scores(record, buying);
        let goes_on: Vec<bool> = (0..judged as u32).map(|arm| open.contains(&arm)).collect();
        (rule, decide_among(&rule, &scores, &goes_on))
    });
    let (go_on, words) = match ruled {
        Some((rule, Ok(decision))) => {
            let go_on: Vec<u32> = match &decision.next {
                Next::Stop => Vec::new(),
                // An arm that was dropped stays so, whatever a failed trial scores when it is tried again.
                Next::GoOn(arms) => {
                    open.iter().copied().filter(|arm| arms.contains(&(*arm as usize))).collect()
                }
            };
            let news = go_on != open;
            (go_on, if news { decision.in_words(&rule, &names) } else { String::new() })
        }
        // The rule was checked when the study came in: nothing is known, and nothing is saved.
        Some((_, Err(error))) => (open.clone(), error.to_string()),
        None => (open.clone(), String::new()),
    };
    // One arm alone has nothing to be held against.
    let go_on = if go_on.len() < 2 { Vec::new() } else { go_on };
    Decided { at: now.wall, seeds, go_on, why: Why::Rule, words }
}

/// Hours that a further seed of an arm takes, the mean over those under judgement: of what was trained the
/// part of a seed. Choices that hold for all seeds are paid for, and so are controls, which may have fewer.
/// The parts are by trainings, one on inner folds counting by its share of the rows and a rung by its epochs;
/// an arm or a config that takes longer than others is not told apart.
pub(super) fn hours_per_block(record: &StudyRecord, buying: &Buying) -> f64 {
    let study = &record.study;
    let design = Design::of(study);
    let (mut all, mut of_seeds, mut seeds) = (0.0, 0.0, 0.0);
    for (number, arm) in (0..).zip(&study.arms) {
        let bought = u64::from(buying.seeds(number).unwrap_or_default());
        let bought = bought.min(design.seeds_of(number)) as f64;
        let try_share = study.outer.inner_share() * arm.halving.map_or(1.0, Halving::share);
        let each = design.trained_with_a_seed(number);
        let refits = if design.is_searched(number) { design.blocks() } else { each };
        let with_a_seed = refits as f64 + try_share * (each - refits) as f64;
        let once = if design.tuning_trials() > 0 { design.choosing_trials(number) } else { 0 };
        all += try_share * once as f64 + bought * with_a_seed;
        if (number as usize) < study.judged().len() {
            of_seeds += bought * with_a_seed;
            seeds += bought;
        }
    }
    let of_all = if all > 0.0 { of_seeds / all } else { 0.0 };
    buying.trained_hours() * of_all / f64::max(seeds, 1.0)
}

/// By arm and seed the scores on all outer folds, each the mean over the arm's configs; a seed in which an
/// arm that trained it has no score is left out for all.
fn scores(record: &StudyRecord, buying: &Buying) -> Vec<Vec<Vec<f64>>> {
    let study = &record.study;
    let design = Design::of(study);
    let judged = study.judged().len() as u32;
    let most = (0..judged).filter_map(|arm| buying.seeds(arm)).max().unwrap_or_default();
    let mut scores = vec![Vec::new(); judged as usize];
    for seed in 0..most {
        let of_arm = |arm: u32| -> Option<Option<Vec<f64>>> {
            (buying.seeds(arm) > Some(seed)).then(|| block(record, buying, &design, (arm, seed)))
        };
        let blocks: Vec<Option<Option<Vec<f64>>>> = (0..judged).map(of_arm).collect();
        if blocks.iter().any(|block| matches!(block, Some(None))) {
            continue;
        }
        for (all, block) in scores.iter_mut().zip(blocks) {
            all.extend(block.flatten());
        }
    }
    scores
}

/// The scores of an arm's seed, fold after fold; `None` where one is missing.
fn block(
    record: &StudyRecord,
    buying: &Buying,
    design: &Design,
    (arm, seed): (u32, u32),
) -> Option<Vec<f64>> {
    let configs = record.study.arms[arm as usize].configs.len() as u32;
    let outer = &record.study.outer;
    let folds = (0..outer.partitions).flat_map(|part| (0..outer.folds).map(move |f| (part, f)));
    let of_fold = |(partition, fold): (u32, u32)| -> Option<f64> {
        let score = |config: u32| {
            let key = TrialKey { arm, config, seeds: vec![seed], partition, fold, inner: None };
            buying.score(design.index(&key)?)
        };
        let known: Vec<Option<f64>> = match design.is_searched(arm) {
            // Of the refits one is trained.
            true => vec![(0..configs).find_map(score)],
            false => (0..configs).map(score).collect(),
        };
        let known: Vec<f64> = known.into_iter().collect::<Option<_>>()?;
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        mean.is_finite().then_some(mean)
    };
    folds.map(of_fold).collect()
}

/// Which budget is spent, in words. `more_ms`: in training, and not in the log yet.
fn spent(record: &StudyRecord, buying: &Buying, more_ms: u64) -> Option<String> {
    let budget = &record.study.budget;
    let over = |used: f64, budget: Option<f64>| budget.filter(|budget| used >= *budget);
    if let Some(budget) = over((buying.worked_ms() + more_ms) as f64 / 3.6e6, budget.hours) {
        return Some(format!("the budget of {budget} hours is spent"));
    }
    let budget = over(buying.trained_hours(), budget.agent_hours)?;
    Some(format!("the budget of {budget} agent-hours is spent"))
}

/// In training, after which the log is told.
const WORKED_MS: u64 = 60_000;
/// Between two looks at what is due and spent.
const TENDED_MS: u64 = 1_000;
