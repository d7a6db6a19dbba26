//! The records that tell of events, as notifications and EventBridge have them.

use cloud::{Context, PrincipalKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::account;
use crate::bucket::Bucket;
use crate::object::Version;

/// An event's key: percent-encoded, a space as `+`, slashes as they are.
fn encoded(key: &str) -> String {
    const SET: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'*')
        .remove(b'/')
        .remove(b' ');
    utf8_percent_encode(key, SET).to_string().replace(' ', "+")
}

/// The ETag of no bytes.
const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// Grows with each change of a key, in sixteen hexadecimal digits or more; what removes a version comes after all that made it.
fn sequencer(event: &str, version: Option<&Version>, time: wire::Timestamp) -> String {
    let is_removal = event == "ObjectRemoved:Delete" || event == "LifecycleExpiration:Delete";
    let now = u64::try_from(time.0)
        .unwrap_or_default()
        .saturating_mul(1_000);
    let seq = version.map(|v| v.seq);
    let number = match seq {
        Some(seq) if !is_removal => seq,
        _ => now.max(seq.unwrap_or_default().saturating_add(1)),
    };
    format!("{number:018X}")
}

/// Who caused an event: `AWS:` and the id of the identity; a service has its name.
fn principal_id(ctx: &Context) -> String {
    match ctx.principal.kind {
        PrincipalKind::Root => format!("AWS:{}", ctx.account),
        PrincipalKind::Anonymous => "Anonymous".to_owned(),
        PrincipalKind::Service => ctx.principal.id.clone(),
        _ => format!("AWS:{}", ctx.principal.id),
    }
}

/// The customer that an account is, as records name its owner.
fn customer_id(account: &str) -> String {
    account::canonical_id(account)[..14].to_ascii_uppercase()
}

/// The version of the record's structure, by the event's family.
fn structure(event: &str) -> &'static str {
    const OF_2_3: [&str; 5] = [
        "Lifecycle",
        "IntelligentTiering",
        "ObjectAcl",
        "ObjectTagging",
        "ObjectRestore:Delete",
    ];
    if event.starts_with("Replication") {
        "2.2"
    } else if OF_2_3.iter().any(|family| event.starts_with(family)) {
        "2.3"
    } else {
        "2.1"
    }
}

/// One event, before it is put into the words of those who want it.
pub(crate) struct Event<'a> {
    /// Its name, without `s3:`.
    pub name: &'a str,
    /// The object's key.
    pub key: &'a str,
    /// The version that it is about; absent where there was none to delete.
    pub version: Option<&'a Version>,
    /// What a replication's event tells besides.
    pub replication: Option<serde_json::Value>,
}

/// The record of one event, as targets receive it:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>
pub(crate) fn record(
    ctx: &Context,
    bucket: &Bucket,
    event: &Event<'_>,
    rule: &str,
    time: wire::Timestamp,
) -> serde_json::Value {
    let name = event.name;
    let is_removal = name.starts_with("ObjectRemoved") || name.starts_with("LifecycleExpiration");
    let is_of_properties = name.starts_with("ObjectAcl") || name.starts_with("ObjectTagging");
    let mut object = json!({ "key": encoded(event.key) });
    if let Some(version) = event.version {
        if !is_removal && !is_of_properties {
            object["size"] = json!(version.size);
        }
        if name.ends_with(":DeleteMarkerCreated") {
            object["eTag"] = json!(EMPTY);
        } else if !is_removal {
            object["eTag"] = json!(version.etag);
        }
        if let Some(id) = &version.id {
            object["versionId"] = json!(id);
        }
    }
    if !is_of_properties {
        object["sequencer"] = json!(sequencer(name, event.version, time));
    }
    // What the service does by itself comes from itself.
    let (principal, address) = match ctx.principal.kind {
        _ if name == "ObjectRestore:Completed" => (
            format!("AmazonCustomer:{}", customer_id(&bucket.account)),
            "s3.amazonaws.com".to_owned(),
        ),
        PrincipalKind::Service => (principal_id(ctx), ctx.principal.id.clone()),
        _ => (principal_id(ctx), ctx.source_ip.to_string()),
    };
    let mut record = json!({
        "eventVersion": structure(name),
        "eventSource": "aws:s3",
        "awsRegion": bucket.record.region,
        "eventTime": time.iso8601_millis(),
        "eventName": name,
        "userIdentity": { "principalId": principal },
        "requestParameters": { "sourceIPAddress": address },
        "responseElements": {
            "x-amz-request-id": ctx.request_id,
            "x-amz-id-2": wire::protocol::host_id(&ctx.request_id),
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": { "principalId": customer_id(&bucket.account) },
                "arn": bucket.arn(),
            },
            "object": object,
        },
    });
    if let Some(replication) = &event.replication {
        record["replicationEventData"] = replication.clone();
    }
    match (name, event.version) {
        ("LifecycleTransition", Some(version)) => {
            record["lifecycleEventData"] = json!({
                "transitionEventData": { "destinationStorageClass": version.class() },
            });
        }
        ("ObjectRestore:Completed", Some(version)) => {
            let until = version.restored.as_ref().map(|r| wire::Timestamp(r.until));
            record["glacierEventData"] = json!({
                "restoreEventData": {
                    "lifecycleRestorationExpiryTime": until.map(|t| t.iso8601_millis()),
                    "lifecycleRestoreStorageClass": version.class(),
                },
            });
        }
        _ => {}
    }
    record
}

