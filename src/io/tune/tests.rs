//! `tune` on a made-up host: a folder with `/proc` and `/sys`, and an `ethtool` that keeps books.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::*;
use crate::io::tune::tools::ToolError;

const CONFIG: &str = "[media]\nudp_port = 40000\n[cores]\nsignalling = 0\nshards = \"1-3\"\n";
const THP: &str = "sys/kernel/mm/transparent_hugepage/enabled";

/// A folder that is gone when the test is over.
struct Fake {
    folder: PathBuf,
    tools: Ethtool,
}

/// `ethtool` of one card, and what it was asked to change.
#[derive(Clone, Default, PartialEq, Debug)]
struct Ethtool {
    features: BTreeMap<&'static str, bool>,
    rings: [u32; 2],
    /// Number, family, port and queue.
    rules: Vec<(u32, String, String, String)>,
    asked: Vec<String>,
    /// What has one of these words is refused.
    refused: Vec<&'static str>,
}

impl Ethtool {
    fn new() -> Self {
        let features = [
            ("ntuple-filters", false),
            ("tx-udp-segmentation", false),
            ("generic-receive-offload", true),
        ];
        Self {
            features: BTreeMap::from(features),
            rings: [512, 512],
            rules: vec![(7, "udp4".into(), "443".into(), "1".into())],
            ..Self::default()
        }
    }

    fn show(&self, option: &str) -> String {
        let onoff = |on: &bool| if *on { "on" } else { "off" };
        match option {
            "-k" => {
                let lines = self.features.iter();
                lines
                    .map(|(name, on)| format!("{name}: {}\n", onoff(on)))
                    .collect()
            }
            "-g" => format!(
                "Pre-set maximums:\nRX:\t8192\nTX:\t1024\nCurrent hardware settings:\nRX:\t{}\nTX:\t{}\n",
                self.rings[0], self.rings[1]
            ),
            _ => {
                let rules = self.rules.iter().map(|(id, family, port, queue)| {
                    let kind = if family == "udp4" { "IPv4" } else { "IPv6" };
                    format!(
                        "Filter: {id}\n\tRule Type: UDP over {kind}\n\tSrc port: 0 mask: 0xffff\n\
                         \tDest port: {port} mask: 0x0\n\tAction: Direct to queue {queue}\n\n"
                    )
                });
                rules.collect()
            }
        }
    }

    fn change(&mut self, words: &[&str]) {
        match words {
            ["-K", _, name, on] => {
                let name = crate::tune::knobs::shown_name(name);
                *self.features.get_mut(name).unwrap() = *on == "on";
            }
            ["-G", _, "rx", count] => self.rings[0] = count.parse().unwrap(),
            ["-G", _, "tx", count] => self.rings[1] = count.parse().unwrap(),
            [
                "-N",
                _,
                "flow-type",
                family,
                "dst-port",
                port,
                "action",
                queue,
            ] => {
                let id = 100 + self.asked.len() as u32;
                let words = [family, port, queue].map(|word| (*word).to_owned());
                let [family, port, queue] = words;
                self.rules.push((id, family, port, queue));
            }
            ["-N", _, "delete", id] => self.rules.retain(|rule| rule.0.to_string() != *id),
            other => panic!("ethtool {other:?}"),
        }
    }
}

