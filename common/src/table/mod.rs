//! Tables: columns from CSV, TSV or Parquet bytes, and the rows a study makes of them.
//!
//! Floor: common.

use crate::id::Digest;
use crate::split::Labels;
use crate::study::Data;

/// Columns of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub values: Values,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Missing cells are NaN.
    Numbers(Vec<f64>),
    Text(Vec<Option<String>>),
}

/// A study's rows, ready to be divided and trained on. Nothing here is fitted to the rows: scaling
/// and filling of missing cells come later, from training rows alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Digest of the file it came from; keys the streams.
    pub digest: Digest,
    /// [rows, width], row-major, as in the file; NaN where a cell is missing.
    pub features: Vec<f32>,
    pub width: usize,
    pub names: Vec<String>,
    pub target: Target,
    pub groups: Option<Vec<u32>>,
    pub leave_out: Option<Vec<u32>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Class index of each row.
    Classes {
        labels: Vec<u32>,
        classes: u32,
    },
    Values(Vec<f32>),
}

impl Target {
    pub fn len(&self) -> usize {
        match self {
            Target::Classes { labels, .. } => labels.len(),
            Target::Values(values) => values.len(),
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
        let _ = (data, bytes);
        Err("not read".to_string())
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
        }
    }
}
