//! What all streams together have carried, for the metrics.

use super::record::Counts;
use super::{Direction, LiveStreams, locked};
use crate::tunnel::Engine;

/// Bytes and socket buffers since the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// By engine and direction.
    pub bytes: Vec<(Engine, Direction, u64)>,
    /// Socket buffers that the kernel passed from socket to socket.
    pub skbs: Vec<(Direction, u64)>,
}

impl LiveStreams {
    /// What was carried since the start, ended streams included.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut sum = Counts::default();
        for shard in &self.shards {
            let shard = locked(shard);
            shard
                .records
                .values()
                .map(|record| record.counts())
                .chain([shard.ended])
                .for_each(|counts| sum.add(counts));
        }
        if let Some(keeper) = self.keeper() {
            sum.moved[Engine::Packet as usize] = keeper.carried();
        }
        let bytes = |engine: Engine| {
            Direction::ALL.map(|direction| (engine, direction, sum.moved[engine as usize][direction as usize]))
        };
        Totals {
            bytes: Engine::ALL.into_iter().flat_map(bytes).collect(),
            skbs: Direction::ALL.map(|direction| (direction, sum.skbs[direction as usize])).to_vec(),
        }
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
