//! Web VNC as users have it: real desktops, noVNC as their pods serve it, a real browser, and the gateway between.

use gateway_tests::browser::Browser;
use gateway_tests::desktop::{Color, Desktop, DesktopOptions};
use gateway_tests::gateway::Gateway;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::novnc::NoVnc;
use gateway_tests::redis::RedisServer;
use gateway_tests::viewer::Viewer;
use gateway_tests::wait::{self, PATIENCE};
use redis::Commands;
use serde_json::json;

const BLUE: Color = Color(20, 80, 180);
const GREEN: Color = Color(20, 120, 60);

#[test]
fn a_session_goes_through_its_three_stages_with_the_embedded_directory() {
    for version in NoVnc::ALL {
        if is_missing(&needs(version)) {
            continue;
        }
        let desktop = desktop("sandbox 37579", BLUE, version);
        let gateway = Gateway::builder().sandbox("37579", desktop.address()).start().unwrap();
        three_stages(&gateway, &desktop, version);
    }
}

#[test]
fn a_session_goes_through_its_three_stages_with_a_redis_directory() {
    for version in NoVnc::ALL {
        if is_missing(&needs(version)) || is_missing(&[Need::Program("redis-server")]) {
            continue;
        }
        let desktop = desktop("sandbox 37579", BLUE, version);
        let redis = RedisServer::start().unwrap();
        let gateway = Gateway::builder().redis(redis.url()).start().unwrap();
        // Written after the start, by another client, as a sandbox manager does.
        let mut manager = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
        let endpoint = desktop.address().to_string();
        let () = manager.hset("vnc_sandboxes", "Sandbox_ID_37579", endpoint).unwrap();
        three_stages(&gateway, &desktop, version);
    }
}

#[test]
fn two_tabs_on_two_sandboxes_keep_their_own_pod_across_reconnects() {
    for version in NoVnc::ALL {
        if is_missing(&needs(version)) {
            continue;
        }
        let blue = desktop("sandbox 1001", BLUE, version);
        let green = desktop("sandbox 1002", GREEN, version);
        let gateway =
            Gateway::builder().sandbox("1001", blue.address()).sandbox("1002", green.address()).start().unwrap();
        let browser = Browser::launch().unwrap();

        let first = Viewer::open(&browser, &page(&gateway, "1001")).unwrap();
        first.wait_shown(BLUE).unwrap();
        let second = Viewer::open(&browser, &page(&gateway, "1002")).unwrap();
        second.wait_shown(GREEN).unwrap();
        assert_eq!((blue.sessions().unwrap(), green.sessions().unwrap()), (1, 1), "{version}: both opened");

        // The cookie, one for the whole origin, now names the second sandbox.
        first.reconnect().unwrap();
        first.wait_shown(BLUE).unwrap();
        assert_eq!((blue.sessions().unwrap(), green.sessions().unwrap()), (2, 1), "{version}: the first reconnected");
        second.reconnect().unwrap();
        second.wait_shown(GREEN).unwrap();
        assert_eq!((blue.sessions().unwrap(), green.sessions().unwrap()), (2, 2), "{version}: the second reconnected");

        // And now the first again, and the other tab reconnects once more.
        first.tab().reload().unwrap();
        wait::until("the first tab to come back", PATIENCE, || (blue.sessions().unwrap() == 3).then_some(())).unwrap();
        first.wait_shown(BLUE).unwrap();
        second.reconnect().unwrap();
        second.wait_shown(GREEN).unwrap();
        assert_eq!((blue.sessions().unwrap(), green.sessions().unwrap()), (3, 3), "{version}: after a reload");
        assert_streams(&gateway, &["1001", "1002"]);
    }
}

