//! Backups of a folder without studies: whole, cut short, and changed. With studies: `tests/backup.rs`.
//!
//! Floor: shell.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::cluster::{self, ClusterError, Opening};
use crate::disk;

/// A backup of a new cluster.
async fn backup(dir: &Path) -> (Vec<u8>, About) {
    let cluster = cluster::open(&dir.join("first"), Opening::default()).await.expect("opened");
    let source = Source::running(&cluster.handle, 1).await.expect("an image");
    let mut bytes = Vec::new();
    let (about, rows) = write(&source, &mut bytes).expect("written");
    assert_eq!(rows, 0);
    cluster.handle.stop().await;
    (bytes, about)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_restored_is_a_sound_folder_of_another_replica() {
    let dir = tempfile::tempdir().expect("a folder");
    let (bytes, about) = backup(dir.path()).await;
    let (file, folder) = (dir.path().join("backup"), dir.path().join("second"));
    fs::write(&file, &bytes).expect("written");

    let restored = restore(&file, &folder, |_| ()).expect("restored");

    assert_eq!((restored.contents.bytes, &restored.contents.about), (bytes.len() as u64, &about));
    assert_eq!((about.replica.0.get(), restored.replica.0.get()), (1, 1_002));
    let verdict = disk::verify(&folder, &disk::Progress::default()).expect("looked at");
    assert!(verdict.is_sound(), "{:?}", verdict.findings);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let again = restore(&file, &folder, |_| ());
    assert!(matches!(again, Err(BackupError::NotEmpty { .. })), "{again:?}");
    let cluster = cluster::open(&folder, Opening::default()).await.expect("opened");
    assert_eq!(cluster.identity.cluster, about.cluster);
    let leads = cluster.handle.look(|node| (node.is_leader(), node.replica().term())).await;
    let (_, term) = leads.expect("it runs");
    assert!(term > about.term + 1_000, "{term}");
    cluster.handle.stop().await;

    // Stopped, it can be backed up from its folder, with what its log alone has.
    let copy = dir.path().join("copy");
    for name in ["ca", "data", ""] {
        fs::create_dir_all(copy.join(name)).expect("made");
        for entry in fs::read_dir(folder.join(name)).expect("readable").flatten() {
            if entry.path().is_file() && entry.file_name() != "reserve" {
                fs::copy(entry.path(), copy.join(name).join(entry.file_name())).expect("copied");
            }
        }
    }
    let source = Source::folder(&copy).expect("an image");
    let mut bytes = Vec::new();
    let (later, _) = write(&source, &mut bytes).expect("written");
    assert!(later.index > about.index && later.term >= term, "{later:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_stopped_leaves_no_folder_that_starts() {
    let dir = tempfile::tempdir().expect("a folder");
    let (bytes, _) = backup(dir.path()).await;
    let (file, folder) = (dir.path().join("backup"), dir.path().join("second"));
    fs::write(&file, &bytes).expect("written");
    let mut left = 0;
    check(&file, |read| left += read).expect("sound");
    // As soon as it was found sound, its end is gone.
    let stopped = restore(&file, &folder, |read| {
        left = left.saturating_sub(read);
        if left == 0 {
            fs::write(&file, &bytes[..bytes.len() - 1]).expect("cut");
        }
    });
    assert!(matches!(stopped, Err(BackupError::Damaged { .. })), "{stopped:?}");
    assert!(folder.join("ca").exists(), "it had begun");
    let started = cluster::open(&folder, Opening::default()).await;
    assert!(matches!(started, Err(ClusterError::HalfRestored { .. })));
    fs::write(&file, &bytes).expect("written");
    let again = restore(&file, &folder, |_| ());
    assert!(matches!(again, Err(BackupError::NotEmpty { .. })), "{again:?}");
    fs::remove_dir_all(&folder).expect("removed");
    restore(&file, &folder, |_| ()).expect("restored");
    let cluster = cluster::open(&folder, Opening::default()).await.expect("opened");
    cluster.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cut_and_every_changed_byte_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let (bytes, _) = backup(dir.path()).await;
    let (file, folder) = (dir.path().join("backup"), dir.path().join("second"));
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).expect("written");
        let error = restore(&file, &folder, |_| ()).expect_err(what);
        assert!(!folder.exists(), "{what}: {error}");
    };
    for length in 0..bytes.len() {
        refused(&bytes[..length], &format!("{length} bytes of it"));
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        refused(&changed, &format!("byte {at} changed"));
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    refused(&longer, "something follows");
}
