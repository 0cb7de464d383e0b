//! M2: how the spread of a single row's score divides into the row, its fold, the run and the rest.
//!
//! Of one arm `y = mu + P_i + F_f + R_r + e`, with row i in fold f tested by run r; of all arms
//! together each has a mean of its own, and rows suit some arms more than others: `CP_ci`. Rows of a
//! group have the group's effect besides. To bound the work, which follows from counts alone, whole
//! runs are left out, and of three and more arms rows beyond a thousand. A factor that cannot be told
//! from another is named with the reason. Deliberately absent: words for readers, intervals, and a
//! logistic model of scores that are 0 or 1.
//!
//! Source: Åkesson, Töger & Heiberg (2024) for the question; Bates et al. (2015) for the model.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::stats::mixed::{Accumulator, Fit, Formula, Method, Slice};
use common::study::Study;

use super::super::content::{CaseArm, CaseComponent, CaseModelPart, NotEstimable};
use super::super::number::{count, counted};
use super::case_work::{Counts, Form};
use super::cases::{CaseRun, CaseScore, Cases};
use super::grouped;
use super::places::Places;

/// The models of each arm and of all arms. Where there is none the part says why.
pub fn of_all(
    study: &Study,
    cases: Result<&Cases<'_>, String>,
    places: &Places<'_>,
) -> CaseModelPart {
    let missing = |why| CaseModelPart { missing: Some(why), ..CaseModelPart::default() };
    let cases = match cases {
        Ok(cases) => cases,
        Err(why) => return missing(why),
    };
    let field = Field::of(study, cases, places);
    let runs_with_rows = field.runs.len() as u64;
    let mut part = CaseModelPart {
        rows: field.rows.len() as u64,
        runs_with_rows,
        left_out: cases.without,
        partitions: if places.across_partitions() { study.outer.partitions } else { 1 },
        linear_probability: field.score == CaseScore::Correct,
        ..CaseModelPart::default()
    };
    match field.taken(|taken| field.work_of_arms(taken) <= WORK_OF_ARMS_MAX) {
        Some(taken) => {
            part.runs = taken.len() as u64;
            field.divide_arms(&taken, &mut part);
        }
        None if runs_with_rows == 0 => return missing("no run's rows have names".to_string()),
        None => part.not_estimable.push(NotEstimable {
            arm: None,
            factor: None,
            why: format!(
                "the models of single arms would take too long with {} and {}",
                counted(part.rows, "row"),
                counted(runs_with_rows, "run")
            ),
        }),
    }
    field.divide_jointly(&mut part);
    if part.arms.is_empty() && part.joint.is_empty() {
        let whys: BTreeSet<&str> =
            part.not_estimable.iter().map(|part| part.why.as_str()).collect();
        part.missing = Some(whys.into_iter().collect::<Vec<_>>().join("; "));
    }
    part
}

/// Runs whose rows have names, and how to read them.
#[derive(Clone)]
struct Field<'f, 'a> {
    study: &'f Study,
    places: &'f Places<'a>,
    score: CaseScore,
    /// Arm and run, in the study's and in trial order.
    runs: Taken<'f, 'a>,
    /// Rows that these met, those of them that are taken, and the groups of the latter; no groups
    /// where nobody knows them.
    met: usize,
    rows: BTreeSet<u64>,
    groups: usize,
}

/// Some of the runs.
type Taken<'f, 'a> = Vec<(usize, &'f CaseRun<'a>)>;

impl<'f, 'a> Field<'f, 'a> {
    fn of(study: &'f Study, cases: &'f Cases<'a>, places: &'f Places<'a>) -> Self {
        let sizes: BTreeMap<u32, usize> =
            cases.arms.iter().flatten().map(|run| (run.block, run.rows.len())).collect();
        let named = |(block, size): (u32, usize)| -> Option<(u32, Vec<u64>)> {
            let rows: Option<Vec<u64>> = (0..size).map(|place| places.row(block, place)).collect();
            Some((block, rows?))
        };
        let named: BTreeMap<u32, Vec<u64>> = sizes.into_iter().filter_map(named).collect();
        let rows: BTreeSet<u64> = named.values().flatten().copied().collect();
        let all = cases.arms.iter().enumerate();
        let runs = all.flat_map(|(arm, runs)| runs.iter().map(move |run| (arm, run)));
        let runs = runs.filter(|(_, run)| named.contains_key(&run.block)).collect();
        let score = CaseScore::of(study);
        let met = rows.len();
        let mut field = Self { study, places, score, runs, met, rows: BTreeSet::new(), groups: 0 };
        field.take(rows);
        field
    }

