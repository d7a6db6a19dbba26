//! Order-preserving keys: comparing encoded bytes gives the order of the values.
//!
//! Text and byte strings end in `00 00`, and a NUL inside is written `00 FF`, so that a part never
//! runs into the next one and `"a" < "a\0" < "ab"` holds. Numbers are big endian, signed ones with
//! the sign bit flipped.

use crate::Error;

/// The complete key of a table row; can be read back from its encoding.
pub trait Key: KeyFor<Self> + Sized {
    /// Takes one value off the front of `input`.
    fn decode(input: &mut &[u8]) -> Result<Self, Error>;
}

/// Something that encodes exactly as a key of type `K` would, such as `&str` for `String`.
pub trait KeyFor<K> {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);
}

/// The leading parts of a key of type `K`: `()`, `(a,)`, `(a, b)` and so on up to all of them.
pub trait PrefixOf<K> {
    /// Appends the encoding to `out`.
    fn encode_prefix(&self, out: &mut Vec<u8>);
}

impl<K, T: KeyFor<K> + ?Sized> KeyFor<K> for &T {
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }
}

/// Appends `bytes` with NULs escaped and without an end mark.
pub(crate) fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    let mut parts = bytes.split(|&byte| byte == 0);
    if let Some(first) = parts.next() {
        out.extend_from_slice(first);
    }
    for part in parts {
        out.extend_from_slice(&[0, 0xFF]);
        out.extend_from_slice(part);
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    escape(bytes, out);
    out.extend_from_slice(&[0, 0]);
}

fn decode_bytes(input: &mut &[u8]) -> Result<Vec<u8>, Error> {
    let mut value = Vec::new();
    loop {
        let nul = input
            .iter()
            .position(|&byte| byte == 0)
            .ok_or_else(truncated)?;
        value.extend_from_slice(&input[..nul]);
        match input.get(nul + 1) {
            Some(0) => {
                *input = &input[nul + 2..];
                return Ok(value);
            }
            Some(0xFF) => {
                value.push(0);
                *input = &input[nul + 2..];
            }
            _ => return Err(truncated()),
        }
    }
}

fn truncated() -> Error {
    Error::Corrupt("a key ends early".into())
}

fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, rest) = input.split_first_chunk::<N>().ok_or_else(truncated)?;
    *input = rest;
    Ok(*head)
}

impl KeyFor<String> for str {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }
}

impl KeyFor<String> for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }
}

impl Key for String {
    fn decode(input: &mut &[u8]) -> Result<Self, Error> {
        String::from_utf8(decode_bytes(input)?)
            .map_err(|_| Error::Corrupt("a text key is not UTF-8".into()))
    }
}

impl KeyFor<Vec<u8>> for [u8] {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self, out);
    }
}

impl KeyFor<Vec<u8>> for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self, out);
    }
}

impl Key for Vec<u8> {
    fn decode(input: &mut &[u8]) -> Result<Self, Error> {
        decode_bytes(input)
    }
}

impl<const N: usize> KeyFor<[u8; N]> for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> Key for [u8; N] {
    fn decode(input: &mut &[u8]) -> Result<Self, Error> {
        take(input)
    }
}

impl KeyFor<bool> for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Key for bool {
    fn decode(input: &mut &[u8]) -> Result<Self, Error> {
        Ok(take::<1>(input)?[0] != 0)
    }
}

macro_rules! unsigned_key {
    ($($number:ty),*) => {$(
        impl KeyFor<$number> for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }

        impl Key for $number {
            fn decode(input: &mut &[u8]) -> Result<Self, Error> {
                Ok(<$number>::from_be_bytes(take(input)?))
            }
        }
    )*};
}

unsigned_key!(u8, u16, u32, u64, u128);

impl KeyFor<i64> for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.cast_unsigned() ^ (1 << 63)).to_be_bytes());
    }
}

impl Key for i64 {
    fn decode(input: &mut &[u8]) -> Result<Self, Error> {
        Ok((u64::from_be_bytes(take(input)?) ^ (1 << 63)).cast_signed())
    }
}

macro_rules! tuple_key {
    ($($part:ident $key:ident $index:tt),+) => {
        impl<$($part, $key),+> KeyFor<($($key,)+)> for ($($part,)+)
        where
            $($part: KeyFor<$key>),+
        {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)+
            }
        }

        impl<$($key: Key),+> Key for ($($key,)+) {
            fn decode(input: &mut &[u8]) -> Result<Self, Error> {
                Ok(($($key::decode(input)?,)+))
            }
        }
    };
}

tuple_key!(A Ka 0);
tuple_key!(A Ka 0, B Kb 1);
tuple_key!(A Ka 0, B Kb 1, C Kc 2);
tuple_key!(A Ka 0, B Kb 1, C Kc 2, D Kd 3);
tuple_key!(A Ka 0, B Kb 1, C Kc 2, D Kd 3, E Ke 4);
tuple_key!(A Ka 0, B Kb 1, C Kc 2, D Kd 3, E Ke 4, F Kf 5);

impl<K> PrefixOf<K> for () {
    fn encode_prefix(&self, _: &mut Vec<u8>) {}
}

