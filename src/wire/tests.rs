//! Inputs that crashed other parsers, whole and mutated, through every parser of this folder.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::exercise;

/// Every file of `tests/data/hostile`.
fn files() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hostile");
    let mut folders: Vec<PathBuf> = vec![root];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(fs::read(path).unwrap()),
            }
        }
    }
    found.sort();
    found
}

fn every_parser(bytes: &[u8]) {
    exercise::datagram(bytes);
    exercise::stun_message(bytes);
    exercise::stun_attributes(bytes);
    exercise::rtp(bytes);
    exercise::rtcp(bytes);
    exercise::codec(bytes, None);
    exercise::codec(bytes, bytes.get(1..));
}

#[test]
fn hostile_files_harm_nobody() {
    let files = files();
    assert!(files.len() >= 100, "only {} hostile files", files.len());
    for file in &files {
        for cut in 0..=file.len().min(300) {
            every_parser(&file[..cut]);
            every_parser(&file[cut..]);
        }
        every_parser(file);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_harm_nobody(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        every_parser(&bytes);
    }

    #[test]
    fn mutated_files_harm_nobody(
        pick in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        thread_local! {
            static FILES: Vec<Vec<u8>> = files();
        }
        let mut bytes = FILES.with(|files| files[pick.index(files.len())].clone());
        for (at, value) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        every_parser(&bytes);
    }
}
