//! Pipes.

use std::collections::BTreeMap;

use cloud::{Arn, Context, EventPattern};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::{Fault, Timestamp, json};

use crate::api::*;
use crate::configuration;
use crate::errors::*;
use crate::service::Pipes;

/// A pipe as it is stored. Its parameters are texts of the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pipe {
    /// Tells it from others of its name, earlier or later.
    pub(crate) id: String,
    description: Option<String>,
    pub(crate) desired: String,
    pub(crate) source: String,
    pub(crate) of_source: String,
    pub(crate) enrichment: Option<String>,
    pub(crate) of_enrichment: Option<String>,
    pub(crate) target: String,
    pub(crate) of_target: Option<String>,
    pub(crate) role: String,
    pub(crate) tags: BTreeMap<String, String>,
    log: Option<String>,
    key: Option<String>,
    created: i64,
    pub(crate) modified: i64,
}
impl Record for Pipe {}

/// Which pipe is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) name: String,
}

impl Place {
    pub(crate) fn new(ctx: &Context, name: &str) -> Place {
        Place {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            name: name.to_owned(),
        }
    }
    pub(crate) fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.name)
    }
    pub(crate) fn arn(&self) -> String {
        let resource = format!("pipe/{}", self.name);
        Arn::new("pipes", &self.region, &self.account, resource).to_string()
    }
    pub(crate) fn scope(&self) -> [&str; 4] {
        ["pipes", &self.account, &self.region, &self.name]
    }
    pub(crate) fn missing(&self) -> Fault {
        not_found_exception(format!("Pipe {} does not exist.", self.name))
    }
}

/// The service that a source is of.
pub(crate) fn service_of(arn: &str) -> String {
    arn.split(':').nth(2).unwrap_or_default().to_owned()
}

fn check_source(source: &str, parameters: &PipeSourceParameters) -> Result<(), Fault> {
    let service = service_of(source);
    let is_known = match service.as_str() {
        "sqs" | "kinesis" => true,
        "dynamodb" => source.contains("/stream/"),
        _ => false,
    };
    if !is_known {
        return Err(validation_exception(format!(
            "{service} is not a supported source of a pipe in this region."
        )));
    }
    let filters = parameters.filter_criteria.iter().flat_map(|c| &c.filters);
    for pattern in filters.flatten().filter_map(|f| f.pattern.as_ref()) {
        EventPattern::parse(pattern).map_err(|bad| {
            validation_exception(format!("Filter pattern is not valid. Reason: {bad}"))
        })?;
    }
    Ok(())
}

impl Pipe {
    fn check_ends(&self) -> Result<(), Fault> {
        let enrichment = self.enrichment.as_deref().map(service_of);
        if enrichment.is_some_and(|service| service != "lambda") {
            return Err(validation_exception(
                "Only Lambda functions are supported as the enrichment of a pipe in this region.",
            ));
        }
        Ok(())
    }
    pub(crate) fn is_running(&self) -> bool {
        self.desired == requested_pipe_state::RUNNING
    }
}

impl Pipes {
    pub(crate) fn pipe(&self, reader: &impl Read, place: &Place) -> Result<Pipe, Fault> {
        Read::get(reader, &self.pipes, &place.key())?.ok_or_else(|| place.missing())
    }

    /// Changes a pipe's row, and lets what runs know.
    pub(crate) async fn change(
        &self,
        place: &Place,
        f: impl FnOnce(&mut Pipe) -> Result<(), Fault>,
    ) -> Result<Pipe, Fault> {
        let scope = place.scope();
        let store = &self.cloud.store;
        let change = store.transact(Scope::new(&scope), |tx| {
            let mut pipe = self.pipe(tx, place)?;
            f(&mut pipe)?;
            tx.put(&self.pipes, &place.key(), &pipe)?;
            Ok::<_, Fault>(pipe)
        });
        let pipe = change.await?;
        self.run(place, &pipe);
        Ok(pipe)
    }

