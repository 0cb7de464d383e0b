//! The files that programs need, read beside the study file.
//!
//! They travel with the study, so that every agent has the very bytes that were checked.
//!
//! Floor: common.

use super::super::finding::Inspection;
use super::super::grammar::{ArmDraft, Draft};
use super::super::program::ProgramFile;
use super::super::{Arm, ArmConfig, Model, Study, Task};
use crate::space::Config;
use crate::table::can_be_relabelled;

/// Reads the files that arms name, into their programs.
pub(super) fn read_files(
    draft: &mut Draft,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    inspection: &mut Inspection<'_>,
) {
    for arm in &mut draft.arms {
        let Some(program) = &mut arm.fixed.program else { continue };
        for file in &arm.files {
            let bytes = match read(&file.value) {
                Ok(bytes) => bytes,
                Err(why) => {
                    let help = "`files` names what lies beside the study file and goes with it";
                    inspection.refuse(&file.span, why, help);
                    continue;
                }
            };
            if bytes.len() > FILE_BYTES_MAX {
                let message = format!(
                    "{:?} has {} bytes; a file that travels with a study has at most \
                     {FILE_BYTES_MAX}",
                    file.value,
                    bytes.len()
                );
                let help = "put what is larger where agents find it, such as a mounted folder";
                inspection.refuse(&file.span, message, help);
                continue;
            }
            program.files.push(ProgramFile { path: file.value.clone(), bytes });
        }
    }
}

/// The configs of an arm that runs a program; its files go with the first one.
pub(super) fn configs(draft: &ArmDraft) -> Vec<ArmConfig> {
    let config = |(number, point): (usize, Config)| {
        let mut hyper = draft.fixed.clone();
        if let Some(program) = hyper.program.as_mut().filter(|_| number > 0) {
            program.files.clear();
        }
        ArmConfig { point, hyper }
    };
    draft.points.iter().cloned().enumerate().map(config).collect()
}

/// What is worth saying of a study's programs.
pub(super) fn notes(study: &Study, permuted: bool) -> Vec<String> {
    let programs = |arm: &&Arm| arm.model == Model::Program;
    let names: Vec<&str> =
        study.arms.iter().filter(programs).map(|arm| arm.name.as_str()).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    let segmentation = matches!(study.data.task, Task::Segmentation { .. });
    if permuted && !can_be_relabelled(&study.data.format, segmentation) {
        notes.push(format!(
            "no permuted control of {}: for a program labels are shuffled in csv, tsv, arrays and \
             folders of classes, and not in these data",
            names.join(", ")
        ));
    }
    notes
}

/// Together with its text a study fits a frame; this much of it may be one file.
const FILE_BYTES_MAX: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::super::{Checked, check, controls};
    use super::*;
    use crate::design::Design;
    use crate::id::TrialIndex;
    use crate::label::Requires;
    use crate::space::Value;
    use crate::study::finding::At;
    use crate::study::grammar::ControlsDraft;
    use crate::study::{Data, Findings, Format};
    use crate::wire::codec;

    const STUDY: &str = r#"[study]
