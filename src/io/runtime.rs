//! The process: what starts, in which order, and how it ends.
//!
//! Everything that can be refused is found out before anything listens: configuration, host, plan, ports, certificate.
//! Then shards, signalling and control start, each on its thread, and run until a signal ends them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use glommio::ExecutorJoinHandle;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::config::cores::ShardCores;
use crate::config::{Config, Ice, Media, UdpWay};
use crate::control::guest;
use crate::control::spec::codec_kind;
use crate::control::store::Store;
use crate::id::ShardId;
use crate::io::addresses;
use crate::io::channel;
use crate::io::clock::Clock;
use crate::io::control::ControlSetup;
use crate::io::executor::ExecutorError;
use crate::io::launch::Launch;
use crate::io::listener::{ListenError, PublicListener};
use crate::io::plan::{self, CorePlan, CoreWishes, PlanError};
use crate::io::preflight::{self, PreflightError};
use crate::io::shard::{self, ShardThread};
use crate::io::signalling::{self, SignallingThread, Site};
use crate::io::specs::ReadError;
use crate::io::tls::TlsError;
use crate::io::udp::probe::{self, Choice};
use crate::io::udp::{MediaSocket, UdpError};
use crate::io::{control, identity, report, tls};
use crate::limits::{SHARD_COMMANDS_MAX, SHARD_EVENTS_MAX, SIGNALLING_REQUESTS_MAX};
use crate::room::RoomConfig;
use crate::room::machine::MachineConfig;
use crate::shard::ShardConfig;
use crate::signalling::{RoomBook, SignallingSettings, Template};
use crate::transport::dtls::{DimplProvider, DtlsIdentity, DtlsSettings};
use crate::transport::turn::{IceServers, TurnAuth};

/// Exit status of a fault of our own (sysexits.h, EX_SOFTWARE).
pub(super) const EXIT_SOFTWARE: i32 = 70;

