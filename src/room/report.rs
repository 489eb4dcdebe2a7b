//! What clients report of their connections: whether one has failed, and in a mesh, of whose media the server sees none,
//! how well two members are connected.
//!
//! Of a report (`RtcStats`, names and units of the W3C page *webrtc-stats*) only what the score needs is read; stats of
//! any other type, unknown ones, and fields that are no numbers are passed over.

use std::time::Duration;

use serde_json::Value;

use crate::bus::client::ConnectionQualityScore;
use crate::limits::STATS_PER_REPORT_MAX;
use crate::room::quality::{Counted, score};

/// Longest round trip and jitter believed, s: a client may say anything.
const SECONDS_MAX: f64 = 60.0;

/// What one end has reported of what comes to it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reported {
    rtt: Option<Duration>,
    counted: Counted,
    /// As told.
    score: Option<ConnectionQualityScore>,
}

/// Sums of one report.
#[derive(Debug, Default)]
struct Sums {
    rtt: Option<Duration>,
    jitter: Duration,
    packets: u64,
    lost: u64,
    inbound: bool,
}

impl Reported {
    /// Takes a report in. The score, if it is another than was told.
    pub fn handle(&mut self, metrics: &Value) -> Option<ConnectionQualityScore> {
        let sums = read(metrics.get("RtcStats")?.as_array()?);
        self.rtt = sums.rtt.or(self.rtt);
        if !sums.inbound {
            return None;
        }
        let loss = self.counted.loss_percent(sums.packets, sums.lost)?;
        let now = score(self.rtt?, sums.jitter, loss);
        let changed = self.score != Some(now);
        self.score = Some(now);
        changed.then_some(now)
    }
}

/// Whether a report of a client says that its connection has failed, or works; `None`: neither.
pub(super) fn connection_failed(metrics: &Value) -> Option<bool> {
    let state = metrics
        .get("PeerConnectionState")
        .or_else(|| metrics.get("IceConnectionState"))?;
    match state.as_str()? {
        "Failed" => Some(true),
        "Connected" | "Completed" => Some(false),
        _ => None,
    }
}

fn read(stats: &[Value]) -> Sums {
    let mut sums = Sums::default();
    for stat in stats.iter().take(STATS_PER_REPORT_MAX) {
        match stat.get("type").and_then(Value::as_str) {
            Some("inbound-rtp") => {
                sums.inbound = true;
                sums.packets = sums.packets.saturating_add(count(stat, "packetsReceived"));
                sums.lost = sums.lost.saturating_add(count(stat, "packetsLost"));
                let jitter = seconds(stat, "jitter").unwrap_or_default();
                sums.jitter = sums.jitter.max(jitter);
            }
            // Several may be there, of which one carries media.
            Some("candidate-pair") => {
                let rtt = seconds(stat, "currentRoundTripTime");
                if rtt.is_some() && stat.get("nominated") != Some(&Value::Bool(false)) {
                    sums.rtt = rtt;
                }
            }
            Some("remote-inbound-rtp") if sums.rtt.is_none() => {
                sums.rtt = seconds(stat, "roundTripTime");
            }
            _ => {}
        }
    }
    sums
}

/// A number that is not negative: lost packets may be, when some came twice.
fn count(stat: &Value, key: &str) -> u64 {
    let value = stat.get(key);
    // Clients write whole numbers of any size, some as fractions.
    let number = value.and_then(|v| v.as_u64().or(v.as_f64().map(|f| f.max(0.0) as u64)));
    number.unwrap_or(0)
}

