//! A directory whose host name gets another address: found by its name, whenever a connection is made.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use gateway_tests::gateway::GatewayBuilder;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::pod::{Absent, Pod};
use gateway_tests::redis::RedisServer;
use gateway_tests::wire::Client;
use tempfile::NamedTempFile;

use super::set;
use crate::scene::{OK, builder, get, until};

/// A name that only the gateway's own hosts file has.
const NAME: &str = "registry.stories.test";

/// A hosts file of the gateway's own, in a mount namespace of its own.
struct Hosts(NamedTempFile);

impl Hosts {
    fn new(address: Ipv4Addr) -> Self {
        let hosts = Self(NamedTempFile::new().unwrap());
        hosts.point_to(address);
        hosts
    }

    /// Written in place: the gateway sees the same file.
    fn point_to(&self, address: Ipv4Addr) {
        let mut file = std::fs::File::create(self.0.path()).unwrap();
        writeln!(file, "{address} {NAME}").unwrap();
    }

    fn builder(&self) -> GatewayBuilder {
        let mounting = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        builder().through(["unshare", "--mount", "sh", "-c", mounting, self.0.path().to_str().unwrap()])
    }
}

fn lacks_what_it_needs() -> bool {
    is_missing(&[Need::Program("redis-server"), Need::Program("unshare"), Need::Root])
}

fn reached(gateway: &gateway_tests::gateway::Gateway, id: &str) -> u16 {
    Client::connect(gateway.addr()).unwrap().ask(get(&format!("/vnc/{id}/x"), "")).unwrap().status()
}

/// Trap 38: a stale replica stays behind, and the gateway goes to where the name leads now.
#[test]
fn a_redis_whose_name_has_moved_is_found_on_reconnect() {
    if lacks_what_it_needs() {
        return;
    }
    let pod = Pod::answering(OK).unwrap();
    let mut old = RedisServer::start().unwrap();
    let port = old.address().port();
    let new = RedisServer::start_at(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port)), &[]).unwrap();
    set(&old.url(), "1", pod.address());
    set(&new.url(), "2", pod.address());
    let hosts = Hosts::new(Ipv4Addr::LOCALHOST);
    let gateway = hosts.builder().redis(format!("redis://{NAME}:{port}/")).start().unwrap();
    until("the old server's sandbox", || reached(&gateway, "1") == 200);
    assert_eq!(reached(&gateway, "2"), 404);
    hosts.point_to(Ipv4Addr::new(127, 0, 0, 2));
    old.kill().unwrap();
    until("the new server's sandbox", || reached(&gateway, "2") == 200);
    assert_eq!(reached(&gateway, "1"), 404, "what the old one had is not believed");
    assert!(gateway.metric("gateway_redis_reconnects_total", &[]).unwrap() >= 1.0);
}

/// The same for a control plane, which is asked anew each time.
#[test]
fn a_control_plane_whose_name_has_moved_is_asked_there() {
    if lacks_what_it_needs() {
        return;
    }
    let pod = Pod::answering(OK).unwrap();
    let endpoint = pod.address();
    let serve = |address: SocketAddr, id: &'static str| {
        let absent = Absent::at(address).unwrap();
        let listening = absent.listen(move |request, connection| {
            let body = format!("{{\"endpoint\":\"{endpoint}\",\"ttl\":0}}");
            let known = request.target() == format!("/resolve/{id}");
            connection.send(if known { crate::scene::ok("", &body) } else { NOT_FOUND.to_owned() })
        });
        listening.unwrap()
    };
    let old = serve((Ipv4Addr::LOCALHOST, 0).into(), "1");
    let port = old.address().port();
    let _new = serve((Ipv4Addr::new(127, 0, 0, 2), port).into(), "2");
    let hosts = Hosts::new(Ipv4Addr::LOCALHOST);
    let url = format!("http://{NAME}:{port}/resolve/{{id}}");
    let gateway = hosts.builder().args(["--directory-url", &url]).start().unwrap();
    assert_eq!(reached(&gateway, "1"), 200);
    hosts.point_to(Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!((reached(&gateway, "2"), reached(&gateway, "1")), (200, 404));
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
