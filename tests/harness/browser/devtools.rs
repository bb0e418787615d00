//! The DevTools protocol: commands and events as JSON over one WebSocket, with a session per tab in it.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// A screenshot of a busy page on a loaded machine is the slowest command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Events kept for a story to look at; older ones are dropped.
const EVENTS_MAX: usize = 1000;

/// The connection to the browser. Events are read whenever an answer is awaited.
#[derive(Debug)]
pub(super) struct DevTools {
    socket: WebSocket<TcpStream>,
    last_id: u64,
    events: Vec<Value>,
}

/// Sends one command, to a tab's `session` or to the browser itself, and waits for its result.
pub(super) fn call(devtools: &Mutex<DevTools>, session: Option<&str>, method: &str, params: &Value) -> Result<Value> {
    devtools.lock().expect("no thread panics during a command").call(session, method, params).context(method.to_owned())
}

/// The events of one tab so far.
pub(super) fn events(devtools: &Mutex<DevTools>, session: &str) -> Vec<Value> {
    let devtools = devtools.lock().expect("no thread panics during a command");
    devtools.events.iter().filter(|event| event["sessionId"] == session).cloned().collect()
}

impl DevTools {
    pub(super) fn connect(port: u16, path: &str) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect(address).context("connect to DevTools")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let (socket, _) = tungstenite::client(format!("ws://{address}{path}"), stream).context("speak to DevTools")?;
        Ok(Self { socket, last_id: 0, events: Vec::new() })
    }

    fn call(&mut self, session: Option<&str>, method: &str, params: &Value) -> Result<Value> {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        self.socket.send(Message::text(command.to_string()))?;
        loop {
            let mut message: Value = match self.socket.read()? {
                Message::Text(text) => serde_json::from_str(&text)?,
                _ => continue,
            };
            if message["id"] == self.last_id {
                return match message.get("error") {
                    Some(error) => bail!("{error}"),
                    None => Ok(message["result"].take()),
                };
            }
            if message.get("method").is_some() {
                if self.events.len() == EVENTS_MAX {
                    self.events.remove(0);
                }
                self.events.push(message);
            }
        }
    }
}
