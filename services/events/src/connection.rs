//! Connections: how API destinations are told who calls.

use std::sync::Arc;

use cloud::{Arn, Context, Fact};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::page;
use crate::place::invalid;
use crate::service::Events;

/// One more header, query parameter or member of the body.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Parameter {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) is_secret: bool,
}

/// What is added to a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Additions {
    pub(crate) headers: Vec<Parameter>,
    pub(crate) query: Vec<Parameter>,
    pub(crate) body: Vec<Parameter>,
}

/// The client of an authorization server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) endpoint: String,
    pub(crate) method: String,
    pub(crate) additions: Option<Additions>,
}

/// A connection as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Connection {
    pub(crate) id: String,
    /// The last part of its secret's ARN.
    secret: String,
    pub(crate) kind: String,
    description: Option<String>,
    key: Option<String>,
    pub(crate) state: String,
    reason: Option<String>,
    /// User name and password.
    pub(crate) basic: Option<(String, String)>,
    /// Header and value.
    pub(crate) api_key: Option<(String, String)>,
    pub(crate) client: Option<Client>,
    pub(crate) additions: Option<Additions>,
    created: i64,
    pub(crate) modified: i64,
    authorized: Option<i64>,
}
impl Record for Connection {}

/// A connection's token is to be fetched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Authorize {
    account: String,
    region: String,
    name: String,
    modified: i64,
}
impl Fact for Authorize {
    const NAME: &'static str = "events.Authorize";
}

use connection_authorization_type as kind;
use connection_state as state;

pub(crate) fn arn(account: &str, region: &str, name: &str, id: &str) -> String {
    Arn::new("events", region, account, format!("connection/{name}/{id}")).to_string()
}

fn missing(name: &str) -> Fault {
    resource_not_found_exception(format!("Connection '{name}' does not exist."))
}

fn additions(http: ConnectionHttpParameters) -> Additions {
    let parameter =
        |key: Option<String>, value: Option<String>, is_secret: Option<bool>| Parameter {
            key: key.unwrap_or_default(),
            value: value.unwrap_or_default(),
            is_secret: is_secret.unwrap_or(false),
        };
    let headers = http.header_parameters.unwrap_or_default().into_iter();
    let query = http.query_string_parameters.unwrap_or_default().into_iter();
    let body = http.body_parameters.unwrap_or_default().into_iter();
    Additions {
        headers: headers
            .map(|p| parameter(p.key, p.value, p.is_value_secret))
            .collect(),
        query: query
            .map(|p| parameter(p.key, p.value, p.is_value_secret))
            .collect(),
        body: body
            .map(|p| parameter(p.key, p.value, p.is_value_secret))
            .collect(),
    }
}

/// As it is described: without what is secret.
fn shown(additions: &Additions) -> ConnectionHttpParameters {
    macro_rules! list {
        ($all:expr, $shape:ident) => {
            (!$all.is_empty()).then(|| {
                let all = $all.iter();
                all.map(|p| $shape {
                    key: Some(p.key.clone()),
                    value: (!p.is_secret).then(|| p.value.clone()),
                    is_value_secret: Some(p.is_secret),
                })
                .collect()
            })
        };
    }
    ConnectionHttpParameters {
        header_parameters: list!(additions.headers, ConnectionHeaderParameter),
        query_string_parameters: list!(additions.query, ConnectionQueryStringParameter),
        body_parameters: list!(additions.body, ConnectionBodyParameter),
    }
}

impl Connection {
    fn auth(&self) -> ConnectionAuthResponseParameters {
        ConnectionAuthResponseParameters {
            basic_auth_parameters: self.basic.as_ref().map(|(name, _)| {
                ConnectionBasicAuthResponseParameters {
                    username: Some(name.clone()),
                }
            }),
            api_key_auth_parameters: self.api_key.as_ref().map(|(name, _)| {
                ConnectionApiKeyAuthResponseParameters {
                    api_key_name: Some(name.clone()),
                }
            }),
            o_auth_parameters: self.client.as_ref().map(|client| {
                ConnectionOAuthResponseParameters {
                    client_parameters: Some(ConnectionOAuthClientResponseParameters {
                        client_id: Some(client.id.clone()),
                    }),
                    authorization_endpoint: Some(client.endpoint.clone()),
                    http_method: Some(client.method.clone()),
                    o_auth_http_parameters: client.additions.as_ref().map(shown),
                }
            }),
            invocation_http_parameters: self.additions.as_ref().map(shown),
            connectivity_parameters: None,
        }
    }

