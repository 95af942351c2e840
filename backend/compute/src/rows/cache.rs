//! Plaintext rows that were used lately.

use std::collections::HashMap;

use super::Value;

/// Bytes of one of the two generations.
const GENERATION_BYTES: usize = 16 << 20;
/// What an entry costs beside its key and value.
const ENTRY_BYTES: usize = 96;

/// A bounded cache in two generations: when the young one is full it becomes the old one, and what is used in the old
/// one becomes young again. Also remembers that a row does not exist.
#[derive(Default)]
pub(super) struct Cache {
    young: HashMap<Vec<u8>, Option<Value>>,
    old: HashMap<Vec<u8>, Option<Value>>,
    young_bytes: usize,
}

impl Cache {
    /// The row, if it is known; `Some(None)` for one that is known not to exist.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<Option<Value>> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone());
        Some(value)
    }

    /// The row is as the index has it, or will have it once the batches before are applied.
    pub(super) fn put(&mut self, key: Vec<u8>, value: Option<Value>) {
        self.old.remove(&key);
        self.young_bytes += key.len() + value.as_ref().map_or(0, |value| value.len()) + ENTRY_BYTES;
        self.young.insert(key, value);
        if self.young_bytes >= GENERATION_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_makes_room() {
        let mut cache = Cache::default();
        let large: Value = vec![0; GENERATION_BYTES / 8].into();
        cache.put(b"used".to_vec(), Some(large.clone()));
        cache.put(b"unused".to_vec(), Some(large.clone()));
        for round in 0..40_u8 {
            cache.put(vec![round], Some(large.clone()));
            assert_eq!(cache.get(b"used"), Some(Some(large.clone())), "round {round}");
            assert!(cache.young.len() + cache.old.len() <= 18);
        }
        assert_eq!(cache.get(b"unused"), None);
    }

    #[test]
    fn a_newer_value_replaces_the_older_one_in_either_generation() {
        let mut cache = Cache::default();
        cache.put(vec![1], Some(vec![1].into()));
        cache.old = std::mem::take(&mut cache.young);
        cache.put(vec![1], None);
        assert_eq!(cache.get(&[1]), Some(None));
        assert!(cache.old.is_empty());
    }
}
