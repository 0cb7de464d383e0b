//! Where a study's rows lie in its data file: for whoever reads that file by other means.
//!
//! Floor: common.

use super::Table;
use super::dataset::{feature_columns, kept_rows, samples_kept};
use crate::samples::{Asked, Samples};
use crate::study::{Data, Missing, Task};

/// The place in the file, from 0 and without a header, of each row of the study; `None` where rows
/// are what they are in the file: unless those with missing cells are dropped.
///
/// `bytes` are the file's, verified. Errors: a sentence.
pub fn places(data: &Data, bytes: &[u8]) -> Result<Option<Vec<u32>>, String> {
    if data.missing != Missing::Drop {
        return Ok(None);
    }
    if !data.format.is_table() {
        let segmentation = matches!(data.task, Task::Segmentation { .. });
        let (format, target) = (&data.format, data.target.as_str());
        let asked = Asked { format, target, segmentation, memory: u64::MAX };
        let samples = Samples::read(&asked, bytes).map_err(|errors| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })?;
        let kept = samples_kept(&samples.table, &samples.features, data);
        return Ok(Some(kept.into_iter().map(|row| row as u32).collect()));
    }
    let table = Table::read(&data.format, bytes)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let parts = [Some(&data.target), data.group.as_ref(), data.leave_out.as_ref()];
    let parts: Vec<usize> =
        parts.into_iter().flatten().filter_map(|name| table.find(name)).collect();
    let mut used = feature_columns(&table, &data.drop, &parts);
    used.extend(&parts);
    Ok(Some(kept_rows(&table, &used, data.missing).into_iter().map(|row| row as u32).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::study::Format;

    #[test]
    fn rows_that_were_dropped_are_stepped_over() {
        let bytes = b"x,id,y\n1,,a\n,2,b\n3,3,a\n4,4,b\n";
        let mut data = Data {
            path: "rows.csv".into(),
            format: Format::Csv,
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
            target: "y".into(),
            task: Task::Classification { classes: vec!["a".into(), "b".into()] },
            drop: vec!["id".into()],
            group: None,
            leave_out: None,
            missing: Missing::Drop,
            rows: 3,
        };
        assert_eq!(places(&data, bytes), Ok(Some(vec![0, 2, 3])));
        data.missing = Missing::Mean;
        assert_eq!(places(&data, bytes), Ok(None));
    }
}
