//! The outcomes themselves as a table: Parquet and CSV, one row a trial, in trial order.
//!
//! Both formats come from the same columns. A text cell that a spreadsheet would run as a formula
//! is quoted in CSV. Learning curves lie beside their outcomes, points between blanks. Deliberately
//! absent: trials that have not ended.
//!
//! Floor: core.

use std::sync::Arc;

use common::curve::{Curve, Point, Quantity};
use common::design::{Design, TrialKey};
use common::repeat::device_of;
use common::space::Value;
use common::study::{Arm, ArmConfig, Study};
use common::trial::{FailReason, Outcome};
use common::wire::message::{OutcomeRow, RowEnd};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use thiserror::Error;

use super::Material;
use super::table::in_trial_order;

/// Why the outcomes cannot be exported.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error("the outcomes cannot be written as Parquet")]
    Parquet {
        #[from]
        source: ParquetError,
    },
    #[error("the outcomes cannot be written as CSV")]
    Csv {
        #[from]
        source: csv::Error,
    },
    #[error("the outcomes cannot be written as CSV: the last buffer was not taken")]
    Flush,
}

/// `trials.parquet`: cells of a trial that has no value there are null.
pub fn parquet(material: &Material<'_>) -> Result<Vec<u8>, ExportError> {
    let columns = columns(material);
    let fields = columns
        .iter()
        .map(|column| column.cells.field(&column.name).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("trials").with_fields(fields).build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("seedsweep ", env!("CARGO_PKG_VERSION")).to_string())
        .build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for column in &columns {
        if let Some(mut open) = group.next_column()? {
            column.cells.write(&mut open)?;
            open.close()?;
        }
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

/// The same columns as CSV with a header; a cell without a value is empty.
pub fn csv(material: &Material<'_>) -> Result<Vec<u8>, ExportError> {
    let columns = columns(material);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns.iter().map(|column| safe(&column.name)))?;
    let rows = columns.first().map_or(0, |column| column.cells.len());
    for row in 0..rows {
        writer.write_record(columns.iter().map(|column| column.cells.text(row)))?;
    }
    writer.into_inner().map_err(|_| ExportError::Flush)
}

struct Column {
    name: String,
    cells: Cells,
}

enum Cells {
    Whole(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
}

/// A trial that has ended, opened.
struct Ended<'a> {
    row: &'a OutcomeRow,
    key: TrialKey,
}

impl Ended<'_> {
    fn outcome(&self) -> Option<&Outcome> {
        match &self.row.end {
            RowEnd::Complete(outcome) => Some(outcome),
            RowEnd::Failed { .. } => None,
        }
    }

    fn curve(&self) -> Option<&Curve> {
        self.outcome()?.curve.as_deref()
    }

    fn failure(&self) -> Option<(&str, &str)> {
        match &self.row.end {
            RowEnd::Complete(_) => None,
            RowEnd::Failed { reason, detail } => Some((reason, detail)),
        }
    }

    fn status(&self) -> &'static str {
        match self.failure() {
            None => "complete",
            Some((reason, _)) if reason == FailReason::Diverged.name() => "diverged",
            Some(_) => "failed",
        }
    }
}

fn columns(material: &Material<'_>) -> Vec<Column> {
    let study = material.study;
    let design = Design::of(study);
    let ended: Vec<Ended<'_>> = in_trial_order(material.rows, &design)
        .into_iter()
        .filter_map(|row| design.key(row.trial).map(|key| Ended { row, key }))
        .collect();
    let whole = |name: &str, cell: &dyn Fn(&Ended<'_>) -> Option<i64>| Column {
        name: name.to_string(),
        cells: Cells::Whole(ended.iter().map(cell).collect()),
    };
    let real = |name: &str, cell: &dyn Fn(&Ended<'_>) -> Option<f64>| Column {
        name: name.to_string(),
        cells: Cells::Real(ended.iter().map(cell).collect()),
    };
    let text = |name: &str, cell: &dyn Fn(&Ended<'_>) -> Option<String>| Column {
        name: name.to_string(),
        cells: Cells::Text(ended.iter().map(cell).collect()),
    };
    let mut list = vec![
        whole("trial", &|e| i64::try_from(e.row.trial.0).ok()),
        text("arm", &|e| Some(e.key.arm(study).name.clone())),
        text("config", &|e| {
            let point = &e.key.config(study).point;
            (!point.values.is_empty()).then(|| point.to_string())
        }),
    ];
    if study.judged().len() < study.arms.len() {
        // For readers who compare arms themselves: which of them are controls.
        let control = |arm: &Arm| arm.control().map(|_| arm.model.name().to_string());
        list.push(text("control", &|e| control(e.key.arm(study))));
    }
    list.extend(varied(study).into_iter().map(|name| hyperparameter(study, &ended, &name)));
    for (place, factor) in study.seeds.factors.iter().enumerate() {
        let name =
            if factor.name == "seed" { "seed".into() } else { format!("seed.{}", factor.name) };
        list.push(whole(&name, &|e| Some(i64::from(e.key.seeds[place]))));
    }
    list.extend([
        whole("partition", &|e| Some(i64::from(e.key.partition))),
        whole("fold", &|e| Some(i64::from(e.key.fold))),
    ]);
    if study.outer.inner.is_some() {
        // Empty for what is reported; the seeds of the others are tuning seeds.
        list.push(whole("inner_fold", &|e| e.key.inner.map(i64::from)));
    }
    list.extend([text("status", &|e| Some(e.status().to_string()))]);
    for (place, metric) in study.metrics.iter().enumerate() {
        list.push(real(metric.name(), &|e| e.outcome()?.metrics.get(place).copied()));
    }
    list.extend([
        whole("epochs", &|e| Some(i64::from(e.outcome()?.epochs))),
        real("duration_seconds", &|e| Some(e.outcome()?.duration_us as f64 / 1e6)),
        // The whole record of a device would stand in every line; `environment.json` has each once.
        text("device", &|e| Some(device_of(&e.outcome()?.device).to_string())),
        text("agent", &|e| Some(e.row.agent.to_string())),
        text("reason", &|e| Some(e.failure()?.0.to_string())),
        text("detail", &|e| Some(e.failure()?.1.to_string())),
        text("digest", &|e| Some(e.outcome()?.digest().hex())),
    ]);
    list.extend(curves(&ended));
    list
}

