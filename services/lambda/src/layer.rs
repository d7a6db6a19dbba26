//! Layers: code that functions share, by version.

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{BlobId, Range, Read, Record, Scope};
use wire::Fault;

use crate::api;
use crate::configuration::{Code, LayerUse, last_modified};
use crate::interpreter;
use crate::policy::{self, Policy};
use crate::state::State;
use crate::{code, errors, revision};

/// One version of a layer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LayerVersion {
    pub description: String,
    pub code: Code,
    pub created: i64,
    #[serde(default)]
    pub runtimes: Vec<String>,
    #[serde(default)]
    pub architectures: Vec<String>,
    #[serde(default)]
    pub license: Option<String>,
    #[serde(default)]
    pub policy: Policy,
}

impl Record for LayerVersion {
    const HOLDS_BLOBS: bool = true;
    fn blobs(&self, visit: &mut dyn FnMut(BlobId)) {
        self.code.blob.iter().for_each(|b| visit(b.id));
    }
}

/// The number given last; numbers are not given again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LastVersion(pub i64);

impl Record for LastVersion {}

struct Layer {
    account: String,
    region: String,
    name: String,
}

impl Layer {
    fn read(ctx: &Context, text: &str) -> Layer {
        let found = text.parse::<Arn>().ok().and_then(|arn| {
            let name = arn.resource.strip_prefix("layer:")?.to_owned();
            Some(Layer {
                account: arn.account,
                region: arn.region,
                name,
            })
        });
        found.unwrap_or_else(|| Layer {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            name: text.to_owned(),
        })
    }
    fn arn(&self) -> String {
        Arn::new(
            "lambda",
            &self.region,
            &self.account,
            format!("layer:{}", self.name),
        )
        .to_string()
    }
    fn version_arn(&self, version: i64) -> String {
        format!("{}:{version}", self.arn())
    }
    fn key(&self, version: i64) -> (&str, &str, &str, i64) {
        (&self.account, &self.region, &self.name, version)
    }
    async fn change<R>(
        &self,
        state: &State,
        f: impl FnOnce(&mut store::Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["lambda.layers", &self.account, &self.region, &self.name];
        state.cloud.store.transact(Scope::new(&scope), f).await
    }
}

/// A layer version's ARN taken apart.
fn versioned(arn: &str) -> Option<(Layer, i64)> {
    let parsed: Arn = arn.parse().ok()?;
    let (name, version) = parsed.resource.strip_prefix("layer:")?.rsplit_once(':')?;
    Some((
        Layer {
            account: parsed.account,
            region: parsed.region,
            name: name.to_owned(),
        },
        version.parse().ok()?,
    ))
}

/// The layers that a function names, in their order.
pub fn resolve(state: &State, ctx: &Context, arns: &[String]) -> Result<Vec<LayerUse>, Fault> {
    let invalid = |text: String| Err(errors::invalid_parameter_value_exception(text));
    if arns.len() > 5 {
        return invalid("Cannot reference more than 5 layers.".into());
    }
    let read = state.cloud.store.read();
    let mut uses: Vec<LayerUse> = Vec::new();
    for arn in arns {
        let Some((layer, version)) = versioned(arn) else {
            return invalid(format!(
                "1 validation error detected: Value '{arn}' at 'layers' is not the ARN of a layer version"
            ));
        };
        if layer.region != ctx.region {
            return invalid(format!(
                "Layers are not in the same region as the function. Layers are expected to be in region {}.",
                ctx.region
            ));
        }
        let Some(found) = read.get(&state.layers, &layer.key(version))? else {
            return invalid(format!("Layer version {arn} does not exist."));
        };
        let is_same =
            |u: &&LayerUse| versioned(&u.arn).is_some_and(|(l, _)| l.arn() == layer.arn());
        if let Some(other) = uses.iter().find(is_same) {
            return invalid(format!(
                "Two different versions of the same layer are not allowed to be referenced in the same function. {} and {arn} are versions of the same layer.",
                other.arn
            ));
        }
        uses.push(LayerUse {
            arn: arn.clone(),
            code: found.code,
        });
    }
    Ok(uses)
}

fn content(
    ctx: &Context,
    layer: &Layer,
    version: i64,
    code: &Code,
) -> api::LayerVersionContentOutput {
    let digest: String = form_urlencoded::byte_serialize(code.sha256.as_bytes()).collect();
    let Layer {
        account,
        region,
        name,
    } = layer;
    api::LayerVersionContentOutput {
        location: Some(format!(
            "{}/_aws/lambda/layer/{account}/{region}/{name}/{version}?sha256={digest}",
            ctx.endpoint()
        )),
        code_sha256: Some(code.sha256.clone()),
        code_size: Some(i64::try_from(code.size).unwrap_or(i64::MAX)),
        ..Default::default()
    }
}

fn full(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn check_version(version: i64) -> Result<(), Fault> {
    match version {
        ..1 => Err(errors::invalid_parameter_value_exception(
            "Layer Version Cannot be less than 1",
        )),
        _ => Ok(()),
    }
}

pub async fn publish(
    state: &State,
    ctx: &Context,
    input: api::PublishLayerVersionInput,
) -> Result<api::PublishLayerVersionOutput, Fault> {
    let layer = Layer::read(ctx, &input.layer_name);
    interpreter::check_layer(input.compatible_runtimes.as_deref().unwrap_or_default())?;
    let source = code::Source {
        zip: input.content.zip_file,
        bucket: input.content.s3_bucket,
        key: input.content.s3_key,
        version: input.content.s3_object_version,
    };
    let taken = code::take(state, &ctx.account, source).await?;
    let record = LayerVersion {
        description: input.description.unwrap_or_default(),
        code: taken.code.clone(),
        created: ctx.time.0,
        runtimes: input.compatible_runtimes.clone().unwrap_or_default(),
        architectures: input.compatible_architectures.unwrap_or_default(),
        license: input.license_info,
        policy: Policy::default(),
    };
    let version = layer
        .change(state, |tx| {
            let key = (&layer.account, &layer.region, &layer.name);
            let LastVersion(last) = tx.get(&state.layer_versions, &key)?.unwrap_or_default();
            tx.put(&state.layer_versions, &key, &LastVersion(last + 1))?;
            record.code.blob.iter().for_each(|b| tx.link(b.id));
            tx.put(&state.layers, &layer.key(last + 1), &record)?;
            Ok(last + 1)
        })
        .await?;
    drop(taken);
    Ok(api::PublishLayerVersionOutput {
        content: Some(content(ctx, &layer, version, &record.code)),
        layer_arn: Some(layer.arn()),
        layer_version_arn: Some(layer.version_arn(version)),
        description: Some(record.description),
        created_date: Some(last_modified(record.created)),
        version: Some(version),
        compatible_architectures: full(&record.architectures),
        // An empty list that was given is given back.
        compatible_runtimes: input.compatible_runtimes,
        license_info: record.license,
    })
}

fn find(state: &State, layer: &Layer, version: i64) -> Result<LayerVersion, Fault> {
    let found = state
        .cloud
        .store
        .read()
        .get(&state.layers, &layer.key(version))?;
    found.ok_or_else(|| {
        errors::resource_not_found_exception("The resource you requested does not exist.")
    })
}

fn describe(
    ctx: &Context,
    layer: &Layer,
    version: i64,
    record: LayerVersion,
) -> api::GetLayerVersionOutput {
    api::GetLayerVersionOutput {
        content: Some(content(ctx, layer, version, &record.code)),
        layer_arn: Some(layer.arn()),
        layer_version_arn: Some(layer.version_arn(version)),
        description: Some(record.description),
        created_date: Some(last_modified(record.created)),
        version: Some(version),
        compatible_architectures: full(&record.architectures),
        compatible_runtimes: full(&record.runtimes),
        license_info: record.license,
    }
}

pub fn get(
    state: &State,
    ctx: &Context,
    input: &api::GetLayerVersionInput,
) -> Result<api::GetLayerVersionOutput, Fault> {
    let layer = Layer::read(ctx, &input.layer_name);
    check_version(input.version_number)?;
    let record = find(state, &layer, input.version_number)?;
    Ok(describe(ctx, &layer, input.version_number, record))
}

pub fn get_by_arn(
    state: &State,
    ctx: &Context,
    input: &api::GetLayerVersionByArnInput,
) -> Result<api::GetLayerVersionByArnOutput, Fault> {
    let (layer, version) = versioned(&input.arn).ok_or_else(|| {
        errors::invalid_parameter_value_exception(format!(
            "{} is not the ARN of a layer version",
            input.arn
        ))
    })?;
    let record = find(state, &layer, version)?;
    Ok(describe(ctx, &layer, version, record))
}

pub async fn delete(
    state: &State,
    ctx: &Context,
    input: &api::DeleteLayerVersionInput,
) -> Result<(), Fault> {
    let layer = Layer::read(ctx, &input.layer_name);
    check_version(input.version_number)?;
    layer
        .change(state, |tx| {
            let key = layer.key(input.version_number);
            // Functions that use it keep links of their own.
            if let Some(record) = tx.get(&state.layers, &key)? {
                record.code.blob.iter().for_each(|b| tx.release(b.id));
                tx.delete(&state.layers, &key);
            }
            Ok(())
        })
        .await
}

fn matches(record: &LayerVersion, runtime: Option<&String>, architecture: Option<&String>) -> bool {
    runtime.is_none_or(|r| record.runtimes.contains(r))
        && architecture.is_none_or(|a| record.architectures.contains(a))
}

fn item(layer: &Layer, version: i64, record: LayerVersion) -> api::LayerVersionsListItem {
    api::LayerVersionsListItem {
        layer_version_arn: Some(layer.version_arn(version)),
        version: Some(version),
        // Lists leave out what is empty.
        description: Some(record.description).filter(|text| !text.is_empty()),
        created_date: Some(last_modified(record.created)),
        compatible_architectures: full(&record.architectures),
        compatible_runtimes: full(&record.runtimes),
        license_info: record.license,
    }
}

pub fn list_versions(
    state: &State,
    ctx: &Context,
    input: &api::ListLayerVersionsInput,
) -> Result<api::ListLayerVersionsOutput, Fault> {
    interpreter::check_compatible(input.compatible_runtime.as_deref())?;
    let layer = Layer::read(ctx, &input.layer_name);
    let most = usize::try_from(input.max_items.unwrap_or(50))
        .unwrap_or(50)
        .clamp(1, 50);
    let before = match input.marker.as_deref().filter(|m| !m.is_empty()) {
        Some(marker) => {
            let place = cloud::paging::place("ListLayerVersions", marker)
                .and_then(|p| p.first()?.parse::<i64>().ok());
            place.ok_or_else(|| {
                errors::invalid_parameter_value_exception("Invalid pagination token")
            })?
        }
        None => i64::MAX,
    };
    let range = Range::prefix(&(&layer.account, &layer.region, &layer.name))
        .until(&layer.key(before))
        .reverse();
    let mut all = Vec::new();
    let mut next_marker = None;
    let mut last = 0;
    for row in state.cloud.store.read().range(&state.layers, range) {
        let ((.., version), record) = row?;
        if !matches(
            &record,
            input.compatible_runtime.as_ref(),
            input.compatible_architecture.as_ref(),
        ) {
            continue;
        }
        if all.len() >= most {
            next_marker = Some(cloud::paging::token(
                "ListLayerVersions",
                &[&i64::to_string(&last)],
            ));
            break;
        }
        last = version;
        all.push(item(&layer, version, record));
    }
    Ok(api::ListLayerVersionsOutput {
        layer_versions: Some(all),
        next_marker,
    })
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListLayersInput,
) -> Result<api::ListLayersOutput, Fault> {
    interpreter::check_compatible(input.compatible_runtime.as_deref())?;
    let most = usize::try_from(input.max_items.unwrap_or(50))
        .unwrap_or(50)
        .clamp(1, 50);
    let read = state.cloud.store.read();
    let mut range = Range::prefix(&(&ctx.account, &ctx.region));
    if let Some(marker) = input.marker.as_deref().filter(|m| !m.is_empty()) {
        let place = cloud::paging::place("ListLayers", marker).and_then(|p| p.into_iter().next());
        let after = place
            .ok_or_else(|| errors::invalid_parameter_value_exception("Invalid pagination token"))?;
        range = range.after(&(&ctx.account, &ctx.region, after));
    }
    let mut layers: Vec<api::LayersListItem> = Vec::new();
    let mut next_marker = None;
    for row in read.range(&state.layer_versions, range) {
        let ((account, region, name), _) = row?;
        let layer = Layer {
            account,
            region,
            name,
        };
        let newest = read.range(
            &state.layers,
            Range::prefix(&(&layer.account, &layer.region, &layer.name)).reverse(),
        );
        let mut found = None;
        for row in newest {
            let ((.., version), record) = row?;
            if matches(
                &record,
                input.compatible_runtime.as_ref(),
                input.compatible_architecture.as_ref(),
            ) {
                found = Some(item(&layer, version, record));
                break;
            }
        }
        let Some(found) = found else { continue };
        if layers.len() >= most {
            let last = layers
                .last()
                .and_then(|l| l.layer_name.clone())
                .unwrap_or_default();
            next_marker = Some(cloud::paging::token("ListLayers", &[&last]));
            break;
        }
        layers.push(api::LayersListItem {
            layer_arn: Some(layer.arn()),
            layer_name: Some(layer.name),
            latest_matching_version: Some(found),
        });
    }
    Ok(api::ListLayersOutput {
        layers: Some(layers),
        next_marker,
    })
}

pub async fn add_permission(
    state: &State,
    ctx: &Context,
    input: api::AddLayerVersionPermissionInput,
) -> Result<api::AddLayerVersionPermissionOutput, Fault> {
    let layer = Layer::read(ctx, &input.layer_name);
    let key = layer.key(input.version_number);
    let mut statement = serde_json::json!({
        "Sid": input.statement_id,
        "Effect": "Allow",
        "Principal": policy::principal(&input.principal, ctx.partition()),
        "Action": input.action,
        "Resource": layer.version_arn(input.version_number),
    });
    if let Some(organization) = &input.organization_id {
        statement["Condition"] =
            serde_json::json!({ "StringEquals": { "aws:PrincipalOrgID": organization } });
    }
    let text = statement.to_string();
    layer
        .change(state, |tx| {
            let missing = || {
                errors::resource_not_found_exception(format!(
                    "Layer version {} does not exist.",
                    layer.version_arn(input.version_number)
                ))
            };
            let mut record = tx.get(&state.layers, &key)?.ok_or_else(missing)?;
            let asked = input.revision_id.as_deref();
            revision::check(asked, &record.policy.revision, "GetLayerPolicy")?;
            record.policy.add(&input.statement_id, &text)?;
            tx.put(&state.layers, &key, &record)?;
            Ok(api::AddLayerVersionPermissionOutput {
                statement: Some(text.clone()),
                revision_id: Some(record.policy.revision),
            })
        })
        .await
}

pub async fn remove_permission(
    state: &State,
    ctx: &Context,
    input: api::RemoveLayerVersionPermissionInput,
) -> Result<(), Fault> {
    let layer = Layer::read(ctx, &input.layer_name);
    let key = layer.key(input.version_number);
    layer
        .change(state, |tx| {
            let missing = || {
                errors::resource_not_found_exception(format!(
                    "Layer version {} does not exist.",
                    layer.version_arn(input.version_number)
                ))
            };
            let mut record = tx.get(&state.layers, &key)?.ok_or_else(missing)?;
            let asked = input.revision_id.as_deref();
            revision::check(asked, &record.policy.revision, "GetLayerPolicy")?;
            record.policy.remove(&input.statement_id)?;
            Ok(tx.put(&state.layers, &key, &record)?)
        })
        .await
}

pub fn get_policy(
    state: &State,
    ctx: &Context,
    input: &api::GetLayerVersionPolicyInput,
) -> Result<api::GetLayerVersionPolicyOutput, Fault> {
    let layer = Layer::read(ctx, &input.layer_name);
    let missing = |_| {
        errors::resource_not_found_exception(format!(
            "Layer version {} does not exist.",
            layer.version_arn(input.version_number)
        ))
    };
    let record = find(state, &layer, input.version_number).map_err(missing)?;
    if record.policy.statements.is_empty() {
        return Err(errors::resource_not_found_exception(
            "No policy is associated with the given resource.",
        ));
    }
    Ok(api::GetLayerVersionPolicyOutput {
        policy: Some(record.policy.document()),
        revision_id: Some(record.policy.revision),
    })
}
