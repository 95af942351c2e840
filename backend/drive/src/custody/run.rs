//! Running operations one after the other, for simulations and for devices that nobody serves.

use weft_types::NodeId;

use super::Custody;
use super::operation::{Operation, Refusal, Reply};
use super::seam::WriteItems;

/// Decides, writes, applies, answers.
///
/// # Errors
/// The call's refusals.
pub fn run<O: Operation>(
    custody: &mut Custody,
    items: &mut impl WriteItems,
    operation: &O,
    caller: NodeId,
) -> Result<Reply<O>, Refusal<O>> {
    let decision = operation.decide(custody, caller)?;
    for step in decision.steps() {
        if let Err(failed) = items.write(step) {
            custody.abandon(decision);
            return Err(O::refusal(&failed));
        }
    }
    custody.apply(decision);
    Ok(operation.reply(custody, false))
}
