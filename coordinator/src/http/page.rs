//! The text of `/metrics`: every name once, with its help. `deploy/monitoring/README.md` lists them.
//!
//! No label has a value without bound: neither agents nor trials are labels, and only some studies
//! are. A name, once published, keeps its meaning.
//!
//! Floor: shell.

use std::fmt::Error;
use std::sync::Mutex;

use common::wire::message::StudyStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::numbers::Found;
use super::process::{self, Process};
use crate::node::Room;
use crate::node::counts::{BOUNDS_US, Spread};
use crate::node::numbers::{Numbers, Part, trials_of};

/// Without what was found the process alone is told of.
pub(super) fn text(found: Option<Found>) -> Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { found: Mutex::new(found) }));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// A registry asks for it from any thread.
struct Page {
    found: Mutex<Option<Found>>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Page")
    }
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut sheet = Sheet { encoder };
        sheet.info("seedsweep_build", "The program", "version", env!("CARGO_PKG_VERSION"))?;
        if let Some(process) = process::own() {
            sheet.process(&process)?;
        }
        let found = self.found.lock().map_err(|_| Error)?;
        let Some(found) = found.as_ref() else { return Ok(()) };
        sheet.replica(&found.numbers)?;
        sheet.disk(found)?;
        sheet.studies(&found.numbers)?;
        sheet.named(&found.numbers.named)?;
        sheet.agents(&found.numbers)?;
        sheet.counts(found)
    }
}

