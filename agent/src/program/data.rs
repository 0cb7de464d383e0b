//! The data of a study as programs are given them: a file, or a folder with its files.
//!
//! They are written once, read-only, and again under another name where a program changed them all the
//! same: others may still read there. Which file of a folder each row is stands in a file beside it.
//!
//! Floor: shell.

use std::fs;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use common::samples::pack::{is_packed, unpack};
use common::samples::{Relabelled, row_names};
use common::study::{Data, Format, Task};
use common::table::places;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A study's data on this machine's disk.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// A file, or of arrays and images in a folder that folder.
    pub path: PathBuf,
    /// Where rows lie in it, unless where they do in the study.
    pub places: Option<Arc<Vec<u32>>>,
    /// A line for each row of the folder: the file that it is.
    pub row_names: Option<PathBuf>,
    seen: Vec<Seen>,
    /// How often it was written anew.
    turn: u32,
}

/// What shows that somebody wrote: files and folders, their length together, and the last change of
/// any: a folder changes with the names in it.
type Seen = (u64, u64, SystemTime);

impl DataFile {
    /// Writes the data whose verified bytes these are into `folder`. Errors: a sentence.
    /// `before`: what was written of them and changed since.
    pub fn put(
        folder: &Path,
        data: &Data,
        bytes: &[u8],
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let segmentation = matches!(data.task, Task::Segmentation { .. });
        let names = row_names(&data.format, segmentation, bytes)
            .map_err(|errors| errors.first().map(ToString::to_string).unwrap_or_default())?;
        let places = places(data, bytes)?.map(Arc::new);
        let turn = before.map_or(0, |before| before.turn + 1);
        let stem = |turn: u32| folder.join(format!("{}-{turn}", data.digest.hex()));
        // What was changed last may still be read by whoever runs; what was before that, hardly.
        turn.checked_sub(2).into_iter().for_each(|old| remove_all(&stem(old)));
        let file = Self::write(stem(turn), data, bytes, names, places)?;
        Ok(Self { turn, ..file })
    }

    /// Writes what `changed` makes of `bytes`, which are this data's, as the data of one attempt that
    /// are called `stem`.
    pub fn other(
        &self,
        stem: PathBuf,
        data: &Data,
        bytes: &[u8],
        changed: Relabelled,
    ) -> Result<Self, String> {
        let (bytes, row_names) = match changed {
            Relabelled::All(bytes) => (bytes, None),
            Relabelled::Files { pack, row_names } => (pack, Some(row_names)),
            Relabelled::Member { name, content } => (archived(bytes, &name, &content)?, None),
        };
        Self::write(stem, data, &bytes, row_names, self.places.clone())
    }

    fn write(
        stem: PathBuf,
        data: &Data,
        bytes: &[u8],
        names: Option<Vec<String>>,
        places: Option<Arc<Vec<u32>>>,
    ) -> Result<Self, String> {
        let path = match (is_packed(bytes), ending(&data.format)) {
            (false, Some(ending)) => stem.with_extension(ending),
            _ => stem.clone(),
        };
        let failed = |error: io::Error| format!("{} cannot be written: {error}", path.display());
        // A program may have changed what it was to read alone.
        remove(&path).map_err(failed)?;
        if is_packed(bytes) {
            let files = unpack(bytes).map_err(|error| error.to_string())?;
            put_files(&path, &files).map_err(failed)?;
        } else {
            fs::write(&path, bytes).and_then(|()| read_only(&path)).map_err(failed)?;
        }
        let row_names = match names {
            Some(names) => {
                let path = stem.with_extension("rows");
                let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
                remove(&path)
                    .and_then(|()| fs::write(&path, lines))
                    .and_then(|()| read_only(&path))
                    .map_err(failed)?;
                Some(path)
            }
            None => None,
        };
        let file = Self { path, places, row_names, seen: Vec::new(), turn: 0 };
        let seen = file.look().ok_or("the data vanished")?;
        Ok(Self { seen, ..file })
    }

    /// Whether nobody has written to it since it was put here.
    pub fn is_unchanged(&self) -> bool {
        self.look().is_some_and(|seen| seen == self.seen)
    }

    fn look(&self) -> Option<Vec<Seen>> {
        [Some(&self.path), self.row_names.as_ref()].into_iter().flatten().map(|p| seen(p)).collect()
    }
}

/// The archive with another content of one member.
fn archived(bytes: &[u8], name: &str, content: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |error: ZipError| format!("the archive cannot be copied: {error}");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(failed)?;
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for number in 0..archive.len() {
        let member = archive.by_index_raw(number).map_err(failed)?;
        if member.name().map_err(failed)? == name {
            let plain = SimpleFileOptions::default().compression_method(CompressionMethod::STORE);
            writer.start_file(name, plain).map_err(failed)?;
            writer.write_all(content).map_err(|error| error.to_string())?;
        } else {
            writer.raw_copy_file(member).map_err(failed)?;
        }
    }
    Ok(writer.finish().map_err(failed)?.into_inner())
}

/// What a file of this format ends in; `None` of formats that are folders.
fn ending(format: &Format) -> Option<&'static str> {
    match format {
        Format::Csv => Some("csv"),
        Format::Tsv => Some("tsv"),
        Format::Parquet => Some("parquet"),
        Format::Npy => Some("npy"),
        Format::Npz(_) => Some("npz"),
        Format::Idx(_) | Format::Images(_) | Format::Nifti(_) => None,
    }
}

