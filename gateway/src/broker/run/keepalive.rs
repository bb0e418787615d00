//! Whether both sides are still there.

use std::io;

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{CLIENT, Host, Over, Shared, UPSTREAM, shut};
use crate::broker::frame;
use crate::broker::outbox::Outbox;
use crate::broker::session::{End, Input};
use crate::config::KeepaliveFrame;

impl<H: Host> Shared<'_, H> {
    /// Asks both sides for a sign of life, again and again. A side that has sent nothing since it was last asked is
    /// gone: the client's end ends the session, the upstream's is a loss like any other.
    pub(super) async fn keep_alive(&self) -> Over {
        if self.config.keepalive.is_zero() {
            std::future::pending::<()>().await;
        }
        let pings = self.config.keepalive_frame == KeepaliveFrame::Ping;
        loop {
            tokio::time::sleep(self.config.keepalive).await;
            let upstream = self.upstream.borrow().clone();
            if pings && self.is_silent(CLIENT) {
                return self.ends(Input::Told(End::ClientSilent));
            }
            if let Some(upstream) = upstream {
                let silent = pings && self.is_silent(UPSTREAM);
                let amid = self.up.borrow().is_amid_message();
                if silent || self.ask(&upstream, true, amid).await.is_err() {
                    shut(&upstream.socket);
                }
            }
            if self.ask(&self.client, false, self.amid_message.get()).await.is_err() {
                return self.ends(Input::ClientClosed(None));
            }
        }
    }

    async fn ask(&self, peer: &Outbox, masked: bool, amid_message: bool) -> io::Result<()> {
        let opcode = match self.config.keepalive_frame {
            KeepaliveFrame::Ping => OpCode::Control(Control::Ping),
            // Between two fragments it would begin a message within a message; the fragments keep the way warm.
            KeepaliveFrame::Empty if amid_message => return Ok(()),
            KeepaliveFrame::Empty => OpCode::Data(Data::Binary),
        };
        let mut asked = Vec::new();
        frame::append(opcode, &[], masked.then(rand::random), &mut asked);
        self.host.kept_alive();
        peer.control(&asked).await
    }

    /// Whether a side that could have been heard was not, since this was last asked.
    fn is_silent(&self, side: usize) -> bool {
        let side = &self.sides[side];
        !side.heard.replace(false) && !side.waits.get()
    }
}
