//! Tables for `coordinator analyze`: from a file or stdin, in any of four forms, long or wide.
//!
//! Floor: wiring.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use clap::ValueEnum;
use common::study::Format;
use common::table::{Column, Table, Values};

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Form {
    Csv,
    Tsv,
    Parquet,
    /// One JSON object a line.
    Jsonl,
}

/// Reads the table at `path`; `-` is stdin.
pub fn read(path: &Path, form: Option<Form>) -> anyhow::Result<Table> {
    let name = path.to_string_lossy();
    let form = match form.or_else(|| of_path(&name)) {
        Some(form) => form,
        None if name == STDIN => {
            bail!("say what stdin holds: --format csv, tsv, parquet or jsonl")
        }
        None => bail!(
            "the name {name} does not say what the file holds; it ends in .csv, .tsv, .parquet, .jsonl \
             or .ndjson, or --format says so"
        ),
    };
    let bytes = match name.as_ref() {
        STDIN => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read stdin")?;
            bytes
        }
        _ => std::fs::read(path).with_context(|| format!("cannot read {name}"))?,
    };
    let table = match form {
        Form::Csv => Table::read(Format::Csv, &bytes),
        Form::Tsv => Table::read(Format::Tsv, &bytes),
        Form::Parquet => Table::read(Format::Parquet, &bytes),
        Form::Jsonl => Table::read_json_lines(&bytes).map_err(|error| vec![error]),
    };
    table.map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{name}: {}", lines.join("; "))
    })
}

pub fn of_path(name: &str) -> Option<Form> {
    if let Some(format) = Format::of_path(name) {
        return Some(match format {
            Format::Csv => Form::Csv,
            Format::Tsv => Form::Tsv,
            Format::Parquet => Form::Parquet,
            _ => return None,
        });
    }
    let (_, ending) = name.rsplit_once('.')?;
    matches!(ending.to_ascii_lowercase().as_str(), "jsonl" | "ndjson").then_some(Form::Jsonl)
}

/// A wide table made long: every numeric column that is not `named` becomes rows, its name a level
/// of `factor`, its cells the `metric`.
///
/// Returns the long table and what was understood, in a sentence. Empty cells are missing rows.
pub fn long(
    table: &Table,
    named: &BTreeSet<&str>,
    factor: &str,
    metric: &str,
) -> anyhow::Result<(Table, String)> {
    let spare = |column: &&Column| !named.contains(column.name.as_str());
    let (melted, ignored): (Vec<&Column>, Vec<&Column>) = table
        .columns
        .iter()
        .filter(spare)
        .partition(|column| matches!(column.values, Values::Numbers(_)));
    if melted.len() < 2 {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        bail!(
            "--wide needs at least 2 numeric columns that no role names, and {} is left of {}; name \
             fewer columns, or leave --wide out",
            melted.len(),
            names.join(", ")
        );
    }
    for name in [factor, metric] {
        if named.contains(name) {
            bail!("the table has a column {name:?} already; rename it");
        }
    }
    let mut columns = Vec::new();
    for column in table.columns.iter().filter(|column| !spare(column)) {
        let values = match &column.values {
            Values::Numbers(numbers) => Values::Numbers(numbers.repeat(melted.len())),
            Values::Text(texts) => {
                let all = texts.iter().cycle().take(texts.len() * melted.len());
                Values::Text(all.cloned().collect())
            }
        };
        columns.push(Column { name: column.name.clone(), values });
    }
    let (mut levels, mut scores) = (Vec::new(), Vec::new());
    for column in &melted {
        let Values::Numbers(numbers) = &column.values else { continue };
        levels.extend(std::iter::repeat_n(Some(column.name.clone()), table.rows));
        scores.extend_from_slice(numbers);
    }
    let rows = scores.len();
    columns.push(Column { name: factor.to_string(), values: Values::Text(levels) });
    columns.push(Column { name: metric.to_string(), values: Values::Numbers(scores) });
    let names: Vec<&str> = melted.iter().map(|column| column.name.as_str()).collect();
    let ignored: Vec<&str> = ignored.iter().map(|column| column.name.as_str()).collect();
    let mut text = format!(
        "The table is read as wide: its {} columns {} are the levels of {factor}, and their cells are \
         {metric}.",
        melted.len(),
        shortened(&names)
    );
    if !ignored.is_empty() {
        text += &format!(" Not used, since they hold text: {}.", ignored.join(", "));
    }
    Ok((Table { columns, rows }, text))
}

fn shortened(names: &[&str]) -> String {
    match names {
        [first, second, .., last] if names.len() > NAMES_SHOWN => {
            format!("{first}, {second} … {last}")
        }
        _ => names.join(", "),
    }
}

pub const STDIN: &str = "-";

const NAMES_SHOWN: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn wide() -> Table {
        let numbers = |name: &str, values: [f64; 2]| Column {
            name: name.into(),
            values: Values::Numbers(values.into()),
        };
        let text = |name: &str, values: [&str; 2]| Column {
            name: name.into(),
            values: Values::Text(values.iter().map(|text| Some(text.to_string())).collect()),
        };
        Table {
            columns: vec![
                text("model", ["a", "b"]),
                numbers("seed", [1.0, 1.0]),
                numbers("f0", [0.5, 0.25]),
                numbers("f1", [0.75, f64::NAN]),
                text("note", ["x", "y"]),
            ],
            rows: 2,
        }
    }

    #[test]
    fn columns_that_no_role_names_become_levels_and_are_named() {
        let named = BTreeSet::from(["model", "seed"]);
        let (long, said) = long(&wide(), &named, "fold", "dice").expect("a table");

        assert_eq!(long.rows, 4);
        let column = |name: &str| &long.columns[long.find(name).expect("a column")];
        let rows: Vec<[Option<String>; 4]> = (0..4)
            .map(|row| ["model", "seed", "fold", "dice"].map(|name| column(name).text(row)))
            .collect();
        let row = |cells: [&str; 3], dice: Option<&str>| {
            let [model, seed, fold] = cells.map(|cell| Some(cell.to_string()));
            [model, seed, fold, dice.map(String::from)]
        };
        assert_eq!(rows[0], row(["a", "1", "f0"], Some("0.5")));
        assert_eq!(rows[2], row(["a", "1", "f1"], Some("0.75")));
        assert_eq!(rows[3], row(["b", "1", "f1"], None));
        assert!(said.contains("its 2 columns f0, f1 are the levels of fold"), "{said}");
        assert!(said.contains("Not used, since they hold text: note"), "{said}");
    }

    #[test]
    fn a_table_that_is_not_wide_is_refused_with_its_columns() {
        let named = BTreeSet::from(["model", "seed", "f0"]);
        let said = long(&wide(), &named, "fold", "dice").expect_err("refused").to_string();
        assert!(said.contains("1 is left of model, seed, f0, f1, note"), "{said}");
    }

    #[test]
    fn forms_are_known_by_the_end_of_the_name() {
        assert_eq!(of_path("a.JSONL"), Some(Form::Jsonl));
        assert_eq!(of_path("a.parquet"), Some(Form::Parquet));
        assert_eq!(of_path("a.json"), None);
    }
}
