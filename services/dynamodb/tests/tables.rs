//! Tables: created, described, changed, deleted; indexes filled; backups.

mod region;

use region::Region;
use serde_json::{Value, json};

fn index(name: &str, key: &str) -> Value {
    json!({
        "IndexName": name,
        "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    })
}

#[tokio::test]
async fn a_table_is_created_described_and_deleted() {
    let region = Region::new();
    region
        .table("first", json!({"Tags": [{"Key": "a", "Value": "b"}]}))
        .await;
    let table = region
        .ok("DescribeTable", json!({"TableName": "first"}))
        .await;
    let table = &table["Table"];
    assert_eq!(table["TableStatus"], "ACTIVE");
    let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/first";
    assert_eq!(table["TableArn"], arn);
    assert_eq!(
        table["BillingModeSummary"]["BillingMode"],
        "PAY_PER_REQUEST"
    );
    let tags = region
        .ok("ListTagsOfResource", json!({"ResourceArn": arn}))
        .await;
    assert_eq!(tags["Tags"], json!([{"Key": "a", "Value": "b"}]));
    let twice = json!({
        "TableName": "first",
        "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    });
    let (code, message) = region.fails("CreateTable", twice).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("ResourceInUseException", "Table already exists: first")
    );
    region
        .ok("DeleteTable", json!({"TableName": "first"}))
        .await;
    let (code, message) = region
        .fails("DescribeTable", json!({"TableName": "first"}))
        .await;
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(
        message,
        "Requested resource not found: Table: first not found"
    );
}

#[tokio::test]
async fn a_protected_table_is_not_deleted() {
    let region = Region::new();
    region
        .table("kept", json!({"DeletionProtectionEnabled": true}))
        .await;
    let (code, _) = region
        .fails("DeleteTable", json!({"TableName": "kept"}))
        .await;
    assert_eq!(code, "ValidationException");
    let off = json!({"TableName": "kept", "DeletionProtectionEnabled": false});
    region.ok("UpdateTable", off).await;
    region.ok("DeleteTable", json!({"TableName": "kept"})).await;
}

#[tokio::test]
async fn a_table_created_anew_is_empty() {
    let region = Region::new();
    for _ in 0..2 {
        region.table("again", json!({})).await;
        let found = region.ok("Scan", json!({"TableName": "again"})).await;
        assert_eq!(found["Count"], 0);
        region.put("again", "a", 1, json!({})).await;
        region
            .ok("DeleteTable", json!({"TableName": "again"}))
            .await;
    }
}

#[tokio::test]
async fn an_index_is_filled_with_the_items_that_are_there() {
    let region = Region::new();
    region.table("old", json!({})).await;
    // More than one batch, so that the job has to go on.
    for c in 0..1200 {
        let more = match c % 3 {
            0 => json!({"x": {"S": format!("x{}", c % 2)}}),
            1 => json!({"x": {"N": "7"}}),
            _ => json!({}),
        };
        region.put("old", "a", c, more).await;
    }
    let create = json!({
        "TableName": "old",
        "AttributeDefinitions": [{"AttributeName": "x", "AttributeType": "S"}],
        "GlobalSecondaryIndexUpdates": [{"Create": index("by-x", "x")}],
    });
    let answer = region.ok("UpdateTable", create).await;
    let status = &answer["TableDescription"]["GlobalSecondaryIndexes"][0]["IndexStatus"];
    assert_eq!(status, "CREATING");
    // The rest is done by a job that is due in a moment; the clock is moved to it.
    let later = region.cloud.clock.now().plus_secs(10);
    region.cloud.scheduler.advance_to(later).await.unwrap();
    let table = region
        .ok("DescribeTable", json!({"TableName": "old"}))
        .await;
    let described = &table["Table"]["GlobalSecondaryIndexes"][0];
    assert_eq!(described["IndexStatus"], "ACTIVE", "{described}");
    assert_eq!(described["ItemCount"], 400);
    let query = json!({
        "TableName": "old", "IndexName": "by-x", "Select": "COUNT",
        "KeyConditionExpression": "x = :x", "ExpressionAttributeValues": {":x": {"S": "x0"}},
    });
    assert_eq!(region.ok("Query", query).await["Count"], 200);
    region
        .ok(
            "UpdateTable",
            json!({
                "TableName": "old",
                "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "by-x"}}],
            }),
        )
        .await;
    let table = region
        .ok("DescribeTable", json!({"TableName": "old"}))
        .await;
    assert_eq!(table["Table"]["GlobalSecondaryIndexes"], Value::Null);
    assert_eq!(
        table["Table"]["AttributeDefinitions"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[tokio::test]
async fn counts_and_sizes_follow_the_items() {
    let region = Region::new();
    let gsi = json!({
        "AttributeDefinitions": [
            {"AttributeName": "p", "AttributeType": "S"},
            {"AttributeName": "c", "AttributeType": "N"},
            {"AttributeName": "x", "AttributeType": "S"},
        ],
        "GlobalSecondaryIndexes": [index("by-x", "x")],
    });
    region.table("counted", gsi).await;
    for c in 0..10 {
        region
            .put("counted", "a", c, json!({"x": {"S": "xx"}}))
            .await;
    }
    region.put("counted", "a", 3, json!({})).await;
    let key = json!({"p": {"S": "a"}, "c": {"N": "4"}});
    region
        .ok("DeleteItem", json!({"TableName": "counted", "Key": key}))
        .await;
    let table = region
        .ok("DescribeTable", json!({"TableName": "counted"}))
        .await;
    assert_eq!(table["Table"]["ItemCount"], 9);
    assert_eq!(table["Table"]["GlobalSecondaryIndexes"][0]["ItemCount"], 8);
    // p, a, c and a number of a digit: 5 bytes (zero takes one less); x and its text: 3 more.
    assert_eq!(table["Table"]["TableSizeBytes"], 9 * 5 - 1 + 8 * 3);
}

#[tokio::test]
async fn a_backup_is_restored_with_its_indexes() {
    let region = Region::new();
    let gsi = json!({
        "AttributeDefinitions": [
            {"AttributeName": "p", "AttributeType": "S"},
            {"AttributeName": "c", "AttributeType": "N"},
            {"AttributeName": "x", "AttributeType": "S"},
        ],
        "GlobalSecondaryIndexes": [index("by-x", "x")],
    });
    region.table("source", gsi).await;
    for c in 0..700 {
        region.put("source", "a", c, json!({"x": {"S": "y"}})).await;
    }
    let backup = json!({"TableName": "source", "BackupName": "first"});
    let backup = region.ok("CreateBackup", backup).await;
    let arn = backup["BackupDetails"]["BackupArn"].clone();
    region.put("source", "a", 1000, json!({})).await;
    let described = region.ok("DescribeBackup", json!({"BackupArn": arn})).await;
    assert_eq!(
        described["BackupDescription"]["BackupDetails"]["BackupStatus"],
        "AVAILABLE"
    );
    assert_eq!(
        described["BackupDescription"]["SourceTableDetails"]["ItemCount"],
        700
    );
    region
        .ok(
            "RestoreTableFromBackup",
            json!({"TargetTableName": "target", "BackupArn": arn}),
        )
        .await;
    let later = region.cloud.clock.now().plus_secs(10);
    region.cloud.scheduler.advance_to(later).await.unwrap();
    let table = region
        .ok("DescribeTable", json!({"TableName": "target"}))
        .await;
    assert_eq!(table["Table"]["ItemCount"], 700);
    assert_eq!(
        table["Table"]["GlobalSecondaryIndexes"][0]["IndexStatus"],
        "ACTIVE"
    );
    let scan = json!({"TableName": "target", "IndexName": "by-x", "Select": "COUNT"});
    assert_eq!(region.ok("Scan", scan).await["Count"], 700);
    let list = region
        .ok("ListBackups", json!({"TableName": "source"}))
        .await;
    assert_eq!(list["BackupSummaries"].as_array().map(Vec::len), Some(1));
    region.ok("DeleteBackup", json!({"BackupArn": arn})).await;
    let (code, _) = region
        .fails("DescribeBackup", json!({"BackupArn": arn}))
        .await;
    assert_eq!(code, "BackupNotFoundException");
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let region = Region::new();
    region.table("alone", json!({})).await;
    let strong = json!({ "TableName": "alone", "MultiRegionConsistency": "STRONG" });
    let (status, answer) = region.call("UpdateTable", strong).await;
    assert_eq!((status, &answer["__type"]), (501, &json!("NotImplemented")));
    let ion = json!({
        "TableName": "alone", "OutputS3Configuration": { "OutputType": ["ERROR"] },
        "InputS3Configuration": { "S3Bucket": "any", "InputFormat": "ION" },
    });
    let (status, _) = region.call("StartBulkPutItems", ion).await;
    assert_eq!(status, 501);
}

#[tokio::test]
async fn a_table_is_restored_as_it_was_at_any_time() {
    let region = Region::new();
    region.table("live", json!({})).await;
    let restore = |target: &str, seconds: f64| {
        json!({
            "SourceTableName": "live", "TargetTableName": target, "RestoreDateTime": seconds,
        })
    };
    let (code, message) = region
        .fails("RestoreTableToPointInTime", restore("never", 0.0))
        .await;
    assert_eq!(code, "PointInTimeRecoveryUnavailableException");
    assert_eq!(
        message,
        "Point in time recovery is not enabled for table 'live'"
    );
    for c in 0..10 {
        region.put("live", "a", c, json!({})).await;
    }
    let on = json!({
        "TableName": "live",
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true, "RecoveryPeriodInDays": 2},
    });
    region.ok("UpdateContinuousBackups", on).await;
    let now = || region.cloud.clock.now();
    let pass = async |seconds: i64| {
        let when = now().plus_secs(seconds);
        region.cloud.scheduler.advance_to(when).await.unwrap();
    };
    let seconds = || now().millis() as f64 / 1000.0;
    // At each time the table is another; each is seen again afterwards.
    let mut moments = Vec::new();
    for round in 0..4i64 {
        pass(60).await;
        for c in 0..5 {
            region
                .put("live", "a", c, json!({"round": {"N": round.to_string()}}))
                .await;
        }
        let key = json!({"p": {"S": "a"}, "c": {"N": (5 + round).to_string()}});
        region
            .ok("DeleteItem", json!({"TableName": "live", "Key": key}))
            .await;
        region.put("live", "new", round, json!({})).await;
        pass(60).await;
        let all = region.ok("Scan", json!({"TableName": "live"})).await;
        moments.push((seconds(), all["Items"].clone()));
    }
    pass(60).await;
    for (at, (when, items)) in moments.iter().enumerate() {
        let target = format!("restored-{at}");
        region
            .ok("RestoreTableToPointInTime", restore(&target, *when))
            .await;
        let all = region.ok("Scan", json!({"TableName": target})).await;
        assert_eq!(&all["Items"], items, "moment {at}");
        let table = region
            .ok("DescribeTable", json!({"TableName": target}))
            .await;
        assert_eq!(table["Table"]["ItemCount"], all["Count"]);
    }
    let (code, _) = region
        .fails(
            "RestoreTableToPointInTime",
            restore("future", seconds() + 100.0),
        )
        .await;
    assert_eq!(code, "InvalidRestoreTimeException");
    // Two days later what was before cannot be restored, and is not kept.
    pass(4 * 86_400).await;
    let (code, _) = region
        .fails("RestoreTableToPointInTime", restore("late", moments[0].0))
        .await;
    assert_eq!(code, "InvalidRestoreTimeException");
}

#[tokio::test]
async fn a_creation_tells_of_warm_throughput_that_was_asked_for() {
    let region = Region::new();
    let create = |name: &str, warm: Value, of_index: Value| {
        let mut by_b = index("by_b", "b");
        by_b["WarmThroughput"] = of_index;
        json!({
            "TableName": name,
            "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "S"}, {"AttributeName": "a", "AttributeType": "S"},
                {"AttributeName": "b", "AttributeType": "S"}],
            "GlobalSecondaryIndexes": [index("by_a", "a"), by_b],
            "BillingMode": "PAY_PER_REQUEST",
            "WarmThroughput": warm,
        })
    };
    let asked = json!({"ReadUnitsPerSecond": 13000, "WriteUnitsPerSecond": 5000});
    let plain = region
        .ok("CreateTable", create("plain", Value::Null, Value::Null))
        .await;
    let warm = region
        .ok("CreateTable", create("warm", asked.clone(), asked))
        .await;
    let told = |answer: &Value| {
        let table = &answer["TableDescription"];
        let indexes = table["GlobalSecondaryIndexes"].as_array().expect("indexes");
        let of = |name: &str| {
            let index = indexes.iter().find(|i| i["IndexName"] == name);
            index.expect("an index")["WarmThroughput"].is_object()
        };
        (table["WarmThroughput"].is_object(), of("by_a"), of("by_b"))
    };
    assert_eq!(told(&plain), (false, false, false));
    assert_eq!(told(&warm), (true, false, true));
    let described = region
        .ok("DescribeTable", json!({"TableName": "plain"}))
        .await;
    assert_eq!(
        described["Table"]["WarmThroughput"]["ReadUnitsPerSecond"],
        12000
    );
}

#[tokio::test]
async fn a_stream_s_precision_changes_only_to_another() {
    let region = Region::new();
    region.table("streamed", json!({})).await;
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let enabled = region
        .ok(
            "EnableKinesisStreamingDestination",
            json!({"TableName": "streamed", "StreamArn": arn}),
        )
        .await;
    assert_eq!(enabled["EnableKinesisStreamingConfiguration"], json!({}));
    let update = |arn: &str| {
        json!({"TableName": "streamed", "StreamArn": arn,
            "UpdateKinesisStreamingConfiguration": {"ApproximateCreationDateTimePrecision": "MICROSECOND"}})
    };
    let other = "arn:aws:kinesis:us-east-1:000000000000:stream/other";
    let (code, message) = region
        .fails("UpdateKinesisStreamingDestination", update(other))
        .await;
    assert_eq!(code, "ValidationException");
    assert!(message.ends_with(&format!(
        "No streaming destination with streamArn: {other} found for table with tableName: streamed"
    )));
    region
        .ok("UpdateKinesisStreamingDestination", update(arn))
        .await;
    let (code, message) = region
        .fails("UpdateKinesisStreamingDestination", update(arn))
        .await;
    assert_eq!(code, "ValidationException");
    assert!(message.starts_with("Invalid Request: Precision is already set to the desired value of MICROSECOND for tableId: "));
}

#[tokio::test]
async fn keys_without_a_definition_are_told_of_as_aws_does() {
    let region = Region::new();
    let create = |keys: &[(&str, &str)], defined: &[&str]| {
        let keys = keys
            .iter()
            .map(|(name, kind)| json!({"AttributeName": name, "KeyType": kind}));
        let defined = defined
            .iter()
            .map(|name| json!({"AttributeName": name, "AttributeType": "S"}));
        json!({
            "TableName": "keys", "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": keys.collect::<Vec<_>>(), "AttributeDefinitions": defined.collect::<Vec<_>>(),
        })
    };
    let both = [("p", "HASH"), ("c", "RANGE")];
    let fewer = "Invalid KeySchema: Some index key attribute have no definition";
    let others = "One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [c], AttributeDefinitions: [p, x]";
    let three = [("p", "HASH"), ("c", "RANGE"), ("d", "RANGE")];
    let long = "1 validation error detected: Value '[KeySchemaElement(attributeName=p, keyType=HASH), KeySchemaElement(attributeName=c, keyType=RANGE), KeySchemaElement(attributeName=d, keyType=RANGE)]' at 'keySchema' failed to satisfy constraint: Member must have length less than or equal to 2";
    for (input, expected) in [
        (create(&three, &["p"]), long),
        (create(&both, &["p"]), fewer),
        (create(&[("p", "HASH"), ("p", "HASH")], &[]), fewer),
        (create(&both, &["p", "x"]), others),
    ] {
        let (code, message) = region.fails("CreateTable", input).await;
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("ValidationException", expected)
        );
    }
}
