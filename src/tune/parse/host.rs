//! Limits, kernel command line, routes, files of choices, signs of virtual machines.

use crate::tune::facts::{Limit, ProcessLimits};

/// `/proc/self/limits`: of locked memory the hard limit, of open files the soft one.
pub fn limits(text: &str) -> ProcessLimits {
    let columns = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = line.split_whitespace();
        Some((limit(words.next()?)?, limit(words.next()?)?))
    };
    ProcessLimits {
        memlock_bytes: columns("Max locked memory").map(|(_, hard)| hard),
        open_files: columns("Max open files").map(|(soft, _)| soft),
    }
}

fn limit(word: &str) -> Option<Limit> {
    match word {
        "unlimited" => Some(Limit::Unlimited),
        number => number.parse().ok().map(Limit::At),
    }
}

/// Value of `key=` on the kernel command line; of several, the last.
pub fn cmdline_value<'a>(cmdline: &'a str, key: &str) -> Option<&'a str> {
    let mut words = cmdline.split_whitespace().rev();
    words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The word in brackets of a file like `always [madvise] never`.
pub fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word)
}

/// Device of the default route: of `/proc/net/route`, else of `/proc/net/ipv6_route`.
pub fn default_route(ipv4: &str, ipv6: &str) -> Option<String> {
    let of4 = ipv4.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let all = words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000");
        words.first().copied().filter(|_| all)
    });
    let of6 = || {
        ipv6.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let all = words.get(1) == Some(&"00") && words.first()?.chars().all(|c| c == '0');
            words.get(9).copied().filter(|dev| all && *dev != "lo")
        })
    };
    of4.or_else(of6).map(str::to_owned)
}

/// Huge pages that are reserved, of `/proc/meminfo`.
pub fn hugepages(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let value = lines.find_map(|line| line.strip_prefix("HugePages_Total:"))?;
    value.trim().parse().ok()
}

/// Whether `/proc/cpuinfo` or the firmware's words for vendor and product tell a virtual machine.
pub fn is_virtual(cpuinfo: &str, vendor: &str, product: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    if flags.is_some_and(|line| line.split_whitespace().any(|flag| flag == "hypervisor")) {
        return true;
    }
    let makers = ["QEMU", "KVM", "VMware", "Xen", "innotek", "Bochs", "Google"];
    let made = makers.iter().any(|name| vendor.contains(name));
    // Hosts of that vendor without hypervisor say so in the product's name.
    let rented = vendor.contains("Amazon EC2") && !product.contains(".metal");
    made || rented || product.contains("Virtual Machine")
}

/// Whether the cgroup of process 1 is one that container runtimes make.
pub fn is_container_cgroup(cgroup: &str) -> bool {
    let runtimes = ["docker", "kubepods", "containerd", "libpod", "lxc"];
    runtimes.iter().any(|name| cgroup.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let text = "Limit  Soft Limit Hard Limit Units\nMax open files  1024  4096  files\n\
                    Max locked memory  65536  unlimited  bytes\n";
        let found = limits(text);
        assert_eq!(found.open_files, Some(Limit::At(1024)));
        assert_eq!(found.memlock_bytes, Some(Limit::Unlimited));
        assert_eq!(limits("Max open files\n"), ProcessLimits::default());
    }

    #[test]
    fn words_are_found() {
        let line = "quiet isolcpus=1 isolcpus=domain,2-3 nohz_full=2";
        assert_eq!(cmdline_value(line, "isolcpus"), Some("domain,2-3"));
        assert_eq!(cmdline_value(line, "nohz"), None);
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("madvise"), None);
        assert_eq!(hugepages("HugePages_Total:      16\n"), Some(16));
    }

    #[test]
    fn the_default_route_is_found() {
        let ipv4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                    eth1 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\neth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n";
        assert_eq!(default_route(ipv4, "").as_deref(), Some("eth0"));
        let zeros = "0".repeat(32);
        let ipv6 = format!("{zeros} 00 {zeros} 00 fe80 00000400 1 0 00000003 eth6\n");
        assert_eq!(default_route("", &ipv6).as_deref(), Some("eth6"));
        assert_eq!(default_route("", ""), None);
    }

    #[test]
    fn virtual_machines_are_told() {
        assert!(is_virtual(
            "processor: 0\nflags\t\t: fpu hypervisor\n",
            "",
            ""
        ));
        assert!(is_virtual("", "QEMU", ""));
        assert!(is_virtual("", "Amazon EC2", "c7g.large"));
        assert!(!is_virtual("", "Amazon EC2", "c7g.metal"));
        assert!(!is_virtual("flags : fpu\n", "Supermicro", "X"));
        assert!(is_container_cgroup("0::/kubepods/x\n"));
        assert!(!is_container_cgroup("0::/init.scope\n"));
    }
}
