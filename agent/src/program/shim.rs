//! `agent exec`: what stands between an agent and a program, and becomes the program.
//!
//! It takes the limits upon itself, so that the program has them from its first instruction on, dies
//! with the agent, and never gains rights. A limit that the system refuses to set is said and is no
//! reason not to start; rights that could be gained are.
//!
//! Floor: shell.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use clap::Args;

/// Become a program under limits; for the agent's own use.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  agent exec --parent 1 -- python train.py")]
pub struct ExecArgs {
    /// The process that must be alive and this one's parent.
    #[arg(long, value_name = "PID")]
    parent: i32,
    /// A cgroup to enter first.
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// Becomes the program; returns only when that fails, with the exit status to end with.
pub fn exec(args: ExecArgs) -> u8 {
    match become_it(args) {
        Ok(never) => match never {},
        Err((name, error)) => {
            eprintln!("{name:?} cannot be started: {error}");
            if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_STARTED }
        }
    }
}

#[cfg(target_os = "linux")]
fn become_it(args: ExecArgs) -> Result<std::convert::Infallible, (OsString, io::Error)> {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::process::{Resource, Rlimit, Signal, getppid};

    let mut command = args.command.into_iter();
    let name = command.next().unwrap_or_default();
    let failed = |error: io::Error| (name.clone(), error);
    if let Some(cgroup) = &args.cgroup {
        std::fs::write(cgroup.join("cgroup.procs"), "0").map_err(failed)?;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| failed(error.into()))?;
    // It may have died before it was asked to be outlived.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(args.parent) {
        return Err(failed(io::Error::other("the agent that started this is gone")));
    }
    rustix::thread::set_no_new_privs(true).map_err(|error| failed(error.into()))?;
    for (resource, most, what) in [
        (Resource::Core, 0, "core files"),
        (Resource::Nofile, OPEN_FILES, "open files"),
        (Resource::Nproc, PROCESSES, "processes"),
        (Resource::Fsize, FILE_BYTES, "the size of a file"),
    ] {
        let hard = rustix::process::getrlimit(resource).maximum;
        let most = Some(hard.map_or(most, |hard| hard.min(most)));
        let limit = Rlimit { current: most, maximum: most };
        if let Err(error) = rustix::process::setrlimit(resource, limit) {
            eprintln!("{what} could not be limited: {error}");
        }
    }
    Err(failed(Command::new(&name).args(command).exec()))
}

#[cfg(not(target_os = "linux"))]
fn become_it(args: ExecArgs) -> Result<std::convert::Infallible, (OsString, io::Error)> {
    let name = args.command.into_iter().next().unwrap_or_default();
    Err((name, io::Error::other("programs are run on Linux alone")))
}

/// As shells say it.
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;

const OPEN_FILES: u64 = 4_096;
/// Of the whole user.
const PROCESSES: u64 = 8_192;
const FILE_BYTES: u64 = 16 << 30;
