//! A user's own program: how an arm starts it, and what stands in its arguments for a trial's values.
//!
//! `{name}` stands for a value, `{{` and `}}` for the braces themselves. Every config of an arm has
//! the arm's program; the files beside it travel once, with the first config. Deliberately absent:
//! starting it (the agent does), and which names a study file may use (`grammar::programs`).
//!
//! Floor: common.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Arm, Study};
use crate::id::Digest;
use crate::name::is_inner_path;
use crate::space::Value;

/// A user's own program, as its arm and config start it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// The program and its arguments; `{name}` stands for what a trial puts there.
    pub command: Vec<String>,
    /// Variables of its environment; values with `{name}` too.
    pub env: Vec<(String, String)>,
    /// What the arm's configs have in common, by name in the file's order.
    pub fixed: Vec<(String, Value)>,
    /// Put into its working folder. Of the arm's first config alone; the others have none.
    pub files: Vec<ProgramFile>,
    /// Wall clock of one attempt; 0: no limit.
    pub time_limit_s: u32,
    /// Resident memory of one attempt, over all its processes; 0: no limit.
    pub memory_mib: u32,
}

/// A file that travels with the study.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgramFile {
    /// As written in the study file; relative to it, and to the working folder.
    pub path: String,
    pub bytes: Vec<u8>,
}

/// A part of an argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(String),
    /// Stands for a value. `at`: bytes of the argument.
    Name {
        name: String,
        at: Range<usize>,
    },
}

/// Why an argument cannot be read. `at`: bytes of the argument.
#[derive(Clone, Debug, PartialEq)]
pub struct Unclosed {
    pub at: Range<usize>,
}

/// The parts of an argument, in order.
pub fn pieces(argument: &str) -> Result<Vec<Piece>, Unclosed> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = argument;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let start = argument.len() - rest.len() + at;
        let brace = &rest[at..at + 1];
        let behind = &rest[at + 1..];
        if behind.starts_with(brace) {
            text.push_str(brace);
            rest = &behind[1..];
            continue;
        }
        let end = behind.find(['{', '}']).filter(|end| behind[*end..].starts_with('}'));
        let Some(end) = end.filter(|_| brace == "{") else {
            return Err(Unclosed { at: start..start + 1 });
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        let name = behind[..end].to_string();
        pieces.push(Piece::Name { name, at: start..start + end + 2 });
        rest = &behind[end + 1..];
    }
    text.push_str(rest);
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// The argument with a value for each name; `Err` names what has none.
pub fn fill(
    argument: &str,
    value: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<String, String> {
    let pieces = pieces(argument).map_err(|_| argument.to_string())?;
    let part = |piece: Piece| match piece {
        Piece::Text(text) => Ok(text),
        Piece::Name { name, .. } => value(&name).ok_or(name),
    };
    pieces.into_iter().map(part).collect()
}

impl Arm {
    /// The files of the arm's program.
    pub fn program_files(&self) -> &[ProgramFile] {
        let first = self.configs.first().and_then(|config| config.hyper.program.as_ref());
        first.map_or(&[], |program| program.files.as_slice())
    }
}

impl Study {
    /// Whether some arm is a program of the user's.
    pub fn has_programs(&self) -> bool {
        self.arms.iter().any(|arm| arm.configs.iter().any(|one| one.hyper.program.is_some()))
    }

    /// Whether the files of its programs stay where they are put; asked of a study that came from
    /// elsewhere.
    pub(super) fn has_sound_programs(&self) -> bool {
        let configs = self.arms.iter().flat_map(|arm| &arm.configs);
        let mut programs = configs.filter_map(|config| config.hyper.program.as_ref());
        programs.all(|program| {
            !program.command.is_empty()
                && program.files.iter().all(|file| is_inner_path(&file.path))
        })
    }
}

impl ProgramFile {
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// What a trial puts in the place of its seeds and its part of the design, whatever its arm.
pub const STANDARD: [&str; 14] = [
    "seed",
    "seed.init",
    "seed.order",
    "seed.noise",
    "seed.split",
    "fold",
    "inner_fold",
    "partition",
    "trial",
    "study",
    "arm",
    "data",
    "out",
    "checkpoint",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(argument: &str) -> Result<String, String> {
        fill(argument, &mut |name| {
            (name == "lr" || name == "seed.init").then(|| name.to_uppercase())
        })
    }

    #[test]
    fn names_are_replaced_and_doubled_braces_are_braces() {
        for (argument, wanted) in [
            ("train.py", "train.py"),
            ("", ""),
            ("--lr={lr}", "--lr=LR"),
            ("{seed.init}-{lr}", "SEED.INIT-LR"),
            ("{{\"lr\": {lr}}}", "{\"lr\": LR}"),
            ("${{HOME}}", "${HOME}"),
            ("ä{lr}ö", "äLRö"),
        ] {
            assert_eq!(filled(argument).as_deref(), Ok(wanted), "{argument}");
        }
        assert_eq!(filled("{momentum}"), Err("momentum".to_string()));
    }

    #[test]
    fn a_brace_alone_is_no_argument() {
        for (argument, at) in [("{lr", 0), ("a}", 1), ("{a{lr}", 0), ("x{", 1), ("{lr}}", 4)] {
            assert_eq!(pieces(argument), Err(Unclosed { at: at..at + 1 }), "{argument}");
        }
    }
}
