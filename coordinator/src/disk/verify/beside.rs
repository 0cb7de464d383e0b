//! What lies beside the log: the certificate authority, and the data files.
//!
//! Floor: shell.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use common::id::Digest;
use link::{Authority, LinkError};

use super::finding::{AUTHORITY, Finding};
use super::{Progress, Verdict};

/// A file whose name is the digest of its contents.
pub(super) struct DataFile {
    path: PathBuf,
    pub bytes: u64,
}

/// The whole data files; those that are still arriving have another name.
pub(super) fn data_files(folder: &Path) -> Vec<DataFile> {
    let Ok(entries) = fs::read_dir(folder.join("data")) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let named = paths.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    let mut files: Vec<DataFile> = named
        .map(|path| DataFile { bytes: fs::metadata(&path).map_or(0, |file| file.len()), path })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

pub(super) fn look(folder: &Path, data: &[DataFile], progress: &Progress, verdict: &mut Verdict) {
    match Authority::load(&folder.join("ca")) {
        Ok(Some(authority)) => {
            let own = verdict.identity.map(|identity| identity.cluster);
            let other = authority.cluster();
            if let Some(cluster) = own.filter(|own| *own != other) {
                verdict.find(Finding::OtherCluster { part: AUTHORITY, cluster, other });
            }
        }
        Ok(None) => verdict.find(Finding::Authority { why: "it is missing".to_string() }),
        Err(LinkError::Damaged { what, .. }) => {
            verdict.find(Finding::Authority { why: what.to_string() });
        }
        Err(error) => {
            verdict.find(Finding::Authority { why: format!("{:#}", anyhow::Error::from(error)) })
        }
    }
    for DataFile { path, .. } in data {
        verdict.data_files += 1;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match digest_of(path, progress) {
            Ok(digest) if digest.hex() == name => {}
            Ok(_) => verdict.find(Finding::Data { path: path.clone() }),
            Err(error) => {
                let why = error.to_string();
                verdict.find(Finding::DataFile { path: path.clone(), why });
            }
        }
    }
}

fn digest_of(path: &Path, progress: &Progress) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(Digest(*hasher.finalize().as_bytes()));
        }
        hasher.update(&piece[..read]);
        progress.read(read as u64);
    }
}

const PIECE_BYTES: usize = 1 << 16;
