//! Memory that is free: by the machine, and by the limits of the control group that a container, a unit
//! or a job of a cluster put this process into.
//!
//! Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
//!
//! Floor: shell.

use std::fs;
use std::path::Path;

/// Bytes of memory that this process may still take; where the system is not Linux, unknown and not
/// limited.
pub fn free() -> u64 {
    free_below(Path::new("/"))
}

fn free_below(root: &Path) -> u64 {
    available(root).min(left_in_groups(root))
}

/// By Linux's estimate of the whole machine.
fn available(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib.saturating_mul(1024))
}

/// The least that any group around this process leaves.
fn left_in_groups(root: &Path) -> u64 {
    let listed = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = listed.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = match controllers {
            "" => &SECOND,
            listed if listed.split(',').any(|one| one == "memory") => &FIRST,
            _ => return None,
        };
        Some((kind, path.trim_start_matches('/')))
    });
    // A container sees its own group as the top one, whatever the path says: what is not there is passed.
    let each = groups.flat_map(|(kind, path)| {
        let top = root.join(kind.top);
        Path::new(path).ancestors().filter_map(|group| kind.left(&top.join(group))).min()
    });
    each.min().unwrap_or(u64::MAX)
}

/// Where a version of control groups tells what.
struct Kind {
    top: &'static str,
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: of what is used, the cached files that make room when asked.
    cached: &'static str,
}

const SECOND: Kind = Kind {
    top: "sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    cached: "inactive_file ",
};

const FIRST: Kind = Kind {
    top: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: "total_inactive_file ",
};

impl Kind {
    /// Bytes that a group's limit leaves; `None` where it has none.
    fn left(&self, group: &Path) -> Option<u64> {
        let number = |name: &str| -> Option<u64> {
            fs::read_to_string(group.join(name)).ok()?.trim().parse().ok()
        };
        let limit = number(self.limit).filter(|limit| *limit < UNLIMITED)?;
        let used = number(self.used)?;
        let told = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cached = told.lines().find_map(|line| line.strip_prefix(self.cached)?.parse().ok());
        Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
    }
}

/// The first version says "no limit" by a number of this size.
const UNLIMITED: u64 = 1 << 60;

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n";

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        root
    }

    #[test]
    fn without_limits_the_machines_memory_is_free() {
        let free = |files: &[(&str, &str)]| free_below(root(files).path());
        assert_eq!(free(&[]), u64::MAX);
        assert_eq!(free(&[("proc/meminfo", MACHINE)]), 8_000 * 1024);
        let unlimited = [
            ("proc/meminfo", MACHINE),
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.current", "5000\n"),
        ];
        assert_eq!(free(&unlimited), 8_000 * 1024);
    }

    #[test]
    fn the_tightest_group_around_the_process_decides() {
        let root = root(&[
            ("proc/meminfo", MACHINE),
            ("proc/self/cgroup", "0::/job/step\n"),
            ("sys/fs/cgroup/job/memory.max", "10000\n"),
            ("sys/fs/cgroup/job/memory.current", "4000\n"),
            ("sys/fs/cgroup/job/memory.stat", "anon 1\ninactive_file 1500\n"),
            ("sys/fs/cgroup/job/step/memory.max", "9000\n"),
            ("sys/fs/cgroup/job/step/memory.current", "1000\n"),
        ]);
        // Cached files make room.
        assert_eq!(free_below(root.path()), 10_000 - (4_000 - 1_500));
    }

    #[test]
    fn groups_of_the_first_version_count_too() {
        let group = "3:cpu,cpuacct:/x\n8:memory:/docker/abc\n0::/\n";
        let limited = |limit: &str| {
            let files = [
                ("proc/meminfo", MACHINE),
                ("proc/self/cgroup", group),
                // Seen from inside a container.
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", limit),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "700\n"),
                ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 200\n"),
            ];
            free_below(root(&files).path())
        };
        assert_eq!(limited("2000\n"), 2_000 - (700 - 200));
        assert_eq!(limited("9223372036854771712\n"), 8_000 * 1024, "no limit");
        assert_eq!(limited("100\n"), 0, "more is used than allowed");
    }
}
