//! The rows a study makes of a table.
//!
//! `study::check` and [`Dataset::read`] go through the same code, so an agent has exactly the rows
//! that were checked. Nothing here is fitted to the rows: scaling and filling of missing cells come
//! later, from training rows alone.
//!
//! Floor: common.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Column, Table, Values, ranks};
use crate::id::Digest;
use crate::samples::{Asked, Samples};
use crate::split::Labels;
use crate::study::{Data, Missing, Task};

/// A study's rows, ready to be divided and trained on.
///
/// A numeric column is one feature. A text column is one feature for each of its levels in sorted
/// order, named `column=level`: 1 where the cell has that level, else 0. A missing cell is NaN, in
/// all features of its column, so that a mean fills it with the levels' shares.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Digest of the file it came from; keys the streams.
    pub digest: Digest,
    /// [rows, width], row-major, as in the file; NaN where a cell is missing.
    pub features: Vec<f32>,
    pub width: usize,
    /// Of one row's features: [width] in a table, [length, channels] of a sequence, [height, width,
    /// channels] of an image. Their product is `width`.
    pub shape: Vec<usize>,
    /// Where features are numbers of tokens: how many tokens there are.
    pub tokens: Option<u32>,
    /// The features of each text column, one a level.
    pub levels: Vec<Range<usize>>,
    /// [width]; empty where a row is a sequence or an image ([`Dataset::name`]).
    pub names: Vec<String>,
    pub target: Target,
    pub groups: Option<Vec<u32>>,
    pub leave_out: Option<Vec<u32>>,
    /// [rows]: place in time, where every value of the leave-out column is a moment.
    pub order: Option<Vec<u32>>,
    /// [rows]: height and width of a pixel in mm, where the file says so.
    pub spacing: Option<Vec<[f32; 2]>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Class index of each row.
    Classes {
        labels: Vec<u32>,
        classes: u32,
    },
    Values(Vec<f32>),
    /// Class index of each pixel, [rows, pixels].
    Masks {
        labels: Vec<u8>,
        pixels: usize,
        classes: u32,
    },
}