impl<K, T: PrefixOf<K> + ?Sized> PrefixOf<K> for &T {
    fn encode_prefix(&self, out: &mut Vec<u8>) {
        (**self).encode_prefix(out);
    }
}

/// A key of one part is led by nothing or by itself.
macro_rules! whole {
    ($($from:ty => $key:ty),*) => {$(
        impl PrefixOf<$key> for $from {
            fn encode_prefix(&self, out: &mut Vec<u8>) {
                KeyFor::<$key>::encode(self, out);
            }
        }
    )*};
}

whole!(str => String, String => String, [u8] => Vec<u8>, Vec<u8> => Vec<u8>, bool => bool);
whole!(u8 => u8, u16 => u16, u32 => u32, u64 => u64, u128 => u128, i64 => i64);

impl<const N: usize> PrefixOf<[u8; N]> for [u8; N] {
    fn encode_prefix(&self, out: &mut Vec<u8>) {
        KeyFor::<[u8; N]>::encode(self, out);
    }
}

/// The parts before the bar belong to the prefix, those after it only to the key.
macro_rules! prefix {
    ($($part:ident $key:ident $index:tt),+ | $($rest:ident),*) => {
        impl<$($part, $key,)+ $($rest),*> PrefixOf<($($key,)+ $($rest,)*)> for ($($part,)+)
        where
            $($part: KeyFor<$key>),+
        {
            fn encode_prefix(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)+
            }
        }
    };
}

prefix!(A Ka 0 |);
prefix!(A Ka 0 | Kb);
prefix!(A Ka 0 | Kb, Kc);
prefix!(A Ka 0 | Kb, Kc, Kd);
prefix!(A Ka 0 | Kb, Kc, Kd, Ke);
prefix!(A Ka 0 | Kb, Kc, Kd, Ke, Kf);
prefix!(A Ka 0, B Kb 1 |);
prefix!(A Ka 0, B Kb 1 | Kc);
prefix!(A Ka 0, B Kb 1 | Kc, Kd);
prefix!(A Ka 0, B Kb 1 | Kc, Kd, Ke);
prefix!(A Ka 0, B Kb 1 | Kc, Kd, Ke, Kf);
prefix!(A Ka 0, B Kb 1, C Kc 2 |);
prefix!(A Ka 0, B Kb 1, C Kc 2 | Kd);
prefix!(A Ka 0, B Kb 1, C Kc 2 | Kd, Ke);
prefix!(A Ka 0, B Kb 1, C Kc 2 | Kd, Ke, Kf);
prefix!(A Ka 0, B Kb 1, C Kc 2, D Kd 3 |);
prefix!(A Ka 0, B Kb 1, C Kc 2, D Kd 3 | Ke);
prefix!(A Ka 0, B Kb 1, C Kc 2, D Kd 3 | Ke, Kf);
prefix!(A Ka 0, B Kb 1, C Kc 2, D Kd 3, E Ke 4 |);
prefix!(A Ka 0, B Kb 1, C Kc 2, D Kd 3, E Ke 4 | Kf);
prefix!(A Ka 0, B Kb 1, C Kc 2, D Kd 3, E Ke 4, F Kf 5 |);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded<K: Key>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(&mut out);
        out
    }

    fn holds<K: Key + Ord + std::fmt::Debug>(left: &K, right: &K) {
        assert_eq!(
            left.cmp(right),
            encoded(left).cmp(&encoded(right)),
            "{left:?} {right:?}"
        );
        let bytes = encoded(left);
        let mut input = &bytes[..];
        assert_eq!(&K::decode(&mut input).unwrap(), left);
        assert!(input.is_empty());
    }

    /// Short strings over an alphabet that provokes escaping.
    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![
                Just('\0'),
                Just('\u{1}'),
                Just('a'),
                Just('/'),
                any::<char>()
            ],
            0..5,
        )
        .prop_map(|chars| chars.into_iter().collect())
    }

    fn raw() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(0xFF), any::<u8>()],
            0..5,
        )
    }

    proptest! {
        #[test]
        fn text_keeps_its_order(left in (text(), text()), right in (text(), text())) {
            holds(&left, &right);
        }

        #[test]
        fn bytes_and_numbers_keep_their_order(
            left in (raw(), any::<i64>(), any::<u64>(), any::<bool>()),
            right in (raw(), any::<i64>(), any::<u64>(), any::<bool>()),
        ) {
            holds(&left, &right);
        }

        #[test]
        fn wide_tuples_keep_their_order(
            left in (text(), raw(), any::<u128>(), any::<[u8; 3]>(), text(), any::<u32>()),
            right in (text(), raw(), any::<u128>(), any::<[u8; 3]>(), text(), any::<u32>()),
        ) {
            holds(&left, &right);
        }

        #[test]
        fn a_borrowed_key_encodes_as_the_owned_one(a in text(), b in raw()) {
            let mut borrowed = Vec::new();
            KeyFor::<(String, Vec<u8>)>::encode(&(a.as_str(), b.as_slice()), &mut borrowed);
            prop_assert_eq!(borrowed, encoded(&(a, b)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = <(String, u64, Vec<u8>)>::decode(&mut &bytes[..]);
        }
    }
}
