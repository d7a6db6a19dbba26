//! Identity providers: OpenID Connect and SAML.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Read, Record};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::entity::{arn_of, key};
use crate::errors::*;
use crate::service::Iam;
use crate::tag::{Tags, merged, paged, shown, without};

/// An identity provider as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Provider {
    pub(crate) arn: String,
    pub(crate) created: i64,
    #[serde(default)]
    pub(crate) tags: Tags,
    /// Of OpenID Connect: without its scheme.
    #[serde(default)]
    pub(crate) url: Option<String>,
    #[serde(default)]
    pub(crate) clients: Vec<String>,
    #[serde(default)]
    pub(crate) thumbprints: Vec<String>,
    /// Of SAML.
    #[serde(default)]
    pub(crate) metadata: Option<String>,
}
impl Record for Provider {}

/// The validity that AWS gives to metadata: a hundred years.
const VALID: i64 = 36_525 * 86_400_000;

fn missing(arn: &str) -> Fault {
    match arn.contains(":oidc-provider/") {
        true => no_such_entity_exception(format!("OpenIDConnect Provider not found for arn {arn}")),
        false => no_such_entity_exception(format!("Manifest not found for arn {arn}")),
    }
}

impl Iam {
    pub(crate) fn provider(&self, account: &str, arn: &str) -> Result<Provider, Fault> {
        self.cloud
            .store
            .read()
            .get(&self.providers, &(account, &key(arn)))?
            .ok_or_else(|| missing(arn))
    }

    async fn add_provider(
        &self,
        account: &str,
        provider: &Provider,
        exists: String,
    ) -> Result<(), Fault> {
        self.transact(account, |tx| {
            let at = (account, &key(&provider.arn));
            if tx.contains(&self.providers, &at)? {
                return Err(entity_already_exists_exception(exists));
            }
            Ok(tx.put(&self.providers, &at, provider)?)
        })
        .await
    }

    async fn change_provider<R>(
        &self,
        ctx: &Context,
        arn: &str,
        f: impl FnOnce(&mut Provider) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.transact(&ctx.account, |tx| {
            let at = (&ctx.account, &key(arn));
            let mut provider: Provider =
                tx.get(&self.providers, &at)?.ok_or_else(|| missing(arn))?;
            let result = f(&mut provider)?;
            tx.put(&self.providers, &at, &provider)?;
            Ok(result)
        })
        .await
    }

    async fn remove_provider(
        &self,
        ctx: &Context,
        arn: &str,
        must_exist: bool,
    ) -> Result<(), Fault> {
        self.transact(&ctx.account, |tx| {
            let at = (&ctx.account, &key(arn));
            if must_exist && !tx.contains(&self.providers, &at)? {
                return Err(missing(arn));
            }
            tx.delete(&self.providers, &at);
            Ok(())
        })
        .await
    }

    fn providers_of(&self, ctx: &Context, kind: &str) -> Result<Vec<Provider>, Fault> {
        let mut all = self.all(self.providers, &ctx.account)?;
        all.retain(|p| p.arn.contains(kind));
        Ok(all)
    }

    pub(crate) async fn create_open_id_connect_provider(
        &self,
        ctx: &Context,
        input: CreateOpenIDConnectProviderInput,
    ) -> Result<CreateOpenIDConnectProviderOutput, Fault> {
        let Some(host) = input.url.strip_prefix("https://").filter(|h| !h.is_empty()) else {
            return Err(Fault::sender(
                400,
                "ValidationError",
                "Invalid Open ID Connect Provider URL",
            ));
        };
        let clients = input.client_id_list.unwrap_or_default();
        if clients.len() > 100 {
            return Err(limit_exceeded_exception(
                "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100",
            ));
        }
        let thumbprints = input.thumbprint_list.unwrap_or_default();
        if thumbprints.len() > 5 {
            return Err(invalid_input_exception(
                "Thumbprint list must contain fewer than 5 entries.",
            ));
        }
        let provider = Provider {
            arn: arn_of(ctx, format!("oidc-provider/{host}")),
            created: ctx.time.whole_second().0,
            tags: merged(&Tags::new(), input.tags.unwrap_or_default())?,
            url: Some(host.to_owned()),
            clients,
            thumbprints,
            metadata: None,
        };
        let exists = format!("Provider with url {} already exists.", input.url);
        self.add_provider(&ctx.account, &provider, exists).await?;
        Ok(CreateOpenIDConnectProviderOutput {
            open_id_connect_provider_arn: Some(provider.arn),
            tags: shown(&provider.tags),
        })
    }