impl Target {
    pub fn len(&self) -> usize {
        match self {
            Target::Classes { labels, .. } => labels.len(),
            Target::Values(values) => values.len(),
            Target::Masks { labels, pixels, .. } => labels.len() / (*pixels).max(1),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Dataset {
    /// The rows of a checked study, from its file's bytes: what an agent does.
    ///
    /// Errors: a sentence, when the bytes are not the ones the study was checked with.
    pub fn read(data: &Data, bytes: &[u8]) -> Result<Self, String> {
        let digest = Digest::of(bytes);
        if digest != data.digest {
            return Err(format!(
                "{} has digest {digest:?} and the study was checked with {:?}; submit it again",
                data.path, data.digest
            ));
        }
        let said = |sentences: Vec<String>| format!("{}: {}", data.path, sentences.join("; "));
        if !data.format.is_table() {
            let segmentation = matches!(data.task, Task::Segmentation { .. });
            let (format, target) = (&data.format, data.target.as_str());
            let asked = Asked { format, target, segmentation, memory: u64::MAX };
            let samples = Samples::read(&asked, bytes)
                .map_err(|errors| said(errors.iter().map(ToString::to_string).collect()))?;
            return Self::of_samples(data, samples);
        }
        let table = Table::read(&data.format, bytes)
            .map_err(|errors| said(errors.iter().map(ToString::to_string).collect()))?;
        Self::of(data, &table)
    }

    /// The rows of `samples` that `data` asks for. Features stay where they are.
    pub(crate) fn of_samples(data: &Data, samples: Samples) -> Result<Self, String> {
        let Samples { shape, mut features, tokens, table, mut masks, mut spacing, .. } = samples;
        let width: usize = shape.iter().product();
        let rows = samples_kept(&table, &features, data);
        if rows.len() < table.rows {
            keep_rows(&mut features, width, &rows);
            masks.iter_mut().for_each(|masks| {
                keep_rows(masks, shape[0] * shape[1], &rows);
            });
            spacing.iter_mut().for_each(|spacing| keep_rows(spacing, 1, &rows));
        }
        let place = |name: &String| {
            table.find(name).ok_or_else(|| format!("{} has no `{name}`", data.path))
        };
        let numbered = |name: &String| -> Result<Vec<u32>, String> {
            let column = &table.columns[place(name)?];
            codes(column, &rows, &distinct(column, &rows))
                .ok_or_else(|| format!("{}: `{name}` is missing in some rows", data.path))
        };
        let target = match (masks, &data.task) {
            (Some(labels), Task::Segmentation { classes }) => {
                let (pixels, classes) = (shape[0] * shape[1], classes.len() as u32);
                if labels.iter().any(|&label| u32::from(label) >= classes) {
                    return Err(format!("{}: a class the study does not know", data.path));
                }
                Target::Masks { labels, pixels, classes }
            }
            _ => target_of(data, &table.columns[place(&data.target)?], &rows)?,
        };
        let names = if shape.len() == 1 {
            (0..width).map(|place| format!("x{place}")).collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            digest: data.digest,
            features,
            width,
            shape,
            tokens,
            levels: Vec::new(),
            names,
            target,
            groups: data.group.as_ref().map(numbered).transpose()?,
            leave_out: data.leave_out.as_ref().map(numbered).transpose()?,
            order: None,
            spacing,
        })
    }

    /// What a feature is called: its column, or its place in a sequence or an image, from 0.
    pub fn name(&self, feature: usize) -> String {
        if let Some(name) = self.names.get(feature) {
            return name.clone();
        }
        let mut left = feature;
        let mut places: Vec<String> = Vec::new();
        for side in self.shape.iter().rev() {
            places.push((left % side).to_string());
            left /= side;
        }
        places.reverse();
        format!("x[{}]", places.join(", "))
    }

    /// The rows of `table` that `data` asks for.
    pub(crate) fn of(data: &Data, table: &Table) -> Result<Self, String> {
        let place = |name: &String| {
            table.find(name).ok_or_else(|| format!("{} has no column `{name}`", data.path))
        };
        let target = place(&data.target)?;
        let group = data.group.as_ref().map(place).transpose()?;
        let leave_out = data.leave_out.as_ref().map(place).transpose()?;
        let parts: Vec<usize> = [Some(target), group, leave_out].into_iter().flatten().collect();
        let features = feature_columns(table, &data.drop, &parts);
        let used: Vec<usize> = features.iter().chain(&parts).copied().collect();
        let rows = kept_rows(table, &used, data.missing);
        let column = |place: usize| &table.columns[place];
        let numbered = |place: usize| -> Result<Vec<u32>, String> {
            let column = column(place);
            let values = distinct(column, &rows);
            codes(column, &rows, &values)
                .ok_or_else(|| format!("{}: column `{}` has missing cells", data.path, column.name))
        };
        let (names, levels, features) = encode(table, &features, &rows);
        Ok(Self {
            digest: data.digest,
            width: names.len(),
            shape: vec![names.len()],
            tokens: None,
            levels,
            names,
            features,
            target: target_of(data, column(target), &rows)?,
            groups: group.map(numbered).transpose()?,
            leave_out: leave_out.map(numbered).transpose()?,
            order: leave_out.and_then(|place| ranks(column(place), &rows).ok()),
            spacing: None,
        })
    }

    pub fn rows(&self) -> usize {
        self.target.len()
    }

    /// What `split::partition` may see. Strata are the classes, where `stratify` asks for them.
    pub fn labels(&self, stratify: bool) -> Labels<'_> {
        let strata = match &self.target {
            Target::Classes { labels, .. } if stratify => Some(labels.as_slice()),
            _ => None,
        };
        Labels {
            rows: self.rows() as u32,
            strata,
            groups: self.groups.as_deref(),
            leave_out: self.leave_out.as_deref(),
            order: self.order.as_deref(),
        }
    }
}

/// The samples used: all, or those without a missing number or value.
pub(crate) fn samples_kept(table: &Table, features: &[f32], data: &Data) -> Vec<usize> {
    let used = [Some(&data.target), data.group.as_ref(), data.leave_out.as_ref()];
    let used: Vec<usize> = used.into_iter().flatten().filter_map(|name| table.find(name)).collect();
    let width = (features.len() / table.rows.max(1)).max(1);
    let whole = |row: &usize| {
        let numbers = &features[row * width..(row + 1) * width];
        data.missing != Missing::Drop || !numbers.iter().any(|number| number.is_nan())
    };
    kept_rows(table, &used, data.missing).into_iter().filter(whole).collect()
}

/// Moves the rows that are kept to the front, and cuts off the others.
fn keep_rows<T: Copy>(values: &mut Vec<T>, width: usize, rows: &[usize]) {
    for (to, &from) in rows.iter().enumerate() {
        values.copy_within(from * width..(from + 1) * width, to * width);
    }
    values.truncate(rows.len() * width);
}

/// Places of the columns that are features: neither dropped nor playing another part.
pub(crate) fn feature_columns(table: &Table, drop: &[String], parts: &[usize]) -> Vec<usize> {
    let is_feature =
        |&place: &usize| !parts.contains(&place) && !drop.contains(&table.columns[place].name);
    (0..table.columns.len()).filter(is_feature).collect()
}

/// The rows used: all, or those without a missing cell in the columns `used`.
pub(crate) fn kept_rows(table: &Table, used: &[usize], missing: Missing) -> Vec<usize> {
    let whole = |row: usize| !used.iter().any(|&place| table.columns[place].is_missing(row));
    (0..table.rows).filter(|&row| missing != Missing::Drop || whole(row)).collect()
}

/// The values of a column in `rows`, each once: text sorted as text, numbers as numbers.
pub(crate) fn distinct(column: &Column, rows: &[usize]) -> Vec<String> {
    match &column.values {
        Values::Numbers(numbers) => {
            let present = rows.iter().map(|&row| numbers[row] + 0.0).filter(|n| !n.is_nan());
            let mut values: Vec<f64> = present.collect();
            values.sort_by(f64::total_cmp);
            values.dedup();
            values.into_iter().map(super::name_of).collect()
        }
        Values::Text(texts) => {
            let values: BTreeSet<&String> = rows.iter().flat_map(|&row| &texts[row]).collect();
            values.into_iter().cloned().collect()
        }
    }
}

/// Each row's place in `values`. `None` when a cell is missing or not among them.
pub(crate) fn codes(column: &Column, rows: &[usize], values: &[String]) -> Option<Vec<u32>> {
    let code_of: BTreeMap<&str, u32> = values.iter().map(String::as_str).zip(0..).collect();
    rows.iter().map(|&row| code_of.get(column.text(row)?.as_str()).copied()).collect()
}

fn target_of(data: &Data, column: &Column, rows: &[usize]) -> Result<Target, String> {
    match &data.task {
        Task::Classification { classes } => {
            let labels = codes(column, rows, classes)
                .ok_or_else(|| format!("{}: a class the study does not know", data.path))?;
            Ok(Target::Classes { labels, classes: classes.len() as u32 })
        }
        Task::Regression => match &column.values {
            Values::Numbers(numbers) => {
                Ok(Target::Values(rows.iter().map(|&row| numbers[row] as f32).collect()))
            }
            Values::Text(_) => Err(format!("{}: the target is text", data.path)),
        },
        Task::Segmentation { .. } => Err(format!("{}: a table has no masks", data.path)),
    }
}

/// Names [width] of the features, the places of each text column's, and values [rows, width].
fn encode(
    table: &Table,
    features: &[usize],
    rows: &[usize],
) -> (Vec<String>, Vec<Range<usize>>, Vec<f32>) {
    let mut names = Vec::new();
    let mut levels = Vec::new();
    let mut places = Vec::new();
    for &place in features {
        let column = &table.columns[place];
        let of_column = match &column.values {
            Values::Numbers(_) => Vec::new(),
            Values::Text(_) => distinct(column, rows),
        };
        match &column.values {
            Values::Numbers(_) => names.push(column.name.clone()),
            Values::Text(_) => {
                places.push(names.len()..names.len() + of_column.len());
                names.extend(of_column.iter().map(|level| format!("{}={level}", column.name)));
            }
        }
        levels.push(of_column);
    }
    let mut values = Vec::with_capacity(rows.len() * names.len());
    for &row in rows {
        for (&place, levels) in features.iter().zip(&levels) {
            match &table.columns[place].values {
                Values::Numbers(numbers) => values.push(numbers[row] as f32),
                Values::Text(texts) => values.extend(levels.iter().map(|level| {
                    texts[row].as_ref().map_or(f32::NAN, |cell| f32::from(cell == level))
                })),
            }
        }
    }
    (names, places, values)
}

/// Levels above which a text column is not encoded.
pub(crate) const LEVELS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Format;

