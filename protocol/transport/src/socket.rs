//! UDP sockets as quinn uses them, with the limits that quinn does not keep by itself.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, TokioRuntime, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Handle;

/// Asked of the kernel for each direction; it grants at most `net.core.rmem_max` and `wmem_max`. What a sender may
/// have in flight must fit, or datagrams are lost on the receiving host itself.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The largest UDP payload over IPv4, and the largest buffer that one `sendmsg` can carry.
pub(crate) const DATAGRAM_BYTES_MAX: u16 = 65_507;

/// A bound socket with large buffers.
pub(crate) fn open(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// How many datagrams of up to `mtu` bytes one `sendmsg` can carry.
pub(crate) fn segments_max(mtu: u16) -> usize {
    usize::from(DATAGRAM_BYTES_MAX / mtu.max(1)).max(1)
}

/// Tokio, pinned to one runtime whoever polls, with sockets that never overfill a `sendmsg`.
#[derive(Debug)]
pub(crate) struct PinnedRuntime {
    handle: Handle,
    segments_max: usize,
}

impl PinnedRuntime {
    /// For sockets whose datagrams are never larger than `mtu` bytes.
    pub(crate) fn new(handle: Handle, mtu: u16) -> Self {
        Self { handle, segments_max: segments_max(mtu) }
    }
}

impl quinn::Runtime for PinnedRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _entered = self.handle.enter();
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.handle.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _entered = self.handle.enter();
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        Ok(Arc::new(BoundedSocket { inner, segments_max: self.segments_max }))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// A socket that keeps a batch of datagrams within one `sendmsg`.
///
/// quinn batches ten datagrams whatever their size; beyond 64 KiB the kernel refuses the batch, quinn takes it for
/// lost, and the connection collapses to a trickle.
struct BoundedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    segments_max: usize,
}

impl fmt::Debug for BoundedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoundedSocket({:?}, {} segments)", self.inner.local_addr(), self.segments_max)
    }
}

impl AsyncUdpSocket for BoundedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments().min(self.segments_max)
    }

    /// The kernel joins received datagrams up to one datagram's largest size, which is what one receive buffer
    /// holds here anyway: more would only multiply the memory.
    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_never_exceeds_one_sendmsg() {
        for mtu in [1, 1200, 1452, 6550, 6551, 8940, 32_753, 32_754, 65_507, u16::MAX] {
            let segments = segments_max(mtu);
            assert!(segments >= 1, "{mtu}");
            assert!(segments == 1 || segments * usize::from(mtu) <= 65_507, "{mtu}");
        }
        assert_eq!(segments_max(8940), 7);
        assert_eq!(segments_max(65_507), 1);
    }
}
