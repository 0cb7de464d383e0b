//! What each column of a table is, and the model that follows where no formula is given.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use clap::Args;
use common::stats::mixed::{Accumulator, Fit, Formula, Method, Slice};
use common::table::{Column, Table, Values};

/// Columns by what they are.
#[derive(Clone, Debug, Default, Args)]
pub struct Roles {
    /// The column of arms: what is compared.
    #[arg(long, value_name = "COL")]
    arm: Option<String>,
    /// The column of seeds.
    #[arg(long, value_name = "COL")]
    seed: Option<String>,
    /// The column of folds, or of test sets.
    #[arg(long, value_name = "COL")]
    fold: Option<String>,
    /// The column of repeats of the folds.
    #[arg(long, value_name = "COL")]
    repeat: Option<String>,
    /// The column of test cases, such as patients.
    #[arg(long, value_name = "COL")]
    case: Option<String>,
}

/// A factor as codes of names, one a whole row.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    pub codes: Vec<u32>,
    pub names: Vec<String>,
}

/// The whole rows of the columns that are used.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Rows of the table, counted from 0.
    pub whole: Vec<usize>,
    pub left_out: usize,
    pub metric: Vec<f64>,
    /// Variable → its levels, for roles and grouping factors.
    pub levels: BTreeMap<String, Levels>,
    /// Variable → its numbers.
    pub numbers: BTreeMap<String, Vec<f64>>,
}

impl Roles {
    /// Role and column, for the roles that are named.
    pub fn named(&self) -> Vec<(&'static str, &str)> {
        let all = [
            (ARM, &self.arm),
            (SEED, &self.seed),
            (FOLD, &self.fold),
            (REPEAT, &self.repeat),
            (CASE, &self.case),
        ];
        all.into_iter().filter_map(|(role, column)| Some((role, column.as_deref()?))).collect()
    }

    /// The role that a wide table's columns have: fold unless it is named, then seed.
    pub fn wide(&mut self, names: &[&str]) -> anyhow::Result<&'static str> {
        let like = |word: &str| names.iter().any(|name| name.to_ascii_lowercase().contains(word));
        let factor = match (&self.fold, &self.seed) {
            (Some(_), Some(_)) => bail!(
                "--wide makes levels of the factor that is missing, and --fold and --seed are both named"
            ),
            (Some(_), None) => SEED,
            (None, Some(_)) => FOLD,
            (None, None) if like(SEED) && !like(FOLD) => SEED,
            (None, None) => FOLD,
        };
        let place = if factor == SEED { &mut self.seed } else { &mut self.fold };
        *place = Some(factor.to_string());
        Ok(factor)
    }

    pub fn column(&self, role: &str) -> Option<&str> {
        self.named().into_iter().find(|(named, _)| *named == role).map(|(_, column)| column)
    }
}

impl Rows {
    /// The rows in which no column that `roles` or `formula` use is empty.
    pub fn of(
        table: &Table,
        roles: &Roles,
        formula: Option<&Formula>,
        metric: &str,
    ) -> anyhow::Result<Self> {
        let mut used: BTreeMap<String, (&Column, bool)> = BTreeMap::new();
        let scores = found(table, metric, "--metric")?;
        for (role, column) in roles.named() {
            used.insert(role.to_string(), (found(table, column, &format!("--{role}"))?, true));
        }
        if let Some(formula) = formula {
            let response = formula.response();
            if response != metric && response != RESPONSE {
                bail!(
                    "the formula explains {response:?} but --metric is {metric:?}; write y for the metric"
                );
            }
            let factors = formula.factors();
            let grouping: BTreeSet<&str> = factors.iter().flat_map(|n| n.split(':')).collect();
            for variable in formula.variables().into_iter().skip(1) {
                if !used.contains_key(variable) {
                    let column = found(table, variable, "the formula")?;
                    used.insert(variable.to_string(), (column, grouping.contains(variable)));
                }
            }
        }
        let scores_of = numeric(scores)?;
        if let Some(row) = scores_of.iter().position(|score| score.is_infinite()) {
            bail!(
                "row {} of {metric:?}, not counting the header, is not finite; a metric is a finite \
                 number, and a missing one an empty cell",
                row + 1
            );
        }
        let present = |row: &usize| {
            !scores.is_missing(*row) && used.values().all(|(column, _)| !column.is_missing(*row))
        };
        let whole: Vec<usize> = (0..table.rows).filter(present).collect();
        let (mut levels, mut numbers) = (BTreeMap::new(), BTreeMap::new());
        for (variable, (column, as_levels)) in used {
            match &column.values {
                Values::Numbers(values) if !as_levels => {
                    numbers.insert(variable, whole.iter().map(|row| values[*row]).collect());
                }
                _ => {
                    levels.insert(variable, Levels::of(column, &whole));
                }
            }
        }
        let metric = whole.iter().map(|row| scores_of[*row]).collect();
        Ok(Self { left_out: table.rows - whole.len(), whole, metric, levels, numbers })
    }

