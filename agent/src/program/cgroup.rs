//! Control groups: memory and processes limited by the system, where it lets this agent do so.
//!
//! Version 2 alone, and only a group that was delegated to this process, as systemd does with
//! `Delegate=yes`. The agent moves into a group of its own within it, since a group with limited
//! children may hold no process itself.
//!
//! Floor: shell.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A group in which groups can be made.
#[derive(Debug)]
pub struct Delegated {
    path: PathBuf,
}

/// The group of one attempt; removed when dropped.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

impl Delegated {
    /// Why there is none, for people.
    pub fn find() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::within(Path::new("/sys/fs/cgroup"), &own)
    }

    /// `own`: the lines of `/proc/self/cgroup`.
    fn within(root: &Path, own: &str) -> Result<Self, String> {
        let inner = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let path = inner.map(|inner| root.join(inner));
        let path = path.filter(|_| root.join("cgroup.controllers").exists());
        let path = path.ok_or("this system has no cgroups of version 2")?;
        let refused = |error: io::Error| format!("{} is not delegated: {error}", path.display());
        let controllers = fs::read_to_string(path.join("cgroup.controllers")).map_err(refused)?;
        let has = |name: &str| controllers.split_whitespace().any(|one| one == name);
        if !has("memory") || !has("pids") {
            return Err(format!("{} does not limit memory and processes", path.display()));
        }
        let agent = path.join("agent");
        if !agent.is_dir() {
            fs::create_dir(&agent).map_err(refused)?;
        }
        fs::write(agent.join("cgroup.procs"), std::process::id().to_string()).map_err(refused)?;
        fs::write(path.join("cgroup.subtree_control"), "+memory +pids").map_err(refused)?;
        Ok(Self { path })
    }

    /// A new group; `memory_bytes` 0: no limit.
    pub fn group(&self, name: &str, memory_bytes: u64) -> io::Result<Group> {
        let path = self.path.join(name);
        fs::create_dir(&path)?;
        let group = Group { path };
        fs::write(group.path.join("pids.max"), PROCESSES_MAX.to_string())?;
        if memory_bytes > 0 {
            fs::write(group.path.join("memory.max"), memory_bytes.to_string())?;
            // Where there is no swap there is no such file.
            let _ = fs::write(group.path.join("memory.swap.max"), "0");
        }
        Ok(group)
    }
}

impl Group {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How often the system killed in this group since its memory ran out.
    pub fn kills_for_memory(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
    }

    /// Kills whatever is in it.
    pub fn kill(&self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that were killed a moment ago may still be in it: the next start sweeps.
        let _ = fs::remove_dir(&self.path);
    }
}

const PROCESSES_MAX: u32 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_made_where_they_are_delegated_and_the_reason_is_said_where_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        let said = Delegated::within(root, "0::/a/b\n").expect_err("no version 2");
        assert!(said.contains("no cgroups of version 2"), "{said}");
        fs::create_dir_all(root.join("a/b")).expect("made");
        fs::write(root.join("cgroup.controllers"), "cpu memory pids").expect("written");
        let said = Delegated::within(root, "0::/a/b\n").expect_err("no controllers");
        assert!(said.contains("is not delegated"), "{said}");
        fs::write(root.join("a/b/cgroup.controllers"), "memory\n").expect("written");
        let said = Delegated::within(root, "0::/a/b\n").expect_err("no pids");
        assert!(said.contains("does not limit"), "{said}");
        fs::write(root.join("a/b/cgroup.controllers"), "memory pids\n").expect("written");
        let delegated = Delegated::within(root, "12:cpu:/x\n0::/a/b\n").expect("delegated");
        let group = delegated.group("t", 1 << 20).expect("made");
        assert_eq!(fs::read_to_string(group.path().join("memory.max")).expect("set"), "1048576");
        fs::write(group.path().join("memory.events"), "max 9\noom 1\noom_kill 2\n").expect("set");
        assert_eq!(group.kills_for_memory(), 2);
    }
}
