//! Files below a root: `/`, or a folder with a `/proc` and `/sys` of a test's making.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::limits::{TUNE_DIR_ENTRIES_MAX, TUNE_FILE_BYTES_MAX};

/// A root folder.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// The root at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Whether this is the host itself.
    pub fn is_host(&self) -> bool {
        self.path == Path::new("/")
    }

    /// Where `path`, an absolute one, lies.
    pub fn join(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Whether something is there.
    pub fn has(&self, path: &str) -> bool {
        self.join(path).exists()
    }

    /// Text of a file. `None`: not there, not to be read, too long, no text.
    pub fn read(&self, path: &str) -> Option<String> {
        self.try_read(path).ok()
    }

    /// As [`Root::read`], with the cause.
    ///
    /// # Errors
    /// What the kernel says; more than [`TUNE_FILE_BYTES_MAX`]; no UTF-8.
    pub fn try_read(&self, path: &str) -> io::Result<String> {
        let file = File::open(self.join(path))?;
        let mut text = String::new();
        file.take(TUNE_FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)?;
        match text.len() as u64 > TUNE_FILE_BYTES_MAX {
            true => Err(io::Error::other(format!(
                "more than {TUNE_FILE_BYTES_MAX} bytes"
            ))),
            false => Ok(text),
        }
    }

    /// Names in a folder, sorted; none if it is not there.
    pub fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.join(path)) else {
            return Vec::new();
        };
        let names = entries.flatten().take(TUNE_DIR_ENTRIES_MAX);
        let mut names: Vec<String> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Last part of what a symbolic link points to.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.join(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// Writes to a file that is there, in one system call, as the kernel's files want it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let options = OpenOptions::new().write(true).truncate(true).clone();
        let mut file = options.open(self.join(path))?;
        match file.write(text.as_bytes())? == text.len() {
            true => Ok(()),
            false => Err(io::Error::other("not all of it was taken")),
        }
    }
}
