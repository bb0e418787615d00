//! Ends that have agreed on different things with the gateway, or with each other.

use std::net::TcpStream;

use gateway_tests::bridge::Bridge;
use gateway_tests::wait::{PATIENCE, until};

use super::{Way, World, converse, part, ways};

/// Each option that one end may lack, on either side. Where both connections are to become one they must have agreed on
/// the same, so such a stream is refused, with the reason, and goes on as before.
#[test]
fn an_end_without_an_option_is_served_as_well() {
    const BYTES: usize = 256 << 10;
    for way in ways() {
        let Way::Gateway(path) = way else { continue };
        let world = way.start(|_| ());
        let World::Gateway(bridge) = &world else { continue };
        let hosts = world.hosts();
        for option in ["ipv4/tcp_timestamps", "ipv4/tcp_sack", "ipv4/tcp_window_scaling"] {
            for host in [&hosts.client, &hosts.pod] {
                host.set(option, "0").unwrap();
                let refused = refused(bridge);
                let ends = if path.engine == "packet" { bridge.stream_at_once() } else { bridge.stream() }.unwrap();
                converse(&ends, 3, BYTES);
                if path.engine == "packet" {
                    let is_refused = || (self::refused(bridge) > refused).then_some(());
                    until("the stream to be refused", PATIENCE, is_refused).unwrap();
                    let stream = stream_of(bridge, &ends.client);
                    assert_eq!(stream["engine"], "copy", "{way:?}, without {option}: {stream}");
                    converse(&ends, 4, BYTES);
                }
                part(ends);
                host.set(option, "1").unwrap();
            }
        }
        if path.engine == "packet" {
            assert_eq!(bridge.promoted().unwrap(), 0.0, "{way:?}");
        }
    }
}

/// How often a stream was refused for what its connections had agreed on.
fn refused(bridge: &Bridge) -> f64 {
    let reason = [("reason", "options")];
    bridge.gateway.metric("gateway_stream_promotions_refused_total", &reason).unwrap_or_default()
}

/// The stream of this client, as the gateway lists it.
fn stream_of(bridge: &Bridge, client: &TcpStream) -> serde_json::Value {
    let client = client.local_addr().unwrap().to_string();
    let streams = bridge.gateway.streams().unwrap();
    streams.into_iter().find(|stream| stream["client"] == *client).expect("the stream is there")
}
