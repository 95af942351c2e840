//! Pure: what becomes of bytes that were written under a session that is over.

use weft_wire::meta::Attributes;

/// What becomes of bytes that were not committed before their session was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody has changed the file meanwhile: they are committed under the next session.
    Kept,
    /// Somebody has, or may have: they would overwrite what they were not written over.
    Lost,
    /// There is no such file any more, or none that this mount could keep.
    Gone,
}

/// `known`: the change counter of the file, as this mount knew it when it could still hold bytes back; `found`: what the
/// owner tells of it under a session that may hold them back from now on, `None` of a file that it does not know.
pub(super) fn fate(known: u64, found: Option<&Attributes>) -> Fate {
    match found {
        None => Fate::Gone,
        // Others may have it open. With its last name it was this mount's as long as the session lasted.
        Some(found) if found.links == 0 => Fate::Gone,
        Some(found) if found.change == known => Fate::Kept,
        Some(_) => Fate::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_only_over_what_they_were_written_over() {
        let file = |change, links| Attributes { change, links, ..crate::tests::directory() };
        let rows = [
            (7, Some(file(7, 1)), Fate::Kept),
            (7, Some(file(7, 3)), Fate::Kept),
            (7, Some(file(8, 1)), Fate::Lost),
            (7, Some(file(6, 1)), Fate::Lost),
            (7, Some(file(7, 0)), Fate::Gone),
            (7, None, Fate::Gone),
        ];
        for (known, found, expected) in rows {
            assert_eq!(fate(known, found.as_ref()), expected, "{known} {found:?}");
        }
    }
}
