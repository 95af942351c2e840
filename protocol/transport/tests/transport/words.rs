//! Calls that only these tests make.

use minicbor::{Decode, Encode};
use weft_wire::{Call, CallTag, NoRefusal};

/// Gives the bulk back, and its length.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Echo {
    #[n(0)]
    pub(crate) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Echoed {
    #[n(0)]
    pub(crate) text: String,
    #[n(1)]
    pub(crate) bulk_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum EchoRefusal {
    #[n(0)]
    Quiet {
        #[n(0)]
        until: u64,
    },
}

impl Call for Echo {
    const TAG: CallTag = CallTag(0x7001);
    type Reply = Echoed;
    type Refusal = EchoRefusal;
}

/// Is answered when the test says so.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Wait {}

impl Call for Wait {
    const TAG: CallTag = CallTag(0x7002);
    type Reply = Wait;
    type Refusal = NoRefusal;
}

/// As [`Wait`], and dropped when its caller gives up.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct WaitCancellably {}

impl Call for WaitCancellably {
    const TAG: CallTag = CallTag(0x7003);
    type Reply = WaitCancellably;
    type Refusal = NoRefusal;
}

/// No server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Unheard {}

impl Call for Unheard {
    const TAG: CallTag = CallTag(0x70ff);
    type Reply = Unheard;
    type Refusal = NoRefusal;
}
