//! Functions: create, read, change, delete.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::Context;
use cloud::ports::RoleProblem;
use serde::{Deserialize, Serialize};
use store::{BlobId, Range, Read, Record, Table, Tx};
use wire::Fault;

use crate::api::{self, FunctionConfiguration};
use crate::configuration::{Configuration, Logging, Vpc};
use crate::interpreter::{self, Language};
use crate::name::{LATEST, Name};
use crate::state::State;
use crate::{code, errors, layer, provisioned, tag, version};

/// A function: the version that can be changed, and what belongs to all of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Function {
    pub latest: Configuration,
    /// The number of the version published last.
    #[serde(default)]
    pub last_version: u64,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Reserved concurrent executions.
    #[serde(default)]
    pub reserved: Option<i32>,
    #[serde(default)]
    pub code_signing: Option<String>,
    #[serde(default)]
    pub recursive_loop: Option<String>,
    /// `Auto`, `FunctionUpdate` or `Manual`, and the runtime version with the last.
    #[serde(default)]
    pub runtime_updates: Option<(String, Option<String>)>,
}

impl Record for Function {
    const HOLDS_BLOBS: bool = true;
    fn blobs(&self, visit: &mut dyn FnMut(BlobId)) {
        self.latest.blobs(visit);
    }
}

/// A published version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Published {
    pub configuration: Configuration,
}

impl Record for Published {
    const HOLDS_BLOBS: bool = true;
    fn blobs(&self, visit: &mut dyn FnMut(BlobId)) {
        self.configuration.blobs(visit);
    }
}

impl Configuration {
    /// The blobs that this configuration keeps.
    pub fn blobs(&self, visit: &mut dyn FnMut(BlobId)) {
        let codes = std::iter::once(&self.code).chain(self.layers.iter().map(|l| &l.code));
        codes.filter_map(|c| c.blob).for_each(|b| visit(b.id));
    }
    /// Counts its blobs in.
    pub fn link(&self, tx: &mut Tx<'_>) {
        self.blobs(&mut |id| tx.link(id));
    }
    /// Counts its blobs out.
    pub fn release(&self, tx: &mut Tx<'_>) {
        self.blobs(&mut |id| tx.release(id));
    }
}

fn invalid(text: impl Into<String>) -> Fault {
    errors::invalid_parameter_value_exception(text.into())
}

/// Whether a role may run functions. One that was never made may: see the crate's words on it.
fn check_role(state: &State, role: &str) -> Result<(), Fault> {
    match state
        .cloud
        .ports
        .roles()
        .map(|roles| roles.check(role, "lambda.amazonaws.com"))
    {
        Some(Err(RoleProblem::Untrusted)) => Err(invalid(
            "The role defined for the function cannot be assumed by Lambda.",
        )),
        Some(Err(RoleProblem::Missing) | Ok(())) | None => Ok(()),
    }
}

/// The bounds that AWS's model does not tell.
fn at_most(member: &str, value: Option<i32>, most: i32) -> Result<(), Fault> {
    match value {
        Some(value) if value > most => {
            let text = format!(
                "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must have value less than or equal to {most}"
            );
            Err(Fault::sender(400, "ValidationException", text))
        }
        _ => Ok(()),
    }
}

/// Names that AWS sets itself.
const RESERVED: [&str; 14] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

fn check_environment(variables: &BTreeMap<String, String>) -> Result<(), Fault> {
    let reserved: Vec<&str> = variables
        .keys()
        .map(String::as_str)
        .filter(|k| RESERVED.contains(k))
        .collect();
    if !reserved.is_empty() {
        return Err(invalid(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved \
             keys that are currently not supported for modification. Reserved keys used in this request: {}",
            reserved.join(", ")
        )));
    }
    let text = serde_json::to_string(variables)?;
    if text.len() > 4096 {
        return Err(invalid(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB \
             limit. String measured: {text}"
        )));
    }
    Ok(())
}

/// The whole settings of a request over those a function has.
#[derive(Default)]
pub struct Settings {
    pub runtime: Option<String>,
    pub role: Option<String>,
    pub handler: Option<String>,
    pub description: Option<String>,
    pub timeout: Option<i32>,
    pub memory: Option<i32>,
    pub environment: Option<api::Environment>,
    pub kms_key: Option<String>,
    pub dead_letter: Option<api::DeadLetterConfig>,
    pub tracing: Option<api::TracingConfig>,
    pub vpc: Option<api::VpcConfig>,
    pub file_systems: Option<Vec<api::FileSystemConfig>>,
    pub storage: Option<api::EphemeralStorage>,
    pub snap_start: Option<api::SnapStart>,
    pub logging: Option<api::LoggingConfig>,
}

