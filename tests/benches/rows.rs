//! How fast a million rows of a Parquet file go into the cross-products of the report's model.
//!
//! 1,000,000 rows in row groups of 100,000: two arms, 20 seeds, 50 folds and 500 cases as text, and
//! a score. The limit named beside it is decoding the same columns. The bar is a million rows a
//! second on one thread; a dense design matrix of these rows would take 5 GiB.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use common::id::Digest;
use common::seed::{Stream, StreamRng};
use common::stats::mixed::{Accumulator, FitError, Formula, Method, Slice};
use common::table::{Part, TableError, Wanted, parquet_rows};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.parquet");
    write(&path)?;
    let wanted: BTreeMap<String, Wanted> = (FACTORS.iter())
        .map(|(name, _)| (name.to_string(), Wanted::Levels))
        .chain([("score".to_string(), Wanted::Numbers)])
        .collect();
    let decoding = fastest(|| {
        let none = |_: &BTreeMap<&str, Part>| Ok::<(), TableError>(());
        Ok(parquet_rows(File::open(&path)?, &wanted, none)?.rows)
    })?;
    let formula = Formula::parse(FORMULA)?;
    let mut model = Accumulator::new(&formula);
    let streaming = fastest(|| {
        model = Accumulator::new(&formula);
        let streamed = parquet_rows(File::open(&path)?, &wanted, |parts| add(&mut model, parts));
        streamed.map(|streamed| streamed.rows).map_err(|Failed(error)| error)
    })?;
    let held = allocation_counter::measure(|| {
        let mut model = Accumulator::new(&formula);
        let streamed = File::open(&path).map(|file| {
            parquet_rows(file, &wanted, |parts| add(&mut model, parts))
                .map_err(|Failed(error)| error)
        });
        assert!(streamed.is_ok_and(|streamed| streamed.is_ok()), "it was streamed above");
    });
    let begun = Instant::now();
    let fit = model.fit(Method::Reml)?;
    let fitting = begun.elapsed().as_secs_f64();
    anyhow::ensure!(fit.converged && fit.n == ROWS, "the fit did not converge");
    println!("{FORMULA}, {ROWS} rows from Parquet, one thread");
    println!("  decoding alone:       {:>10.0} rows/s", ROWS as f64 / decoding);
    println!("  into cross-products:  {:>10.0} rows/s", ROWS as f64 / streaming);
    println!("  ratio:                {:>10.2}", streaming / decoding);
    println!("  memory at most:       {:>10.0} MiB", held.bytes_max as f64 / 1024.0 / 1024.0);
    println!("  the fit after that:   {fitting:>10.2} s");
    Ok(())
}

fn add(model: &mut Accumulator, parts: &BTreeMap<&str, Part>) -> Result<(), Failed> {
    let columns = parts.iter().map(|(name, part)| match part {
        Part::Numbers(numbers) => (*name, Slice::Numbers(numbers)),
        Part::Levels { codes, names } => (*name, Slice::Levels { codes, names }),
    });
    Ok(model.add(&columns.collect())?)
}

struct Failed(anyhow::Error);

impl From<TableError> for Failed {
    fn from(error: TableError) -> Self {
        Self(error.into())
    }
}

impl From<FitError> for Failed {
    fn from(error: FitError) -> Self {
        Self(error.into())
    }
}

fn fastest(mut run: impl FnMut() -> anyhow::Result<usize>) -> anyhow::Result<f64> {
    let mut seconds = f64::INFINITY;
    for _ in 0..RUNS {
        let begun = Instant::now();
        anyhow::ensure!(run()? == ROWS, "rows were lost");
        seconds = seconds.min(begun.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

fn write(path: &Path) -> anyhow::Result<()> {
    let schema = "message rows { REQUIRED BYTE_ARRAY arm (UTF8); REQUIRED BYTE_ARRAY seed (UTF8);
        REQUIRED BYTE_ARRAY fold (UTF8); REQUIRED BYTE_ARRAY case (UTF8); REQUIRED DOUBLE score; }";
    let schema = Arc::new(parse_message_type(schema)?);
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = SerializedFileWriter::new(File::create(path)?, schema, properties)?;
    let mut rng = StreamRng::new(&Digest([2; 32]), Stream::Noise, 0, 0);
    let effects: Vec<Vec<f64>> = (FACTORS.iter())
        .map(|(_, levels)| (0..*levels).map(|_| 0.1 * rng.normal()).collect())
        .collect();
    for group in 0..GROUPS {
        let rows = group * (ROWS / GROUPS)..(group + 1) * (ROWS / GROUPS);
        let codes: Vec<[usize; 4]> =
            rows.map(|row| [row % 2, row / 2 % 20, row / 40 % 50, row / 7 % 500]).collect();
        let mut into = file.next_row_group()?;
        for place in 0..FACTORS.len() {
            let names: Vec<ByteArray> = codes
                .iter()
                .map(|codes| format!("level {}", codes[place]).as_str().into())
                .collect();
            if let Some(mut column) = into.next_column()? {
                column.typed::<ByteArrayType>().write_batch(&names, None, None)?;
                column.close()?;
            }
        }
        let scores: Vec<f64> = (codes.iter())
            .map(|codes| {
                let sum: f64 = codes.iter().zip(&effects).map(|(code, of)| of[*code]).sum();
                0.8 + sum + 0.2 * rng.normal()
            })
            .collect();
        if let Some(mut column) = into.next_column()? {
            column.typed::<DoubleType>().write_batch(&scores, None, None)?;
            column.close()?;
        }
        into.close()?;
    }
    file.close()?;
    Ok(())
}

const FORMULA: &str = "score ~ arm + (1|fold) + (1|arm:fold) + (1|arm:seed) + (1|case)";
const FACTORS: [(&str, usize); 4] = [("arm", 2), ("seed", 20), ("fold", 50), ("case", 500)];
const ROWS: usize = 1_000_000;
const GROUPS: usize = 10;
const RUNS: usize = 3;
