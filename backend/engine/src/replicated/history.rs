//! Which records count, by the ends of ownerships that the shard's row records.

use weft_types::{Epoch, Position};
use weft_wire::ownership::{EpochEnd, ShardRow};

/// Adds an end to a row's ends: every ownership up to `epoch` that has none yet ended at `seq`.
pub(super) fn record_end(ends: &mut Vec<EpochEnd>, epoch: Epoch, seq: u64) {
    match ends.last_mut() {
        Some(last) if last.epoch >= epoch => {}
        // The ownerships between wrote nothing that counts.
        Some(last) if last.seq == seq => last.epoch = epoch,
        _ if epoch > Epoch::default() => ends.push(EpochEnd { epoch, seq }),
        _ => {}
    }
}

/// Drops the ends that a checkpoint makes superfluous: it alone says that records of earlier ownerships behind it are
/// void.
pub(super) fn forget_ends(ends: &mut Vec<EpochEnd>, checkpoint: Position) {
    ends.retain(|end| end.epoch >= checkpoint.epoch);
}

/// Whether a position is one that a record that counts can have, as far as the row tells.
///
/// Ends are ascending, and each holds for its ownership and all before it that have no end of their own. A checkpoint
/// stands for all ends before it.
pub(super) fn admits(row: &ShardRow, position: Position) -> bool {
    let Position { epoch, seq } = position;
    if seq == 0 || epoch == Epoch::default() || epoch > row.epoch {
        return false;
    }
    if let Some(checkpoint) = &row.checkpoint {
        let floor = checkpoint.position;
        let later = seq > floor.seq && epoch >= floor.epoch;
        if !(later || position == floor || (seq < floor.seq && epoch <= floor.epoch)) {
            return false;
        }
    }
    let before = row.ends.iter().rev().find(|end| end.epoch < epoch);
    let own = row.ends.iter().find(|end| end.epoch >= epoch);
    before.is_none_or(|end| seq > end.seq) && own.is_none_or(|end| seq <= end.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_types::{Digest, NodeId};
    use weft_wire::ownership::CheckpointRoot;

    fn position(epoch: u64, seq: u64) -> Position {
        Position { epoch: Epoch::new(epoch), seq }
    }

    fn row(epoch: u64, ends: &[(u64, u64)], checkpoint: Option<Position>) -> ShardRow {
        let mut recorded = Vec::new();
        for (epoch, seq) in ends {
            record_end(&mut recorded, Epoch::new(*epoch), *seq);
        }
        let checkpoint = checkpoint.map(|position| CheckpointRoot {
            position,
            epoch: position.epoch,
            number: 1,
            parts: 1,
            bytes: 1,
            digest: Digest([0; 32]),
            drives: Vec::new(),
        });
        let owner = NodeId::from_bytes([1; 16]);
        ShardRow {
            version: 1,
            epoch: Epoch::new(epoch),
            owner,
            segments: Vec::new(),
            ends: recorded,
            checkpoint,
        }
    }

    #[test]
    fn records_past_a_recorded_end_are_void_wherever_they_reappear() {
        let row = row(9, &[(2, 10), (5, 20), (8, 20)], None);
        for counts in [(1, 1), (2, 10), (3, 11), (5, 20), (9, 21)] {
            assert!(admits(&row, position(counts.0, counts.1)), "{counts:?}");
        }
        for void in [(1, 11), (2, 11), (5, 10), (5, 21), (7, 21), (8, 21), (9, 20), (10, 21), (0, 1)] {
            assert!(!admits(&row, position(void.0, void.1)), "{void:?}");
        }
    }

    #[test]
    fn a_checkpoint_stands_for_the_ends_before_it() {
        let mut row = row(9, &[(2, 10), (5, 20)], Some(position(4, 15)));
        forget_ends(&mut row.ends, position(4, 15));
        assert_eq!(row.ends, [EpochEnd { epoch: Epoch::new(5), seq: 20 }]);
        for counts in [(4, 15), (4, 16), (5, 20), (6, 21), (9, 21)] {
            assert!(admits(&row, position(counts.0, counts.1)), "{counts:?}");
        }
        for void in [(2, 16), (3, 16), (3, 15), (5, 15), (5, 21)] {
            assert!(!admits(&row, position(void.0, void.1)), "{void:?}");
        }
    }

    #[test]
    fn ownerships_that_wrote_nothing_share_one_end() {
        let row = row(9, &[(1, 0), (2, 7), (3, 7), (3, 7), (5, 7)], None);
        let ends: Vec<_> = row.ends.iter().map(|end| (end.epoch.get(), end.seq)).collect();
        assert_eq!(ends, [(1, 0), (5, 7)]);
    }
}
