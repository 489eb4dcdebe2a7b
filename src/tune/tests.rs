//! The table of knobs: complete, documented, left out by profile, readable on any terminal.

use std::collections::{BTreeMap, BTreeSet};

use crate::tune::facts::{Core, Feature, IdleState, Nic};
use crate::tune::knob::Status;
use crate::tune::plan::Seat;
use crate::tune::report::{KnobReport, REPORT_VERSION};
use crate::tune::{Change, HostFacts, KNOBS, Knob, Profile, Report, Row, ServerPlan, examine};

const PAGE: &str = include_str!("../../tuning/README.md");

/// Three shards on cores 1 to 3 of four.
fn plan() -> ServerPlan {
    let seat = |core: usize| Seat {
        core,
        udp_port: Some(39_999 + core as u16),
    };
    ServerPlan {
        shards: vec![seat(1), seat(2), seat(3)],
        signalling: 0,
        socket_buffer_bytes: 4 << 20,
        ipv4: true,
        ipv6: true,
        sessions: 1000,
    }
}

/// A host with four cores and a card with four queues.
fn facts() -> HostFacts {
    let core = Core {
        governor: Some("powersave\n".to_owned()),
        idle_states: vec![IdleState {
            index: 3,
            name: "C6".to_owned(),
            latency_us: 133,
            disable: Some("0\n".to_owned()),
        }],
    };
    let masks = |text: &str| (0..4).map(|q| (q, Some(text.to_owned()))).collect();
    let off = Feature {
        on: false,
        fixed: false,
    };
    HostFacts {
        online: vec![0, 1, 2, 3],
        cores: (0..4).map(|id| (id, core.clone())).collect(),
        sysctls: BTreeMap::from([("net/core/rmem_max".to_owned(), "212992".to_owned())]),
        cmdline: Some("quiet".to_owned()),
        nic: Some(Nic {
            name: "eth0".to_owned(),
            rx_queues: masks("f\n"),
            tx_queues: masks("0\n"),
            features: Some(BTreeMap::from([("ntuple-filters".to_owned(), off)])),
            rules: Some(Vec::new()),
            ..Nic::default()
        }),
        ..HostFacts::default()
    }
}

fn row<'a>(rows: &'a [Row], name: &str) -> &'a Row {
    rows.iter().find(|row| row.knob.name == name).unwrap()
}

fn changes(row: &Row) -> Vec<String> {
    let outcomes = row.outcomes.iter();
    outcomes.map(|o| o.setting.change.text()).collect()
}

fn report(rows: &[Row], profile: Profile) -> Report {
    Report {
        version: REPORT_VERSION,
        profile,
        nic: Some("eth0".to_owned()),
        plan: "3 shards".to_owned(),
        notes: vec!["a note".to_owned()],
        knobs: rows.iter().map(KnobReport::new).collect(),
    }
}

#[test]
fn every_knob_has_a_name_and_a_reason() {
    let names: BTreeSet<&str> = KNOBS.iter().map(|knob| knob.name).collect();
    assert_eq!(names.len(), KNOBS.len(), "each name once");
    for knob in KNOBS {
        let name = knob.name;
        let word = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(!name.is_empty() && name.chars().all(word), "{name}");
        assert!(name.len() <= 16, "{name} does not fit the table");
        assert!(knob.why.len() > 20 && knob.why.ends_with('.'), "{name}");
        assert!(knob.why.matches(". ").count() <= 2, "{name}: too long");
        assert!(!knob.what.is_empty() && !knob.undo.is_empty(), "{name}");
        assert!(!knob.evidence.text().is_empty(), "{name}");
        assert!(knob.profiles.contains(&Profile::BareMetal), "{name}");
    }
}

fn documented(knob: &Knob) -> String {
    let profiles = match knob.profiles {
        [_, _, _] => "every host".to_owned(),
        some => some.iter().map(|p| p.name()).collect::<Vec<_>>().join(", "),
    };
    let Knob {
        name,
        what,
        why,
        undo,
        evidence,
        ..
    } = knob;
    format!(
        "| `{name}` | {what} | {why} | {profiles} | {undo} | {} |",
        evidence.text()
    )
}

