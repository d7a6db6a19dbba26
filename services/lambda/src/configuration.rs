//! What a function version is: its stored record and how AWS shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use store::Blob;
use wire::Timestamp;

use crate::api;
use crate::name::{LATEST, Name};

/// A version's configuration and code.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Configuration {
    pub description: String,
    pub runtime: Option<String>,
    pub role: String,
    pub handler: Option<String>,
    /// Seconds.
    pub timeout: i32,
    /// MiB.
    pub memory: i32,
    pub environment: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub kms_key: Option<String>,
    #[serde(default)]
    pub dead_letter: Option<String>,
    pub tracing: String,
    #[serde(default)]
    pub layers: Vec<LayerUse>,
    #[serde(default)]
    pub vpc: Option<Vpc>,
    #[serde(default)]
    pub file_systems: Vec<(String, String)>,
    pub package_type: String,
    pub architectures: Vec<String>,
    /// MiB of `/tmp`.
    pub storage: i32,
    pub snap_start: String,
    pub logging: Logging,
    pub code: Code,
    /// Milliseconds since 1970.
    pub modified: i64,
    pub revision: String,
    /// The RevisionId, where it is not that of the content: what was tagged or permitted since is not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Of a published version: the revision it was published from.
    #[serde(default)]
    pub published_from: Option<String>,
}

/// A layer version that a function uses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerUse {
    pub arn: String,
    pub code: Code,
}

/// Stored network settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Vpc {
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    pub ipv6: bool,
}

/// Where and how a function logs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Logging {
    /// Whether lines are JSON.
    pub json: bool,
    pub application_level: Option<String>,
    pub system_level: Option<String>,
    pub group: String,
}

/// A zip file's content, or a directory of the host that is watched instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Code {
    /// base64 of the zip file's SHA-256.
    pub sha256: String,
    /// Bytes of the zip file.
    pub size: u64,
    pub blob: Option<Blob>,
    /// The host's directory, with the hot-reload bucket.
    #[serde(default)]
    pub directory: Option<String>,
}

/// AWS's form of a time in function configurations: `2026-11-22T23:43:00.000+0000`.
pub fn last_modified(millis: i64) -> String {
    let text = Timestamp(millis).iso8601_millis();
    format!("{}+0000", text.trim_end_matches('Z'))
}

impl Configuration {
    /// Whether its invocations are traced, also those that nobody else traces.
    pub fn is_traced(&self) -> bool {
        self.tracing == "Active"
    }

    /// The RevisionId.
    pub fn shown_revision(&self) -> &str {
        self.mark.as_deref().unwrap_or(&self.revision)
    }

    /// The revision of `$LATEST` that this is, or was published from.
    pub fn source_revision(&self) -> &str {
        self.published_from.as_deref().unwrap_or(&self.revision)
    }

    /// As AWS shows it. `version` is `$LATEST` or a number; the ARN has a qualifier where the request had one.
    pub fn describe(&self, name: &Name, arn: String, version: &str) -> api::FunctionConfiguration {
        let full = |list: &Vec<_>| (!list.is_empty()).then(|| list.clone());
        api::FunctionConfiguration {
            function_name: Some(name.function.clone()),
            function_arn: Some(arn),
            runtime: self.runtime.clone(),
            role: Some(self.role.clone()),
            handler: self.handler.clone(),
            code_size: Some(i64::try_from(self.code.size).unwrap_or(i64::MAX)),
            description: Some(self.description.clone()),
            timeout: Some(self.timeout),
            memory_size: Some(self.memory),
            last_modified: Some(last_modified(self.modified)),
            code_sha256: Some(self.code.sha256.clone()),
            version: Some(version.to_owned()),
            vpc_config: self.vpc.as_ref().map(|vpc| api::VpcConfigResponse {
                subnet_ids: Some(vpc.subnets.clone()),
                security_group_ids: Some(vpc.security_groups.clone()),
                vpc_id: Some(String::new()),
                ipv6_allowed_for_dual_stack: Some(vpc.ipv6),
            }),
            dead_letter_config: self.dead_letter.as_ref().map(|arn| api::DeadLetterConfig {
                target_arn: Some(arn.clone()),
            }),
            environment: self
                .environment
                .as_ref()
                .map(|all| api::EnvironmentResponse {
                    variables: Some(all.clone()),
                    error: None,
                }),
            kms_key_arn: self.kms_key.clone(),
            tracing_config: Some(api::TracingConfigResponse {
                mode: Some(self.tracing.clone()),
            }),
            revision_id: Some(self.shown_revision().to_owned()),
            layers: (!self.layers.is_empty()).then(|| self.layers.iter().map(layer).collect()),
            state: Some("Active".into()),
            last_update_status: Some("Successful".into()),
            file_system_configs: (!self.file_systems.is_empty()).then(|| {
                let one = |(arn, path): &(String, String)| api::FileSystemConfig {
                    arn: arn.clone(),
                    local_mount_path: path.clone(),
                    ..Default::default()
                };
                self.file_systems.iter().map(one).collect()
            }),
            package_type: Some(self.package_type.clone()),
            architectures: full(&self.architectures),
            ephemeral_storage: Some(api::EphemeralStorage { size: self.storage }),
            snap_start: Some(api::SnapStartResponse {
                apply_on: Some(self.snap_start.clone()),
                optimization_status: Some(
                    if self.snap_start == "PublishedVersions" && version != LATEST {
                        "On"
                    } else {
                        "Off"
                    }
                    .into(),
                ),
            }),
            runtime_version_config: self.runtime.as_ref().map(|runtime| {
                api::RuntimeVersionConfig {
                    runtime_version_arn: Some(crate::interpreter::version_arn(
                        &name.region,
                        runtime,
                    )),
                    error: None,
                }
            }),
            logging_config: Some(api::LoggingConfig {
                log_format: Some(if self.logging.json { "JSON" } else { "Text" }.into()),
                application_log_level: self.logging.application_level.clone(),
                system_log_level: self.logging.system_level.clone(),
                log_group: Some(self.logging.group.clone()),
            }),
            ..Default::default()
        }
    }
}

fn layer(layer: &LayerUse) -> api::Layer {
    api::Layer {
        arn: Some(layer.arn.clone()),
        code_size: Some(i64::try_from(layer.code.size).unwrap_or(i64::MAX)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_lambda_writes_them() {
        assert_eq!(super::last_modified(0), "1970-01-01T00:00:00.000+0000");
    }
}
