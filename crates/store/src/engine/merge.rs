use bytes::Bytes;

use super::{Row, Scanned};

/// Lays `overlay` (newer values; `None` hides) over `base`, both in the direction of the scan.
///
/// `end` says how far `base` reaches; of `overlay` nothing beyond is used. Appends at most `limit`
/// rows to `out`.
pub(crate) fn merge<'a>(
    base: Vec<Row>,
    end: Scanned,
    overlay: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    reverse: bool,
    limit: usize,
    out: &mut Vec<Row>,
) -> Scanned {
    // A long run of deletions must not hold the caller's lock for long.
    let mut steps = 4 * limit + 1024;
    let full = out.len() + limit;
    let mut base = base.into_iter().peekable();
    let mut overlay = overlay.peekable();
    loop {
        let from_overlay = match (base.peek(), overlay.peek()) {
            (None, None) => return end,
            (Some(_), None) => false,
            (None, Some((key, _))) => match &end {
                Scanned::Through(last) if is_before(last, key, reverse) => return end,
                _ => true,
            },
            (Some((old, _)), Some((new, _))) => !is_before(old, new, reverse),
        };
        let key = if from_overlay {
            let Some((key, value)) = overlay.next() else {
                return end;
            };
            base.next_if(|(old, _)| old == key);
            if let Some(value) = value {
                out.push((key.clone(), value.clone()));
            }
            key.clone()
        } else {
            let Some(row) = base.next() else { return end };
            let key = row.0.clone();
            out.push(row);
            key
        };
        steps -= 1;
        if out.len() == full || steps == 0 {
            return Scanned::Through(key);
        }
    }
}

fn is_before(left: &Bytes, right: &Bytes, reverse: bool) -> bool {
    if reverse { left > right } else { left < right }
}
