//! How long the report's usual mixed model takes, beside one pass over its rows; and its bootstrap.
//!
//! 2 arms × 10 configs × 50 seeds × 50 folds: 50,000 rows. The limit named beside it is reading the
//! rows once, which no fit can be quicker than. The bootstrap is of the model whose interactions
//! are random too, with 2,050 levels: 2,000 refits, on all cores; the limit is 20 s on two.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use common::id::Digest;
use common::seed::{Stream, StreamRng};
use common::stats::mixed::{Column, Formula, Method, bootstrap, fit};

fn main() -> anyhow::Result<()> {
    let columns = rows();
    let formula = Formula::parse("y ~ arm + (1|config) + (1|seed) + (1|fold)")?;
    let mut seconds: Vec<f64> = Vec::new();
    let mut evaluations = 0;
    for _ in 0..RUNS {
        let begun = Instant::now();
        let fitted = fit(&formula, &columns, Method::Reml)?;
        seconds.push(begun.elapsed().as_secs_f64());
        anyhow::ensure!(fitted.converged, "the fit did not converge");
        evaluations = fitted.evaluations;
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[RUNS / 2];
    let pass = one_pass(&columns);
    println!("mixed model y ~ arm + (1|config) + (1|seed) + (1|fold), 50,000 rows, one thread");
    println!("  fit, median of {RUNS}: {:>8.1} ms ({evaluations} evaluations)", median * 1e3);
    println!("  one pass over rows: {:>8.3} ms", pass * 1e3);
    println!("  ratio:              {:>8.0}", median / pass);
    refits(&columns)
}

fn refits(columns: &BTreeMap<String, Column>) -> anyhow::Result<()> {
    let text = "score ~ config + (1|fold) + (1|config:fold) + (1|config:seed)";
    let fitted = fit(&Formula::parse(text)?, columns, Method::Reml)?;
    let begun = Instant::now();
    let draws = bootstrap(&fitted, REFITS, 1)?;
    let seconds = begun.elapsed().as_secs_f64();
    let cores = std::thread::available_parallelism()?;
    println!("bootstrap of {text}, {REFITS} refits on {cores} cores");
    println!("  all:                {seconds:>8.1} s ({} did not converge)", draws.failed());
    println!(
        "  one refit, a core:  {:>8.1} ms",
        seconds * 1e3 * cores.get() as f64 / REFITS as f64
    );
    Ok(())
}

fn rows() -> BTreeMap<String, Column> {
    let mut rng = StreamRng::new(&Digest([0; 32]), Stream::Noise, 0, 0);
    let mut effects =
        |count: usize, sd: f64| -> Vec<f64> { (0..count).map(|_| sd * rng.normal()).collect() };
    let (config, seed, fold) = (effects(20, 0.010), effects(50, 0.004), effects(50, 0.020));
    let noise = effects(50_000, 0.008);
    let (config_fold, config_seed) = (effects(1_000, 0.005), effects(1_000, 0.004));
    let (mut y, mut score) = (Vec::new(), Vec::new());
    let mut codes: [Vec<u32>; 4] = Default::default();
    for (row, noise) in noise.iter().enumerate() {
        let (c, s, f) = (row % 20, row / 20 % 50, row / 1_000);
        let arm = c / 10;
        y.push(0.9 + 0.005 * arm as f64 + config[c] + seed[s] + fold[f] + noise);
        let joint = config_fold[c * 50 + f] + config_seed[c * 50 + s];
        score.push(0.9 + config[c] + fold[f] + joint + noise);
        [arm, c, s, f].into_iter().zip(&mut codes).for_each(|(code, to)| to.push(code as u32));
    }
    let [arm, config, seed, fold] = codes;
    let levels = |codes: Vec<u32>, count: u32| Column::Levels {
        codes,
        names: (0..count).map(|n| format!("{n:02}")).collect(),
    };
    BTreeMap::from([
        ("y".to_string(), Column::Numbers(y)),
        ("score".to_string(), Column::Numbers(score)),
        ("arm".to_string(), levels(arm, 2)),
        ("config".to_string(), levels(config, 20)),
        ("seed".to_string(), levels(seed, 50)),
        ("fold".to_string(), levels(fold, 50)),
    ])
}

/// Seconds to read every value once.
fn one_pass(columns: &BTreeMap<String, Column>) -> f64 {
    let begun = Instant::now();
    for _ in 0..100 {
        let mut sum = 0.0;
        for column in columns.values() {
            sum += match column {
                Column::Numbers(values) => values.iter().sum::<f64>(),
                Column::Levels { codes, .. } => codes.iter().map(|code| f64::from(*code)).sum(),
            };
        }
        black_box(sum);
    }
    begun.elapsed().as_secs_f64() / 100.0
}

const RUNS: usize = 9;
const REFITS: usize = 2_000;