    pub(crate) async fn create_pipe(
        &self,
        ctx: &Context,
        input: CreatePipeInput,
    ) -> Result<CreatePipeOutput, Fault> {
        let place = Place::new(ctx, &input.name);
        let service = service_of(&input.source);
        let of_source = match service.as_str() {
            "sqs" | "kinesis" | "dynamodb" => {
                configuration::of_source(&service, input.source_parameters)?
            }
            _ => PipeSourceParameters::default(),
        };
        check_source(&input.source, &of_source)?;
        let pipe = Pipe {
            id: cloud::ids::uuid(),
            description: input.description,
            desired: input
                .desired_state
                .unwrap_or_else(|| requested_pipe_state::RUNNING.into()),
            source: input.source,
            of_source: json::kept(&of_source),
            enrichment: input.enrichment.filter(|e| !e.is_empty()),
            of_enrichment: input.enrichment_parameters.as_ref().map(json::kept),
            target: input.target,
            of_target: input.target_parameters.as_ref().map(json::kept),
            role: input.role_arn,
            tags: input.tags.unwrap_or_default(),
            log: input
                .log_configuration
                .map(|log| json::kept(&configuration::log(log))),
            key: input.kms_key_identifier.filter(|k| !k.is_empty()),
            created: ctx.time.0,
            modified: ctx.time.0,
        };
        pipe.check_ends()?;
        let scope = place.scope();
        let store = &self.cloud.store;
        let create = store.transact(Scope::new(&scope), |tx| {
            if tx.contains(&self.pipes, &place.key())? {
                let text = format!("Pipe {} already exists.", place.name);
                return Err(conflict_exception(text.clone()).detail(ConflictException {
                    message: text,
                    resource_id: place.name.clone(),
                    resource_type: "PIPE".into(),
                }));
            }
            tx.put(&self.pipes, &place.key(), &pipe)?;
            Ok(())
        });
        create.await?;
        self.begin(&place, &pipe).await?;
        self.run(&place, &pipe);
        Ok(CreatePipeOutput {
            arn: Some(place.arn()),
            name: Some(place.name),
            desired_state: Some(pipe.desired),
            current_state: Some(pipe_state::CREATING.into()),
            creation_time: Some(ctx.time),
            last_modified_time: Some(ctx.time),
        })
    }

    pub(crate) async fn describe_pipe(
        &self,
        ctx: &Context,
        input: DescribePipeInput,
    ) -> Result<DescribePipeOutput, Fault> {
        let place = Place::new(ctx, &input.name);
        let pipe = self.pipe(&self.cloud.store, &place)?;
        let of_enrichment = pipe.of_enrichment.as_deref();
        let of_target = pipe.of_target.as_deref();
        Ok(DescribePipeOutput {
            arn: Some(place.arn()),
            name: Some(place.name),
            description: pipe.description,
            current_state: Some(pipe.desired.clone()),
            desired_state: Some(pipe.desired),
            state_reason: None,
            source: Some(pipe.source),
            source_parameters: Some(json::restored(&pipe.of_source)?),
            enrichment: pipe.enrichment,
            enrichment_parameters: of_enrichment.map(json::restored).transpose()?,
            target: Some(pipe.target),
            target_parameters: of_target.map(json::restored).transpose()?,
            role_arn: Some(pipe.role),
            tags: Some(pipe.tags),
            creation_time: Some(Timestamp(pipe.created)),
            last_modified_time: Some(Timestamp(pipe.modified)),
            log_configuration: match pipe.log.as_deref() {
                Some(log) => Some(configuration::log(json::restored(log)?)),
                None => None,
            },
            kms_key_identifier: pipe.key,
        })
    }

    pub(crate) async fn list_pipes(
        &self,
        ctx: &Context,
        input: ListPipesInput,
    ) -> Result<ListPipesOutput, Fault> {
        let prefix = input.name_prefix.unwrap_or_default();
        let mut range = Range::text(&(&ctx.account, &ctx.region), &prefix);
        if let Some(token) = &input.next_token {
            let parts = cloud::paging::place("ListPipes", token);
            let name = parts.and_then(|p| p.into_iter().next());
            let name = name.ok_or_else(|| validation_exception("Invalid NextToken."))?;
            range = range.after(&(&ctx.account, &ctx.region, &name));
        }
        let limit = input
            .limit
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(100);
        let begins = |text: &str, prefix: &Option<String>| {
            prefix.as_ref().is_none_or(|p| text.starts_with(p.as_str()))
        };
        let view = self.cloud.store.read();
        let mut found = Vec::new();
        for row in view.range(&self.pipes, range) {
            let ((_, _, name), pipe) = row?;
            let states = [&input.desired_state, &input.current_state];
            let is_meant = states.into_iter().flatten().all(|s| *s == pipe.desired)
                && begins(&pipe.source, &input.source_prefix)
                && begins(&pipe.target, &input.target_prefix);
            if is_meant {
                found.push(crate::api::Pipe {
                    arn: Some(Place::new(ctx, &name).arn()),
                    name: Some(name),
                    current_state: Some(pipe.desired.clone()),
                    desired_state: Some(pipe.desired),
                    state_reason: None,
                    creation_time: Some(Timestamp(pipe.created)),
                    last_modified_time: Some(Timestamp(pipe.modified)),
                    source: Some(pipe.source),
                    target: Some(pipe.target),
                    enrichment: pipe.enrichment,
                });
            }
            if found.len() > limit {
                break;
            }
        }
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found
            .last()
            .filter(|_| has_more)
            .and_then(|p| p.name.clone());
        Ok(ListPipesOutput {
            pipes: Some(found),
            next_token: last.map(|name| cloud::paging::token("ListPipes", &[&name])),
        })
    }