    pub(crate) async fn get_open_id_connect_provider(
        &self,
        ctx: &Context,
        input: GetOpenIDConnectProviderInput,
    ) -> Result<GetOpenIDConnectProviderOutput, Fault> {
        let provider = self.provider(&ctx.account, &input.open_id_connect_provider_arn)?;
        Ok(GetOpenIDConnectProviderOutput {
            url: provider.url,
            client_id_list: Some(provider.clients),
            thumbprint_list: Some(provider.thumbprints),
            create_date: Some(Timestamp(provider.created)),
            tags: shown(&provider.tags),
        })
    }

    pub(crate) async fn delete_open_id_connect_provider(
        &self,
        ctx: &Context,
        input: DeleteOpenIDConnectProviderInput,
    ) -> Result<DeleteOpenIDConnectProviderOutput, Fault> {
        // AWS answers the deletion of one that is not there as a success.
        self.remove_provider(ctx, &input.open_id_connect_provider_arn, false)
            .await?;
        Ok(DeleteOpenIDConnectProviderOutput {})
    }

    pub(crate) async fn list_open_id_connect_providers(
        &self,
        ctx: &Context,
        _: ListOpenIDConnectProvidersInput,
    ) -> Result<ListOpenIDConnectProvidersOutput, Fault> {
        let all = self.providers_of(ctx, ":oidc-provider/")?;
        let list = all
            .into_iter()
            .map(|p| OpenIDConnectProviderListEntry { arn: Some(p.arn) })
            .collect();
        Ok(ListOpenIDConnectProvidersOutput {
            open_id_connect_provider_list: Some(list),
        })
    }

    pub(crate) async fn update_open_id_connect_provider_thumbprint(
        &self,
        ctx: &Context,
        input: UpdateOpenIDConnectProviderThumbprintInput,
    ) -> Result<UpdateOpenIDConnectProviderThumbprintOutput, Fault> {
        self.change_provider(ctx, &input.open_id_connect_provider_arn, |provider| {
            provider.thumbprints = input.thumbprint_list;
            Ok(())
        })
        .await?;
        Ok(UpdateOpenIDConnectProviderThumbprintOutput {})
    }

    pub(crate) async fn add_client_id_to_open_id_connect_provider(
        &self,
        ctx: &Context,
        input: AddClientIDToOpenIDConnectProviderInput,
    ) -> Result<AddClientIDToOpenIDConnectProviderOutput, Fault> {
        self.change_provider(ctx, &input.open_id_connect_provider_arn, |provider| {
            if !provider.clients.contains(&input.client_id) {
                provider.clients.push(input.client_id);
            }
            Ok(())
        })
        .await?;
        Ok(AddClientIDToOpenIDConnectProviderOutput {})
    }

    pub(crate) async fn remove_client_id_from_open_id_connect_provider(
        &self,
        ctx: &Context,
        input: RemoveClientIDFromOpenIDConnectProviderInput,
    ) -> Result<RemoveClientIDFromOpenIDConnectProviderOutput, Fault> {
        self.change_provider(ctx, &input.open_id_connect_provider_arn, |provider| {
            provider.clients.retain(|c| *c != input.client_id);
            Ok(())
        })
        .await?;
        Ok(RemoveClientIDFromOpenIDConnectProviderOutput {})
    }

    pub(crate) async fn create_saml_provider(
        &self,
        ctx: &Context,
        input: CreateSAMLProviderInput,
    ) -> Result<CreateSAMLProviderOutput, Fault> {
        let arn = arn_of(ctx, format!("saml-provider/{}", input.name));
        let provider = Provider {
            arn,
            created: ctx.time.whole_second().0,
            tags: merged(&Tags::new(), input.tags.unwrap_or_default())?,
            metadata: Some(input.saml_metadata_document),
            ..Provider::default()
        };
        let exists = format!("SAML provider with name {} already exists.", input.name);
        self.add_provider(&ctx.account, &provider, exists).await?;
        Ok(CreateSAMLProviderOutput {
            saml_provider_arn: Some(provider.arn),
            tags: shown(&provider.tags),
        })
    }

