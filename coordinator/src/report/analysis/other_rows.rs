//! T3: these very trained models, met by other rows.
//!
//! Rows are drawn again, or whole clusters of them, the same draw for all runs at once, so that what
//! is easy for all cancels in a difference. Training, folds and seeds stay. A metric that is no mean
//! over rows moves with its slope at each row. Deliberately absent: retraining; that is T1 and T2.
//!
//! Source: Efron & Tibshirani (1993), chapters 13 and 14; `common::stats::cases`.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::stats::cases::{CaseInterval, case_interval};
use common::stats::resample::Resampling;
use common::study::Study;

use super::super::content::{Interval, LEVEL, OtherRows, OtherRowsPart, Target};
use super::super::number::{count, counted};
use super::arms::within_metric;
use super::cases::{CaseRun, Cases};
use super::influence::Form;
use super::places::{NO_TABLE, Places};
use super::{estimate, grouped};

/// Intervals of each arm's mean and of each pair's difference, in the study's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resampled {
    pub part: OtherRowsPart,
    pub arms: Vec<Option<OtherRows>>,
    pub pairs: BTreeMap<(usize, usize), OtherRows>,
    /// Of each pair: the rows of one test set, and the standard error over them of the difference of
    /// one run of each.
    pub one_set: BTreeMap<(usize, usize), (u64, f64)>,
}

/// Resamples rows. Where that is not possible the part says why.
pub fn of_all(study: &Study, cases: Result<&Cases<'_>, String>, places: &Places<'_>) -> Resampled {
    let opened = cases.and_then(|cases| {
        check_groups(study, places)?;
        let form = Form::of(study, places)?;
        Ok(Model { study, cases, places, form, names: Names::of(cases, places) })
    });
    let arms = study.judged().len();
    let mut resampled = Resampled { arms: vec![None; arms], ..Resampled::default() };
    let found = opened.and_then(|model| {
        let moved: Vec<Result<Moved, String>> = (0..arms).map(|arm| model.of_arm(arm)).collect();
        let work = model.work(&moved, arms + arms * arms.saturating_sub(1) / 2);
        let mut first_error = None;
        for (arm, moved) in moved.iter().enumerate() {
            match moved.as_ref().map_err(String::clone).and_then(|one| model.interval(one, work)) {
                Ok((mut interval, part)) => {
                    let OtherRows { ci, .. } = &mut interval;
                    (ci.low, ci.high) = within_metric(study, (ci.low, ci.high));
                    resampled.arms[arm] = Some(interval);
                    resampled.part = part;
                }
                Err(why) => first_error = first_error.or(Some(why)),
            }
        }
        for a in 0..arms {
            for b in a + 1..arms {
                let alone = (moved[a].as_ref().ok(), moved[b].as_ref().ok());
                let both = model.of_pair((a, b), alone);
                let both = both.and_then(|moved| model.interval(&moved, work));
                resampled.pairs.extend(both.ok().map(|(interval, _)| ((a, b), interval)));
                if arms <= ONE_SET_ARMS {
                    let found = model.one_set(a, b);
                    resampled.one_set.extend(found.map(|found| ((a, b), found)));
                }
            }
        }
        match (resampled.part.units, first_error) {
            (0, Some(why)) => Err(why),
            _ => Ok(()),
        }
    });
    resampled.part.missing = found.err();
    resampled
}

/// Rows of one group are no independent draws, and without the table nobody knows which they are.
fn check_groups(study: &Study, places: &Places<'_>) -> Result<(), String> {
    match &study.data.group {
        Some(column) if places.data().is_none() => Err(format!(
            "rows of one {column} belong together, which the table alone tells, and {NO_TABLE}"
        )),
        _ => Ok(()),
    }
}

struct Model<'m, 'a> {
    study: &'m Study,
    cases: &'m Cases<'a>,
    places: &'m Places<'a>,
    form: Form,
    names: Names,
}

/// Rows that test somewhere, numbered from 0.
struct Names {
    /// Of each number, the row.
    rows: Vec<u64>,
    /// Numbers of a block's rows, in the fold's order.
    by_block: BTreeMap<u32, Vec<u32>>,
}

