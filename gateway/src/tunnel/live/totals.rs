//! What all streams together have carried, for the metrics.

use super::record::Counts;
use super::{Direction, LiveStreams, locked};
use crate::tunnel::Engine;

impl LiveStreams {
    /// Bytes by engine and direction since the start, ended streams included. Of those that a keeper sees, each is in
    /// the answer of one process only: whoever asks has to pass it on.
    #[must_use]
    pub fn bytes(&self) -> Vec<(Engine, Direction, u64)> {
        let mut moved = self.sum().moved;
        if let Some(keeper) = self.keeper() {
            moved[Engine::Packet as usize] = keeper.carried();
        }
        let bytes = |engine: Engine| {
            Direction::ALL.map(|direction| (engine, direction, moved[engine as usize][direction as usize]))
        };
        Engine::ALL.into_iter().flat_map(bytes).collect()
    }

    /// Socket buffers that the kernel passed from socket to socket, by direction.
    #[must_use]
    pub fn skbs(&self) -> Vec<(Direction, u64)> {
        let skbs = self.sum().skbs;
        Direction::ALL.map(|direction| (direction, skbs[direction as usize])).to_vec()
    }

    fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        for shard in &self.shards {
            let shard = locked(shard);
            let live = shard.records.values().map(|record| record.counts());
            live.chain([shard.ended]).for_each(|counts| sum.add(counts));
        }
        sum
    }

    /// How many streams each engine carries now.
    #[must_use]
    pub fn open_by_engine(&self) -> Vec<(Engine, usize)> {
        let mut counts = [0; Engine::ALL.len()];
        let shards = self.all();
        for shard in &shards {
            // Each stream is looked at once: it may change its engine meanwhile.
            shard.records.values().for_each(|record| counts[record.engine() as usize] += 1);
        }
        counts[Engine::Packet as usize] += self.keeper().map_or(0, |keeper| keeper.len());
        Engine::ALL.into_iter().map(|engine| (engine, counts[engine as usize])).collect()
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        let Self { moved, skbs } = other;
        let counters = self.moved.iter_mut().chain([&mut self.skbs]).flatten();
        counters.zip(moved.into_iter().chain([skbs]).flatten()).for_each(|(sum, count)| *sum += count);
    }
}
