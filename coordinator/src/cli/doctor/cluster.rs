//! The cluster: who is reached from here, whose clock is off, and whether enough are alive.
//!
//! Floor: wiring.

use std::time::{Duration, SystemTime};

use common::time::Timestamp;
use common::wire::message::{ReplicaRole, ReplicaStatus, Request, Response};
use link::Identity;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Check, machine};
use crate::cli::members::{self, SILENT_MS};
use crate::cli::output::bytes;
use crate::cli::{Target, connect};
use crate::client::{self, ClientError};
use crate::driver::wall_clock;

/// Asks one replica what it knows of all, and then each whether it answers here.
pub(super) async fn checks(target: &Target) -> Vec<Check> {
    let mut checks = Vec::new();
    let client = match connect::client(target).await {
        Ok(client) => client,
        Err(error) => return vec![Check::bad("coordinator", format!("{error:#}"))],
    };
    let folder = connect::operator_folder(target);
    if !target.coordinator.is_empty()
        && let Ok(folder) = &folder
    {
        let mend = "get a token with `coordinator token create --role operator` there, and give \
                    it once with --token";
        checks.extend(machine::operator(folder, SystemTime::now(), mend));
    }
    let replicas = match client.ask(Request::Replicas).await {
        Ok(Response::Replicas { replicas }) => replicas,
        Ok(_) => return vec![Check::bad("coordinator", ClientError::Unexpected.to_string())],
        Err(error) => {
            let error = anyhow::Error::from(error);
            return vec![Check::bad("coordinator", format!("{error:#}"))];
        }
    };
    let now = wall_clock();
    let identity = folder.ok().and_then(|folder| Identity::load(&folder).ok().flatten());
    if let Some(identity) = identity {
        checks.extend(reached(&replicas, &identity).await);
    }
    checks.extend([
        voters(&replicas),
        clocks(&replicas, now),
        versions(&replicas, env!("CARGO_PKG_VERSION")),
        lag(&replicas),
    ]);
    checks.extend(disks(&replicas));
    checks
}

/// Each replica, asked by itself.
async fn reached(replicas: &[ReplicaStatus], identity: &Identity) -> Vec<Check> {
    let mut asked = JoinSet::new();
    for replica in replicas {
        let (id, identity) = (replica.replica, identity.clone());
        if let Some(address) = replica.address.clone() {
            asked.spawn(async move {
                (id, client::ask_at(&address, &identity, Request::Replicas).await)
            });
        }
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(id, _)| *id);
    let mut checks = Vec::new();
    for replica in replicas {
        let answer = answers.iter().find(|(id, _)| *id == replica.replica);
        checks.push(reach(replica, answer.map(|(_, answer)| answer)));
    }
    checks
}

fn reach(
    replica: &ReplicaStatus,
    answer: Option<&Result<(Response, Duration), ClientError>>,
) -> Check {
    let name = format!("replica {}", replica.replica);
    let address = replica.address.as_deref().unwrap_or_default();
    let role = members::role(replica.role);
    match answer {
        None => Check::warn(
            name,
            format!("{role}, and it never said where it is: start it with --join, or remove it"),
        ),
        Some(Ok((_, took))) => {
            let what = format!("{role} at {address}, answers in {}", machine::short(*took));
            let micros = took.as_micros() as u64;
            Check::ok(name, what).with(json!({ "address": address, "round_trip_us": micros }))
        }
        Some(Err(error)) => {
            let mut words: Vec<String> = Vec::new();
            let mut cause: Option<&dyn std::error::Error> = match error {
                // Its source names the address.
                ClientError::Unreachable { source, .. } => Some(source),
                error => Some(error),
            };
            while let Some(error) = cause {
                let word = error.to_string();
                if !words.iter().any(|said| said.contains(&word)) {
                    words.push(word);
                }
                cause = error.source();
            }
            let what = format!("{role}, not reached from here: {}", words.join(": "));
            Check::bad(name, what).with(json!({ "address": address }))
        }
    }
}

