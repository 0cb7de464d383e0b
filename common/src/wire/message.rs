//! Every message that crosses a socket, each once.
//!
//! A connection's first stream carries a [`Hello`] each way and a [`Greeting`] down, and ends. Every
//! further stream begins with an [`Open`] and serves one purpose. Roles are not in any message: the
//! certificate says who speaks.
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, Digest, LeaseId, MemberId, StudyId, TrialIndex};
use crate::study::Study;
use crate::time::Timestamp;
use crate::trial::{Attempt, Outcome, Report};

/// First message each way on a connection. Its layout never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub magic: [u8; 4],
    /// Oldest and newest protocol the speaker knows.
    pub protocol_min: u16,
    pub protocol_max: u16,
    /// The program's version, for people.
    pub version: String,
}

/// The serving side's second message: may the connection go on?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Greeting {
    Welcome { cluster: ClusterId, member: MemberId, protocol: u16 },
    Refused { why: String },
}

/// First message of a further stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Open {
    /// An agent's control stream: [`FromAgent`] up, [`ToAgent`] down, until either closes it.
    Agent,
    /// One [`Request`] up, one [`Response`] down.
    Request,
    /// The bytes of a data file from `offset` on: a [`Bulk`] header, then chunks as frames.
    Fetch { digest: Digest, offset: u64 },
    /// An operator sends a data file: a [`Bulk`] header down with what is already there, then
    /// chunks as frames up, then a [`Response`] down.
    Upload { digest: Digest, bytes: u64 },
    /// A member of any role asks for its own certificate anew: a [`Renewal`] down.
    Renew,
}

/// What the serving side has of a data file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bulk {
    /// Fetch: the whole length. Upload: bytes already stored, go on from there.
    Here {
        bytes: u64,
    },
    Refused {
        why: String,
    },
}

/// The answer to [`Open::Renew`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Renewal {
    /// For the key, role and member of the certificate that asked; X.509 in DER.
    Renewed {
        certificate: Vec<u8>,
    },
    Refused {
        why: String,
    },
}

/// From an agent on its control stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromAgent {
    /// First: what this machine is, what it still trains, and what it had started when it crashed.
    Register { about: AgentAbout, holding: Vec<Attempt>, crashed: Vec<Attempt> },
    /// Lanes that could start now. Replaces any earlier offer.
    Offer { lanes: u32 },
    /// The agent needs the study before it can train its trials.
    NeedStudy { study: StudyId },
    /// Still training these.
    Renew { leases: Vec<LeaseId> },
    /// Endings, kept in the spool until acknowledged. At most [`REPORTS_MAX`] at once.
    Reports { reports: Vec<Report> },
    /// Not started, given back: the agent is leaving.
    HandBack { leases: Vec<LeaseId> },
}

/// What an agent says of itself, for people and for placement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentAbout {
    pub host: String,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// The device's model, such as the processor's name.
    pub model: String,
    /// Lanes trained at once, over all its threads.
    pub lanes: u32,
    /// Lanes of one cohort: a grant of more trials than this is cut into cohorts.
    pub cohort_lanes: u32,
    pub version: String,
}

/// To an agent on its control stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Answer to `Register`. Of what the agent holds, `keep` stays leased to it; all else is stopped.
    Registered {
        lease_ms: u64,
        keep: Vec<LeaseId>,
    },
    /// Train these trials as one cohort, before the lease ends; renew until done.
    Assign {
        lease: LeaseId,
        study: StudyId,
        trials: Vec<TrialIndex>,
    },
    Study {
        id: StudyId,
        study: Box<Study>,
    },
    /// Stop; what was trained under this lease may still be reported.
    Revoke {
        lease: LeaseId,
    },
    /// Committed: the spool may forget these.
    Acknowledge {
        attempts: Vec<Attempt>,
    },
    /// The coordinator is leaving; come back later.
    Goodbye {
        why: String,
    },
}

/// From an operator: one question or command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Whether the data file is stored.
    HasData {
        digest: Digest,
    },
    Submit {
        study: Box<Study>,
        text: String,
    },
    Status {
        study: Option<StudyId>,
    },
    Study {
        study: StudyId,
    },
    Cancel {
        study: StudyId,
    },
    /// Outcomes with trial index at or above `from`, as many as fit one frame.
    Outcomes {
        study: StudyId,
        from: TrialIndex,
    },
    Agents,
    Tokens,
    CreateToken {
        role: Role,
        ttl_ms: u64,
        uses: Option<u32>,
        label: String,
    },
    RevokeToken {
        id: String,
    },
    Members,
    RemoveMember {
        member: MemberId,
    },
}

