//! The streams without sockets among the others: the keeper has them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{LiveStreams, StreamGuard, locked};
use crate::bpf::splicer::Place;
use crate::tunnel::packet::Keeper;

impl LiveStreams {
    /// What gives the streams their numbers.
    #[must_use]
    pub fn ids(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.next_id)
    }

    /// Says who keeps streams without sockets, and gives him those of gateways before this one, by their numbers in the
    /// maps. The first call wins.
    pub fn set_keeper(&self, keeper: &Arc<Keeper>, adopted: Vec<u32>) {
        let first = self.keeper.set(Arc::clone(keeper)).is_ok();
        debug_assert!(first, "the keeper was set twice");
        self.adopt(adopted);
    }

    /// Gives the keeper streams of gateways that are gone.
    pub fn adopt(&self, numbers: Vec<u32>) {
        if let Some(keeper) = self.keeper() {
            keeper
                .adopt(numbers, |stream| self.admission.admit_existing(stream.client.ip(), &stream.sandbox, self.caps));
        }
    }

    /// Who keeps streams without sockets.
    pub fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.keeper.get()
    }
}

impl StreamGuard {
    /// Leaves the stream, which has no sockets any more, to the keeper.
    pub(in crate::tunnel) fn leave_to_keeper(mut self, place: Place) {
        let permit = self.permit.take().expect("nobody else takes it");
        let keeper = self.streams.keeper().expect("a stream is spliced only where there is one");
        let mut shard = locked(&self.streams.shards[self.shard]);
        // Whoever counts holds the shard, and sees the stream in one of the two.
        keeper.enter(place, permit);
        shard.forget(&self.record);
    }
}
