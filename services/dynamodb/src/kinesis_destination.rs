//! Data streams that a table's changes are sent on to.
//!
//! A change is sent in the transaction that makes it. As on AWS, records may come twice and out of order.

use cloud::{Context, Delivery, Source};
use serde_json::{Value, json};
use store::Tx;
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::catalog::Place;
use crate::change::Change;
use crate::errors::resource_in_use_exception;
use crate::fault::validation;
use crate::item::{self, Item, Stored};
use crate::service::Dynamo;
use crate::stream::{Cause, event};
use crate::table::TableRecord;
use crate::value::Attributes;

const MICROSECOND: &str = "MICROSECOND";

fn image(attributes: &Attributes) -> Result<Value, Fault> {
    let mut writer = wire::json::JsonWriter::new();
    wire::Encode::encode(&Item::Stored(Stored::new(attributes)), &mut writer);
    Ok(serde_json::from_slice(&writer.finish())?)
}

impl Dynamo {
    /// Sends a change on to the table's data streams.
    #[allow(clippy::too_many_arguments, reason = "a change and its circumstances")]
    pub fn send_on(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        change: &Change,
        old: Option<&Attributes>,
        new: Option<&Attributes>,
        now: Timestamp,
        cause: Cause,
    ) -> Result<(), Fault> {
        let Some(event) = event(change, old, new) else {
            return Ok(());
        };
        let size = |image: Option<&Attributes>| image.map_or(0, item::size);
        let keys = image(&change.key)?;
        for (arn, status, precision) in &table.kinesis {
            if status != "ACTIVE" {
                continue;
            }
            let precision = precision.as_deref().unwrap_or("MILLISECOND");
            let unit = if precision == MICROSECOND { 1000 } else { 1 };
            let mut shown = json!({
                "ApproximateCreationDateTime": now.millis() * unit,
                "ApproximateCreationDateTimePrecision": precision,
                "Keys": keys,
                "SizeBytes": item::size(&change.key) + size(old) + size(new),
            });
            if let Some(new) = new {
                shown["NewImage"] = image(new)?;
            }
            if let Some(old) = old {
                shown["OldImage"] = image(old)?;
            }
            let identity = match cause == Cause::Expiry {
                true => json!({ "principalId": "dynamodb.amazonaws.com", "type": "Service" }),
                false => Value::Null,
            };
            let record = json!({
                "awsRegion": table.region,
                "eventID": cloud::ids::uuid(),
                "eventName": event,
                "userIdentity": identity,
                "recordFormat": "application/json",
                "tableName": table.name,
                "dynamodb": shown,
                "eventSource": "aws:dynamodb",
            });
            let key = format!("{:X}", change.row.shard(usize::MAX));
            let delivery = Delivery {
                target: arn.clone(),
                payload: record.to_string(),
                source: Source {
                    service: "dynamodb.amazonaws.com".into(),
                    arn: crate::table::arn(&table.account, &table.region, &table.name),
                    account: table.account.clone(),
                    role: None,
                },
                parameters: [("partition_key".to_owned(), key)].into(),
                ..Delivery::default()
            };
            self.cloud.targets.send(tx, &delivery)?;
        }
        Ok(())
    }

    /// `EnableKinesisStreamingDestination`
    pub async fn enable_kinesis_streaming_destination(
        &self,
        ctx: &Context,
        input: KinesisStreamingDestinationInput,
    ) -> Result<KinesisStreamingDestinationOutput, Fault> {
        let precision = input
            .enable_kinesis_streaming_configuration
            .as_ref()
            .and_then(|c| c.approximate_creation_date_time_precision.clone());
        let arn = input.stream_arn.clone();
        let place = Place::of(ctx, &input.table_name)?;
        let ((), table) = self
            .change_table(&place, |_, table| {
                let active = |(_, status, _): &&(String, String, Option<String>)| status == "ACTIVE";
                if table.kinesis.iter().filter(active).any(|(known, ..)| *known == arn) {
                    return Err(validation(format!(
                        "Table is not in a valid state to enable Kinesis Streaming Destination: EnableKinesisStreamingDestination must be DISABLED or ENABLE_FAILED to perform ENABLE operation. Stream: {arn}"
                    )));
                }
                if table.kinesis.iter().filter(active).count() >= 2 {
                    return Err(resource_in_use_exception(
                        "A table can have at most two Kinesis streaming destinations",
                    ));
                }
                table.kinesis.retain(|(known, ..)| *known != arn);
                table.kinesis.push((arn.clone(), "ACTIVE".into(), precision));
                Ok(())
            })
            .await?;
        Ok(KinesisStreamingDestinationOutput {
            table_name: Some(table.name),
            stream_arn: Some(arn),
            destination_status: Some("ENABLING".into()),
            enable_kinesis_streaming_configuration: Some(
                input
                    .enable_kinesis_streaming_configuration
                    .unwrap_or_default(),
            ),
        })
    }

