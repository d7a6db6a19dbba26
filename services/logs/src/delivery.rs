//! Deliveries of vended logs: sources, destinations and what joins them. They are kept and shown; no service here has
//! such logs to send yet.

use std::collections::BTreeMap;

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::group::{place, turn};
use crate::service::{ByRegion, Logs};

/// A delivery source as it is stored, by its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SourceRow {
    resource: String,
    log_type: String,
    #[serde(default)]
    configuration: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}
impl Record for SourceRow {}

/// A delivery destination, by its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PlaceRow {
    kind: String,
    resource: Option<String>,
    format: Option<String>,
    role: Option<String>,
    policy: Option<String>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}
impl Record for PlaceRow {}

/// A delivery, by its id.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DeliveryRow {
    source: String,
    destination: String,
    kind: String,
    fields: Option<Vec<String>>,
    delimiter: Option<String>,
    /// The suffix of paths, and whether they suit Hive.
    s3: Option<(Option<String>, Option<bool>)>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}
impl Record for DeliveryRow {}

/// Rows by their names, and where the next page starts.
type Page<V> = (Vec<(String, V)>, Option<String>);

/// Services whose resources send logs by deliveries ("Supported [V2 Permissions]" in AWS's list of vended logs), and
/// the log types that the model's documentation gives each; any type where it gives none.
const SENDERS: [(&str, &[&str]); 25] = [
    ("aidevops", &["APPLICATION_LOGS"]),
    ("amplify", &["ACCESS_LOGS", "WAF_LOGS"]),
    ("bedrock", &["APPLICATION_LOGS", "EVENT_LOGS", "TRACES"]),
    (
        "bedrock-agentcore",
        &["APPLICATION_LOGS", "TRACES", "USAGE_LOGS"],
    ),
    ("cloudfront", &["ACCESS_LOGS"]),
    ("codewhisperer", &["EVENT_LOGS"]),
    ("cognito-idp", &[]),
    ("deadline", &[]),
    ("eks", &[]),
    (
        "elasticloadbalancing",
        &[
            "ALB_ACCESS_LOGS",
            "ALB_CONNECTION_LOGS",
            "ALB_HEALTH_CHECK_LOGS",
            "NLB_ACCESS_LOGS",
        ],
    ),
    ("elementalmediatailor", &[]),
    ("entityresolution", &["WORKFLOW_LOGS"]),
    ("events", &["INFO_LOGS", "ERROR_LOGS", "TRACE_LOGS"]),
    (
        "mediapackagev2",
        &["EGRESS_ACCESS_LOGS", "INGRESS_ACCESS_LOGS"],
    ),
    (
        "mediatailor",
        &[
            "AD_DECISION_SERVER_LOGS",
            "MANIFEST_SERVICE_LOGS",
            "TRANSCODE_LOGS",
        ],
    ),
    (
        "network-firewall",
        &["ALERT_LOGS", "ALLOW_LOGS", "DENY_LOGS"],
    ),
    (
        "pcs",
        &[
            "PCS_SCHEDULER_LOGS",
            "PCS_JOBCOMP_LOGS",
            "PCS_SCHEDULER_AUDIT_LOGS",
            "PCS_SCALING_LOGS",
        ],
    ),
    ("qbusiness", &["EVENT_LOGS", "SYNC_JOB_LOGS"]),
    ("quicksight", &[]),
    ("ses", &["APPLICATION_LOGS", "TRAFFIC_POLICY_DEBUG_LOGS"]),
    ("shield", &["FLOW_LOGS"]),
    ("sso", &["ERROR_LOGS"]),
    ("vpc-lattice", &[]),
    ("wisdom", &["EVENT_LOGS"]),
    (
        "workmail",
        &[
            "ACCESS_CONTROL_LOGS",
            "AUTHENTICATION_LOGS",
            "WORKMAIL_AVAILABILITY_PROVIDER_LOGS",
            "WORKMAIL_MAILBOX_ACCESS_LOGS",
            "WORKMAIL_PERSONAL_ACCESS_TOKEN_LOGS",
        ],
    ),
];
/// Rows of a page.
const PAGE: usize = 50;

