//! Every way in beside the session paths: host names, host agents, service prefixes.

mod hops;

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::Pod;
use gateway_tests::wire::{Answer, Client, UPGRADE_FIELDS};

use crate::scene::{Scene, assert_failure, builder, ok};

/// A pod that says what it was asked, redirects where its path says, and echoes on WebSockets.
fn pod() -> Pod {
    let pod = Pod::start(|request, connection| {
        if request.field("upgrade").is_some() {
            connection.switch(request)?;
            return connection.echo();
        }
        connection.body(request)?;
        let own = request.field("host").unwrap_or_default();
        let location = match request.target() {
            "/root-relative" => "/there//x%2F?y".to_owned(),
            "/absolute" => format!("http://{own}/there"),
            "/external" => "https://other.example/there".to_owned(),
            "/other-port" => "/proxy/a/80800/there".to_owned(),
            target => {
                return connection.send(ok("Set-Cookie: a=1; Path=/x\r\nAccess-Control-Allow-Origin: *\r\n", target));
            }
        };
        connection.send(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
    });
    pod.unwrap()
}

/// The way to a pod by host names: one gateway, or an edge and a host agent.
struct Way {
    edge: Gateway,
    agent: Option<Gateway>,
    pod: Pod,
}

impl Way {
    fn one_hop() -> Self {
        Self::one_hop_to(pod(), &[])
    }

    /// With further arguments of the gateway that clients ask.
    fn one_hop_to(pod: Pod, arguments: &[&str]) -> Self {
        let edge = builder().args(["--source", "host"]).args(arguments).sandbox("a", pod.address()).start().unwrap();
        Self { edge, agent: None, pod }
    }

    fn two_hops() -> Self {
        Self::two_hops_to(pod(), &[])
    }

    fn two_hops_to(pod: Pod, arguments: &[&str]) -> Self {
        let agent = builder()
            .args(["--source", "agent", "--trusted-proxy", "127.0.0.1"])
            .sandbox("a", pod.address())
            .start()
            .unwrap();
        let edge = builder().args(["--source", "host", "--host-agent", "true"]).args(arguments);
        let edge = edge.sandbox("a", agent.addr()).start().unwrap();
        Self { edge, agent: Some(agent), pod }
    }

    fn host(&self) -> String {
        format!("{}-a.localhost:{}", self.pod.address().port(), self.edge.addr().port())
    }

    fn client(&self) -> Client {
        Client::connect(self.edge.addr()).unwrap()
    }

    #[track_caller]
    fn get(&self, target: &str) -> Answer {
        self.client().ask(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host())).unwrap()
    }
}

fn ways() -> [Way; 2] {
    [Way::one_hop(), Way::two_hops()]
}

/// Trap 41 and 42: what was asked arrives byte for byte, however many gateways it passes.
#[test]
fn one_hop_and_two_carry_the_same_bytes() {
    for way in ways() {
        for target in ["/", "/a/b/", "//a//", "/a%2F..%2Fb/%20@;d?", "/?a=1&a=2;b&%zz", "/%C3%A4?x=/y"] {
            assert_eq!(way.get(target).text(), target);
        }
    }
}

/// Trap 43.
#[test]
fn a_location_is_what_the_browser_has_to_ask() {
    for way in ways() {
        let location = |target| way.get(target).field("location").unwrap_or_default().to_owned();
        assert_eq!(location("/root-relative"), "/there//x%2F?y");
        let absolute = location("/absolute");
        let public = format!("http://{}", way.host());
        assert_eq!(absolute.strip_prefix(&public).unwrap_or(&absolute), "/there");
        assert_eq!(location("/external"), "https://other.example/there");
    }
    let way = Way::one_hop();
    assert_eq!(way.get("/other-port").field("location"), Some("/proxy/a/80800/there"));
}

#[test]
fn cookies_and_cors_are_the_pods_where_each_sandbox_has_an_origin() {
    for way in ways() {
        let answer = way.get("/y");
        assert_eq!(answer.head.values("set-cookie"), ["a=1; Path=/x"]);
        assert_eq!(answer.head.values("access-control-allow-origin"), ["*"]);
    }
}

#[test]
fn a_websocket_lives_over_one_hop_and_over_two() {
    for way in ways() {
        let mut client = way.client();
        let head = client.ask(format!("GET /ws HTTP/1.1\r\nHost: {}\r\n{UPGRADE_FIELDS}\r\n", way.host())).unwrap();
        assert_eq!(head.status(), 101, "{}", head.text());
        client.send("hello\n").unwrap();
        assert_eq!(client.until("\n").unwrap(), b"hello\n");
    }
}

