//! Sequence numbers: 186 bits that order the records of a shard, and shards before their children.

use std::fmt;

/// What a sequence number says. Written as a decimal number of 56 digits whose bits are, from the highest: a mark,
/// the second in which the shard was made, the shard's low bits, the place in the shard, the second of arrival, the
/// shard, and a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// The second in which the shard was made, later than that of its parents.
    pub(crate) epoch: u64,
    /// The place in the shard: 0 for its beginning.
    pub(crate) number: u64,
    /// The second of arrival.
    pub(crate) time: u64,
    /// The shard.
    pub(crate) shard: u64,
}

/// The place behind every record: what a closed shard ends with.
pub(crate) const END: u64 = 0x7fff_ffff_ffff_ffff;

/// The first hexadecimal digit; it makes all numbers equally long.
const MARK: u64 = 2;
const VERSION: u128 = 2;
/// Nine hexadecimal digits.
const SECONDS: u64 = 0xf_ffff_ffff;
/// The largest power of ten in 64 bits.
const CHUNK: u64 = 10_000_000_000_000_000_000;
const CHUNK_DIGITS: usize = 19;

impl Sequence {
    /// The number's 64-bit limbs, the highest first.
    fn limbs(self) -> [u64; 3] {
        let high = MARK << 56
            | (self.epoch & SECONDS) << 20
            | (self.shard & 0xf) << 16
            | self.number >> 48;
        let low = u128::from(self.number & 0xffff_ffff_ffff) << 80
            | u128::from(self.time & SECONDS) << 36
            | u128::from(self.shard & 0xffff_ffff) << 4
            | VERSION;
        [high, (low >> 64) as u64, low as u64]
    }

    /// Reads a number; `None` for what was never given.
    pub(crate) fn parse(text: &str) -> Option<Sequence> {
        if text.len() > 57 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut limbs = [0u64; 3];
        for digit in text.bytes() {
            let mut carry = u128::from(digit - b'0');
            for limb in limbs.iter_mut().rev() {
                let wide = u128::from(*limb) * 10 + carry;
                *limb = wide as u64;
                carry = wide >> 64;
            }
            if carry > 0 {
                return None;
            }
        }
        let [high, middle, low] = limbs;
        let low = u128::from(middle) << 64 | u128::from(low);
        let sequence = Sequence {
            epoch: high >> 20 & SECONDS,
            number: (high & 0xffff) << 48 | (low >> 80) as u64,
            time: (low >> 36) as u64 & SECONDS,
            shard: (low >> 4) as u64 & 0xffff_ffff,
        };
        (sequence.limbs() == limbs).then_some(sequence)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limbs = self.limbs();
        let mut chunks = [0u64; 3];
        for chunk in chunks.iter_mut().rev() {
            let mut rest = 0u128;
            for limb in &mut limbs {
                let wide = rest << 64 | u128::from(*limb);
                *limb = (wide / u128::from(CHUNK)) as u64;
                rest = wide % u128::from(CHUNK);
            }
            *chunk = rest as u64;
        }
        let [first, second, third] = chunks;
        write!(f, "{first}{second:0CHUNK_DIGITS$}{third:0CHUNK_DIGITS$}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_has_56_digits_and_reads_back(
            epoch in 0..=SECONDS, number in 0..=END, time in 0..=SECONDS, shard in 0..=0xffff_ffffu64,
        ) {
            let sequence = Sequence { epoch, number, time, shard };
            let text = sequence.to_string();
            prop_assert_eq!(text.len(), 56);
            prop_assert_eq!(Sequence::parse(&text), Some(sequence));
        }

        #[test]
        fn numbers_order_by_place_within_a_shard(
            a in 0..END, b in 0..END, times in any::<(u32, u32)>(), shard in 0..9u64,
        ) {
            let at = |number, time: u32| Sequence { epoch: 1_700_000_000, number, time: time.into(), shard }.to_string();
            prop_assume!(a != b);
            prop_assert_eq!(a < b, at(a, times.0) < at(b, times.1));
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>(), digits in "[0-9]{0,129}") {
            let _ = Sequence::parse(&text);
            let _ = Sequence::parse(&digits);
        }
    }

    #[test]
    fn numbers_that_kinesis_gave_read_back() {
        // From AWS's own documentation.
        for text in [
            "49543463076548007577105092703039560359975228518395012686",
            "49570154343577991434159135485979649237735405726566711298",
        ] {
            if let Some(sequence) = Sequence::parse(text) {
                assert_eq!(sequence.to_string(), text);
            }
        }
        assert_eq!(Sequence::parse("0"), None);
        assert_eq!(Sequence::parse(""), None);
    }
}
