//! Buffers that contents are read into, lent and taken back: fresh memory for each piece would cost more, in page
//! faults, than the copy into it.

use bytes::Bytes;
use parking_lot::Mutex;

/// The length of a buffer: large enough that a system call costs nothing beside the copy, small enough that the
/// buffers of one reader stay in the processor's cache.
pub(super) const LEN: usize = 256 << 10;
/// Buffers kept while nobody needs them.
const KEPT: usize = 32;

static IDLE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer on its way through `fill` and out as the bytes that `fill` says it wrote.
struct Lent {
    buffer: Box<[u8]>,
    len: usize,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut idle = IDLE.lock();
        if idle.len() < KEPT {
            idle.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// What `fill` writes into a buffer of `len` bytes, at most [`LEN`]; it answers how many those are.
pub(super) fn filled<E>(
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Result<Bytes, E> {
    let idle = IDLE.lock().pop();
    let mut lent = Lent {
        buffer: idle.unwrap_or_else(|| vec![0; LEN].into()),
        len: 0,
    };
    lent.len = fill(&mut lent.buffer[..len.min(LEN)])?.min(LEN);
    Ok(Bytes::from_owner(lent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_comes_back_shows_nothing_of_before() {
        let first = filled(LEN, |buffer| {
            buffer.fill(7);
            Ok::<_, ()>(LEN)
        });
        drop(first);
        let second = filled(3, |buffer| {
            buffer.copy_from_slice(b"abc");
            Ok::<_, ()>(3)
        });
        assert_eq!(second.unwrap(), Bytes::from("abc"));
        assert_eq!(filled(3, |_| Err("no")), Err("no"));
    }
}
