//! A small checked study for tests of the cores.
//!
//! Floor: core.

use common::study::{Study, check};

/// One linear arm of two learning rates, `seeds` seeds, two partitions of two folds.
pub fn study(seeds: u32) -> Study {
    checked(seeds, "constant = false")
}

/// The same with its learning rate chosen on two inner folds: by each seed for itself, or by so many for all.
pub fn nested(seeds: u32, tune: Option<u32>) -> Study {
    let tune = tune.map(|tune| format!("\ntune = {tune}")).unwrap_or_default();
    written(&format!("{seeds}{tune}"), "constant = false", "\ninner = { folds = 2 }")
}

/// The same with its controls: constant, and permuted with so many seeds.
#[cfg(test)]
pub fn controlled(seeds: u32, permuted: u32) -> Study {
    checked(seeds, &format!("permuted = {permuted}"))
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
