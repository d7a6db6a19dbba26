//! What all batches have in common.

use std::collections::HashSet;

use wire::Fault;

use crate::api::BatchResultErrorEntry;
use crate::errors;
use crate::fault::missing;

/// Most entries of a batch.
const MOST: usize = 10;

/// The entries of a batch, whose ids must be well formed and distinct.
pub fn entries<E>(
    given: Option<Vec<E>>,
    kind: &str,
    id: impl Fn(&E) -> Option<&str>,
) -> Result<Vec<E>, Fault> {
    let entries = given.unwrap_or_default();
    if entries.is_empty() {
        return Err(errors::empty_batch_request(format!(
            "There should be at least one {kind} in the request."
        )));
    }
    if entries.len() > MOST {
        return Err(errors::too_many_entries_in_batch_request(format!(
            "Maximum number of entries per request are {MOST}. You have sent {}.",
            entries.len()
        )));
    }
    let mut seen = HashSet::new();
    for entry in &entries {
        let id = id(entry).ok_or_else(|| missing(&format!("{kind}.1.Id")))?;
        let is_allowed = (1..=80).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !is_allowed {
            return Err(errors::invalid_batch_entry_id(
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
            ));
        }
        if !seen.insert(id) {
            return Err(errors::batch_entry_ids_not_distinct(format!(
                "Id {id} repeated."
            )));
        }
    }
    Ok(entries)
}

/// How a failed entry is told.
pub fn failure(id: Option<String>, fault: &Fault) -> BatchResultErrorEntry {
    BatchResultErrorEntry {
        id,
        sender_fault: Some(fault.blame == wire::fault::Blame::Sender),
        code: Some(fault.code.to_string()),
        message: Some(fault.message.to_string()),
    }
}

/// A list that is left out where it is empty.
pub fn shown<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
