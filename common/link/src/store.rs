//! Private files: PEM, readable by the owner alone, whole or absent.
//!
//! A file is written under a temporary name, flushed and renamed, so no reader and no crash sees
//! half of one. It is never readable by others, not even for a moment.
//!
//! Floor: shell.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::LinkError;

/// Writes `bytes` to `dir/name` with mode 0600; makes `dir` with mode 0700 when it is absent.
pub(crate) fn write_private(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), LinkError> {
    let path = dir.join(name);
    write_renamed(dir, &path, name, bytes).map_err(|source| LinkError::File { path, source })
}

/// The whole file, or `None` when there is none.
pub(crate) fn read(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, LinkError> {
    let path = dir.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LinkError::File { path, source }),
    }
}

/// Removes a file that may be absent.
pub(crate) fn forget(dir: &Path, name: &str) -> Result<(), LinkError> {
    let path = dir.join(name);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(LinkError::File { path, source })
        }
        _ => Ok(()),
    }
}

/// One PEM section.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut section = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        section.push_str(line);
        section.push('\n');
        rest = after;
    }
    section.push_str(&format!("-----END {label}-----\n"));
    section
}

fn write_renamed(dir: &Path, path: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    private_folder().recursive(true).create(dir)?;
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    // What a crash left under this name is ours; create_new below still refuses to follow a link.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_file().write(true).create_new(true).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        // Best effort: the error that matters is the one already in hand.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    flush_folder(dir)
}

#[cfg(unix)]
fn private_folder() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(unix)]
fn private_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(unix)]
fn flush_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

// Elsewhere a user's own folders are private by inheritance, and folders cannot be flushed.
#[cfg(not(unix))]
fn private_folder() -> DirBuilder {
    DirBuilder::new()
}

#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(not(unix))]
fn flush_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

const PEM_LINE: usize = 64;

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn a_private_file_is_the_owners_alone_and_leaves_no_trace_beside_it() {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("keys");
        write_private(&dir, "key", b"one").expect("written");
        write_private(&dir, "key", b"two").expect("replaced");
        assert_eq!((mode(&dir), mode(&dir.join("key"))), (0o700, 0o600));
        assert_eq!(read(&dir, "key").expect("readable"), Some(b"two".to_vec()));
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 1);
        assert_eq!(read(&dir, "other").expect("readable"), None);
    }

    #[test]
    fn a_link_in_the_temporary_place_is_not_followed() {
        let home = tempfile::tempdir().expect("a folder");
        let victim = home.path().join("victim");
        fs::write(&victim, "untouched").expect("written");
        let place = home.path().join(format!(".key.{}", std::process::id()));
        std::os::unix::fs::symlink(&victim, place).expect("linked");
        write_private(home.path(), "key", b"secret").expect("written");
        assert_eq!(fs::read_to_string(&victim).expect("readable"), "untouched");
    }
}