/// Why the server does not start. One line each, with the cure.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The host cannot run it.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The cores cannot be had.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A listener's port.
    #[error("{key}: {source}")]
    Listen {
        /// Configuration key.
        key: &'static str,
        /// What is wrong with it.
        source: ListenError,
    },
    /// A media port.
    #[error(transparent)]
    Udp(#[from] UdpError),
    /// More shards than ports.
    #[error("media.udp_port = {base}: {shards} shards need ports up to {base}+{}; at most 65535; cure: a lower port", shards - 1)]
    PortRange {
        /// First port.
        base: u16,
        /// How many are needed.
        shards: usize,
    },
    /// Certificate or key of the public listener.
    #[error("public.tls_cert, public.tls_key: {0}")]
    Tls(#[from] TlsError),
    /// The DTLS certificate.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// DTLS cannot be set up.
    #[error("DTLS: {0}")]
    Dtls(#[from] crate::transport::dtls::DtlsConfigError),
    /// An executor did not start.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// Control thread.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// Configuration or specs.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No file descriptors, no random source.
    #[error("{what}: {source}; cure: raise `ulimit -n`")]
    Io {
        /// What was being made.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// `colchis check`: everything of a start but the start. Ports are not bound: a server may be running.
///
/// # Errors
/// As [`run`].
pub fn check(launch: &Launch) -> Result<(), StartError> {
    let host = preflight::inspect()?;
    let plan = plan::plan(&wishes(&launch.config, launch.shards_min), &host.cores)?;
    load_tls(&launch.config)?;
    println!("configuration is good");
    report::host(&host, &plan);
    report::udp(&udp_way(&launch.config.media));
    report::warnings(&plan, &launch.config);
    Ok(())
}

/// Ports and certificate, all there before any thread is.
struct Bound {
    public: PublicListener,
    tls: Option<std::sync::Arc<rustls::ServerConfig>>,
    private: std::net::TcpListener,
    media: Vec<MediaSocket>,
    identity: DtlsIdentity,
}

/// Runs a server until a signal ends it.
pub fn run(launch: Launch) -> Result<(), StartError> {
    report::init_log(&launch.config.log.level);
    let host = preflight::inspect()?;
    let plan = plan::plan(&wishes(&launch.config, launch.shards_min), &host.cores)?;
    // A server that can be reached can also be stopped.
    let prepared = control::prepare()?;
    let udp = udp_way(&launch.config.media);
    let bound = bind(&launch.config, udp.way, plan.shards.len())?;
    let addresses = advertised(&launch.config.media, launch.dev_credential.is_some());
    report::start(&host, &plan, &launch, &bound.summary(), &addresses);
    report::udp(&udp);
    start(launch, &plan, bound, &addresses, prepared)
}

/// Cores that the configuration wishes for, with so many shards at least.
pub(super) fn wishes(config: &Config, shards_min: usize) -> CoreWishes {
    let cores = &config.cores;
    CoreWishes {
        signalling: cores.signalling,
        shards: match &cores.shards {
            ShardCores::Auto => None,
            ShardCores::List(list) => Some(list.clone()),
        },
        control: cores.control,
        shards_min,
    }
}

fn load_tls(config: &Config) -> Result<Option<std::sync::Arc<rustls::ServerConfig>>, StartError> {
    let public = &config.public;
    match (&public.tls_cert, &public.tls_key) {
        (Some(cert), Some(key)) => Ok(Some(tls::load(cert, key)?)),
        _ => Ok(None),
    }
}

fn bind(config: &Config, way: UdpWay, shards: usize) -> Result<Bound, StartError> {
    let tls = load_tls(config)?;
    let public =
        PublicListener::bind(config.public.listen).map_err(|source| StartError::Listen {
            key: "public.listen",
            source,
        })?;
    let private = control::bind(config.private.listen).map_err(|source| StartError::Listen {
        key: "private.listen",
        source,
    })?;
    Ok(Bound {
        public,
        tls,
        private,
        media: bind_media(config, way, shards)?,
        identity: identity::generate()?,
    })
}

/// How datagrams go: as configured, or as is cheapest here.
fn udp_way(media: &Media) -> Choice {
    match media.udp.pinned() {
        None => probe::choose(),
        Some(way) => Choice {
            way,
            reason: "configured".to_owned(),
        },
    }
}

fn bind_media(config: &Config, way: UdpWay, shards: usize) -> Result<Vec<MediaSocket>, StartError> {
    let (media, spin_us) = (&config.media, config.cores.spin_us);
    let range = StartError::PortRange {
        base: media.udp_port,
        shards,
    };
    if usize::from(media.udp_port) + shards > usize::from(u16::MAX) + 1 {
        return Err(range);
    }
    let mut sockets = Vec::with_capacity(shards);
    for index in 0..shards as u16 {
        let port = match media.udp_port {
            0 => 0,
            base => base + index,
        };
        let addr = SocketAddr::new(media.bind, port);
        let mut socket = MediaSocket::bind(addr, media.socket_buffer_bytes)?;
        socket.set_busy_poll(spin_us);
        match socket.set_way(way) {
            // Nobody has asked for this way: it was the cheapest while the measurement had it.
            Err(UdpError::Ring(error)) if media.udp.pinned().is_none() => {
                let (wanted, way) = (way.name(), socket.way().name());
                tracing::warn!(%error, shard = index, "no ring: datagrams go by `{way}`, not by `{wanted}`");
            }
            done => done?,
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

impl Bound {
    fn summary(&self) -> report::Ports {
        let port = |s: &MediaSocket| s.local_addr().map(|a| a.port()).unwrap_or_default();
        report::Ports {
            public: self.public.address(),
            private: self.private.local_addr().ok(),
            tls: self.tls.is_some(),
            media: self.media.iter().map(port).collect(),
        }
    }
}

/// Addresses clients are told: those configured, or the host's own.
fn advertised(media: &Media, dev: bool) -> Vec<IpAddr> {
    if !media.advertise.is_empty() {
        return media.advertise.clone();
    }
    if media.bind.is_unspecified() {
        return addresses::of_this_host(dev);
    }
    vec![media.bind]
}

/// Starts every thread, waits for the end, and ends them in order.
fn start(
    launch: Launch,
    plan: &CorePlan,
    bound: Bound,
    addresses: &[IpAddr],
    prepared: control::Prepared,
) -> Result<(), StartError> {
    let clock = Clock::start();
    let channels = |source| StartError::Io {
        what: "channels between cores",
        source,
    };
    let (event_link, events) = channel::channel(SHARD_EVENTS_MAX).map_err(channels)?;
    let (requests_link, requests) = channel::channel(SIGNALLING_REQUESTS_MAX).map_err(channels)?;
    let start = ShardStart {
        config: &launch.config,
        identity: &bound.identity,
        addresses,
        clock,
        events: event_link,
    };
    let (links, shards) = start_shards(bound.media, &plan.shards, &start)?;
    let (observer, reports) = control::reports();
    let config = launch.config;
    let url = client_url(&config, &bound.public);
    let rng = ChaCha20Rng::from_os_rng();
    let store = Store::new(config.timeouts.clone(), url, &launch.book, rng);
    let book = room_book(&store, launch.template, !launch.tokens.is_empty());
    let signalling = SignallingThread {
        listeners: vec![(bound.public, bound.tls)],
        site: Site {
            serve_page: config.public.page,
            dev_credential: launch.dev_credential,
            origins: config.public.origins.clone(),
        },
        settings: signalling_settings(&config),
        book,
        shards: links,
        events,
        requests,
        clock,
        observer,
    };
    let signalling = signalling::spawn(signalling, plan.signalling)?;
    let setup = ControlSetup {
        shards: plan.shards.len(),
        clock,
        reports,
        listener: bound.private,
        signalling: requests_link,
        store,
        tokens: launch.tokens,
        config,
        config_path: launch.config_path,
    };
    let control = control::spawn(setup, prepared)?;
    wait(signalling, shards);
    control.stop();
    Ok(())
}

/// What all shards are started with.
struct ShardStart<'a> {
    config: &'a Config,
    identity: &'a DtlsIdentity,
    addresses: &'a [IpAddr],
    clock: Clock,
    events: channel::EventLink,
}

type Shards = (Vec<channel::ShardLink>, Vec<ExecutorJoinHandle<()>>);

fn start_shards(
    sockets: Vec<MediaSocket>,
    cores: &[usize],
    start: &ShardStart<'_>,
) -> Result<Shards, StartError> {
    let mut links = Vec::new();
    let mut shards = Vec::new();
    for (index, (socket, core)) in sockets.into_iter().zip(cores).enumerate() {
        let channel = channel::channel(SHARD_COMMANDS_MAX);
        let (link, inbox) = channel.map_err(|source| StartError::Io {
            what: "channels between cores",
            source,
        })?;
        links.push(link);
        let socket_trains = socket.way().has_trains();
        let thread = ShardThread {
            config: shard_config(index, start, &socket)?,
            socket,
            inbox,
            events: start.events.clone(),
            clock: start.clock,
            spin: Duration::from_micros(u64::from(start.config.cores.spin_us)),
            huge_pages: start.config.media.huge_pages,
            equalize: start.config.media.equalize && socket_trains,
            rng: ChaCha20Rng::from_os_rng(),
        };
        shards.push(shard::spawn(thread, *core)?);
    }
    Ok((links, shards))
}

/// Rooms that are declared, and those made from a template.
fn room_book(store: &Store, template: Option<Template>, by_token: bool) -> RoomBook {
    let book = RoomBook::new(store.specs());
    match template {
        None => book,
        Some(template) if by_token => book.with_token_template(template),
        Some(template) => book.with_template(template),
    }
}

/// Where clients dial: as configured, or this listener.
fn client_url(config: &Config, listener: &PublicListener) -> String {
    if let Some(url) = &config.public.url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = match config.public.tls_cert.is_some() {
        true => "wss",
        false => "ws",
    };
    let mut address = listener.address();
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("{scheme}://{address}/ws")
}

fn wait(signalling: ExecutorJoinHandle<()>, shards: Vec<ExecutorJoinHandle<()>>) {
    // Signalling ends when a signal has come and the shards have closed their rooms.
    if signalling.join().is_err() {
        // Nobody would tell the shards to stop: end now, so that whatever watches the process starts it again.
        tracing::error!("the signalling core died; every session is gone, the process ends");
        std::process::exit(EXIT_SOFTWARE);
    }
    for shard in shards {
        if shard.join().is_err() {
            tracing::error!("a shard had died before the end");
        }
    }
}

fn shard_config(
    index: usize,
    start: &ShardStart<'_>,
    socket: &MediaSocket,
) -> Result<ShardConfig, StartError> {
    let ShardStart {
        config,
        identity,
        addresses,
        clock,
        ..
    } = start;
    let port = socket.local_addr().map_err(|source| StartError::Io {
        what: "media socket",
        source,
    })?;
    let settings = DtlsSettings {
        dtls13: config.dtls.dtls13,
        ..DtlsSettings::default()
    };
    let provider = DimplProvider::new(settings, identity, clock.anchor())?;
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(identity.fingerprint.bytes());
    Ok(ShardConfig {
        id: ShardId(index as u16),
        room: RoomConfig {
            fingerprint,
            candidates: addresses::candidates(addresses, port.port()),
            codecs: config.media.codecs.iter().map(codec_kind).collect(),
            ice_servers: ice_servers(&config.ice),
            members_max: config.limits.members_per_room,
        },
        machine: MachineConfig {
            dtls: Box::new(provider),
            handshakes_per_s: config.limits.handshakes_per_s,
        },
    })
}

fn signalling_settings(config: &Config) -> SignallingSettings {
    let (timeouts, limits) = (&config.timeouts, &config.limits);
    SignallingSettings {
        rpc: guest::rpc(timeouts),
        join_timeout_ms: timeouts.join_timeout_ms,
        sessions_max: limits.sessions,
        rooms_per_session_max: limits.rooms_per_session,
        rooms_per_shard_max: limits.rooms_per_shard,
        commands_per_s: limits.commands_per_s,
    }
}

fn ice_servers(ice: &Ice) -> IceServers {
    let auth = match (&ice.turn_secret, &ice.turn_username, &ice.turn_password) {
        (Some(secret), ..) => TurnAuth::Secret {
            secret: secret.clone(),
            ttl_s: ice.turn_ttl_s,
        },
        (None, Some(username), Some(password)) => TurnAuth::Fixed {
            username: username.clone(),
            password: password.clone(),
        },
        _ => TurnAuth::None,
    };
    IceServers {
        stun: ice.stun.clone(),
        turn: ice.turn.clone(),
        auth,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    use rustix::process::{Resource, getrlimit, setrlimit};

    use crate::config::UdpChoice;

    fn bound(udp: UdpChoice) -> Result<Vec<MediaSocket>, StartError> {
        let mut config = Config::default();
        config.media.bind = std::net::Ipv4Addr::LOCALHOST.into();
        config.media.udp_port = 0;
        config.media.udp = udp;
        bind_media(&config, UdpWay::Uring, 1)
    }

    #[test]
    fn a_measured_way_that_a_shard_cannot_have_is_not_insisted_on() {
        const CHILD: &str = "COLCHIS_TEST_WITHOUT_RINGS";
        if std::env::var_os(CHILD).is_none() {
            // In a process of its own: what it takes away, all of its threads miss.
            let name =
                "io::runtime::tests::a_measured_way_that_a_shard_cannot_have_is_not_insisted_on";
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let status = child.args(["--exact", name]).env(CHILD, "").status();
            assert!(status.unwrap().success());
            return;
        }
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut limit = getrlimit(Resource::Nofile);
        // Room for one descriptor, the socket's: none for a ring.
        limit.current = Some(socket.as_raw_fd() as u64 + 1);
        setrlimit(Resource::Nofile, limit).unwrap();
        drop(socket);
        let sockets = bound(UdpChoice::Auto).unwrap();
        assert_eq!(sockets[0].way(), UdpWay::Trains);
        drop(sockets);
        let error = bound(UdpChoice::Uring).unwrap_err();
        let StartError::Udp(UdpError::Ring(_)) = error else {
            panic!("{error}");
        };
    }
}
