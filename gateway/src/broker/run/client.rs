//! The direction from the client, which lasts as long as the session.

use tungstenite::protocol::frame::coding::{Control, OpCode};

use super::{CLIENT, Frame, Host, Over, Shared, shut};
use crate::broker::frame::{self, Event};
use crate::broker::session::Input;
use crate::sys::ChunkSize;

impl<H: Host> Shared<'_, H> {
    /// Moves frames from the client to whatever upstream there is, until the client leaves.
    pub(super) async fn read_client(&self, behind: Vec<u8>) -> Over {
        if let Some(over) = self.client_bytes(&behind).await {
            return over;
        }
        drop(behind);
        let mut size = ChunkSize::Small;
        loop {
            match self.client.socket.recv(size).await {
                Ok(Some(chunk)) => {
                    size = chunk.next_size();
                    if let Some(over) = self.client_bytes(&chunk).await {
                        return over;
                    }
                }
                Ok(None) | Err(_) => return self.ends(Input::ClientClosed(None)),
            }
        }
    }

    async fn client_bytes(&self, bytes: &[u8]) -> Option<Over> {
        self.sides[CLIENT].heard.set(true);
        let mut rest = bytes;
        let mut out = Vec::new();
        while !rest.is_empty() {
            let before = out.len();
            let taken = self.up.borrow_mut().take(rest, &mut rand::random, &mut out);
            let (used, event) = match taken {
                Ok(taken) => taken,
                Err(error) => return Some(self.ends(Input::Broken(error))),
            };
            rest = &rest[used..];
            match event {
                None | Some(Event::Pong) => {}
                Some(Event::Data(_)) => self.host.frame(match (out.len() > before, self.upstream.borrow().is_some()) {
                    (true, true) => Frame::Up,
                    (true, false) => Frame::Held,
                    (false, _) => Frame::Dropped,
                }),
                Some(Event::Ping(payload)) => {
                    if let Some(over) = self.send_up(std::mem::take(&mut out)).await {
                        return Some(over);
                    }
                    let mut pong = Vec::new();
                    frame::append(OpCode::Control(Control::Pong), &payload, None, &mut pong);
                    if self.client.control(&pong).await.is_err() {
                        return Some(self.ends(Input::ClientClosed(None)));
                    }
                }
                Some(Event::Close(close)) => {
                    // Without an upstream there will be none any more.
                    if self.upstream.borrow().is_some()
                        && let Some(over) = self.send_up(out).await
                    {
                        return Some(over);
                    }
                    return Some(self.ends(Input::ClientClosed(Some(close))));
                }
            }
        }
        self.send_up(out).await
    }

    /// Sends frames to the upstream. One that is lost on the way is noticed where the upstream is read. Without an
    /// upstream they are held, and where there is no room, waited with: the client is not read any further, and TCP
    /// tells it so.
    ///
    /// To be called before anything else is waited for: what was read while an upstream was there is that one's.
    async fn send_up(&self, mut frames: Vec<u8>) -> Option<Over> {
        if frames.is_empty() {
            return None;
        }
        let linked = self.linked.notified();
        let mut upstream = self.upstream.borrow().clone();
        if upstream.is_none() {
            if self.held.borrow_mut().takes(&mut frames) {
                return None;
            }
            self.sides[CLIENT].waits.set(true);
            let left = tokio::select! {
                () = linked => false,
                () = self.client.socket.gone() => true,
            };
            self.sides[CLIENT].waits.set(false);
            if left {
                return Some(self.ends(Input::ClientClosed(None)));
            }
            upstream = self.upstream.borrow().clone();
        }
        // One that came and went at once has had them: the rest of their last message is dropped.
        let upstream = upstream?;
        let bytes = frames.len();
        self.sides[CLIENT].waits.set(true);
        let sent = upstream.data(frames).await;
        self.sides[CLIENT].waits.set(false);
        match sent {
            Ok(()) => self.host.moved(true, bytes),
            Err(_) => shut(&upstream.socket),
        }
        None
    }
}
