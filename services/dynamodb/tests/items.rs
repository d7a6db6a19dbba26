//! Items: written under conditions, queried, scanned, together in transactions, by statements.

mod region;

use std::sync::Arc;

use region::Region;
use serde_json::{Value, json};

fn key(p: &str, c: i64) -> Value {
    json!({"p": {"S": p}, "c": {"N": c.to_string()}})
}

#[tokio::test]
async fn an_item_comes_back_as_it_was_put() {
    let region = Region::new();
    region.table("things", json!({})).await;
    let mut item = key("a", 1);
    item["all"] = json!({"M": {
        "n": {"N": "1000"}, "b": {"B": "AAE="}, "t": {"BOOL": true}, "z": {"NULL": true},
        "l": {"L": [{"S": ""}, {"N": "-0.5"}]}, "s": {"SS": ["b", "a"]},
        "u": {"NS": ["1", "2.5"]}, "v": {"BS": ["AA==", "AQ=="]},
    }});
    region
        .ok("PutItem", json!({"TableName": "things", "Item": item}))
        .await;
    let got = region
        .ok(
            "GetItem",
            json!({"TableName": "things", "Key": key("a", 1)}),
        )
        .await;
    assert_eq!(got["Item"], item);
    let nothing = region
        .ok(
            "GetItem",
            json!({"TableName": "things", "Key": key("a", 2)}),
        )
        .await;
    assert_eq!(nothing, json!({}));
    let got = json!({
        "TableName": "things", "Key": key("a", 1), "ProjectionExpression": "#all.l[1], p",
        "ExpressionAttributeNames": {"#all": "all"}, "ReturnConsumedCapacity": "TOTAL",
    });
    let got = region.ok("GetItem", got).await;
    assert_eq!(
        got["Item"],
        json!({"p": {"S": "a"}, "all": {"M": {"l": {"L": [{"N": "-0.5"}]}}}})
    );
    assert_eq!(
        got["ConsumedCapacity"],
        json!({"TableName": "things", "CapacityUnits": 0.5})
    );
}

#[tokio::test]
async fn bad_items_are_refused_in_dynamodbs_words() {
    let region = Region::new();
    region.table("strict", json!({})).await;
    for (item, words) in [
        (
            json!({"p": {"S": "a"}}),
            "One or more parameter values were invalid: Missing the key c in the item",
        ),
        (
            json!({"p": {"S": "a"}, "c": {"S": "1"}}),
            "One or more parameter values were invalid: Type mismatch for key c expected: N actual: S",
        ),
        (
            json!({"p": {"S": ""}, "c": {"N": "1"}}),
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: p",
        ),
        (
            json!({"p": {"S": "a"}, "c": {"N": "x"}}),
            "1 validation error detected: The parameter cannot be converted to a numeric value: x",
        ),
        (
            json!({"p": {"S": "a"}, "c": {"N": "1"}, "d": {}}),
            "1 validation error detected: Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        ),
        (
            json!({"p": {"S": "a"}, "c": {"N": "1"}, "d": {"SS": []}}),
            "1 validation error detected: One or more parameter values were invalid: An string set  may not be empty",
        ),
        (
            json!({"p": {"S": "a"}, "c": {"N": "1"}, "d": {"S": "x".repeat(410_000)}}),
            "Item size has exceeded the maximum allowed size",
        ),
    ] {
        let (code, message) = region
            .fails("PutItem", json!({"TableName": "strict", "Item": item}))
            .await;
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("ValidationException", words)
        );
    }
    let mut deep = json!({"N": "1"});
    for _ in 0..40 {
        deep = json!({"L": [deep]});
    }
    let mut item = key("a", 1);
    item["deep"] = deep;
    let (code, _) = region
        .fails("PutItem", json!({"TableName": "strict", "Item": item}))
        .await;
    assert_eq!(code, "ValidationException");
}