fn no_source() -> Fault {
    resource_not_found_exception("Requested Delivery Source does not exist in this account.")
}
fn no_destination() -> Fault {
    resource_not_found_exception("Requested Delivery Destination does not exist in this account.")
}
fn tagged_update() -> Fault {
    conflict_exception("Tags can only be provided when a resource is being created, not updated.")
}
fn no_delivery() -> Fault {
    resource_not_found_exception("Requested Delivery does not exist in this account.")
}

fn some<V>(map: BTreeMap<String, V>) -> Option<BTreeMap<String, V>> {
    (!map.is_empty()).then_some(map)
}

fn arn(ctx: &Context, kind: &str, name: &str) -> String {
    let resource = format_args!("{kind}:{name}");
    cloud::arn::text("logs", &ctx.region, &ctx.account, resource)
}

/// The kind of destination that a resource is.
fn kind_of(resource: &str) -> Option<&'static str> {
    match resource.parse::<Arn>().ok()?.service.as_str() {
        "s3" => Some("S3"),
        "logs" => Some("CWL"),
        "firehose" => Some("FH"),
        "xray" => Some("XRAY"),
        _ => None,
    }
}

impl SourceRow {
    fn describe(self, ctx: &Context, name: String) -> DeliverySource {
        let service = self.resource.parse::<Arn>().ok().map(|arn| arn.service);
        DeliverySource {
            arn: Some(arn(ctx, "delivery-source", &name)),
            name: Some(name),
            resource_arns: Some(vec![self.resource]),
            service,
            log_type: Some(self.log_type),
            tags: some(self.tags),
            delivery_source_configuration: some(self.configuration),
            ..DeliverySource::default()
        }
    }
}

impl PlaceRow {
    fn describe(self, ctx: &Context, name: String) -> DeliveryDestination {
        DeliveryDestination {
            arn: Some(arn(ctx, "delivery-destination", &name)),
            name: Some(name),
            delivery_destination_type: Some(self.kind),
            output_format: self.format,
            delivery_destination_configuration: self.resource.map(|resource| {
                DeliveryDestinationConfiguration {
                    destination_resource_arn: resource,
                }
            }),
            role_arn: self.role,
            tags: some(self.tags),
        }
    }
}

impl DeliveryRow {
    fn describe(self, ctx: &Context, id: String) -> Delivery {
        Delivery {
            arn: Some(arn(ctx, "delivery", &id)),
            id: Some(id),
            delivery_source_name: Some(self.source),
            delivery_destination_arn: Some(self.destination),
            delivery_destination_type: Some(self.kind),
            record_fields: self.fields,
            field_delimiter: self.delimiter,
            s3_delivery_configuration: self.s3.map(|(path, hive)| S3DeliveryConfiguration {
                suffix_path: path,
                enable_hive_compatible_path: hive,
            }),
            tags: some(self.tags),
        }
    }
}

fn s3_of(config: S3DeliveryConfiguration) -> (Option<String>, Option<bool>) {
    (config.suffix_path, config.enable_hive_compatible_path)
}

impl Logs {
    /// Changes what belongs to deliveries of an account in a region.
    pub(crate) async fn change_deliveries<R>(
        &self,
        ctx: &Context,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["logs.deliveries", &ctx.account, &ctx.region];
        self.cloud.store.transact(Scope::new(&scope), f).await
    }

    /// A row of these tables.
    fn kept<V: Record>(
        &self,
        read: &impl Read,
        table: &ByRegion<V>,
        ctx: &Context,
        name: &str,
    ) -> Result<Option<V>, Fault> {
        Ok(Read::get(read, table, &(&ctx.account, &ctx.region, name))?)
    }