    pub(crate) async fn get_saml_provider(
        &self,
        ctx: &Context,
        input: GetSAMLProviderInput,
    ) -> Result<GetSAMLProviderOutput, Fault> {
        let provider = self.provider(&ctx.account, &input.saml_provider_arn)?;
        Ok(GetSAMLProviderOutput {
            saml_metadata_document: provider.metadata,
            create_date: Some(Timestamp(provider.created)),
            valid_until: Some(Timestamp(provider.created + VALID)),
            tags: shown(&provider.tags),
            ..Default::default()
        })
    }

    pub(crate) async fn update_saml_provider(
        &self,
        ctx: &Context,
        input: UpdateSAMLProviderInput,
    ) -> Result<UpdateSAMLProviderOutput, Fault> {
        self.change_provider(ctx, &input.saml_provider_arn, |provider| {
            provider.metadata = input.saml_metadata_document.or(provider.metadata.take());
            Ok(())
        })
        .await?;
        Ok(UpdateSAMLProviderOutput {
            saml_provider_arn: Some(input.saml_provider_arn),
        })
    }

    pub(crate) async fn delete_saml_provider(
        &self,
        ctx: &Context,
        input: DeleteSAMLProviderInput,
    ) -> Result<DeleteSAMLProviderOutput, Fault> {
        self.remove_provider(ctx, &input.saml_provider_arn, true)
            .await?;
        Ok(DeleteSAMLProviderOutput {})
    }

    pub(crate) async fn list_saml_providers(
        &self,
        ctx: &Context,
        _: ListSAMLProvidersInput,
    ) -> Result<ListSAMLProvidersOutput, Fault> {
        let all = self.providers_of(ctx, ":saml-provider/")?;
        let entry = |p: Provider| SAMLProviderListEntry {
            arn: Some(p.arn),
            valid_until: Some(Timestamp(p.created + VALID)),
            create_date: Some(Timestamp(p.created)),
        };
        Ok(ListSAMLProvidersOutput {
            saml_provider_list: Some(all.into_iter().map(entry).collect()),
        })
    }
}

macro_rules! provider_tags {
    ($arn:ident, $tag:ident: $tag_in:ident => $tag_out:ident, $untag:ident: $untag_in:ident => $untag_out:ident,
     $list:ident: $list_in:ident => $list_out:ident) => {
        impl Iam {
            pub(crate) async fn $tag(
                &self,
                ctx: &Context,
                input: $tag_in,
            ) -> Result<$tag_out, Fault> {
                self.change_provider(ctx, &input.$arn, |provider| {
                    provider.tags = merged(&provider.tags, input.tags)?;
                    Ok(())
                })
                .await?;
                Ok($tag_out {})
            }
            pub(crate) async fn $untag(
                &self,
                ctx: &Context,
                input: $untag_in,
            ) -> Result<$untag_out, Fault> {
                self.change_provider(ctx, &input.$arn, |provider| {
                    without(&mut provider.tags, &input.tag_keys);
                    Ok(())
                })
                .await?;
                Ok($untag_out {})
            }
            pub(crate) async fn $list(
                &self,
                ctx: &Context,
                input: $list_in,
            ) -> Result<$list_out, Fault> {
                let provider = self.provider(&ctx.account, &input.$arn)?;
                let page = paged(&provider.tags, input.marker.as_deref(), input.max_items)?;
                Ok($list_out {
                    tags: page.items,
                    is_truncated: page.is_truncated,
                    marker: page.marker,
                })
            }
        }
    };
}

provider_tags!(open_id_connect_provider_arn,
    tag_open_id_connect_provider: TagOpenIDConnectProviderInput => TagOpenIDConnectProviderOutput,
    untag_open_id_connect_provider: UntagOpenIDConnectProviderInput => UntagOpenIDConnectProviderOutput,
    list_open_id_connect_provider_tags: ListOpenIDConnectProviderTagsInput => ListOpenIDConnectProviderTagsOutput);
provider_tags!(saml_provider_arn, tag_saml_provider: TagSAMLProviderInput => TagSAMLProviderOutput,
    untag_saml_provider: UntagSAMLProviderInput => UntagSAMLProviderOutput,
    list_saml_provider_tags: ListSAMLProviderTagsInput => ListSAMLProviderTagsOutput);
