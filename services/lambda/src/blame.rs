//! Whose an error is: Lambda's errors say so in a member `Type`, but for those of its younger parts.

use wire::Fault;
use wire::fault::Blame;

/// The member.
const TYPE: &str = "Type";

/// An error that does not say whose it is.
pub fn untyped(fault: Fault) -> Fault {
    fault.field(TYPE, "")
}

/// An error as it goes out.
pub fn typed(mut fault: Fault) -> Fault {
    match fault.fields.iter().position(|(name, _)| *name == TYPE) {
        Some(at) => {
            fault.fields.remove(at);
            fault
        }
        None => {
            let blame = match fault.blame {
                Blame::Sender => "User",
                Blame::Receiver => "Service",
            };
            fault.field(TYPE, blame)
        }
    }
}
