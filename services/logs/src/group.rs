//! Log groups.

use std::collections::BTreeMap;

use cloud::{Arn, Context, paging};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::service::Logs;

/// A log group as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Never given twice: streams and events hang on it.
    pub(crate) id: u64,
    /// Milliseconds.
    pub(crate) created: i64,
    /// Days; `None` keeps events for ever.
    #[serde(default)]
    pub(crate) retention: Option<i32>,
    #[serde(default)]
    pub(crate) class: String,
    #[serde(default)]
    pub(crate) kms_key: Option<String>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) is_protected: bool,
    /// Metric filters, which put events are held against.
    #[serde(default)]
    pub(crate) metric_filters: u32,
    /// Subscription filters likewise.
    #[serde(default)]
    pub(crate) subscriptions: u32,
}
impl Record for Group {}

impl Group {
    /// Events before this time have expired.
    pub(crate) fn cutoff(&self, now: i64) -> i64 {
        self.retention
            .map_or(i64::MIN, |days| now - i64::from(days) * DAY)
    }
}

/// Milliseconds.
pub(crate) const DAY: i64 = 86_400_000;

/// The group's ARN without the closing `:*`.
pub(crate) fn arn(account: &str, region: &str, name: &str) -> String {
    Arn::new("logs", region, account, format!("log-group:{name}")).to_string()
}

pub(crate) fn no_group() -> Fault {
    resource_not_found_exception("The specified log group does not exist.")
}

/// The group's name in a name or an ARN.
pub(crate) fn name_in(identifier: &str) -> Result<String, Fault> {
    if !identifier.starts_with("arn:") {
        return Ok(identifier.to_owned());
    }
    let bad = || invalid_parameter_exception(format!("Invalid log group ARN: {identifier}"));
    let arn: Arn = identifier.parse().map_err(|_| bad())?;
    let rest = arn.resource.strip_prefix("log-group:").ok_or_else(bad)?;
    Ok(rest.strip_suffix(":*").unwrap_or(rest).to_owned())
}

/// The group that an operation means, which takes a name or an identifier.
pub(crate) fn meant(name: &Option<String>, identifier: &Option<String>) -> Result<String, Fault> {
    match (name, identifier) {
        (Some(_), Some(_)) => Err(invalid_parameter_exception(
            "LogGroup name and LogGroup identifier are mutually exclusive parameters.",
        )),
        (Some(name), None) => Ok(name.clone()),
        (None, Some(identifier)) => name_in(identifier),
        (None, None) => Err(invalid_parameter_exception(
            "1 validation error detected: Value null at 'logGroupName' failed to satisfy constraint: Member must not be null",
        )),
    }
}

impl Logs {
    /// The group of that name.
    pub(crate) fn group(&self, account: &str, region: &str, name: &str) -> Result<Group, Fault> {
        self.cloud
            .store
            .read()
            .get(&self.groups, &(account, region, name))?
            .ok_or_else(no_group)
    }