    /// Checks that it has what its kind asks for, and nothing of another kind.
    fn check(&self) -> Result<(), Fault> {
        let has = [
            (kind::BASIC, self.basic.is_some(), "BasicAuthParameters"),
            (
                kind::API_KEY,
                self.api_key.is_some(),
                "ApiKeyAuthParameters",
            ),
            (
                kind::OAUTH_CLIENT_CREDENTIALS,
                self.client.is_some(),
                "OAuthParameters",
            ),
        ];
        for (of, is_there, name) in has {
            if of == self.kind && !is_there {
                return Err(invalid(format!(
                    "{name} must be set when AuthorizationType is {of}."
                )));
            }
        }
        Ok(())
    }

    /// What it is once its parameters were set: a client's token has to be fetched first.
    fn settle(&mut self, now: i64) {
        self.reason = None;
        if self.client.is_some() {
            self.state = state::AUTHORIZING.into();
        } else {
            self.state = state::AUTHORIZED.into();
            self.authorized = Some(now);
        }
    }
}

impl Events {
    pub(crate) fn register_authorization(self: &Arc<Self>) {
        let events = self.clone();
        self.cloud.facts.subscribe::<Authorize>(move |fact| {
            let events = events.clone();
            Box::pin(async move { events.authorize(fact).await })
        });
    }

    pub(crate) fn connection(
        &self,
        reader: &impl Read,
        account: &str,
        region: &str,
        name: &str,
    ) -> Result<Connection, Fault> {
        let found = Read::get(reader, &self.connections, &(account, region, name))?;
        found.ok_or_else(|| missing(name))
    }

    /// The connection of an ARN.
    pub(crate) fn connection_of_arn(
        &self,
        reader: &impl Read,
        text: &str,
    ) -> Result<(Arn, Connection), Fault> {
        let none = || resource_not_found_exception(format!("Connection '{text}' does not exist."));
        let arn: Arn = text.parse().map_err(|_| none())?;
        let path = arn.resource.strip_prefix("connection/");
        let (name, id) = path.and_then(|p| p.split_once('/')).ok_or_else(none)?;
        let connection = self.connection(reader, &arn.account, &arn.region, name)?;
        match connection.id == id {
            true => Ok((arn, connection)),
            false => Err(missing(name)),
        }
    }

    /// Changes a connection, which its destinations are called with from then on.
    async fn change_connection(
        &self,
        ctx: &Context,
        name: &str,
        f: impl FnOnce(&mut Connection) -> Result<(), Fault>,
    ) -> Result<Connection, Fault> {
        let scope = ["events.connections", &ctx.account, &ctx.region];
        let key = (ctx.account.as_str(), ctx.region.as_str(), name);
        let store = &self.cloud.store;
        let change = store.transact(Scope::new(&scope), |tx| {
            let mut connection = self.connection(tx, key.0, key.1, key.2)?;
            f(&mut connection)?;
            connection.modified = ctx.time.0.max(connection.modified + 1);
            tx.put(&self.connections, &key, &connection)?;
            if connection.state == state::AUTHORIZING {
                self.cloud
                    .facts
                    .emit(tx, &authorize(ctx, name, &connection))?;
            }
            Ok::<_, Fault>(connection)
        });
        let connection = change.await?;
        self.tokens.lock().remove(&connection.id);
        Ok(connection)
    }

    pub(crate) async fn create_connection(
        &self,
        ctx: &Context,
        input: CreateConnectionInput,
    ) -> Result<CreateConnectionOutput, Fault> {
        let auth = input.auth_parameters;
        let mut connection = Connection {
            id: cloud::ids::uuid(),
            secret: format!("{}-{}", cloud::ids::uuid(), cloud::ids::hex(6)),
            kind: input.authorization_type,
            description: input.description.filter(|d| !d.is_empty()),
            key: input.kms_key_identifier.filter(|k| !k.is_empty()),
            basic: auth.basic_auth_parameters.map(|p| (p.username, p.password)),
            api_key: auth
                .api_key_auth_parameters
                .map(|p| (p.api_key_name, p.api_key_value)),
            client: auth.o_auth_parameters.map(|p| Client {
                id: p.client_parameters.client_id,
                secret: p.client_parameters.client_secret,
                endpoint: p.authorization_endpoint,
                method: p.http_method,
                additions: p.o_auth_http_parameters.map(additions),
            }),
            additions: auth.invocation_http_parameters.map(additions),
            created: ctx.time.0,
            modified: ctx.time.0,
            ..Connection::default()
        };
        if input.invocation_connectivity_parameters.is_some()
            || auth.connectivity_parameters.is_some()
        {
            return Err(invalid(
                "Private connectivity is not available in this region.",
            ));
        }
        connection.check()?;
        connection.settle(ctx.time.0);
        let name = input.name;
        let scope = ["events.connections", &ctx.account, &ctx.region];
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let store = &self.cloud.store;
        let create = store.transact(Scope::new(&scope), |tx| {
            if tx.contains(&self.connections, &key)? {
                return Err(resource_already_exists_exception(format!(
                    "Connection {name} already exists."
                )));
            }
            tx.put(&self.connections, &key, &connection)?;
            if connection.state == state::AUTHORIZING {
                self.cloud
                    .facts
                    .emit(tx, &authorize(ctx, &name, &connection))?;
            }
            Ok(())
        });
        create.await?;
        Ok(CreateConnectionOutput {
            connection_arn: Some(arn(key.0, key.1, key.2, &connection.id)),
            connection_state: Some(connection.state),
            creation_time: Some(ctx.time),
            last_modified_time: Some(ctx.time),
        })
    }

