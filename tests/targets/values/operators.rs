//! What operators ask, and how they are answered.
//!
//! Floor: wiring.

use common::id::{ClientId, LeaseId, MemberId, StudyId, TrialIndex};
use common::ledger::{Claim, LOOKS_KEPT, Ledger, Look, Purpose, Sealing, Stamp};
use common::repeat::{Again, Difference};
use common::time::Timestamp;
use common::trial::FailReason;
use common::wire::message::{
    AgentStatus, Answer, Ask, Control, Decided, Explanation, MemberStatus, NewToken, OutcomeRow,
    PastFailure, Repeat, RepeatState, Repeats, ReplicaRole, ReplicaStatus, Request, Response, Role,
    RowEnd, Stay, StudyState, StudyStatus, TokenStatus, TrialPlace, Violation, Wanting, Which, Why,
};

use super::agents::{about, labels, log_part};
use super::{STUDY, Sample, digest, named, outcome, replica, requires, study, variants};

variants!(
    request,
    Request: HasData Submit Status Study Control WouldRetry Explain Outcomes Agents Tokens CreateToken
        RevokeToken Members RemoveMember Replicas RemoveReplica Look OutcomesFor Ledger Log Repeat
        Seal Register Decided Labels Stays
);
variants!(purpose, Purpose: Report Export Run);
variants!(control, Control: Cancel Pause Resume Priority Retry Extend);
variants!(which, Which: Failed Ranges);
variants!(
    response,
    Response: Done HasData NeedsData Submitted Status Study Retried Extended Explained Outcomes Agents
        Tokens Members Replicas Elsewhere Refused Looked Ledger Log Repeats
        LedgerSealed Decided Labels Stays
);
variants!(study_state, StudyState: Active Paused Finished Cancelled);
variants!(row_end, RowEnd: Complete Failed);
variants!(place, TrialPlace: Waiting Leased Complete Failed Cancelled);
variants!(standing, ReplicaRole: Leader Follower Learner Joining Leaving);
variants!(role, Role: Agent Operator Peer);
variants!(again, Again: Drawn These);
variants!(repeat_state, RepeatState: Waiting Leased Done Failed);

const STUDY_ID: StudyId = StudyId(0xaabb_ccdd_eeff);

pub fn asks() -> Vec<Sample> {
    let mut all = named("Request", request::ALL, request, requests());
    all.extend(named("Control", control::ALL, control, controls()));
    let chosen = vec![Which::Failed, Which::Ranges(vec![(TrialIndex(1), TrialIndex(9)); 2])];
    all.extend(named("Which", which::ALL, which, chosen));
    let ask = Ask {
        client: ClientId(0x1122_3344_5566_7788),
        number: 3,
        at_least: 400,
        fresh: true,
        request: Request::Agents,
    };
    all.push(Sample::of("Ask", ask));
    let purposes = vec![Purpose::Report, Purpose::Export, Purpose::Run];
    all.extend(named("Purpose", purpose::ALL, purpose, purposes));
    let agains = vec![Again::Drawn { count: 20, seed: 7 }, Again::These(vec![TrialIndex(300)])];
    all.extend(named("Again", again::ALL, again, agains));
    all
}

fn requests() -> Vec<Request> {
    let study = STUDY_ID;
    vec![
        Request::HasData { digest: digest(3) },
        Request::Submit { study: Box::new(self::study()), text: STUDY.to_string() },
        Request::Status { study: Some(study) },
        Request::Study { study },
        Request::Control { study, control: Control::Pause },
        Request::WouldRetry { study, trials: Which::Failed },
        Request::Explain { study, trial: TrialIndex(17) },
        Request::Outcomes { study, from: TrialIndex(40) },
        Request::Agents,
        Request::Tokens,
        Request::CreateToken(token()),
        Request::RevokeToken { id: "3f9a0c11d2e4".to_string() },
        Request::Members,
        Request::RemoveMember { member: MemberId(17) },
        Request::Replicas,
        Request::RemoveReplica { replica: replica(2) },
        Request::Status { study: None },
        Request::Look { study, purpose: Purpose::Export },
        Request::OutcomesFor { study, from: TrialIndex(40), look: 17 },
        Request::Ledger { study },
        Request::Log { study, trial: TrialIndex(17), from: 70_000 },
        Request::Repeat { study, number: 9, trials: Again::These(vec![TrialIndex(4)]) },
        Request::Seal { study },
        Request::Register { study, claim: "b beats a".to_string() },
        Request::Decided { study },
        Request::Labels,
        Request::Stays,
    ]
}

