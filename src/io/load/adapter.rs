//! How a load speaks with a server: rooms, joins, and what the server says of itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::LoadError;
use super::args::Plan;
use super::janus::Janus;
use super::signal::Socket;
use crate::load::colchis::{Signal, room_spec};
use crate::load::describe::{Describer, Remote, Sending};
use crate::load::report::ServerUse;
use crate::load::{Crowd, Seat};

/// Called whenever a negotiation has settled how to connect and what to send.
pub type Connect = Box<dyn Fn(Remote, Vec<Sending>)>;
/// A future of this thread.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A server's own way of signalling.
pub trait Adapter {
    /// Makes the rooms.
    fn prepare(&self, crowd: Crowd) -> Local<'_, Result<(), LoadError>>;
    /// Lets a client join and answers the server for as long as the future lives.
    fn talk(
        &self,
        seat: Seat,
        describer: Describer,
        connect: Connect,
    ) -> Local<'static, Result<(), LoadError>>;
    /// What the server says it has used since it started.
    fn server_use(&self) -> Local<'_, Option<ServerUse>>;
    /// Removes the rooms.
    fn clean(&self, crowd: Crowd) -> Local<'_, ()>;
}

/// The adapter of a plan.
pub fn of(plan: &Plan) -> Result<Rc<dyn Adapter>, LoadError> {
    Ok(match plan.janus {
        true => Rc::new(Janus::new(plan)?),
        false => Rc::new(Colchis::new(plan)?),
    })
}

/// Colchis: rooms by the Control API, members by its WebSocket protocol.
struct Colchis {
    url: String,
    address: SocketAddr,
    control: String,
    key: Option<String>,
    http: reqwest::Client,
    audio: bool,
    video: bool,
}

/// The address of a `ws://` URL.
pub fn address_of(url: &str) -> Result<SocketAddr, LoadError> {
    let wrong = |why: &str| LoadError::Options(format!("{url}: {why}"));
    let rest = url
        .strip_prefix("ws://")
        .ok_or_else(|| wrong("a ws:// URL is wanted; TLS is not spoken"))?;
    let host = rest.split('/').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        _ => format!("{host}:80"),
    };
    let found = std::net::ToSocketAddrs::to_socket_addrs(host.as_str());
    let mut found = found.map_err(|e| wrong(&e.to_string()))?;
    found.next().ok_or_else(|| wrong("it has no address"))
}

fn room(number: usize) -> String {
    format!("load-{number}")
}

impl Colchis {
    fn new(plan: &Plan) -> Result<Self, LoadError> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build();
        Ok(Self {
            url: plan.server.clone(),
            address: address_of(&plan.server)?,
            control: plan.control.clone(),
            key: plan.key.clone(),
            http: http.map_err(|e| LoadError::Options(e.to_string()))?,
            audio: plan.shapes.iter().any(|s| !s.is_video()),
            video: plan.shapes.iter().any(crate::load::shape::Shape::is_video),
        })
    }

    async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String, LoadError> {
        let url = format!("{}{path}", self.control);
        let call = format!("{method} {url}");
        let fault = |cause: String| LoadError::Control {
            call: call.clone(),
            cause,
        };
        let mut request = self.http.request(method, &url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.map_err(|e| fault(e.to_string()))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| fault(e.to_string()))?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(fault(format!("{status}: {text}")))
        }
    }
}

impl Adapter for Colchis {
    fn prepare(&self, crowd: Crowd) -> Local<'_, Result<(), LoadError>> {
        Box::pin(async move {
            for number in 0..crowd.rooms {
                let name = room(number);
                let spec = room_spec(&name, crowd, self.audio, self.video);
                let path = format!("/v1/rooms/{name}");
                self.call(reqwest::Method::PUT, &path, Some(&spec)).await?;
            }
            Ok(())
        })
    }

    fn talk(
        &self,
        seat: Seat,
        describer: Describer,
        connect: Connect,
    ) -> Local<'static, Result<(), LoadError>> {
        let (address, url) = (self.address, self.url.clone());
        Box::pin(async move {
            let mut socket = Socket::connect(address, &url, None).await?;
            let mut signal = Signal::new(&room(seat.room), &seat.member(), describer);
            socket.send(&signal.join("load")).await?;
            loop {
                let message = socket.next().await?;
                let event = &message["data"]["event"];
                if !event["event"].is_string() {
                    continue;
                }
                for command in signal.handle(event)? {
                    socket.send(&command).await?;
                }
                if let Some((remote, sending)) = signal.take_connection() {
                    let sending = signal.devices_of(sending);
                    connect(remote, sending);
                }
            }
        })
    }

    fn server_use(&self) -> Local<'_, Option<ServerUse>> {
        Box::pin(async move {
            let text = self.call(reqwest::Method::GET, "/metrics", None).await;
            text.ok().map(|text| read_metrics(&text))
        })
    }

    fn clean(&self, crowd: Crowd) -> Local<'_, ()> {
        Box::pin(async move {
            for number in 0..crowd.rooms {
                let path = format!("/v1/rooms/{}", room(number));
                // A server that has gone needs no cleaning.
                let _ = self.call(reqwest::Method::DELETE, &path, None).await;
            }
        })
    }
}

/// What counts here of the server's metrics.
fn read_metrics(text: &str) -> ServerUse {
    let lines = || text.lines().filter_map(|line| line.rsplit_once(' '));
    // Names come with or without labels.
    let values = |name: &'static str| {
        lines().filter_map(move |(key, value)| {
            let rest = key.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('{')).then(|| value.parse::<f64>().ok())?
        })
    };
    let sum = |name| values(name).sum::<f64>();
    let mut buckets = BTreeMap::new();
    for (key, value) in lines() {
        let bound = key.strip_prefix("colchis_shard_forward_seconds_bucket{le=\"");
        let Some((bound, _)) = bound.and_then(|rest| rest.split_once('"')) else {
            continue;
        };
        let us = bound
            .parse::<f64>()
            .map_or(u64::MAX, |s| (s * 1e6).round() as u64);
        *buckets.entry(us).or_insert(0) += value.parse::<u64>().unwrap_or(0);
    }
    ServerUse {
        cpu_s: sum("colchis_shard_cpu_seconds_total"),
        process_cpu_s: sum("process_cpu_seconds_total"),
        resident_bytes: sum("process_resident_memory_bytes") as u64,
        forwarded: sum("colchis_shard_packets_forwarded_total") as u64,
        datagrams: sum("colchis_shard_train_datagrams_sum") as u64,
        trains: sum("colchis_shard_train_datagrams_count") as u64,
        busy: values("colchis_shard_busy_ratio").fold(0.0, f64::max),
        forward_us: [0; 2],
        forward_buckets: buckets.into_iter().collect(),
    }
}