    /// Fetches a client's token, and says whether the server gave one.
    async fn authorize(&self, fact: Authorize) -> Result<(), Fault> {
        let (account, region, name) = (&fact.account, &fact.region, &fact.name);
        let key = (account.as_str(), region.as_str(), name.as_str());
        let found: Option<Connection> = self.cloud.store.read().get(&self.connections, &key)?;
        let is_meant =
            |c: &Connection| c.modified == fact.modified && c.state == state::AUTHORIZING;
        let Some(connection) = found.filter(is_meant) else {
            return Ok(());
        };
        let outcome = match &connection.client {
            Some(client) => self.fetch_token(&connection.id, client).await.map(drop),
            None => Ok(()),
        };
        let scope = ["events.connections", account, region];
        let store = &self.cloud.store;
        let settle = store.transact(Scope::new(&scope), |tx| {
            let found: Option<Connection> = Read::get(tx, &self.connections, &key)?;
            let Some(mut connection) = found.filter(is_meant) else {
                return Ok::<_, Fault>(());
            };
            match outcome {
                Ok(()) => {
                    connection.state = state::AUTHORIZED.into();
                    connection.authorized = Some(self.cloud.clock.now().0);
                }
                Err(fault) => {
                    connection.state = state::DEAUTHORIZED.into();
                    connection.reason = Some(fault.message.chars().take(512).collect());
                }
            }
            tx.put(&self.connections, &key, &connection)?;
            Ok(())
        });
        settle.await
    }

    pub(crate) async fn describe_connection(
        &self,
        ctx: &Context,
        input: DescribeConnectionInput,
    ) -> Result<DescribeConnectionOutput, Fault> {
        let name = input.name;
        let view = self.cloud.store.read();
        let connection = self
            .connection(&view, &ctx.account, &ctx.region, &name)
            .map_err(|fault| {
                let text = format!("Failed to describe the connection(s). {}", fault.message);
                resource_not_found_exception(text)
            })?;
        let secret = format!("secret:events!connection/{name}/{}", connection.secret);
        Ok(DescribeConnectionOutput {
            connection_arn: Some(arn(&ctx.account, &ctx.region, &name, &connection.id)),
            secret_arn: Some(
                Arn::new("secretsmanager", &ctx.region, &ctx.account, secret).to_string(),
            ),
            name: Some(name),
            auth_parameters: Some(connection.auth()),
            description: connection.description,
            invocation_connectivity_parameters: None,
            connection_state: Some(connection.state),
            state_reason: connection.reason,
            authorization_type: Some(connection.kind),
            kms_key_identifier: connection.key,
            creation_time: Some(Timestamp(connection.created)),
            last_modified_time: Some(Timestamp(connection.modified)),
            last_authorized_time: connection.authorized.map(Timestamp),
        })
    }

    pub(crate) async fn list_connections(
        &self,
        ctx: &Context,
        input: ListConnectionsInput,
    ) -> Result<ListConnectionsOutput, Fault> {
        let prefix = input.name_prefix.unwrap_or_default();
        let mut range = Range::text(&(&ctx.account, &ctx.region), &prefix);
        if let Some(after) = page::start("ListConnections", input.next_token.as_deref())? {
            range = range.after(&(&ctx.account, &ctx.region, &after));
        }
        let size = page::size(input.limit);
        let view = self.cloud.store.read();
        let mut found = Vec::new();
        for row in view.range(&self.connections, range) {
            let ((_, _, name), connection) = row?;
            if input
                .connection_state
                .as_ref()
                .is_none_or(|s| *s == connection.state)
            {
                found.push(crate::api::Connection {
                    connection_arn: Some(arn(&ctx.account, &ctx.region, &name, &connection.id)),
                    name: Some(name),
                    connection_state: Some(connection.state),
                    state_reason: connection.reason,
                    authorization_type: Some(connection.kind),
                    creation_time: Some(Timestamp(connection.created)),
                    last_modified_time: Some(Timestamp(connection.modified)),
                    last_authorized_time: connection.authorized.map(Timestamp),
                });
            }
            if found.len() > size {
                break;
            }
        }
        let (connections, next_token) = page::cut("ListConnections", found, size, |c| {
            c.name.clone().unwrap_or_default()
        });
        Ok(ListConnectionsOutput {
            connections: Some(connections),
            next_token,
        })
    }

