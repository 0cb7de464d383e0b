//! This machine: its disk, its files, its certificates, its port.
//!
//! Floor: wiring.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use link::{Authority, Identity, LinkError};
use serde_json::json;

use super::{Check, Level};
use crate::cli::connect::OPERATOR_FOLDER;
use crate::cli::output::bytes;
use crate::cli::start::TOKEN_FILE;
use crate::disk::{Disk, Space};

/// All that can be seen without asking anybody. `in_use`: a coordinator holds the folder.
pub(super) fn checks(folder: &Path, in_use: bool) -> Vec<Check> {
    let mut checks = vec![log(folder, in_use)];
    let existing = existing(folder);
    checks.push(flush(&existing));
    checks.push(room(&existing));
    if folder.exists() {
        checks.push(modes(folder));
        checks.extend(certificates(folder, SystemTime::now()));
    }
    if !in_use {
        checks.push(port(link::PORT));
    }
    checks
}

/// The folder, or what there is on the way to it: `coordinator start` would make it there.
fn existing(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find(|path| path.is_dir());
    there.unwrap_or(Path::new(".")).to_path_buf()
}

fn log(folder: &Path, in_use: bool) -> Check {
    let shown = folder.display();
    let (level, what) = match fs::read_dir(folder) {
        _ if in_use => (Level::Ok, format!("a coordinator runs on {shown}")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            (Level::Ok, format!("{shown} is not there yet; `coordinator start` makes it"))
        }
        Err(error) => (
            Level::Bad,
            format!("{shown} cannot be read ({error}); use the account that the coordinator has"),
        ),
        Ok(_) if !Disk::is_in(folder) => {
            (Level::Ok, format!("{shown} holds no log yet; `coordinator start` makes it"))
        }
        Ok(_) => {
            (Level::Ok, format!("no coordinator runs on {shown}; `coordinator start` starts one"))
        }
    };
    Check::new("log", level, what).with(json!({ "folder": folder, "in_use": in_use }))
}

/// How long it takes until what is written is on the disk.
fn flush(folder: &Path) -> Check {
    match time_flushes(folder) {
        Ok(mut times) => {
            times.sort_unstable();
            let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
            let (level, what) = judge_flush(median, worst);
            let figures = json!({
                "folder": folder,
                "p50_us": median.as_micros() as u64,
                "worst_us": worst.as_micros() as u64,
            });
            Check::new("disk flush", level, what).with(figures)
        }
        Err(error) => Check::bad(
            "disk flush",
            format!(
                "{} cannot be written ({error}); use the account that owns it, or another --data",
                folder.display()
            ),
        ),
    }
}

fn judge_flush(median: Duration, worst: Duration) -> (Level, String) {
    let took = format!("a flush takes {}, at worst {}", short(median), short(worst));
    if median < FLUSH_MIN {
        let why = "no disk is that fast, so this one does not flush, and what was acknowledged is \
                   lost when the power fails: put the data folder on another disk";
        (Level::Warn, format!("{took}: {why}"))
    } else if median > FLUSH_MAX {
        let why = "every acknowledgement waits for one: put the data folder on a faster disk";
        (Level::Warn, format!("{took}: {why}"))
    } else {
        (Level::Ok, took)
    }
}

fn time_flushes(folder: &Path) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create_new(true).mode(0o600).open(&path)?;
    let piece = [0x5e; FLUSH_BYTES];
    let times = (0..FLUSHES).map(|_| {
        let began = Instant::now();
        file.write_all(&piece)?;
        file.sync_data()?;
        Ok(began.elapsed())
    });
    let times = times.collect();
    fs::remove_file(&path)?;
    times
}

fn room(folder: &Path) -> Check {
    match Space::of(folder) {
        Ok(space) => {
            let (level, what) = judge_room(space);
            Check::new("free disk", level, what)
                .with(json!({ "free_bytes": space.free, "total_bytes": space.total }))
        }
        Err(error) => Check::warn("free disk", format!("it cannot be read: {error}")),
    }
}

fn judge_room(space: Space) -> (Level, String) {
    let free = format!("{} of {} are free", bytes(space.free), bytes(space.total));
    match space.free {
        0..ROOM_BAD => (Level::Bad, format!("{free}: no new study is taken; make room")),
        ROOM_BAD..ROOM_WARN => {
            (Level::Warn, format!("{free}: make room before studies must wait for it"))
        }
        _ => (Level::Ok, free),
    }
}

