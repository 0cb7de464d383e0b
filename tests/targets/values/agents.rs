//! What agents and coordinators say to each other, and what begins every connection.
//!
//! Floor: wiring.

use common::id::{ClusterId, LeaseId, MemberId, StudyId, TrialIndex};
use common::label::Labels;
use common::trial::FailReason;
use common::wire::message::peer::{Enrolment, Leadership, Private};
use common::wire::message::{
    AgentAbout, Bulk, FromAgent, Greeting, Hello, LogPart, MAGIC, Open, Renewal, ToAgent,
};

use super::{Sample, attempt, digest, named, replica, report_with_curve, reports, study, variants};

variants!(greeting, Greeting: Welcome Refused);
variants!(open, Open: Agent Ask Fetch Upload Renew Watch Peer Snapshot Enrol Checkpoint Backup);
variants!(bulk, Bulk: Here Refused);
variants!(renewal, Renewal: Renewed Refused);
variants!(enrolment, Enrolment: Enrolled Elsewhere Refused);
variants!(
    said_up,
    FromAgent: Register Offer NeedStudy Renew Reports HandBack Skills Progress Log Labels Stay Interrupted
);
variants!(
    said_down,
    ToAgent: Registered Assign Study Revoke Acknowledge Replicas Elsewhere Goodbye SendLog AssignFrom
);

/// Hello, greeting, and the first frames of streams with their answers.
pub fn connection() -> Vec<Sample> {
    let hello =
        Hello { magic: MAGIC, protocol_min: 2, protocol_max: 300, version: "0.1.0".to_string() };
    let mut all = vec![Sample::of("Hello", hello), Sample::of("Leadership", leadership())];
    let why = || "not today".to_string();
    let cluster = ClusterId([9; 16]);
    let greetings = vec![
        Greeting::Welcome { cluster, member: MemberId(17), protocol: 2 },
        Greeting::Refused { why: why() },
    ];
    all.extend(named("Greeting", greeting::ALL, greeting, greetings));
    let opens = vec![
        Open::Agent,
        Open::Ask,
        Open::Fetch { digest: digest(1), offset: 70_000 },
        Open::Upload { digest: digest(2), bytes: 5_000_000_000 },
        Open::Renew,
        Open::Watch,
        Open::Peer,
        Open::Snapshot,
        Open::Enrol { address: "10.0.0.5:7461".to_string(), level: 2 },
        Open::Checkpoint { attempt: attempt(5), digest: digest(3), bytes: 70_000 },
        Open::Backup { at_least: 1_234 },
    ];
    all.extend(named("Open", open::ALL, open, opens));
    let bulks = vec![Bulk::Here { bytes: 123 }, Bulk::Refused { why: why() }];
    all.extend(named("Bulk", bulk::ALL, bulk, bulks));
    let renewals =
        vec![Renewal::Renewed { certificate: vec![48, 130, 1] }, Renewal::Refused { why: why() }];
    all.extend(named("Renewal", renewal::ALL, renewal, renewals));
    let Leadership { leader, addresses, .. } = leadership();
    let enrolments = vec![
        Enrolment::Enrolled {
            authority: Private(vec![1, 2, 3]),
            replicas: vec![(replica(1), "a:1".to_string()), (replica(300), "b:2".to_string())],
        },
        Enrolment::Elsewhere { leader, addresses },
        Enrolment::Refused { why: why() },
    ];
    all.extend(named("Enrolment", enrolment::ALL, enrolment, enrolments));
    all
}

pub fn from_agent() -> Vec<Sample> {
    let messages = vec![
        FromAgent::Register {
            about: about(),
            life: 0xfeed_f00d_dead_beef,
            holding: vec![attempt(1), attempt(2)],
            crashed: vec![attempt(3)],
        },
        FromAgent::Offer { lanes: 64 },
        FromAgent::NeedStudy { study: StudyId(5) },
        FromAgent::Renew { leases: leases() },
        FromAgent::Reports { reports: reports() },
        FromAgent::HandBack { leases: leases() },
        FromAgent::Skills { programs: true },
        FromAgent::Progress { items: vec![(leases()[1], "step=3 auroc=0.91".to_string())] },
        FromAgent::Log { number: 70_000, part: Some(log_part()) },
        FromAgent::Log { number: 1, part: None },
        FromAgent::Reports { reports: vec![report_with_curve()] },
        FromAgent::Labels { labels: labels() },
        FromAgent::Stay { left_ms: Some(7_200_000) },
        FromAgent::Stay { left_ms: None },
        FromAgent::Interrupted { leases: leases(), why: FailReason::Preempted },
        FromAgent::Interrupted { leases: leases(), why: FailReason::OutOfTime },
    ];
    named("FromAgent", said_up::ALL, said_up, messages)
}

pub fn to_agent() -> Vec<Sample> {
    let Leadership { leader, addresses, .. } = leadership();
    let messages = vec![
        ToAgent::Registered { lease_ms: 15_000, keep: leases() },
        ToAgent::Assign {
            lease: leases()[0],
            study: StudyId(5),
            version: 2,
            trials: vec![TrialIndex(0), TrialIndex(251), TrialIndex(70_000)],
        },
        ToAgent::Study { id: StudyId(5), version: 2, study: Box::new(study()) },
        ToAgent::Revoke { lease: leases()[1] },
        ToAgent::Acknowledge { attempts: vec![attempt(4)] },
        ToAgent::Replicas { addresses: addresses.clone() },
        ToAgent::Elsewhere { leader, addresses },
        ToAgent::Goodbye { why: "leaving".to_string() },
        ToAgent::SendLog {
            number: 70_000,
            study: StudyId(5),
            trial: TrialIndex(251),
            from: 1 << 20,
        },
        ToAgent::AssignFrom {
            lease: leases()[0],
            study: StudyId(5),
            version: 2,
            trials: vec![TrialIndex(0), TrialIndex(251)],
            checkpoints: vec![(TrialIndex(251), digest(3))],
        },
    ];
    named("ToAgent", said_down::ALL, said_down, messages)
}

pub fn about() -> AgentAbout {
    AgentAbout {
        host: "gpu-room-3".to_string(),
        device: "cpu".to_string(),
        model: "Some processor".to_string(),
        lanes: 128,
        cohort_lanes: 32,
        version: "0.1.0".to_string(),
    }
}

pub fn labels() -> Labels {
    let mut labels = Labels::none();
    labels.insert("device", "cuda");
    labels.insert("site", "east");
    labels
}

pub fn log_part() -> LogPart {
    LogPart {
        lease: leases()[1],
        from: 300,
        bytes: b"epoch 1\n\xff".to_vec(),
        written: 309,
        running: true,
        state: "step=3 auroc=0.91".to_string(),
    }
}

fn leases() -> Vec<LeaseId> {
    vec![LeaseId { term: 1, counter: 2 }, LeaseId { term: 300, counter: 70_000 }]
}

fn leadership() -> Leadership {
    let addresses = vec!["10.0.0.5:7461".to_string(), "10.0.0.6:7461".to_string()];
    Leadership { term: 12, leader: Some(addresses[1].clone()), addresses }
}
