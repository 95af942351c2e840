//! UDP ports of this host.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::net::UdpSocket;

use super::waiting;

/// For so long a port that is to be had again is waited for.
const FREED_MAX: Duration = Duration::from_secs(3);

/// Why a port cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    /// Somebody listens on it.
    #[error("UDP port {} on {} is taken by another process", .0.port(), .0.ip())]
    Taken(SocketAddr),
    /// The host refuses it.
    #[error("UDP port {} on {} cannot be used", address.port(), address.ip())]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// Looks whether every address can be listened on now. Whoever comes later is told by the process that listens.
///
/// # Errors
/// [`PortError`] about the first that cannot.
pub(crate) fn check_free(addresses: impl IntoIterator<Item = SocketAddr>) -> Result<(), PortError> {
    for address in addresses {
        match UdpSocket::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(PortError::Taken(address)),
            Err(source) => return Err(PortError::Refused { address, source }),
        }
    }
    Ok(())
}

/// As [`check_free`], for ports that the cluster has had before: a process that was killed a moment ago keeps its port
/// until the kernel is done with its last thread.
///
/// # Errors
/// [`PortError`] about the first that cannot.
pub(crate) fn check_free_again(addresses: &[SocketAddr]) -> Result<(), PortError> {
    let freed = waiting::poll(FREED_MAX, || check_free(addresses.iter().copied()).ok());
    freed.map_or_else(|| check_free(addresses.iter().copied()), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address");
        let error = check_free([address]).expect_err("taken").to_string();
        assert!(error.contains(&address.port().to_string()) && error.contains("taken"), "{error}");
        let held = std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_millis(100));
            drop(taken);
        });
        check_free_again(&[address]).expect("free again");
        held.join().expect("let go");
    }
}
