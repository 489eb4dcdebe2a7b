//! The state file: written whole and synced before each change, so that a host that dies in between can be put back.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::TUNE_STATE_BYTES_MAX;
use crate::tune::State;
use crate::tune::before::STATE_VERSION;

/// Another `tune` may be about to end; and a child that is just being started holds its parent's lock for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How often the lock is tried.
const LOCK_LOOK: Duration = Duration::from_millis(10);

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Cannot be read or written.
    #[error("{path}: {cause}; cure: a folder that this process may write to, or another --state")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// Somebody else could have written it.
    #[error(
        "{path}: others may write to it, and what it says would be done as root; cure: look at it, then `chown root` and `chmod 600`"
    )]
    NotOurs {
        /// Which.
        path: PathBuf,
    },
    /// Not what `tune` writes.
    #[error(
        "{path}: {cause}; cure: put the values back by hand or by a reboot, then remove the file"
    )]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// Another `tune` is at work.
    #[error("{path}: another `colchis tune` is at work; cure: wait until it has ended")]
    Busy {
        /// Folder of the state file.
        path: PathBuf,
    },
}

/// The state file, and the lock on its folder.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    folder: PathBuf,
    /// Locked as long as it is open.
    lock: File,
}

impl Store {
    /// Makes the folder of `path` if it is not there, and locks it.
    ///
    /// # Errors
    /// No such folder can be made; another process has it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let fault = |cause| StoreError::Io {
            path: folder.clone(),
            cause,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&folder)
            .map_err(fault)?;
        let lock = File::open(&folder).map_err(fault)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(LOCK_LOOK);
                }
                Err(fs::TryLockError::WouldBlock) => return Err(StoreError::Busy { path: folder }),
                Err(fs::TryLockError::Error(cause)) => return Err(fault(cause)),
            }
        }
        Ok(Self {
            path: path.to_owned(),
            folder,
            lock,
        })
    }

    /// What the file says; `None`: there is none.
    ///
    /// # Errors
    /// It is there and cannot be used.
    pub fn load(&self) -> Result<Option<State>, StoreError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(self.fault(cause)),
        };
        let about = file.metadata().map_err(|cause| self.fault(cause))?;
        let me = rustix::process::geteuid().as_raw();
        let owned = about.uid() == me || about.uid() == 0;
        if !about.is_file() || !owned || about.mode() & 0o022 != 0 {
            return Err(StoreError::NotOurs {
                path: self.path.clone(),
            });
        }
        let mut text = String::new();
        let mut kept = file.take(TUNE_STATE_BYTES_MAX + 1);
        kept.read_to_string(&mut text)
            .map_err(|cause| self.fault(cause))?;
        if text.len() as u64 > TUNE_STATE_BYTES_MAX {
            return Err(self.malformed(format!("more than {TUNE_STATE_BYTES_MAX} bytes")));
        }
        self.understand(&text).map(Some)
    }

    fn understand(&self, text: &str) -> Result<State, StoreError> {
        let state: State =
            serde_json::from_str(text).map_err(|error| self.malformed(error.to_string()))?;
        if state.version != STATE_VERSION {
            return Err(self.malformed(format!("version {} is not known", state.version)));
        }
        match state.changes.iter().find(|undo| !undo.before.is_ours()) {
            Some(undo) => {
                let target = undo.before.target();
                Err(self.malformed(format!("{target} is nothing that `tune` changes")))
            }
            None => Ok(state),
        }
    }

    /// Writes it: all of it, or nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn save(&self, state: &State) -> Result<(), StoreError> {
        let text = serde_json::to_string_pretty(state)
            .map_err(|error| self.malformed(error.to_string()))?;
        self.replace(&text).map_err(|cause| self.fault(cause))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        match fs::remove_file(&fresh) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        self.lock.sync_all()
    }

    /// Removes it: everything is undone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self) -> Result<(), StoreError> {
        match fs::remove_file(&self.path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(self.fault(cause)),
            _ => self.lock.sync_all().map_err(|cause| StoreError::Io {
                path: self.folder.clone(),
                cause,
            }),
        }
    }

    fn fault(&self, cause: io::Error) -> StoreError {
        StoreError::Io {
            path: self.path.clone(),
            cause,
        }
    }

    fn malformed(&self, cause: String) -> StoreError {
        StoreError::Malformed {
            path: self.path.clone(),
            cause,
        }
    }
}
