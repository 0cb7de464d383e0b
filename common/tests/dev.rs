#![allow(clippy::unwrap_used, dead_code)]
#[path = "../../tests/inference.rs"]
mod inference;
#[path = "../../tests/reference.rs"]
mod reference;

mod timing {
    use common::id::Digest;
    use common::seed::{Stream, StreamRng};
    use common::stats::mixed::*;
    use std::collections::BTreeMap;
    use std::time::Instant;

    fn rows(missing: bool) -> BTreeMap<String, Column> {
        let mut rng = StreamRng::new(&Digest([0; 32]), Stream::Noise, 0, 0);
        let mut effects =
            |count: usize, sd: f64| -> Vec<f64> { (0..count).map(|_| sd * rng.normal()).collect() };
        let (config, fold) = (effects(20, 0.010), effects(50, 0.020));
        let (cf, cs) = (effects(1000, 0.005), effects(1000, 0.004));
        let noise = effects(50_000, 0.008);
        let kept = effects(50_000, 1.0);
        let mut y = Vec::new();
        let mut codes: [Vec<u32>; 4] = Default::default();
        for (row, noise) in noise.iter().enumerate() {
            if missing && kept[row] > 0.52 {
                continue;
            }
            let (c, s, f) = (row % 20, row / 20 % 50, row / 1_000);
            let arm = c / 10;
            y.push(
                0.9 + 0.005 * arm as f64
                    + config[c]
                    + fold[f]
                    + cf[c * 50 + f]
                    + cs[c * 50 + s]
                    + noise,
            );
            [arm, c, s, f].into_iter().zip(&mut codes).for_each(|(code, to)| to.push(code as u32));
        }
        let [arm, config, seed, fold] = codes;
        let levels = |codes: Vec<u32>, count: u32| Column::Levels {
            codes,
            names: (0..count).map(|n| format!("{n:02}")).collect(),
        };
        BTreeMap::from([
            ("y".to_string(), Column::Numbers(y)),
            ("arm".to_string(), levels(arm, 2)),
            ("config".to_string(), levels(config, 20)),
            ("seed".to_string(), levels(seed, 50)),
            ("fold".to_string(), levels(fold, 50)),
        ])
    }

    #[test]
    fn usual() {
        for missing in [std::env::var("MISSING").is_ok()] {
            let columns = rows(missing);
            let formula =
                Formula::parse("y ~ config + (1|fold) + (1|config:fold) + (1|config:seed)")
                    .unwrap();
            let t = Instant::now();
            let fit = fit(&formula, &columns, Method::Reml).unwrap();
            println!(
                "missing {missing} n {} fit {:?} theta {:?} evals {}",
                fit.n,
                t.elapsed(),
                fit.theta,
                fit.evaluations
            );
            let t = Instant::now();
            let cpu = || {
                let s = std::fs::read_to_string("/proc/self/stat").unwrap();
                s.rsplit(')')
                    .next()
                    .unwrap()
                    .split_whitespace()
                    .nth(11)
                    .unwrap()
                    .parse::<f64>()
                    .unwrap()
                    / 100.0
            };
            let c0 = cpu();
            let draws = bootstrap(&fit, 2000, 1).unwrap();
            println!("cpu {}", cpu() - c0);
            println!("bootstrap {:?} failed {}", t.elapsed(), draws.failed());
            if std::env::var("ALL").is_err() {
                continue;
            }
            let t = Instant::now();
            let f = Freedom::of(&fit, DfMethod::Satterthwaite).unwrap();
            let mut w = vec![0.0; 20];
            w[3] = 1.0;
            println!("satt {:?} {:?}", f.contrast(&w).unwrap(), t.elapsed());
            let t = Instant::now();
            let f = Freedom::of(&fit, DfMethod::KenwardRoger).unwrap();
            println!("kr {:?} {:?}", f.contrast(&w).unwrap(), t.elapsed());
            let t = Instant::now();
            let e = exact_zero_test(&fit, 0, 10_000, 1).unwrap();
            println!("exact {:?} {:?}", e, t.elapsed());
            let t = Instant::now();
            let ws: Vec<Vec<f64>> = (1..20)
                .map(|i| (0..20).map(|j| if i == j { 1.0 } else { 0.0 }).collect())
                .collect();
            let c = contrasts(&f, &ws, 0.95, Multiplicity::Dunnett { seed: 1 }).unwrap();
            println!("dunnett {:?} {:?}", c[2], t.elapsed());
        }
    }
}