impl Tools for Ethtool {
    fn run(&mut self, argv: &[String]) -> Result<String, ToolError> {
        let words: Vec<&str> = argv[1..].iter().map(String::as_str).collect();
        if matches!(words[0], "-k" | "-g" | "-n") {
            return Ok(self.show(words[0]));
        }
        self.asked.push(argv.join(" "));
        if self.refused.iter().any(|word| words.contains(word)) {
            return Err(ToolError::Failed {
                status: "1".to_owned(),
                said: "Operation not supported".to_owned(),
            });
        }
        self.change(&words);
        Ok(String::new())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Fake {
    fn empty(name: &str) -> Self {
        let name = format!("colchis-tune-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        let fake = Self {
            folder,
            tools: Ethtool::new(),
        };
        fs::create_dir_all(fake.folder.join("root")).unwrap();
        fs::write(fake.folder.join("colchis.toml"), CONFIG).unwrap();
        fake.put("sys/devices/system/cpu/online", "0-3\n");
        fake
    }

    /// A host of four cores with a card of four queues.
    fn new(name: &str) -> Self {
        let fake = Self::empty(name);
        for (file, text) in [
            ("rmem_max", "212992\n"),
            ("wmem_max", "9000000\n"),
            ("netdev_budget", "300\n"),
            ("netdev_max_backlog", "1000\n"),
            ("busy_poll", "0\n"),
            ("busy_read", "0\n"),
        ] {
            fake.put(&format!("proc/sys/net/core/{file}"), text);
        }
        fake.put("proc/sys/kernel/random/boot_id", "first\n");
        fake.put("proc/cmdline", "quiet\n");
        fake.put(THP, "[always] madvise never\n");
        fake.put("sys/devices/system/node/node0/cpulist", "0-3\n");
        for core in 0..4 {
            let cpu = format!("sys/devices/system/cpu/cpu{core}");
            fake.put(&format!("{cpu}/cpufreq/scaling_governor"), "powersave\n");
            for (state, latency) in [(0, "0\n"), (1, "2\n"), (2, "133\n")] {
                let state = format!("{cpu}/cpuidle/state{state}");
                fake.put(&format!("{state}/name"), "C\n");
                fake.put(&format!("{state}/latency"), latency);
                fake.put(&format!("{state}/disable"), "0\n");
            }
        }
        fake.put_nic();
        fake
    }

    fn put_nic(&self) {
        let nic = "sys/class/net/eth0";
        self.put(&format!("{nic}/device/numa_node"), "0\n");
        let mut interrupts = " CPU0 CPU1 CPU2 CPU3\n".to_owned();
        for queue in 0..4 {
            self.put(&format!("{nic}/queues/rx-{queue}/rps_cpus"), "0\n");
            self.put(
                &format!("{nic}/queues/tx-{queue}/xps_cpus"),
                "00000000,0000000f\n",
            );
            self.put(
                &format!("proc/irq/{}/smp_affinity_list", 30 + queue),
                "0-3\n",
            );
            interrupts += &format!(
                " {}: 1 2 3 4 PCI-MSI 1-edge eth0-TxRx-{queue}\n",
                30 + queue
            );
        }
        self.put("proc/interrupts", &interrupts);
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state/tune.json")
    }

    fn args(&self, more: &[&str]) -> TuneArgs {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let (config, state) = (text(self.folder.join("colchis.toml")), text(self.state()));
        let root = text(self.root());
        let mut words = vec![
            "tune", "--config", &config, "--state", &state, "--root", &root,
        ];
        words.extend(more);
        Cli::parse_from(words).args
    }

    fn try_run(&mut self, more: &[&str]) -> Result<(bool, String), TuneError> {
        let args = self.args(more);
        let root = Root::new(self.root());
        let mut out = Vec::new();
        let good = run(&args, &root, &mut self.tools, true, &mut out)?;
        Ok((good, String::from_utf8(out).unwrap()))
    }

    fn run(&mut self, more: &[&str]) -> (bool, serde_json::Value) {
        let words: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
        let (good, text) = self.try_run(&words).unwrap();
        (good, serde_json::from_str(&text).unwrap())
    }

    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        walk(&self.root(), &mut found);
        found
    }
}

fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => walk(&path, found),
            path => {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path, text);
            }
        }
    }
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: TuneArgs,
}

