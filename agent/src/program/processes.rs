//! The processes of a program: signals to all of them, and how much memory they hold.
//!
//! A program's processes are its process group. One that leaves the group still has the variable
//! that tells where results go, and is found by it. Where there is no `/proc`, the group is all.
//!
//! Floor: shell.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal};

/// Sends a signal to a whole process group; one that is gone hears nothing.
pub fn signal_group(group: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(group, signal);
}

/// Kills every process whose results go beneath `folder`, whatever group it is in.
pub fn kill_those_of(folder: &Path) {
    let mark = [OUT_IS, folder.as_os_str().as_encoded_bytes(), b"/"].concat();
    for _ in 0..ROUNDS {
        // What is killed may have started another one a moment ago.
        let found = all().into_iter().filter(|pid| is_marked(*pid, &mark));
        let killed = found.filter(|pid| rustix::process::kill_process(*pid, Signal::KILL).is_ok());
        if killed.count() == 0 {
            return;
        }
    }
}

/// Resident memory of a process group in bytes; what its processes share is counted once where that
/// matters: when the plain sum is above `limit`.
pub fn memory(group: Pid, limit: u64) -> u64 {
    let members: Vec<Pid> = all().into_iter().filter(|pid| group_of(*pid) == Some(group)).collect();
    let plain: u64 = members.iter().filter_map(|pid| kib(*pid, "status", "VmRSS:")).sum();
    if plain * 1_024 <= limit || members.len() < 2 {
        return plain * 1_024;
    }
    let fair = members.iter().filter_map(|pid| {
        kib(*pid, "smaps_rollup", "Pss:").or_else(|| kib(*pid, "status", "VmRSS:"))
    });
    fair.sum::<u64>() * 1_024
}

/// How often the system killed a process since its memory ran out, over all its life.
pub fn kills_for_memory() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

fn all() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(|entry| Pid::from_raw(number(entry.ok()?)?)).collect()
}

fn is_marked(pid: Pid, mark: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let own = pid == rustix::process::getpid();
    !own && environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark))
}

fn group_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: state, parent, group.
    let group = stat.rsplit_once(')')?.1.split_whitespace().nth(2)?;
    Pid::from_raw(group.parse().ok()?)
}

fn kib(pid: Pid, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

const OUT_IS: &[u8] = b"SEEDSWEEP_OUT=";
const ROUNDS: u32 = 5;