    /// `DisableKinesisStreamingDestination`
    pub async fn disable_kinesis_streaming_destination(
        &self,
        ctx: &Context,
        input: KinesisStreamingDestinationInput,
    ) -> Result<KinesisStreamingDestinationOutput, Fault> {
        let arn = input.stream_arn.clone();
        let place = Place::of(ctx, &input.table_name)?;
        let ((), table) = self
            .change_table(&place, |_, table| {
                let found = table
                    .kinesis
                    .iter_mut()
                    .find(|(known, status, _)| *known == arn && status == "ACTIVE");
                let Some((_, status, _)) = found else {
                    return Err(validation(format!(
                        "Table is not in a valid state to disable Kinesis Streaming Destination: KinesisStreamingDestination must be ACTIVE to perform DISABLE operation. Stream: {arn}"
                    )));
                };
                *status = "DISABLED".into();
                Ok(())
            })
            .await?;
        Ok(KinesisStreamingDestinationOutput {
            table_name: Some(table.name),
            stream_arn: Some(arn),
            destination_status: Some("DISABLING".into()),
            enable_kinesis_streaming_configuration: input.enable_kinesis_streaming_configuration,
        })
    }

    /// `UpdateKinesisStreamingDestination`
    pub async fn update_kinesis_streaming_destination(
        &self,
        ctx: &Context,
        input: UpdateKinesisStreamingDestinationInput,
    ) -> Result<UpdateKinesisStreamingDestinationOutput, Fault> {
        let arn = input.stream_arn.clone();
        let precision = input
            .update_kinesis_streaming_configuration
            .as_ref()
            .and_then(|c| c.approximate_creation_date_time_precision.clone());
        let Some(precision) = precision else {
            return Err(validation(
                "Streaming destination cannot be updated with given parameters: UpdateKinesisStreamingConfiguration cannot be null or contain only null values",
            ));
        };
        let place = Place::of(ctx, &input.table_name)?;
        let ((), table) = self
            .change_table(&place, |_, table| {
                let found = table
                    .kinesis
                    .iter_mut()
                    .find(|(known, status, _)| *known == arn && status == "ACTIVE");
                let Some((_, _, kept)) = found else {
                    return Err(validation(format!(
                        "Table is not in a valid state to enable Kinesis Streaming Destination: No streaming destination with streamArn: {arn} found for table with tableName: {}", table.name
                    )));
                };
                if *kept == Some(precision.clone()) {
                    return Err(validation(format!(
                        "Invalid Request: Precision is already set to the desired value of {precision} for tableId: {}, kdsArn: {arn}", table.id
                    )));
                }
                *kept = Some(precision);
                Ok(())
            })
            .await?;
        Ok(UpdateKinesisStreamingDestinationOutput {
            table_name: Some(table.name),
            stream_arn: Some(arn),
            destination_status: Some("UPDATING".into()),
            update_kinesis_streaming_configuration: input.update_kinesis_streaming_configuration,
        })
    }

    /// `DescribeKinesisStreamingDestination`
    pub async fn describe_kinesis_streaming_destination(
        &self,
        ctx: &Context,
        input: DescribeKinesisStreamingDestinationInput,
    ) -> Result<DescribeKinesisStreamingDestinationOutput, Fault> {
        let table = self.catalog.described(ctx, &input.table_name)?;
        let shown =
            table
                .kinesis
                .iter()
                .map(|(arn, status, precision)| KinesisDataStreamDestination {
                    stream_arn: Some(arn.clone()),
                    destination_status: Some(status.clone()),
                    destination_status_description: None,
                    approximate_creation_date_time_precision: precision.clone(),
                });
        Ok(DescribeKinesisStreamingDestinationOutput {
            table_name: Some(table.name.clone()),
            kinesis_data_stream_destinations: Some(shown.collect()),
        })
    }
}
