//! One side's socket as several writers see it: frames leave whole and one after another.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use crate::sys::Socket;

/// How long a peer may take what was sent to it, as in the contract.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of control frames that may wait behind a frame of data. What is beyond it falls away: a peer that does not
/// read needs no more pongs (RFC 6455 section 5.5.3).
const CONTROL_BYTES_MAX: usize = 1024;

/// Who writes to a socket.
pub(super) struct Outbox {
    pub(super) socket: Socket,
    /// What goes before everything else: what was held for this peer.
    first: RefCell<Vec<u8>>,
    /// Control frames that wait.
    control: RefCell<Vec<u8>>,
    /// Held by who sends.
    turn: Mutex<()>,
    /// A frame may have left in part: its sender was given up.
    torn: Cell<bool>,
}

impl Outbox {
    /// `first` leaves with whatever is sent first, and before it.
    pub(super) fn new(socket: Socket, first: Vec<u8>) -> Self {
        Self {
            socket,
            first: RefCell::new(first),
            control: RefCell::default(),
            turn: Mutex::new(()),
            torn: Cell::new(false),
        }
    }

    /// Whether another frame would be read as a part of one that was cut.
    pub(super) fn is_torn(&self) -> bool {
        self.torn.get()
    }

    /// Sends whole frames, and the control frames that wait.
    pub(super) async fn data(&self, frames: Vec<u8>) -> io::Result<()> {
        let turn = self.turn.lock().await;
        self.send(frames, turn).await
    }

    /// Sends a control frame as soon as it fits in, without waiting for its turn: whoever sends at present sends it
    /// too. A reader must never wait for a writer of its own answers.
    pub(super) async fn control(&self, frame: &[u8]) -> io::Result<()> {
        {
            let mut control = self.control.borrow_mut();
            if control.len() + frame.len() <= CONTROL_BYTES_MAX {
                control.extend_from_slice(frame);
            }
        }
        match self.turn.try_lock() {
            Ok(turn) => self.send(Vec::new(), turn).await,
            Err(_) => Ok(()),
        }
    }

    async fn send(&self, mut frames: Vec<u8>, _turn: MutexGuard<'_, ()>) -> io::Result<()> {
        let first = self.first.take();
        if !first.is_empty() {
            frames.splice(..0, first);
        }
        frames.append(&mut self.control.take());
        while !frames.is_empty() {
            self.torn.set(true);
            let sending = tokio::time::timeout(WRITE_TIMEOUT, self.socket.send_bytes(frames));
            sending.await.map_err(|_| io::ErrorKind::TimedOut)??;
            self.torn.set(false);
            frames = self.control.take();
        }
        Ok(())
    }
}
