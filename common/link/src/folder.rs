//! A study's data on disk: a file, or a folder that becomes one.
//!
//! What a folder holds is listed and measured before anything is read, so that what is too large is
//! refused by its size. Hidden files are no data; a link to a folder is refused, since it may lead
//! round in a circle. Deliberately absent: what the files mean.
//!
//! Floor: shell.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::samples::bytes_in_words;
use common::samples::pack::Pack;

/// Length of what [`read`] gives, without reading it.
pub fn length(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    Ok(Listing::of(path)?.length())
}

/// The bytes of a file, or of a folder as `common::samples::pack` lays them out.
///
/// Errors: what cannot be read, or has more than `memory` bytes.
pub fn read(path: &Path, memory: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_dir() {
        check(fs::metadata(path)?.len(), memory)?;
        return fs::read(path);
    }
    let listing = Listing::of(path)?;
    check(listing.length(), memory)?;
    let mut pack = Pack::with_room(listing.files.len(), listing.bytes as usize);
    for (name, path) in listing.files {
        if !pack.add(&name, &fs::read(&path)?) {
            let why = format!("{} has a name that cannot be used", path.display());
            return Err(io::Error::other(why));
        }
    }
    Ok(pack.finish())
}

fn check(bytes: u64, memory: u64) -> io::Result<()> {
    if bytes <= memory {
        return Ok(());
    }
    let (has, free) = (bytes_in_words(bytes), bytes_in_words(memory));
    let why =
        format!("it has {has}, and {free} of memory are free; write a part of it, or smaller");
    Err(io::Error::other(why))
}

/// The files below a folder.
struct Listing {
    /// Names with `/` between folders, ascending.
    files: Vec<(String, PathBuf)>,
    /// Of all names and contents.
    bytes: u64,
}

impl Listing {
    fn of(top: &Path) -> io::Result<Self> {
        let mut listing = Self { files: Vec::new(), bytes: 0 };
        listing.add(top, "")?;
        listing.files.sort();
        Ok(listing)
    }

    fn length(&self) -> u64 {
        Pack::length(self.files.len() as u64, self.bytes)
    }

    fn add(&mut self, folder: &Path, above: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                let why = format!("{} has a name that is not UTF-8", path.display());
                return Err(io::Error::other(why));
            };
            if name.starts_with('.') {
                continue;
            }
            let name = format!("{above}{name}");
            let metadata = fs::metadata(&path)?;
            if metadata.is_file() {
                self.bytes += metadata.len() + name.len() as u64;
                self.files.push((name, path));
            } else if entry.file_type()?.is_dir() {
                self.add(&path, &format!("{name}/"))?;
            } else {
                let why = format!("{} is no file and no folder of its own", path.display());
                return Err(io::Error::other(why));
            }
        }
        Ok(())
    }
}
