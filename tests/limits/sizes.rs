//! Request line, head and fields: at the limit, and one beyond it.

use gateway_tests::pod::Pod;

use crate::scene::{Scene, assert_closed, assert_failure, assert_open, get};

/// A request line of exactly this many bytes, its line end not counted.
fn line(bytes: usize) -> String {
    let bare = "GET /vnc/1/?";
    let version = " HTTP/1.1";
    format!("{bare}{}{version}", "q".repeat(bytes - bare.len() - version.len()))
}

/// A request of exactly this many bytes in `fields` lines, Host included.
fn head(bytes: usize, fields: usize) -> String {
    let mut head = "GET /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\n".to_owned();
    for number in 2..fields {
        head += &format!("X-{number}: a\r\n");
    }
    let last = "X-Last: ";
    let room = bytes - head.len() - last.len() - "\r\n\r\n".len();
    head + last + &"x".repeat(room) + "\r\n\r\n"
}

#[test]
fn a_request_line_of_8_kib_is_served_and_a_longer_one_gets_414() {
    let scene = Scene::plain();
    let mut client = scene.client();
    assert_eq!(client.ask(line(8192) + "\r\nHost: gw.example\r\n\r\n").unwrap().status(), 200);
    assert_open(&mut client);
    Scene::plain().assert_refuses(line(8193) + "\r\nHost: gw.example\r\n\r\n", 414, "uri_too_long", "line_too_long");
}

#[test]
fn a_request_line_without_an_end_gets_414_as_soon_as_it_is_too_long() {
    // A line without an end is looked at for each further KiB.
    Scene::plain().assert_refuses("G".repeat(8192 + 1024), 414, "uri_too_long", "line_too_long");
}

#[test]
fn a_head_of_16_kib_is_served_and_a_longer_one_gets_431() {
    let scene = Scene::plain();
    let mut client = scene.client();
    assert_eq!(client.ask(head(16_384, 3)).unwrap().status(), 200);
    assert_open(&mut client);
    Scene::plain().assert_refuses(head(16_385, 3), 431, "header_too_large", "head_too_large");
}

#[test]
fn a_head_without_an_end_gets_431_as_soon_as_it_is_too_large() {
    let endless = "GET /vnc/1/ HTTP/1.1\r\nHost: gw.example\r\nX-Endless: ".to_owned() + &"x".repeat(16_384);
    Scene::plain().assert_refuses(endless, 431, "header_too_large", "head_too_large");
}

#[test]
fn a_head_of_100_fields_is_served_and_one_of_101_gets_431() {
    let scene = Scene::plain();
    let mut client = scene.client();
    assert_eq!(client.ask(head(4096, 100)).unwrap().status(), 200);
    assert_open(&mut client);
    Scene::plain().assert_refuses(head(4096, 101), 431, "header_too_large", "too_many_fields");
}

#[test]
fn the_limits_are_options() {
    let arguments = ["--request-line-bytes-max", "256", "--head-bytes-max", "512", "--head-fields-max", "4"];
    let pod = || Pod::answering(crate::scene::OK).unwrap();
    let scene = || Scene::with(pod(), &arguments);
    assert_eq!(scene().ask(head(512, 4)).status(), 200);
    let answers = [
        (line(257) + "\r\nHost: gw.example\r\n\r\n", 414, "uri_too_long"),
        (head(513, 4), 431, "header_too_large"),
        (head(200, 5), 431, "header_too_large"),
    ];
    for (request, status, code) in answers {
        let scene = scene();
        let mut client = scene.client();
        assert_failure(&client.ask(request).unwrap(), status, code, &scene);
        assert_closed(&mut client);
    }
}

/// A client in the middle of sending reads its answer: the connection is not reset under it.
#[test]
fn a_refusal_arrives_though_the_client_has_not_finished() {
    let scene = Scene::plain();
    let mut client = scene.client();
    client.send(head(300_000, 3)).unwrap();
    assert_failure(&client.answer().unwrap(), 431, "header_too_large", &scene);
    assert_closed(&mut client);
}

#[test]
fn a_response_head_beyond_the_limits_gets_502() {
    for response in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Large: {}\r\n\r\nok", "x".repeat(16_384)),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{}\r\nok", "X-Many: a\r\n".repeat(100)),
        format!("HTTP/1.1 200 {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(8192)),
    ] {
        let scene = Scene::of(Pod::answering(response).unwrap());
        let mut client = scene.client();
        let answer = client.ask(get("/vnc/1/x", "")).unwrap();
        assert_failure(&answer, 502, "bad_upstream_response", &scene);
        assert_open(&mut client);
    }
}

#[test]
fn a_pod_that_sends_interim_responses_only_gets_502() {
    let scene = Scene::of(Pod::answering("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100)).unwrap());
    let mut client = scene.client();
    let mut answer = client.ask(get("/vnc/1/x", "")).unwrap();
    let mut interim = 0;
    while answer.status() == 103 {
        interim += 1;
        answer = client.answer().unwrap();
    }
    assert_failure(&answer, 502, "bad_upstream_response", &scene);
    assert_eq!(interim, 16);
}
