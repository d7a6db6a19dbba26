//! Every reader over arbitrary bytes; the first byte chooses the protocol.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::protocol::Request;
use wire::{DecodeError, Kind, Member, Protocol, Reader, Schema};

static TREE: Schema = Schema::new("Tree", Kind::Structure).members(&[
    Member::new("a", &wire::schema::STRING),
    Member::new("b", &wire::schema::TIMESTAMP),
    Member::new("c", &TREES),
    Member::new("d", &TREES).flattened(),
    Member::new("e", &wire::schema::BLOB),
]);
static TREES: Schema = Schema::new("Trees", Kind::List).members(&[Member::new("member", &TREE)]);

const ALL: [Protocol; 6] = [
    Protocol::AwsJson11,
    Protocol::RestJson,
    Protocol::RestXml,
    Protocol::AwsQuery,
    Protocol::Ec2Query,
    Protocol::RpcV2Cbor,
];

fn tree(r: &mut dyn Reader) -> Result<(), DecodeError> {
    r.structure(&TREE, &mut |r, i| match i {
        0 => r.string().map(drop),
        1 => r.timestamp(&TREE.members[1]).map(drop),
        2 | 3 => r.list(&TREES, &mut |r| tree(r)),
        _ => r.blob().map(drop),
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else { return };
    let headers = http::HeaderMap::new();
    let request = Request { labels: &[], query: &[], headers: &headers, body, stream: None };
    let _ = ALL[usize::from(*first) % ALL.len()].read(request, tree);
});
