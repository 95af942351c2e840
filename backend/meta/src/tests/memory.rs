//! Rows in memory: the simplest transaction there is.

use std::collections::BTreeMap;

use weft_wire::meta::MetaError;

use crate::{RowKey, Transaction};

/// Encoded keys and values. What is to be discarded is done on a clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Transaction for Memory {
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, MetaError> {
        Ok(self.rows.get(&key.encode()).cloned())
    }

    fn put(&mut self, key: RowKey, value: Vec<u8>) {
        self.rows.insert(key.encode(), value);
    }

    fn delete(&mut self, key: RowKey) {
        self.rows.remove(&key.encode());
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<(RowKey, Vec<u8>)>, MetaError> {
        let rows = self.rows.range(from.to_vec()..until.to_vec()).take(limit);
        rows.map(|(key, value)| {
            let key = RowKey::decode(key).map_err(|_| MetaError::Damaged)?;
            Ok((key, value.clone()))
        })
        .collect()
    }
}