/// The same for EventBridge, which has its own words.
pub(crate) fn bridge_event(
    ctx: &Context,
    bucket: &Bucket,
    event: &Event<'_>,
    time: wire::Timestamp,
) -> Option<serde_json::Value> {
    let (family, kind) = event.name.split_once(':').unwrap_or((event.name, ""));
    let (detail_type, reason) = match family {
        "ObjectCreated" => (
            "Object Created",
            Some(match kind {
                "Put" => "PutObject",
                "Post" => "POST Object",
                "Copy" => "CopyObject",
                _ => "CompleteMultipartUpload",
            }),
        ),
        "ObjectRemoved" => ("Object Deleted", Some("DeleteObject")),
        "LifecycleExpiration" => ("Object Deleted", Some("Lifecycle Expiration")),
        "ObjectRestore" if kind == "Post" => ("Object Restore Initiated", None),
        "ObjectRestore" if kind == "Completed" => ("Object Restore Completed", None),
        "ObjectRestore" => ("Object Restore Expired", None),
        "LifecycleTransition" => ("Object Storage Class Changed", None),
        "ObjectAcl" => ("Object ACL Updated", None),
        "ObjectTagging" if kind == "Put" => ("Object Tags Added", None),
        "ObjectTagging" => ("Object Tags Deleted", None),
        _ => return None,
    };
    let is_marker = kind == "DeleteMarkerCreated";
    let (has_etag, has_size, has_sequencer) = match family {
        "ObjectCreated" => (true, true, true),
        "ObjectRemoved" | "LifecycleExpiration" => (is_marker, false, true),
        "ObjectAcl" | "ObjectTagging" => (true, false, false),
        _ => (true, true, false),
    };
    let mut object = json!({ "key": event.key });
    if let Some(version) = event.version {
        if has_size {
            object["size"] = json!(version.size);
        }
        if has_etag {
            object["etag"] = match is_marker {
                true => json!(EMPTY),
                false => json!(version.etag),
            };
        }
        if let Some(id) = &version.id {
            object["version-id"] = json!(id);
        }
    }
    if has_sequencer {
        object["sequencer"] = json!(sequencer(event.name, event.version, time));
    }
    let mut detail = json!({
        "version": "0",
        "bucket": { "name": bucket.name },
        "object": object,
        "request-id": ctx.request_id,
    });
    // What the service does by itself comes from nowhere.
    let is_own =
        ctx.principal.kind == PrincipalKind::Service || event.name == "ObjectRestore:Completed";
    if is_own {
        detail["requester"] = json!("s3.amazonaws.com");
    } else {
        detail["requester"] = json!(ctx.account);
        detail["source-ip-address"] = json!(ctx.source_ip.to_string());
    }
    match (family, event.version) {
        ("ObjectRestore", Some(version)) => {
            detail["source-storage-class"] = json!(version.class());
            if let ("Completed", Some(restored)) = (kind, &version.restored) {
                let until = wire::Timestamp(restored.until);
                detail["restore-expiry-time"] = json!(until.iso8601_secs());
            }
        }
        ("LifecycleTransition", Some(version)) => {
            detail["destination-storage-class"] = json!(version.class());
        }
        _ => {}
    }
    if let Some(reason) = reason {
        detail["reason"] = json!(reason);
    }
    if detail_type == "Object Deleted" {
        detail["deletion-type"] = json!(if is_marker {
            "Delete Marker Created"
        } else {
            "Permanently Deleted"
        });
    }
    Some(json!({
        "version": "0",
        "id": cloud::ids::uuid(),
        "detail-type": detail_type,
        "source": "aws.s3",
        "account": bucket.account,
        "time": time.iso8601_secs(),
        "region": bucket.record.region,
        "resources": [bucket.arn()],
        "detail": detail,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_encoded_as_in_a_form_but_for_its_slashes() {
        assert_eq!(encoded("raw/a b+c(é).csv"), "raw/a+b%2Bc%28%C3%A9%29.csv");
    }
}
