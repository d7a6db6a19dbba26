//! The event stream framing over arbitrary bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut buffer = bytes::BytesMut::from(data);
    while let Ok(Some(message)) = wire::event_stream::Message::parse(&mut buffer) {
        assert_eq!(wire::event_stream::Message::parse(&mut bytes::BytesMut::from(&message.to_bytes()[..])).is_ok(), true);
    }
});
