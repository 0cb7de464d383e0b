//! Labels that arms require, in words of the study file.
//!
//! Floor: common.

use super::refusals::{SOUND, findings, refused, rows, sound};
use super::*;

fn checked(part: &str, by: &str) -> Study {
    let text = SOUND.replacen(part, by, 1);
    let table = rows();
    check(&text, &mut |_| Ok(table.clone().into_bytes())).expect("valid").study
}

#[test]
fn arms_require_what_they_say_and_what_the_study_does() {
    let plain = checked("", "");
    assert!(!plain.has_requires());
    let study = checked(
        "metric = \"auroc\"",
        "metric = \"auroc\"\nrequires = { site = [\"west\", \"east\"] }\ncontrols = { permuted = 2 }",
    );
    let shown = |study: &Study| -> Vec<(String, String)> {
        let arm = |arm: &Arm| (arm.name.clone(), arm.requires.to_string());
        study.arms.iter().map(arm).collect()
    };
    let all = |words: &str| ["a", "constant", "a.permuted"].map(|n| (n.into(), words.into()));
    assert_eq!(shown(&study), all("site=east|west"), "controls too");
    let arm = "model = \"mlp\"";
    let own = |text: &str| checked(arm, &format!("{arm}\nrequires = {text}"));
    let study = own("{ device = \"cuda\", gpu = [\"a100\", \"h100\"] }");
    let wanted = ("a".to_string(), "device=cuda, gpu=a100|h100".to_string());
    assert_eq!(shown(&study)[0], wanted);
    assert_eq!(shown(&study)[1], ("constant".to_string(), String::new()));
    assert_eq!(own("{}"), plain, "nothing is required");
    assert_eq!(study.arms[0].written, plain.arms[0].written);

    let text = SOUND
        .replacen(arm, &format!("{arm}\nrequires = {{ site = [\"n\", \"s\"] }}"), 1)
        .replacen("metric =", "requires = { site = \"s\" }\nmetric =", 1);
    let table = rows();
    let both = check(&text, &mut |_| Ok(table.clone().into_bytes())).expect("valid").study;
    assert_eq!(both.arms[0].requires.to_string(), "site=s");
}

#[test]
fn a_program_requires_labels_beside_values_of_its_own() {
    let text = SOUND.replacen(
        "model = \"mlp\"\nspace = { dropout = [0.0, 0.1] }",
        "command = [\"sh\", \"{retries}\"]\nretries = 3\nrequires = { gpu = \"a100\" }",
        1,
    );
    let table = rows();
    let study = check(&text, &mut |_| Ok(table.clone().into_bytes())).expect("valid").study;
    assert_eq!(study.arms[0].requires.to_string(), "gpu=a100");
    let program = study.arms[0].configs[0].hyper.program.as_ref().expect("a program");
    assert_eq!(program.fixed.len(), 1, "no value of the program's");
    assert!(!study.arms[0].written.contains("gpu"));
}

#[test]
fn what_can_be_no_label_is_refused_at_its_place_and_nothing_that_cannot_be_known() {
    let arm = "model = \"mlp\"";
    let own = |text: &str| format!("{arm}\n{text}");
    let refused = |text: &str, about: &str, words: &[&str]| refused(arm, &own(text), about, words);
    refused("requirse = { a = \"b\" }", "requirse", &["did you mean `requires`?"]);
    refused("requires = \"cuda\"", "\"cuda\"", &["a table of labels", "device = "]);
    refused("requires = { device = \"cudo\" }", "\"cudo\"", &["did you mean `cuda`?"]);
    refused("requires = { device = [\"cpu\", \"gpu\"] }", "\"gpu\"", &["cpu, cuda"]);
    refused("requires = { site = 3 }", "3", &["a text in quotes, or a list of such"]);
    refused("requires = { site = [\"e\", 3] }", "3", &["a text in quotes"]);
    refused("requires = { site = [] }", "[]", &["0 values"]);
    refused("requires = { site = [\"e\", \"e\"] }", "\"e\"", &["listed twice"]);
    refused("requires = { site = \"far east\" }", "\"far east\"", &["letters, digits, dots"]);
    let long = "k".repeat(65);
    refused(&format!("requires = {{ {long} = \"e\" }}"), &long, &["no agent has a label"]);
    let many: Vec<String> = (0..17).map(|n| format!("k{n} = \"v\"")).collect();
    let many = format!("{{ {} }}", many.join(", "));
    refused(&format!("requires = {many}"), &many, &["17 labels; at most 16"]);
    // Whose labels these are only the agents know.
    sound(arm, &own("requires = { devise = \"tpu\", host = \"nobody\", arch = \"abacus\" }"));
}

#[test]
fn an_arm_that_could_be_trained_nowhere_is_refused() {
    let arm = "[seeds]";
    // One exchange in two tables: the study's own and the arm's.
    let by = "[study.requires]\nsite = \"east\"\n[seeds]";
    let text = SOUND.replacen(arm, by, 1);
    let text =
        text.replacen("model = \"mlp\"", "model = \"mlp\"\nrequires = { site = \"west\" }", 1);
    let table = rows();
    let found = check(&text, &mut |_| Ok(table.clone().into_bytes())).expect_err("nowhere").0;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(&text[found[0].span.clone()], "\"west\"");
    assert!(found[0].message.contains("[study] requires site=east"), "{}", found[0].message);
    let (_, none) = findings("", "", "", "");
    assert_eq!(none, []);
}
