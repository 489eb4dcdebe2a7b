//! Starting, and not starting: where the host or the configuration is at fault, one line says what and how to cure it
//! (threats.md rule 13), with exit status 78 and never a backtrace; where it can run with less, it runs.
//!
//! Faults that only root can arrange are arranged through `setpriv`, `prlimit` and `taskset`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

#[path = "support/process.rs"]
mod process;

use process::{free_address, wait_listening};

const BINARY: &str = env!("CARGO_BIN_EXE_colchis");
/// Exit status of a fault the operator cures.
const EXIT_CONFIG: i32 = 78;

/// A directory of its own for one test, where also an unprivileged user can read and run things.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path =
            std::env::temp_dir().join(format!("colchis-startup-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        Scratch(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The binary where everybody may run it.
    fn binary(&self) -> String {
        let path = self.0.join("colchis");
        fs::copy(BINARY, &path).expect("a copy of the binary");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs to the end, at most 20 s.
fn run(command: &mut Command) -> Output {
    let child = command
        .env("RUST_BACKTRACE", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{command:?} still runs after 20 s: it started where it should have refused");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("output")
}

/// One line on stderr that holds every word, exit status 78, no backtrace.
fn assert_refused(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(EXIT_CONFIG), "{stderr}");
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|l| l.starts_with("colchis: error:"))
        .collect();
    assert_eq!(errors.len(), 1, "one line says what is wrong: {stderr}");
    assert_eq!(
        stderr.lines().count(),
        1,
        "and nothing else is said: {stderr}"
    );
    for word in words {
        assert!(
            errors[0].contains(word),
            "{word:?} is not in {:?}",
            errors[0]
        );
    }
    assert!(
        !stderr.contains("panicked") && !stderr.contains("backtrace"),
        "{stderr}"
    );
}

fn serve(config: &str) -> Output {
    run(Command::new(BINARY).args(["serve", "--config", config]))
}

/// Listeners on free ports, so that only the fault under test is one.
fn config_with(extra: &str) -> String {
    let mut sections: Vec<(&str, String)> = vec![
        ("public", "listen = \"127.0.0.1:0\"\n".to_owned()),
        ("private", "listen = \"127.0.0.1:0\"\n".to_owned()),
        ("media", "bind = \"127.0.0.1\"\nudp_port = 0\n".to_owned()),
    ];
    let mut rest = String::new();
    for part in extra.split("[").filter(|p| !p.trim().is_empty()) {
        let (name, keys) = part.split_once(']').expect("[section] keys");
        match sections.iter_mut().find(|(n, _)| *n == name) {
            // A key given twice would be another fault.
            Some((_, text)) => {
                for key in keys.lines().filter(|l| !l.trim().is_empty()) {
                    let name = key.split('=').next().unwrap_or("").trim();
                    let kept: Vec<&str> = text
                        .lines()
                        .filter(|l| l.split('=').next().unwrap_or("").trim() != name)
                        .collect();
                    *text = format!("{}\n{key}\n", kept.join("\n"));
                }
            }
            None => rest.push_str(&format!("[{name}]{keys}\n")),
        }
    }
    let known: String = sections
        .iter()
        .map(|(name, text)| format!("[{name}]\n{text}"))
        .collect();
    known + &rest
}

/// Faults a key has by itself, and what the message must name.
fn faults_of_keys() -> Vec<(String, Vec<&'static str>)> {
    vec![
        (
            "[media]\nudp_prot = 5\n".to_owned(),
            vec!["udp_prot", "udp_port"],
        ),
        ("[meda]\n".to_owned(), vec!["meda", "media"]),
        (
            "[media]\nudp_port = \"high\"\n".to_owned(),
            vec!["udp_port"],
        ),
        ("[media]\nudp_port = 70000\n".to_owned(), vec!["udp_port"]),
        (
            "[media]\nudp_port = 65535\n[cores]\nshards = \"auto\"\n".to_owned(),
            vec![],
        ),
        (
            "[cores]\nsignalling = 999\n".to_owned(),
            vec!["cores.signalling", "999"],
        ),
        (
            "[cores]\nshards = \"900\"\n".to_owned(),
            vec!["cores.shards", "900"],
        ),
        ("[cores]\nshards = \"x\"\n".to_owned(), vec!["shards"]),
        (
            "[timeouts]\nidle_timeout_ms = 10\n".to_owned(),
            vec!["idle_timeout_ms", "ping_interval_ms"],
        ),
        (
            "[rooms]\nspecs = \"/does/not/exist\"\n".to_owned(),
            vec!["/does/not/exist", "cure"],
        ),
        (
            "[public]\nlisten = \"192.0.2.77:1\"\n".to_owned(),
            vec!["public.listen", "192.0.2.77", "cure"],
        ),
    ]
}

#[test]
fn faults_of_the_configuration_are_named_with_their_cure() {
    let scratch = Scratch::new("config");
    let no_key = scratch.file(
        "not-a-key.pem",
        "-----BEGIN NONSENSE-----\nAAAA\n-----END NONSENSE-----\n",
    );
    let certificate =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
    let certificate = scratch.file("cert.pem", &certificate.cert.pem());
    let other =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
    let other_key = scratch.file("other.pem", &other.signing_key.serialize_pem());
    let missing = scratch
        .0
        .join("nowhere.pem")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    let specs = scratch.0.join("rooms");
    fs::create_dir_all(&specs).expect("a directory");
    fs::write(specs.join("bad.yaml"), "kind: Room\nid: [\n").expect("a file");
    let tls =
        |cert: &str, key: &str| format!("[public]\ntls_cert = \"{cert}\"\ntls_key = \"{key}\"\n");
    let mut table = faults_of_keys();
    table.extend([
        (tls(&missing, &missing), vec!["nowhere.pem", "cure"]),
        (tls(&certificate, &no_key), vec!["not-a-key.pem", "cure"]),
        (tls(&certificate, &other_key), vec!["cure"]),
        (
            format!("[rooms]\nspecs = \"{}\"\n", specs.display()),
            vec!["bad.yaml"],
        ),
    ]);
    for (extra, words) in table {
        if extra.contains("65535")
            && std::thread::available_parallelism().map_or(1, usize::from) < 3
        {
            continue; // One shard fits one port.
        }
        let text = config_with(&extra);
        let file = scratch.file("colchis.toml", &text);
        let output = serve(&file);
        assert_refused(&output, &words);
        // A fault inside the file names the file and the line.
        let stderr = String::from_utf8_lossy(&output.stderr);
        if extra.contains("udp_prot") {
            let line = text
                .lines()
                .position(|l| l.contains("udp_prot"))
                .expect("the key")
                + 1;
            assert!(stderr.contains(&format!("colchis.toml:{line}")), "{stderr}");
        }
    }
    assert_refused(&serve(&missing), &["nowhere.pem", "cure"]);
}

#[test]
fn taken_ports_are_named() {
    let scratch = Scratch::new("ports");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let tcp_address = tcp.local_addr().expect("bound").to_string();
    let udp_port = udp.local_addr().expect("bound").port().to_string();
    let table = [
        (
            format!("[public]\nlisten = \"{tcp_address}\"\n"),
            vec!["public.listen", &tcp_address, "cure"],
        ),
        (
            format!("[private]\nlisten = \"{tcp_address}\"\n"),
            vec!["private.listen", &tcp_address, "cure"],
        ),
        (
            format!("[media]\nudp_port = {udp_port}\n"),
            vec!["media", &udp_port],
        ),
    ];
    for (extra, words) in table {
        let file = scratch.file("colchis.toml", &config_with(&extra));
        assert_refused(&serve(&file), &words);
    }
    assert_refused(
        &run(Command::new(BINARY).args(["dev", "--listen", &tcp_address])),
        &[&tcp_address, "cure"],
    );
}

#[test]
fn too_little_locked_memory_is_named() {
    if !is_root() {
        return; // Only root can take the right to raise the limit away.
    }
    let scratch = Scratch::new("memlock");
    let binary = scratch.binary();
    let unprivileged = [
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--inh-caps=-all",
    ];
    let mut command = Command::new("prlimit");
    command
        .args(["--memlock=65536:65536", "setpriv"])
        .args(unprivileged);
    command.args([&binary, "dev", "--listen", "127.0.0.1:0"]);
    assert_refused(&run(&mut command), &["memlock", "65536", "ulimit -l"]);
}

fn is_root() -> bool {
    // SAFETY: reads the effective user id; it cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// A server that started: what it printed until its page answered.
struct Started {
    child: Child,
    address: String,
    printed: String,
}

impl Started {
    fn new(command: &mut Command) -> Started {
        let listens = free_address();
        let address = listens.to_string();
        command.args(["dev", "--listen", &address]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
        wait_listening(&mut child, &[listens]);
        let mut printed = String::new();
        // The report is printed before anything listens; the page's address is its last needed word.
        while let Ok(line) = receiver.recv_timeout(Duration::from_millis(500)) {
            printed.push_str(&line);
        }
        Started {
            child,
            address,
            printed,
        }
    }

    fn page(&self) -> String {
        use std::io::Write;
        let mut stream = TcpStream::connect(&self.address).expect("listening");
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        )
        .expect("write");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("the page");
        page
    }

    /// SIGTERM, and the exit status of the end.
    fn stop(mut self) -> Option<i32> {
        terminate(&mut self.child)
    }
}

fn terminate(child: &mut Child) -> Option<i32> {
    // SAFETY: a plain system call; the child has not been waited for, so the id is its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        assert!(
            Instant::now() < deadline,
            "SIGTERM did not end the server within 10 s"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn runs_for_anybody_and_says_where_the_page_is() {
    let scratch = Scratch::new("anybody");
    let mut command = if is_root() {
        // Neither root nor any capability, and no namespaces to make.
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["--inh-caps=-all", "--no-new-privs"]);
        command.arg(scratch.binary());
        command
    } else {
        Command::new(BINARY)
    };
    let server = Started::new(&mut command);
    assert!(
        server.page().starts_with("HTTP/1.1 200"),
        "{}",
        server.page()
    );
    assert!(
        server.printed.contains(&server.address),
        "the page's address is printed: {}",
        server.printed
    );
    assert!(server.printed.contains("io_uring"), "{}", server.printed);
    assert!(
        server.printed.to_lowercase().contains("signalling"),
        "the core plan is printed: {}",
        server.printed
    );
    assert_eq!(server.stop(), Some(0), "SIGTERM ends it cleanly");
}

#[test]
fn runs_on_one_core_and_says_that_roles_share_it() {
    let core = (0..256).find(|core| {
        let probe = Command::new("taskset")
            .args(["-c", &core.to_string(), "true"])
            .stderr(Stdio::null())
            .status();
        probe.is_ok_and(|s| s.success())
    });
    let core = core
        .expect("taskset, and a core this process may use")
        .to_string();
    let mut command = Command::new("taskset");
    command.args(["-c", &core, BINARY]);
    let server = Started::new(&mut command);
    assert!(server.page().starts_with("HTTP/1.1 200"));
    assert!(
        server.printed.to_lowercase().contains("share"),
        "shared cores are told: {}",
        server.printed
    );
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_signal_at_the_moment_it_listens_ends_it_as_cleanly_as_any() {
    for _ in 0..10 {
        let listens = free_address();
        let mut command = Command::new(BINARY);
        command.args(["dev", "--listen", &listens.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        while TcpStream::connect(listens).is_err() {
            assert_eq!(child.try_wait().expect("a child"), None, "it starts");
        }
        assert_eq!(terminate(&mut child), Some(0));
    }
}