/// Learning curves, where any trial has one.
fn curves(ended: &[Ended<'_>]) -> Vec<Column> {
    let text = |name: &str, cell: &dyn Fn(&Ended<'_>) -> Option<String>| Column {
        name: name.to_string(),
        cells: Cells::Text(ended.iter().map(cell).collect()),
    };
    if ended.iter().any(|e| e.curve().is_some()) {
        let points = |e: &Ended<'_>, number: &dyn Fn(Point) -> Option<String>| {
            let numbers: Vec<String> = e.curve()?.points().filter_map(number).collect();
            (!numbers.is_empty()).then(|| numbers.join(" "))
        };
        return vec![
            text("curve", &|e| Some(shown(&e.curve()?.of))),
            text("curve.at", &|e| points(e, &|point| Some(point.at.to_string()))),
            text("curve.values", &|e| points(e, &|point| Some(point.value.to_string()))),
            text("curve.validation", &|e| points(e, &|point| Some(point.held_out?.to_string()))),
        ];
    }
    Vec::new()
}

/// What a curve shows, by its name.
fn shown(of: &Quantity) -> String {
    match of {
        Quantity::Loss => "loss".to_string(),
        Quantity::Named(name) => name.clone(),
    }
}

/// Names of all hyperparameters that some arm varies, in the study's order.
fn varied(study: &Study) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for arm in &study.arms {
        let of_space = arm.learned.iter().flat_map(|learned| &learned.space.axes);
        let searched = of_space.map(|(name, _)| name);
        let listed = known(arm).flat_map(|config| &config.point.values).map(|(name, _)| name);
        for name in searched.chain(listed) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// The configs of an arm that are known: all, or of a search those it has proposed.
fn known(arm: &Arm) -> impl Iterator<Item = &ArmConfig> {
    let proposed = arm.learned.iter().flat_map(|learned| learned.all());
    let listed = arm.configs.iter().filter(|_| arm.learned.is_none());
    listed.chain(proposed.map(|(_, _, config)| config))
}

/// Numbers where every value of it in the study is one, else text.
fn hyperparameter(study: &Study, ended: &[Ended<'_>], name: &str) -> Column {
    let value_of = |point: &common::space::Config| -> Option<Value> {
        point.values.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    };
    let number = |value: &Value| match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Bool(_) | Value::Text(_) | Value::Ints(_) => None,
    };
    let all_numbers = study
        .arms
        .iter()
        .flat_map(known)
        .filter_map(|config| value_of(&config.point))
        .all(|value| number(&value).is_some());
    let values = ended.iter().map(|e| value_of(&e.key.config(study).point));
    let cells = if all_numbers {
        Cells::Real(values.map(|value| number(&value?)).collect())
    } else {
        Cells::Text(values.map(|value| value.map(|value| value.to_string())).collect())
    };
    Column { name: format!("config.{name}"), cells }
}

impl Cells {
    fn len(&self) -> usize {
        match self {
            Cells::Whole(cells) => cells.len(),
            Cells::Real(cells) => cells.len(),
            Cells::Text(cells) => cells.len(),
        }
    }

    /// One cell as CSV writes it.
    fn text(&self, row: usize) -> String {
        match self {
            Cells::Whole(cells) => cells[row].map_or(String::new(), |value| value.to_string()),
            Cells::Real(cells) => cells[row].map_or(String::new(), |value| value.to_string()),
            Cells::Text(cells) => cells[row].as_deref().map_or(String::new(), safe),
        }
    }

    fn field(&self, name: &str) -> Result<Type, ParquetError> {
        let (physical, logical) = match self {
            Cells::Whole(_) => (Physical::INT64, None),
            Cells::Real(_) => (Physical::DOUBLE, None),
            Cells::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    }

    fn write(&self, open: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        match self {
            Cells::Whole(cells) => {
                let values: Vec<i64> = cells.iter().flatten().copied().collect();
                open.typed::<Int64Type>().write_batch(&values, Some(&present(cells)), None)?;
            }
            Cells::Real(cells) => {
                let values: Vec<f64> = cells.iter().flatten().copied().collect();
                open.typed::<DoubleType>().write_batch(&values, Some(&present(cells)), None)?;
            }
            Cells::Text(cells) => {
                let values: Vec<ByteArray> =
                    cells.iter().flatten().map(|text| ByteArray::from(text.as_str())).collect();
                open.typed::<ByteArrayType>().write_batch(&values, Some(&present(cells)), None)?;
            }
        }
        Ok(())
    }
}

/// Definition levels: 1 where a cell has a value.
fn present<T>(cells: &[Option<T>]) -> Vec<i16> {
    cells.iter().map(|cell| i16::from(cell.is_some())).collect()
}

/// Text that no spreadsheet takes for a formula: those beginnings get a quote in front.
fn safe(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_string()
    }
}
