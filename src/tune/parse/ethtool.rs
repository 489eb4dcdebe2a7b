//! What `ethtool -k`, `-g` and `-n` print.

use std::collections::BTreeMap;

use crate::tune::facts::{Family, Feature, FlowRule, Rings};

/// Offloads of `ethtool -k`.
pub fn features(text: &str) -> BTreeMap<String, Feature> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some((name, value)) = line.trim().split_once(": ") else {
            continue;
        };
        let on = match value.split_whitespace().next() {
            Some("on") => true,
            Some("off") => false,
            _ => continue,
        };
        // "[requested on]": wanted, but something it needs is off. Asking again changes nothing.
        let fixed = value.contains("[fixed]") || value.contains("[requested");
        found.insert(name.to_owned(), Feature { on, fixed });
    }
    found
}

/// Ring sizes of `ethtool -g`: first the most there can be, then what is.
pub fn rings(text: &str) -> Option<Rings> {
    let mut rings = Rings::default();
    let mut current = false;
    for line in text.lines() {
        if line.starts_with("Current hardware settings") {
            current = true;
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let slot = match (name.trim(), current) {
            ("RX", false) => &mut rings.rx_max,
            ("TX", false) => &mut rings.tx_max,
            ("RX", true) => &mut rings.rx,
            ("TX", true) => &mut rings.tx,
            _ => continue,
        };
        *slot = value.trim().parse().ok();
    }
    current.then_some(rings)
}

/// Rules of `ethtool -n` for UDP that look at the destination port and nothing else.
pub fn rules(text: &str) -> Vec<FlowRule> {
    let blocks = text.split("Filter:").skip(1);
    blocks.filter_map(rule).collect()
}

fn rule(block: &str) -> Option<FlowRule> {
    let id = block.lines().next()?.trim().parse().ok()?;
    let field = |name: &str| {
        let lines = block.lines();
        lines
            .filter_map(|line| line.trim().split_once(':'))
            .find_map(|(key, value)| (key == name).then(|| value.trim()))
    };
    let family = match field("Rule Type")? {
        "UDP over IPv4" => Family::Udp4,
        "UDP over IPv6" => Family::Udp6,
        _ => return None,
    };
    // A mask has a one for each bit that does not matter.
    let any = |name: &str| {
        let mask = field(name).and_then(|value| value.rsplit_once("mask:"));
        mask.is_none_or(|(_, mask)| {
            let mask = mask.trim();
            mask == "255.255.255.255"
                || mask
                    .trim_start_matches("0x")
                    .chars()
                    .all(|c| matches!(c, 'f' | ':'))
        })
    };
    let (port, mask) = field("Dest port")?.split_once("mask:")?;
    let exact = mask.trim() == "0x0";
    if !exact
        || !["Src IP addr", "Dest IP addr", "Src port"]
            .into_iter()
            .all(any)
    {
        return None;
    }
    let queue = field("Action").and_then(|action| action.strip_prefix("Direct to queue "));
    Some(FlowRule {
        id,
        family,
        port: port.trim().parse().ok()?,
        queue: queue.and_then(|queue| queue.trim().parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read() {
        let text = "Features for eth0:\ntx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\nntuple-filters: off\n";
        let found = features(text);
        let feature = |on, fixed| Some(&Feature { on, fixed }).copied();
        assert_eq!(found.get("tx-checksumming").copied(), feature(true, false));
        assert_eq!(found.get("tx-checksum-ipv4").copied(), feature(false, true));
        assert_eq!(found.get("ntuple-filters").copied(), feature(false, false));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn rings_are_read() {
        let text = "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\nTX:\t\t8192\n\
                    Current hardware settings:\nRX:\t\t512\nRX Mini:\tn/a\nTX:\t\tn/a\n";
        let wanted = Rings {
            rx: Some(512),
            rx_max: Some(4096),
            tx: None,
            tx_max: Some(8192),
        };
        assert_eq!(rings(text), Some(wanted));
        assert_eq!(rings("netlink error: Operation not supported\n"), None);
    }

    #[test]
    fn rules_of_one_port_are_read_and_narrower_ones_are_not() {
        let rule = |id, kind, src, src_mask, full, action| {
            format!(
                "Filter: {id}\n\tRule Type: UDP over {kind}\n\tSrc IP addr: {src} mask: {src_mask}\n\
                 \tDest IP addr: {src} mask: {full}\n\tTOS: 0x0 mask: 0xff\n\tSrc port: 0 mask: 0xffff\n\
                 \tDest port: 40001 mask: 0x0\n\tAction: {action}\n\n"
            )
        };
        let full6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let (all, queue) = ("255.255.255.255", "Direct to queue 3");
        let text = format!(
            "4 RX rings available\nTotal 3 rules\n\n{}{}{}",
            rule(1023, "IPv4", "0.0.0.0", all, all, queue),
            rule(1022, "IPv6", "::", full6, full6, "Drop"),
            rule(7, "IPv4", "192.0.2.1", "0.0.0.0", all, queue),
        );
        let of = |id, family, queue| FlowRule {
            id,
            family,
            port: 40001,
            queue,
        };
        assert_eq!(
            rules(&text),
            [
                of(1023, Family::Udp4, Some(3)),
                of(1022, Family::Udp6, None)
            ]
        );
        assert_eq!(rules("Filter: x\n"), []);
    }
}
