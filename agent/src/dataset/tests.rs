//! Data files from shared folders, from the cache, and over a source that fails in chosen ways.
//!
//! Floor: shell.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;
use crate::sample;

/// A coordinator's file, given in small chunks.
struct Source {
    bytes: Vec<u8>,
    /// Transfers end after this many bytes.
    cut_after: usize,
    asked: AtomicUsize,
    last_offset: AtomicU64,
}

impl Source {
    fn of(bytes: &[u8]) -> Self {
        let (asked, last_offset) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { bytes: bytes.to_vec(), cut_after: usize::MAX, asked, last_offset }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl DataSource for Source {
    fn fetch(&self, _: Digest, offset: u64) -> Fetching<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.last_offset.store(offset, Ordering::Relaxed);
        Box::pin(async move {
            let (give, chunks) = mpsc::channel(self.bytes.len() + 1);
            let rest = self.bytes[offset as usize..].iter().take(self.cut_after);
            for chunk in rest.copied().collect::<Vec<u8>>().chunks(7) {
                let _ = give.send(chunk.to_vec()).await;
            }
            Ok(Fetched { bytes: self.bytes.len() as u64, chunks })
        })
    }
}

struct Unused;

impl DataSource for Unused {
    fn fetch(&self, _: Digest, _: u64) -> Fetching<'_> {
        panic!("nothing is fetched when the bytes are here")
    }
}

fn data() -> Data {
    sample::study(sample::ROWS).data
}

fn datasets(dir: &Path, shared: &[PathBuf]) -> Arc<Datasets> {
    Arc::new(Datasets::new(dir.join("data"), shared.to_vec()))
}

#[tokio::test]
async fn a_shared_folder_is_looked_into_under_all_three_names() {
    let hex = data().digest.hex();
    for name in [hex.as_str(), "tables/sample.csv", "sample.csv"] {
        let dir = tempfile::tempdir().expect("a folder");
        let shared = dir.path().join("shared");
        fs::create_dir_all(shared.join("tables")).expect("made");
        fs::write(shared.join(name), sample::ROWS).expect("written");
        let datasets = datasets(dir.path(), &[dir.path().join("none"), shared]);
        let rows = datasets.obtain(&data(), &Unused).await.expect("found").rows();
        assert_eq!(rows, 6, "{name}");
        assert!(!dir.path().join("data").exists(), "read in place");
    }
}

#[tokio::test]
async fn other_bytes_under_the_right_name_are_passed_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let shared = dir.path().join("shared");
    fs::create_dir_all(&shared).expect("made");
    let mut other = sample::ROWS.to_vec();
    other[20] ^= 1;
    fs::write(shared.join("sample.csv"), &other).expect("written");
    fs::write(shared.join(data().digest.hex()), &other).expect("written");
    let source = Source::of(sample::ROWS);
    let datasets = datasets(dir.path(), &[shared]);
    assert_eq!(datasets.obtain(&data(), &source).await.expect("fetched").rows(), 6);
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn what_was_fetched_once_is_not_fetched_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let source = Source::of(sample::ROWS);
    let first = datasets(dir.path(), &[]);
    let rows = first.obtain(&data(), &source).await.expect("fetched");
    let again = first.obtain(&data(), &source).await.expect("remembered");
    assert!(Arc::ptr_eq(&rows, &again));
    let restarted = datasets(dir.path(), &[]);
    assert_eq!(restarted.obtain(&data(), &Unused).await.expect("cached"), rows);
    assert_eq!(source.asked(), 1);
    assert!(!part_of(dir.path()).exists());
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let cut = Source { cut_after: 30, ..Source::of(sample::ROWS) };
    let datasets = datasets(dir.path(), &[]);
    let error = datasets.obtain(&data(), &cut).await.expect_err("cut");
    assert!(error.may_pass(), "{error}");
    assert_eq!(fs::metadata(part_of(dir.path())).expect("kept").len(), 30);
    let whole = Source::of(sample::ROWS);
    assert_eq!(datasets.obtain(&data(), &whole).await.expect("fetched").rows(), 6);
    assert_eq!(whole.last_offset.load(Ordering::Relaxed), 30);
}