    /// Fits `formula`, whose rows go into it a chunk at a time: only cross-products are kept.
    pub fn fit(&self, formula: &Formula, method: Method) -> anyhow::Result<Fit> {
        let mut model = Accumulator::new(formula);
        let rows = self.whole.len();
        for from in (0..rows).step_by(CHUNK_ROWS) {
            let chunk = from..(from + CHUNK_ROWS).min(rows);
            let levels = self.levels.iter().map(|(name, levels)| {
                let codes = &levels.codes[chunk.clone()];
                (name.as_str(), Slice::Levels { codes, names: &levels.names })
            });
            let numbers = self
                .numbers
                .iter()
                .map(|(name, values)| (name.as_str(), Slice::Numbers(&values[chunk.clone()])));
            let scores = (formula.response(), Slice::Numbers(&self.metric[chunk.clone()]));
            model.add(&levels.chain(numbers).chain([scores]).collect())?;
        }
        Ok(model.fit(method)?)
    }

    /// Refuses two rows of the same place in the design, where seeds or folds are named.
    pub fn once_each(&self, roles: &Roles) -> anyhow::Result<()> {
        let named = roles.named();
        if named.iter().all(|(role, _)| *role == ARM || *role == CASE) {
            return Ok(());
        }
        let variables: Vec<&str> = named.iter().map(|(role, _)| *role).collect();
        let cells = self.partition(&variables);
        let mut first: Vec<usize> = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            // Cells are numbered as they first come.
            if *cell as usize == first.len() {
                first.push(at);
                continue;
            }
            let rows = (self.whole[first[*cell as usize]] + 1, self.whole[at] + 1);
            let word = |role: &&str| {
                let levels = &self.levels[*role];
                format!("{role} {}", levels.names[levels.codes[at] as usize])
            };
            let words: Vec<String> = variables.iter().map(word).collect();
            let missing: Vec<String> = [ARM, SEED, FOLD, REPEAT, CASE]
                .into_iter()
                .filter(|role| !variables.contains(role))
                .map(|role| format!("--{role}"))
                .collect();
            let advice = match missing.as_slice() {
                [] => "keep one of them".to_string(),
                roles => format!(
                    "name the column that tells them apart ({}), or keep one of them",
                    roles.join(", ")
                ),
            };
            bail!("rows {} and {} are both of {}; {advice}", rows.0, rows.1, words.join(", "));
        }
        Ok(())
    }

    /// The model that the roles suggest, and what was left out of it and why.
    ///
    /// Arms are fixed; seeds, folds (within repeats) and cases are drawn, and so is how each of them
    /// moves each arm, where rows can tell.
    pub fn formula(&self, roles: &Roles) -> (String, Vec<String>) {
        let has = |role: &str| self.levels.get(role).is_some_and(|levels| levels.names.len() > 1);
        let mut candidates: Vec<Vec<&str>> = Vec::new();
        let blocks: &[&[&str]] = match (has(REPEAT), has(FOLD)) {
            (true, true) => &[&[REPEAT], &[REPEAT, FOLD]],
            (true, false) => &[&[REPEAT]],
            (false, true) => &[&[FOLD]],
            (false, false) => &[],
        };
        let seeds: &[&[&str]] = if has(SEED) { &[&[SEED]] } else { &[] };
        let cases: &[&[&str]] = if has(CASE) { &[&[CASE]] } else { &[] };
        for group in blocks.iter().chain(seeds).chain(cases) {
            candidates.push(group.to_vec());
            if has(ARM) {
                candidates.push([&[ARM], *group].concat());
            }
        }
        let mut text = if has(ARM) { "y ~ arm".to_string() } else { "y ~ 1".to_string() };
        let mut said = Vec::new();
        let mut kept: Vec<(String, Vec<u32>)> = Vec::new();
        for group in candidates {
            let (name, partition) = (group.join(":"), self.partition(&group));
            let levels = partition.iter().max().map_or(0, |most| *most as usize + 1);
            if levels == self.whole.len() {
                said.push(format!(
                    "No term for {name}: each has one row, which cannot be told from the residual."
                ));
            } else if let Some((other, _)) = kept.iter().find(|(_, other)| *other == partition) {
                said.push(format!("No term for {name}: it groups the rows as {other} does."));
            } else {
                text += &format!(" + (1 | {name})");
                kept.push((name, partition));
            }
        }
        for (role, _) in roles.named().into_iter().filter(|(role, _)| !has(role)) {
            said.push(format!("No term for {role}: it has one level."));
        }
        (text, said)
    }

    /// The rows' combinations of these variables, numbered as they first come.
    pub fn partition(&self, group: &[&str]) -> Vec<u32> {
        let mut cells = vec![0; self.whole.len()];
        for variable in group {
            let mut numbers: BTreeMap<(u32, u32), u32> = BTreeMap::new();
            for (cell, code) in cells.iter_mut().zip(&self.levels[*variable].codes) {
                let next = numbers.len() as u32;
                *cell = *numbers.entry((*cell, *code)).or_insert(next);
            }
        }
        cells
    }
}

