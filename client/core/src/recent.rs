//! A bounded map that keeps what was used last.

use core::hash::Hash;
use std::collections::HashMap;

/// Two generations: what is used moves to the young one; when that is full, the old one goes. Holds the `capacity`
/// entries used last, and at most twice as many.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
    /// Entries had to go since it was last asked.
    lost: bool,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), capacity: capacity.max(1), lost: false }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            self.insert(key.clone(), value);
        }
        self.young.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.lost |= !self.old.is_empty();
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Whether entries had to go since this was asked last: by an insertion, or by a look at another one, which moves it.
    pub(crate) const fn has_lost(&mut self) -> bool {
        core::mem::replace(&mut self.lost, false)
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.young.iter().chain(&self.old)
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_bounded_and_never_wrong(steps in proptest::collection::vec((0..3_u8, 0..30_u8, any::<u8>()), 0..200)) {
            let mut recent = Recent::new(5);
            let mut all = HashMap::new();
            for (kind, key, value) in steps {
                match kind {
                    0 => {
                        recent.insert(key, value);
                        all.insert(key, value);
                    }
                    1 => {
                        recent.remove(&key);
                        all.remove(&key);
                    }
                    _ => {
                        if let Some(found) = recent.get(&key) {
                            prop_assert_eq!(Some(&*found), all.get(&key));
                        }
                    }
                }
                prop_assert!(recent.len() <= 10);
            }
        }
    }

    #[test]
    fn a_look_that_makes_others_go_tells() {
        let mut recent = Recent::new(3);
        (0..5).for_each(|key| recent.insert(key, ()));
        assert!(!recent.has_lost());
        assert!(recent.get(&0).is_some());
        assert!(!recent.has_lost(), "1 and 2 are still there");
        assert!(recent.get(&1).is_some());
        assert!(recent.has_lost() && !recent.has_lost());
        assert!(recent.get(&2).is_none());
    }

    #[test]
    fn what_is_used_stays() {
        let mut recent = Recent::new(3);
        for key in 0..100 {
            recent.insert(key, ());
            recent.insert(1000, ());
            assert!(recent.get(&1000).is_some());
        }
        assert!(recent.get(&5).is_none());
    }
}