    pub(crate) async fn update_pipe(
        &self,
        ctx: &Context,
        input: UpdatePipeInput,
    ) -> Result<UpdatePipeOutput, Fault> {
        let place = Place::new(ctx, &input.name);
        let pipe = self
            .change(&place, |pipe| {
                if let Some(change) = input.source_parameters {
                    let mut all = json::restored(&pipe.of_source)?;
                    configuration::change_source(&mut all, change);
                    check_source(&pipe.source, &all)?;
                    pipe.of_source = json::kept(&all);
                }
                if let Some(description) = input.description {
                    pipe.description = Some(description);
                }
                if let Some(enrichment) = input.enrichment {
                    pipe.enrichment = Some(enrichment).filter(|e| !e.is_empty());
                }
                if let Some(of) = &input.enrichment_parameters {
                    pipe.of_enrichment = Some(json::kept(of));
                }
                if let Some(of) = &input.target_parameters {
                    pipe.of_target = Some(json::kept(of));
                }
                if let Some(log) = input.log_configuration {
                    pipe.log = Some(json::kept(&configuration::log(log)));
                }
                if let Some(key) = input.kms_key_identifier {
                    pipe.key = Some(key).filter(|k| !k.is_empty());
                }
                pipe.desired = input.desired_state.unwrap_or(pipe.desired.clone());
                pipe.target = input.target.unwrap_or(pipe.target.clone());
                pipe.role = input.role_arn;
                pipe.modified = ctx.time.0;
                pipe.check_ends()
            })
            .await?;
        Ok(UpdatePipeOutput {
            arn: Some(place.arn()),
            name: Some(place.name),
            desired_state: Some(pipe.desired),
            current_state: Some(pipe_state::UPDATING.into()),
            creation_time: Some(Timestamp(pipe.created)),
            last_modified_time: Some(Timestamp(pipe.modified)),
        })
    }

    pub(crate) async fn delete_pipe(
        &self,
        ctx: &Context,
        input: DeletePipeInput,
    ) -> Result<DeletePipeOutput, Fault> {
        let place = Place::new(ctx, &input.name);
        let scope = place.scope();
        let store = &self.cloud.store;
        let delete = store.transact(Scope::new(&scope), |tx| {
            let pipe = self.pipe(tx, &place)?;
            tx.delete(&self.pipes, &place.key());
            Ok::<_, Fault>(pipe)
        });
        let pipe = delete.await?;
        self.end(&place, &pipe).await?;
        Ok(DeletePipeOutput {
            arn: Some(place.arn()),
            name: Some(place.name),
            desired_state: Some(requested_pipe_state_describe_response::DELETED.into()),
            current_state: Some(pipe_state::DELETING.into()),
            creation_time: Some(Timestamp(pipe.created)),
            last_modified_time: Some(Timestamp(pipe.modified)),
        })
    }

    /// Starts or stops a pipe; the state it is in meanwhile, unless it is as it is to be.
    async fn switch(
        &self,
        ctx: &Context,
        name: &str,
        desired: &str,
        meanwhile: &str,
    ) -> Result<(Place, Pipe, String), Fault> {
        let place = Place::new(ctx, name);
        let mut state = desired.to_owned();
        let change = self.change(&place, |pipe| {
            if pipe.desired != desired {
                state = meanwhile.to_owned();
                pipe.desired = desired.to_owned();
                pipe.modified = ctx.time.0;
            }
            Ok(())
        });
        let pipe = change.await?;
        Ok((place, pipe, state))
    }

    pub(crate) async fn start_pipe(
        &self,
        ctx: &Context,
        input: StartPipeInput,
    ) -> Result<StartPipeOutput, Fault> {
        let (desired, meanwhile) = (requested_pipe_state::RUNNING, pipe_state::STARTING);
        let (place, pipe, state) = self.switch(ctx, &input.name, desired, meanwhile).await?;
        Ok(StartPipeOutput {
            arn: Some(place.arn()),
            name: Some(place.name),
            desired_state: Some(pipe.desired),
            current_state: Some(state),
            creation_time: Some(Timestamp(pipe.created)),
            last_modified_time: Some(Timestamp(pipe.modified)),
        })
    }

    pub(crate) async fn stop_pipe(
        &self,
        ctx: &Context,
        input: StopPipeInput,
    ) -> Result<StopPipeOutput, Fault> {
        let (desired, meanwhile) = (requested_pipe_state::STOPPED, pipe_state::STOPPING);
        let (place, pipe, state) = self.switch(ctx, &input.name, desired, meanwhile).await?;
        Ok(StopPipeOutput {
            arn: Some(place.arn()),
            name: Some(place.name),
            desired_state: Some(pipe.desired),
            current_state: Some(state),
            creation_time: Some(Timestamp(pipe.created)),
            last_modified_time: Some(Timestamp(pipe.modified)),
        })
    }
}