fn seconds(stat: &Value, key: &str) -> Option<Duration> {
    let value = stat.get(key)?.as_f64()?;
    (0.0..=SECONDS_MAX)
        .contains(&value)
        .then(|| Duration::from_secs_f64(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use medea_client_api_proto::stats as oracle;
    use serde_json::json;

    fn report(received: u64, lost: i64, jitter: f64, rtt: f64) -> Value {
        json!({"RtcStats": [
            {"id": "I1", "timestamp": 1.5, "type": "inbound-rtp", "kind": "audio", "packetsReceived": received,
             "packetsLost": lost, "jitter": jitter},
            {"id": "P1", "timestamp": 1.5, "type": "candidate-pair", "state": "succeeded", "nominated": true,
             "currentRoundTripTime": rtt},
            {"id": "P2", "timestamp": 1.5, "type": "candidate-pair", "nominated": false, "currentRoundTripTime": 9},
            {"id": "X", "type": "something-new", "fields": {"of": ["any", "kind"]}},
            "no object", 7, null
        ]})
    }

    #[test]
    fn changes_of_what_comes_are_told_once() {
        let mut end = Reported::default();
        let first = end.handle(&report(100, 0, 0.002, 0.02));
        assert_eq!(first, Some(ConnectionQualityScore::High));
        assert_eq!(end.handle(&report(200, 0, 0.002, 0.02)), None, "the same");
        let worse = end.handle(&report(300, 30, 0.002, 0.02));
        assert_eq!(
            worse,
            Some(ConnectionQualityScore::Poor),
            "a quarter is lost"
        );
        assert_eq!(end.handle(&report(305, 35, 0.002, 0.02)), None, "too few");
        let well = end.handle(&report(400, 35, 0.002, 0.02));
        assert!(well > worse, "{well:?}");
    }

    /// One of each type that Client API 0.10 knows, two of some, as its own crate writes them.
    fn everything(received: u64, lost: i64) -> Value {
        let stats = json!([
            {"type": "codec", "payloadType": 111, "transportId": "T1", "mimeType": "audio/opus", "clockRate": 48_000},
            {"type": "inbound-rtp", "kind": "audio", "mediaType": "audio", "ssrc": u32::MAX, "mid": "0",
             "packetsReceived": received, "packetsLost": lost, "jitter": 0.002, "totalSamplesReceived": u64::MAX,
             "audioLevel": 0.25},
            {"type": "inbound-rtp", "kind": "video", "mediaType": "video", "ssrc": 1, "packetsReceived": received,
             "packetsLost": 0, "jitter": 0.001, "framesDecoded": 7, "frameWidth": 640, "powerEfficientDecoder": false},
            {"type": "outbound-rtp", "kind": "audio", "mediaType": "audio", "ssrc": 2, "packetsSent": u64::MAX,
             "bytesSent": u64::MAX},
            {"type": "outbound-rtp", "kind": "video", "mediaType": "video", "ssrc": 3, "packetsSent": 9, "rid": "f",
             "qualityLimitationReason": "bandwidth", "framesPerSecond": 29.97},
            {"type": "remote-inbound-rtp", "kind": "audio", "ssrc": 2, "roundTripTime": 0.03, "fractionLost": 0.5,
             "packetsLost": -3},
            {"type": "remote-outbound-rtp", "kind": "audio", "ssrc": 4, "reportsSent": u64::MAX, "remoteTimestamp": 1e15},
            {"type": "media-source", "kind": "audio", "trackIdentifier": "m", "audioLevel": 0.1},
            {"type": "media-source", "kind": "video", "width": 640, "height": 480, "framesPerSecond": 30.0},
            {"type": "media-playout", "synthesizedSamplesEvents": 1, "totalPlayoutDelay": 0.5},
            {"type": "peer-connection", "dataChannelsOpened": 0, "dataChannelsClosed": 0},
            {"type": "data-channel", "label": "chat", "state": "open", "messagesSent": 1},
            {"type": "transport", "packetsSent": 5, "dtlsState": "connected", "iceRole": "controlling", "dtlsRole": "client",
             "iceState": "connected", "selectedCandidatePairId": "P", "srtpCipher": "AEAD_AES_128_GCM"},
            {"type": "candidate-pair", "transportId": "T1", "state": "succeeded", "nominated": true,
             "currentRoundTripTime": 0.02, "availableOutgoingBitrate": 3e5},
            {"type": "local-candidate", "address": "192.0.2.1", "port": 9, "protocol": "udp", "candidateType": "host"},
            {"type": "remote-candidate", "address": "192.0.2.2", "port": 9, "protocol": "udp", "candidateType": "relay",
             "relayProtocol": "tls", "tcpType": "so"},
            {"type": "certificate", "fingerprint": "AB:CD", "fingerprintAlgorithm": "sha-256", "base64Certificate": "AAAA"},
            {"type": "not-known-yet"},
        ]);
        let mut types = std::collections::HashSet::new();
        let theirs = stats
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(n, stat)| {
                let mut stat = stat.clone();
                stat["id"] = json!(format!("S{n}"));
                stat["timestamp"] = json!(1.5e12 + n as f64 / 3.0);
                let theirs: oracle::RtcStat = serde_json::from_value(stat.clone()).expect("a stat");
                types.insert(std::mem::discriminant(&theirs.stats));
                theirs
            });
        let metrics = medea_client_api_proto::PeerMetrics::RtcStats(theirs.collect());
        assert_eq!(types.len(), 15, "every type, and what is none");
        let command = medea_client_api_proto::Command::AddPeerConnectionMetrics {
            peer_id: medea_client_api_proto::PeerId(7),
            metrics,
        };
        let text = serde_json::to_string(&command).expect("JSON");
        match serde_json::from_str(&text).expect("our command") {
            crate::bus::client::Command::AddPeerConnectionMetrics { metrics, .. } => metrics,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn statistics_of_every_type_are_taken_and_the_right_ones_read() {
        let mut end = Reported::default();
        let first = end.handle(&everything(100, 0));
        assert_eq!(first, Some(ConnectionQualityScore::High));
        assert_eq!(
            end.rtt,
            Some(Duration::from_millis(20)),
            "of the pair in use"
        );
        let worse = end.handle(&everything(200, 60));
        assert_eq!(worse, Some(ConnectionQualityScore::Poor));
        assert_eq!(connection_failed(&everything(1, 0)), None);
    }

    #[test]
    fn whatever_a_client_says_is_survived() {
        for metrics in [
            json!(null),
            json!({"RtcStats": "none"}),
            json!({"RtcStats": [{"type": 7}, {"type": "inbound-rtp"}]}),
            report(u64::MAX, i64::MIN, -1.0, 1e300),
            report(u64::MAX, i64::MAX, 1e9, 0.1),
            json!({"RtcStats": [{"type": "inbound-rtp", "packetsReceived": 1e30, "packetsLost": "x"}]}),
        ] {
            let mut end = Reported::default();
            end.handle(&metrics);
            end.handle(&report(u64::MAX, 0, 0.0, 0.0));
            end.handle(&metrics);
        }
    }
}