fn voters(replicas: &[ReplicaStatus]) -> Check {
    let votes = |r: &&ReplicaStatus| matches!(r.role, ReplicaRole::Leader | ReplicaRole::Follower);
    let voters: Vec<_> = replicas.iter().filter(votes).collect();
    let alive = voters.iter().filter(|r| r.silent_ms.is_some_and(|ms| ms <= SILENT_MS)).count();
    let majority = voters.len() / 2 + 1;
    let figures = json!({ "voters": voters.len(), "alive": alive, "majority": majority });
    let leads = voters.iter().find(|r| r.role == ReplicaRole::Leader);
    let silent: Vec<String> = voters
        .iter()
        .filter(|r| r.silent_ms.is_none_or(|ms| ms > SILENT_MS))
        .map(|r| r.replica.to_string())
        .collect();
    let check = match (leads, members::warning(replicas)) {
        _ if alive < majority => {
            let lost = members::warning(replicas).unwrap_or_default();
            Check::bad("voters", format!("{lost}: start {}", silent.join(" and ")))
        }
        (None, _) => Check::bad(
            "voters",
            "nobody leads: an election takes two seconds; if it lasts, look at the replicas' logs",
        ),
        (Some(_), _) if !silent.is_empty() => {
            let silent = silent.join(" and ");
            Check::warn("voters", format!("{alive} of {} are alive: start {silent}", voters.len()))
        }
        (Some(_), Some(even)) => Check::warn("voters", even),
        (Some(leader), None) => {
            let leader = leader.replica;
            Check::ok(
                "voters",
                match voters.len() {
                    1 => format!("{leader} leads, alone"),
                    all => format!("all {all} are alive, {leader} leads"),
                },
            )
        }
    };
    check.with(figures)
}

/// Each replica's clock as it must be now, against this machine's.
fn clocks(replicas: &[ReplicaStatus], now: Timestamp) -> Check {
    let off = |replica: &ReplicaStatus| {
        let heard = replica.silent_ms.filter(|ms| *ms <= CLOCK_GOOD_MS)?;
        Some((replica.clock?.0 + heard).abs_diff(now.0))
    };
    let known = replicas.iter().filter_map(|replica| Some((off(replica)?, replica.replica)));
    let Some((most, whose)) = known.max() else {
        return Check::warn("clocks", "no replica told its clock: ask again in a moment");
    };
    let figures = json!({ "most_ms": most, "replica": whose.to_string() });
    let check = if most > CLOCK_OFF_MS {
        let seconds = most / 1_000;
        let what = format!(
            "the clock of {whose} and this machine's differ by {seconds} s: set both by NTP, since \
             certificates and stamps are of the wall clock"
        );
        Check::warn("clocks", what)
    } else {
        let milliseconds = most.max(1);
        Check::ok(
            "clocks",
            format!("none differs from this machine's by more than {milliseconds} ms"),
        )
    };
    check.with(figures)
}

fn versions(replicas: &[ReplicaStatus], own: &str) -> Check {
    let mut all: Vec<&str> = replicas.iter().map(|r| r.version.as_str()).collect();
    all.push(own);
    all.retain(|version| !version.is_empty());
    all.sort_unstable();
    all.dedup();
    let figures = json!({ "versions": all });
    let check = match all.as_slice() {
        [one] => Check::ok("versions", format!("all of version {one}")),
        several => Check::warn(
            "versions",
            format!("{} are mixed: install the newest on every machine", several.join(" and ")),
        ),
    };
    check.with(figures)
}

fn lag(replicas: &[ReplicaStatus]) -> Check {
    let most = replicas.iter().map(|replica| (replica.lag, replica.replica)).max();
    let (entries, whose) = match most {
        Some((entries, whose)) if entries > LAG_WARN => (entries, whose),
        _ => return Check::ok("lag", "every replica keeps up"),
    };
    let what = format!(
        "{whose} lacks {entries} entries: if that does not shrink, its disk or its network is too slow"
    );
    Check::warn("lag", what).with(json!({ "entries": entries, "replica": whose.to_string() }))
}

/// Of replicas whose disk is nearly full.
fn disks(replicas: &[ReplicaStatus]) -> Option<Check> {
    let low: Vec<String> = replicas
        .iter()
        .filter_map(|replica| Some((replica.replica, replica.disk_free?)))
        .filter(|(_, free)| *free < DISK_WARN)
        .map(|(replica, free)| format!("{replica} has {} left", bytes(free)))
        .collect();
    let what = format!("{}: make room there", low.join(", "));
    (!low.is_empty()).then(|| Check::warn("replicas' disks", what))
}

