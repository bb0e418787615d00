//! The story that the WebSocket hint exists for: one browser, one cookie jar, two tabs on two sandboxes, and noVNC in
//! both.

use super::{HANDSHAKE, NAVIGATION, SCRIPT, decide, forwarded, request};
use crate::config::{RoutingConfig, WebsocketHint};
use crate::route::{Decision, Source, Target};

/// How a noVNC turns its `path` setting into the URL of its WebSocket.
#[derive(Debug, Clone, Copy)]
enum NoVnc {
    /// Up to 1.5: appended to `ws://host:port/`.
    V1_3,
    /// Since 1.6: relative to the URL of the page.
    V1_7,
}

/// One browser: what all of its tabs share.
struct Browser {
    rules: RoutingConfig,
    /// The value of the session cookie for each path it was set for.
    jar: Vec<(String, String)>,
}

/// One tab: the URL of its page, after redirects, as a path with a query.
struct Tab {
    page: String,
}

impl Browser {
    fn new(websocket_hint: WebsocketHint) -> Self {
        Self { rules: RoutingConfig { websocket_hint, ..RoutingConfig::default() }, jar: Vec::new() }
    }

    /// Types a URL into a new tab.
    fn open(&mut self, url: &str) -> Tab {
        let mut page = url.to_owned();
        for _ in 0..3 {
            match self.send(&page, NAVIGATION, None) {
                Decision::Redirect { location, .. } => page = String::from_utf8(location).unwrap(),
                Decision::Forward(_) => return Tab { page },
            }
        }
        panic!("redirected again and again: {page}");
    }

    /// Asks for what `reference` means in a tab's page.
    fn fetch(&mut self, tab: &Tab, reference: &str) -> Target {
        let referer = format!("http://gw.example{}", tab.page);
        forwarded(Ok(self.send(&resolve(&tab.page, reference), SCRIPT, Some(&referer))))
    }

    /// Connects, or connects again: a handshake has no Referer.
    fn connect(&mut self, tab: &Tab, novnc: NoVnc) -> Target {
        let query = tab.page.split_once('?').map_or("", |(_, query)| query);
        let setting = query.split('&').find_map(|pair| pair.strip_prefix("path=")).unwrap_or("websockify");
        let base = match novnc {
            NoVnc::V1_3 => "/",
            NoVnc::V1_7 => &tab.page,
        };
        forwarded(Ok(self.send(&resolve(base, setting), HANDSHAKE, None)))
    }

    fn send(&mut self, url: &str, fields: &[(&str, &str)], referer: Option<&str>) -> Decision {
        // The cookie of the longest path that matches stands first, RFC 6265 section 5.4.
        let mut cookies: Vec<_> = self.jar.iter().filter(|(path, _)| url.starts_with(path)).collect();
        cookies.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        let cookies: Vec<String> = cookies.iter().map(|(_, id)| format!("vnc_session_id={id}")).collect();
        let cookies = cookies.join("; ");
        let mut fields = fields.to_vec();
        fields.extend(referer.map(|referer| ("Referer", referer)));
        fields.extend((!cookies.is_empty()).then_some(("Cookie", cookies.as_str())));
        let decision =
            decide(&request("GET", url, &fields), &self.rules).expect("every request of the story has a route");
        let (Decision::Forward(Target { set_cookies, .. }) | Decision::Redirect { set_cookies, .. }) = &decision;
        for cookie in set_cookies {
            let (pair, path) = cookie.strip_suffix("; HttpOnly").unwrap().split_once("; Path=").unwrap();
            let id = pair.strip_prefix("vnc_session_id=").unwrap();
            self.jar.retain(|(known, _)| known != path);
            self.jar.push((path.to_owned(), id.to_owned()));
        }
        decision
    }
}

/// The path of `reference` seen from `base`, as the URL standard resolves it: `..` beyond the root falls away.
fn resolve(base: &str, reference: &str) -> String {
    let base = base.split('?').next().unwrap();
    let directory = if reference.starts_with('/') { "" } else { base.rsplit_once('/').unwrap().0 };
    let mut segments: Vec<&str> = directory.split('/').skip(1).collect();
    for segment in reference.trim_start_matches('/').split('/') {
        match segment {
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[test]
fn each_tab_stays_with_its_sandbox_whatever_the_other_does() {
    for novnc in [NoVnc::V1_3, NoVnc::V1_7] {
        for page in
            ["", "/", "/vnc.html", "/vnc.html?autoconnect=1&path=vnc/websockify", "/app/deep/vnc.html?path=websockify"]
        {
            let mut browser = Browser::new(WebsocketHint::Redirect);
            let first = browser.open(&format!("/vnc/1{page}"));
            assert_eq!(browser.connect(&first, novnc).sandbox.as_str(), "1", "{novnc:?} {page}");
            let second = browser.open(&format!("/vnc/2{page}"));
            for (tab, id) in [(&second, "2"), (&first, "1"), (&second, "2")] {
                let websocket = browser.connect(tab, novnc);
                assert_eq!((websocket.sandbox.as_str(), websocket.source), (id, Source::Path), "{novnc:?} {page}");
                assert_eq!(websocket.upstream_target, b"/websockify");
                assert_eq!(browser.fetch(tab, "app/ui.js").sandbox.as_str(), id, "{novnc:?} {page}");
                let rooted = browser.fetch(tab, "/vnc/app/ui.js");
                assert_eq!((rooted.sandbox.as_str(), rooted.source), (id, Source::Referer), "{novnc:?} {page}");
            }
        }
    }
}

#[test]
fn with_the_cookie_hint_the_tab_opened_last_wins_in_the_old_novnc() {
    let mut browser = Browser::new(WebsocketHint::Cookie);
    let first = browser.open("/vnc/1/vnc.html");
    assert_eq!(browser.connect(&first, NoVnc::V1_3).sandbox.as_str(), "1");
    let second = browser.open("/vnc/2/vnc.html");
    for (tab, novnc, id) in [
        (&first, NoVnc::V1_3, "2"),
        (&second, NoVnc::V1_3, "2"),
        (&first, NoVnc::V1_7, "1"),
        (&second, NoVnc::V1_7, "2"),
    ] {
        assert_eq!(browser.connect(tab, novnc).sandbox.as_str(), id, "{novnc:?}");
    }
}

#[test]
fn an_asset_of_the_older_tab_does_not_take_the_cookie_back() {
    let mut browser = Browser::new(WebsocketHint::Off);
    let first = browser.open("/vnc/1/");
    browser.open("/vnc/2/");
    assert_eq!(browser.fetch(&first, "app/ui.js").sandbox.as_str(), "1");
    assert_eq!(browser.jar, [("/vnc/".to_owned(), "2".to_owned())]);
}
