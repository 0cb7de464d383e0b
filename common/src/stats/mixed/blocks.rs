//! The random terms of a model, brought together by grouping factor.
//!
//! Terms with one grouping factor share a block, so that its levels stay apart from each other in
//! the equations. Levels are ordered by the responses they hold, never by how they arrived or are
//! called; only where two levels hold the same responses does the name decide. Deliberately
//! absent: cross-products.
//!
//! Floor: common.

use std::collections::BTreeMap;

use super::design::{self, DesignColumn, Product};
use super::fit::FitError;
use super::formula::{Formula, same};
use super::rows::Kind;
use super::stream::Products;

/// One grouping factor's place among the stacked columns of Z.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub factor: String,
    /// The place of its first term in the formula.
    pub place: usize,
    /// Names in canonical order.
    pub levels: Vec<String>,
    /// Ranks of the levels by name: `by_name[r]` is the level whose name comes at place r.
    pub by_name: Vec<u32>,
    /// First of its columns in the stack.
    pub begin: usize,
    /// Columns of one level.
    pub width: usize,
    pub columns: Vec<DesignColumn>,
    pub terms: Vec<Term>,
    /// Variables of the grouping factor, ascending.
    pub group: Vec<usize>,
    /// The level of each combination of codes of `group`.
    pub level_of: BTreeMap<Vec<u32>, u32>,
    /// Effects of the columns as given are `units · (those of the columns here)`, [width, width].
    pub units: Vec<f64>,
    /// Mean over all rows of the products of the columns as given, [width, width].
    pub moments: Vec<f64>,
}

/// Some neighbouring columns of a block whose effects may be correlated.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub place: usize,
    /// First of its columns in the block.
    pub first: usize,
    pub width: usize,
}

/// A level's mark, its ranks by name with their variables' places in the group, and its codes.
type Level = (u128, Vec<(u32, u32)>, Vec<u32>);

impl Block {
    /// Most columns first; equal numbers in the order of the formula.
    pub fn all(formula: &Formula, products: &Products) -> Result<Vec<Self>, FitError> {
        let mut blocks: Vec<Self> = Vec::new();
        let mut groups: Vec<&[String]> = Vec::new();
        for (place, random) in formula.random.iter().enumerate() {
            let columns = design::columns(&random.effects, &products.variables)?;
            let known = groups.iter().position(|group| same(group, &random.group));
            let at = known.unwrap_or(blocks.len());
            if known.is_none() {
                groups.push(&random.group);
                blocks.push(Self::of(place, &random.group, &columns, products)?);
            }
            let block = &mut blocks[at];
            let term = Term { place, first: block.columns.len(), width: columns.len() };
            let (levels, rows) = (block.levels.len(), products.rows);
            if levels * term.width >= rows {
                let factor = block.factor.clone();
                return Err(if term.width == 1 {
                    FitError::LevelPerRow { factor, rows }
                } else {
                    FitError::TooManyEffects { factor, effects: levels * term.width, rows }
                });
            }
            block.columns.extend(columns);
            block.terms.push(term);
            block.width = block.columns.len();
        }
        blocks.sort_by_key(|block| std::cmp::Reverse(block.levels.len() * block.width));
        let mut begin = 0;
        for block in &mut blocks {
            block.begin = begin;
            begin = block.range().end;
        }
        check_distinct(&blocks, products)?;
        Ok(blocks)
    }

    pub fn range(&self) -> std::ops::Range<usize> {
        self.begin..self.begin + self.levels.len() * self.width
    }

    /// The first column of a level.
    pub fn at(&self, level: usize) -> usize {
        self.begin + level * self.width
    }

    /// A block without columns, its levels in canonical order.
    fn of(
        place: usize,
        names: &[String],
        columns: &[DesignColumn],
        products: &Products,
    ) -> Result<Self, FitError> {
        let factor = names.join(":");
        let group = Product::of(names, &products.variables, &[]).levels;
        let ranks: Vec<Vec<u32>> =
            group.iter().map(|&v| ranks(&products.variables[v].kind)).collect();
        let mut marks: BTreeMap<Vec<u32>, u128> = BTreeMap::new();
        // Every row is in one combination of levels of the first column's product.
        let product = products.within(&columns[0], &group);
        if let Some(grouping) = products.groupings.iter().find(|g| g.variables == product.levels) {
            for at in 0..grouping.len() {
                let key = picked(&grouping.variables, grouping.of_code(at), &group);
                let mark = marks.entry(key).or_default();
                *mark = mark.wrapping_add(grouping.marks[at]);
            }
        }
        if marks.len() < 2 {
            return Err(FitError::OneLevel { variable: factor });
        }
        // By the ranks of names, in the order in which the formula names the variables.
        let by_formula = |key: &[u32]| -> Vec<(u32, u32)> {
            let named = names.iter().filter_map(|name| {
                let at = group.iter().position(|&v| products.variables[v].name == *name)?;
                Some((ranks[at][key[at] as usize], at as u32))
            });
            named.collect()
        };
        let mut levels: Vec<Level> =
            marks.into_iter().map(|(key, mark)| (mark, by_formula(&key), key)).collect();
        levels.sort();
        let mut by_name: Vec<u32> = (0..levels.len() as u32).collect();
        by_name.sort_by_key(|&level| &levels[level as usize].1);
        let name = |level: &Level| {
            let parts = level.1.iter().map(|&(_, at)| {
                let at = at as usize;
                products.names(group[at])[level.2[at] as usize].as_str()
            });
            parts.collect::<Vec<_>>().join(":")
        };
        let level_of = (levels.iter().enumerate())
            .map(|(level, (_, _, key))| (key.clone(), level as u32))
            .collect();
        Ok(Self {
            factor,
            place,
            levels: levels.iter().map(name).collect(),
            by_name,
            begin: 0,
            width: 0,
            columns: Vec::new(),
            terms: Vec::new(),
            group,
            level_of,
            units: Vec::new(),
            moments: Vec::new(),
        })
    }
}

/// The codes of `wanted` among those of `variables`.
pub(super) fn picked(variables: &[usize], codes: &[u32], wanted: &[usize]) -> Vec<u32> {
    let pairs = variables.iter().zip(codes).filter(|(variable, _)| wanted.contains(variable));
    pairs.map(|(_, &code)| code).collect()
}

/// The rank by name of each code.
fn ranks(kind: &Kind) -> Vec<u32> {
    let Kind::Levels { codes, .. } = kind else { return Vec::new() };
    let mut ranks = vec![0; codes.len()];
    codes.values().enumerate().for_each(|(rank, &code)| ranks[code as usize] = rank as u32);
    ranks
}

/// Two factors that group the rows alike share one variance, which cannot be divided.
fn check_distinct(blocks: &[Block], products: &Products) -> Result<(), FitError> {
    for (i, a) in blocks.iter().enumerate() {
        for b in &blocks[i + 1..] {
            let shared = a.columns.iter().any(|column| b.columns.contains(column));
            if !shared || a.levels.len() != b.levels.len() {
                continue;
            }
            let mut partner: BTreeMap<u32, u32> = BTreeMap::new();
            let alike = products
                .common_levels(a, b)
                .into_iter()
                .all(|(of_a, of_b)| *partner.entry(of_a).or_insert(of_b) == of_b);
            if alike {
                // In the order of the formula.
                let (a, b) = if a.place < b.place { (a, b) } else { (b, a) };
                return Err(FitError::SameFactor { a: a.factor.clone(), b: b.factor.clone() });
            }
        }
    }
    Ok(())
}
