//! Random histories of writes, held against a map that does the same in the plainest way.

mod region;

use std::collections::BTreeMap;

use proptest::prelude::*;
use region::Region;
use serde_json::{Value, json};

type Key = (u8, i64);

/// An item: a number, and perhaps an attribute that an index has as its key.
#[derive(Clone, Debug, PartialEq)]
struct Item {
    v: i64,
    x: Option<u8>,
}

/// One write, with the condition it is under.
#[derive(Clone, Debug)]
enum Write {
    Put(Key, Item, If),
    Delete(Key, If),
    Add(Key, i64, If),
    Check(Key, If),
}

#[derive(Clone, Copy, Debug)]
enum If {
    Always,
    Exists,
    Missing,
    Less(i64),
}

#[derive(Clone, Debug)]
enum Step {
    One(Write),
    Together(Vec<Write>),
}

impl If {
    fn holds(self, item: Option<&Item>) -> bool {
        match self {
            If::Always => true,
            If::Exists => item.is_some(),
            If::Missing => item.is_none(),
            If::Less(n) => item.is_some_and(|item| item.v < n),
        }
    }

    /// The parameters that say so, beside values that are needed anyway.
    fn add_to(self, input: &mut Value) {
        let text = match self {
            If::Always => return,
            If::Exists => "attribute_exists(p)",
            If::Missing => "attribute_not_exists(p)",
            If::Less(n) => {
                input["ExpressionAttributeValues"][":less"] = json!({"N": n.to_string()});
                "v < :less"
            }
        };
        input["ConditionExpression"] = text.into();
    }
}

fn key_of((p, c): Key) -> Value {
    json!({"p": {"S": format!("p{p}")}, "c": {"N": c.to_string()}})
}

fn item_of(key: Key, item: &Item) -> Value {
    let mut shown = key_of(key);
    shown["v"] = json!({"N": item.v.to_string()});
    if let Some(x) = item.x {
        shown["x"] = json!({"S": format!("x{x}")});
    }
    shown
}

impl Write {
    fn key(&self) -> Key {
        match self {
            Write::Put(key, ..) | Write::Delete(key, _) => *key,
            Write::Add(key, ..) | Write::Check(key, _) => *key,
        }
    }

    fn condition(&self) -> If {
        match self {
            Write::Put(.., condition) | Write::Delete(_, condition) => *condition,
            Write::Add(.., condition) | Write::Check(_, condition) => *condition,
        }
    }

    fn apply(&self, items: &mut BTreeMap<Key, Item>) {
        match self {
            Write::Put(key, item, _) => {
                items.insert(*key, item.clone());
            }
            Write::Delete(key, _) => {
                items.remove(key);
            }
            Write::Add(key, n, _) => {
                let item = items.entry(*key).or_insert(Item { v: 0, x: None });
                item.v += n;
            }
            Write::Check(..) => {}
        }
    }

    /// The operation's name, that of the action in a transaction, and the parameters.
    fn request(&self) -> (&'static str, &'static str, Value) {
        let mut input = json!({"TableName": "model"});
        let (operation, action) = match self {
            Write::Put(key, item, _) => {
                input["Item"] = item_of(*key, item);
                ("PutItem", "Put")
            }
            Write::Delete(key, _) => {
                input["Key"] = key_of(*key);
                ("DeleteItem", "Delete")
            }
            Write::Add(key, n, _) => {
                input["Key"] = key_of(*key);
                input["UpdateExpression"] = "ADD v :n".into();
                input["ExpressionAttributeValues"] = json!({":n": {"N": n.to_string()}});
                ("UpdateItem", "Update")
            }
            Write::Check(key, _) => {
                input["Key"] = key_of(*key);
                ("", "ConditionCheck")
            }
        };
        self.condition().add_to(&mut input);
        (operation, action, input)
    }
}