/// Whether keys are their owner's alone.
fn modes(folder: &Path) -> Check {
    let folders = ["", "ca", OPERATOR_FOLDER, "peer"].map(|name| (name.to_string(), 0o700));
    let key = |name: &str| (name.to_string(), 0o600);
    let keys = [
        key("ca/authority.pem"),
        key(&format!("{OPERATOR_FOLDER}/identity.pem")),
        key("peer/identity.pem"),
        key("peer/joining.pem"),
        key(TOKEN_FILE),
    ];
    let open: Vec<String> = folders
        .into_iter()
        .chain(keys)
        .filter_map(|(name, wanted)| {
            let path = if name.is_empty() { folder.to_path_buf() } else { folder.join(name) };
            let mode = fs::metadata(&path).ok()?.permissions().mode();
            (mode & 0o077 != 0).then(|| format!("chmod {wanted:o} {}", path.display()))
        })
        .collect();
    if open.is_empty() {
        return Check::ok("file modes", "keys and tokens are their owner's alone");
    }
    let what = format!("other accounts can reach keys or tokens: {}", open.join(" && "));
    Check::bad("file modes", what).with(json!({ "mend": open }))
}

/// The authority of the cluster, and this machine's own operator.
fn certificates(folder: &Path, now: SystemTime) -> Vec<Check> {
    let mut checks = Vec::new();
    let copy = "copy the folder `ca` from another replica or from a copy of the data folder";
    let authority = match Authority::load(&folder.join("ca")) {
        Ok(Some(authority)) => {
            let (level, what) = match authority.valid_until() {
                Ok(end) => judge_authority(left(end, now)),
                Err(error) => (Level::Bad, format!("{error}: {copy}")),
            };
            checks.push(Check::new("authority", level, what));
            Some(authority)
        }
        Ok(None) if Disk::is_in(folder) => {
            checks.push(Check::bad("authority", format!("it is missing: {copy}")));
            None
        }
        // Nothing has been started here.
        Ok(None) => None,
        Err(error) => {
            let why = match error {
                LinkError::Damaged { what, .. } => format!("it is damaged ({what})"),
                error => format!("{:#}", anyhow::Error::from(error)),
            };
            checks.push(Check::bad("authority", format!("{why}: {copy}")));
            None
        }
    };
    let start = "`coordinator start` makes a new one";
    checks.extend(operator(&folder.join(OPERATOR_FOLDER), now, start));
    let own = Identity::load(&folder.join(OPERATOR_FOLDER)).ok().flatten();
    if let (Some(authority), Some(own)) = (authority, own)
        && own.ca_hash() != authority.hash()
    {
        let what = format!("this machine's operator is of another authority: {start}");
        checks.push(Check::bad("operator", what));
    }
    checks
}

/// An operator's certificate, if there is one. `mend`: what makes a new one.
pub(super) fn operator(folder: &Path, now: SystemTime, mend: &str) -> Option<Check> {
    let bad = |why: String| Some(Check::bad("operator", format!("{why}: {mend}")));
    let identity = match Identity::load(folder) {
        Ok(identity) => identity?,
        Err(LinkError::Damaged { what, .. }) => {
            return bad(format!("its certificate is damaged ({what})"));
        }
        Err(error) => return bad(format!("{:#}", anyhow::Error::from(error))),
    };
    let end = match identity.valid_until() {
        Ok(end) => end,
        Err(error) => return bad(error.to_string()),
    };
    let figures = json!({ "seconds_left": left(end, now).map(|left| left.as_secs()) });
    let Some(left) = left(end, now) else {
        return bad("its certificate has ended".to_string()).map(|check| check.with(figures));
    };
    if let Err(error) = identity.check(now) {
        return bad(format!("{:#}", anyhow::Error::from(error)));
    }
    let good = format!("its certificate is good for {}", days(left));
    let check = if identity.is_due(now).unwrap_or(true) {
        Check::warn("operator", format!("{good}, and its renewal is overdue: {mend}"))
    } else {
        Check::ok("operator", good)
    };
    Some(check.with(figures))
}

fn judge_authority(left: Option<Duration>) -> (Level, String) {
    let new = "start a new cluster in an empty folder, and submit its studies again";
    match left {
        None => (Level::Bad, format!("it has ended, and with it every certificate: {new}")),
        Some(left) if left < AUTHORITY_WARN => {
            (Level::Warn, format!("it is good for {}, and cannot be renewed: {new}", days(left)))
        }
        Some(left) => (Level::Ok, format!("its key is its own, and it is good for {}", days(left))),
    }
}

/// Whether a coordinator could listen where it does unless it is told otherwise.
fn port(port: u16) -> Check {
    let (level, what) = match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) {
        Ok(_) => (Level::Ok, format!("UDP port {port} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => (
            Level::Warn,
            format!("UDP port {port} is taken: stop what holds it, or name another with --listen"),
        ),
        Err(error) => (
            Level::Bad,
            format!("UDP port {port} cannot be used ({error}): name another with --listen"),
        ),
    };
    Check::new("port", level, what).with(json!({ "port": port }))
}

fn left(end: SystemTime, now: SystemTime) -> Option<Duration> {
    end.duration_since(now).ok().filter(|left| !left.is_zero())
}

