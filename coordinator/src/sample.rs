//! A small checked study for tests of the cores.
//!
//! Floor: core.

use common::plan::Method;
use common::space::{Axis, Config, Space, Value};
use common::study::{ArmConfig, Learned, Study, TRY, check};

/// One linear arm of two learning rates, `seeds` seeds, two partitions of two folds.
pub fn study(seeds: u32) -> Study {
    checked(seeds, "constant = false")
}

/// The same with its learning rate chosen on two inner folds: by each seed for itself, or by so many for all.
pub fn nested(seeds: u32, tune: Option<u32>) -> Study {
    let tune = tune.map(|tune| format!("\ntune = {tune}")).unwrap_or_default();
    written(&format!("{seeds}{tune}"), "constant = false", "\ninner = { folds = 2 }")
}

/// The same with its learning rate searched for among sixteen tries on two inner folds.
pub fn learned(seeds: u32, tune: Option<u32>) -> Study {
    let nested = nested(seeds, tune);
    let range = Axis::LogRange { low: 0.01, high: 1.0 };
    let space = Space { axes: vec![("lr".to_string(), range)], ..Space::default() };
    let mut arm = nested.arms[0].clone();
    let example = arm.configs[0].clone();
    let tried = |number| Config { values: vec![(TRY.to_string(), Value::Int(number))] };
    let all = 1..=16;
    arm.configs = all.map(|number| ArmConfig { point: tried(number), ..example.clone() }).collect();
    arm.learned = Some(Box::new(Learned::new(Method::Tpe, space, example.hyper)));
    Study { arms: vec![arm], ..nested }
}

/// The first with its controls: constant, and permuted with so many seeds.
#[cfg(test)]
pub fn controlled(seeds: u32, permuted: u32) -> Study {
    checked(seeds, &format!("permuted = {permuted}"))
}

/// Nine learning rates, halved twice on two inner folds.
#[cfg(test)]
pub fn halved(seeds: u32, tune: Option<u32>) -> Study {
    let tune = tune.map(|tune| format!("tune = {tune}\n")).unwrap_or_default();
    of_text(&format!(
        "[study]\nname = \"halved\"\nmetric = \"auroc\"\ncontrols = {{ constant = false }}\n\
         [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
         [split]\nouter = {{ folds = 2 }}\ninner = {{ folds = 2 }}\n[seeds]\ncount = {seeds}\n{tune}\
         [arms.a]\nmodel = \"linear\"\nepochs = 9\nsearch = {{ method = \"halving\", configs = 9 }}\n\
         space = {{ lr = {{ log = [0.01, 1.0] }} }}\n"
    ))
}

/// The same, each going on without waiting for the others.
#[cfg(test)]
pub fn halved_at_once(seeds: u32, tune: Option<u32>) -> Study {
    let mut study = halved(seeds, tune);
    let halving = study.arms[0].halving.as_mut();
    halving.expect("it is halved").at_once = true;
    study
}

/// Nine learning rates that race over eight tuning seeds on two inner folds, from the third on.
#[cfg(test)]
pub fn raced(seeds: u32) -> Study {
    of_text(&format!(
        "[study]\nname = \"raced\"\nmetric = \"auroc\"\ncontrols = {{ constant = false }}\n\
         [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
         [split]\nouter = {{ folds = 2 }}\ninner = {{ folds = 2 }}\n[seeds]\ncount = {seeds}\ntune = 8\n\
         [arms.a]\nmodel = \"linear\"\nepochs = 2\n\
         search = {{ method = \"grid\", race = true, first = 3 }}\n\
         space = {{ lr = {{ log = [0.01, 1.0], points = 9 }} }}\n"
    ))
}

/// Arms `a` and `b` of one shape on two partitions of two folds, with further lines of `[study]` and of each.
#[cfg(test)]
pub fn labelled([study, a, b]: [&str; 3], seeds: u32) -> Study {
    of_text(&format!(
        "[study]\nname = \"labelled\"\nmetric = \"auroc\"\ncontrols = {{ constant = false }}\n{study}\n\
         [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
         [split]\nouter = {{ folds = 2, repeats = 2 }}\n[seeds]\ncount = {seeds}\n\
         [arms.a]\nmodel = \"linear\"\nepochs = 2\nspace = {{ lr = [0.1, 0.2] }}\n{a}\n\
         [arms.b]\nmodel = \"linear\"\nepochs = 2\nspace = {{ lr = [0.3, 0.4] }}\n{b}\n"
    ))
}

/// So many linear arms that differ in their learning rates, on five folds, with these tables.
#[cfg(test)]
pub fn limited(arms: u32, seeds: u32, tables: &str) -> Study {
    let arm = |number: u32| {
        format!("[arms.a{number}]\nmodel = \"linear\"\nepochs = 2\nlr = 0.{}\n", number + 1)
    };
    let arms: String = (0..arms).map(arm).collect();
    of_text(&format!(
        "[study]\nname = \"limited\"\nmetric = \"auroc\"\ncontrols = {{ permuted = 2 }}\n\
         [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
         [split]\nouter = {{ folds = 5 }}\n[seeds]\ncount = {seeds}\n{tables}\n{arms}"
    ))
}

/// Two arms of four configs each, of which two seeds choose for all of ten that a rule buys.
#[cfg(test)]
pub fn tuned_and_limited() -> Study {
    let arm = |name: &str| {
        format!(
            "[arms.{name}]\nmodel = \"linear\"\nepochs = 2\nspace = {{ lr = [0.1, 0.2, 0.3, 0.4] }}\n"
        )
    };
    of_text(&format!(
        "[study]\nname = \"tuned\"\nmetric = \"auroc\"\n\
         [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
         [split]\nouter = {{ folds = 5 }}\ninner = {{ folds = 2 }}\n\
         [seeds]\ncount = 10\ntune = 2\n[stop]\nfirst = 3\n{}{}",
        arm("a"),
        arm("b")
    ))
}

fn checked(seeds: u32, controls: &str) -> Study {
    written(&seeds.to_string(), controls, "")
}

fn written(seeds: &str, controls: &str, inner: &str) -> Study {
    of_text(&format!(
        "[study]\nname = \"sample\"\nmetric = \"auroc\"\ncontrols = {{ {controls} }}\n\
         [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
         [split]\nouter = {{ folds = 2, repeats = 2 }}{inner}\n\
         [seeds]\ncount = {seeds}\n\
         [arms.a]\nmodel = \"linear\"\nepochs = 2\nspace = {{ lr = [0.1, 0.2] }}\n"
    ))
}

fn of_text(text: &str) -> Study {
    let rows: Vec<String> = (0..40).map(|n| format!("{}.5,{}\n", n * 7 % 13, n % 2)).collect();
    let csv = format!("x,y\n{}", rows.concat());
    let checked = check(text, &mut |_| Ok(csv.clone().into_bytes()));
    match checked {
        Ok(checked) => checked.study,
        Err(findings) => panic!("the sample study is valid: {findings}"),
    }
}