    /// A page of these tables' rows that are wanted.
    fn kept_page<V: Record>(
        &self,
        of: &str,
        table: &ByRegion<V>,
        ctx: &Context,
        (token, limit): (Option<&String>, Option<i32>),
        wants: impl Fn(&str, &V) -> bool,
    ) -> Result<Page<V>, Fault> {
        let mut range = Range::prefix(&(&ctx.account, &ctx.region));
        if let Some(token) = token {
            range = range.after(&(&ctx.account, &ctx.region, &place(of, token)?[0]));
        }
        let limit = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE);
        let mut found = Vec::new();
        for row in self.cloud.store.read().range(table, range) {
            let ((_, _, name), row) = row?;
            if wants(&name, &row) {
                found.push((name, row));
            }
            if found.len() > limit {
                break;
            }
        }
        let next = turn(of, &mut found, limit, |(name, _)| vec![name.clone()]);
        Ok((found, next))
    }

    pub(crate) async fn put_delivery_source(
        &self,
        ctx: &Context,
        input: PutDeliverySourceInput,
    ) -> Result<PutDeliverySourceOutput, Fault> {
        let arn = input.resource_arn.parse::<Arn>().ok();
        let sender =
            arn.and_then(|arn| SENDERS.iter().find(|(service, _)| arn.service == *service));
        let Some((_, types)) = sender else {
            return Err(resource_not_found_exception(
                "Cannot access provided service.",
            ));
        };
        if !types.is_empty() && !types.contains(&input.log_type.as_str()) {
            return Err(validation_exception(
                " This service is not allowed for this LogSource.",
            ));
        }
        let tags = input.tags.unwrap_or_default();
        let mut row = SourceRow {
            resource: input.resource_arn,
            log_type: input.log_type,
            configuration: input.delivery_source_configuration.unwrap_or_default(),
            tags: BTreeMap::new(),
        };
        let key = (&ctx.account, &ctx.region, &input.name);
        let row = self
            .change_deliveries(ctx, |tx| {
                row.tags = match tx.get(&self.delivery_sources, &key)? {
                    Some(_) if !tags.is_empty() => return Err(tagged_update()),
                    Some(SourceRow { resource, log_type, .. }) if (&resource, &log_type) != (&row.resource, &row.log_type) => {
                        return Err(conflict_exception(
                            "Update to existing Delivery Source with new ResourceId is not allowed. Please create a new Delivery Source instead.",
                        ));
                    }
                    Some(old) => old.tags,
                    None => tags,
                };
                tx.put(&self.delivery_sources, &key, &row)?;
                Ok(row)
            })
            .await?;
        Ok(PutDeliverySourceOutput {
            delivery_source: Some(row.describe(ctx, input.name)),
        })
    }

    pub(crate) async fn get_delivery_source(
        &self,
        ctx: &Context,
        input: GetDeliverySourceInput,
    ) -> Result<GetDeliverySourceOutput, Fault> {
        let read = self.cloud.store.read();
        let found = self.kept(&read, &self.delivery_sources, ctx, &input.name)?;
        let row = found.ok_or_else(no_source)?;
        Ok(GetDeliverySourceOutput {
            delivery_source: Some(row.describe(ctx, input.name)),
        })
    }

    pub(crate) async fn describe_delivery_sources(
        &self,
        ctx: &Context,
        input: DescribeDeliverySourcesInput,
    ) -> Result<DescribeDeliverySourcesOutput, Fault> {
        let wanted = input.resource_arns.as_ref();
        let (found, next_token) = self.kept_page(
            "DescribeDeliverySources",
            &self.delivery_sources,
            ctx,
            (input.next_token.as_ref(), input.limit),
            |_, row| wanted.is_none_or(|arns| arns.contains(&row.resource)),
        )?;
        let shown = found.into_iter().map(|(name, row)| row.describe(ctx, name));
        Ok(DescribeDeliverySourcesOutput {
            delivery_sources: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn delete_delivery_source(
        &self,
        ctx: &Context,
        input: DeleteDeliverySourceInput,
    ) -> Result<DeleteDeliverySourceOutput, Fault> {
        self.change_deliveries(ctx, |tx| {
            let found = self.kept(tx, &self.delivery_sources, ctx, &input.name)?;
            found.ok_or_else(no_source)?;
            self.refuse_in_use(tx, ctx, "delivery source", |row| row.source == input.name)?;
            tx.delete(
                &self.delivery_sources,
                &(&ctx.account, &ctx.region, &input.name),
            );
            Ok(DeleteDeliverySourceOutput {})
        })
        .await
    }

    /// Refuses to take away what a delivery needs.
    fn refuse_in_use(
        &self,
        tx: &Tx<'_>,
        ctx: &Context,
        what: &str,
        needs: impl Fn(&DeliveryRow) -> bool,
    ) -> Result<(), Fault> {
        for row in tx.range(
            &self.deliveries,
            Range::prefix(&(&ctx.account, &ctx.region)),
        ) {
            if needs(&row?.1) {
                return Err(conflict_exception(format!(
                    "The {what} is used by a delivery: delete the delivery first."
                )));
            }
        }
        Ok(())
    }

    pub(crate) async fn put_delivery_destination(
        &self,
        ctx: &Context,
        input: PutDeliveryDestinationInput,
    ) -> Result<PutDeliveryDestinationOutput, Fault> {
        let resource = input
            .delivery_destination_configuration
            .map(|c| c.destination_resource_arn);
        let kind = match (&resource, input.delivery_destination_type) {
            (_, Some(kind)) if kind == "XRAY" => kind,
            (Some(resource), _) => kind_of(resource).map(str::to_owned).ok_or_else(|| {
                validation_exception("Delivery destination resource ARN is not supported.")
            })?,
            (None, _) => {
                return Err(validation_exception(
                    "deliveryDestinationConfiguration is required.",
                ));
            }
        };
        let key = (&ctx.account, &ctx.region, &input.name);
        let row = self
            .change_deliveries(ctx, |tx| {
                let old: Option<PlaceRow> = tx.get(&self.delivery_destinations, &key)?;
                if old.is_some() && input.tags.is_some() {
                    return Err(tagged_update());
                }
                let old = old.unwrap_or_default();
                let is_other = |new: &String| old.format.as_ref().is_some_and(|old| old != new);
                if input.output_format.as_ref().is_some_and(is_other) {
                    return Err(validation_exception(
                        "Update to existing Delivery Destination with new Output Format is not allowed. Please create a new Delivery Destination instead.",
                    ));
                }
                let row = PlaceRow {
                    kind,
                    resource,
                    format: input.output_format.or(old.format),
                    role: input.role_arn.or(old.role),
                    policy: old.policy,
                    tags: input.tags.unwrap_or(old.tags),
                };
                tx.put(&self.delivery_destinations, &key, &row)?;
                Ok(row)
            })
            .await?;
        Ok(PutDeliveryDestinationOutput {
            delivery_destination: Some(row.describe(ctx, input.name)),
        })
    }

    pub(crate) async fn get_delivery_destination(
        &self,
        ctx: &Context,
        input: GetDeliveryDestinationInput,
    ) -> Result<GetDeliveryDestinationOutput, Fault> {
        let read = self.cloud.store.read();
        let found = self.kept(&read, &self.delivery_destinations, ctx, &input.name)?;
        let row = found.ok_or_else(no_destination)?;
        Ok(GetDeliveryDestinationOutput {
            delivery_destination: Some(row.describe(ctx, input.name)),
        })
    }

    pub(crate) async fn describe_delivery_destinations(
        &self,
        ctx: &Context,
        input: DescribeDeliveryDestinationsInput,
    ) -> Result<DescribeDeliveryDestinationsOutput, Fault> {
        let wanted = input.names.as_ref();
        let (found, next_token) = self.kept_page(
            "DescribeDeliveryDestinations",
            &self.delivery_destinations,
            ctx,
            (input.next_token.as_ref(), input.limit),
            |name, _| wanted.is_none_or(|names| names.iter().any(|n| n == name)),
        )?;
        let shown = found.into_iter().map(|(name, row)| row.describe(ctx, name));
        Ok(DescribeDeliveryDestinationsOutput {
            delivery_destinations: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn delete_delivery_destination(
        &self,
        ctx: &Context,
        input: DeleteDeliveryDestinationInput,
    ) -> Result<DeleteDeliveryDestinationOutput, Fault> {
        let own = arn(ctx, "delivery-destination", &input.name);
        self.change_deliveries(ctx, |tx| {
            let found = self.kept(tx, &self.delivery_destinations, ctx, &input.name)?;
            found.ok_or_else(no_destination)?;
            self.refuse_in_use(tx, ctx, "delivery destination", |row| {
                row.destination == own
            })?;
            tx.delete(
                &self.delivery_destinations,
                &(&ctx.account, &ctx.region, &input.name),
            );
            Ok(DeleteDeliveryDestinationOutput {})
        })
        .await
    }

    async fn set_destination_policy(
        &self,
        ctx: &Context,
        name: &str,
        policy: Option<String>,
    ) -> Result<(), Fault> {
        self.change_deliveries(ctx, |tx| {
            let found = self.kept(tx, &self.delivery_destinations, ctx, name)?;
            let mut row = found.ok_or_else(no_destination)?;
            row.policy = policy;
            let key = (&ctx.account, &ctx.region, name);
            Ok(tx.put(&self.delivery_destinations, &key, &row)?)
        })
        .await
    }

    pub(crate) async fn put_delivery_destination_policy(
        &self,
        ctx: &Context,
        input: PutDeliveryDestinationPolicyInput,
    ) -> Result<PutDeliveryDestinationPolicyOutput, Fault> {
        let policy = input.delivery_destination_policy;
        if serde_json::from_str::<serde::de::IgnoredAny>(&policy).is_err() {
            return Err(validation_exception(
                "The policy document is not valid JSON.",
            ));
        }
        self.set_destination_policy(ctx, &input.delivery_destination_name, Some(policy.clone()))
            .await?;
        Ok(PutDeliveryDestinationPolicyOutput {
            policy: Some(Policy {
                delivery_destination_policy: Some(policy),
            }),
        })
    }

    pub(crate) async fn get_delivery_destination_policy(
        &self,
        ctx: &Context,
        input: GetDeliveryDestinationPolicyInput,
    ) -> Result<GetDeliveryDestinationPolicyOutput, Fault> {
        let name = &input.delivery_destination_name;
        let read = self.cloud.store.read();
        let found = self.kept(&read, &self.delivery_destinations, ctx, name)?;
        let row = found.ok_or_else(no_destination)?;
        Ok(GetDeliveryDestinationPolicyOutput {
            policy: Some(Policy {
                delivery_destination_policy: row.policy,
            }),
        })
    }

    pub(crate) async fn delete_delivery_destination_policy(
        &self,
        ctx: &Context,
        input: DeleteDeliveryDestinationPolicyInput,
    ) -> Result<DeleteDeliveryDestinationPolicyOutput, Fault> {
        self.set_destination_policy(ctx, &input.delivery_destination_name, None)
            .await?;
        Ok(DeleteDeliveryDestinationPolicyOutput {})
    }

    pub(crate) async fn create_delivery(
        &self,
        ctx: &Context,
        input: CreateDeliveryInput,
    ) -> Result<CreateDeliveryOutput, Fault> {
        let id = cloud::ids::lower(16);
        let row = self
            .change_deliveries(ctx, |tx| {
                let source = &input.delivery_source_name;
                let found = self.kept(tx, &self.delivery_sources, ctx, source)?;
                found.ok_or_else(no_source)?;
                let own = arn(ctx, "delivery-destination", "");
                let name = input.delivery_destination_arn.strip_prefix(&own);
                let name = name.ok_or_else(no_destination)?;
                let found = self.kept(tx, &self.delivery_destinations, ctx, name)?;
                let destination = found.ok_or_else(no_destination)?;
                let key = (&ctx.account, &ctx.region);
                for other in tx.range(&self.deliveries, Range::prefix(&key)) {
                    let other = other?.1;
                    if other.source == *source && other.kind == destination.kind {
                        return Err(conflict_exception(
                            "A delivery from this source to a destination of this type exists already.",
                        ));
                    }
                }
                let row = DeliveryRow {
                    source: input.delivery_source_name,
                    destination: input.delivery_destination_arn,
                    kind: destination.kind,
                    fields: input.record_fields,
                    delimiter: input.field_delimiter,
                    s3: input.s3_delivery_configuration.map(s3_of),
                    tags: input.tags.unwrap_or_default(),
                };
                tx.put(&self.deliveries, &(&ctx.account, &ctx.region, &id), &row)?;
                Ok(row)
            })
            .await?;
        Ok(CreateDeliveryOutput {
            delivery: Some(row.describe(ctx, id)),
        })
    }

    pub(crate) async fn get_delivery(
        &self,
        ctx: &Context,
        input: GetDeliveryInput,
    ) -> Result<GetDeliveryOutput, Fault> {
        let read = self.cloud.store.read();
        let found = self.kept(&read, &self.deliveries, ctx, &input.id)?;
        let row = found.ok_or_else(no_delivery)?;
        Ok(GetDeliveryOutput {
            delivery: Some(row.describe(ctx, input.id)),
        })
    }

    pub(crate) async fn describe_deliveries(
        &self,
        ctx: &Context,
        input: DescribeDeliveriesInput,
    ) -> Result<DescribeDeliveriesOutput, Fault> {
        let wanted = input.delivery_source_names.as_ref();
        let (found, next_token) = self.kept_page(
            "DescribeDeliveries",
            &self.deliveries,
            ctx,
            (input.next_token.as_ref(), input.limit),
            |_, row| wanted.is_none_or(|names| names.contains(&row.source)),
        )?;
        let shown = found.into_iter().map(|(id, row)| row.describe(ctx, id));
        Ok(DescribeDeliveriesOutput {
            deliveries: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn update_delivery_configuration(
        &self,
        ctx: &Context,
        input: UpdateDeliveryConfigurationInput,
    ) -> Result<UpdateDeliveryConfigurationOutput, Fault> {
        self.change_deliveries(ctx, |tx| {
            let found = self.kept(tx, &self.deliveries, ctx, &input.id)?;
            let mut row = found.ok_or_else(no_delivery)?;
            row.fields = input.record_fields.or(row.fields);
            row.delimiter = input.field_delimiter.or(row.delimiter);
            row.s3 = input.s3_delivery_configuration.map(s3_of).or(row.s3);
            let key = (&ctx.account, &ctx.region, &input.id);
            tx.put(&self.deliveries, &key, &row)?;
            Ok(UpdateDeliveryConfigurationOutput {})
        })
        .await
    }

    pub(crate) async fn delete_delivery(
        &self,
        ctx: &Context,
        input: DeleteDeliveryInput,
    ) -> Result<DeleteDeliveryOutput, Fault> {
        self.change_deliveries(ctx, |tx| {
            let found = self.kept(tx, &self.deliveries, ctx, &input.id)?;
            found.ok_or_else(no_delivery)?;
            tx.delete(&self.deliveries, &(&ctx.account, &ctx.region, &input.id));
            Ok(DeleteDeliveryOutput {})
        })
        .await
    }
}
