//! Databases: names that tables stand under.

use std::collections::BTreeMap;

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp, json};

use crate::api::{self, *};
use crate::catalog::{Place, account};
use crate::errors::*;
use crate::page;
use crate::service::Glue;

/// A database as it is stored: all of it as the API writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Database {
    pub(crate) created: i64,
    input: String,
    pub(crate) tags: BTreeMap<String, String>,
}
impl Record for Database {}

/// What is stored of an input.
fn kept(mut input: DatabaseInput) -> String {
    input.name = input.name.to_lowercase();
    if input.create_table_default_permissions.is_none() {
        // Whom IAM lets in is let in, unless Lake Formation is told otherwise.
        input.create_table_default_permissions = Some(vec![PrincipalPermissions {
            principal: Some(DataLakePrincipal {
                data_lake_principal_identifier: Some("IAM_ALLOWED_PRINCIPALS".into()),
            }),
            permissions: Some(vec![permission::ALL.into()]),
        }]);
    }
    json::kept(&input)
}

impl Database {
    fn describe(&self, account: &str) -> Result<api::Database, Fault> {
        let input: DatabaseInput = json::restored(&self.input)?;
        Ok(api::Database {
            name: input.name,
            description: input.description,
            location_uri: input.location_uri,
            parameters: input.parameters,
            create_time: Some(Timestamp(self.created)),
            create_table_default_permissions: input.create_table_default_permissions,
            target_database: input.target_database,
            catalog_id: Some(account.to_owned()),
            federated_database: input.federated_database,
        })
    }
}

impl Glue {
    /// The database, which must exist.
    pub(crate) fn database(&self, reader: &impl Read, place: &Place) -> Result<Database, Fault> {
        Read::get(reader, &self.databases, &place.key())?.ok_or_else(|| place.missing())
    }

    pub(crate) async fn change_database<R>(
        &self,
        place: &Place,
        f: impl FnOnce(&mut Tx<'_>, &mut Database) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = place.scope();
        let change = self.cloud.store.transact(Scope::new(&scope), |tx| {
            let mut database = self.database(tx, place)?;
            let result = f(tx, &mut database)?;
            tx.put(&self.databases, &place.key(), &database)?;
            Ok(result)
        });
        change.await
    }

    pub(crate) async fn create_database(
        &self,
        ctx: &Context,
        input: CreateDatabaseInput,
    ) -> Result<CreateDatabaseOutput, Fault> {
        let catalog = input.catalog_id.as_deref();
        let place = Place::of(ctx, catalog, &input.database_input.name)?;
        let database = Database {
            created: ctx.time.whole_second().0,
            input: kept(input.database_input),
            tags: input.tags.unwrap_or_default(),
        };
        let scope = place.scope();
        let create = self.cloud.store.transact(Scope::new(&scope), |tx| {
            if tx.contains(&self.databases, &place.key())? {
                return Err(already_exists_exception("Database already exists."));
            }
            Ok(tx.put(&self.databases, &place.key(), &database)?)
        });
        create.await?;
        Ok(CreateDatabaseOutput {})
    }

    pub(crate) async fn get_database(
        &self,
        ctx: &Context,
        input: GetDatabaseInput,
    ) -> Result<GetDatabaseOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.name)?;
        let database = self.database(&self.cloud.store, &place)?;
        Ok(GetDatabaseOutput {
            database: Some(database.describe(&place.account)?),
        })
    }

    pub(crate) async fn get_databases(
        &self,
        ctx: &Context,
        input: GetDatabasesInput,
    ) -> Result<GetDatabasesOutput, Fault> {
        let account = account(ctx, input.catalog_id.as_deref())?;
        let mut range = Range::prefix(&(&account, &ctx.region));
        if let Some(after) = page::start("GetDatabases", input.next_token.as_deref())? {
            range = range.after(&(&account, &ctx.region, &after));
        }
        let size = page::size(input.max_results);
        let view = self.cloud.store.read();
        let rows = view
            .range(&self.databases, range.limit(size + 1))
            .collect::<Result<Vec<_>, _>>()?;
        let (rows, next_token) =
            page::cut("GetDatabases", rows, size, |((.., name), _)| name.clone());
        let shown = rows.iter().map(|(_, row)| row.describe(&account));
        Ok(GetDatabasesOutput {
            database_list: shown.collect::<Result<_, _>>()?,
            next_token,
        })
    }

    pub(crate) async fn update_database(
        &self,
        ctx: &Context,
        input: UpdateDatabaseInput,
    ) -> Result<UpdateDatabaseOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.name)?;
        if input.database_input.name.to_lowercase() != place.database {
            return Err(invalid_input_exception(
                "Database name cannot be changed by an update.",
            ));
        }
        let text = kept(input.database_input);
        self.change_database(&place, |_, database| {
            database.input = text;
            Ok(())
        })
        .await?;
        Ok(UpdateDatabaseOutput {})
    }

    pub(crate) async fn delete_database(
        &self,
        ctx: &Context,
        input: DeleteDatabaseInput,
    ) -> Result<DeleteDatabaseOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.name)?;
        let scope = place.scope();
        let delete = self.cloud.store.transact(Scope::new(&scope), |tx| {
            self.database(tx, &place)?;
            let mut names = Vec::new();
            {
                let mut rows = tx.range(&self.tables, Range::prefix(&place.key()));
                while let Some((_, _, _, table)) = rows.next_key()? {
                    names.push(table);
                }
            }
            for name in names {
                self.remove_table(tx, &place, &name)?;
            }
            tx.delete(&self.databases, &place.key());
            Ok::<_, Fault>(())
        });
        delete.await?;
        Ok(DeleteDatabaseOutput {})
    }
}