    pub(crate) async fn update_connection(
        &self,
        ctx: &Context,
        input: UpdateConnectionInput,
    ) -> Result<UpdateConnectionOutput, Fault> {
        let name = input.name;
        let connection = self
            .change_connection(ctx, &name, |connection| {
                if let Some(description) = input.description {
                    connection.description = Some(description).filter(|d| !d.is_empty());
                }
                if let Some(key) = input.kms_key_identifier {
                    connection.key = Some(key).filter(|k| !k.is_empty());
                }
                if let Some(kind) = input.authorization_type
                    && kind != connection.kind
                {
                    connection.kind = kind;
                    (connection.basic, connection.api_key, connection.client) = (None, None, None);
                }
                let Some(auth) = input.auth_parameters else {
                    return connection.check();
                };
                if let Some(p) = auth.basic_auth_parameters {
                    let (user, password) = connection.basic.take().unwrap_or_default();
                    connection.basic =
                        Some((p.username.unwrap_or(user), p.password.unwrap_or(password)));
                }
                if let Some(p) = auth.api_key_auth_parameters {
                    let (key, value) = connection.api_key.take().unwrap_or_default();
                    connection.api_key = Some((
                        p.api_key_name.unwrap_or(key),
                        p.api_key_value.unwrap_or(value),
                    ));
                }
                if let Some(p) = auth.o_auth_parameters {
                    let mut client = connection.client.take().unwrap_or_default();
                    if let Some(own) = p.client_parameters {
                        client.id = own.client_id.unwrap_or(client.id);
                        client.secret = own.client_secret.unwrap_or(client.secret);
                    }
                    client.endpoint = p.authorization_endpoint.unwrap_or(client.endpoint);
                    client.method = p.http_method.unwrap_or(client.method);
                    client.additions = p.o_auth_http_parameters.map(additions).or(client.additions);
                    connection.client = Some(client);
                }
                if let Some(http) = auth.invocation_http_parameters {
                    connection.additions = Some(additions(http));
                }
                connection.check()?;
                connection.settle(ctx.time.0);
                Ok(())
            })
            .await?;
        Ok(UpdateConnectionOutput {
            connection_arn: Some(arn(&ctx.account, &ctx.region, &name, &connection.id)),
            connection_state: Some(connection.state),
            creation_time: Some(Timestamp(connection.created)),
            last_modified_time: Some(Timestamp(connection.modified)),
            last_authorized_time: connection.authorized.map(Timestamp),
        })
    }

    pub(crate) async fn deauthorize_connection(
        &self,
        ctx: &Context,
        input: DeauthorizeConnectionInput,
    ) -> Result<DeauthorizeConnectionOutput, Fault> {
        let name = input.name;
        let connection = self
            .change_connection(ctx, &name, |connection| {
                connection.state = state::DEAUTHORIZED.into();
                (connection.basic, connection.api_key, connection.client) = (None, None, None);
                Ok(())
            })
            .await?;
        Ok(DeauthorizeConnectionOutput {
            connection_arn: Some(arn(&ctx.account, &ctx.region, &name, &connection.id)),
            connection_state: Some(state::DEAUTHORIZING.into()),
            creation_time: Some(Timestamp(connection.created)),
            last_modified_time: Some(Timestamp(connection.modified)),
            last_authorized_time: connection.authorized.map(Timestamp),
        })
    }

    pub(crate) async fn delete_connection(
        &self,
        ctx: &Context,
        input: DeleteConnectionInput,
    ) -> Result<DeleteConnectionOutput, Fault> {
        let scope = ["events.connections", &ctx.account, &ctx.region];
        let key = (
            ctx.account.as_str(),
            ctx.region.as_str(),
            input.name.as_str(),
        );
        let store = &self.cloud.store;
        let delete = store.transact(Scope::new(&scope), |tx| {
            let connection = self.connection(tx, key.0, key.1, key.2)?;
            tx.delete(&self.connections, &key);
            Ok::<_, Fault>(connection)
        });
        let connection = delete.await?;
        self.tokens.lock().remove(&connection.id);
        Ok(DeleteConnectionOutput {
            connection_arn: Some(arn(key.0, key.1, key.2, &connection.id)),
            connection_state: Some(state::DELETING.into()),
            creation_time: Some(Timestamp(connection.created)),
            last_modified_time: Some(Timestamp(connection.modified)),
            last_authorized_time: connection.authorized.map(Timestamp),
        })
    }
}

fn authorize(ctx: &Context, name: &str, connection: &Connection) -> Authorize {
    Authorize {
        account: ctx.account.clone(),
        region: ctx.region.clone(),
        name: name.to_owned(),
        modified: connection.modified,
    }
}
