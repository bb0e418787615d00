//! Things under keys, of which the one that lies there for longest gives way.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;

use hashbrown::HashMap;

/// A bounded number of things, several of which may have one key.
pub(super) struct Shelf<K, V> {
    /// Each with its number, in the order of these.
    by_key: HashMap<K, VecDeque<(u64, V)>>,
    /// Whose each number is. The least is what has lain here for longest.
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> Shelf<K, V> {
    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Takes what was put last under a key, if it `fits`.
    pub(super) fn take_if(&mut self, key: &K, fits: impl FnOnce(&V) -> bool) -> Option<V> {
        let things = self.by_key.get_mut(key)?;
        let (number, thing) = things.pop_back_if(|(_, thing)| fits(thing))?;
        if things.is_empty() {
            self.by_key.remove(key);
        }
        self.order.remove(&number);
        Some(thing)
    }

    /// Puts a thing under a key. What is too much for the key, or for all keys together, goes: the oldest first.
    pub(super) fn put(&mut self, key: K, thing: V, per_key_max: usize, max: usize) {
        if per_key_max == 0 || max == 0 {
            return;
        }
        if self.by_key.get(&key).is_some_and(|things| things.len() >= per_key_max) {
            self.drop_first(&key);
        }
        while self.len() >= max
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = oldest.clone();
            self.drop_first(&oldest);
        }
        let number = self.next;
        self.next += 1;
        self.order.insert(number, key.clone());
        self.by_key.entry(key).or_default().push_back((number, thing));
    }

    /// Drops what is not to be kept.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&V) -> bool) {
        let Self { by_key, order, .. } = self;
        by_key.retain(|_, things| {
            things.retain(|(number, thing)| {
                let kept = keeps(thing);
                if !kept {
                    order.remove(number);
                }
                kept
            });
            !things.is_empty()
        });
    }

    /// Drops what has lain under a key for longest.
    fn drop_first(&mut self, key: &K) {
        let Some(things) = self.by_key.get_mut(key) else { return };
        if let Some((number, _)) = things.pop_front() {
            self.order.remove(&number);
        }
        if things.is_empty() {
            self.by_key.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8),
        Take(u8),
        Retain(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..4_u8).prop_map(Step::Put),
            3 => (0..4_u8).prop_map(Step::Take),
            1 => (1..5_u32).prop_map(Step::Retain),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against a list, which is as simple as it is slow.
        #[test]
        fn it_is_a_list_of_which_the_first_goes(steps in steps(), per_key_max in 0..4_usize, max in 0..8_usize) {
            let mut shelf = Shelf::default();
            let mut list: Vec<(u8, u32)> = Vec::new();
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Put(key) if per_key_max > 0 && max > 0 => {
                        if list.iter().filter(|(other, _)| *other == key).count() >= per_key_max {
                            list.remove(list.iter().position(|(other, _)| *other == key).unwrap());
                        }
                        if list.len() >= max {
                            list.remove(0);
                        }
                        list.push((key, number));
                        shelf.put(key, number, per_key_max, max);
                    }
                    Step::Put(key) => shelf.put(key, number, per_key_max, max),
                    Step::Take(key) => {
                        let last = list.iter().rposition(|(other, number)| *other == key && number % 5 != 0);
                        let is_last = list.iter().rposition(|(other, _)| *other == key) == last;
                        let expected = last.filter(|_| is_last).map(|index| list.remove(index).1);
                        prop_assert_eq!(shelf.take_if(&key, |number| number % 5 != 0), expected);
                    }
                    Step::Retain(divisor) => {
                        list.retain(|(_, number)| number % divisor != 0);
                        shelf.retain(|number| number % divisor != 0);
                    }
                }
                prop_assert_eq!(shelf.len(), list.len());
                let mut left: Vec<(u8, u32)> = shelf
                    .by_key
                    .iter()
                    .flat_map(|(key, things)| things.iter().map(|(_, thing)| (*key, *thing)))
                    .collect();
                left.sort_by_key(|(_, number)| *number);
                prop_assert_eq!(&left, &list);
                prop_assert!(shelf.by_key.values().all(|things| !things.is_empty()));
            }
        }
    }
}
