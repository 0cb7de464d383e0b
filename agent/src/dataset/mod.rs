//! Data files by their content: found in shared folders or the cache, else fetched, always verified.
//!
//! Bytes whose blake3 is not the study's are never parsed and never kept under the study's name. A
//! file in the cache has its digest as its name and was verified before it got it. Deliberately
//! absent: file names chosen by anybody else; a path in a study only says where to look first.
//!
//! Floor: shell.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use common::id::Digest;
use common::study::Data;
use common::table::Dataset;
use common::trial::Attempt;
use thiserror::Error;
use tokio::sync::mpsc;

/// Where data files come from when they are not on this machine.
pub trait DataSource: Send + Sync {
    /// The file's bytes from `offset` on.
    fn fetch(&self, digest: Digest, offset: u64) -> Fetching<'_>;

    /// Leaves a checkpoint of what is given back, for whoever goes on with it.
    fn hand_on(&self, _: Attempt, _: Vec<u8>) -> HandingOn<'_> {
        let why = "this source takes no checkpoints".to_string();
        Box::pin(async { Err(FetchError::Refused { why }) })
    }
}

pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send + 'a>>;
pub type HandingOn<'a> = Pin<Box<dyn Future<Output = Result<(), FetchError>> + Send + 'a>>;

/// A transfer under way.
#[derive(Debug)]
pub struct Fetched {
    /// Length of the whole file.
    pub bytes: u64,
    /// Its bytes from the asked offset on. Ends early when the connection does.
    pub chunks: mpsc::Receiver<Vec<u8>>,
}

/// Why a source gives no bytes.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Asking again later may help.
    #[error("{why}")]
    Unreachable { why: String },
    #[error("{why}")]
    Refused { why: String },
}

/// A source of nothing: for an agent that shares a folder with its coordinator.
pub struct NoSource;

impl DataSource for NoSource {
    fn fetch(&self, digest: Digest, _: u64) -> Fetching<'_> {
        let why = format!("the file {} is in none of the shared folders", digest.hex());
        Box::pin(async { Err(FetchError::Refused { why }) })
    }
}

/// The data files of one agent.
#[derive(Debug)]
pub struct Datasets {
    cache: PathBuf,
    shared: Vec<PathBuf>,
    /// Rows parsed last, newest last. Two studies of one file may use other columns.
    recent: Mutex<VecDeque<(Data, Arc<Dataset>)>>,
    /// One transfer at a time: two studies may name one file.
    transfer: tokio::sync::Mutex<()>,
}

impl Datasets {
    /// `cache` is made when the first file is fetched; `shared` folders are only read.
    pub fn new(cache: PathBuf, shared: Vec<PathBuf>) -> Self {
        let (recent, transfer) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { cache, shared, recent, transfer }
    }

    /// The rows of a study's data, wherever its bytes are.
    pub async fn obtain(
        self: &Arc<Self>,
        data: &Data,
        source: &dyn DataSource,
    ) -> Result<Arc<Dataset>, DataError> {
        if let Some(found) = self.local(data).await? {
            return Ok(found);
        }
        let one_at_a_time = self.transfer.lock().await;
        if let Some(found) = self.local(data).await? {
            return Ok(found);
        }
        self.download(data, source).await?;
        drop(one_at_a_time);
        let missing = DataError::Vanished { path: self.cached(data) };
        self.local(data).await?.ok_or(missing)
    }

