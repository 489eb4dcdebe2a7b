//! Huge pages for a shard's fixed memory (`media.huge_pages`): fewer page-table entries for what every packet passes through.
#![allow(unsafe_code)]

use std::io;

/// Size of a page. Where it is larger, the request below is refused, and told.
const PAGE: usize = 4096;

/// Asks for huge pages in `memory`, which keeps its content (madvise(2), MADV_HUGEPAGE); how many bytes of it were asked for.
pub fn advise(memory: &[u8]) -> io::Result<usize> {
    let start = memory.as_ptr().align_offset(PAGE);
    let Some(whole) = memory.get(start..) else {
        return Ok(0);
    };
    let len = whole.len() / PAGE * PAGE;
    if len == 0 {
        return Ok(0);
    }
    // SAFETY: the range is whole pages within a borrowed slice, and the advice changes no byte of it.
    let done = unsafe { libc::madvise(whole.as_ptr().cast_mut().cast(), len, libc::MADV_HUGEPAGE) };
    match done {
        0 => Ok(len),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_are_asked_for_and_bytes_stay() {
        let mut memory = vec![0; 8 << 20];
        memory[5 << 20] = 7;
        match advise(&memory) {
            Ok(len) => assert!(len > (8 << 20) - 2 * PAGE, "{len}"),
            // A kernel without them.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINVAL)),
        }
        assert_eq!(memory[5 << 20], 7);
        assert_eq!(advise(&memory[1..2]).unwrap(), 0, "less than a page");
    }
}
