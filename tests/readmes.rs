//! What the READMEs tell people to type: every command of ours is one that the programs take.
//!
//! Deliberately absent: what the commands do, which the other tests say.
//!
//! Floor: wiring.

use std::fs;

use crate::podman::root;
use crate::process::{Program, Site, files_below};

#[test]
fn every_command_of_the_readmes_is_one_that_the_programs_take() {
    let site = Site::new();
    let mut checked = 0;
    for (name, text) in readmes() {
        for line in lines_of_shell(&text) {
            for words in commands(&line) {
                let Some((program, words)) = ours(&words) else { continue };
                let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
                // With it a command is read to its end, and nothing else happens.
                let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
                words.insert(at, "--help");
                let answer = site.run(program, &words);
                assert!(answer.status.success(), "{name}: {line}\n{}", answer.stderr);
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn commands_are_found_in_what_a_shell_would_make_of_a_line() {
    let line = "sudo -u me coordinator plan \"a b\" --x='1|2' > f && t=$(kubectl exec p -- agent join) # end";
    let all: Vec<_> = commands(line).iter().filter_map(|words| ours(words)).collect();
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    let wanted = [
        (Program::Coordinator, words(&["plan", "a b", "--x=1|2"])),
        (Program::Agent, words(&["join"])),
    ];
    assert_eq!(all, wanted);
}

/// Each by its path below the root.
fn readmes() -> Vec<(String, String)> {
    let root = root();
    let deploy = files_below(&root.join("deploy")).into_iter().map(|(path, _)| path);
    let all = deploy.filter(|path| path.ends_with("README.md")).chain([root.join("README.md")]);
    let read = |path: std::path::PathBuf| {
        (path.display().to_string(), fs::read_to_string(&path).expect("readable"))
    };
    all.map(read).collect()
}

/// The lines of the blocks that are for a shell, those that go on as one.
fn lines_of_shell(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut shell, mut begun) = (false, String::new());
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            shell = line.trim() == "```sh";
        } else if shell {
            begun += line.trim_end_matches('\\');
            if !line.ends_with('\\') {
                lines.push(std::mem::take(&mut begun));
            }
        }
    }
    lines
}

/// The words of each command, without comments and without where its output goes.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    let mut before = ' ';
    for char in line.chars() {
        match (quote, char) {
            (Some(open), char) if open == char => quote = None,
            (Some(_), char) => word.get_or_insert_default().push(char),
            // What is within is a command of its own.
            (None, '"') if before == '=' => {}
            (None, '"' | '\'') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, '#') if before.is_whitespace() => break,
            (None, '|' | '&' | ';' | '(' | ')') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            (None, char) if char.is_whitespace() => words.extend(word.take()),
            (None, char) => word.get_or_insert_default().push(char),
        }
        before = char;
    }
    words.extend(word);
    all.push(words);
    for words in &mut all {
        if let Some(at) = words.iter().position(|word| word.starts_with('>')) {
            let further = if words[at] == ">" { 2 } else { 1 };
            words.drain(at..(at + further).min(words.len()));
        }
    }
    all
}

/// Our program and its words, run as whoever and wherever.
fn ours(words: &[String]) -> Option<(Program, Vec<String>)> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    loop {
        let skipped = match words.as_slice() {
            ["sudo", "-u", _, ..] | ["podman", "exec", _, ..] => 3,
            ["sudo", ..] => 1,
            ["kubectl", "exec", _, "--", ..] => 4,
            _ => break,
        };
        words.drain(..skipped);
    }
    let program = match *words.first()? {
        "coordinator" => Program::Coordinator,
        "agent" => Program::Agent,
        _ => return None,
    };
    Some((program, words[1..].iter().map(|word| word.to_string()).collect()))
}