impl Settings {
    /// Checks the settings and lays them over a configuration.
    pub fn apply(self, state: &State, name: &Name, to: &mut Configuration) -> Result<(), Fault> {
        at_most("timeout", self.timeout, 900)?;
        at_most("memorySize", self.memory, 10_240)?;
        if let Some(runtime) = self.runtime {
            interpreter::check(&runtime)?;
            to.runtime = Some(runtime);
        }
        if let Some(role) = self.role {
            check_role(state, &role)?;
            to.role = role;
        }
        if let Some(environment) = self.environment {
            let variables = environment.variables.unwrap_or_default();
            check_environment(&variables)?;
            // None that was given is shown, one that was not is not.
            to.environment = Some(variables);
        }
        to.handler = self.handler.or(to.handler.take());
        to.description = self
            .description
            .unwrap_or(std::mem::take(&mut to.description));
        to.timeout = self.timeout.unwrap_or(to.timeout);
        to.memory = self.memory.unwrap_or(to.memory);
        if let Some(key) = self.kms_key {
            to.kms_key = Some(key).filter(|k| !k.is_empty());
        }
        if let Some(config) = self.dead_letter {
            to.dead_letter = config.target_arn.filter(|arn| !arn.is_empty());
        }
        if let Some(mode) = self.tracing.and_then(|t| t.mode) {
            to.tracing = mode;
        }
        if let Some(vpc) = self.vpc {
            let subnets = vpc.subnet_ids.unwrap_or_default();
            let security_groups = vpc.security_group_ids.unwrap_or_default();
            let ipv6 = vpc.ipv6_allowed_for_dual_stack.unwrap_or(false);
            to.vpc = (!subnets.is_empty()).then_some(Vpc {
                subnets,
                security_groups,
                ipv6,
            });
        }
        if let Some(all) = self.file_systems {
            to.file_systems = all
                .into_iter()
                .map(|f| (f.arn, f.local_mount_path))
                .collect();
        }
        to.storage = self.storage.map_or(to.storage, |s| s.size);
        to.snap_start = self
            .snap_start
            .and_then(|s| s.apply_on)
            .unwrap_or(std::mem::take(&mut to.snap_start));
        if let Some(logging) = self.logging {
            to.logging = read_logging(name, logging, &to.logging)?;
        }
        Ok(())
    }
}

fn read_logging(
    name: &Name,
    asked: api::LoggingConfig,
    before: &Logging,
) -> Result<Logging, Fault> {
    let json = asked
        .log_format
        .as_deref()
        .map_or(before.json, |f| f == "JSON");
    if !json && (asked.application_log_level.is_some() || asked.system_log_level.is_some()) {
        let text = "To set ApplicationLogLevel or SystemLogLevel, you must set LogFormat to JSON.";
        return Err(invalid(text));
    }
    let level = |asked: Option<String>, before: &Option<String>| {
        json.then(|| {
            asked
                .or_else(|| before.clone())
                .unwrap_or_else(|| "INFO".into())
        })
    };
    let group = asked.log_group.unwrap_or_else(|| {
        if before.group.is_empty() {
            format!("/aws/lambda/{}", name.function)
        } else {
            before.group.clone()
        }
    });
    Ok(Logging {
        json,
        application_level: level(asked.application_log_level, &before.application_level),
        system_level: level(asked.system_log_level, &before.system_level),
        group,
    })
}

/// Begins to warm what a function needs, so that its first invocation does not wait for it.
pub fn warm(state: &Arc<State>, configuration: &Configuration) {
    let language = interpreter::language(configuration.runtime.as_deref().unwrap_or_default());
    if let Language::Python(_) = language {
        let (state, code) = (state.clone(), configuration.code.clone());
        tokio::spawn(async move {
            let Ok(task) = code::directory(&state, &code).await else {
                return;
            };
            if let Ok(found) = state.interpreters.find(language).await {
                let boto3 = found.has_boto3 && state.pools.wants_boto3(&task);
                // Without one, functions start without one.
                let _ = found.zygote(&state, boto3).await;
            }
        });
    }
}

