//! Waiting for packets that are between an interface and a socket.
//!
//! The kernel takes a packet from the interface to its socket within one read-side section of RCU
//! (`netif_receive_skb_internal`), and `membarrier(2)` waits until all that had begun are over
//! (`MEMBARRIER_CMD_GLOBAL`). That takes some milliseconds, on a thread of its own for all streams that wait.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use gateway_common::packet::Way;
use tokio::sync::oneshot;

use super::{Labels, Ways};
use crate::sys::repair;

/// The thread that waits.
pub(super) struct Grace(mpsc::Sender<Waiting>);

enum Waiting {
    /// Somebody is to be told.
    Tell(oneshot::Sender<()>),
    /// A place may be another stream's.
    Free(u32),
}

impl Grace {
    pub(super) fn start(ways: Arc<Ways>, labels: Arc<Labels>) -> io::Result<Self> {
        repair::wait_for_packets()?;
        let (sender, receiver) = mpsc::channel::<Waiting>();
        std::thread::Builder::new().name("grace".to_owned()).spawn(move || {
            while let Ok(first) = receiver.recv() {
                let waiting: Vec<_> = std::iter::once(first).chain(receiver.try_iter()).collect();
                if let Err(error) = repair::wait_for_packets() {
                    tracing::error!(%error, "membarrier(2) works no more");
                    return;
                }
                for waiting in waiting {
                    match waiting {
                        // Who has given up needs no answer.
                        Waiting::Tell(sender) => drop(sender.send(())),
                        Waiting::Free(number) => {
                            [2 * number, 2 * number + 1].iter().for_each(|&index| clear(ways.get(index)));
                            labels.get(number).owner.store(0, Ordering::Release);
                        }
                    }
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Waits until the packets that are on their way now have arrived. False where that cannot be known.
    pub(super) async fn passed(&self) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.0.send(Waiting::Tell(sender)).is_ok() && receiver.await.is_ok()
    }

    /// Gives a place to others as soon as no packet uses it any more.
    pub(super) fn free(&self, number: u32) {
        // Without the thread it stays taken.
        let _stays = self.0.send(Waiting::Free(number)).is_err();
    }
}

fn clear(way: &Way<AtomicU64>) {
    let Way { asked, timestamp_add, packets, dropped, passed, fin, end_ns, reset, mtu, state, .. } = way;
    let words = [asked, timestamp_add, packets, dropped, passed, fin, end_ns, reset, mtu, state];
    words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
}
