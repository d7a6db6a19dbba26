//! The `application/vnd.amazon.eventstream` framing.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};

use crate::reader::DecodeError;

/// One message: text headers and a payload.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Message {
    /// Headers of string type, in order; others are kept as their text.
    pub headers: Vec<(String, String)>,
    /// The payload.
    pub payload: Bytes,
}

/// AWS's bound on one message, in bytes.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

const STRING_HEADER: u8 = 7;

fn crc32(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

impl Message {
    /// An event of that type.
    pub fn event(event_type: &str, content_type: Option<&str>, payload: Bytes) -> Message {
        let mut headers = vec![(":event-type".to_owned(), event_type.to_owned())];
        if let Some(content_type) = content_type {
            headers.push((":content-type".to_owned(), content_type.to_owned()));
        }
        headers.push((":message-type".to_owned(), "event".to_owned()));
        Message { headers, payload }
    }
    /// A modelled exception, which ends the stream.
    pub fn exception(code: &str, content_type: &str, payload: Bytes) -> Message {
        let headers = vec![
            (":exception-type".to_owned(), code.to_owned()),
            (":content-type".to_owned(), content_type.to_owned()),
            (":message-type".to_owned(), "exception".to_owned()),
        ];
        Message { headers, payload }
    }
    /// An error that the service's model does not name, which ends the stream.
    pub fn error(code: &str, message: &str) -> Message {
        let headers = vec![
            (":error-code".to_owned(), code.to_owned()),
            (":error-message".to_owned(), message.to_owned()),
            (":message-type".to_owned(), "error".to_owned()),
        ];
        Message {
            headers,
            payload: Bytes::new(),
        }
    }
    /// The header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }
    /// The frame's bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut headers = BytesMut::new();
        for (name, value) in &self.headers {
            headers.put_u8(name.len().min(255) as u8);
            headers.put_slice(&name.as_bytes()[..name.len().min(255)]);
            headers.put_u8(STRING_HEADER);
            headers.put_u16(value.len().min(0xffff) as u16);
            headers.put_slice(&value.as_bytes()[..value.len().min(0xffff)]);
        }
        let total = 16 + headers.len() + self.payload.len();
        let mut frame = BytesMut::with_capacity(total);
        frame.put_u32(total as u32);
        frame.put_u32(headers.len() as u32);
        frame.put_u32(crc32(&frame));
        frame.put_slice(&headers);
        frame.put_slice(&self.payload);
        frame.put_u32(crc32(&frame));
        frame.freeze()
    }
    /// Takes one message off the front of `buffer`; `None` while it is not whole.
    pub fn parse(buffer: &mut BytesMut) -> Result<Option<Message>, DecodeError> {
        if buffer.len() < 12 {
            return Ok(None);
        }
        let bad = |why: &str| DecodeError::Malformed(format!("event stream: {why}"));
        let mut prelude = &buffer[..12];
        let (total, header_len, prelude_crc) = (
            prelude.get_u32() as usize,
            prelude.get_u32() as usize,
            prelude.get_u32(),
        );
        if crc32(&buffer[..8]) != prelude_crc {
            return Err(bad("prelude checksum does not match"));
        }
        if !(16..=MAX_MESSAGE).contains(&total) || header_len > total - 16 {
            return Err(bad("impossible length"));
        }
        if buffer.len() < total {
            return Ok(None);
        }
        let frame = buffer.split_to(total).freeze();
        let mut trailer = &frame[total - 4..];
        if crc32(&frame[..total - 4]) != trailer.get_u32() {
            return Err(bad("message checksum does not match"));
        }
        let headers =
            parse_headers(&frame[12..12 + header_len]).ok_or_else(|| bad("headers are cut off"))?;
        Ok(Some(Message {
            headers,
            payload: frame.slice(12 + header_len..total - 4),
        }))
    }
}

fn parse_headers(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    while bytes.has_remaining() {
        let name_len = usize::from(bytes.get_u8());
        let name = take(&mut bytes, name_len)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let kind = take(&mut bytes, 1)?[0];
        let value = match kind {
            0 => "true".to_owned(),
            1 => "false".to_owned(),
            2 => take(&mut bytes, 1)?[0].to_string(),
            3 => i16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?).to_string(),
            4 => i32::from_be_bytes(take(&mut bytes, 4)?.try_into().ok()?).to_string(),
            5 | 8 => i64::from_be_bytes(take(&mut bytes, 8)?.try_into().ok()?).to_string(),
            6 | STRING_HEADER => {
                let len = usize::from(u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?));
                String::from_utf8_lossy(take(&mut bytes, len)?).into_owned()
            }
            9 => take(&mut bytes, 16)?
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect(),
            _ => return None,
        };
        headers.push((name, value));
    }
    Some(headers)
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_message_survives_the_round_trip(name in "[a-z:]{1,20}", value in ".{0,40}", payload: Vec<u8>) {
            let message = Message { headers: vec![(name, value)], payload: payload.into() };
            let mut buffer = BytesMut::from(&message.to_bytes()[..]);
            prop_assert_eq!(Message::parse(&mut buffer), Ok(Some(message)));
            prop_assert!(buffer.is_empty());
        }
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Message::parse(&mut BytesMut::from(&bytes[..]));
        }
        #[test]
        fn a_flipped_bit_is_noticed(payload: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let message = Message::event("Records", None, payload.into());
            let mut bytes = message.to_bytes().to_vec();
            let i = at.index(bytes.len());
            bytes[i] ^= 1 << bit;
            let parsed = Message::parse(&mut BytesMut::from(&bytes[..]));
            prop_assert!(parsed != Ok(Some(message)));
        }
    }
}
