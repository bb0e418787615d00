//! Location and Set-Cookie: what a pod says about its own URLs, as its browser has to see it.

use gateway_tests::pod::Pod;

use crate::scene::{Scene, get};

/// A pod that answers 302 with the target's query as the location; `{pod}` in it is its own address.
fn redirecting() -> Pod {
    let absent = gateway_tests::pod::Absent::new().unwrap();
    let own = absent.address().to_string();
    absent
        .listen(move |request, connection| {
            let query = request.target().split_once('?').map_or("", |(_, query)| query);
            let location = query.replace("{pod}", &own);
            connection.send(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
        })
        .unwrap()
}

#[track_caller]
fn assert_mapped(scene: &Scene, location: &str, fields: &str, expected: &str) {
    let answer = scene.ask(get(&format!("/vnc/1/x?{location}"), fields));
    assert_eq!(answer.head.values("location"), [expected], "{location}");
}

#[test]
fn a_path_gets_the_prefix_once() {
    let scene = Scene::of(redirecting());
    for (location, expected) in [
        ("/", "/vnc/1/"),
        ("/login?next=/a", "/vnc/1/login?next=/a"),
        ("/vnc/1/x", "/vnc/1/x"),
        ("/vnc/10/x", "/vnc/1/vnc/10/x"),
        ("/%2F//x", "/vnc/1/%2F//x"),
    ] {
        assert_mapped(&scene, location, "", expected);
    }
}

#[test]
fn the_pods_own_address_becomes_the_public_origin() {
    let scene = Scene::of(redirecting());
    assert_mapped(&scene, "http://{pod}/x", "", "http://gw.example/vnc/1/x");
    assert_mapped(&scene, "HTTP://{pod}", "", "http://gw.example/vnc/1/");
    let trusting = Scene::with(redirecting(), &["--trusted-proxy", "127.0.0.1/32"]);
    let proxied = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\n";
    assert_mapped(&trusting, "http://{pod}/x", proxied, "https://public.example/vnc/1/x");
    let passing = Scene::with(redirecting(), &["--host-header", "pass"]);
    assert_mapped(&passing, "http://gw.example/x", "", "http://gw.example/vnc/1/x");
}

/// Trap 43.
#[test]
fn every_other_target_is_untouched() {
    let scene = Scene::of(redirecting());
    let port = scene.pod.address().port();
    for location in [
        "//other.example/x",
        "https://other.example/x",
        "relative",
        "../up",
        "?q",
        "",
        "mailto:a@b",
        "http://127.0.0.1:80/x",
        "http://{pod}.evil.example/x",
        "http://{pod}@evil.example/x",
    ] {
        let expected = location.replace("{pod}", &format!("127.0.0.1:{port}"));
        assert_mapped(&scene, location, "", &expected);
    }
    // The port is compared whole: one that merely begins alike is somebody else's.
    assert_mapped(&scene, &format!("http://127.0.0.1:{port}0/x"), "", &format!("http://127.0.0.1:{port}0/x"));
}

#[test]
fn what_the_cookie_routes_is_mapped_to_the_sandboxs_own_prefix() {
    let scene = Scene::of(redirecting());
    let answer = scene.ask(get("/vnc/x?/login", "Cookie: vnc_session_id=1\r\n"));
    assert_eq!(answer.field("location"), Some("/vnc/1/login"));
}

/// Traps 8 and 44.
#[test]
fn several_cookies_stay_several_and_keep_to_their_sandbox() {
    let cookies = "Set-Cookie: a=1; Path=/; Secure\r\nSet-Cookie: b=2\r\n\
     set-cookie: c=3; path=/app; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n\
        Set-Cookie: d=4; Path=/vnc/1/x\r\nSet-Cookie: e=5, f=6; Path=relative\r\n";
    let scene = Scene::of(Pod::answering(crate::scene::ok(cookies, "")).unwrap());
    let answer = scene.ask(get("/vnc/1/x", ""));
    assert_eq!(
        answer.head.values("set-cookie"),
        [
            "a=1; Path=/vnc/1/; Secure",
            "b=2",
            "c=3; path=/vnc/1/app; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "d=4; Path=/vnc/1/x",
            "e=5, f=6; Path=relative",
        ]
    );
}

#[test]
fn without_strip_nothing_is_mapped() {
    let scene = Scene::with(redirecting(), &["--path-strip", "false"]);
    assert_mapped(&scene, "/login", "", "/login");
    assert_mapped(&scene, "http://{pod}/x", "", "http://gw.example/x");
}
