//! Kept connections. All stories run with one worker, hence one pool.

use gateway_tests::need::{Need, is_missing};
use gateway_tests::pod::{Gate, Pod};
use gateway_tests::redis::RedisServer;
use gateway_tests::wire::Client;
use redis::Commands;

use crate::scene::{OK, Scene, assert_failure, builder, get, ok, until};

/// Connections that the pod has seen after as many requests as `count`, each from a client of its own.
fn connections_after(scene: &Scene, count: usize) -> usize {
    for _ in 0..count {
        assert_eq!(scene.ask(get("/vnc/1/x", "")).text(), "ok");
    }
    scene.pod.connections().len()
}

#[test]
fn one_connection_serves_many_clients() {
    let scene = Scene::plain();
    assert_eq!(connections_after(&scene, 10), 1);
    assert_eq!(scene.pod.requests().len(), 10);
}

#[test]
fn requests_at_once_have_connections_of_their_own() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |_, connection| {
            gate.pass()?;
            connection.send(OK)
        })
    };
    let scene = Scene::of(pod.unwrap());
    let mut clients: Vec<Client> = (0..5).map(|_| scene.client()).collect();
    clients.iter().for_each(|client| client.send(get("/vnc/1/x", "")).unwrap());
    until("five requests to arrive", || scene.pod.requests().len() == 5);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().text(), "ok");
    }
    assert_eq!(connections_after(&scene, 5), 5, "all five were kept");
}

#[test]
fn two_sandboxes_at_one_address_never_share_a_connection() {
    let pod = Pod::answering(OK).unwrap();
    let gateway = builder().sandbox("1", pod.address()).sandbox("2", pod.address()).start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    for target in ["/vnc/1/a", "/vnc/2/b", "/vnc/1/a", "/vnc/2/b"] {
        assert_eq!(client.ask(get(target, "")).unwrap().text(), "ok");
    }
    let targets: Vec<Vec<String>> = pod
        .connections()
        .iter()
        .map(|record| record.requests().iter().map(|head| head.target().to_owned()).collect())
        .collect();
    assert_eq!(targets, [["/a", "/a"], ["/b", "/b"]]);
}

/// A sandbox that moves away and back is another tenant of the address: what was kept from before is not its.
#[test]
fn a_mapping_that_changed_and_changed_back_shares_nothing_with_the_old_one() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let (pod, other) = (Pod::answering(OK).unwrap(), Pod::answering(ok("", "other")).unwrap());
    let redis = RedisServer::start().unwrap();
    let mut manager = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut map = |id: u32, pod: &Pod| {
        let () = manager.hset("vnc_sandboxes", format!("Sandbox_ID_{id}"), pod.address().to_string()).unwrap();
    };
    map(1, &pod);
    let gateway = builder().redis(redis.url()).start().unwrap();
    until("the gateway to be connected", || gateway.readiness().unwrap() == 200);
    let ask = |target| Client::connect(gateway.addr()).unwrap().ask(get(target, "")).unwrap().text();
    assert_eq!([ask("/vnc/1/a"), ask("/vnc/1/a")], ["ok", "ok"]);
    assert_eq!(pod.connections().len(), 1);
    map(1, &other);
    assert_eq!(ask("/vnc/1/a"), "other");
    map(1, &pod);
    assert_eq!(ask("/vnc/1/a"), "ok");
    assert_eq!(pod.connections().len(), 2, "the connection of the old mapping was not used");
    map(2, &pod);
    assert_eq!(ask("/vnc/2/b"), "ok");
    assert_eq!(pod.connections().len(), 3);
}

/// A pod that answers the first request of each connection, and ends the connection at the second one.
fn ending_at_the_second(resets: bool) -> Scene {
    let pod = Pod::start(move |request, connection| {
        connection.body(request)?;
        if connection.requests() == 1 {
            return connection.send(if request.method() == "HEAD" { OK.strip_suffix("ok").unwrap() } else { OK });
        }
        connection.close();
        if resets { connection.reset() } else { Ok(()) }
    });
    Scene::of(pod.unwrap())
}

#[test]
fn a_request_that_may_be_repeated_survives_a_stale_connection() {
    for (method, resets) in [("GET", false), ("GET", true), ("HEAD", false), ("OPTIONS", false)] {
        let scene = ending_at_the_second(resets);
        let request = get("/vnc/1/x", "").replace("GET ", &format!("{method} "));
        for _ in 0..3 {
            assert_eq!(scene.ask(&request).status(), 200, "{method}");
        }
        assert_eq!(scene.pod.requests().len(), 5, "the second and the third one were sent twice");
        assert_eq!(scene.pod.connections().len(), 3);
    }
}

#[test]
fn a_request_that_may_not_be_repeated_is_sent_once() {
    for request in [
        "POST /vnc/1/once HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 2\r\n\r\nhi",
        "POST /vnc/1/once HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 0\r\n\r\n",
        "DELETE /vnc/1/once HTTP/1.1\r\nHost: gw.example\r\n\r\n",
        "GET /vnc/1/once HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let scene = ending_at_the_second(false);
        assert_eq!(scene.ask(get("/vnc/1/x", "")).status(), 200);
        let answer = scene.ask(request);
        assert_failure(&answer, 502, "bad_upstream_response", &scene);
        let sent = scene.pod.requests().iter().filter(|head| head.target() == "/once").count();
        assert_eq!(sent, 1, "{request}");
    }
}