pub(super) fn controls() -> Vec<Control> {
    vec![
        Control::Cancel,
        Control::Pause,
        Control::Resume,
        Control::Priority { priority: -3 },
        Control::Retry { trials: Which::Ranges(vec![(TrialIndex(1), TrialIndex(9))]) },
        Control::Extend { seeds: 40, text: "a longer file".to_string() },
    ]
}

pub(super) fn token() -> NewToken {
    NewToken {
        id: [1, 2, 3, 4, 5, 6],
        secret_hash: [8; 32],
        role: Role::Peer,
        ttl_ms: 86_400_000,
        uses: Some(1),
        label: "gpu-room".to_string(),
    }
}

pub fn answers() -> Vec<Sample> {
    let addresses = vec!["10.0.0.5:7461".to_string()];
    vec![Sample::of("Answer", Answer { applied: 99, response: Response::Done, addresses })]
}

pub fn responses() -> Vec<Sample> {
    let mut all = named("Response", response::ALL, response, every_response());
    let states =
        vec![StudyState::Active, StudyState::Paused, StudyState::Finished, StudyState::Cancelled];
    all.extend(named("StudyState", study_state::ALL, study_state, states));
    all.extend(named("RowEnd", row_end::ALL, row_end, rows().into_iter().map(|r| r.end).collect()));
    all.extend(named("TrialPlace", place::ALL, place, places()));
    all.extend(named("Role", role::ALL, role, vec![Role::Agent, Role::Operator, Role::Peer]));
    let roles = vec![
        ReplicaRole::Leader,
        ReplicaRole::Follower,
        ReplicaRole::Learner,
        ReplicaRole::Joining,
        ReplicaRole::Leaving,
    ];
    all.extend(named("ReplicaRole", standing::ALL, standing, roles));
    all.extend(named("RepeatState", repeat_state::ALL, repeat_state, repeat_states()));
    all
}

fn every_response() -> Vec<Response> {
    let study = STUDY_ID;
    let violation = Violation {
        trial: TrialIndex(4),
        digests: (5, u64::MAX),
        agent: MemberId(18),
        at: Timestamp(1_700_000_000_123),
    };
    let member = MemberStatus {
        member: MemberId(17),
        role: Role::Operator,
        label: "desk".to_string(),
        joined: Timestamp(5),
    };
    vec![
        Response::Done,
        Response::HasData { complete: true },
        Response::NeedsData,
        Response::Submitted { study, known: false },
        Response::Status { studies: vec![status()] },
        Response::Study {
            study: Box::new(self::study()),
            text: STUDY.to_string(),
            submitted: Timestamp(6),
            violations: vec![violation],
        },
        Response::Retried { trials: vec![TrialIndex(3)], count: 1 },
        Response::Extended { gained: 1_000 },
        Response::Explained(Box::new(explanation())),
        Response::Outcomes { rows: rows(), next: Some(TrialIndex(90)) },
        Response::Agents { agents: vec![agent()] },
        Response::Tokens { tokens: vec![token_status()] },
        Response::Members { members: vec![member] },
        Response::Replicas { replicas: vec![replica_status()] },
        Response::Elsewhere { leader: Some("10.0.0.6:7461".to_string()) },
        Response::Refused { why: "no".to_string() },
        Response::Looked { number: Some(17) },
        Response::Ledger(Box::new(ledger())),
        Response::Looked { number: None },
        Response::Log { agent: MemberId(18), part: log_part() },
        Response::Repeats(Box::new(repeats())),
        Response::LedgerSealed { ledger: Box::new(ledger()), sealing: Box::new(sealing()) },
        Response::Decided { decided: decided().to_vec(), seeds: vec![7, 7, 1] },
        Response::Labels { agents: vec![(MemberId(17), labels())], wanting: vec![wanting()] },
        Response::Stays { stays: stays() },
    ]
}

pub(super) fn decided() -> [Decided; 2] {
    let at = Timestamp(1_700_000_000_000);
    let decided = |(go_on, why, words): (&[u32], _, &str)| Decided {
        at,
        seeds: 7,
        go_on: go_on.to_vec(),
        why,
        words: words.to_string(),
    };
    [(&[0, 300][..], Why::Rule, ""), (&[], Why::Spent, "the budget is spent")].map(decided)
}

fn wanting() -> Wanting {
    let arms = vec!["a".to_string(), "b".to_string()];
    Wanting { study: STUDY_ID, arms, requires: requires(), agents: 2 }
}

fn repeats() -> Repeats {
    let trials = (4..).map(TrialIndex).zip(repeat_states());
    let trials = trials.map(|(trial, state)| Repeat { trial, state }).collect();
    Repeats { agents: 2, held: Some("paused".to_string()), trials }
}