/// To an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    Done,
    HasData { complete: bool },
    Submitted { study: StudyId, known: bool },
    Status { studies: Vec<StudyStatus> },
    Study { study: Box<Study>, text: String, submitted: Timestamp },
    Outcomes { rows: Vec<OutcomeRow>, next: Option<TrialIndex> },
    Agents { agents: Vec<AgentStatus> },
    Tokens { tokens: Vec<TokenStatus> },
    Token { token: String },
    Members { members: Vec<MemberStatus> },
    Refused { why: String },
}

/// What a member may do; fixed by the token it joined with.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Agent,
    Operator,
    Peer,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Operator => "operator",
            Role::Peer => "peer",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Role::Agent, Role::Operator, Role::Peer]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(())
    }
}

/// A study as the coordinator knows it; `status --json` prints these fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyStatus {
    pub id: StudyId,
    pub name: String,
    pub state: StudyState,
    pub planned: u64,
    pub complete: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub waiting: u64,
    pub leased: u64,
    /// Attempts that ended without an outcome, by reason, in order of the reason's name.
    pub failures: Vec<(String, u64)>,
    /// Outcomes that came again with another digest.
    pub differing: u64,
    /// At the present rate; `None` before the first outcomes.
    pub seconds_left: Option<u64>,
    /// Trainings a second over the last minute.
    pub rate: f64,
    pub submitted: Timestamp,
    /// Unix time of the last trial's end.
    pub finished: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StudyState {
    Active,
    Finished,
    Cancelled,
}

/// One trial's end, as the report reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRow {
    pub trial: TrialIndex,
    pub ended: Timestamp,
    /// Which member trained it.
    pub agent: MemberId,
    pub end: RowEnd,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RowEnd {
    Complete(Outcome),
    Failed { reason: String, detail: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    pub member: MemberId,
    pub about: AgentAbout,
    /// Address it speaks from, or `in this process`.
    pub address: String,
    pub leased: u64,
    pub complete: u64,
    pub failed: u64,
    /// Unix time of its last message.
    pub heard: Timestamp,
    pub connected: bool,
}

/// A join token without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenStatus {
    pub id: String,
    pub role: Role,
    pub label: String,
    pub uses_left: Option<u32>,
    pub expires: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    pub member: MemberId,
    pub role: Role,
    pub label: String,
    pub joined: Timestamp,
}

impl Hello {
    pub fn ours() -> Self {
        Self {
            magic: MAGIC,
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_string(),
        }
    }

    /// The newest protocol both know, or what to tell the people on both sides.
    pub fn agree(&self, theirs: &Hello) -> Result<u16, String> {
        if theirs.magic != MAGIC {
            return Err("the other side does not speak seedsweep".to_string());
        }
        let newest = self.protocol_max.min(theirs.protocol_max);
        if newest < self.protocol_min.max(theirs.protocol_min) {
            return Err(format!(
                "this side (version {}) speaks protocol {} to {}, the other side (version {}) {} to {}; \
                 install the same version on both",
                self.version,
                self.protocol_min,
                self.protocol_max,
                theirs.version,
                theirs.protocol_min,
                theirs.protocol_max
            ));
        }
        Ok(newest)
    }
}

pub const MAGIC: [u8; 4] = *b"SWP\0";

/// The protocol this program speaks.
pub const PROTOCOL: u16 = 1;

/// Outcomes in one `Reports` message; further limited by the frame's bytes.
pub const REPORTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_without_overlap_are_refused_with_both_versions_named() {
        let ours = Hello::ours();
        let newer =
            Hello { protocol_min: 2, protocol_max: 3, version: "9.0.0".into(), ..ours.clone() };
        let why = ours.agree(&newer).expect_err("no overlap");
        assert!(why.contains("9.0.0") && why.contains("2 to 3"), "{why}");
    }

    #[test]
    fn the_newest_common_protocol_is_spoken() {
        let ours = Hello::ours();
        let newer = Hello { protocol_max: 7, ..ours.clone() };
        assert_eq!(ours.agree(&newer), Ok(PROTOCOL));
    }
}
