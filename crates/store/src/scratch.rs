//! A buffer that a thread keeps for what it encodes: what is kept of it is copied out in its exact length, so that rows take no
//! more memory than they need and nothing grows step by step.

use std::cell::Cell;

use bytes::Bytes;

/// The longest buffer that a thread keeps, and the longest content that is copied rather than handed on.
const LONGEST: usize = 64 << 10;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `f` with an empty buffer.
pub(crate) fn scratch<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = SPARE.take();
    buffer.clear();
    let result = f(&mut buffer);
    if buffer.capacity() <= LONGEST {
        SPARE.set(buffer);
    }
    result
}

/// What is in the buffer.
pub(crate) fn keep(buffer: &mut Vec<u8>) -> Bytes {
    if buffer.len() <= LONGEST {
        Bytes::copy_from_slice(buffer)
    } else {
        std::mem::take(buffer).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_within_a_buffer_is_another_and_both_are_empty() {
        let fill = |outer: &mut Vec<u8>| {
            outer.extend_from_slice(b"outer");
            let inner = scratch(|inner| {
                assert!(inner.is_empty());
                inner.extend_from_slice(b"inner");
                keep(inner)
            });
            (keep(outer), inner)
        };
        for _ in 0..2 {
            assert_eq!(scratch(fill), ("outer".into(), "inner".into()));
        }
        let long = vec![7; LONGEST + 1];
        let kept = scratch(|buffer| {
            buffer.extend_from_slice(&long);
            keep(buffer)
        });
        assert_eq!(kept, long);
    }
}
