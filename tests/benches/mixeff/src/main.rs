//! How long mixeff-rs takes for the crossed designs of `lme4.rs`, whose rows it is given.
//! usage: mixeff-peer ROWS.csv
//!
//! Floor: wiring.

use std::error::Error;
use std::time::Instant;

use mixeff_rs::model::{FitOptions, LinearMixedModelBuilder};
use mixeff_rs::prelude::*;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: mixeff-peer ROWS.csv")?;
    let text = std::fs::read_to_string(path)?;
    let rows: Vec<Vec<&str>> =
        text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let mut frame = DataFrame::new();
    let y: std::result::Result<Vec<f64>, _> = rows.iter().map(|row| row[0].parse()).collect();
    frame.add_numeric("y", y?)?;
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        frame.add_categorical(name, rows.iter().map(|row| row[at + 1].to_string()).collect())?;
    }
    for text in ["y ~ 1 + (1|a) + (1|b)", "y ~ 1 + (1|a) + (1|b) + (1|c)"] {
        let begun = Instant::now();
        let formula = parse_formula(text)?;
        let model = LinearMixedModelBuilder::new(formula, &frame).fit(FitOptions::reml())?;
        println!("{} {:.6}", begun.elapsed().as_secs_f64(), model.objective());
    }
    Ok(())
}