/// Once any of the response has come, the request has had its effect.
#[test]
fn a_response_that_has_begun_is_not_asked_for_again() {
    let pod = Pod::start(|_, connection| {
        if connection.requests() == 1 {
            return connection.send(OK);
        }
        connection.close();
        connection.send("HTTP/1.1 200 OK\r\n")
    });
    let scene = Scene::of(pod.unwrap());
    assert_eq!(scene.ask(get("/vnc/1/x", "")).status(), 200);
    assert_failure(&scene.ask(get("/vnc/1/x", "")), 502, "bad_upstream_response", &scene);
    assert_eq!(scene.pod.requests().len(), 2);
}

#[test]
fn a_connection_that_the_pod_has_closed_is_not_taken() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |request, connection| {
            connection.body(request)?;
            connection.send(OK)?;
            gate.pass()?;
            connection.close();
            Ok(())
        })
    };
    let scene = Scene::of(pod.unwrap());
    assert_eq!(scene.ask(get("/vnc/1/x", "")).text(), "ok");
    gate.open();
    until("the pod's connection to end", || scene.pod.open() == 0);
    let answer = scene.ask("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(answer.text(), "ok", "a request that cannot be repeated gets a new connection at once");
    assert_eq!(scene.pod.connections().len(), 2);
}

/// Servers say goodbye to an idle connection with a 408 that nobody asked for. It answers nobody.
#[test]
fn a_connection_on_which_the_pod_has_spoken_unasked_is_not_taken() {
    let (gate, spoken) = (Gate::default(), Gate::default());
    let pod = {
        let (gate, spoken) = (gate.clone(), spoken.clone());
        Pod::start(move |_, connection| {
            connection.send(OK)?;
            gate.pass()?;
            connection.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")?;
            spoken.open();
            Ok(())
        })
    };
    let scene = Scene::of(pod.unwrap());
    assert_eq!(scene.ask(get("/vnc/1/x", "")).text(), "ok");
    gate.open();
    spoken.pass().unwrap();
    assert_eq!(scene.ask(get("/vnc/1/x", "")).text(), "ok");
    assert_eq!(scene.pod.connections().len(), 2);
}

#[test]
fn idle_connections_are_closed_after_their_time() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--pool-idle-timeout", "200ms"]);
    assert_eq!(connections_after(&scene, 1), 1);
    until("the idle connection to be closed", || scene.pod.open() == 0);
    assert_eq!(connections_after(&scene, 1), 2);
}

#[test]
fn so_many_idle_connections_are_kept_and_no_more() {
    let none = Scene::with(Pod::answering(OK).unwrap(), &["--pool-idle-max", "0"]);
    assert_eq!(connections_after(&none, 3), 3);
    until("the pod's connections to end", || none.pod.open() == 0);

    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |_, connection| {
            gate.pass()?;
            connection.send(OK)
        })
    };
    let two = Scene::with(pod.unwrap(), &["--pool-idle-max", "2"]);
    let mut clients: Vec<Client> = (0..4).map(|_| two.client()).collect();
    clients.iter().for_each(|client| client.send(get("/vnc/1/x", "")).unwrap());
    until("four requests to arrive", || two.pod.requests().len() == 4);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().unwrap().status(), 200));
    until("two of the pod's connections to end", || two.pod.open() == 2);
}

/// Visitors who have left do not cost those who are here their connections.
#[test]
fn a_full_pool_gives_up_what_was_idle_for_longest() {
    const WORKER_IDLE_MAX: usize = 1024;
    let pod = Pod::answering(OK).unwrap();
    let sandboxes = 1..=WORKER_IDLE_MAX + 1;
    let builder = sandboxes.clone().fold(builder(), |builder, id| builder.sandbox(&id.to_string(), pod.address()));
    let gateway = builder.start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    let mut connections_after = |id: usize| {
        assert_eq!(client.ask(get(&format!("/vnc/{id}/x"), "")).unwrap().text(), "ok");
        pod.connections().len()
    };
    let last = sandboxes.map(&mut connections_after).last().unwrap();
    assert_eq!(last, WORKER_IDLE_MAX + 1);
    assert_eq!(connections_after(WORKER_IDLE_MAX + 1), last, "the newest is kept");
    assert_eq!(connections_after(1), last + 1, "the oldest is not");
}

/// A response that was cut, or whose request was, leaves the connection in the middle of a message.
#[test]
fn a_connection_in_the_middle_of_a_message_is_not_kept() {
    let early = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let scene = Scene::of(
        Pod::start(move |request, connection| {
            connection.send(early)?;
            connection.body(request).map(drop)
        })
        .unwrap(),
    );
    let mut client = scene.client();
    let request =
        "POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 100\r\n\r\nGET /vnc/1/smuggled HTTP/1.1\r\n";
    assert_eq!(client.ask(request).unwrap().text(), "ok");
    assert_eq!(scene.ask(get("/vnc/1/x", "")).text(), "ok");
    assert_eq!(scene.pod.connections().len(), 2);
    assert_eq!(scene.pod.requests().len(), 2);
}