/// What the gateway's hint relies on: a `path` setting that climbs out of the page's directory and down again names the
/// same WebSocket in versions that resolve it against the page, and in those that put it behind the root.
#[test]
fn every_version_resolves_a_path_that_climbs_to_the_same_websocket() {
    for version in NoVnc::ALL {
        if is_missing(&needs(version)) {
            continue;
        }
        let desktop = desktop("sandbox 1", BLUE, version);
        let browser = Browser::launch().unwrap();
        let address = desktop.address();
        let url = format!("http://{address}/app/../?autoconnect=true&path=../../vnc/1/websockify");
        Viewer::open(&browser, &url).unwrap().wait_connected().unwrap();
        let log = desktop.log().unwrap();
        assert!(log.contains("Path: '/vnc/1/websockify'"), "{version}:\n{log}");
    }
}

/// The page, its assets and the WebSocket of sandbox 37579, in the browser: all three reach `desktop`.
fn three_stages(gateway: &Gateway, desktop: &Desktop, version: NoVnc) {
    let browser = Browser::launch().unwrap();
    let viewer = Viewer::open(&browser, &page(gateway, "37579")).unwrap();
    let picture = viewer.wait_shown(desktop.color()).unwrap();
    viewer.wait_moved(&picture).unwrap();
    let log = desktop.log().unwrap();
    assert!(log.contains("\"GET /?autoconnect=true"), "{version}: the page, without the prefix:\n{log}");
    assert!(log.contains("\"GET /app/ui.js "), "{version}: an asset:\n{log}");
    assert!(log.contains("Path: '/websockify'"), "{version}: the WebSocket:\n{log}");

    let cookies = browser.cookies().unwrap();
    let [cookie] = &cookies[..] else { panic!("{version}: one cookie, not {cookies:?}") };
    let contract = json!(["vnc_session_id", "37579", "/vnc/", true, true]);
    let found = ["name", "value", "path", "httpOnly", "session"].map(|field| cookie[field].clone());
    assert_eq!(json!(found), contract, "{version}");
    assert_streams(gateway, &["37579"]);

    // The same stages as a page asks that knows no id: only the cookie says where they belong.
    let asset = viewer.tab().evaluate("fetch('/vnc/app/ui.js').then(response => response.status)").unwrap();
    assert_eq!(asset, 200, "{version}");
    let greeting = viewer.tab().evaluate(GREETING_BY_COOKIE).unwrap();
    assert_eq!(greeting, "RFB 003.008\n", "{version}");

    viewer.reconnect().unwrap();
    viewer.wait_shown(desktop.color()).unwrap();
    assert_eq!(desktop.sessions().unwrap(), 3, "{version}: the page's two and the one by cookie");
    viewer.disconnect().unwrap();
    assert_streams(gateway, &[]);
}

/// Opens a WebSocket that only the cookie routes, and resolves to the first message: the greeting of RFC 6143, section
/// 7.1.1.
const GREETING_BY_COOKIE: &str = "new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/vnc/websockify`, 'binary');
    socket.onmessage = message => message.data.text().then(text => { socket.close(); resolve(text); });
    socket.onerror = () => reject('the WebSocket failed');
})";

/// Waits until the gateway's live streams are one for each of `sandboxes`.
fn assert_streams(gateway: &Gateway, sandboxes: &[&str]) {
    let live = || -> Vec<String> {
        let streams = gateway.streams().unwrap();
        let mut live: Vec<String> =
            streams.iter().map(|stream| stream["sandbox"].as_str().unwrap().to_owned()).collect();
        live.sort();
        live
    };
    let settled = wait::until("the streams to settle", PATIENCE, || (live() == sandboxes).then_some(()));
    assert!(settled.is_ok(), "streams of {:?}, not of {sandboxes:?}", live());
}

fn page(gateway: &Gateway, sandbox: &str) -> String {
    format!("http://{}/vnc/{sandbox}/?autoconnect=true", gateway.addr())
}

fn desktop(name: &str, color: Color, novnc: NoVnc) -> Desktop {
    Desktop::start(&DesktopOptions { name: name.to_owned(), color, novnc }).unwrap()
}

fn needs(version: NoVnc) -> Vec<Need> {
    let mut needs = Desktop::needs();
    needs.extend(Browser::needs());
    needs.push(version.need());
    needs
}
