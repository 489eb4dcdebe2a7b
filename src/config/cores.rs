//! `[cores]`: which core does what.

use serde::Deserialize;

/// Cores of the roles. Cores are counted as the kernel does, from 0.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cores {
    /// Core of signalling. Left out: the first that no shard has.
    pub signalling: Option<usize>,
    /// Cores of the shards, one shard each: a list like `"2-5"` or `"1,3-4"`, or `"auto"`: all but signalling's.
    pub shards: ShardCores,
    /// How long a shard without work looks for more before it sleeps, µs. 0: it sleeps at once.
    pub spin_us: u32,
    /// Core of the control thread. Left out: wherever the kernel puts it.
    pub control: Option<usize>,
}

/// `"auto"` or a list of cores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ShardCores {
    /// All cores but signalling's.
    #[default]
    Auto,
    /// These.
    List(Vec<usize>),
}

/// Highest core number a list may name: it bounds what `"0-4000000000"` can cost.
const CORE_MAX: usize = 4095;

impl TryFrom<String> for ShardCores {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.trim() == "auto" {
            return Ok(ShardCores::Auto);
        }
        let wrong =
            || format!("cores {text:?} are not understood; write \"auto\", \"2-5\" or \"1,3\"");
        let mut list = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| wrong())?;
            let last: usize = last.trim().parse().map_err(|_| wrong())?;
            if first > last || last > CORE_MAX {
                return Err(wrong());
            }
            list.extend(first..=last);
        }
        Ok(ShardCores::List(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ranges_and_auto() {
        let parse = |text: &str| ShardCores::try_from(text.to_owned());
        assert_eq!(parse("auto"), Ok(ShardCores::Auto));
        assert_eq!(parse("2-4"), Ok(ShardCores::List(vec![2, 3, 4])));
        assert_eq!(parse("1, 3-4"), Ok(ShardCores::List(vec![1, 3, 4])));
        for wrong in ["", "a", "4-2", "1,,2", "0-4000000000", "-1"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains("\"2-5\""), "{error}");
        }
    }
}