pub async fn create(
    state: &Arc<State>,
    ctx: &Context,
    input: api::CreateFunctionInput,
) -> Result<FunctionConfiguration, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    if name.account != ctx.account {
        // AWS says no more.
        return Err(Fault::sender(403, "AccessDeniedException", ""));
    }
    if name.function.len() > 64 {
        return Err(invalid(format!(
            "1 validation error detected: Value '{}' at 'functionName' failed to satisfy constraint: Member must have length less than or \
             equal to 64",
            name.function
        )));
    }
    code::check_request(input.code.zip_file.as_ref(), input.environment.as_ref())?;
    let layers = layer::resolve(state, ctx, &input.layers.unwrap_or_default())?;
    let conflict = || {
        errors::resource_conflict_exception(format!("Function already exist: {}", name.function))
    };
    if state
        .cloud
        .store
        .read()
        .contains(&state.functions, &name.key())?
    {
        return Err(conflict());
    }
    let package = input.package_type.unwrap_or_else(|| "Zip".into());
    if package == "Image" || input.code.image_uri.is_some() {
        return Err(invalid(
            "Functions from container images do not run here yet: deploy the function as a .zip file archive.",
        ));
    }
    if input.runtime.is_none() || input.handler.is_none() {
        return Err(invalid(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ));
    }
    let mut latest = Configuration {
        timeout: 3,
        memory: 128,
        tracing: "PassThrough".into(),
        package_type: package,
        architectures: input.architectures.unwrap_or_else(|| vec!["x86_64".into()]),
        storage: 512,
        snap_start: "None".into(),
        logging: Logging {
            group: format!("/aws/lambda/{}", name.function),
            ..Default::default()
        },
        modified: ctx.time.0,
        revision: cloud::ids::uuid(),
        ..Default::default()
    };
    let settings = Settings {
        runtime: input.runtime,
        role: Some(input.role),
        handler: input.handler,
        description: input.description,
        timeout: input.timeout,
        memory: input.memory_size,
        environment: input.environment,
        kms_key: input.kms_key_arn,
        dead_letter: input.dead_letter_config,
        tracing: input.tracing_config,
        vpc: input.vpc_config,
        file_systems: input.file_system_configs,
        storage: input.ephemeral_storage,
        snap_start: input.snap_start,
        logging: input.logging_config,
    };
    settings.apply(state, &name, &mut latest)?;
    let source = code::Source {
        zip: input.code.zip_file,
        bucket: input.code.s3_bucket,
        key: input.code.s3_key,
        version: input.code.s3_object_version,
    };
    latest.layers = layers;
    let taken = code::take(state, &ctx.account, source).await?;
    latest.code = taken.code.clone();
    code::directory(state, &latest.code).await?;
    tag::check_number(input.tags.as_ref().map_or(0, BTreeMap::len))?;
    let publish = input.publish == Some(true);
    let mut function = Function {
        latest,
        tags: input.tags.unwrap_or_default(),
        code_signing: input.code_signing_config_arn,
        ..Default::default()
    };
    let (shown_version, shown_configuration) = state
        .change(&name, |tx| {
            if tx.contains(&state.functions, &name.key())? {
                return Err(conflict());
            }
            function.latest.link(tx);
            tx.put(&state.functions, &name.key(), &function)?;
            if publish {
                let (number, configuration) =
                    version::publish_in(state, tx, &name, &mut function, None, ctx.time.0)?;
                return Ok((number.to_string(), configuration));
            }
            Ok((LATEST.to_owned(), function.latest.clone()))
        })
        .await?;
    drop(taken);
    warm(state, &function.latest);
    // The function's own ARN, also where its first version was published with it.
    let mut shown = shown_configuration.describe(&name, name.arn(), &shown_version);
    pending(&mut shown);
    Ok(shown)
}

/// What AWS answers while a function is being made: clients wait for `Active`, which it is by their next request.
pub fn pending(shown: &mut FunctionConfiguration) {
    shown.state = Some("Pending".into());
    shown.state_reason = Some("The function is being created.".into());
    shown.state_reason_code = Some("Creating".into());
    shown.last_update_status = None;
    // Being ready will be another revision.
    shown.revision_id = Some(cloud::ids::uuid());
}

pub fn get_configuration(
    state: &State,
    ctx: &Context,
    function: &str,
    qualifier: Option<&str>,
) -> Result<FunctionConfiguration, Fault> {
    let name = Name::read(ctx, function, qualifier)?;
    let resolved = state.described(&state.cloud.store.read(), &name)?;
    Ok(resolved
        .configuration
        .describe(&name, name.full_arn(), &resolved.version))
}

pub fn get(
    state: &State,
    ctx: &Context,
    input: &api::GetFunctionInput,
) -> Result<api::GetFunctionOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let resolved = state.described(&state.cloud.store.read(), &name)?;
    let code = &resolved.configuration.code;
    let location = match &code.directory {
        Some(directory) => format!("file://{directory}"),
        None => download(ctx, &name, &resolved.version, &code.sha256),
    };
    let tags = &resolved.function.tags;
    Ok(api::GetFunctionOutput {
        configuration: Some(resolved.configuration.describe(
            &name,
            name.full_arn(),
            &resolved.version,
        )),
        code: Some(api::FunctionCodeLocation {
            repository_type: Some("S3".into()),
            location: Some(location),
            ..Default::default()
        }),
        tags: (!tags.is_empty()).then(|| tags.clone()),
        concurrency: resolved.function.reserved.map(|n| api::Concurrency {
            reserved_concurrent_executions: Some(n),
        }),
        ..Default::default()
    })
}