/// Trap 49: the pod is told its own name and the public one.
#[test]
fn the_pod_sees_its_own_host_and_the_public_one() {
    for way in ways() {
        way.get("/x");
        let request = way.pod.requests().pop().unwrap();
        assert_eq!(request.field("host"), Some(&*way.pod.address().to_string()));
        assert_eq!(request.field("x-forwarded-host"), Some(&*way.host()));
        assert_eq!(request.field("x-forwarded-prefix"), None);
    }
    let pod = pod();
    let gateway = builder()
        .args(["--source", "host", "--host-header", "mask:localhost:{port}"])
        .sandbox("a", pod.address())
        .start()
        .unwrap();
    let port = pod.address().port();
    let asked = Client::connect(gateway.addr()).unwrap().ask(format!("GET /x HTTP/1.1\r\nHost: {port}-a.x\r\n\r\n"));
    assert_eq!(asked.unwrap().status(), 200);
    assert_eq!(pod.requests().pop().unwrap().field("host"), Some(&*format!("localhost:{port}")));
}

/// Trap 35: a wrong port on a live sandbox is not an unknown sandbox.
#[test]
fn bad_names_unknown_sandboxes_and_closed_ports_are_told_apart() {
    for way in ways() {
        let scene = Scene { gateway: way.edge, pod: way.pod };
        let ask = |host: &str| scene.ask(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_failure(&ask("0-a.localhost"), 400, "invalid_name", &scene);
        assert_failure(&ask("70000-a.localhost"), 400, "invalid_name", &scene);
        assert_failure(&ask("80-a_b.localhost"), 400, "invalid_name", &scene);
        assert_failure(&ask("80-nobody.localhost"), 404, "sandbox_not_found", &scene);
        assert_failure(&ask("1-a.localhost"), 502, "upstream_unreachable", &scene);
        assert_failure(&ask("gw.example"), 404, "no_route", &scene);
    }
}

#[test]
fn the_gateways_own_port_is_no_port_of_a_sandbox() {
    let scene = Scene::with(pod(), &["--source", "host"]);
    let own = scene.gateway.addr().port();
    let answer = scene.ask(format!("GET /x HTTP/1.1\r\nHost: {own}-1.localhost\r\n\r\n"));
    assert_failure(&answer, 502, "upstream_unreachable", &scene);
    assert!(scene.pod.requests().is_empty());
}

/// Trap 8: what one sandbox sets stays below its prefix, and so does where it redirects.
#[test]
fn a_service_prefix_keeps_redirects_and_cookies_inside() {
    let pod = pod();
    let gateway =
        builder().args(["--source", "prefix"]).sandbox("team/a", pod.address()).sandbox("b", pod.address()).start();
    let gateway = gateway.unwrap();
    let prefix = format!("/sandboxes/team/a/{}", pod.address().port());
    let get = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: gw.example\r\n\r\n");
        Client::connect(gateway.addr()).unwrap().ask(request).unwrap()
    };
    let answer = get(&format!("{prefix}/y//z?q"));
    assert_eq!(answer.text(), "/y//z?q");
    assert_eq!(answer.head.values("set-cookie"), [format!("a=1; Path={prefix}/x")]);
    assert_eq!(pod.requests().pop().unwrap().field("x-forwarded-prefix"), Some(&*prefix));
    let location = |target: &str| get(&format!("{prefix}{target}")).field("location").unwrap().to_owned();
    assert_eq!(location("/root-relative"), format!("{prefix}/there//x%2F?y"));
    assert_eq!(location("/absolute"), format!("http://gw.example{prefix}/there"));
    assert_eq!(location("/external"), "https://other.example/there");
    assert_eq!(get(&prefix).field("location"), Some(&*format!("{prefix}/")));
    // The namespace is part of the name.
    let elsewhere = prefix.replace("team", "default");
    assert_eq!(get(&format!("{elsewhere}/")).field("x-gateway-error"), Some("sandbox_not_found"));
    let other = prefix.replace("team/a", "default/b");
    assert_eq!(get(&format!("{other}/y")).text(), "/y");
    assert_eq!(pod.connections().len(), 2, "two sandboxes at one address share no connection");
}

#[test]
fn the_default_sandbox_takes_what_no_source_covers() {
    let (pod, portal) = (pod(), Pod::answering(ok("", "portal")).unwrap());
    let gateway = builder()
        .args(["--source", "host", "--default-sandbox", "portal"])
        .sandbox("a", pod.address())
        .sandbox("portal", portal.address())
        .start()
        .unwrap();
    let get = |host: &str| {
        Client::connect(gateway.addr()).unwrap().ask(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap().text()
    };
    assert_eq!(get("www.example"), "portal");
    assert_eq!(get(&format!("{}-a.localhost", pod.address().port())), "/x");
}
