//! Flat storage indexed by typed keys: the machine's transports, up tracks and down tracks.
//!
//! Slots are reused lowest first. Invariant: `len ≤ capacity`, which is fixed at construction; memory grows on
//! demand up to it and a full slab refuses.

use std::marker::PhantomData;

use crate::id::SlabKey;

/// A bounded slab of `T` indexed by `K`.
#[derive(Debug)]
pub struct Slab<K, T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    max: usize,
    key: PhantomData<K>,
}

impl<K: SlabKey, T> Slab<K, T> {
    /// An empty slab of at most `max` values.
    pub fn new(max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            max,
            key: PhantomData,
        }
    }

    /// Stores a value; gives it back when the slab is full.
    pub fn insert(&mut self, value: T) -> Result<K, T> {
        if let Some(index) = self.free.pop() {
            self.slots[index as usize] = Some(value);
            return Ok(K::from_index(index));
        }
        let index = self.slots.len();
        if index >= self.max {
            return Err(value);
        }
        self.slots.push(Some(value));
        Ok(K::from_index(index as u32))
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: K) -> Option<T> {
        let value = self.slots.get_mut(key.index())?.take()?;
        self.free.push(key.index() as u32);
        Some(value)
    }

    /// The value of `key`.
    pub fn get(&self, key: K) -> Option<&T> {
        self.slots.get(key.index())?.as_ref()
    }

    /// The value of `key`, mutable.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.slots.get_mut(key.index())?.as_mut()
    }

    /// Values stored.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys and values in order of the key.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((K::from_index(i as u32), slot.as_ref()?)))
    }

    /// Keys and values in order of the key, mutable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter_map(|(i, slot)| Some((K::from_index(i as u32), slot.as_mut()?)))
    }

    /// Slots that may hold a value: keys are below this.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::UpTrackKey;

    #[test]
    fn slots_are_reused_and_bounded() {
        let mut slab: Slab<UpTrackKey, &str> = Slab::new(2);
        let a = slab.insert("a").unwrap();
        let b = slab.insert("b").unwrap();
        assert_eq!(slab.insert("c"), Err("c"));
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.insert("c"), Ok(a));
        assert_eq!(slab.get(b), Some(&"b"));
        assert_eq!(slab.iter().map(|(_, v)| *v).collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!(slab.len(), 2);
    }
}
