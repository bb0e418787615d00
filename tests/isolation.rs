//! What one sandbox leaves behind, and what its neighbours notice of it: nothing.

mod ended;
mod neighbours;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use gateway_tests::dns::Dns;
use gateway_tests::gateway::{Gateway, GatewayBuilder};
use gateway_tests::pod::{Absent, Gate, Pod};
use gateway_tests::redis::RedisServer;
use gateway_tests::wire::{Client, End};

use crate::control_plane::Said;
use crate::scene::{OK, builder, get, until};

/// The cluster's name of the sandbox that the DNS places.
const NAME: &str = "1.default.svc.cluster.local";

/// A pod whose connections say how they ended: `true` is by a reset.
struct Tenant {
    pod: Pod,
    resets: Arc<Mutex<Vec<bool>>>,
    /// Lets `/held` and `/begun` come to their ends.
    gate: Gate,
}

impl Tenant {
    /// At `127.0.0.last`, and at the port given unless that is 0.
    fn at(last: u8, port: u16) -> Self {
        let absent = Absent::at((Ipv4Addr::new(127, 0, 0, last), port).into()).unwrap();
        let (resets, gate) = (Arc::new(Mutex::new(Vec::new())), Gate::default());
        let noted = (Arc::clone(&resets), gate.clone());
        let pod = absent.listen(move |request, connection| {
            let (resets, gate) = &noted;
            match request.target() {
                "/held" => gate.pass()?,
                "/begun" => {
                    connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")?;
                    gate.pass()?;
                    connection.send("0\r\n\r\n")?;
                }
                _ => {}
            }
            if request.target() != "/begun" {
                connection.send(OK)?;
            }
            let (_, end) = connection.end()?;
            resets.lock().unwrap().push(end == End::Reset);
            Ok(())
        });
        Self { pod: pod.unwrap(), resets, gate }
    }

    fn resets(&self) -> Vec<bool> {
        self.resets.lock().unwrap().clone()
    }
}

/// Who says where sandbox 1 is.
enum Book {
    Redis(RedisServer),
    ControlPlane(Said, Pod),
    Dns(Dns),
}

impl Book {
    fn redis() -> Self {
        Self::Redis(RedisServer::start().unwrap())
    }

    fn control_plane() -> Self {
        let said = Said::default();
        let serving = said.serve();
        Self::ControlPlane(said, serving)
    }

    fn dns() -> Self {
        Self::Dns(Dns::start().unwrap())
    }

    fn start(&self) -> Gateway {
        let gateway = self.builder().start().unwrap();
        until("the directory to be there", || gateway.readiness().unwrap() == 200);
        gateway
    }

    fn builder(&self) -> GatewayBuilder {
        match self {
            Self::Redis(server) => builder().redis(server.url()),
            Self::ControlPlane(_, serving) => {
                builder().args(["--directory-url", &format!("http://{}/resolve/{{id}}", serving.address())])
            }
            Self::Dns(server) => {
                let asked =
                    ["--dns-server", &server.address().to_string(), "--dns-negative-ttl", "100ms"].map(String::from);
                builder().args(["--source", "header", "--allow-unauthenticated", "true"]).args(asked)
            }
        }
    }

    fn place(&self, pod: &Pod) {
        match self {
            Self::Redis(server) => {
                let mut manager = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
                let place = pod.address().to_string();
                let () = redis::Commands::hset(&mut manager, "vnc_sandboxes", "Sandbox_ID_1", place).unwrap();
            }
            Self::ControlPlane(said, _) => said.place("1", pod, 1),
            Self::Dns(server) => {
                let std::net::IpAddr::V4(address) = pod.address().ip() else { unreachable!("pods are on 127.0.0.0/8") };
                server.set(NAME, address, 1);
            }
        }
    }

    fn remove(&self) {
        match self {
            Self::Redis(server) => {
                let mut manager = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
                let () = redis::Commands::hdel(&mut manager, "vnc_sandboxes", "Sandbox_ID_1").unwrap();
            }
            Self::ControlPlane(said, _) => said.say("1", 410, ""),
            Self::Dns(server) => server.remove(NAME),
        }
    }

    /// A GET of sandbox 1, whose pod listens on `port`.
    fn get(&self, target: &str, port: u16, fields: &str) -> String {
        match self {
            Self::Redis(_) | Self::ControlPlane(..) => get(&format!("/vnc/1{target}"), fields),
            Self::Dns(_) => get(target, &format!("X-Sandbox-ID: 1\r\nX-Sandbox-Port: {port}\r\n{fields}")),
        }
    }

    /// What a request is told whose sandbox ends under it.
    fn told(&self) -> (u16, &'static str) {
        match self {
            Self::Redis(_) => (404, "sandbox_not_found"),
            Self::ControlPlane(..) => (410, "sandbox_stopped"),
            Self::Dns(_) => (502, "upstream_unreachable"),
        }
    }
}

fn client(gateway: &Gateway) -> Client {
    Client::connect(gateway.addr()).unwrap()
}

fn resets(gateway: &Gateway, state: &str) -> f64 {
    gateway.metric("gateway_upstream_resets_total", &[("state", state)]).unwrap()
}