impl Levels {
    fn of(column: &Column, rows: &[usize]) -> Self {
        let texts: Vec<String> =
            rows.iter().map(|&row| column.text(row).unwrap_or_default()).collect();
        let names: BTreeSet<&String> = texts.iter().collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let code = |text: &String| names.binary_search(text).unwrap_or_default() as u32;
        Self { codes: texts.iter().map(code).collect(), names: names.clone() }
    }
}

fn found<'a>(table: &'a Table, name: &str, asked: &str) -> anyhow::Result<&'a Column> {
    let Some(place) = table.find(name) else {
        let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
        bail!("the table has no column {name:?}, which {asked} names; it has {}", known.join(", "));
    };
    Ok(&table.columns[place])
}

fn numeric(column: &Column) -> anyhow::Result<&[f64]> {
    let name = &column.name;
    let texts = match &column.values {
        Values::Numbers(numbers) => return Ok(numbers),
        Values::Text(texts) => texts,
    };
    let no_number =
        |text: &Option<String>| text.as_ref().is_some_and(|text| text.parse::<f64>().is_err());
    match texts.iter().position(no_number) {
        Some(row) => bail!(
            "row {} of {name:?} holds {:?}, not counting the header; a metric is a number, and a missing \
             one an empty cell",
            row + 1,
            texts[row].as_deref().unwrap_or_default()
        ),
        None => bail!("the column {name:?} holds text; a metric is a number"),
    }
}

/// What a formula may call the metric, whatever its column.
pub const RESPONSE: &str = "y";
pub const ARM: &str = "arm";
pub const SEED: &str = "seed";
pub const FOLD: &str = "fold";
pub const REPEAT: &str = "repeat";
pub const CASE: &str = "case";

/// Rows that go into the model at once.
const CHUNK_ROWS: usize = 1 << 16;