struct Sheet<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Sheet<'_> {
    fn process(&mut self, process: &Process) -> Result<(), Error> {
        let Process { resident_bytes, virtual_bytes, threads, open_files, .. } = *process;
        self.gauge("process_resident_memory_bytes", "Memory in use", resident_bytes)?;
        self.gauge("process_virtual_memory_bytes", "Memory that is addressed", virtual_bytes)?;
        self.gauge("process_threads", "Threads", threads)?;
        self.gauge("process_open_fds", "Open files and sockets", open_files)?;
        let help = "Unix time of the process's start";
        self.real("process_start_time_seconds", help, process.started)?;
        let (name, help) = ("process_cpu_seconds", "Processor time of all threads");
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<[(&str, &str); 0], f64, f64>(&process.cpu_seconds, None)
    }

    fn replica(&mut self, numbers: &Numbers) -> Result<(), Error> {
        let roles = Part::ALL.map(|part| (part.name(), u64::from(part == numbers.role)));
        let help = "1 for the part that this replica has in the cluster";
        self.gauges("seedsweep_replica_role", help, "role", &roles)?;
        let known = u64::from(numbers.leader_known);
        self.gauge("seedsweep_replica_leader_known", "Whether it knows a leader", known)?;
        let ready = u64::from(numbers.unready.is_none());
        self.gauge("seedsweep_replica_ready", "What /readyz says", ready)?;
        self.gauge("seedsweep_replica_term", "Its term; grows with elections", numbers.term)?;
        let help = "The last entry that it knows to be committed";
        self.gauge("seedsweep_replica_commit_index", help, numbers.commit)?;
        let help = "The last entry that it has applied";
        self.gauge("seedsweep_replica_applied_index", help, numbers.applied)?;
        let help = "Committed entries that it has not applied";
        self.gauge("seedsweep_replica_lag_entries", help, numbers.lag)?;
        let help = "The last entry in its snapshot";
        self.gauge("seedsweep_replica_snapshot_index", help, numbers.snapshot_index)?;
        let help = "The newest level of the log's entries that it may use";
        self.gauge("seedsweep_replica_level", help, numbers.own_level.into())?;
        let help = "The level of the log's entries that the cluster is at";
        self.gauge("seedsweep_cluster_level", help, numbers.level.into())?;
        let help = "Replicas of the cluster";
        self.gauge("seedsweep_cluster_replicas", help, numbers.replicas)?;
        let help = "Other replicas from which nothing was heard for 5 s";
        self.gauge("seedsweep_cluster_replicas_silent", help, numbers.silent)?;
        let help = "Entries in the log, after its base";
        self.gauge("seedsweep_log_entries", help, numbers.log_entries)?;
        let help = "Bytes of the entries applied since the last snapshot";
        self.gauge("seedsweep_log_since_snapshot_bytes", help, numbers.log_bytes)
    }

    fn disk(&mut self, found: &Found) -> Result<(), Error> {
        let help = "The file with log, snapshot and outcomes";
        self.gauge("seedsweep_log_file_bytes", help, found.log_file_bytes)?;
        self.gauge("seedsweep_data_files", "Data files of studies", found.data.files)?;
        self.gauge("seedsweep_data_bytes", "Bytes of those files", found.data.bytes)?;
        if let Some(space) = found.space {
            self.gauge("seedsweep_disk_free_bytes", "Free, where its folder is", space.free)?;
            let help = "Size of the file system with its folder";
            self.gauge("seedsweep_disk_size_bytes", help, space.total)?;
        }
        let full = match found.numbers.room {
            Room::Plenty => 0,
            Room::OutcomesOnly { .. } => 1,
            Room::Nothing { .. } => 2,
        };
        let help = "0: there is room; 1: outcomes alone are taken; 2: nothing is";
        self.gauge("seedsweep_disk_full", help, full)
    }

    fn studies(&mut self, numbers: &Numbers) -> Result<(), Error> {
        let studies: Vec<_> = numbers.studies.iter().map(|(state, n)| (*state, *n)).collect();
        self.gauges("seedsweep_studies", "Studies by state", "state", &studies)?;
        let trials: Vec<_> = numbers.trials.iter().map(|(state, n)| (*state, *n)).collect();
        self.gauges("seedsweep_trials", "Trials of all studies by state", "state", &trials)?;
        let failures = numbers.failures.iter();
        let failures: Vec<_> = failures.map(|(reason, n)| (reason.name(), *n)).collect();
        let help = "Attempts that ended without an outcome, in all studies, by reason";
        self.counters("seedsweep_attempts_failed", help, "reason", &failures)?;
        let help = "Outcomes that came again and differ from the one that stands";
        self.counter("seedsweep_outcomes_differing", help, numbers.differing)
    }

    fn named(&mut self, studies: &[StudyStatus]) -> Result<(), Error> {
        let help = "Trials of each of the newest 50 studies that go on, by state";
        let (name, gauge) = ("seedsweep_study_trials", MetricType::Gauge);
        let mut metric = self.encoder.encode_descriptor(name, help, None, gauge)?;
        for study in studies {
            let id = study.id.to_string();
            for (state, count) in trials_of(study) {
                let labels = [("study", study.name.as_str()), ("id", &id), ("state", state)];
                metric.encode_family(&labels)?.encode_gauge(&count)?;
            }
        }
        let help = "Trainings a second of each of those studies, over the last minute";
        let name = "seedsweep_study_trainings_per_second";
        let mut metric = self.encoder.encode_descriptor(name, help, None, gauge)?;
        for study in studies {
            let id = study.id.to_string();
            let labels = [("study", study.name.as_str()), ("id", &id)];
            metric.encode_family(&labels)?.encode_gauge(&study.rate)?;
        }
        Ok(())
    }

    fn agents(&mut self, numbers: &Numbers) -> Result<(), Error> {
        let agents = numbers.agents;
        let help = "Agents that were admitted and not removed";
        self.gauge("seedsweep_agents_admitted", help, agents.admitted)?;
        let help = "Agents that are connected; the leader's";
        self.gauge("seedsweep_agents_connected", help, agents.connected)?;
        let help = "Connected agents that are given nothing since all fails on them; the leader's";
        self.gauge("seedsweep_agents_set_aside", help, agents.set_aside)?;
        let help = "Trials that connected agents can train at once; the leader's";
        self.gauge("seedsweep_lanes", help, agents.lanes)?;
        let help = "Trials that they would take now, to train or to have ready; the leader's";
        self.gauge("seedsweep_lanes_offered", help, agents.offered)?;
        let help = "Cohorts that agents hold; the leader's";
        self.gauge("seedsweep_leases", help, numbers.leases)?;
        let help = "Trials in those cohorts; the leader's";
        self.gauge("seedsweep_leased_trials", help, numbers.leased)?;
        let help = "Operators that were admitted and not removed";
        self.gauge("seedsweep_operators_admitted", help, numbers.operators)?;
        let help = "Join tokens that were made and not revoked";
        self.gauge("seedsweep_tokens", help, numbers.tokens)
    }

    fn counts(&mut self, found: &Found) -> Result<(), Error> {
        let counts = &found.numbers.counts;
        let help = "Trials that ended with an agent's outcome, under this leader";
        self.counter("seedsweep_outcomes_accepted", help, counts.accepted)?;
        let help = "Outcomes taken over from earlier studies, under this leader";
        self.counter("seedsweep_outcomes_adopted", help, counts.adopted)?;
        let help = "Reports of trials that had ended, under this leader";
        self.counter("seedsweep_outcomes_late", help, counts.late)?;
        let help = "Reports that the log had already, under this leader";
        self.counter("seedsweep_outcomes_repeated", help, counts.repeated)?;
        let help = "Trials that were given up, under this leader";
        self.counter("seedsweep_trials_given_up", help, counts.given_up)?;
        let help = "Failed attempts that are followed by another, under this leader";
        self.counter("seedsweep_attempts_again", help, counts.again)?;
        let help = "Cohorts given to agents, under this leader";
        self.counter("seedsweep_leases_granted", help, counts.granted)?;
        let help = "Cohorts whose agents were silent for too long, under this leader";
        self.counter("seedsweep_leases_expired", help, counts.expired)?;
        let help = "Uses of join tokens, under this leader";
        self.counter("seedsweep_tokens_used", help, counts.admitted)?;
        let help = "Join tokens that were refused, under this leader";
        self.counter("seedsweep_tokens_refused", help, counts.refused)?;
        let help = "From a proposal to its being committed and applied, of this replica's own";
        self.histogram("seedsweep_commit_seconds", help, &counts.commit)?;
        let help = "Writes to the disk that hold a group of entries";
        self.histogram("seedsweep_disk_write_seconds", help, &counts.disk)?;
        let help = "Connections of agents, operators and replicas";
        self.gauge("seedsweep_connections", help, found.connections)?;
        let help = "Connections that were turned away, by cause";
        self.counters("seedsweep_connections_refused", help, "cause", &found.refused)
    }

    fn info(&mut self, name: &str, help: &str, label: &str, value: &str) -> Result<(), Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(&[(label, value)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn real(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&'static str, u64)],
    ) -> Result<(), Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            metric.encode_family(&[(label, *of)])?.encode_gauge(value)?;
        }
        Ok(())
    }

    /// The name is told without `_total`, which the format adds.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<[(&str, &str); 0], u64, f64>(&value, None)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&'static str, u64)],
    ) -> Result<(), Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            let labels = [(label, *of)];
            let mut one = metric.encode_family(&labels)?;
            one.encode_counter::<[(&str, &str); 0], u64, f64>(value, None)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, spread: &Spread) -> Result<(), Error> {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(spread.counts).collect();
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let (sum, exemplars) = (spread.sum_us as f64 / 1e6, None::<&Exemplars>);
        metric.encode_histogram(sum, spread.count(), &buckets, exemplars)
    }
}

/// There are none.
type Exemplars = std::collections::HashMap<usize, Exemplar<[(&'static str, &'static str); 0], f64>>;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
