//! What goes into a node and comes out of it.
//!
//! Floor: core.

use common::id::{Digest, MemberId, ReplicaId, StudyId, TrialIndex};
use common::time::Timestamp;
use common::trial::Attempt;
use common::wire::message::peer::{Leadership, PeerMessage, RaftMessage};
use common::wire::message::{Answer, Ask, FromAgent, OutcomeRow, ToAgent};

use crate::scheduler::Admitted;

/// The two clocks at the moment of an input.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic: leases, rates.
    pub mono: Timestamp,
    /// Unix time: stamps for people.
    pub wall: Timestamp,
}

/// One connection of an agent, numbered by the driver and never again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

/// One question that waits for its answer, numbered by the driver.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// What reaches a coordinator.
#[derive(Clone, Debug)]
pub enum Input {
    /// [`crate::replica::TICK_MS`] have passed.
    Tick,
    AgentArrived {
        session: SessionId,
        member: MemberId,
        address: String,
    },
    AgentSaid {
        session: SessionId,
        message: FromAgent,
    },
    AgentGone {
        session: SessionId,
    },
    /// `who`: the operator, by the certificate of their connection.
    Asked {
        id: RequestId,
        who: MemberId,
        ask: Ask,
    },
    /// Outcomes of the same trainings in an earlier study, under this study's indices.
    Adopt {
        study: StudyId,
        rows: Vec<OutcomeRow>,
    },
    Join {
        id: RequestId,
        token_id: [u8; 6],
        secret_hash: [u8; 32],
        public_key: [u8; 32],
    },
    /// An admitted replica says where it is reached.
    Enrol {
        id: RequestId,
        replica: ReplicaId,
        address: String,
        level: u16,
    },
    /// `from` is what its certificate says.
    PeerSaid {
        from: ReplicaId,
        message: PeerMessage,
    },
    /// A snapshot is here: its message, the state, and its outcomes are where the disk finds them.
    SnapshotArrived {
        message: Box<RaftMessage>,
        state: Vec<u8>,
    },
    /// A snapshot that this replica sent has arrived, or has not.
    SnapshotSent {
        to: ReplicaId,
        /// Of the sending, as [`Output::SendSnapshot`] had it.
        number: u64,
        arrived: bool,
    },
    /// A message could not be sent.
    Unreachable {
        to: ReplicaId,
    },
    /// A checkpoint that an agent left of what it holds is here whole.
    Parked {
        member: MemberId,
        attempt: Attempt,
        digest: Digest,
    },
    Room(Room),
    /// This process is about to end: another may lead.
    HandOver,
}

/// What the disk has room for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Room {
    #[default]
    Plenty,
    /// Outcomes alone are still taken, from the reserve; why, for people.
    OutcomesOnly { why: String },
    /// Nothing can be written; why.
    Nothing { why: String },
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    ToAgent {
        session: SessionId,
        message: ToAgent,
    },
    /// After its last message.
    CloseAgent {
        session: SessionId,
        last: ToAgent,
    },
    Answer {
        id: RequestId,
        answer: Answer,
    },
    /// Sign this key, or refuse it.
    Admission {
        id: RequestId,
        public_key: [u8; 32],
        join: Join,
    },
    /// A replica may have the authority's key; or why not.
    Enrolled {
        id: RequestId,
        enrolled: Result<(), Enrolment>,
    },
    ToPeer {
        to: ReplicaId,
        message: PeerMessage,
    },
    /// Send the snapshot that was last made to be offered; then say [`Input::SnapshotSent`].
    SendSnapshot {
        to: ReplicaId,
        number: u64,
        message: Box<RaftMessage>,
    },
    /// The offered snapshot need not be held any longer.
    Withdraw,
    /// To be on disk at the latest with the next snapshot; the log can tell it again until then.
    Keep {
        study: StudyId,
        row: Box<OutcomeRow>,
    },
    /// The trial's row is void. In order with `Keep`, and as durable.
    Drop {
        study: StudyId,
        trial: TrialIndex,
    },
    /// Nobody asks for the checkpoint any more.
    Unpark {
        digest: Digest,
    },
    MemberRemoved {
        member: MemberId,
    },
    /// Who may connect, or where replicas are, has changed.
    MembersChanged,
    /// The state is another one altogether.
    Installed,
}

/// How an admission ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Join {
    Admitted(Admitted),
    Refused,
    Elsewhere(Leadership),
}

/// Why a replica was not enrolled.
#[derive(Clone, Debug, PartialEq)]
pub enum Enrolment {
    Elsewhere(Leadership),
    Refused { why: String },
}
