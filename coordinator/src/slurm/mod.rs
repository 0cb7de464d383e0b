//! Slurm: what its queue says, the scripts it is given, and how many agents there should be.
//!
//! Nothing here runs a command or reads a clock; [`crate::slurm_queue`] does the one and is told the
//! other. Slurm places processes and cards; which trial goes where is not its business.
//!
//! Floor: core.

pub mod queue;
pub mod scale;
pub mod script;