fn repeat_states() -> Vec<RepeatState> {
    let difference = Difference { metrics: vec![0.5, 0.0], epochs: 1, rows: vec![0.25] };
    let devices = ("cpu".to_string(), "cuda:0; NVIDIA H100".to_string());
    let (agent, difference) = (MemberId(17), Some(Box::new(difference)));
    vec![
        RepeatState::Waiting,
        RepeatState::Leased { agent },
        RepeatState::Done { agent, devices, difference },
        RepeatState::Failed { reason: "error".to_string(), detail: "no data".to_string() },
    ]
}

fn sealing() -> Sealing {
    let (at, who, label) = (Timestamp(1_700_000_000_000), MemberId(16), "desk".to_string());
    let stamp = Stamp { at, who, label };
    let (outcomes, looks, head) = (40, 2, digest(6));
    let (study, split, text) = (digest(4), digest(5), "b beats a".to_string());
    let claim = Claim { text, stamp: stamp.clone(), outcomes, looks, head, study, split };
    Sealing { sealed: Some(stamp), claim: Some(claim) }
}

/// One that no longer keeps all of its looks.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for number in 1..=LOOKS_KEPT as u64 + 2 {
        ledger.add(Look {
            number,
            at: Timestamp(1_700_000_000_000 + number),
            who: MemberId(1 + 15 * (number % 2)),
            label: ["local", "desk"][number as usize % 2].to_string(),
            purpose: [Purpose::Report, Purpose::Export, Purpose::Run][number as usize % 3],
            outcomes: 400,
            study: digest(4),
            split: digest(5),
        });
    }
    ledger
}

pub(super) fn rows() -> Vec<OutcomeRow> {
    let row = |trial, end| OutcomeRow {
        trial: TrialIndex(trial),
        ended: Timestamp(1_700_000_000_000 + trial),
        agent: MemberId(17),
        end,
    };
    let failed = RowEnd::Failed { reason: "error".to_string(), detail: "out of luck".to_string() };
    vec![row(0, RowEnd::Complete(outcome())), row(300, failed)]
}

fn status() -> StudyStatus {
    StudyStatus {
        id: STUDY_ID,
        name: "sample".to_string(),
        state: StudyState::Paused,
        priority: 7,
        planned: 400,
        complete: 10,
        failed: 2,
        cancelled: 3,
        waiting: 380,
        leased: 5,
        failures: vec![("error".to_string(), 4)],
        poison: vec![TrialIndex(9)],
        differing: 1,
        seconds_left: Some(77),
        rate: 12.5,
        submitted: Timestamp(1),
        finished: None,
    }
}

fn places() -> Vec<TrialPlace> {
    vec![
        TrialPlace::Waiting,
        TrialPlace::Leased {
            lease: LeaseId { term: 3, counter: 4 },
            agent: MemberId(17),
            left_ms: 9_000,
        },
        TrialPlace::Complete,
        TrialPlace::Failed,
        TrialPlace::Cancelled,
    ]
}

fn explanation() -> Explanation {
    Explanation {
        trial: TrialIndex(17),
        cell: "arm mlp, seed 3".to_string(),
        state: TrialPlace::Waiting,
        reasons: vec!["no agent has room".to_string()],
        own_failures: 1,
        losses: 2,
        attempts_allowed: 3,
        failures: vec![past_failure()],
    }
}

pub(super) fn past_failure() -> PastFailure {
    PastFailure {
        lease: LeaseId { term: 3, counter: 4 },
        agent: MemberId(17),
        reason: FailReason::Error,
        detail: "shape".to_string(),
        at: Timestamp(8),
    }
}

fn agent() -> AgentStatus {
    AgentStatus {
        member: MemberId(17),
        about: about(),
        address: "10.0.0.9:40000".to_string(),
        leased: 1,
        complete: 2,
        failed: 3,
        heard: Timestamp(4),
        connected: true,
        set_aside: Some("three crashes".to_string()),
    }
}

fn stays() -> Vec<Stay> {
    let ends = Some(Timestamp(1_700_000_000_000));
    vec![
        Stay { member: MemberId(17), ends, interrupted: 12 },
        Stay { member: MemberId(18), ends: None, interrupted: 0 },
    ]
}

fn token_status() -> TokenStatus {
    TokenStatus {
        id: "3f9a0c11d2e4".to_string(),
        role: Role::Agent,
        label: "gpu-room".to_string(),
        uses_left: Some(3),
        expires: Timestamp(1_700_000_000_000),
    }
}

fn replica_status() -> ReplicaStatus {
    ReplicaStatus {
        replica: replica(2),
        address: Some("10.0.0.6:7461".to_string()),
        role: ReplicaRole::Follower,
        term: 4,
        commit: 5,
        lag: 6,
        disk_free: Some(7),
        version: "0.1.0".to_string(),
        clock: Some(Timestamp(8)),
        silent_ms: Some(9),
    }
}
