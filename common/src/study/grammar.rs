//! The study file's grammar: TOML with spans to unchecked fields.
//!
//! Floor: common.

use std::ops::Range;

/// One thing wrong with a study file.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Bytes of the study file that the finding is about.
    pub span: Range<usize>,
    /// 1-based.
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// What to change.
    pub help: Option<String>,
}

/// Everything wrong with a study file, in the file's order. Never empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings(pub Vec<Finding>);