fn days(left: Duration) -> String {
    match left.as_secs() / (24 * 3600) {
        0 => "less than a day".to_string(),
        1 => "1 day".to_string(),
        days => format!("{days} days"),
    }
}

/// `130 µs`, `4.2 ms`.
pub(super) fn short(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1_000.0 { format!("{micros:.0} µs") } else { format!("{:.1} ms", micros / 1e3) }
}

const FLUSHES: usize = 50;
const FLUSH_BYTES: usize = 4 << 10;
/// No disk that flushes is faster, and none that is well is slower.
const FLUSH_MIN: Duration = Duration::from_micros(20);
const FLUSH_MAX: Duration = Duration::from_millis(20);
const ROOM_WARN: u64 = 1 << 30;
const ROOM_BAD: u64 = 64 << 20;
const AUTHORITY_WARN: Duration = Duration::from_secs(60 * 24 * 3600);

#[cfg(test)]
mod tests {
    use common::id::{ClusterId, MemberId};
    use common::wire::message::Role;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn level_of(checks: &[Check], name: &str) -> Option<Level> {
        checks.iter().filter(|check| check.name == name).map(|check| check.level).max()
    }

    #[test]
    fn a_disk_that_does_not_flush_is_told_from_one_that_is_slow() {
        let judged = |micros: u64| {
            let (level, what) = judge_flush(Duration::from_micros(micros), Duration::from_secs(1));
            (level, what.contains("does not flush"), what.contains("faster disk"))
        };
        assert_eq!(judged(19), (Level::Warn, true, false));
        assert_eq!(judged(20), (Level::Ok, false, false));
        assert_eq!(judged(20_000), (Level::Ok, false, false));
        assert_eq!(judged(20_001), (Level::Warn, false, true));
        assert_eq!(short(Duration::from_micros(4_240)), "4.2 ms");
    }

    #[test]
    fn little_room_is_warned_of_and_none_is_bad() {
        let judged = |free| judge_room(Space { free, total: 1 << 40 }).0;
        assert_eq!([(1 << 30), (1 << 30) - 1].map(judged), [Level::Ok, Level::Warn]);
        assert_eq!([64 << 20, (64 << 20) - 1].map(judged), [Level::Warn, Level::Bad]);
    }

    #[test]
    fn certificates_are_judged_by_their_end_their_key_and_their_authority() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path();
        let now = SystemTime::now();
        let authority = Authority::create(ClusterId([5; 16]), now).expect("made");
        authority.save(&folder.join("ca")).expect("saved");
        let member = |authority: &Authority, at| {
            let identity = authority.client_identity(Role::Operator, MemberId(1), at);
            identity.expect("made").save(&folder.join(OPERATOR_FOLDER)).expect("saved");
        };
        let levels = |at| {
            let checks = certificates(folder, at);
            (level_of(&checks, "authority"), level_of(&checks, "operator"))
        };
        assert_eq!(levels(now), (Some(Level::Ok), None));
        member(&authority, now);
        assert_eq!(levels(now + 19 * DAY), (Some(Level::Ok), Some(Level::Ok)));
        assert_eq!(levels(now + 21 * DAY), (Some(Level::Ok), Some(Level::Warn)));
        assert_eq!(levels(now + 31 * DAY), (Some(Level::Ok), Some(Level::Bad)));
        assert_eq!(levels(now + 3_600 * DAY).0, Some(Level::Warn));
        assert_eq!(levels(now + 3_700 * DAY).0, Some(Level::Bad));
        member(&Authority::create(ClusterId([5; 16]), now).expect("made"), now);
        assert_eq!(levels(now), (Some(Level::Ok), Some(Level::Bad)));
        fs::write(folder.join("ca/authority.pem"), "torn").expect("written");
        assert_eq!(levels(now).0, Some(Level::Bad));
    }

    #[test]
    fn a_key_that_others_can_read_is_named_with_what_mends_it() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("set");
        assert_eq!(modes(folder).level, Level::Ok);
        let token = folder.join(TOKEN_FILE);
        fs::write(&token, "secret").expect("written");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).expect("set");
        let found = modes(folder);
        assert_eq!(found.level, Level::Bad);
        assert!(found.what.ends_with(&format!("chmod 600 {}", token.display())), "{}", found.what);
    }

    #[test]
    fn a_machine_without_a_coordinator_is_looked_at_too() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("not/yet");
        let found = checks(&folder, false);
        let names: Vec<&str> = found.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["log", "disk flush", "free disk", "port"]);
        assert!(found[0].what.contains("not there yet"), "{}", found[0].what);
        assert_eq!(fs::read_dir(home.path()).expect("read").count(), 0, "it leaves nothing behind");
    }

    #[test]
    fn a_taken_port_is_told() {
        let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bound");
        let number = taken.local_addr().expect("bound").port();
        assert_eq!(port(number).level, Level::Warn);
        drop(taken);
        assert_eq!(port(number).level, Level::Ok);
    }
}
