//! Faults of the real process (threats.md rule 10): a room's costs that room, a shard's its rooms, signalling's no media.
//!
//! The binary under test is built with the feature `faults`: a candidate named `fault:…` provokes one.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::call::pair;
use crate::client::{Client, Control, Options};
use crate::server::Server;

fn provoke(client: &Client, fault: &str) {
    let candidate =
        json!({"candidate": format!("fault:{fault}"), "sdp_m_line_index": null, "sdp_mid": null});
    client.command(|s| {
        json!({"command": "SetIceCandidate", "data": {"peer_id": s.peer, "candidate": candidate}})
    });
}

async fn wait_put_out(client: &Client) {
    client
        .wait("the end of the membership", |s| {
            s.signal.left.as_deref() == Some("InternalError")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule10_a_rooms_fault_costs_that_room_only() {
    let server = Server::start(1);
    let [one, two] = pair(&server, "r1", 1).await;
    let [three, four] = pair(&server, "r2", 3).await;
    provoke(&one, "room");
    wait_put_out(&one).await;
    wait_put_out(&two).await;
    three.wait_media(&four.name, 20).await;
    four.wait_media(&three.name, 20).await;
    three.assert_clean();
    four.assert_clean();
    assert_eq!(server.wait_metric(&["rooms_panicked"], |v| v > 0.0), 1.0);
    // The room can be had again.
    pair(&server, "r1", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule10_a_shards_fault_costs_its_rooms_and_it_comes_back() {
    let server = Server::start(2);
    let [one, two] = pair(&server, "r1", 1).await;
    let [three, four] = pair(&server, "r2", 3).await;
    let shards = [&one, &three].map(|c| c.look(|s| s.signal.shard));
    assert_ne!(shards[0], shards[1], "two rooms, two shards");
    let started = Instant::now();
    provoke(&one, "shard");
    wait_put_out(&one).await;
    wait_put_out(&two).await;
    let told = started.elapsed();
    let again = pair(&server, "r1", 5).await;
    let back = again[0].look(|s| s.signal.shard);
    println!(
        "members told after {told:?}, in a call again after {:?}, on shard {back:?}",
        started.elapsed()
    );
    assert!(told < Duration::from_secs(3), "members are told within 3 s");
    three.wait_media(&four.name, 20).await;
    four.wait_media(&three.name, 20).await;
    three.assert_clean();
    four.assert_clean();
    assert_eq!(server.wait_metric(&["shard_restarts"], |v| v > 0.0), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule10_a_fault_of_signalling_costs_no_media() {
    let server = Server::start(2);
    let [one, two] = pair(&server, "r1", 1).await;
    let [three, four] = pair(&server, "r2", 3).await;
    provoke(&one, "signalling");
    for client in [&one, &two, &three, &four] {
        client.wait("the cut", |s| s.closed.is_some()).await;
        let code = client.look(|s| s.closed.clone().flatten().map(|(code, _)| code));
        assert_eq!(code, Some(1012), "a code that clients come back from");
    }
    // Without any signalling, media goes on.
    one.wait_media(&two.name, 20).await;
    three.wait_media(&four.name, 20).await;
    for client in [&one, &two, &three, &four] {
        client.order(Control::Rejoin);
    }
    for client in [&one, &two, &three, &four] {
        client
            .wait("the reconnect", |s| {
                s.signal.joined == Some(true) && s.signal.state.is_some()
            })
            .await;
    }
    for (client, other) in [(&one, &two), (&two, &one), (&three, &four), (&four, &three)] {
        client.wait_media(&other.name, 20).await;
        client.assert_clean();
    }
    let handshakes = server.wait_metric(&["handshakes_completed"], |v| v >= 4.0);
    assert_eq!(handshakes, 4.0, "every transport stayed");
    assert_eq!(
        server.wait_metric(&["signalling_restarts"], |v| v > 0.0),
        1.0
    );
    // Somebody new gets in, and meets those who were there.
    let late = Client::join(Options::new(server.public, "r1", 7)).await;
    late.wait_media(&one.name, 10).await;
}
