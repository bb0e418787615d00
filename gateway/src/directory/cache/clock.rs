//! A map with a fixed number of places that forgets what was not used lately.
//!
//! The clock (second chance) algorithm: entries lie in a ring, a use marks its entry, and when a place is needed a hand
//! goes round, takes the marks off and stops at the first entry without one. It is nearly as good as
//! least-recently-used, and a hit writes one flag instead of relinking a list. The caller hashes, so that one hash
//! serves the shard and both its maps.

use hashbrown::HashTable;

use crate::route::SandboxId;

/// At most `capacity` values, by sandbox. Memory is taken as entries come, not in advance.
pub(in crate::directory) struct Clock<V> {
    slots: Vec<Slot<V>>,
    /// Positions in `slots`.
    index: HashTable<usize>,
    hand: usize,
    capacity: usize,
}

struct Slot<V> {
    hash: u64,
    id: SandboxId,
    used: bool,
    value: V,
}

impl<V> Clock<V> {
    /// Room for `capacity` entries, 1 at least.
    pub(in crate::directory) fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), index: HashTable::new(), hand: 0, capacity: capacity.max(1) }
    }

    /// The value of `id`, marked as used.
    pub(in crate::directory) fn get(&mut self, hash: u64, id: &SandboxId) -> Option<&mut V> {
        let position = self.position(hash, id)?;
        let slot = &mut self.slots[position];
        slot.used = true;
        Some(&mut slot.value)
    }

    /// Sets the value of `id`. If `id` is new and every place is taken, an entry that was not used lately makes room.
    pub(in crate::directory) fn put(&mut self, hash: u64, id: &SandboxId, value: V) {
        if let Some(position) = self.position(hash, id) {
            self.slots[position].value = value;
            return;
        }
        let slot = Slot { hash, id: id.clone(), used: false, value };
        let position = if self.slots.len() < self.capacity {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let position = self.free_a_place();
            self.slots[position] = slot;
            position
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, position, |&position| slots[position].hash);
    }

    /// Forgets `id`.
    pub(in crate::directory) fn remove(&mut self, hash: u64, id: &SandboxId) {
        let Some(position) = self.position(hash, id) else { return };
        self.unlink(position);
        self.slots.swap_remove(position);
        let last = self.slots.len();
        if let Some(moved) = self.slots.get(position) {
            *self.index.find_mut(moved.hash, |&at| at == last).expect("every slot is in the index") = position;
        }
    }

    /// How many entries there are.
    pub(in crate::directory) fn len(&self) -> usize {
        self.slots.len()
    }

    fn position(&self, hash: u64, id: &SandboxId) -> Option<usize> {
        self.index.find(hash, |&position| self.slots[position].id == *id).copied()
    }

    /// Turns the hand to an entry without a mark and takes it out of the index. Two rounds at most: the first takes
    /// every mark.
    fn free_a_place(&mut self) -> usize {
        loop {
            let position = self.hand % self.slots.len();
            self.hand = position + 1;
            let slot = &mut self.slots[position];
            if !std::mem::take(&mut slot.used) {
                self.unlink(position);
                return position;
            }
        }
    }

    fn unlink(&mut self, position: usize) {
        let hash = self.slots[position].hash;
        let entry = self.index.find_entry(hash, |&at| at == position);
        let _position = entry.expect("every slot is in the index").remove();
    }
}
