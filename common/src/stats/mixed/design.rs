//! Which columns a model has: products of numbers and of levels, coded as R codes them.
//!
//! A factor is coded by contrasts with its first level (by name) where the model also holds the
//! term without that factor, and by all its levels elsewhere. Deliberately absent: the values of
//! the columns.
//!
//! Source: Chambers & Hastie (1992), Statistical Models in S, section 2.4.1.
//!
//! Floor: common.

use super::fit::FitError;
use super::formula::{Effects, same};
use super::rows::{Kind, Variable};

/// A product of variables: numbers that are multiplied, and levels that rows must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Product {
    /// Indices of variables, ascending.
    pub numbers: Vec<usize>,
    pub levels: Vec<usize>,
}

impl Product {
    /// The products of some effects within the levels of `group`, and those of their levels alone,
    /// which tell means. That of the intercept comes first.
    pub fn of_effects(effects: &Effects, variables: &[Variable], group: &[String]) -> Vec<Self> {
        let mut products = Vec::new();
        if effects.intercept {
            products.push(Self::of(&[], variables, group));
        }
        for names in &effects.products {
            let product = Self::of(names, variables, group);
            products.push(Self { numbers: Vec::new(), levels: product.levels.clone() });
            products.push(product);
        }
        products
    }

    /// The product of the variables called `names` within the levels of `group`.
    pub fn of(names: &[String], variables: &[Variable], group: &[String]) -> Self {
        let mut product = Self::default();
        for (index, variable) in variables.iter().enumerate() {
            if names.contains(&variable.name) || group.contains(&variable.name) {
                match variable.kind {
                    Kind::Numbers { .. } => product.numbers.push(index),
                    Kind::Levels { .. } => product.levels.push(index),
                }
            }
        }
        product
    }
}

/// A column of the fixed effects, or of one level's random effects.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DesignColumn {
    /// R's: `(Intercept)`, `x`, `armmlp`, `armmlp:x`.
    pub name: String,
    /// Of the variables in the term, the grouping factor not among them.
    pub product: Product,
    /// The level that a row must have of each of the product's variables with levels.
    pub levels: Vec<u32>,
}

impl DesignColumn {
    pub fn is_intercept(&self) -> bool {
        self.product == Product::default()
    }
}

/// The columns that effects stand for.
///
/// Errors: [`FitError::OneLevel`] for a factor that cannot differ between rows.
pub(super) fn columns(
    effects: &Effects,
    variables: &[Variable],
) -> Result<Vec<DesignColumn>, FitError> {
    let mut columns = Vec::new();
    if effects.intercept {
        let name = INTERCEPT.to_owned();
        columns.push(DesignColumn { name, product: Product::default(), levels: Vec::new() });
    }
    let has_levels = |name: &String| {
        variables.iter().any(|v| v.name == *name && matches!(v.kind, Kind::Levels { .. }))
    };
    // Without an intercept the first factor gets a mean a level.
    let mut spared = effects.intercept;
    for names in &effects.products {
        let mut full = Vec::with_capacity(names.len());
        for name in names {
            let rest: Vec<String> = names.iter().filter(|other| *other != name).cloned().collect();
            let margin = rest.is_empty() || effects.products.iter().any(|term| same(term, &rest));
            full.push(!margin || (!spared && has_levels(name)));
            spared |= has_levels(name);
        }
        expand(names, &full, variables, &mut columns)?;
    }
    Ok(columns)
}

/// Parts of a column's name, and variables with their levels.
type Combination = (Vec<String>, Vec<(usize, u32)>);

/// Appends the columns of one product; the levels of its first variable vary fastest.
fn expand(
    names: &[String],
    full: &[bool],
    variables: &[Variable],
    columns: &mut Vec<DesignColumn>,
) -> Result<(), FitError> {
    let product = Product::of(names, variables, &[]);
    let mut made: Vec<Combination> = vec![Default::default()];
    for (name, full) in names.iter().zip(full) {
        let Some(index) = variables.iter().position(|variable| variable.name == *name) else {
            return Err(FitError::NoColumn { variable: name.clone() });
        };
        let options: Vec<(String, Option<(usize, u32)>)> = match &variables[index].kind {
            Kind::Numbers { .. } => vec![(name.clone(), None)],
            Kind::Levels { codes, .. } if codes.len() < 2 => {
                return Err(FitError::OneLevel { variable: name.clone() });
            }
            Kind::Levels { codes, .. } => (codes.iter().skip(usize::from(!full)))
                .map(|(level, &code)| (format!("{name}{level}"), Some((index, code))))
                .collect(),
        };
        let longer = options.iter().flat_map(|(name, level)| {
            made.iter().map(move |(names, levels)| {
                let names = names.iter().chain([name]).cloned().collect();
                (names, levels.iter().copied().chain(*level).collect())
            })
        });
        made = longer.collect();
    }
    for (names, mut levels) in made {
        levels.sort_unstable();
        let levels = levels.into_iter().map(|(_, code)| code).collect();
        columns.push(DesignColumn { name: names.join(":"), product: product.clone(), levels });
    }
    Ok(())
}

/// R's name of the column of ones.
pub(super) const INTERCEPT: &str = "(Intercept)";
