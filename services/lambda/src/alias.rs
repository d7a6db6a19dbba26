//! Aliases: names for versions, perhaps for two by weight.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Read, Record, Tx};
use wire::Fault;

use crate::api::{self, AliasConfiguration};
use crate::errors;
use crate::name::{LATEST, Name};
use crate::page::Page;
use crate::state::State;
use crate::{blame, provisioned, revision};

/// An alias.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Alias {
    pub version: String,
    pub description: String,
    /// Shares of other versions, between 0 and 1.
    #[serde(default)]
    pub weights: BTreeMap<String, f64>,
    pub revision: String,
}

impl Record for Alias {}

impl Alias {
    fn describe(&self, name: &Name, alias: &str) -> AliasConfiguration {
        AliasConfiguration {
            alias_arn: Some(name.arn_of(alias)),
            name: Some(alias.to_owned()),
            function_version: Some(self.version.clone()),
            description: Some(self.description.clone()),
            routing_config: (!self.weights.is_empty()).then(|| api::AliasRoutingConfiguration {
                additional_version_weights: Some(self.weights.clone()),
            }),
            revision_id: Some(self.revision.clone()),
        }
    }

    /// One of its versions, by their weights.
    pub fn choose(&self) -> &str {
        let mut random = [0; 4];
        cloud::ids::random(&mut random);
        let mut at = f64::from(u32::from_le_bytes(random)) / (f64::from(u32::MAX) + 1.0);
        for (version, weight) in &self.weights {
            if at < *weight {
                return version;
            }
            at -= weight;
        }
        &self.version
    }
}

fn check(state: &State, tx: &Tx<'_>, name: &Name, alias: &Alias) -> Result<(), Fault> {
    let invalid = |text: String| errors::invalid_parameter_value_exception(text);
    if alias.weights.len() > 1 {
        return Err(invalid(
            "Number of items in AdditionalVersionWeights cannot be greater than 1".into(),
        ));
    }
    if alias.weights.contains_key(&alias.version) {
        let version = &alias.version;
        return Err(invalid(format!(
            "Invalid function version {version}. Function version {version} is already included in routing configuration."
        )));
    }
    for version in std::iter::once(&alias.version).chain(alias.weights.keys()) {
        if version == LATEST {
            if alias.weights.is_empty() {
                continue;
            }
            return Err(blame::untyped(invalid(
                "$LATEST is not supported for an alias pointing to more than 1 version".into(),
            )));
        }
        let Ok(number) = version.parse::<u64>() else {
            return Err(invalid(format!("Invalid function version {version}")));
        };
        if !tx.contains(
            &state.versions,
            &(&name.account, &name.region, &name.function, number),
        )? {
            return Err(errors::resource_not_found_exception(format!(
                "Function not found: {}",
                name.arn_of(version)
            )));
        }
    }
    Ok(())
}

fn none(name: &Name, alias: &str) -> Fault {
    errors::resource_not_found_exception(format!("Cannot find alias arn: {}", name.arn_of(alias)))
}

fn weights(config: Option<api::AliasRoutingConfiguration>) -> BTreeMap<String, f64> {
    config
        .and_then(|c| c.additional_version_weights)
        .unwrap_or_default()
}

pub async fn create(
    state: &State,
    ctx: &Context,
    input: api::CreateAliasInput,
) -> Result<AliasConfiguration, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let alias = Alias {
        version: input.function_version,
        description: input.description.unwrap_or_default(),
        weights: weights(input.routing_config),
        revision: cloud::ids::uuid(),
    };
    let key = (&name.account, &name.region, &name.function, &input.name);
    state
        .change(&name, |tx| {
            if !tx.contains(&state.functions, &name.key())? {
                let text = format!("Function not found: {}", name.arn_of(&alias.version));
                return Err(errors::resource_not_found_exception(text));
            }
            if tx.contains(&state.aliases, &key)? {
                return Err(errors::resource_conflict_exception(format!(
                    "Alias already exists: {}",
                    name.arn_of(&input.name)
                )));
            }
            check(state, tx, &name, &alias)?;
            Ok(tx.put(&state.aliases, &key, &alias)?)
        })
        .await?;
    Ok(alias.describe(&name, &input.name))
}

pub async fn update(
    state: &Arc<State>,
    ctx: &Context,
    input: api::UpdateAliasInput,
) -> Result<AliasConfiguration, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let key = (&name.account, &name.region, &name.function, &input.name);
    let alias = state
        .change(&name, |tx| {
            state.function(tx, &name)?;
            let mut alias = tx.get(&state.aliases, &key)?.ok_or_else(|| {
                errors::resource_not_found_exception(format!(
                    "Alias not found: {}",
                    name.arn_of(&input.name)
                ))
            })?;
            let asked = input.revision_id.as_deref();
            revision::check(asked, &alias.revision, "GetFunction/GetAlias")?;
            alias.version = input.function_version.unwrap_or(alias.version);
            alias.description = input.description.unwrap_or(alias.description);
            if input.routing_config.is_some() {
                alias.weights = weights(input.routing_config);
            }
            alias.revision = cloud::ids::uuid();
            check(state, tx, &name, &alias)?;
            tx.put(&state.aliases, &key, &alias)?;
            Ok(alias)
        })
        .await?;
    provisioned::sync(state, &name)?;
    Ok(alias.describe(&name, &input.name))
}

pub fn get(
    state: &State,
    ctx: &Context,
    input: &api::GetAliasInput,
) -> Result<AliasConfiguration, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let read = state.cloud.store.read();
    state.function(&read, &name)?;
    let key = (&name.account, &name.region, &name.function, &input.name);
    let alias = read
        .get(&state.aliases, &key)?
        .ok_or_else(|| none(&name, &input.name))?;
    Ok(alias.describe(&name, &input.name))
}

pub async fn delete(
    state: &Arc<State>,
    ctx: &Context,
    input: &api::DeleteAliasInput,
) -> Result<(), Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let key = (&name.account, &name.region, &name.function, &input.name);
    state
        .change(&name, |tx| {
            tx.delete(&state.aliases, &key);
            tx.delete(&state.policies, &key);
            tx.delete(&state.provisioned, &key);
            // Its URL goes with it.
            if let Some(url) = tx.get(&state.urls, &key)? {
                tx.delete(&state.url_owners, &url.id);
                tx.delete(&state.urls, &key);
            }
            Ok(())
        })
        .await?;
    provisioned::sync(state, &name)
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListAliasesInput,
) -> Result<api::ListAliasesOutput, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let read = state.cloud.store.read();
    state.function(&read, &name)?;
    let marker = input.marker.as_deref();
    let page = Page::read("ListAliases", marker, input.max_items)?;
    let version = input.function_version.as_ref();
    let rows = read
        .range(&state.aliases, page.range(&name))
        .filter_map(|row| match row {
            Err(error) => Some(Err(error.into())),
            Ok(((.., alias), record)) => version.is_none_or(|v| *v == record.version).then(|| {
                let shown = record.describe(&name, &alias);
                Ok((alias, shown))
            }),
        });
    let (aliases, next_marker) = page.cut(rows)?;
    Ok(api::ListAliasesOutput {
        aliases: Some(aliases),
        next_marker,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_chosen_by_their_weight() {
        let mut alias = Alias {
            version: "1".into(),
            ..Default::default()
        };
        alias.weights.insert("2".into(), 0.25);
        let second = (0..4000).filter(|_| alias.choose() == "2").count();
        assert!((800..1200).contains(&second), "{second}");
        alias.weights.insert("2".into(), 1.0);
        assert!((0..100).all(|_| alias.choose() == "2"));
    }
}
