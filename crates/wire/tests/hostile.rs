//! Arbitrary bytes never panic, hang or allocate without bound, in any reader.

#[path = "protocols/dynamic.rs"]
#[allow(dead_code)]
mod dynamic;

use proptest::prelude::*;
use wire::protocol::Request;
use wire::{Kind, Location, Member, Protocol, Schema};

static TREE: Schema = Schema::new("Tree", Kind::Structure).members(&[
    Member::new("name", &wire::schema::STRING),
    Member::new("size", &wire::schema::LONG),
    Member::new("ratio", &wire::schema::DOUBLE),
    Member::new("on", &wire::schema::BOOLEAN),
    Member::new("data", &wire::schema::BLOB),
    Member::new("when", &wire::schema::TIMESTAMP),
    Member::new("any", &wire::schema::DOCUMENT),
    Member::new("leaves", &TREES),
    Member::new("flat", &TREES).flattened(),
    Member::new("children", &FOREST),
    Member::new("one", &TREE),
    Member::new("head", &wire::schema::STRING).at(Location::Header, "x-head"),
    Member::new("many", &TREES).at(Location::Query, "q"),
]);
static TREES: Schema = Schema::new("Trees", Kind::List).members(&[Member::new("member", &TREE)]);
static FOREST: Schema = Schema::new("Forest", Kind::Map).members(&[
    Member::new("key", &wire::schema::STRING),
    Member::new("value", &TREE),
]);

const ALL: [Protocol; 8] = [
    Protocol::AwsJson10,
    Protocol::AwsJson11,
    Protocol::RestJson,
    Protocol::RestXml,
    Protocol::AwsQuery,
    Protocol::Ec2Query,
    Protocol::RpcV2Cbor,
    Protocol::AwsCbor11,
];

fn read(protocol: Protocol, body: &[u8]) -> bool {
    let headers = http::HeaderMap::new();
    let request = Request {
        labels: &[],
        query: &[],
        headers: &headers,
        body,
        stream: None,
    };
    protocol.read(request, |r| dynamic::read(r, &TREE)).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn arbitrary_bytes_are_answered(body: Vec<u8>) {
        for protocol in ALL {
            read(protocol, &body);
        }
    }
    #[test]
    fn almost_right_text_is_answered(body in r#"[\{\}\[\]":,a-z0-9 <>/=&.%+-]{0,200}"#) {
        for protocol in ALL {
            read(protocol, body.as_bytes());
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for deep in [200usize, 100_000] {
        let json = format!("{}{}", r#"{"one":"#.repeat(deep), "}".repeat(deep));
        let list = format!(r#"{{"any":{}"#, "[".repeat(deep));
        let xml = format!("{}{}", "<one>".repeat(deep), "</one>".repeat(deep));
        let query = format!("{}name=x", "one.".repeat(deep));
        let cbor = [b"\xa1\x63one".repeat(deep), b"\xa0".to_vec()].concat();
        let indefinite = b"\xbf\x63one".repeat(deep);
        for (protocol, body) in [
            (Protocol::AwsJson10, json.as_bytes()),
            (Protocol::AwsJson10, list.as_bytes()),
            (Protocol::RestJson, json.as_bytes()),
            (Protocol::RestXml, xml.as_bytes()),
            (Protocol::AwsQuery, query.as_bytes()),
            (Protocol::RpcV2Cbor, &cbor),
            (Protocol::AwsCbor11, &indefinite),
        ] {
            assert!(!read(protocol, body), "{protocol:?} at depth {deep}");
        }
    }
}

#[test]
fn lengths_that_are_not_there_allocate_nothing() {
    // A text, a byte string, a list and a map of 2^40 elements, of which none follows.
    for head in [0x7bu8, 0x5b, 0x9b, 0xbb] {
        let value = [vec![head], (1u64 << 40).to_be_bytes().to_vec()].concat();
        assert!(!read(Protocol::RpcV2Cbor, &value));
        assert!(!read(
            Protocol::RpcV2Cbor,
            &[b"\xa1\x64name".to_vec(), value].concat()
        ));
    }
}

#[test]
fn entity_bombs_are_refused() {
    let bomb =
        r#"<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]><a><name>&y;</name></a>"#;
    assert!(!read(Protocol::RestXml, bomb.as_bytes()));
}