    /// The rows, when this machine has the bytes.
    async fn local(self: &Arc<Self>, data: &Data) -> Result<Option<Arc<Dataset>>, DataError> {
        if let Some(found) = self.remembered(data) {
            return Ok(Some(found));
        }
        let (this, data) = (Arc::clone(self), data.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let Some(bytes) = this.find(&data) else { return Ok(None) };
            let dataset = Dataset::read(&data, &bytes)
                .map_err(|why| DataError::Unreadable { name: data.path.clone(), why })?;
            Ok(Some(this.remember(data, Arc::new(dataset))))
        });
        reading.await.unwrap_or(Err(DataError::Interrupted))
    }

    /// Verified bytes from a shared folder or the cache.
    pub fn find(&self, data: &Data) -> Option<Vec<u8>> {
        let mut names = vec![PathBuf::from(data.digest.hex())];
        names.extend(inner_path(&data.path));
        names.extend(Path::new(&data.path).file_name().map(PathBuf::from));
        let shared =
            self.shared.iter().flat_map(|dir| names.iter().map(move |name| dir.join(name)));
        shared.chain([self.cached(data)]).find_map(|path| verified(&path, data))
    }

    fn remembered(&self, data: &Data) -> Option<Arc<Dataset>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().find(|(of, _)| of == data).map(|(_, dataset)| Arc::clone(dataset))
    }

    fn remember(&self, data: Data, dataset: Arc<Dataset>) -> Arc<Dataset> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back((data, Arc::clone(&dataset)));
        while recent.len() > REMEMBERED_MAX {
            recent.pop_front();
        }
        dataset
    }

    fn cached(&self, data: &Data) -> PathBuf {
        self.cache.join(data.digest.hex())
    }

    /// Puts the verified file into the cache, going on with what an earlier transfer left.
    async fn download(&self, data: &Data, source: &dyn DataSource) -> Result<(), DataError> {
        let part = self.cache.join(format!("{}.part", data.digest.hex()));
        let disk = |source| DataError::Disk { path: part.clone(), source };
        fs::create_dir_all(&self.cache).map_err(disk)?;
        let mut resumed = part_length(&part).map_err(disk)?;
        if resumed > data.bytes {
            fs::remove_file(&part).map_err(disk)?;
            resumed = 0;
        }
        let resumed = resumed;
        self.fill(&part, resumed, data, source).await?;
        let (path, cached, digest) = (part.clone(), self.cached(data), data.digest);
        let placing = tokio::task::spawn_blocking(move || place(&path, &cached, digest));
        match placing.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into())) {
            Ok(true) => Ok(()),
            // What an earlier transfer left may be at fault: once more, from the beginning.
            Ok(false) if resumed > 0 => Err(DataError::Unreachable {
                why: "the transfer that was resumed had other bytes".to_string(),
            }),
            Ok(false) => Err(DataError::WrongBytes { digest: data.digest }),
            Err(source) => Err(disk(source)),
        }
    }

    /// Appends to the part until it has the file's length.
    async fn fill(
        &self,
        part: &Path,
        offset: u64,
        data: &Data,
        source: &dyn DataSource,
    ) -> Result<(), DataError> {
        let disk = |source| DataError::Disk { path: part.to_path_buf(), source };
        let mut fetched = source.fetch(data.digest, offset).await.map_err(|error| match error {
            FetchError::Unreachable { why } => DataError::Unreachable { why },
            FetchError::Refused { why } => DataError::Refused { why },
        })?;
        if fetched.bytes != data.bytes {
            return Err(DataError::WrongLength { bytes: fetched.bytes, expected: data.bytes });
        }
        let mut file = File::options().create(true).append(true).open(part).map_err(disk)?;
        let mut have = offset;
        while have < data.bytes {
            let Some(chunk) = fetched.chunks.recv().await else {
                let why = format!("the transfer ended after {have} of {} bytes", data.bytes);
                return Err(DataError::Unreachable { why });
            };
            have += chunk.len() as u64;
            if have > data.bytes {
                fs::remove_file(part).map_err(disk)?;
                return Err(DataError::WrongLength { bytes: have, expected: data.bytes });
            }
            file.write_all(&chunk).map_err(disk)?;
        }
        Ok(())
    }
}

/// Why a study's rows cannot be had.
#[derive(Debug, Error)]
pub enum DataError {
    #[error("{why}")]
    Unreachable { why: String },
    #[error("the coordinator refuses the data: {why}")]
    Refused { why: String },
    #[error(
        "the coordinator sent other bytes than the study's ({digest:?}); submit the study again"
    )]
    WrongBytes { digest: Digest },
    #[error("the coordinator's file has {bytes} bytes where the study's has {expected}")]
    WrongLength { bytes: u64, expected: u64 },
    #[error("{name} has the study's bytes and cannot be read: {why}")]
    Unreadable { name: String, why: String },
    #[error("{path} cannot be written")]
    Disk { path: PathBuf, source: io::Error },
    #[error("{path} was there and is gone")]
    Vanished { path: PathBuf },
    #[error("reading the data was interrupted")]
    Interrupted,
}

impl DataError {
    /// Whether the same request could succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            DataError::Unreachable { .. }
            | DataError::Disk { .. }
            | DataError::Vanished { .. }
            | DataError::Interrupted => true,
            DataError::Refused { .. }
            | DataError::WrongBytes { .. }
            | DataError::WrongLength { .. }
            | DataError::Unreadable { .. } => false,
        }
    }
}

/// The path as written in a study, if it stays inside the folder it is joined to.
fn inner_path(written: &str) -> Option<PathBuf> {
    let path = Path::new(written);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    (inside && !written.is_empty()).then(|| path.to_path_buf())
}

/// The bytes of a file or folder, when they are the study's. The length is compared before anything is read.
fn verified(path: &Path, data: &Data) -> Option<Vec<u8>> {
    if link::folder::length(path).ok()? != data.bytes {
        return None;
    }
    let bytes = link::folder::read(path, data.bytes).ok()?;
    (Digest::of(&bytes) == data.digest).then_some(bytes)
}

fn part_length(part: &Path) -> io::Result<u64> {
    match fs::metadata(part) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Gives a finished part its name, if its bytes deserve it; removes it otherwise.
fn place(part: &Path, cached: &Path, digest: Digest) -> io::Result<bool> {
    let sound = Digest::of(&fs::read(part)?) == digest;
    if sound {
        File::open(part)?.sync_all()?;
        fs::rename(part, cached)?;
    } else {
        fs::remove_file(part)?;
    }
    Ok(sound)
}

/// Parsed tables kept in memory for the next study of the same data.
const REMEMBERED_MAX: usize = 2;
