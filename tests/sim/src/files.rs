//! What files must hold, and what they may: bytes that were acknowledged, and bytes that were only written.

use crate::dice::Dice;

/// A file as its writer knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// What is durable.
    synced: Vec<u8>,
    /// What was written since, in order: it may be there, in whole or in part.
    later: Vec<(usize, Vec<u8>)>,
}

/// What is known of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The possible states, at least one; `None`: the name is not there.
    pub(crate) possible: Vec<Option<Content>>,
}

impl Content {
    /// One that was read.
    pub(crate) fn read(bytes: Vec<u8>) -> Self {
        Self { synced: bytes, later: Vec::new() }
    }

    /// What its writer reads.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for (at, written) in &self.later {
            let end = at + written.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*at..end].copy_from_slice(written);
        }
        bytes
    }

    /// These bytes were written.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.later.push((at, bytes.to_vec()));
    }

    /// All is durable now.
    pub(crate) fn sync(&mut self) {
        self.synced = self.bytes();
        self.later.clear();
    }

    /// It is this long now.
    pub(crate) fn resize(&mut self, len: usize) {
        let whole = self.bytes().len();
        self.later.retain(|(at, _)| *at < len);
        self.later.iter_mut().for_each(|(at, bytes)| bytes.truncate(len - *at));
        self.synced.truncate(len);
        if len > whole || self.synced.len() < len {
            // What was not durable below the new end may be there or not.
            self.synced.resize(len, 0);
        }
    }

    /// Whether somebody else may find these bytes.
    fn allows(&self, found: &[u8]) -> Result<(), String> {
        let most = self.bytes().len();
        if found.len() < self.synced.len() || found.len() > most {
            return Err(format!("{} bytes of {} to {most}", found.len(), self.synced.len()));
        }
        for (at, byte) in found.iter().enumerate() {
            let durable = self.synced.get(at).copied().unwrap_or(0);
            let of_later = |(start, bytes): &(usize, Vec<u8>)| {
                at.checked_sub(*start).and_then(|within| bytes.get(within)) == Some(byte)
            };
            if *byte != durable && !self.later.iter().any(of_later) {
                return Err(format!(
                    "byte {at} is {byte}, not {durable} nor of {} later writes",
                    self.later.len()
                ));
            }
        }
        Ok(())
    }
}

impl Known {
    /// A name that is not there.
    pub(crate) fn absent() -> Self {
        Self { possible: vec![None] }
    }

    /// The one state, when there is no doubt.
    pub(crate) fn sure(&self) -> Option<&Option<Content>> {
        match self.possible.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// There is no doubt any more.
    pub(crate) fn set(&mut self, state: Option<Content>) {
        self.possible = vec![state];
    }

    /// It may be so too.
    pub(crate) fn or(&mut self, state: Option<Content>) {
        self.possible.push(state);
    }

    /// This was found, by somebody who knows nothing else.
    ///
    /// # Errors
    /// Why it must not have been.
    pub(crate) fn find(&mut self, found: Option<Vec<u8>>) -> Result<(), String> {
        let mut faults = Vec::new();
        for state in &self.possible {
            match (state, &found) {
                (None, None) => faults.clear(),
                (Some(content), Some(bytes)) => match content.allows(bytes) {
                    Ok(()) => faults.clear(),
                    Err(fault) => {
                        faults.push(fault);
                        continue;
                    }
                },
                (None, Some(bytes)) => {
                    faults.push(format!("it is there, with {} bytes", bytes.len()));
                    continue;
                }
                (Some(content), None) => {
                    faults.push(format!("it is gone, with {} durable bytes", content.synced.len()));
                    continue;
                }
            }
            self.possible = vec![found.map(Content::read)];
            return Ok(());
        }
        Err(faults.join("; "))
    }
}

/// Bytes that are hardly written twice.
pub(crate) fn pattern(dice: &mut Dice, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    dice.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_bytes_are_there_and_later_ones_may_be() {
        let mut content = Content::default();
        content.write(0, b"aaaa");
        content.sync();
        content.write(2, b"bbbb");
        for found in ["aaaa", "aabb", "aabbbb", "aaab", "aabbbb"] {
            assert_eq!(content.allows(found.as_bytes()), Ok(()), "{found}");
        }
        for found in ["aaa", "abbb", "aabbbbb", "aacc"] {
            assert!(content.allows(found.as_bytes()).is_err(), "{found}");
        }
        let mut known = Known { possible: vec![None, Some(content)] };
        known.find(Some(b"aabb".to_vec())).expect("it may");
        assert!(known.find(None).is_err(), "it was seen");
    }
}
