//! Room for files, net of parity. Pure.

use weft_layout::ClusterMap;
use weft_types::ByteCount;

use crate::membership::Membership;

/// Net room left for files: capacity without what is used, and no more than the drives that are up can take while
/// every stripe is written whole. `None` while no drive has said how full it is.
pub(crate) fn net_free(map: &ClusterMap, membership: &Membership) -> Option<ByteCount> {
    if !membership.has_heard_of_drives(map) {
        return None;
    }
    let (_, used) = membership.raw_space(map);
    let left = map.net_capacity().saturating_sub(net(map, used, true));
    Some(match membership.raw_writable(map) {
        Some(writable) => left.min(net(map, writable, false)),
        None => left,
    })
}

/// Bytes of files that these bytes of shards stand for: their data shards' share.
fn net(map: &ClusterMap, raw: ByteCount, round_up: bool) -> ByteCount {
    let (data, width) = (u128::from(map.protection.data()), u128::from(map.protection.width()));
    let data = u128::from(raw.get()) * data;
    let net = if round_up { data.div_ceil(width) } else { data / width };
    ByteCount::new(u64::try_from(net).unwrap_or(u64::MAX))
}
