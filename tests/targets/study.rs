//! A study file and its data, as an operator has them from anywhere.
//!
//! What passes every check obeys the rules of names and sizes; what does not has findings that point
//! into the file.
//!
//! Floor: wiring.

use common::design::Design;
use common::name::{is_inner_path, is_name};
use common::study::{Format, check};
use common::table::{Table, Values};
use common::wire::codec;

use super::values::{STUDY, rows};
use super::{Read, kept};

/// The study file, and behind a line of [`BORDER`], its data.
pub(super) fn run(input: &[u8]) -> Read {
    let input = String::from_utf8_lossy(input);
    let (text, data) = match input.split_once(BORDER) {
        Some((text, data)) => (text, data.to_string()),
        None => (&*input, rows()),
    };
    let mut asked = Vec::new();
    let checked = check(text, &mut |path| {
        asked.push(path.to_string());
        Ok(data.clone().into_bytes())
    });
    assert!(asked.iter().all(|path| is_inner_path(path)), "{asked:?}");
    match checked {
        Ok(checked) => {
            let study = &checked.study;
            assert!(study.is_well_named() && is_name(&study.name));
            let trials = Design::try_of(study).and_then(|design| design.trials());
            assert!(trials.is_some_and(|trials| (1..=10_000_000).contains(&trials)));
            let bytes = codec::encode(study).expect("encodes");
            assert!(codec::decode::<common::study::Study>(&bytes).is_ok_and(|b| b == *study));
            kept(checked)
        }
        Err(findings) => {
            assert!(!findings.0.is_empty(), "refused without a reason");
            for finding in &findings.0 {
                assert!(finding.span.end <= text.len(), "{finding:?}");
                assert!(text.is_char_boundary(finding.span.start), "{finding:?}");
            }
            kept((findings.render("study.toml"), findings))
        }
    }
}

/// The first byte says which format the others are read as.
pub(super) fn table(input: &[u8]) -> Read {
    let (format, bytes) = input.split_first()?;
    let format = &[Format::Csv, Format::Tsv, Format::Parquet][usize::from(*format) % 3];
    match Table::read(format, bytes) {
        Ok(table) => {
            assert!(table.rows > 0 && !table.columns.is_empty());
            for column in &table.columns {
                let length = match &column.values {
                    Values::Numbers(numbers) => numbers.len(),
                    Values::Text(texts) => texts.len(),
                };
                assert_eq!(length, table.rows, "{}", column.name);
            }
            kept(table)
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            kept(errors.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
    }
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let small = "[study]\nname = \"s\"\nmetric = \"rmse\"\n[data]\npath = \"r.tsv\"\ntarget = \"y\"\n\
                 task = \"regression\"\n[split]\nouter = { holdout = 0.5 }\n[seeds]\ncount = 2\n\
                 [arms.a]\nmodel = \"linear\"\n";
    let leave_out =
        STUDY.replace("{ folds = 2, repeats = 2, stratify = true }", "{ leave_out = \"g\" }");
    vec![
        ("whole".to_string(), STUDY.as_bytes().to_vec()),
        ("with-data".to_string(), format!("{STUDY}{BORDER}{}", rows()).into_bytes()),
        (
            "small".to_string(),
            format!("{small}{BORDER}x\ty\n1\t2\n3\t4\n5\t6\n7\t8\n").into_bytes(),
        ),
        ("leave-out".to_string(), leave_out.into_bytes()),
        ("huge".to_string(), STUDY.replace("init = 2", "init = 999999999").into_bytes()),
        ("bad-name".to_string(), STUDY.replace("sample", "../\\u0000CON").into_bytes()),
        ("nested".to_string(), format!("a = {}", "[".repeat(200)).into_bytes()),
    ]
}

pub(super) fn table_seeds() -> Vec<(String, Vec<u8>)> {
    let behind = |format: u8, bytes: &[u8]| [&[format], bytes].concat();
    vec![
        ("csv".to_string(), behind(0, rows().as_bytes())),
        ("quoted".to_string(), behind(0, b"a,\"b,\"\"c\"\n1,x\n?,1e400\n")),
        ("tsv".to_string(), behind(1, b"a\tb\n1\tx\n-inf\tnan\n")),
        ("parquet".to_string(), behind(2, PARQUET)),
    ]
}

/// Numbers, text and nulls, as pandas writes them.
const PARQUET: &[u8] = include_bytes!("../data/table/pandas.parquet");
const BORDER: &str = "\n====\n";