/// What was said longer ago tells little of a clock.
const CLOCK_GOOD_MS: u64 = 60_000;
const CLOCK_OFF_MS: u64 = 5_000;
const LAG_WARN: u64 = 1_000;
const DISK_WARN: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use common::id::ReplicaId;

    use super::*;
    use crate::cli::doctor::Level;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn replica(number: u64, role: ReplicaRole) -> ReplicaStatus {
        ReplicaStatus {
            replica: ReplicaId(NonZeroU64::new(number).expect("not zero")),
            address: Some(format!("10.0.0.{number}:7461")),
            role,
            term: 3,
            commit: 100,
            lag: 0,
            disk_free: Some(5 << 30),
            version: "0.1.0".to_string(),
            clock: Some(Timestamp(NOW.0 - 400)),
            silent_ms: Some(400),
        }
    }

    fn three() -> Vec<ReplicaStatus> {
        vec![
            replica(1, ReplicaRole::Leader),
            replica(2, ReplicaRole::Follower),
            replica(3, ReplicaRole::Follower),
        ]
    }

    #[test]
    fn a_healthy_cluster_is_ok_throughout() {
        let all = three();
        for check in [voters(&all), clocks(&all, NOW), versions(&all, "0.1.0"), lag(&all)] {
            assert_eq!(check.level, Level::Ok, "{check:?}");
        }
        assert_eq!(disks(&all), None);
    }

    #[test]
    fn silent_voters_are_named_and_without_a_majority_bad() {
        let mut all = three();
        all[1].silent_ms = Some(60_000);
        let one = voters(&all);
        assert_eq!((one.level, one.what.as_str()), (Level::Warn, "2 of 3 are alive: start r2"));
        all[2].silent_ms = None;
        let two = voters(&all);
        assert_eq!(two.level, Level::Bad);
        assert!(two.what.ends_with("without 2 nothing is decided: start r2 and r3"), "{two:?}");
    }

    #[test]
    fn an_even_number_of_voters_and_no_leader_are_told() {
        let even = voters(&three()[..2]);
        assert!(even.level == Level::Warn && even.what.contains("as 1 would"), "{even:?}");
        let mut all = three();
        all[0].role = ReplicaRole::Follower;
        assert_eq!(voters(&all).level, Level::Bad);
    }

    #[test]
    fn a_clock_is_judged_as_it_must_be_now() {
        let mut all = three();
        all[1].clock = Some(Timestamp(NOW.0 - 5_400));
        assert_eq!(clocks(&all, NOW).level, Level::Ok, "5 s are borne");
        all[1].clock = Some(Timestamp(NOW.0 + 4_700));
        let off = clocks(&all, NOW);
        assert!(off.level == Level::Warn && off.what.contains("clock of r2"), "{off:?}");
        all[1].silent_ms = Some(10 * 60_000);
        assert_eq!(clocks(&all, NOW).level, Level::Ok, "that was long ago");
    }

    #[test]
    fn mixed_versions_lag_and_full_disks_are_told() {
        let mut all = three();
        (all[1].version, all[1].lag, all[1].disk_free) = ("0.2.0".into(), 5_000, Some(1 << 20));
        let mixed = versions(&all, "0.1.0");
        assert!(mixed.what.starts_with("0.1.0 and 0.2.0 are mixed"), "{mixed:?}");
        assert!(lag(&all).what.starts_with("r2 lacks 5000 entries"));
        assert!(disks(&all).is_some_and(|check| check.what.starts_with("r2 has 1.0 MiB left")));
    }

    #[test]
    fn a_replica_that_does_not_answer_is_bad_with_the_reason() {
        let source = link::LinkError::NoAnswer { address: "10.0.0.2:7461".into(), seconds: 5 };
        let failed = Err(ClientError::Unreachable { address: "10.0.0.2:7461".into(), source });
        let check = reach(&three()[1], Some(&failed));
        assert_eq!(check.level, Level::Bad);
        assert_eq!(check.what.matches("no answer from").count(), 1, "{check:?}");
        let mut joining = replica(4, ReplicaRole::Joining);
        joining.address = None;
        assert_eq!(reach(&joining, None).level, Level::Warn);
    }
}
