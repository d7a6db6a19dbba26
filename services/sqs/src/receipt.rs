//! Receipt handles: opaque to clients, and complete, so that they mean the same after a restart.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The queue it was given by.
    pub birth: u64,
    /// The messages among which it counts: a purge begins others.
    pub line: u64,
    /// The message.
    pub seq: u64,
    /// The how-manieth receive of it.
    pub count: u32,
}

const LENGTH: usize = 8 * 3 + 4 + 4;

impl Receipt {
    /// The handle.
    pub fn handle(&self) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(&self.birth.to_be_bytes());
        bytes.extend_from_slice(&self.line.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&check(&bytes).to_be_bytes());
        STANDARD.encode(bytes)
    }
    /// Reads a handle; `None` for what this function's twin did not make.
    pub fn read(handle: &str) -> Option<Receipt> {
        let bytes: [u8; LENGTH] = STANDARD.decode(handle).ok()?.try_into().ok()?;
        let (body, sum) = bytes.split_at(LENGTH - 4);
        if check(body).to_be_bytes() != sum {
            return None;
        }
        let number = |at: usize| -> Option<u64> {
            Some(u64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?))
        };
        Some(Receipt {
            birth: number(0)?,
            line: number(8)?,
            seq: number(16)?,
            count: u32::from_be_bytes(body.get(24..28)?.try_into().ok()?),
        })
    }
}

/// FNV-1a: tells a mistyped handle, not a forged one.
fn check(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, b| {
        (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_reads_back_and_a_mistyped_one_does_not() {
        let receipt = Receipt {
            birth: 1,
            line: u64::MAX,
            seq: 77,
            count: 3,
        };
        let handle = receipt.handle();
        assert_eq!(Receipt::read(&handle), Some(receipt));
        assert_eq!(Receipt::read(&handle.replacen('A', "B", 1)), None);
        assert_eq!(Receipt::read("garbage"), None);
        assert_eq!(Receipt::read(""), None);
    }
}