    /// Changes a group; every write to a group's row comes this way.
    pub(crate) async fn change_group<R>(
        &self,
        account: &str,
        region: &str,
        name: &str,
        f: impl FnOnce(&mut store::Tx<'_>, &mut Group) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["logs.groups", account, region];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let key = (account, region, name);
                let mut group = tx.get(&self.groups, &key)?.ok_or_else(no_group)?;
                let result = f(tx, &mut group)?;
                tx.put(&self.groups, &key, &group)?;
                Ok(result)
            })
            .await
    }

    /// Makes a group.
    pub(crate) async fn make_group(
        &self,
        account: &str,
        region: &str,
        name: &str,
        mut group: Group,
    ) -> Result<(), Fault> {
        let mut id = [0; 8];
        cloud::ids::random(&mut id);
        group.id = u64::from_be_bytes(id);
        let scope = ["logs.groups", account, region];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let key = (account, region, name);
                if tx.contains(&self.groups, &key)? {
                    return Err(resource_already_exists_exception(
                        "The specified log group already exists",
                    ));
                }
                Ok(tx.put(&self.groups, &key, &group)?)
            })
            .await
    }

    pub(crate) async fn create_log_group(
        &self,
        ctx: &Context,
        input: CreateLogGroupInput,
    ) -> Result<CreateLogGroupOutput, Fault> {
        if input.log_group_name.starts_with("aws/") || input.log_group_name.starts_with("AWS/") {
            return Err(invalid_parameter_exception(
                "Log groups starting with AWS/ are reserved for AWS.",
            ));
        }
        let group = Group {
            created: ctx.time.0,
            class: input.log_group_class.unwrap_or_else(|| "STANDARD".into()),
            kms_key: input.kms_key_id,
            tags: input.tags.unwrap_or_default().into_iter().collect(),
            is_protected: input.deletion_protection_enabled.unwrap_or(false),
            ..Group::default()
        };
        self.make_group(&ctx.account, &ctx.region, &input.log_group_name, group)
            .await?;
        Ok(CreateLogGroupOutput {})
    }

    pub(crate) async fn delete_log_group(
        &self,
        ctx: &Context,
        input: DeleteLogGroupInput,
    ) -> Result<DeleteLogGroupOutput, Fault> {
        let (account, region) = (ctx.account.as_str(), ctx.region.as_str());
        let key = (account, region, input.log_group_name.as_str());
        let scope = ["logs.groups", account, region];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let group: Group = tx.get(&self.groups, &key)?.ok_or_else(no_group)?;
                if group.is_protected {
                    return Err(operation_aborted_exception(
                        "The log group cannot be deleted because deletion protection is enabled.",
                    ));
                }
                tx.delete(&self.groups, &key);
                // What hangs on the group may be large: it goes afterwards, in pieces.
                self.plan_purge(tx, account, &[], Some(group.id))
            })
            .await?;
        Ok(DeleteLogGroupOutput {})
    }

    /// The groups whose names begin with `prefix`, behind `after`.
    fn groups_of(&self, ctx: &Context, prefix: &str, after: Option<&str>) -> Vec<(String, Group)> {
        let mut range = Range::text(&(&ctx.account, &ctx.region), prefix);
        if let Some(after) = after {
            range = range.after(&(&ctx.account, &ctx.region, after));
        }
        let view = self.cloud.store.read();
        view.range(&self.groups, range)
            .filter_map(Result::ok)
            .map(|((_, _, name), group)| (name, group))
            .collect()
    }

    pub(crate) async fn describe_log_groups(
        &self,
        ctx: &Context,
        input: DescribeLogGroupsInput,
    ) -> Result<DescribeLogGroupsOutput, Fault> {
        if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
            return Err(invalid_parameter_exception(
                "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
            ));
        }
        let after = match &input.next_token {
            Some(token) => Some(place("DescribeLogGroups", token)?.remove(0)),
            None => None,
        };
        let only = input
            .log_group_identifiers
            .map(|all| {
                all.iter()
                    .map(|i| name_in(i))
                    .collect::<Result<Vec<_>, _>>()
            })
            .transpose()?;
        let limit = usize::try_from(input.limit.unwrap_or(50)).unwrap_or(50);
        let pattern = input.log_group_name_pattern.map(|p| p.to_lowercase());
        // AWS leaves it out where it looks names up by a pattern.
        let shows_protection = pattern.is_none();
        let mut found: Vec<(String, Group)> = self
            .groups_of(
                ctx,
                input.log_group_name_prefix.as_deref().unwrap_or(""),
                after.as_deref(),
            )
            .into_iter()
            .filter(|(name, _)| {
                pattern
                    .as_ref()
                    .is_none_or(|p| name.to_lowercase().contains(p))
            })
            .filter(|(name, _)| only.as_ref().is_none_or(|o| o.contains(name)))
            .filter(|(_, group)| {
                input
                    .log_group_class
                    .as_ref()
                    .is_none_or(|c| *c == group.class)
            })
            .take(limit + 1)
            .collect();
        let next_token = turn("DescribeLogGroups", &mut found, limit, |(name, _)| {
            vec![name.clone()]
        });
        let log_groups = found
            .into_iter()
            .map(|(name, group)| {
                let arn = arn(&ctx.account, &ctx.region, &name);
                Ok(LogGroup {
                    stored_bytes: Some(self.stored_bytes(&ctx.account, group.id)?),
                    log_group_name: Some(name),
                    creation_time: Some(group.created),
                    retention_in_days: group.retention,
                    metric_filter_count: Some(
                        i32::try_from(group.metric_filters).unwrap_or(i32::MAX),
                    ),
                    arn: Some(format!("{arn}:*")),
                    log_group_arn: Some(arn),
                    kms_key_id: group.kms_key,
                    log_group_class: Some(group.class),
                    deletion_protection_enabled: shows_protection.then_some(group.is_protected),
                    ..LogGroup::default()
                })
            })
            .collect::<Result<Vec<_>, Fault>>()?;
        Ok(DescribeLogGroupsOutput {
            log_groups: Some(log_groups),
            next_token,
        })
    }

    pub(crate) async fn list_log_groups(
        &self,
        ctx: &Context,
        input: ListLogGroupsInput,
    ) -> Result<ListLogGroupsOutput, Fault> {
        let after = match &input.next_token {
            Some(token) => Some(place("ListLogGroups", token)?.remove(0)),
            None => None,
        };
        let limit = usize::try_from(input.limit.unwrap_or(50)).unwrap_or(50);
        let pattern = match &input.log_group_name_pattern {
            Some(text) => Some(regex::Regex::new(text).map_err(|_| {
                invalid_parameter_exception(format!("Invalid log group name pattern: {text}"))
            })?),
            None => None,
        };
        let mut found: Vec<(String, Group)> = self
            .groups_of(ctx, "", after.as_deref())
            .into_iter()
            .filter(|(name, _)| pattern.as_ref().is_none_or(|p| p.is_match(name)))
            .filter(|(_, group)| {
                input
                    .log_group_class
                    .as_ref()
                    .is_none_or(|c| *c == group.class)
            })
            .take(limit + 1)
            .collect();
        let next_token = turn("ListLogGroups", &mut found, limit, |(name, _)| {
            vec![name.clone()]
        });
        let summary = |(name, group): (String, Group)| LogGroupSummary {
            log_group_arn: Some(arn(&ctx.account, &ctx.region, &name)),
            log_group_name: Some(name),
            log_group_class: Some(group.class),
        };
        Ok(ListLogGroupsOutput {
            log_groups: Some(found.into_iter().map(summary).collect()),
            next_token,
        })
    }

    pub(crate) async fn put_log_group_deletion_protection(
        &self,
        ctx: &Context,
        input: PutLogGroupDeletionProtectionInput,
    ) -> Result<PutLogGroupDeletionProtectionOutput, Fault> {
        let name = name_in(&input.log_group_identifier)?;
        let set = input.deletion_protection_enabled;
        self.change_group(&ctx.account, &ctx.region, &name, |_, group| {
            group.is_protected = set;
            Ok(())
        })
        .await?;
        Ok(PutLogGroupDeletionProtectionOutput {})
    }

    pub(crate) async fn associate_kms_key(
        &self,
        ctx: &Context,
        input: AssociateKmsKeyInput,
    ) -> Result<AssociateKmsKeyOutput, Fault> {
        let name = meant(&input.log_group_name, &input.resource_identifier)?;
        self.change_group(&ctx.account, &ctx.region, &name, |_, group| {
            group.kms_key = Some(input.kms_key_id);
            Ok(())
        })
        .await?;
        Ok(AssociateKmsKeyOutput {})
    }

    pub(crate) async fn disassociate_kms_key(
        &self,
        ctx: &Context,
        input: DisassociateKmsKeyInput,
    ) -> Result<DisassociateKmsKeyOutput, Fault> {
        let name = meant(&input.log_group_name, &input.resource_identifier)?;
        self.change_group(&ctx.account, &ctx.region, &name, |_, group| {
            group.kms_key = None;
            Ok(())
        })
        .await?;
        Ok(DisassociateKmsKeyOutput {})
    }
}

/// The place in a paging token, which has at least one part.
pub(crate) fn place(of: &str, token: &str) -> Result<Vec<String>, Fault> {
    paging::place(of, token)
        .filter(|p| !p.is_empty())
        .ok_or_else(|| invalid_parameter_exception("The specified nextToken is invalid."))
}

/// Cuts a listing of one more than a page down to the page; answers the token of the next one.
pub(crate) fn turn<T>(
    of: &str,
    found: &mut Vec<T>,
    limit: usize,
    key: impl Fn(&T) -> Vec<String>,
) -> Option<String> {
    if found.len() <= limit {
        return None;
    }
    found.truncate(limit);
    let last = key(found.last()?);
    Some(paging::token(
        of,
        &last.iter().map(String::as_str).collect::<Vec<_>>(),
    ))
}