#[test]
fn the_page_has_the_table_of_every_knob() {
    let rows: Vec<String> = KNOBS.iter().map(documented).collect();
    let (_, section) = PAGE.split_once("## Every knob").unwrap();
    let lines = section.lines();
    let shown: Vec<&str> = lines.filter(|line| line.starts_with("| `")).collect();
    assert!(
        shown == rows,
        "tuning/README.md shows another table than src/tune/knobs; it should be\n{}\n",
        rows.join("\n")
    );
}

#[test]
fn queues_rules_and_masks_follow_the_shards() {
    let rows = examine(&facts(), &plan(), Profile::BareMetal);
    let rules = changes(row(&rows, "flow-rules"));
    assert_eq!(rules[0], "ethtool -K eth0 ntuple on");
    assert_eq!(
        rules[1..3],
        [
            "ethtool -N eth0 flow-type udp4 dst-port 40000 action 0",
            "ethtool -N eth0 flow-type udp6 dst-port 40000 action 0"
        ]
    );
    assert_eq!(rules.len(), 7);
    let xps = changes(row(&rows, "xps"));
    let mask = |q, mask| format!("write {mask} to /sys/class/net/eth0/queues/tx-{q}/xps_cpus");
    assert_eq!(xps, [mask(0, 2), mask(1, 4), mask(2, 8), mask(3, 1)]);
    assert_eq!(row(&rows, "rps").status(), Status::Change);
    assert_eq!(
        row(&rows, "idle-states").outcomes.len(),
        3,
        "of shards only"
    );
    let isolation = changes(row(&rows, "isolation"));
    assert!(isolation[0].contains("isolcpus=managed_irq,domain,1-3"));
}

#[test]
fn nothing_of_the_only_queue_or_of_unknown_ports_is_set() {
    let mut host = facts();
    let nic = host.nic.as_mut().unwrap();
    nic.rx_queues = BTreeMap::from([(0, None)]);
    nic.tx_queues = BTreeMap::from([(0, None)]);
    let rows = examine(&host, &plan(), Profile::Vm);
    for name in ["flow-rules", "xps", "rps"] {
        assert_eq!(row(&rows, name).status(), Status::NotAvailable, "{name}");
    }
    let mut anywhere = plan();
    anywhere.shards[0].udp_port = None;
    let rows = examine(&facts(), &anywhere, Profile::Vm);
    assert_eq!(row(&rows, "flow-rules").status(), Status::Advice);
}

#[test]
fn a_rule_of_somebody_else_is_left_to_him() {
    use crate::tune::facts::{Family, FlowRule};
    let mut host = facts();
    let rule = |id, queue| FlowRule {
        id,
        family: Family::Udp4,
        port: 40_000 + id as u16,
        queue: Some(queue),
    };
    host.nic.as_mut().unwrap().rules = Some(vec![rule(0, 0), rule(1, 3)]);
    let rows = examine(&host, &plan(), Profile::Vm);
    let outcomes = &row(&rows, "flow-rules").outcomes;
    assert_eq!(outcomes[1].status, Status::Right);
    let moved = outcomes
        .iter()
        .find(|o| o.setting.target == "eth0 udp4 port 40001");
    let moved = moved.unwrap();
    assert_eq!(moved.status, Status::Advice);
    assert_eq!(
        moved.setting.change,
        Change::Advise("ethtool -N eth0 delete 1".to_owned())
    );
}

#[test]
fn a_container_is_told_only_what_is_its_own() {
    let rows = examine(&facts(), &plan(), Profile::Container);
    for row in &rows {
        let own = ["socket-buffers", "io-uring", "memlock", "open-files"];
        assert_eq!(
            row.left_out,
            !own.contains(&row.knob.name),
            "{}",
            row.knob.name
        );
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for profile in [Profile::BareMetal, Profile::Container] {
        let report = report(&examine(&facts(), &plan(), profile), profile);
        for width in [24, 40, 71, 72, 80, 120] {
            let text = report.text(width);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
            assert!(text.contains("socket-buffers"), "{text}");
        }
    }
    let rows = examine(&HostFacts::default(), &ServerPlan::default(), Profile::Vm);
    assert!(report(&rows, Profile::Vm).text(0).contains("a note"));
}