#[tokio::test]
async fn a_damaged_part_is_thrown_away_and_fetched_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(dir.path().join("data")).expect("made");
    fs::write(part_of(dir.path()), b"not these bytes").expect("written");
    let source = Source::of(sample::ROWS);
    let datasets = datasets(dir.path(), &[]);
    let error = datasets.obtain(&data(), &source).await.expect_err("other bytes");
    assert!(error.may_pass(), "{error}");
    assert_eq!(datasets.obtain(&data(), &source).await.expect("fetched").rows(), 6);
    assert_eq!(source.last_offset.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn bytes_of_another_digest_are_refused_and_not_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut other = sample::ROWS.to_vec();
    other[20] ^= 1;
    let error =
        datasets(dir.path(), &[]).obtain(&data(), &Source::of(&other)).await.expect_err("other");
    assert!(matches!(error, DataError::WrongBytes { .. }) && !error.may_pass(), "{error}");
    assert_eq!(fs::read_dir(dir.path().join("data")).expect("made").count(), 0);
}

#[tokio::test]
async fn a_file_of_another_length_is_refused_before_it_is_fetched() {
    let dir = tempfile::tempdir().expect("a folder");
    let source = Source::of(&[sample::ROWS, b"0,0,a\n"].concat());
    let error = datasets(dir.path(), &[]).obtain(&data(), &source).await.expect_err("longer");
    assert!(matches!(error, DataError::WrongLength { .. }), "{error}");
    assert!(!part_of(dir.path()).exists());
}

/// A study of a folder of IDX files, and the folder's bytes as they travel.
fn of_folder(folder: &Path) -> (Data, Vec<u8>) {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/samples/written/idx");
    fs::create_dir_all(folder).expect("made");
    for file in fs::read_dir(samples).expect("there") {
        let file = file.expect("readable");
        fs::copy(file.path(), folder.join(file.file_name())).expect("copied");
    }
    let packed = link::folder::read(folder, u64::MAX).expect("read");
    let text = "[study]\nname = \"s\"\nmetric = \"accuracy\"\n[data]\npath = \"mnist\"\n\
                format = \"idx\"\ntask = \"classification\"\n[split]\nouter = { folds = 2 }\n\
                [seeds]\ncount = 2\n[arms.a]\nmodel = \"linear\"\n";
    let checked = common::study::check(text, &mut |_| Ok(packed.clone())).expect("checked");
    (checked.study.data, packed)
}

#[tokio::test]
async fn a_folder_of_samples_is_read_in_place_or_fetched_as_one_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let shared = dir.path().join("shared");
    let (data, packed) = of_folder(&shared.join("mnist"));
    let there = datasets(dir.path(), std::slice::from_ref(&shared));
    let rows = there.obtain(&data, &Unused).await.expect("found");
    assert_eq!((rows.rows(), rows.shape.as_slice()), (6, &[3, 4, 1][..]));
    // One more file, or another byte of one, is another folder.
    for name in ["train-labels-idx1-ubyte", "notes"] {
        let path = shared.join("mnist").join(name);
        let before = fs::read(&path).ok();
        let mut other = before.clone().unwrap_or_default();
        other.push(1);
        fs::write(&path, other).expect("written");
        let source = Source::of(&packed);
        let again = datasets(&dir.path().join(name), std::slice::from_ref(&shared));
        assert_eq!(again.obtain(&data, &source).await.expect("fetched"), rows);
        assert_eq!(source.asked(), 1, "{name}");
        match before {
            Some(before) => fs::write(&path, before).expect("written"),
            None => fs::remove_file(&path).expect("removed"),
        }
    }
}

#[test]
fn paths_that_leave_the_shared_folder_are_not_followed() {
    for refused in ["../sample.csv", "/etc/passwd", "a/../../b", "./a", ""] {
        assert_eq!(inner_path(refused), None, "{refused}");
    }
    assert_eq!(inner_path("a/b.csv"), Some(PathBuf::from("a/b.csv")));
}

fn part_of(dir: &Path) -> PathBuf {
    dir.join("data").join(format!("{}.part", data().digest.hex()))
}
