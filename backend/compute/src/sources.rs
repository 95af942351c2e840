//! Where an owner takes chance and the time of day from: the host, or a simulation.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use weft_types::Timestamp;

type Random = dyn Fn(&mut [u8]) + Send + Sync;
type Clock = dyn Fn() -> Timestamp + Send + Sync;

/// Chance and the time of day, as arguments. Cheap to clone; clones draw from the same sources.
#[derive(Clone)]
pub struct Sources {
    random: Arc<Random>,
    clock: Arc<Clock>,
}

impl Sources {
    /// Those of a simulation. `random` fills with bytes that never come again; `clock` tells the time of day.
    pub fn new(
        random: impl Fn(&mut [u8]) + Send + Sync + 'static,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        Self { random: Arc::new(random), clock: Arc::new(clock) }
    }

    /// The host's cryptographically strong source, and its clock.
    pub fn of_the_host() -> Self {
        // Without random bytes nothing can be kept secret: there is nothing to go on with.
        let random = |bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
        Self::new(random, || {
            Timestamp::from_unix(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
        })
    }

    /// Fills with random bytes.
    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        (self.random)(bytes);
    }

    /// Bytes for a nonce or a salt.
    pub(crate) fn array<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}
