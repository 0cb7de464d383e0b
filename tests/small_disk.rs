//! A small disk for one coordinator, and a file that takes all its room.
//!
//! A file system in memory, so that a test can fill it in a moment. Unmounted when dropped.
//!
//! Floor: wiring.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run;

pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Makes `folder` one, or says why it is none.
    pub fn at(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).expect("made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={MIB}m"), "seedsweep"]).arg(folder);
        match run(&mut mount, "") {
            Ok(_) => Some(Self { folder: folder.to_path_buf() }),
            Err(why) => {
                println!("no small disk ({why}): none is filled");
                None
            }
        }
    }

    /// Takes what room there is.
    pub fn fill(&self) {
        let mut file = self.filler();
        let mut piece = vec![1u8; 1 << 20];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    /// Gives the room back.
    pub fn free(&self) {
        let _ = fs::remove_file(self.folder.join(FILLER));
    }

    fn filler(&self) -> File {
        let path = self.folder.join(FILLER);
        OpenOptions::new().create(true).append(true).open(path).expect("opens")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is on its way out may still hold it.
        let _ = run(Command::new("umount").arg("-l").arg(&self.folder), "");
    }
}

const FILLER: &str = "somebody-elses";
const MIB: u32 = 96;