/// Names are inner paths: unpacking refuses others.
fn put_files(folder: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, content) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content)?;
        read_only(&path)?;
    }
    each_folder(folder, true)
}

/// Makes a folder and those below it read-only, or to be written again.
fn each_folder(folder: &Path, readonly: bool) -> io::Result<()> {
    if !readonly {
        writable(folder)?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            each_folder(&entry.path(), readonly)?;
        }
    }
    if readonly { read_only(folder) } else { Ok(()) }
}

#[cfg(unix)]
fn writable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn writable(folder: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(folder)?.permissions();
    permissions.set_readonly(false);
    fs::set_permissions(folder, permissions)
}

/// Removes what was written under this name, whatever its form.
pub fn remove_all(stem: &Path) {
    for ending in ["", "csv", "tsv", "parquet", "npy", "npz", "rows"] {
        let _ = remove(&if ending.is_empty() { stem.into() } else { stem.with_extension(ending) });
    }
}

/// Empties the folder of all data.
pub fn clear(folder: &Path) -> io::Result<()> {
    remove(folder)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => {
            each_folder(path, false).and_then(|()| fs::remove_dir_all(path))
        }
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// `None` where there is no such file or folder, or a link in its place.
fn seen(path: &Path) -> Option<Seen> {
    let about = fs::symlink_metadata(path).ok()?;
    if about.is_file() {
        return Some((1, about.len(), about.modified().ok()?));
    }
    if !about.is_dir() {
        return None;
    }
    let mut sum = (1, 0, about.modified().ok()?);
    for entry in fs::read_dir(path).ok()? {
        let (files, length, changed) = seen(&entry.ok()?.path())?;
        sum = (sum.0 + files, sum.1 + length, changed.max(sum.2));
    }
    Some(sum)
}

fn read_only(path: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions)
}

#[cfg(test)]
mod tests {
    use common::id::Digest;
    use common::samples::pack::Pack;
    use common::study::{Arrays, Missing};

    use super::*;

    fn data(format: Format, bytes: &[u8]) -> Data {
        Data {
            path: "data".into(),
            format,
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
            target: "y".into(),
            task: Task::Classification { classes: vec!["a".into(), "b".into()] },
            drop: Vec::new(),
            group: None,
            leave_out: None,
            missing: Missing::Refuse,
            rows: 2,
        }
    }

    #[test]
    fn a_folder_lies_there_with_its_files_and_is_put_again_when_it_was_changed() {
        let mut pack = Pack::default();
        assert!(pack.add("sub/x.npy", b"one") && pack.add("y.npy", b"two"));
        let bytes = pack.finish();
        let arrays = Arrays { x: "x".into(), tokens: false };
        let (place, data) =
            (tempfile::tempdir().expect("a folder"), data(Format::Npz(arrays), &bytes));
        let put = |before| DataFile::put(place.path(), &data, &bytes, before).expect("written");
        let file = put(None);
        assert_eq!(fs::read(file.path.join("sub/x.npy")).expect("there"), b"one");
        assert!(file.is_unchanged());
        assert!(file.row_names.is_none(), "arrays have rows of their own");
        let path = file.path.join("y.npy");
        assert!(fs::metadata(&path).expect("there").permissions().readonly());

        let folder = fs::metadata(&file.path).expect("there").permissions();
        assert!(folder.readonly(), "nothing is put in or taken out");

        // Its owner may do all the same.
        each_folder(&file.path, false).expect("changed");
        fs::rename(&path, file.path.join("z.npy")).expect("renamed");
        assert!(!file.is_unchanged(), "another name is a change too");
        let again = put(Some(&file));
        assert_ne!(again.path, file.path, "others may still read there");
        assert_eq!(fs::read(again.path.join("y.npy")).expect("there"), b"two");
        let last = put(Some(&put(Some(&again))));
        assert!(!file.path.exists() && !again.path.exists() && last.is_unchanged());
    }

    #[test]
    fn an_archive_has_one_member_changed_and_the_others_as_they_were() {
        let bytes = include_bytes!("../../../tests/data/samples/arrays.npz");
        let changed = archived(bytes, "y.npy", b"other").expect("copied");
        let members = |bytes: &[u8]| {
            let mut archive = ZipArchive::new(Cursor::new(bytes.to_vec())).expect("an archive");
            (0..archive.len())
                .map(|at| {
                    let member = archive.by_index_raw(at).expect("a member");
                    (member.name().expect("a name").into_owned(), member.crc32(), member.size())
                })
                .collect::<Vec<_>>()
        };
        let (before, after) = (members(bytes), members(&changed));
        assert_eq!(before.len(), after.len());
        for (old, new) in before.iter().zip(&after) {
            assert_eq!(old == new, old.0 != "y.npy", "{old:?} {new:?}");
        }
        assert_eq!(after.iter().find(|member| member.0 == "y.npy").expect("there").2, 5);
    }

    #[test]
    fn a_table_is_a_file_with_its_ending() {
        let place = tempfile::tempdir().expect("a folder");
        let bytes = b"x,y\n1,a\n2,b\n";
        let file = DataFile::put(place.path(), &data(Format::Csv, bytes), bytes, None);
        let file = file.expect("written");
        assert_eq!(file.path.extension().and_then(|ending| ending.to_str()), Some("csv"));
        assert!(file.is_unchanged() && file.row_names.is_none());
    }
}
