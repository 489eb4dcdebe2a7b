//! Lists (`0-3,5`) and masks (`00000000,0000002f`) of cores, as the kernel reads and writes them.

use crate::limits::TUNE_CORE_MAX;

/// Cores of a list, ascending. Words before the first number (`isolcpus=domain,2-3`) are passed over.
pub fn list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let part = part.trim();
        if part.is_empty() || part.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > TUNE_CORE_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Some(cores)
}

/// Cores of a mask, ascending.
pub fn mask(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    let words = text.trim().rsplit(',');
    for (at, word) in words.enumerate().take(TUNE_CORE_MAX.div_ceil(32)) {
        let bits = u32::from_str_radix(word.trim(), 16).ok()?;
        cores.extend(
            (0..32)
                .filter(|bit| bits >> bit & 1 == 1)
                .map(|bit| at * 32 + bit),
        );
    }
    Some(cores)
}

/// Cores as a list.
pub fn list_text(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    let shown = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Cores as a mask.
pub fn mask_text(cores: &[usize]) -> String {
    let words = cores.iter().max().map_or(1, |core| core / 32 + 1);
    let mut bits = vec![0_u32; words];
    for core in cores {
        if let Some(word) = bits.get_mut(core / 32) {
            *word |= 1 << (core % 32);
        }
    }
    let words = bits.iter().rev().enumerate().map(|(i, word)| match i {
        0 => format!("{word:x}"),
        _ => format!("{word:08x}"),
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(list("managed_irq,domain,2-3"), Some(vec![2, 3]));
        assert_eq!(list("\n"), Some(vec![]));
        for wrong in ["3-1", "1-x", "0-4000000000", "-1"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
        assert_eq!(list_text(&[0, 1, 2, 5]), "0-2,5");
        assert_eq!(list_text(&[]), "");
    }

    #[test]
    fn masks() {
        assert_eq!(mask("3\n"), Some(vec![0, 1]));
        assert_eq!(mask("00000001,80000000"), Some(vec![31, 32]));
        assert_eq!(mask("0"), Some(vec![]));
        assert_eq!(mask("zz"), None);
        for cores in [vec![0], vec![31, 32], vec![1, 64, 95]] {
            assert_eq!(mask(&mask_text(&cores)), Some(cores));
        }
        assert_eq!(mask_text(&[]), "0");
        assert_eq!(mask_text(&[32]), "1,00000000");
    }
}
