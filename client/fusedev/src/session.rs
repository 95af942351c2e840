//! A mount from its beginning to its end.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};

use rustix::io::Errno;

use crate::channel::{Channel, Received};
use crate::interrupts::Flights;
use crate::mount::{MountOptions, Unmounter, mount};
use crate::notifier::Notifier;
use crate::protocol::{
    Agreement, Answer, Header, Init, NodeId, Refused, Request, Terms, TooOld, flags, parse,
};
use crate::reply::Reply;

/// Room for the longest request beside the bytes of a WRITE.
const REQUEST_FIELDS: usize = 8192;

/// What is mounted.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request, now or later. Names and bytes lie in the buffer of the thread that read it, which is free for
    /// the next one when this returns.
    fn handle(&self, header: &Header, request: Request<'_>, reply: Reply);

    /// The kernel gives back references to an inode.
    fn forget(&self, node: NodeId, references: u64);
}

/// Why there is no mount, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The kernel refused the mount.
    #[error("the kernel refused the mount")]
    Mount(#[source] io::Error),
    /// The kernel speaks another version.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The connection broke.
    #[error("the connection to the kernel broke")]
    Broken(#[source] io::Error),
}

/// A mount whose requests wait until [`serve`](Self::serve). It is taken away when this is dropped.
#[derive(Debug)]
pub struct Session {
    channel: Arc<Channel>,
    agreement: Agreement,
    unmounter: Unmounter,
    ended: bool,
}

impl Session {
    /// Mounts at a path, and agrees with the kernel.
    ///
    /// # Errors
    /// [`SessionError`]; nothing is left mounted.
    pub fn mount(at: &Path, options: &MountOptions, terms: &Terms) -> Result<Self, SessionError> {
        let at = at.canonicalize().map_err(SessionError::Mount)?;
        let channel = mount(&at, options).map_err(SessionError::Mount)?;
        let unmounter = Unmounter::of(at);
        match agree(&channel, terms) {
            Ok(agreement) => Ok(Self { channel: Arc::new(channel), agreement, unmounter, ended: false }),
            Err(error) => {
                // The error says more than that this fails too.
                let _ = unmounter.detach();
                Err(error)
            }
        }
    }

    /// What was agreed upon.
    pub const fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// What takes the mount away while it is served.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// What tells the kernel that something changed.
    pub fn notifier(&self) -> Notifier {
        Notifier::new(Arc::clone(&self.channel), &self.agreement)
    }

    /// Reads requests by so many threads, until the mount is taken away by whomever or one of them fails. Threads that
    /// are left then end with the process.
    ///
    /// # Errors
    /// [`SessionError::Broken`]; the mount is out of the tree then.
    pub fn serve(mut self, handler: &Arc<impl Handler>, threads: usize) -> Result<(), SessionError> {
        let served = self.read_all(handler, threads);
        self.ended = served.is_ok();
        served.map_err(SessionError::Broken)
    }

    fn read_all(&self, handler: &Arc<impl Handler>, threads: usize) -> io::Result<()> {
        let flights = Arc::<Flights>::default();
        flights.watch()?;
        let _stopping = Stopping(Arc::clone(&flights));
        let (ended, ends) = mpsc::channel();
        for number in 0..threads.max(1) {
            let reader = Reader {
                channel: self.channel_of(number),
                handler: Arc::clone(handler),
                flights: Arc::clone(&flights),
                agreement: self.agreement,
            };
            let end = End { ended: ended.clone(), how: None };
            let thread = std::thread::Builder::new().name(format!("fuse-{number}"));
            thread.spawn(move || end.of(&reader))?;
        }
        drop(ended);
        ends.into_iter().collect()
    }

    /// A descriptor of its own for each thread but the first, where the kernel gives one.
    fn channel_of(&self, number: usize) -> Arc<Channel> {
        let another = (number > 0).then(|| self.channel.another().ok()).flatten();
        another.map_or_else(|| Arc::clone(&self.channel), Arc::new)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.unmounter.detach()
        {
            tracing::warn!(%error, "a mount that nobody serves stays");
        }
    }
}

/// Ends the thread that looks at callers.
struct Stopping(Arc<Flights>);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Tells how a thread ended, by a panic too.
struct End {
    ended: mpsc::Sender<io::Result<()>>,
    how: Option<io::Result<()>>,
}

impl End {
    fn of(mut self, reader: &Reader<impl Handler>) {
        self.how = Some(reader.run());
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let died = || Err(io::Error::other("a thread that reads requests died"));
        // Who waited for it may have heard enough.
        let _ = self.ended.send(self.how.take().unwrap_or_else(died));
    }
}

/// The first request of a mount is INIT.
fn agree(channel: &Channel, terms: &Terms) -> Result<Agreement, SessionError> {
    let mut buffer = vec![0; REQUEST_FIELDS];
    let (header, init) = receive_init(channel, &mut buffer).map_err(SessionError::Broken)?;
    let answer = |error, parts: &[u8]| {
        let head = crate::protocol::answer_header(header.unique, error, parts.len());
        channel.send(&[io::IoSlice::new(&head), io::IoSlice::new(parts)])
    };
    match Agreement::between(&init, terms) {
        Ok(agreement) => {
            let sent = answer(None, Answer::agreement(&agreement).as_bytes());
            sent.map_err(|error| SessionError::Broken(error.into()))?;
            Ok(agreement)
        }
        Err(error) => {
            // The mount is taken away in any case.
            let _ = answer(Some(Errno::PROTO), &[]);
            Err(error.into())
        }
    }
}

fn receive_init(channel: &Channel, buffer: &mut [u8]) -> io::Result<(Header, Init)> {
    loop {
        match channel.receive(buffer)? {
            Received::Nothing => {}
            Received::End => return Err(io::ErrorKind::NotConnected.into()),
            Received::Request(len) => match parse(&buffer[..len], false) {
                Ok((header, Request::Init(init))) => return Ok((header, init)),
                _ => return Err(io::Error::other("the kernel does not begin with INIT")),
            },
        }
    }
}

/// One thread that reads.
struct Reader<H> {
    channel: Arc<Channel>,
    handler: Arc<H>,
    flights: Arc<Flights>,
    agreement: Agreement,
}

impl<H: Handler> Reader<H> {
    fn run(&self) -> io::Result<()> {
        let mut buffer = vec![0; self.agreement.max_write as usize + REQUEST_FIELDS];
        loop {
            match self.channel.receive(&mut buffer)? {
                Received::Request(len) => self.dispatch(&buffer[..len]),
                Received::Nothing => {}
                Received::End => return Ok(()),
            }
        }
    }

    fn dispatch(&self, bytes: &[u8]) {
        let reply =
            |header: &Header| Reply::new(header, Arc::clone(&self.channel), Arc::clone(&self.flights));
        match parse(bytes, self.agreement.has(flags::SETXATTR_EXT)) {
            Ok((_, Request::Interrupt(unique))) => self.flights.interrupt(unique),
            Ok((header, Request::Forget { references })) => self.handler.forget(header.node, references),
            Ok((_, Request::BatchForget(forgets))) => {
                forgets.iter().for_each(|(node, references)| self.handler.forget(node, references));
            }
            Ok((header, Request::Destroy)) => reply(&header).ok(),
            Ok((header, Request::Init(_))) => reply(&header).error(Errno::IO),
            Ok((header, Request::Unknown { .. })) => reply(&header).error(Errno::NOSYS),
            Ok((header, request)) => {
                let reply = reply(&header);
                // The reply answers as it is dropped; the others' requests are read on.
                let handled = catch_unwind(AssertUnwindSafe(|| self.handler.handle(&header, request, reply)));
                if handled.is_err() {
                    tracing::error!(request = %header.unique, "the handler of a request panicked");
                }
            }
            Err(Refused::Malformed(header)) => {
                tracing::error!(request = %header.unique, "a request is shorter than its kind");
                reply(&header).error(Errno::IO);
            }
            Err(Refused::Headless) => tracing::error!(len = bytes.len(), "a request has no header"),
        }
    }
}

#[cfg(test)]
mod tests;
