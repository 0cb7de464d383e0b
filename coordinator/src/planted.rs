//! Faults that the simulator plants to prove that it would find them.
//!
//! Without the feature `planted`, which only the tests turn on, nothing of this is built: the macro
//! is `false`. Each names the rule it breaks.
//!
//! Floor: core.

/// Which fault is planted; none, unless the simulator says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planted {
    #[cfg(feature = "planted")]
    pub fault: Option<Fault>,
}

/// What can be broken.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A second outcome takes the place of the first.
    Fence,
    /// An outcome is acknowledged before it is committed.
    AckEarly,
    /// What an agent says it holds is believed although another one holds it.
    Blind,
    /// That a snapshot was lost is not told to raft.
    SnapshotLost,
    /// A lease begins when its leader did.
    OldClock,
    /// A snapshot names the members of the beginning.
    OldVoters,
    /// Commands are proposed before every replica knows them.
    Level,
    /// A fresh read is answered from what is here.
    StaleRead,
    /// A command asked for twice is done twice.
    Twice,
    /// Grants go on while the disk is full.
    Full,
    /// An agent whose report was dropped is not told to send it again.
    Dropped,
    /// A trial whose loss could not be proposed does not wait again.
    Forgotten,
    /// A replica gets a vote before it ever spoke.
    Unheard,
    /// A snapshot is believed without a look at its state.
    Unchecked,
    /// A replica that came while this one was away is not heard.
    Stranger,
    /// Outcomes are shown for a look that nobody took.
    Unlooked,
    /// What a trial gave when it was trained again is compared with another trial's outcome.
    Unlike,
}

/// Whether this fault is planted here.
macro_rules! planted {
    ($planted:expr, $fault:ident) => {{
        #[cfg(feature = "planted")]
        let broken = $planted.fault == Some($crate::planted::Fault::$fault);
        #[cfg(not(feature = "planted"))]
        let broken = {
            let _ = &$planted;
            false
        };
        broken
    }};
}

pub(crate) use planted;