    const TABLE: &[u8] = b"age,grade,site,y\n61,II,10,a\n,I,9,b\n47,,10,a\n52,I,9,b\n";

    fn data(missing: Missing) -> Data {
        Data {
            path: "rows.csv".into(),
            format: Format::Csv,
            digest: Digest::of(TABLE),
            bytes: TABLE.len() as u64,
            target: "y".into(),
            task: Task::Classification { classes: vec!["a".into(), "b".into()] },
            drop: Vec::new(),
            group: Some("site".into()),
            leave_out: None,
            missing,
            rows: 4,
        }
    }

    /// Rows of a data set; `None` where a cell is NaN.
    fn cells(dataset: &Dataset) -> Vec<Vec<Option<f32>>> {
        let cell = |&value: &f32| (!value.is_nan()).then_some(value);
        dataset.features.chunks(dataset.width).map(|row| row.iter().map(cell).collect()).collect()
    }

    #[test]
    fn text_becomes_one_feature_a_level_and_missing_stays_missing() {
        let dataset = Dataset::read(&data(Missing::Mean), TABLE).expect("rows");
        assert_eq!(dataset.names, ["age", "grade=I", "grade=II"]);
        let rows = [
            vec![Some(61.0), Some(0.0), Some(1.0)],
            vec![None, Some(1.0), Some(0.0)],
            vec![Some(47.0), None, None],
            vec![Some(52.0), Some(1.0), Some(0.0)],
        ];
        assert_eq!(cells(&dataset), rows);
        assert_eq!(dataset.target, Target::Classes { labels: vec![0, 1, 0, 1], classes: 2 });
    }

    #[test]
    fn groups_are_numbered_in_the_order_of_their_numbers() {
        let dataset = Dataset::read(&data(Missing::Mean), TABLE).expect("rows");
        assert_eq!(dataset.groups, Some(vec![1, 0, 1, 0]));
        assert_eq!(dataset.labels(true).groups, Some([1, 0, 1, 0].as_slice()));
        assert_eq!(dataset.labels(false).strata, None);
    }

    #[test]
    fn rows_with_missing_cells_can_be_left_out_with_their_levels() {
        let dataset = Dataset::read(&data(Missing::Drop), TABLE).expect("rows");
        assert_eq!(dataset.rows(), 2);
        assert_eq!(cells(&dataset), [[61.0, 0.0, 1.0].map(Some), [52.0, 1.0, 0.0].map(Some)]);
    }
}