/// Where the zip file can be fetched; knowing its digest is what lets a caller have it.
fn download(ctx: &Context, name: &Name, version: &str, sha256: &str) -> String {
    let digest: String = form_urlencoded::byte_serialize(sha256.as_bytes()).collect();
    let Name {
        account,
        region,
        function,
        ..
    } = name;
    let version = version.trim_start_matches('$');
    format!(
        "{}/_aws/lambda/code/{account}/{region}/{function}/{version}?sha256={digest}",
        ctx.endpoint()
    )
}

/// A function as lists show it: without what becomes of it, which is asked for one by one.
pub(crate) fn listed(shown: FunctionConfiguration) -> FunctionConfiguration {
    FunctionConfiguration {
        state: None,
        state_reason: None,
        state_reason_code: None,
        last_update_status: None,
        last_update_status_reason: None,
        last_update_status_reason_code: None,
        runtime_version_config: None,
        ..shown
    }
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListFunctionsInput,
) -> Result<api::ListFunctionsOutput, Fault> {
    let read = state.cloud.store.read();
    let most = usize::try_from(input.max_items.unwrap_or(50))
        .unwrap_or(50)
        .clamp(1, 50);
    let mut range = Range::prefix(&(&ctx.account, &ctx.region));
    if let Some(marker) = input.marker.as_deref().filter(|m| !m.is_empty()) {
        let place =
            cloud::paging::place("ListFunctions", marker).and_then(|p| p.into_iter().next());
        let after = place.ok_or_else(|| invalid("Invalid pagination token"))?;
        range = range.after(&(&ctx.account, &ctx.region, after));
    }
    let with_versions = input.function_version.as_deref() == Some("ALL");
    let mut functions = Vec::new();
    let mut next_marker = None;
    let mut last = String::new();
    for row in read.range(&state.functions, range) {
        let ((account, region, function), record) = row?;
        if functions.len() >= most {
            next_marker = Some(cloud::paging::token("ListFunctions", &[&last]));
            break;
        }
        last.clone_from(&function);
        let name = Name {
            account,
            region,
            function,
            qualifier: None,
        };
        let arn = if with_versions {
            name.arn_of(LATEST)
        } else {
            name.arn()
        };
        functions.push(listed(record.latest.describe(&name, arn, LATEST)));
        if with_versions {
            for row in read.range(
                &state.versions,
                Range::prefix(&(&name.account, &name.region, &name.function)),
            ) {
                let ((.., number), published) = row?;
                let version = number.to_string();
                functions.push(listed(published.configuration.describe(
                    &name,
                    name.arn_of(&version),
                    &version,
                )));
            }
        }
    }
    Ok(api::ListFunctionsOutput {
        functions: Some(functions),
        next_marker,
    })
}

pub async fn delete(
    state: &Arc<State>,
    ctx: &Context,
    input: &api::DeleteFunctionInput,
) -> Result<(), Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    if name.qualifier.is_some() {
        return version::delete(state, &name).await;
    }
    state
        .change(&name, |tx| {
            let function = state.function(tx, &name)?;
            function.latest.release(tx);
            tx.delete(&state.functions, &name.key());
            for (key, published) in rows(tx, &state.versions, &name)? {
                published.configuration.release(tx);
                tx.delete(&state.versions, &key);
            }
            for (key, url) in rows(tx, &state.urls, &name)? {
                tx.delete(&state.url_owners, &url.id);
                tx.delete(&state.urls, &key);
            }
            forget(tx, &state.aliases, &name)?;
            forget(tx, &state.policies, &name)?;
            forget(tx, &state.event_invokes, &name)?;
            forget(tx, &state.provisioned, &name)
        })
        .await?;
    state.pools.retire(&name, None);
    state.reservations.forget();
    provisioned::sync(state, &name)
}

type Key<Q> = (String, String, String, Q);

/// A function's rows of a table.
fn rows<Q: store::Key, V: Record>(
    tx: &Tx<'_>,
    table: &Table<Key<Q>, V>,
    name: &Name,
) -> Result<Vec<(Key<Q>, V)>, Fault> {
    Ok(tx
        .range(table, Range::prefix(&name.key()))
        .collect::<Result<_, _>>()?)
}

/// Deletes a function's rows of a table.
fn forget<V: Record>(
    tx: &mut Tx<'_>,
    table: &Table<Key<String>, V>,
    name: &Name,
) -> Result<(), Fault> {
    let keys: Vec<_> = rows(tx, table, name)?
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    keys.iter().for_each(|key| tx.delete(table, key));
    Ok(())
}
