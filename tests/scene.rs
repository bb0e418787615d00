//! The gateway before one scripted pod, and what is asserted again and again about the two.

use gateway_tests::gateway::{Gateway, GatewayBuilder};
use gateway_tests::pod::{Pod, Record};
use gateway_tests::wait::{self, PATIENCE};
use gateway_tests::wire::{Answer, Client, End};
use serde_json::Value;

/// A gateway whose sandbox 1 is `pod`.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    pub(crate) pod: Pod,
}

/// A response of the pod that ends itself.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Scene {
    /// With a pod that answers [`OK`].
    pub(crate) fn plain() -> Self {
        Self::of(Pod::answering(OK).unwrap())
    }

    pub(crate) fn of(pod: Pod) -> Self {
        Self::with(pod, &[])
    }

    /// With further arguments of `gateway serve`.
    pub(crate) fn with(pod: Pod, arguments: &[&str]) -> Self {
        let gateway = builder().args(arguments).sandbox("1", pod.address()).start().unwrap();
        Self { gateway, pod }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.gateway.addr()).unwrap()
    }

    /// The answer to `request`, on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        self.client().ask(request).unwrap()
    }

    /// What the pod was sent for `GET /vnc/1/x` with further `fields`, each with its line end.
    #[track_caller]
    pub(crate) fn forwarded(&self, fields: &str) -> gateway_tests::wire::Head {
        let before = self.pod.requests().len();
        let answer = self.ask(get("/vnc/1/x", fields));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        self.pod.requests().swap_remove(before)
    }

    /// The client is refused with `status` and `code`, its connection is closed, the rule was `rule`, and the pod saw
    /// nothing.
    #[track_caller]
    pub(crate) fn assert_refuses(&self, request: impl AsRef<[u8]>, status: u16, code: &str, rule: &str) {
        let mut client = self.client();
        client.send(request).unwrap();
        assert_failure(&client.answer().unwrap(), status, code, self);
        assert_closed(&mut client);
        assert_eq!(self.rejected(rule), 1.0, "rejections by {rule}:\n{}", self.gateway.metrics().unwrap());
        assert_eq!(self.received(), "", "the pod saw a request that was refused");
    }

    /// Everything that the pod has got and will get of what was sent up to now.
    ///
    /// One more request is asked through the gateway, and left out of what is returned: the pod's connections are
    /// accepted in their order, so that by its answer the earlier ones are known, and what they bring can be waited
    /// for.
    #[track_caller]
    pub(crate) fn received(&self) -> String {
        const LAST: &str = "/vnc/1/last-of-all";
        assert_eq!(self.ask(get(LAST, "Connection: close\r\n")).status(), 200);
        let is_last = |record: &Record| record.requests().last().is_some_and(|head| head.target() == "/last-of-all");
        let records = self.pod.connections();
        assert_eq!(records.iter().filter(|&record| is_last(record)).count(), 1);
        let mut received = Vec::new();
        for record in records {
            if is_last(&record) {
                let bytes = record.bytes();
                let last = record.requests().pop().expect("it is the last one");
                received.extend(bytes.strip_suffix(last.raw()).expect("nothing follows the last request"));
            } else {
                until("an earlier connection to end", || record.is_over());
                received.extend(record.bytes());
            }
        }
        String::from_utf8(received).unwrap()
    }

    /// How often the gateway says that `rule` was broken.
    pub(crate) fn rejected(&self, rule: &str) -> f64 {
        self.gateway.metric("gateway_http_rejected_total", &[("rule", rule)]).unwrap()
    }
}

/// A gateway with one worker, so that all its connections share one pool.
pub(crate) fn builder() -> GatewayBuilder {
    Gateway::builder().args(["--workers", "1"])
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    wait::until(what, PATIENCE, || condition().then_some(())).unwrap();
}

/// A GET with a Host and further `fields`, each with its line end.
pub(crate) fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: gw.example\r\n{fields}\r\n")
}

/// A response of 200 with further `fields`, each with its line end, and a body.
pub(crate) fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}

/// An answer that the gateway wrote itself, for a program: its status, its code twice, and nothing about the inside.
#[track_caller]
pub(crate) fn assert_failure(answer: &Answer, status: u16, code: &str, scene: &Scene) {
    let told = (answer.status(), answer.field("x-gateway-error"));
    assert_eq!(told, (status, Some(code)), "{} {}", answer.head.start(), answer.text());
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["code"], code);
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    assert_tells_no_address(answer, scene);
}

/// Nothing of the pod's address is in the answer.
#[track_caller]
pub(crate) fn assert_tells_no_address(answer: &Answer, scene: &Scene) {
    let told = String::from_utf8_lossy(answer.head.raw()).into_owned() + &answer.text();
    let address = scene.pod.address();
    for inside in [address.ip().to_string(), format!(":{}", address.port())] {
        assert!(!told.contains(&inside), "{inside} in:\n{told}");
    }
}

/// The gateway ends the connection in order, without another byte.
#[track_caller]
pub(crate) fn assert_closed(client: &mut Client) {
    let (rest, end) = client.end().unwrap();
    assert_eq!((String::from_utf8_lossy(&rest).as_ref(), end), ("", End::Closed));
}

/// The connection takes another request.
#[track_caller]
pub(crate) fn assert_open(client: &mut Client) {
    let answer = client.ask(get("/nowhere", "")).expect("the connection is open");
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (404, Some("no_route")));
}
