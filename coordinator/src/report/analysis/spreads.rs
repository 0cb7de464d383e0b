//! Whether seeds move all configs alike.
//!
//! Floor: core.

use common::stats::spread::brown_forsythe;
use common::study::Study;

use super::super::content::{EqualSpread, SeedSpread, SpreadsPart};
use super::super::table::{Run, Table};
use super::{arms, estimate, grouped};

/// The spread of the seeds' means in each config; `None` where no config has two seeds.
///
/// The same seeds stand in every group, so groups are no independent samples where a seed does the
/// same to all; the test then errs on the side of no difference.
pub fn of_all(study: &Study, table: &Table) -> Option<SpreadsPart> {
    let (mut groups, mut values) = (Vec::new(), Vec::new());
    for (arm, runs) in study.judged().iter().zip(table.judged(study)) {
        for (config, runs) in grouped(runs, |run| run.config) {
            let runs: Vec<Run> = runs.into_iter().cloned().collect();
            let means: Vec<f64> =
                arms::seed_means(study, &runs).into_iter().map(|(_, mean)| mean).collect();
            let Some(sd) = estimate::sd(&means) else { continue };
            let point = arm.configs[config as usize].point.to_string();
            groups.push(SeedSpread {
                arm: arm.name.clone(),
                config: (arm.configs.len() > 1).then_some(point),
                seeds: means.len() as u64,
                sd,
            });
            values.push(means);
        }
    }
    let test = brown_forsythe(&values).ok().map(|found| EqualSpread {
        f: Some(found.f).filter(|f| f.is_finite()),
        df_between: found.df.0,
        df_within: found.df.1,
        p: found.p,
        unequal: found.p < 0.05,
    });
    (!groups.is_empty()).then_some(SpreadsPart { groups, test })
}
