//! Which calls a server answers, for whom, and with what.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use weft_pki::NodeIdentity;
use weft_types::Role;
use weft_wire::{Call, CallTag, Fault, Features, ProtocolVersion};

use crate::stream::{self, Answer};

/// Who calls, and what holds for the call.
#[derive(Debug, Clone, Copy)]
pub struct CallContext {
    /// The caller, proven by its certificate.
    pub peer: NodeIdentity,
    /// Where it calls from.
    pub address: SocketAddr,
    /// After this the caller no longer waits.
    pub deadline: Instant,
    /// The version that holds for the connection.
    pub version: ProtocolVersion,
    /// What both sides can do.
    pub features: Features,
}

/// Why a handler gives no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure<R> {
    /// The operation says no.
    Refused(R),
    /// The operation could not be attempted or finished; see each [`Fault`] for what the caller concludes.
    Fault(Fault),
}

impl<R> From<Fault> for Failure<R> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Handler = Box<dyn Fn(CallContext, &[u8], Bytes) -> Result<Work, Fault> + Send + Sync>;

/// One call's handler, and who may reach it.
pub(crate) struct Route {
    roles: Vec<Role>,
    /// Whether the work may be dropped half-done when the caller gives up.
    pub(crate) cancellable: bool,
    handler: Handler,
}

impl Route {
    pub(crate) fn allows(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Decodes the body and begins the work, or says why not.
    pub(crate) fn begin(&self, context: CallContext, body: &[u8], bulk: Bytes) -> Result<Work, Fault> {
        (self.handler)(context, body, bulk)
    }
}

/// The calls that a server answers. A call that is not registered is unknown; a role that is not named may not
/// make the call.
#[derive(Default)]
pub struct Router {
    routes: BTreeMap<CallTag, Route>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

impl Router {
    /// Answers no call but the hello, which the server answers itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers a call of these roles. Once begun, the work is finished even when the caller gives up.
    ///
    /// # Panics
    ///
    /// When the call is registered twice: that is a mistake of the program, not of a peer.
    #[must_use]
    pub fn on<C, H, F>(self, roles: &[Role], handler: H) -> Self
    where
        C: Call,
        H: Fn(CallContext, C, Bytes) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(C::Reply, Bytes), Failure<C::Refusal>>> + Send + 'static,
    {
        self.register(roles, false, handler)
    }

    /// Answers a call of these roles. The work is dropped at its next pause when the caller gives up or its deadline
    /// passes: only for work that may stop anywhere, such as a read.
    ///
    /// # Panics
    ///
    /// As [`on`](Self::on).
    #[must_use]
    pub fn on_cancellable<C, H, F>(self, roles: &[Role], handler: H) -> Self
    where
        C: Call,
        H: Fn(CallContext, C, Bytes) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(C::Reply, Bytes), Failure<C::Refusal>>> + Send + 'static,
    {
        self.register(roles, true, handler)
    }

    fn register<C, H, F>(mut self, roles: &[Role], cancellable: bool, handler: H) -> Self
    where
        C: Call,
        H: Fn(CallContext, C, Bytes) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(C::Reply, Bytes), Failure<C::Refusal>>> + Send + 'static,
    {
        assert!(C::TAG != CallTag::HELLO, "the server itself answers the hello");
        let erased: Handler = Box::new(move |context, body, bulk| {
            let call = stream::decode::<C>(body).map_err(|_| Fault::Malformed)?;
            let work = handler(context, call, bulk);
            Ok(Box::pin(async move { Answer::of::<C>(work.await) }))
        });
        let route = Route { roles: roles.to_vec(), cancellable, handler: erased };
        assert!(self.routes.insert(C::TAG, route).is_none(), "{} is registered twice", C::TAG);
        self
    }

    pub(crate) fn route(&self, tag: CallTag) -> Option<&Route> {
        self.routes.get(&tag)
    }
}
