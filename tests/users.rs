//! What most stories have in common: pods that say who they are, a request to one of them, a stream into one.

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::Pod;
use gateway_tests::wait;
use gateway_tests::wire::{Answer, Client, UPGRADE_FIELDS};

/// A pod that answers every request with `name`, and sends back what a stream brings.
pub(crate) fn named(name: &'static str) -> Pod {
    let pod = Pod::start(move |request, connection| {
        if request.field("upgrade").is_some() {
            connection.switch(request)?;
            return connection.echo();
        }
        connection.body(request)?;
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
    });
    pod.unwrap()
}

/// One request to a sandbox, on a connection of its own.
pub(crate) fn get(gateway: &Gateway, sandbox: &str) -> Answer {
    Client::connect(gateway.addr()).unwrap().ask(request_to(sandbox, "Connection: close\r\n")).unwrap()
}

/// What answered, as status and body: `200 blue`, or for the gateway's own answers `404 sandbox_not_found`.
pub(crate) fn who(gateway: &Gateway, sandbox: &str) -> String {
    let answer = get(gateway, sandbox);
    let said = answer.field("x-gateway-error").map_or_else(|| answer.text(), str::to_owned);
    format!("{} {said}", answer.status())
}

/// A request head for a sandbox, with more fields.
pub(crate) fn request_to(sandbox: &str, fields: &str) -> String {
    format!("GET /vnc/{sandbox}/page HTTP/1.1\r\nHost: gateway.example\r\n{fields}\r\n")
}

/// An established stream into a sandbox whose pod echoes.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) client: Client,
}

impl Stream {
    /// Opens one and shows that it works.
    pub(crate) fn open(gateway: &Gateway, sandbox: &str) -> Self {
        Self::open_with(gateway, sandbox, "")
    }

    /// The same with more fields in the request.
    pub(crate) fn open_with(gateway: &Gateway, sandbox: &str, fields: &str) -> Self {
        let mut client = Client::connect(gateway.addr()).unwrap();
        client.send(request_to(sandbox, &format!("{UPGRADE_FIELDS}{fields}"))).unwrap();
        let head = client.head().unwrap();
        assert_eq!(head.status(), 101, "{}", head.start());
        let mut stream = Self { client };
        stream.echo("opened");
        stream
    }

    /// Sends `text` and reads it back.
    pub(crate) fn echo(&mut self, text: &str) {
        self.client.send(text).unwrap();
        assert_eq!(self.client.exactly(text.len()).unwrap(), text.as_bytes());
    }
}

/// Waits until `/readyz` answers with `status`.
pub(crate) fn until_ready(gateway: &Gateway, status: u16) {
    let what = format!("/readyz to answer {status}");
    wait::until(&what, wait::PATIENCE, || gateway.readiness().is_ok_and(|now| now == status).then_some(())).unwrap();
}

/// Waits until a metric is `at_least` so high.
pub(crate) fn until_metric(gateway: &Gateway, name: &str, labels: &[(&str, &str)], at_least: f64) {
    let what = format!("{name} {labels:?} to be {at_least}");
    let reached = || gateway.metric(name, labels).is_ok_and(|value| value >= at_least).then_some(());
    wait::until(&what, wait::PATIENCE, reached).unwrap();
}
