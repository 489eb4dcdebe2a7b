//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bus::spec::P2pPolicy;
use crate::io::launch::{DevOptions, Launch};
use crate::io::load::{self, LoadArgs};
use crate::io::runtime;
use crate::io::tune::{self, TuneArgs};

/// Exit status of a fault the operator cures (sysexits.h, EX_CONFIG).
const EXIT_CONFIG: u8 = 78;

/// An open WebRTC SFU: one pinned thread per core, io_uring underneath.
#[derive(Debug, Parser)]
#[command(name = "colchis", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server with a call page, no configuration, every room open: to try it out.
    Dev(DevArgs),
    /// Run a configured server.
    Serve(ConfigArgs),
    /// Put load on a server with real clients, and see what they get.
    Load(Box<LoadArgs>),
    /// Check a configuration and this host, print the plan, and leave.
    Check(ConfigArgs),
    /// Look at this host, tell what to change for the server and why, and change it or undo it when asked.
    Tune(TuneArgs),
}

#[derive(Debug, Args)]
struct DevArgs {
    /// Address of the page. Browsers give camera and microphone to localhost and to HTTPS only.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of health and metrics.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    private_listen: SocketAddr,
    /// Shards to run. Default: one per core but signalling's, two at least.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: Option<u16>,
    /// UDP port of the first shard; the others follow. 0: any free ports.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    udp_port: u16,
    /// When members are connected with each other (a mesh), and the server carries signalling only.
    #[arg(long, value_enum, default_value_t = P2p::Never)]
    p2p: P2p,
}

/// Whether members are connected with each other.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum P2p {
    /// Never: always through the server.
    Never,
    /// While there are two in the room.
    IfPossible,
    /// Always.
    Always,
}

impl From<P2p> for P2pPolicy {
    fn from(p2p: P2p) -> P2pPolicy {
        match p2p {
            P2p::Never => P2pPolicy::Never,
            P2p::IfPossible => P2pPolicy::IfPossible,
            P2p::Always => P2pPolicy::Always,
        }
    }
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Configuration file, TOML; docs/config.md lists every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let told = |error: &dyn std::error::Error| error.to_string();
    let done = match cli.command {
        Command::Dev(args) => runtime::run(Launch::dev(&DevOptions {
            listen: args.listen,
            private_listen: args.private_listen,
            shards: args.shards.map(usize::from),
            udp_port: args.udp_port,
            p2p: args.p2p.into(),
        }))
        .map_err(|e| told(&e)),
        Command::Serve(args) => Launch::serve(&args.config)
            .map_err(Into::into)
            .and_then(runtime::run)
            .map_err(|e| told(&e)),
        Command::Check(args) => Launch::serve(&args.config)
            .map_err(Into::into)
            .and_then(|launch| runtime::check(&launch))
            .map_err(|e| told(&e)),
        Command::Load(args) => load::run(&args).map_err(|e| told(&e)),
        Command::Tune(args) => return tune::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("colchis: error: {error}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}
