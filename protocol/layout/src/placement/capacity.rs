//! How much a cluster holds, by exact integer arithmetic.

use std::collections::BTreeSet;

use weft_types::ByteCount;

use crate::{ClusterMap, DriveState, Protection};

/// Failure domains whose room is kept free, so that lost shards can be built again at once: one up to six domains,
/// two beyond. It is reserved capacity, not idle drives.
pub const fn hot_spare_domains(failure_domains: u32) -> u32 {
    if failure_domains <= 6 { 1 } else { 2 }
}

/// Bytes of files that fit into `raw` bytes of drives spread evenly over `failure_domains`:
///
/// raw x (FD - HS) / FD x N / (N + M) x 0.9
///
/// HS is [`hot_spare_domains`]; the last tenth is for metadata, headers, tags and the drives' own cleaning. One
/// division, rounded down; 0 when no domain is left beside the spare.
pub const fn net_capacity(raw: ByteCount, failure_domains: u32, protection: Protection) -> ByteCount {
    let usable = failure_domains.saturating_sub(hot_spare_domains(failure_domains)) as u128;
    if usable == 0 {
        return ByteCount::new(0);
    }
    let numerator = raw.get() as u128 * usable * protection.data() as u128 * 9;
    let denominator = failure_domains as u128 * protection.width() as u128 * 10;
    // Every factor of the fraction is below one, so the quotient is at most `raw`.
    ByteCount::new((numerator / denominator) as u64)
}

impl ClusterMap {
    /// [`net_capacity`] of the drives that are to stay: a drive that is down counts, one that drains does not.
    pub fn net_capacity(&self) -> ByteCount {
        let staying = || self.drives.iter().filter(|drive| drive.state != DriveState::Draining);
        let domains: BTreeSet<_> = staying().map(|drive| drive.failure_domain.as_str()).collect();
        let raw = staying().fold(0_u64, |raw, drive| raw.saturating_add(drive.capacity.get()));
        net_capacity(ByteCount::new(raw), u32::try_from(domains.len()).unwrap_or(u32::MAX), self.protection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protection::tests::any_protection;
    use proptest::prelude::*;

    #[test]
    fn capacity_is_net_of_spare_parity_and_the_last_tenth() {
        let net = |raw, domains, protection: &str| {
            net_capacity(ByteCount::new(raw), domains, protection.parse().expect("offered")).get()
        };
        assert_eq!(net(6_000, 6, "4+2"), 3_000);
        assert_eq!(net(8_000, 8, "4+2"), 3_600);
        assert_eq!(net(3_000, 3, "2+1"), 1_200);
        assert_eq!(net(7, 6, "4+2"), 3, "7 x 5/6 x 4/6 x 9/10 = 3.5");
        assert_eq!([net(1_000, 0, "4+2"), net(1_000, 1, "4+2")], [0, 0]);
    }

    proptest! {
        #[test]
        fn no_cluster_overflows(raw: u64, domains: u32, protection in any_protection()) {
            prop_assert!(net_capacity(ByteCount::new(raw), domains, protection) <= ByteCount::new(raw));
        }
    }
}