impl Names {
    fn of(cases: &Cases<'_>, places: &Places<'_>) -> Self {
        let sizes: BTreeMap<u32, usize> =
            cases.arms.iter().flatten().map(|run| (run.block, run.rows.len())).collect();
        let named = |(block, size): (&u32, &usize)| -> Option<(u32, Vec<u64>)> {
            let rows: Option<Vec<u64>> =
                (0..*size).map(|place| places.row(*block, place)).collect();
            Some((*block, rows?))
        };
        let named: Vec<(u32, Vec<u64>)> = sizes.iter().filter_map(named).collect();
        let mut rows: Vec<u64> = named.iter().flat_map(|(_, rows)| rows).copied().collect();
        rows.sort_unstable();
        rows.dedup();
        let number = |row: &u64| rows.partition_point(|other| other < row) as u32;
        let by_block =
            named.iter().map(|(block, rows)| (*block, rows.iter().map(number).collect()));
        Self { by_block: by_block.collect(), rows }
    }
}

/// An estimate with the influence of each row on it; these add up to zero.
struct Moved {
    estimate: f64,
    /// By the row's number; `None` where no run of it was tested on the row.
    rows: Vec<Option<f64>>,
}

impl Moved {
    /// Influences of the rows that were met, by the row's number.
    fn met(&self) -> impl Iterator<Item = (usize, f64)> {
        self.rows.iter().enumerate().filter_map(|(number, value)| Some((number, (*value)?)))
    }

    fn minus(&self, other: &Self) -> Self {
        let both = self.rows.iter().zip(&other.rows).map(|pair| match pair {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0.0) - other.unwrap_or(0.0)),
        });
        Self { estimate: self.estimate - other.estimate, rows: both.collect() }
    }
}

impl Model<'_, '_> {
    /// The mean over an arm's runs, as the report's headline takes it.
    fn of_arm(&self, arm: usize) -> Result<Moved, String> {
        let runs: Vec<&CaseRun<'_>> = self.named(arm).collect();
        let weight = 1.0 / runs.len().max(1) as f64;
        self.moved(&runs.iter().map(|run| (*run, weight)).collect::<Vec<_>>())
    }