fn write() -> impl Strategy<Value = Write> {
    let key = || (0..2u8, -2..3i64);
    let condition = || {
        prop_oneof![
            3 => Just(If::Always),
            1 => Just(If::Exists),
            1 => Just(If::Missing),
            1 => (-5..15i64).prop_map(If::Less),
        ]
    };
    let item = (-9..10i64, proptest::option::of(0..2u8)).prop_map(|(v, x)| Item { v, x });
    prop_oneof![
        3 => (key(), item, condition()).prop_map(|(k, i, c)| Write::Put(k, i, c)),
        2 => (key(), condition()).prop_map(|(k, c)| Write::Delete(k, c)),
        2 => (key(), -5..6i64, condition()).prop_map(|(k, n, c)| Write::Add(k, n, c)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let check = ((0..2u8, -2..3i64), -5..15i64).prop_map(|(key, n)| Write::Check(key, If::Less(n)));
    let part = prop_oneof![5 => write(), 1 => check];
    prop_oneof![
        2 => write().prop_map(Step::One),
        1 => proptest::collection::vec(part, 1..5).prop_map(|mut parts| {
            let mut seen = std::collections::BTreeSet::new();
            parts.retain(|part| seen.insert(part.key()));
            Step::Together(parts)
        }),
    ]
}

async fn run(region: &Region, items: &mut BTreeMap<Key, Item>, step: &Step) {
    match step {
        Step::One(write) => {
            let holds = write.condition().holds(items.get(&write.key()));
            let (operation, _, input) = write.request();
            let (status, answer) = region.call(operation, input).await;
            assert_eq!(status == 200, holds, "{write:?}: {answer}");
            if holds {
                write.apply(items);
            }
        }
        Step::Together(writes) => {
            let holds: Vec<bool> = writes
                .iter()
                .map(|write| write.condition().holds(items.get(&write.key())))
                .collect();
            let actions: Vec<Value> = writes
                .iter()
                .map(|write| {
                    let (_, action, input) = write.request();
                    json!({ action: input })
                })
                .collect();
            let input = json!({ "TransactItems": actions });
            let (status, answer) = region.call("TransactWriteItems", input).await;
            if holds.iter().all(|holds| *holds) {
                assert_eq!(status, 200, "{writes:?}: {answer}");
                writes.iter().for_each(|write| write.apply(items));
                return;
            }
            let reasons: Vec<bool> = answer["CancellationReasons"]
                .as_array()
                .expect("reasons")
                .iter()
                .map(|reason| reason["Code"] == "None")
                .collect();
            assert_eq!(reasons, holds, "{writes:?}: {answer}");
        }
    }
}

/// Everything that can be read agrees with the map.
async fn compare(region: &Region, items: &BTreeMap<Key, Item>) {
    for p in 0..2u8 {
        let query = json!({
            "TableName": "model", "KeyConditionExpression": "p = :p",
            "ExpressionAttributeValues": {":p": {"S": format!("p{p}")}},
        });
        let expected: Vec<Value> = items
            .range((p, i64::MIN)..=(p, i64::MAX))
            .map(|(key, item)| item_of(*key, item))
            .collect();
        assert_eq!(region.ok("Query", query).await["Items"], json!(expected));
    }
    for x in 0..2u8 {
        let query = json!({
            "TableName": "model", "IndexName": "by-x", "KeyConditionExpression": "x = :x",
            "ExpressionAttributeValues": {":x": {"S": format!("x{x}")}},
        });
        let mut expected: Vec<Value> = items
            .iter()
            .filter(|(_, item)| item.x == Some(x))
            .map(|(key, item)| item_of(*key, item))
            .collect();
        // By the number, and by the table's key where it is the same.
        let order = |item: &Value| -> (i64, String, i64) {
            let number = |name: &str| item[name]["N"].as_str().and_then(|n| n.parse().ok());
            let p = item["p"]["S"].as_str().unwrap_or_default().to_owned();
            (number("v").unwrap_or(0), p, number("c").unwrap_or(0))
        };
        expected.sort_by_key(order);
        assert_eq!(region.ok("Query", query).await["Items"], json!(expected));
    }
    let table = region
        .ok("DescribeTable", json!({"TableName": "model"}))
        .await;
    assert_eq!(table["Table"]["ItemCount"], items.len());
    let indexed = items.values().filter(|item| item.x.is_some()).count();
    let index = &table["Table"]["GlobalSecondaryIndexes"][0];
    assert_eq!(index["ItemCount"], indexed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tables_are_what_a_map_would_be(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let region = Region::new();
            let index = json!({
                "AttributeDefinitions": [
                    {"AttributeName": "p", "AttributeType": "S"},
                    {"AttributeName": "c", "AttributeType": "N"},
                    {"AttributeName": "x", "AttributeType": "S"},
                    {"AttributeName": "v", "AttributeType": "N"},
                ],
                "GlobalSecondaryIndexes": [{
                    "IndexName": "by-x",
                    "KeySchema": [
                        {"AttributeName": "x", "KeyType": "HASH"},
                        {"AttributeName": "v", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }],
            });
            region.table("model", index).await;
            let mut items = BTreeMap::new();
            for step in &steps {
                run(&region, &mut items, step).await;
            }
            compare(&region, &items).await;
        });
    }
}