    fn take(&mut self, rows: BTreeSet<u64>) {
        let groups: BTreeSet<u32> = match self.study.data.group {
            Some(_) if self.places.data().is_some() => {
                rows.iter().filter_map(|row| self.places.cluster(*row)).collect()
            }
            _ => BTreeSet::new(),
        };
        (self.rows, self.groups) = (rows, groups.len());
    }

    /// Of at most `most` rows, taken evenly: all groups with as many rows of each as fit, or where
    /// groups are too many for two rows each, some groups.
    fn narrowed(&self, most: usize) -> Self {
        let mut field = self.clone();
        if self.rows.len() > most {
            let group = |row: &u64| match self.groups {
                0 => 0,
                _ => self.places.cluster(*row).map_or(u64::MAX, u64::from),
            };
            let groups = grouped(self.rows.iter().copied(), group);
            let each = (most / groups.len()).max(REPEATED_MIN);
            let of_groups = groups.into_values().map(|rows| evenly(rows, each)).collect();
            let rows = evenly::<Vec<u64>>(of_groups, usize::MAX);
            field.take(rows.into_iter().flatten().take(most).collect());
        }
        field
    }

    /// As many runs of each arm and fold as fit; `None` where two of each do not.
    fn taken(&self, fits: impl Fn(&Taken<'f, 'a>) -> bool) -> Option<Taken<'f, 'a>> {
        let cells = grouped(0..self.runs.len(), |at| (self.runs[*at].0, self.runs[*at].1.block));
        let ranked: Vec<Vec<usize>> =
            cells.into_values().map(|cell| evenly(cell, usize::MAX)).collect();
        let most = ranked.iter().map(Vec::len).max()?;
        let of = |each: usize| {
            let mut kept: Vec<usize> =
                ranked.iter().flat_map(|cell| cell.iter().take(each)).copied().collect();
            kept.sort_unstable();
            kept.into_iter().map(|at| self.runs[at]).collect::<Taken<'f, 'a>>()
        };
        // Work grows with the runs: halve the span between what fits and what does not.
        let all = of(most);
        if fits(&all) {
            return Some(all);
        }
        let (mut good, mut bad) = (1, most);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(&of(middle)) { good = middle } else { bad = middle }
        }
        (good >= REPEATED_MIN).then(|| of(good))
    }

    fn work_of_arms(&self, taken: &Taken<'f, 'a>) -> f64 {
        let arms = grouped(taken.iter().copied(), |(arm, _)| *arm);
        arms.values().map(|runs| self.work(runs, Form::Plain)).sum()
    }

    /// Nanoseconds that a fit takes, about.
    fn work(&self, runs: &[(usize, &CaseRun<'_>)], form: Form) -> f64 {
        let scores = runs.iter().map(|(_, run)| run.rows.len()).sum::<usize>();
        let across = self.places.across_partitions();
        Counts {
            scores: scores * self.rows.len() / self.met.max(1),
            arms: runs.iter().map(|(arm, _)| arm).collect::<BTreeSet<_>>().len(),
            rows: self.rows.len(),
            groups: self.groups,
            blocks: runs.iter().map(|(_, run)| run.block).collect::<BTreeSet<_>>().len(),
            configs: grouped(runs.iter(), |(arm, run)| (*arm, run.config)).len(),
            runs: runs.len(),
            partitions: if across { self.study.outer.partitions as usize } else { 1 },
        }
        .work(form)
    }

    /// The column whose rows stay together, where it is known which do.
    fn group(&self) -> Option<&String> {
        self.study.data.group.as_ref().filter(|_| self.groups > 0)
    }

    fn divide_arms(&self, taken: &Taken<'f, 'a>, part: &mut CaseModelPart) {
        for (arm, runs) in grouped(taken.iter().copied(), |(arm, _)| *arm) {
            let name = self.study.arms[arm].name.clone();
            let mut dropped = Vec::new();
            let found = self.factors(&runs, false).divided(Form::Plain, &mut dropped);
            let refused = found.as_ref().err().map(|why| (None, why.in_words()));
            let all = dropped.into_iter().map(|(factor, why)| (Some(factor), why)).chain(refused);
            part.not_estimable.extend(all.map(|(factor, why)| NotEstimable {
                arm: Some(name.clone()),
                factor,
                why,
            }));
            let score = self.score.in_words();
            part.arms.extend(found.ok().map(|components| CaseArm { arm: name, score, components }));
        }
    }

    /// The model of all arms. Of two arms it is fitted to a row's mean and difference, of which it is
    /// the same model with fewer levels.
    fn divide_jointly(&self, part: &mut CaseModelPart) {
        let arms: BTreeSet<usize> = self.runs.iter().map(|(arm, _)| *arm).collect();
        if arms.len() < 2 {
            return;
        }
        let forms: &[Form] = match arms.len() {
            2 => &[Form::Contrast, Form::Plain],
            _ => &[Form::Plain],
        };
        let mut dropped = Vec::new();
        let mut refused = None;
        for form in forms {
            let Some((field, taken)) = self.narrowed_to_fit(*form) else {
                refused = refused.or_else(|| Some(self.too_dear(arms.len())));
                continue;
            };
            dropped.clear();
            match field.factors(&taken, true).divided(*form, &mut dropped) {
                Ok(components) => {
                    part.joint = components;
                    part.joint_runs = Some(taken.len() as u64);
                    part.joint_rows = Some(field.rows.len() as u64);
                    refused = None;
                }
                Err(Refused::Opposed) => {
                    refused = Some(Refused::Opposed.in_words());
                    continue;
                }
                Err(why) => refused = Some(why.in_words()),
            }
            break;
        }
        let all = dropped.into_iter().map(|(factor, why)| (Some(factor), why));
        let all = all.chain(refused.map(|why| (None, why)));
        part.not_estimable.extend(all.map(|(factor, why)| NotEstimable { arm: None, factor, why }));
    }

    /// Most rows first, then as many runs as fit with them. The form of means and differences needs
    /// no fewer rows, since its work does not grow with their cube.
    fn narrowed_to_fit(&self, form: Form) -> Option<(Self, Taken<'f, 'a>)> {
        let rows: &[usize] = match form {
            Form::Contrast => &[usize::MAX],
            Form::Plain => &ROWS_JOINTLY,
        };
        rows.iter().find_map(|most| {
            let field = self.narrowed(*most);
            let taken = field.taken(|taken| field.work(taken, form) <= WORK_JOINTLY_MAX)?;
            Some((field, taken))
        })
    }

    fn too_dear(&self, arms: usize) -> String {
        format!(
            "the model over {} and {} would take too long, and is left out",
            counted(arms as u64, "arm"),
            counted(self.runs.len() as u64, "run")
        )
    }

    /// The scores of all rows of `runs` with every factor that may cause their spread.
    fn factors(&self, runs: &[(usize, &CaseRun<'_>)], jointly: bool) -> Scores {
        let mut cells: Vec<Cell> = Vec::new();
        let mut y = Vec::new();
        for (number, (arm, run)) in runs.iter().enumerate() {
            for (place, score) in run.rows.iter().enumerate() {
                let row = self.places.row(run.block, place);
                let Some(row) = row.filter(|row| self.rows.contains(row)) else { continue };
                let group = self.group().and_then(|_| self.places.cluster(row));
                let (arm, run_number, config) = (*arm as u64, number as u64, run.config);
                cells.push(Cell {
                    arm,
                    row,
                    group: group.map_or(row, u64::from),
                    block: run.block.into(),
                    config: config.into(),
                    run: run_number,
                });
                y.push(self.score.value(*score));
            }
        }
        let mut factors = Vec::new();
        let mut units = vec![("row".to_string(), Cell::row as fn(&Cell) -> u64)];
        units.splice(
            0..0,
            self.group().map(|column| (column.clone(), Cell::group as fn(&Cell) -> u64)),
        );
        for (name, unit) in units {
            factors.push(Factor::of(name.clone(), &cells, |cell| (0, unit(cell))));
            if jointly {
                let own = Factor::of(format!("arm:{name}"), &cells, |cell| (cell.arm, unit(cell)));
                factors.push(Factor { suits: Some(name), ..own });
            }
        }
        let fold = if self.study.outer.partitions > 1 && self.places.across_partitions() {
            "partition:fold"
        } else {
            "fold"
        };
        factors.push(Factor::of(fold.to_string(), &cells, |cell| (0, cell.block)));
        if runs.iter().any(|(arm, _)| self.study.arms[*arm].configs.len() > 1) {
            let name = if jointly { "arm:config" } else { "config" };
            factors.push(Factor::of(name.to_string(), &cells, |cell| (cell.arm, cell.config)));
        }
        factors.push(Factor::of("run".to_string(), &cells, |cell| (0, cell.run)));
        let arm = Factor::of("arm".to_string(), &cells, |cell| (0, cell.arm));
        Scores { y, factors, arm: jointly.then_some(arm) }
    }
}

/// Where one score of a row lies in the design.
struct Cell {
    arm: u64,
    row: u64,
    group: u64,
    block: u64,
    config: u64,
    run: u64,
}

impl Cell {
    fn row(&self) -> u64 {
        self.row
    }

    fn group(&self) -> u64 {
        self.group
    }
}

/// A factor's level of each score, numbered in the order in which levels come, so that factors which
/// part the scores alike have the same codes.
struct Factor {
    name: String,
    codes: Vec<u32>,
    levels: usize,
    /// The factor whose levels suit some arms more than others here.
    suits: Option<String>,
}

impl Factor {
    fn of(name: String, cells: &[Cell], level: impl Fn(&Cell) -> (u64, u64)) -> Self {
        let mut known: BTreeMap<(u64, u64), u32> = BTreeMap::new();
        let mut codes = Vec::with_capacity(cells.len());
        for cell in cells {
            let next = known.len() as u32;
            codes.push(*known.entry(level(cell)).or_insert(next));
        }
        Self { name, codes, levels: known.len(), suits: None }
    }
}

/// Why nothing was divided.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Refused {
    /// Rows that are hard for one arm are easy for the other: a negative variance of rows.
    Opposed,
    Because(String),
}

impl Refused {
    fn in_words(&self) -> String {
        match self {
            Refused::Opposed => {
                "rows that are hard for one arm are easy for the other, so no spread \
                                 of rows is common to both"
                    .to_string()
            }
            Refused::Because(why) => why.clone(),
        }
    }
}

/// What a model is fitted to.
struct Scores {
    y: Vec<f64>,
    factors: Vec<Factor>,
    /// With means of its own.
    arm: Option<Factor>,
}

impl Scores {
    /// Fits by REML; factors that cannot be told apart go to `dropped` with the reason.
    fn divided(
        mut self,
        form: Form,
        dropped: &mut Vec<(String, String)>,
    ) -> Result<Vec<CaseComponent>, Refused> {
        if self.y.iter().all(|score| *score == self.y[0]) {
            let why = "all scores of rows are identical, so there is no spread to divide";
            return Err(Refused::Because(why.to_string()));
        }
        let mut kept: Vec<Factor> = Vec::new();
        for factor in self.factors.drain(..) {
            match reason_to_drop(&factor, &kept, self.y.len()) {
                Some(why) => dropped.push((factor.name, why)),
                None => kept.push(factor),
            }
        }
        self.factors = kept;
        if self.factors.is_empty() {
            let why = "no row was tested twice, so nothing can be told from the residual";
            return Err(Refused::Because(why.to_string()));
        }
        let fit = self.fitted(form).map_err(Refused::Because)?;
        if !fit.converged {
            let why = "the fit stopped before it converged";
            return Err(Refused::Because(why.to_string()));
        }
        self.components(form, &fit)
    }

    /// Whether this factor is written as slopes of the one before it.
    fn as_slopes(&self, form: Form, factor: &Factor) -> bool {
        let known = |name: &String| self.factors.iter().any(|other| other.name == *name);
        form == Form::Contrast && factor.suits.as_ref().is_some_and(known)
    }

    fn fitted(&self, form: Form) -> Result<Fit, String> {
        let mut text = "y ~ 1".to_string();
        text += if self.arm.is_some() { " + x" } else { "" };
        for (place, factor) in self.factors.iter().enumerate() {
            text += &match self.as_slopes(form, factor) {
                // Right after the factor itself.
                true => format!(" + (0 + z | f{})", place - 1),
                false => format!(" + (1 | f{place})"),
            };
        }
        let named = |words: String| {
            // Longest place first, so that `f1` is not found in `f10`.
            (0..self.factors.len()).rev().fold(words, |words, place| {
                words.replace(&format!("`f{place}`"), &self.factors[place].name)
            })
        };
        let formula = Formula::parse(&text).map_err(|error| error.to_string())?;
        let mut accumulator = Accumulator::new(&formula);
        let most = self.factors.iter().chain(&self.arm).map(|factor| factor.levels).max();
        let names: Vec<String> = (0..most.unwrap_or(0)).map(|level| level.to_string()).collect();
        let symbols: Vec<String> =
            (0..self.factors.len()).map(|place| format!("f{place}")).collect();
        for begin in (0..self.y.len()).step_by(CHUNK) {
            let range = begin..(begin + CHUNK).min(self.y.len());
            let arm = self.arm.as_ref().map(|arm| &arm.codes[range.clone()]);
            let z: Vec<f64> =
                arm.into_iter().flatten().map(|code| f64::from(*code) - 0.5).collect();
            let mut columns = BTreeMap::from([("y", Slice::Numbers(&self.y[range.clone()]))]);
            if let Some(codes) = arm {
                columns.insert("x", Slice::Levels { codes, names: &names });
                columns.insert("z", Slice::Numbers(&z));
            }
            for (symbol, factor) in symbols.iter().zip(&self.factors) {
                let codes = &factor.codes[range.clone()];
                columns.insert(symbol, Slice::Levels { codes, names: &names });
            }
            accumulator.add(&columns).map_err(|error| named(error.to_string()))?;
        }
        accumulator.fit(Method::Reml).map_err(|error| named(error.to_string()))
    }

    /// The fit's variances in the factors' order, the residual last.
    fn components(&self, form: Form, fit: &Fit) -> Result<Vec<CaseComponent>, Refused> {
        let mut variances: Vec<f64> = fit.components.iter().map(|part| part.variance).collect();
        for (place, factor) in self.factors.iter().enumerate() {
            if !self.as_slopes(form, factor) {
                continue;
            }
            let (of_means, of_differences) = (variances[place - 1], variances[place]);
            variances[place] = of_differences / 2.0;
            variances[place - 1] = of_means - of_differences / 4.0;
            if variances[place - 1] < 0.0 {
                return Err(Refused::Opposed);
            }
        }
        variances.push(fit.residual.variance);
        let total: f64 = variances.iter().sum();
        let named = self.factors.iter().map(|factor| (factor.name.clone(), factor.levels));
        let named = named.chain([("residual".to_string(), self.y.len())]);
        let component = |((factor, levels), variance): ((String, usize), f64)| CaseComponent {
            factor,
            levels: levels as u64,
            variance,
            sd: variance.sqrt(),
            share: variance / total,
        };
        Ok(named.zip(variances).map(component).collect())
    }
}

/// Why a factor's spread cannot be told from another part of the model.
fn reason_to_drop(factor: &Factor, kept: &[Factor], scores: usize) -> Option<String> {
    match factor.levels {
        0 | 1 => Some("it has one level among these runs, so its spread was not seen".to_string()),
        levels if levels >= scores => Some(format!(
            "each of its {} has one score, so it cannot be told from the residual",
            match levels as u64 {
                1 => "1 level".to_string(),
                many => format!("{} levels", count(many)),
            }
        )),
        _ => kept.iter().find(|other| other.codes == factor.codes).map(|other| {
            format!("its levels are those of {}, so the two cannot be told apart", other.name)
        }),
    }
}

/// The first `most` of a list, and those evenly: place i comes before place j where the fractional part
/// of i times the golden ratio is less, which is in step with no pattern of seeds, configs and rows.
fn evenly<T>(list: Vec<T>, most: usize) -> Vec<T> {
    let mut placed: Vec<(u64, T)> =
        (0u64..).zip(list).map(|(place, one)| (place.wrapping_mul(GOLDEN), one)).collect();
    placed.sort_by_key(|(rank, _)| *rank);
    placed.into_iter().take(most).map(|(_, one)| one).collect()
}

/// 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Runs of one arm and fold without which no row is tested twice.
const REPEATED_MIN: usize = 2;

/// Scores handed to the fit at once.
const CHUNK: usize = 16_384;

/// Rows of a model of three and more arms, where these fit: a standard deviation over 1,000 rows is
/// known to 2 %, over 125 to 6 %.
const ROWS_JOINTLY: [usize; 4] = [1_000, 500, 250, 125];

/// Nanoseconds; together about a second, since a report is waited for.
const WORK_OF_ARMS_MAX: f64 = 3.3e8;
const WORK_JOINTLY_MAX: f64 = 1e9;