    /// The mean over folds of the mean difference on cells that both arms have whole.
    ///
    /// `alone`: what moves each arm's own mean, which is all there is to know where nothing is missing.
    fn of_pair(
        &self,
        (a, b): (usize, usize),
        alone: (Option<&Moved>, Option<&Moved>),
    ) -> Result<Moved, String> {
        let (of_a, of_b) = (self.cells(a), self.cells(b));
        let common: Vec<&Cell> = of_a.keys().filter(|cell| of_b.contains_key(*cell)).collect();
        let by_fold = grouped(common.iter(), |cell| cell.0);
        let most = by_fold.values().map(Vec::len).max().unwrap_or(0);
        let whole = |arm: usize, cells: &BTreeMap<Cell, Vec<&CaseRun<'_>>>| {
            let runs: usize = cells.values().map(Vec::len).sum();
            cells.len() == common.len() && runs == self.named(arm).count()
        };
        let even = by_fold.values().all(|cells| cells.len() == most);
        if let (Some(one), Some(other)) = alone
            && even
            && whole(a, &of_a)
            && whole(b, &of_b)
        {
            return Ok(one.minus(other));
        }
        let weigh = |cells: &BTreeMap<Cell, Vec<&CaseRun<'_>>>| -> Result<Moved, String> {
            let mut runs = Vec::new();
            for cell in &common {
                let of_fold = by_fold[&cell.0].len() * by_fold.len();
                let own = &cells[*cell];
                let weight = 1.0 / (of_fold * own.len()) as f64;
                runs.extend(own.iter().map(|run| (*run, weight)));
            }
            self.moved(&runs)
        };
        Ok(weigh(&of_a)?.minus(&weigh(&of_b)?))
    }

    /// What one paper sees that trains each arm once and compares them row by row on one test set:
    /// its rows and the standard error over them, the mean square over some of the cells.
    fn one_set(&self, a: usize, b: usize) -> Option<(u64, f64)> {
        let (of_a, of_b) = (self.cells(a), self.cells(b));
        let both: Vec<(&CaseRun<'_>, &CaseRun<'_>)> = (of_a.iter())
            .filter_map(|(cell, runs)| Some((*runs.first()?, *of_b.get(cell)?.first()?)))
            .collect();
        let every = both.len().div_ceil(ONE_SET_CELLS).max(1);
        let (mut sizes, mut squares) = (Vec::new(), Vec::new());
        for (one, other) in both.into_iter().step_by(every) {
            let size = one.rows.len();
            if size < SLOPE_ROWS_MIN {
                return None;
            }
            let of_one = self.form.influence(self.places, one.block, one.rows)?;
            let of_other = self.form.influence(self.places, other.block, other.rows)?;
            let pairs = of_one.rows.iter().zip(&of_other.rows);
            let apart: Vec<f64> = pairs.map(|(one, other)| one - other).collect();
            sizes.push(size as f64);
            squares.push(estimate::sd(&apart)?.powi(2) / size as f64);
        }
        if squares.is_empty() {
            return None;
        }
        let se = estimate::mean(&squares).sqrt();
        (se > 0.0).then(|| (estimate::mean(&sizes).round() as u64, se))
    }

    /// Runs whose rows have names.
    fn named(&self, arm: usize) -> impl Iterator<Item = &CaseRun<'_>> {
        let all = self.cases.arms[arm].iter();
        all.filter(|run| self.names.by_block.contains_key(&run.block))
    }

    /// Cells in which every config of the arm that ever ended well has a run.
    fn cells(&self, arm: usize) -> BTreeMap<Cell, Vec<&CaseRun<'_>>> {
        let configs: BTreeSet<u32> = self.named(arm).map(|run| run.config).collect();
        let cells = grouped(self.named(arm), |run| (run.block, run.seeds.clone()));
        cells.into_iter().filter(|(_, runs)| runs.len() == configs.len()).collect()
    }

    /// The weighted mean of `runs`, whose weights add up to 1.
    fn moved(&self, runs: &[(&CaseRun<'_>, f64)]) -> Result<Moved, String> {
        if runs.is_empty() {
            return Err("no runs with a score of each row meet".to_string());
        }
        let estimate: f64 = runs.iter().map(|(run, weight)| weight * run.score).sum();
        let mut rows = vec![None; self.names.rows.len()];
        for (run, weight) in runs {
            let size = run.rows.len();
            if self.form.is_slope() && size < SLOPE_ROWS_MIN {
                return Err(format!(
                    "on test sets of {} {} has no slope to go by",
                    counted(size as u64, "row"),
                    self.study.primary()
                ));
            }
            let influence = self.form.influence(self.places, run.block, run.rows);
            let near = |metric: f64| (metric - run.score).abs() <= SAME * (1.0 + run.score.abs());
            let Some(influence) = influence.filter(|found| near(found.metric)) else {
                return Err(format!(
                    "the scores of its rows do not give a run's {}",
                    self.study.primary()
                ));
            };
            // Of a mean, a fold that is harder than others is rows that are; a slope knows its fold
            // alone.
            let apart = if self.form.is_slope() { 0.0 } else { run.score - estimate };
            let numbers = &self.names.by_block[&run.block];
            for (number, value) in numbers.iter().zip(&influence.rows) {
                let part = weight * (value + apart) / size as f64;
                *rows[*number as usize].get_or_insert(0.0) += part;
            }
        }
        Ok(Moved { estimate, rows })
    }

    /// Whether to draw: all draws of all intervals together must end soon.
    fn work(&self, moved: &[Result<Moved, String>], intervals: usize) -> Draws {
        let rows = moved.iter().flatten().map(|moved| moved.met().count()).max().unwrap_or(0);
        let all = rows as u64 * u64::from(DRAWS) * intervals as u64;
        if all <= DRAWN_ROWS_MAX { Draws::Made } else { Draws::Normal }
    }

    fn interval(&self, moved: &Moved, draws: Draws) -> Result<(OtherRows, OtherRowsPart), String> {
        let met: Vec<(usize, f64)> = moved.met().collect();
        let count = met.len() as f64;
        let values: Vec<f64> =
            met.iter().map(|(_, influence)| moved.estimate + count * influence).collect();
        let clusters: Option<Vec<u32>> =
            met.iter().map(|(number, _)| self.places.cluster(self.names.rows[*number])).collect();
        let Found { se, ends, units, method } = match draws {
            Draws::Made => {
                let resampling =
                    Resampling::new(DRAWS, LEVEL, SEED).map_err(|error| error.to_string())?;
                let found = case_interval(&values, clusters.as_deref(), &resampling);
                let CaseInterval { se, percentile: ends, units, .. } =
                    found.map_err(|error| error.to_string())?;
                Found { se, ends, units, method: DRAWN }
            }
            Draws::Normal => normal(moved, clusters.as_deref())?,
        };
        let interval =
            Interval { low: ends.0, high: ends.1, level: LEVEL, method, target: Some(Target::T3) };
        let part = OtherRowsPart {
            unit: self.unit(clusters.is_some()),
            units: units as u64,
            rows: met.len() as u64,
            partitions: match self.places.across_partitions() {
                true => self.study.outer.partitions,
                false => 1,
            },
            left_out: self.cases.without,
            missing: None,
        };
        Ok((OtherRows { estimate: moved.estimate, se, ci: interval }, part))
    }

    fn unit(&self, clustered: bool) -> String {
        let data = &self.study.data;
        let column = data.group.as_ref().or(data.leave_out.as_ref()).filter(|_| clustered);
        column.map_or("row".to_string(), Clone::clone)
    }
}

/// Block and seeds.
type Cell = (u32, Vec<u32>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Draws {
    Made,
    /// So many rows that the draws would be normal anyway.
    Normal,
}

/// An interval of an estimate.
struct Found {
    se: f64,
    ends: (f64, f64),
    units: usize,
    method: &'static str,
}

/// Standard error of the sum of influences over units, and the normal interval that it gives.
fn normal(moved: &Moved, clusters: Option<&[u32]>) -> Result<Found, String> {
    let mut units: Vec<f64> = moved.met().map(|(_, influence)| influence).collect();
    if let Some(clusters) = clusters {
        let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
        for (value, name) in units.iter().zip(clusters) {
            *sums.entry(*name).or_default() += value;
        }
        units = sums.into_values().collect();
    }
    let sd = estimate::sd(&units).ok_or("resampling needs at least 2 clusters; there is 1")?;
    let se = sd * (units.len() as f64).sqrt();
    let half = estimate::t_quantile((units.len() - 1) as f64) * se;
    let ends = (moved.estimate - half, moved.estimate + half);
    Ok(Found { se, ends, units: units.len(), method: "t over rows drawn again" })
}

/// What T3 is of, in words: `569 rows`, or `569 rows of 120 values of patient`.
pub fn units_in_words(part: &OtherRowsPart) -> String {
    let rows = counted(part.rows, "row");
    match part.unit.as_str() {
        "row" => rows,
        column => format!("{rows} of {} values of {column}", count(part.units)),
    }
}

const DRAWN: &str = "paired bootstrap over rows, percentile";
const DRAWS: u32 = 2_000;
const SEED: u64 = 0;

/// Rows that all draws together may take: a second or two.
const DRAWN_ROWS_MAX: u64 = 100_000_000;

/// Arms of which each pair is asked what a paper would see.
const ONE_SET_ARMS: usize = 8;

/// Cells that a paper's standard error is averaged over.
const ONE_SET_CELLS: usize = 100;

/// Rows of a test set below which a metric's slope says little.
const SLOPE_ROWS_MIN: usize = 10;

/// How far a metric worked out from its rows may lie from the outcome's: probabilities are kept with
/// 24 bits, and a tie may fall either way.
const SAME: f64 = 5e-3;