name = "s"
metric = "auroc"
[data]
path = "rows.csv"
target = "y"
task = "classification"
[split]
outer = { folds = 2 }
[seeds]
apart = { init = 2, order = 2 }
[arms.own]
command = ["python", "train.py", "--lr={lr}", "{seed.init}", "{{}}"]
env = { LEVEL = "{depth}" }
files = ["train.py"]
depth = 3
time_limit_s = 60
space = { lr = { log = [0.001, 0.1], points = 3 }, kind = ["a", "b"] }
"#;

    fn checked(text: &str, script: &str) -> Result<Checked, Findings> {
        let rows: String = (0..20).map(|n| format!("{n},{}\n", n % 2)).collect();
        let files = [("rows.csv", format!("x,y\n{rows}")), ("train.py", script.to_string())];
        let mut read = |name: &str| {
            let file = files.iter().find(|(known, _)| *known == name);
            file.map(|(_, text)| text.clone().into_bytes()).ok_or(format!("no file {name}"))
        };
        check(text, &mut read)
    }

    fn digest(text: &str, script: &str, trial: u64) -> crate::id::Digest {
        let study = checked(text, script).expect("valid").study;
        Design::of(&study).key(TrialIndex(trial)).expect("inside").digest(&study)
    }

    #[test]
    fn a_program_has_its_space_its_values_and_its_files_once() {
        let study = checked(STUDY, "print(1)").expect("valid").study;
        let arm = &study.arms[0];
        assert_eq!((arm.model, arm.configs.len()), (Model::Program, 6));
        assert_eq!(arm.configs[3].point.to_string(), "lr=0.01 kind=b");
        let program = arm.configs[3].hyper.program.as_ref().expect("a program");
        assert_eq!(program.fixed, [("depth".to_string(), Value::Int(3))]);
        assert_eq!((program.time_limit_s, program.files.len()), (60, 0));
        assert_eq!(arm.program_files()[0].bytes, b"print(1)");
        assert!(study.has_programs() && study.is_well_named());
        let bytes = codec::encode(&study).expect("encodes");
        assert_eq!(codec::decode::<Study>(&bytes).expect("decodes"), study);
    }

    #[test]
    fn a_trial_is_another_one_when_its_script_changes_and_the_same_with_other_limits() {
        let before = digest(STUDY, "print(1)", 4);
        assert_eq!(digest(&STUDY.replace("= 60", "= 90"), "print(1)", 4), before);
        assert_ne!(digest(STUDY, "print(2)", 4), before);
        assert_ne!(digest(&STUDY.replace("depth = 3", "depth = 4"), "print(1)", 4), before);
        assert_ne!(digest(&STUDY.replace("LEVEL", "LEVELS"), "print(1)", 4), before);
    }

    #[test]
    fn a_program_has_a_permuted_control_with_its_files_where_labels_can_be_exchanged() {
        let text = STUDY.replace("[data]", "controls = { permuted = 2 }\n[data]");
        let study = checked(&text, "print(1)").expect("valid").study;
        let names: Vec<&str> = study.arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(names, ["own", "constant", "own.permuted"]);
        assert_eq!(study.model_of(&study.arms[2]), Model::Program);
        assert_eq!(study.arms[2].program_files()[0].bytes, b"print(1)");
        assert!(study.is_well_named());

        let written = vec![study.arms[0].clone()];
        let wanted = ControlsDraft { constant: false, permuted: Some(At { value: 2, span: 0..1 }) };
        let wanted = (&wanted, &Requires::default());
        assert_eq!(controls::beside(written, wanted, (&Format::Parquet, false)).len(), 1);
        let parquet = Study { data: Data { format: Format::Parquet, ..study.data }, ..study };
        assert!(notes(&parquet, true)[0].contains("no permuted control of own"));
    }

    #[test]
    fn what_cannot_be_started_is_refused_where_it_stands() {
        for (part, by, at, words) in [
            ("{lr}", "{rl}", "{rl}", &["nothing is called `rl`", "did you mean `lr`?"][..]),
            ("{depth}", "{seed.inti}", "{seed.inti}", &["did you mean `seed.init`?"]),
            ("{{}}", "{", "{", &["written twice"]),
            ("time_limit_s = 60", "model = \"mlp\"", "model", &["this one has both"]),
            (
                "time_limit_s = 60",
                "time_limits = 3",
                "time_limits",
                &["did you mean `time_limit_s`?"],
            ),
            ("kind =", "fold =", "fold", &["given by the design"]),
            ("kind =", "depth =", "depth", &["both fixed and in the space"]),
            ("\"a\", \"b\"", "\"a b\"", "\"a b\"", &["no spaces"]),
            ("\"a\", \"b\"", "1, 1", "1", &["lists 1 twice"]),
            ("0.001, 0.1", "0, 0.1", "0", &["must be above 0"]),
            ("LEVEL", "SEEDSWEEP_OUT", "SEEDSWEEP_OUT", &["not the study's to set"]),
            ("LEVEL", "A-B", "A-B", &["no name of a variable"]),
            ("[\"train.py\"]", "[\"../x\"]", "\"../x\"", &["not beside the study file"]),
            ("[\"train.py\"]", "[\"x.py\"]", "\"x.py\"", &["no file x.py"]),
            ("[\"train.py\"]", "[\"rows.csv\"]", "\"rows.csv\"", &["what a program writes"]),
            ("\"python\"", "\"{lr}\"", "\"{lr}\"", &["begins with the name of a program"]),
        ] {
            assert!(STUDY.contains(part), "{part}");
            let text = STUDY.replacen(part, by, 1);
            let findings = checked(&text, "").expect_err(by).0;
            let shown = findings[0].to_string();
            assert!(words.iter().all(|word| shown.contains(word)), "{by}: {shown}");
            let place = &text[findings[0].span.clone()];
            assert_eq!(place, at, "{shown}");
        }
        let long = STUDY.replace("python", &"p".repeat(8_000)).replace("points = 3", "points = 99");
        let said = checked(&long, "").expect_err("too long").to_string();
        assert!(said.contains("in 198 configs"), "{said}");
        let large = "x".repeat(FILE_BYTES_MAX + 1);
        let said = checked(STUDY, &large).expect_err("too large").to_string();
        assert!(said.contains("travels with a study"), "{said}");
    }
}