#[tokio::test]
async fn a_condition_that_fails_changes_nothing_and_can_show_the_item() {
    let region = Region::new();
    region.table("guarded", json!({})).await;
    region
        .put("guarded", "a", 1, json!({"v": {"N": "1"}}))
        .await;
    let put = json!({
        "TableName": "guarded", "Item": key("a", 1),
        "ConditionExpression": "attribute_not_exists(p)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    });
    let (status, answer) = region.call("PutItem", put).await;
    assert_eq!(status, 400);
    assert_eq!(
        answer["__type"],
        "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
    );
    assert_eq!(answer["message"], "The conditional request failed");
    assert_eq!(answer["Item"]["v"], json!({"N": "1"}));
    let got = region
        .ok(
            "GetItem",
            json!({"TableName": "guarded", "Key": key("a", 1)}),
        )
        .await;
    assert_eq!(got["Item"]["v"], json!({"N": "1"}));
}

#[tokio::test]
async fn concurrent_increments_are_all_counted() {
    let region = Arc::new(Region::new());
    region.table("counters", json!({})).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let region = region.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..50 {
                let update = json!({
                    "TableName": "counters", "Key": key("a", n % 2),
                    "UpdateExpression": "ADD hits :one",
                    "ExpressionAttributeValues": {":one": {"N": "1"}},
                });
                region.ok("UpdateItem", update).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let table = region
        .ok("DescribeTable", json!({"TableName": "counters"}))
        .await;
    assert_eq!(table["Table"]["ItemCount"], 2);
    for c in 0..2 {
        let got = region
            .ok(
                "GetItem",
                json!({"TableName": "counters", "Key": key("a", c)}),
            )
            .await;
        assert_eq!(got["Item"]["hits"], json!({"N": "200"}));
    }
}

#[tokio::test]
async fn queries_read_ranges_in_order_and_page_by_page() {
    let region = Region::new();
    region.table("sorted", json!({})).await;
    for c in [5, -3, 100, 20, 0, 7] {
        region.put("sorted", "a", c, json!({})).await;
    }
    region.put("sorted", "b", 1, json!({})).await;
    let query = |condition: &str, more: Value| {
        let mut input = json!({
            "TableName": "sorted", "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {":p": {"S": "a"}, ":c": {"N": "5"}, ":d": {"N": "20"}},
        });
        if !condition.contains(":d") {
            input["ExpressionAttributeValues"]
                .as_object_mut()
                .unwrap()
                .remove(":d");
        }
        if !condition.contains(":c") {
            input["ExpressionAttributeValues"]
                .as_object_mut()
                .unwrap()
                .remove(":c");
        }
        for (k, v) in more.as_object().unwrap() {
            input[k] = v.clone();
        }
        input
    };
    let numbers = |answer: &Value| -> Vec<i64> {
        let items = answer["Items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["c"]["N"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    for (condition, expected) in [
        ("p = :p", vec![-3, 0, 5, 7, 20, 100]),
        ("p = :p AND c < :c", vec![-3, 0]),
        ("p = :p AND c <= :c", vec![-3, 0, 5]),
        ("p = :p AND c > :c", vec![7, 20, 100]),
        ("c >= :c AND p = :p", vec![5, 7, 20, 100]),
        ("p = :p AND c BETWEEN :c AND :d", vec![5, 7, 20]),
    ] {
        assert_eq!(
            numbers(&region.ok("Query", query(condition, json!({}))).await),
            expected,
            "{condition}"
        );
        let back = region
            .ok(
                "Query",
                query(condition, json!({"ScanIndexForward": false})),
            )
            .await;
        assert_eq!(
            numbers(&back),
            expected.into_iter().rev().collect::<Vec<_>>()
        );
    }
    let (mut found, mut start) = (Vec::new(), Value::Null);
    loop {
        let mut more = json!({"Limit": 4});
        if !start.is_null() {
            more["ExclusiveStartKey"] = start.clone();
        }
        let page = region.ok("Query", query("p = :p", more)).await;
        found.extend(numbers(&page));
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            break;
        }
    }
    assert_eq!(found, vec![-3, 0, 5, 7, 20, 100]);
}

#[tokio::test]
async fn segments_of_a_scan_meet_each_item_once() {
    let region = Region::new();
    region.table("wide", json!({})).await;
    for n in 0..200 {
        region.put("wide", &format!("p{n}"), 0, json!({})).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut filled = 0;
    for segment in 0..7 {
        let scan = json!({"TableName": "wide", "Segment": segment, "TotalSegments": 7});
        let answer = region.ok("Scan", scan).await;
        let items = answer["Items"].as_array().unwrap();
        filled += usize::from(!items.is_empty());
        for item in items {
            assert!(seen.insert(item["p"]["S"].as_str().unwrap().to_owned()));
        }
    }
    assert_eq!((seen.len(), filled), (200, 7));
}

#[tokio::test]
async fn pages_end_at_a_megabyte() {
    let region = Region::new();
    region.table("large", json!({})).await;
    for c in 0..12 {
        region
            .put("large", "a", c, json!({"x": {"S": "x".repeat(100_000)}}))
            .await;
    }
    let page = region.ok("Scan", json!({"TableName": "large"})).await;
    assert_eq!(page["Count"], 11);
    assert_eq!(page["LastEvaluatedKey"], key("a", 10));
}

#[tokio::test]
async fn a_transaction_is_done_whole_or_not_at_all_and_once_for_a_token() {
    let region = Region::new();
    region.table("money", json!({})).await;
    region.put("money", "a", 0, json!({"v": {"N": "10"}})).await;
    let transfer = |amount: i64, token: &str| {
        json!({
            "ClientRequestToken": token,
            "TransactItems": [
                {"Update": {
                    "TableName": "money", "Key": key("a", 0),
                    "UpdateExpression": "SET v = v - :n", "ConditionExpression": "v >= :n",
                    "ExpressionAttributeValues": {":n": {"N": amount.to_string()}},
                }},
                {"Update": {
                    "TableName": "money", "Key": key("b", 0), "UpdateExpression": "ADD v :n",
                    "ExpressionAttributeValues": {":n": {"N": amount.to_string()}},
                }},
            ],
        })
    };
    region.ok("TransactWriteItems", transfer(4, "one")).await;
    region.ok("TransactWriteItems", transfer(4, "one")).await;
    let (code, _) = region.fails("TransactWriteItems", transfer(5, "one")).await;
    assert_eq!(code, "IdempotentParameterMismatchException");
    let (status, answer) = region.call("TransactWriteItems", transfer(7, "two")).await;
    assert_eq!(status, 400);
    assert_eq!(
        answer["message"].as_str().or(answer["Message"].as_str()),
        Some(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [ConditionalCheckFailed, None]"
        )
    );
    assert_eq!(
        answer["CancellationReasons"],
        json!([{"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}, {"Code": "None"}])
    );
    let both = json!({"TransactItems": [
        {"Get": {"TableName": "money", "Key": key("a", 0)}},
        {"Get": {"TableName": "money", "Key": key("b", 0)}},
    ]});
    let both = region.ok("TransactGetItems", both).await;
    assert_eq!(both["Responses"][0]["Item"]["v"], json!({"N": "6"}));
    assert_eq!(both["Responses"][1]["Item"]["v"], json!({"N": "4"}));
    // After ten minutes the token is free again.
    let later = region.cloud.clock.now().plus_secs(700);
    region.cloud.scheduler.advance_to(later).await.unwrap();
    region.ok("TransactWriteItems", transfer(4, "one")).await;
    let got = region
        .ok("GetItem", json!({"TableName": "money", "Key": key("a", 0)}))
        .await;
    assert_eq!(got["Item"]["v"], json!({"N": "2"}));
}

#[tokio::test]
async fn transfers_side_by_side_keep_the_sum() {
    let region = Arc::new(Region::new());
    region.table("bank", json!({})).await;
    for c in 0..4 {
        region.put("bank", "a", c, json!({"v": {"N": "100"}})).await;
    }
    let mut tasks = Vec::new();
    for task in 0..6 {
        let region = region.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..30 {
                let (from, to) = ((task + n) % 4, (task + 2 * n + 1) % 4);
                if from == to {
                    continue;
                }
                let add = |c: i64, sign: &str| {
                    json!({"Update": {
                        "TableName": "bank", "Key": key("a", c), "UpdateExpression": "ADD v :n",
                        "ExpressionAttributeValues": {":n": {"N": format!("{sign}3")}},
                    }})
                };
                let input = json!({"TransactItems": [add(from, "-"), add(to, "")]});
                region.ok("TransactWriteItems", input).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let all = region.ok("Scan", json!({"TableName": "bank"})).await;
    let sum: i64 = all["Items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["v"]["N"].as_str().unwrap().parse::<i64>().unwrap())
        .sum();
    assert_eq!(sum, 400);
}

#[tokio::test]
async fn statements_do_what_operations_do() {
    let region = Region::new();
    region.table("music", json!({})).await;
    let run = async |statement: &str, parameters: Value| {
        let mut input = json!({"Statement": statement});
        if !parameters.is_null() {
            input["Parameters"] = parameters;
        }
        region.ok("ExecuteStatement", input).await
    };
    let insert =
        "INSERT INTO music VALUE {'p': 'a', 'c': ?, 'tags': <<'x', 'y'>>, 'in': {'n': [1, 2.5]}}";
    for c in 0..5 {
        run(insert, json!([{"N": c.to_string()}])).await;
    }
    let twice = json!({"Statement": insert, "Parameters": [{"N": "1"}]});
    let (code, _) = region.fails("ExecuteStatement", twice).await;
    assert_eq!(code, "DuplicateItemException");
    let found = run(
        "SELECT c, \"in\".n[1] FROM \"music\" WHERE p = 'a' AND c >= ? ORDER BY c DESC",
        json!([{"N": "3"}]),
    )
    .await;
    assert_eq!(found["Items"][0]["c"], json!({"N": "4"}));
    assert_eq!(found["Items"][0]["n[1]"], json!({"N": "2.5"}));
    assert_eq!(found["Items"].as_array().map(Vec::len), Some(2));
    let updated = run("UPDATE music SET hits = 3 SET \"in\".x = 'z' REMOVE tags WHERE p = 'a' AND c = 2 RETURNING ALL NEW *", Value::Null).await;
    assert_eq!(updated["Items"][0]["hits"], json!({"N": "3"}));
    assert_eq!(updated["Items"][0]["tags"], Value::Null);
    let missing = json!({"Statement": "UPDATE music SET hits = 3 WHERE p = 'q' AND c = 2"});
    let (code, _) = region.fails("ExecuteStatement", missing).await;
    assert_eq!(code, "ConditionalCheckFailedException");
    run("DELETE FROM music WHERE p = 'a' AND c = 4", Value::Null).await;
    let rest = run("SELECT * FROM music WHERE hits IS MISSING", Value::Null).await;
    assert_eq!(rest["Items"].as_array().map(Vec::len), Some(3));
    let (code, message) = region
        .fails(
            "ExecuteStatement",
            json!({"Statement": "SELEC * FROM music"}),
        )
        .await;
    assert_eq!(code, "ValidationException");
    assert!(
        message.starts_with("Statement wasn't well formed"),
        "{message}"
    );
    let batch = json!({"Statements": [
        {"Statement": "SELECT * FROM music WHERE p = 'a' AND c = 0"},
        {"Statement": "SELECT * FROM music WHERE p = 'a' AND c = 9"},
        {"Statement": "SELECT * FROM music WHERE p = 'a'"},
    ]});
    let batch = region.ok("BatchExecuteStatement", batch).await;
    assert_eq!(batch["Responses"][0]["Item"]["c"], json!({"N": "0"}));
    assert_eq!(batch["Responses"][1]["Item"], Value::Null);
    assert_eq!(batch["Responses"][2]["Error"]["Code"], "ValidationError");
    let transaction = json!({"TransactStatements": [
        {"Statement": "EXISTS(SELECT * FROM music WHERE p = 'a' AND c = 0)"},
        {"Statement": "UPDATE music SET hits = 1 WHERE p = 'a' AND c = 1"},
    ]});
    region.ok("ExecuteTransaction", transaction).await;
    let one = run(
        "SELECT hits FROM music WHERE p = 'a' AND c = 1",
        Value::Null,
    )
    .await;
    assert_eq!(one["Items"], json!([{"hits": {"N": "1"}}]));
}

#[tokio::test]
async fn a_scan_pays_for_each_partition_it_comes_through() {
    let region = Region::new();
    region
        .table("demand", json!({"BillingMode": "PAY_PER_REQUEST"}))
        .await;
    let throughput = json!({"ReadCapacityUnits": 5, "WriteCapacityUnits": 5});
    region
        .table(
            "given",
            json!({"BillingMode": "PROVISIONED", "ProvisionedThroughput": throughput}),
        )
        .await;
    let scan = async |table: &str, more: Value| {
        let mut input = json!({"TableName": table, "ReturnConsumedCapacity": "TOTAL"});
        for (name, value) in more.as_object().into_iter().flatten() {
            input[name] = value.clone();
        }
        region.ok("Scan", input).await
    };
    let units = |answer: &Value| answer["ConsumedCapacity"]["CapacityUnits"].as_f64();
    let is_consistent = json!({"ConsistentRead": true});
    assert_eq!(units(&scan("given", json!({})).await), Some(0.5));
    assert_eq!(
        units(&scan("given", is_consistent.clone()).await),
        Some(1.0)
    );
    assert_eq!(units(&scan("demand", json!({})).await), Some(2.0));
    assert_eq!(
        units(&scan("demand", is_consistent.clone()).await),
        Some(4.0)
    );
    let half = json!({"Segment": 1, "TotalSegments": 2});
    assert_eq!(units(&scan("demand", half).await), Some(1.0));

    for number in 0..40 {
        let mut item = key(&format!("p{number}"), 1);
        item["filling"] = json!({"S": "x".repeat(4000)});
        region
            .ok("PutItem", json!({"TableName": "demand", "Item": item}))
            .await;
    }
    // 40 items of a little under 4 KB, however they fell into the partitions.
    let whole = units(&scan("demand", is_consistent.clone()).await).unwrap_or_default();
    assert!((40.0..=43.0).contains(&whole), "{whole}");

    // Page by page, each pays for the partitions that it comes through.
    let (mut pages, mut start) = (0, Value::Null);
    loop {
        let mut more = json!({"ConsistentRead": true, "Limit": 1});
        if !start.is_null() {
            more["ExclusiveStartKey"] = start;
        }
        let page = scan("demand", more).await;
        let units = units(&page).unwrap_or_default();
        assert!((1.0..=4.0).contains(&units), "{page}");
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            break;
        }
        pages += 1;
    }
    assert_eq!(pages, 40);
}
