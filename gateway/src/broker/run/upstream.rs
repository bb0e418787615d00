//! The direction from an upstream, for as long as that lasts.

use tungstenite::protocol::frame::coding::{Control, OpCode};

use super::{Frame, Host, Over, Shared, UPSTREAM};
use crate::broker::frame::{self, Event, Relay};
use crate::broker::outbox::Outbox;
use crate::broker::session::{Input, Step};
use crate::sys::ChunkSize;

/// What came of an upstream's bytes.
enum Passed {
    On,
    Lost,
    Over(Over),
}

impl<H: Host> Shared<'_, H> {
    /// Moves frames from an upstream to the client. `None` when the upstream is lost.
    pub(super) async fn read_upstream(&self, upstream: &Outbox, behind: Vec<u8>) -> Option<Over> {
        let mut down = Relay::new(false, self.config.message_bytes_max as u64);
        match self.upstream_bytes(&mut down, upstream, &behind).await {
            Passed::On => {}
            Passed::Lost => return None,
            Passed::Over(over) => return Some(over),
        }
        drop(behind);
        let mut size = ChunkSize::Small;
        loop {
            let Ok(Some(chunk)) = upstream.socket.recv(size).await else { return None };
            size = chunk.next_size();
            match self.upstream_bytes(&mut down, upstream, &chunk).await {
                Passed::On => {}
                Passed::Lost => return None,
                Passed::Over(over) => return Some(over),
            }
        }
    }

    async fn upstream_bytes(&self, down: &mut Relay, upstream: &Outbox, bytes: &[u8]) -> Passed {
        self.sides[UPSTREAM].heard.set(true);
        let mut rest = bytes;
        let mut out = Vec::new();
        let mut closed = false;
        while !rest.is_empty() && !closed {
            let (used, event) = match down.take(rest, &mut rand::random, &mut out) {
                Ok(taken) => taken,
                Err(error) => return Passed::Over(self.ends(Input::Broken(error))),
            };
            rest = &rest[used..];
            match event {
                None | Some(Event::Pong) => {}
                Some(Event::Data(exit)) => {
                    self.host.frame(Frame::Down);
                    if exit.is_some() {
                        let step = self.on(Input::Exited);
                        debug_assert_eq!(step, Step::Continue);
                    }
                }
                Some(Event::Ping(payload)) => {
                    let mut pong = Vec::new();
                    frame::append(OpCode::Control(Control::Pong), &payload, Some(rand::random()), &mut pong);
                    if upstream.control(&pong).await.is_err() {
                        closed = true;
                    }
                }
                Some(Event::Close(close)) => {
                    let mut answer = Vec::new();
                    close.append(Some(rand::random()), &mut answer);
                    // It is going in any case.
                    let _gone = upstream.control(&answer).await.is_err();
                    closed = true;
                }
            }
        }
        self.amid_message.set(down.is_amid_message());
        let bytes = out.len();
        if bytes > 0 {
            self.sides[UPSTREAM].waits.set(true);
            let sent = self.client.data(out).await;
            self.sides[UPSTREAM].waits.set(false);
            if sent.is_err() {
                return Passed::Over(self.ends(Input::ClientClosed(None)));
            }
            self.host.moved(false, bytes);
        }
        if closed { Passed::Lost } else { Passed::On }
    }
}
