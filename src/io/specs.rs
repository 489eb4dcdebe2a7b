//! Reads the configuration file and the directory of room specs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bus::spec::RoomSpec;
use crate::config::{Config, ConfigError};
use crate::control::spec::{Format, SpecBook, SpecError};
use crate::id::RoomId;
use crate::io::control::TokenKeys;

/// Bytes of a configuration or spec file. Larger: refused.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Spec files of a directory. More: refused.
const SPECS_MAX: usize = 100_000;

/// Why configuration or specs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file or directory that cannot be read.
    #[error("{path}: {cause}; cure: a readable file, or another path")]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        cause: String,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A spec is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

fn file_error(path: &Path, cause: impl std::fmt::Display) -> ReadError {
    ReadError::File {
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

fn read(path: &Path) -> Result<String, ReadError> {
    let size = fs::metadata(path).map_err(|e| file_error(path, e))?.len();
    if size > FILE_BYTES_MAX {
        return Err(file_error(
            path,
            format!("{size} bytes, at most {FILE_BYTES_MAX}"),
        ));
    }
    fs::read_to_string(path).map_err(|e| file_error(path, e))
}

/// The configuration in `path`.
pub fn read_config(path: &Path) -> Result<Config, ReadError> {
    Ok(Config::from_toml(
        &read(path)?,
        &path.display().to_string(),
    )?)
}

/// Keys of tokens.
pub fn read_token_keys(config: &Config) -> Result<TokenKeys, ReadError> {
    let rooms = &config.rooms;
    let pem = match &rooms.token_eddsa_key {
        None => None,
        Some(path) => Some((path, read(path)?)),
    };
    let bytes = pem.as_ref().map(|(_, text)| text.as_bytes());
    TokenKeys::new(rooms.token_hs256_key.as_deref(), bytes).map_err(|cause| ReadError::File {
        path: rooms.token_eddsa_key.clone().unwrap_or_default(),
        cause,
    })
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()? {
        "yaml" | "yml" => Some(Format::Yaml),
        "toml" => Some(Format::Toml),
        _ => None,
    }
}

/// What rooms opened by tokens are made like.
pub fn read_token_template(config: &Config) -> Result<RoomSpec, ReadError> {
    let Some(path) = &config.rooms.token_template else {
        let id = RoomId::new("template").map_err(|e| file_error(Path::new("template"), e))?;
        return Ok(RoomSpec::new(id));
    };
    let mut book = SpecBook::default();
    let name = path.display().to_string();
    let format = format_of(path).unwrap_or(Format::Yaml);
    book.add(&name, format, &read(path)?, &config.timeouts)?;
    match book.rooms().next() {
        Some((_, room)) if room.compiled.spec.members.is_empty() => {
            Ok(RoomSpec::clone(&room.compiled.spec))
        }
        _ => Err(file_error(
            path,
            "a template has no members: tokens bring them",
        )),
    }
}

/// Every spec of the configured directory, in order of file names.
pub fn read_specs(config: &Config) -> Result<SpecBook, ReadError> {
    let mut book = SpecBook::default();
    let Some(directory) = &config.rooms.specs else {
        return Ok(book);
    };
    let entries = fs::read_dir(directory).map_err(|e| file_error(directory, e))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| file_error(directory, e))?.path());
        if paths.len() > SPECS_MAX {
            return Err(file_error(
                directory,
                format!("more than {SPECS_MAX} files"),
            ));
        }
    }
    paths.sort();
    for path in paths {
        let Some(format) = format_of(&path) else {
            continue;
        };
        let name = path.display().to_string();
        book.add(&name, format, &read(&path)?, &config.timeouts)?;
    }
    Ok(book)
}
