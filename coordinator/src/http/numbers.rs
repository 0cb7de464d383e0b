//! The numbers of one scrape: what the node says of itself, and what lies around it.
//!
//! Floor: shell.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::Served;
use crate::disk::Space;
use crate::node::numbers::Numbers;

/// What one scrape tells.
pub(super) struct Found {
    pub numbers: Numbers,
    pub refused: Vec<(&'static str, u64)>,
    pub connections: u64,
    /// Of the file system, where it can be asked.
    pub space: Option<Space>,
    pub log_file_bytes: u64,
    pub data: Data,
}

/// Data files of studies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Data {
    pub files: u64,
    pub bytes: u64,
}

/// `None` where the node's thread does not answer in time.
pub(super) async fn of(served: &Served, within: Duration) -> Option<Found> {
    let numbers = timeout(within, served.handle.look(|node| node.numbers())).await.ok()??;
    let folder = served.folder.clone();
    let around = tokio::task::spawn_blocking(move || {
        let log = fs::metadata(crate::disk::file_in(&folder)).map_or(0, |file| file.len());
        (Space::of(&folder).ok(), log, data_in(&folder.join("data")))
    });
    let (space, log_file_bytes, data) = around.await.ok()?;
    let refused = served.refusals.all().collect();
    let connections = served.handle.connections() as u64;
    Some(Found { numbers, refused, connections, space, log_file_bytes, data })
}

fn data_in(folder: &Path) -> Data {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).fold(
        Data::default(),
        |sum, file| Data { files: sum.files + 1, bytes: sum.bytes + file.len() },
    )
}
