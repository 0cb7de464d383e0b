//! This process as the system counts it, under the names that Prometheus's own libraries use.
//!
//! Where `/proc` is not readable, nothing is told.
//!
//! Floor: shell.

use std::fs;

/// What `/proc/self` says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub cpu_seconds: f64,
    /// Unix time.
    pub started: f64,
    pub threads: u64,
    pub open_files: u64,
}

/// `None` where there is no such thing.
pub(super) fn own() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let booted = fs::read_to_string("/proc/stat").ok()?;
    let open_files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    let page = rustix::param::page_size() as u64;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    read(&stat, &booted, page, ticks).map(|process| Process { open_files, ..process })
}

fn read(stat: &str, booted: &str, page: u64, ticks: f64) -> Option<Process> {
    // After the name, which may hold anything, come the state and then numbers from the fourth on.
    let numbers: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| numbers.get(at - 3)?.parse::<u64>().ok();
    let booted = booted.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(Process {
        cpu_seconds: (number(14)? + number(15)?) as f64 / ticks,
        threads: number(20)?,
        started: booted.trim().parse::<f64>().ok()? + number(22)? as f64 / ticks,
        virtual_bytes: number(23)?,
        resident_bytes: number(24)? * page,
        open_files: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_system_is_read_whatever_the_program_is_called() {
        let stat = "17 (a) b) S 1 17 17 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 9 0 1000 4096 3 0";
        let process = read(stat, "cpu 1\nbtime 5000\n", 4096, 100.0).expect("read");
        let expected = Process {
            resident_bytes: 12_288,
            virtual_bytes: 4_096,
            cpu_seconds: 3.0,
            started: 5_010.0,
            threads: 9,
            open_files: 0,
        };
        assert_eq!(process, expected);
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let own = own().expect("Linux");
        assert!(own.resident_bytes > 0 && own.threads > 0 && own.open_files > 0, "{own:?}");
    }
}