/// Every `how` of the settings at `status`.
fn hows(report: &serde_json::Value, status: &str) -> Vec<String> {
    let knobs = report["knobs"].as_array().unwrap().iter();
    let settings = knobs.flat_map(|knob| knob["settings"].as_array().unwrap());
    settings
        .filter(|setting| setting["status"] == status)
        .map(|setting| setting["how"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn nothing_is_changed_without_apply() {
    let mut fake = Fake::new("look");
    let (files, tools) = (fake.files(), fake.tools.clone());
    let (good, report) = fake.run(&[]);
    assert!(good);
    assert_eq!(report["profile"], "bare-metal");
    assert!(hows(&report, "change").len() > 20, "{report:#}");
    let (_, text) = fake.try_run(&[]).unwrap();
    assert!(text.contains("Nothing was changed"), "{text}");
    assert!((files, tools) == (fake.files(), fake.tools.clone()));
    assert!(!fake.state().exists());
}

#[test]
fn apply_changes_what_was_told_and_nothing_else() {
    let mut fake = Fake::new("apply");
    let mut files = fake.files();
    let (_, told) = fake.run(&[]);
    let told = hows(&told, "change");
    let (good, report) = fake.run(&["--apply"]);
    assert!(good, "{report:#}");
    assert_eq!(hows(&report, "changed"), told);
    let (writes, runs): (Vec<_>, Vec<_>) = told.iter().partition(|how| how.starts_with("write "));
    for how in writes {
        let (value, path) = how["write ".len()..].split_once(" to /").unwrap();
        let old = files.insert(fake.root().join(path), format!("{value}\n"));
        assert!(old.is_some(), "{path} was not there");
    }
    assert_eq!(fake.files(), files);
    assert_eq!(fake.tools.asked.iter().collect::<Vec<_>>(), runs);
    assert_eq!(fake.get("proc/irq/31/smp_affinity_list"), "2\n");
    assert_eq!(
        fake.get("proc/sys/net/core/wmem_max"),
        "9000000\n",
        "was right"
    );
    // All is right now: nothing is left to do.
    let asked = fake.tools.asked.len();
    let (good, report) = fake.run(&["--apply"]);
    assert!(good && hows(&report, "changed").is_empty(), "{report:#}");
    assert_eq!((fake.files(), fake.tools.asked.len()), (files, asked));
}

#[test]
fn revert_restores_byte_for_byte() {
    let mut fake = Fake::new("revert");
    let (mut files, tools) = (fake.files(), fake.tools.clone());
    assert!(fake.run(&["--apply"]).0);
    assert!(fake.state().exists());
    let (good, report) = fake.run(&["--revert"]);
    assert!(good, "{report:#}");
    // The kernel's file shows all choices and takes one; a plain file keeps that one.
    files.insert(fake.root().join(THP), "always\n".to_owned());
    assert_eq!(fake.files(), files);
    fake.tools.asked.clear();
    assert_eq!(fake.tools, tools);
    assert!(!fake.state().exists());
    let changes = report["changes"].as_array().unwrap();
    assert_eq!(changes[0]["knob"], "xps", "the last change first");
    let (good, report) = fake.run(&["--revert"]);
    assert!(good && report["note"].as_str().unwrap().contains("nothing to undo"));
}

#[test]
fn applying_twice_keeps_the_first_before() {
    let mut fake = Fake::new("twice");
    let governor = "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor";
    assert!(fake.run(&["--apply"]).0);
    fake.put(governor, "schedutil\n");
    assert!(fake.run(&["--apply"]).0);
    assert_eq!(fake.get(governor), "performance\n");
    assert!(fake.run(&["--revert"]).0);
    assert_eq!(fake.get(governor), "powersave\n");
}

#[test]
fn what_fails_is_told_and_the_others_go_on_and_back() {
    let mut fake = Fake::new("partly");
    // It takes what is written, and keeps nothing.
    let deaf = fake.root().join("proc/sys/net/core/netdev_budget");
    fs::remove_file(&deaf).unwrap();
    std::os::unix::fs::symlink("/dev/null", &deaf).unwrap();
    fake.tools.refused = vec!["-G", "udp6"];
    let (mut files, tools) = (fake.files(), fake.tools.clone());
    let (good, report) = fake.run(&["--apply"]);
    assert!(!good);
    assert_eq!(hows(&report, "failed").len(), 1 + 2 + 3, "{report:#}");
    assert!(report.to_string().contains("cure: "));
    assert_eq!(fake.get("proc/irq/31/smp_affinity_list"), "2\n");
    let (_, text) = fake.try_run(&[]).unwrap();
    assert!(text.contains("to change"), "{text}");
    let (good, report) = fake.run(&["--revert"]);
    assert!(good, "{report:#}");
    files.insert(fake.root().join(THP), "always\n".to_owned());
    assert_eq!(fake.files(), files);
    fake.tools.asked.clear();
    assert_eq!(fake.tools, tools);
}

#[test]
fn what_cannot_be_undone_stays_to_be_undone() {
    let mut fake = Fake::new("stays");
    let tools = fake.tools.clone();
    assert!(fake.run(&["--apply"]).0);
    fake.tools.refused = vec!["delete", "-G"];
    let (good, report) = fake.run(&["--revert"]);
    assert!(!good);
    let failed = report["changes"].as_array().unwrap().iter();
    assert_eq!(failed.filter(|c| c["status"] == "failed").count(), 6 + 2);
    assert_eq!(fake.get("proc/irq/31/smp_affinity_list"), "0-3\n");
    fake.tools.refused.clear();
    assert!(fake.run(&["--revert"]).0);
    fake.tools.asked.clear();
    assert_eq!(fake.tools, tools);
    assert!(!fake.state().exists());
}

#[test]
fn what_is_missing_is_no_error() {
    let mut fake = Fake::empty("missing");
    for words in [
        &[][..],
        &["--apply"],
        &["--profile", "bare-metal", "--apply"],
    ] {
        let (good, report) = fake.run(words);
        assert!(good, "{report:#}");
        assert!(hows(&report, "change").is_empty() && hows(&report, "failed").is_empty());
    }
    let (_, text) = fake.try_run(&[]).unwrap();
    assert!(
        text.contains("Not available here: socket-buffers"),
        "{text}"
    );
    assert!(text.contains("none found"), "{text}");
}

#[test]
fn after_a_boot_there_is_nothing_to_undo() {
    let mut fake = Fake::new("boot");
    assert!(fake.run(&["--apply"]).0);
    fake.put("proc/sys/kernel/random/boot_id", "second\n");
    let files = fake.files();
    let (good, report) = fake.run(&["--revert"]);
    assert!(good && report["note"].as_str().unwrap().contains("booted"));
    assert_eq!(fake.files(), files);
    assert!(!fake.state().exists());
}

#[test]
fn a_state_file_of_somebody_else_is_refused() {
    let mut fake = Fake::new("foreign");
    assert!(fake.run(&["--apply"]).0);
    let good = fs::read_to_string(fake.state()).unwrap();
    let bad = good.replace("/proc/irq/30/", "/proc/irq/../../etc/");
    assert_ne!(good, bad);
    for (text, word) in [
        (bad.as_str(), "nothing that `tune` changes"),
        ("{}", "missing"),
    ] {
        fs::write(fake.state(), text).unwrap();
        for what in ["--revert", "--apply"] {
            let error = fake.try_run(&[what]).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("cure: "), "{error}");
        }
    }
    fs::write(fake.state(), &good).unwrap();
    let others = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(fake.state(), others).unwrap();
    let error = fake.try_run(&["--revert"]).unwrap_err().to_string();
    assert!(error.contains("others may write"), "{error}");
}

#[test]
fn without_a_state_nothing_is_changed() {
    let mut fake = Fake::new("stateless");
    let files = fake.files();
    // A folder where the file should be: it can neither be read nor replaced.
    fs::create_dir_all(fake.state()).unwrap();
    assert!(fake.try_run(&["--apply"]).is_err());
    assert_eq!(fake.files(), files);
    assert!(fake.tools.asked.is_empty());
}

#[test]
fn two_at_a_time_are_refused() {
    let mut fake = Fake::new("busy");
    let files = fake.files();
    let held = Store::open(&fake.state()).unwrap();
    let error = fake.try_run(&["--apply"]).unwrap_err().to_string();
    assert!(error.contains("another `colchis tune`"), "{error}");
    assert_eq!(fake.files(), files);
    drop(held);
    assert!(fake.run(&["--apply"]).0);
}

#[test]
fn only_root_changes_a_host() {
    let fake = Fake::empty("root");
    for (words, ok) in [
        (&["--apply"][..], false),
        (&["--revert"], false),
        (&[], true),
    ] {
        let args = fake.args(words);
        assert_eq!(permit(&args, true, false).is_ok(), ok, "{words:?}");
        assert!(permit(&args, true, true).is_ok() && permit(&args, false, false).is_ok());
    }
    let error = permit(&fake.args(&["--apply"]), true, false).unwrap_err();
    assert!(error.to_string().contains("sudo"), "{error}");
    assert!(Cli::try_parse_from(["tune", "--config", "x", "--apply", "--revert"]).is_err());
    assert!(
        Cli::try_parse_from(["tune", "--apply"]).is_err(),
        "no configuration"
    );
    assert!(Cli::try_parse_from(["tune", "--revert"]).is_ok());
}

#[test]
fn cards_are_chosen_or_named() {
    let mut fake = Fake::new("cards");
    fake.put("sys/class/net/lo/mtu", "65536\n");
    fake.put("sys/class/net/bond0/mtu", "1500\n");
    assert!(
        fake.run(&[]).1["nic"]
            .as_str()
            .unwrap()
            .starts_with("eth0 ")
    );
    let (_, report) = fake.run(&["--nic", "bond0"]);
    assert!(
        report["notes"].to_string().contains("no hardware"),
        "{report:#}"
    );
    let error = fake.try_run(&["--nic", "eth9"]).unwrap_err().to_string();
    assert!(error.contains("bond0, eth0, lo"), "{error}");
}

#[test]
fn any_host_can_be_looked_at() {
    let fake = Fake::empty("here");
    fs::write(fake.folder.join("colchis.toml"), "").unwrap();
    let root = Root::new("/");
    let mut args = fake.args(&["--profile", "bare-metal"]);
    args.root = PathBuf::from("/");
    assert!(!args.apply && !args.revert, "this is the host itself");
    let mut out = Vec::new();
    let good = run(
        &args,
        &root,
        &mut HostTools::new(root.clone()),
        false,
        &mut out,
    );
    let text = String::from_utf8(out).unwrap();
    println!("{text}");
    assert!(good.unwrap() && text.contains("socket-buffers"), "{text}");
    assert!(!fake.state().exists());
}

#[test]
fn tools_of_a_root_are_its_own() {
    let fake = Fake::empty("tools");
    let argv = ["ethtool", "-k", "eth0"].map(str::to_owned);
    let mut tools = HostTools::new(Root::new(fake.root()));
    assert_eq!(
        tools.run(&argv),
        Err(ToolError::Missing("ethtool".to_owned()))
    );
    let place = fake.root().join("usr/sbin/ethtool");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/bin/echo", &place).unwrap();
    assert_eq!(tools.run(&argv).unwrap(), "-k eth0\n");
    fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink("/bin/false", &place).unwrap();
    let error = tools.run(&argv).unwrap_err().to_string();
    assert!(
        error.contains("exit status 1") && error.contains("cure: "),
        "{error}"
    );
}
