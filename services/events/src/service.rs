//! The operations, each calling down to its noun.

use std::collections::HashMap;
use std::sync::Arc;

use cloud::{Cloud, Context, Service};
use parking_lot::{Mutex, RwLock};
use store::{Log, Table};
use wire::Fault;

use crate::api;
use crate::archive::{Amount, Archive, Kept};
use crate::bus::Bus;
use crate::connection::Connection;
use crate::destination::Destination;
use crate::endpoint;
use crate::invocation::Token;
use crate::partner::{Offer, Source};
use crate::place::Place;
use crate::replay::Replay;
use crate::routing::{Routes, Stamp};
use crate::rule::Rule;
use crate::target::Buses;
use crate::targets::{Mark, Stored};

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let store = &cloud.store;
    let events = Arc::new(Events {
        cloud: cloud.clone(),
        buses: store.table("events.buses"),
        rules: store.table("events.rules"),
        targets: store.table("events.targets"),
        by_arn: store.table("events.targets_by_arn"),
        routes: store.table("events.routes"),
        archives: store.table("events.archives"),
        kept: store.log("events.kept"),
        amounts: store.table("events.amounts"),
        replays: store.table("events.replays"),
        connections: store.table("events.connections"),
        destinations: store.table("events.destinations"),
        endpoints: store.table("events.endpoints"),
        sources: store.table("events.sources"),
        offers: store.table("events.offers"),
        known: RwLock::default(),
        tokens: Mutex::default(),
        slots: Mutex::default(),
    });
    events.register_ticks();
    events.register_retention();
    events.register_replays();
    events.register_authorization();
    cloud
        .targets
        .register("events", Arc::new(Buses(events.clone())));
    let weak = Arc::downgrade(&events);
    cloud.after_reset(move || {
        if let Some(events) = weak.upgrade() {
            events.known.write().clear();
            events.tokens.lock().clear();
            events.slots.lock().clear();
        }
    });
    Service::new(api::Api(events))
}

/// The service's state.
pub(crate) struct Events {
    pub(crate) cloud: Cloud,
    /// By account, region and name, as are archives, replays, connections, destinations and endpoints.
    pub(crate) buses: Table<(String, String, String), Bus>,
    /// By the bus and the rule's name.
    pub(crate) rules: Table<(String, String, String, String), Rule>,
    /// By the bus, the rule's name and the target's id.
    pub(crate) targets: Table<(String, String, String, String, String), Stored>,
    /// By the bus, the target's ARN, the rule's name and the target's id.
    pub(crate) by_arn: Table<(String, String, String, String, String, String), Mark>,
    /// By the bus.
    pub(crate) routes: Table<(String, String, String), Stamp>,
    pub(crate) archives: Table<(String, String, String), Archive>,
    /// By account, region and the archive's id.
    pub(crate) kept: Log<(String, String, u64), Kept>,
    pub(crate) amounts: Table<(String, String, u64), Amount>,
    pub(crate) replays: Table<(String, String, String), Replay>,
    pub(crate) connections: Table<(String, String, String), Connection>,
    pub(crate) destinations: Table<(String, String, String), Destination>,
    pub(crate) endpoints: Table<(String, String, String), endpoint::Stored>,
    /// Partners' sources by the customer's account, the region and name.
    pub(crate) sources: Table<(String, String, String), Source>,
    /// The same by the partner's account.
    pub(crate) offers: Table<(String, String, String), Offer>,
    /// Who listens, as far as it was read.
    pub(crate) known: RwLock<HashMap<Place, Arc<Routes>>>,
    /// Tokens of authorization servers, by the connection's id.
    pub(crate) tokens: Mutex<HashMap<String, Token>>,
    /// When an API destination may be called next, by its id.
    pub(crate) slots: Mutex<HashMap<String, i64>>,
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Events for Events {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Events::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    cancel_replay: CancelReplayInput => CancelReplayOutput,
    create_api_destination: CreateApiDestinationInput => CreateApiDestinationOutput,
    create_archive: CreateArchiveInput => CreateArchiveOutput,
    create_connection: CreateConnectionInput => CreateConnectionOutput,
    create_event_bus: CreateEventBusInput => CreateEventBusOutput,
    deauthorize_connection: DeauthorizeConnectionInput => DeauthorizeConnectionOutput,
    delete_api_destination: DeleteApiDestinationInput => DeleteApiDestinationOutput,
    delete_archive: DeleteArchiveInput => DeleteArchiveOutput,
    delete_connection: DeleteConnectionInput => DeleteConnectionOutput,
    delete_event_bus: DeleteEventBusInput => DeleteEventBusOutput,
    delete_rule: DeleteRuleInput => DeleteRuleOutput,
    describe_api_destination: DescribeApiDestinationInput => DescribeApiDestinationOutput,
    describe_archive: DescribeArchiveInput => DescribeArchiveOutput,
    describe_connection: DescribeConnectionInput => DescribeConnectionOutput,
    describe_event_bus: DescribeEventBusInput => DescribeEventBusOutput,
    describe_replay: DescribeReplayInput => DescribeReplayOutput,
    describe_rule: DescribeRuleInput => DescribeRuleOutput,
    disable_rule: DisableRuleInput => DisableRuleOutput,
    enable_rule: EnableRuleInput => EnableRuleOutput,
    list_api_destinations: ListApiDestinationsInput => ListApiDestinationsOutput,
    list_archives: ListArchivesInput => ListArchivesOutput,
    list_connections: ListConnectionsInput => ListConnectionsOutput,
    list_event_buses: ListEventBusesInput => ListEventBusesOutput,
    list_replays: ListReplaysInput => ListReplaysOutput,
    list_rule_names_by_target: ListRuleNamesByTargetInput => ListRuleNamesByTargetOutput,
    list_rules: ListRulesInput => ListRulesOutput,
    list_tags_for_resource: ListTagsForResourceInput => ListTagsForResourceOutput,
    list_targets_by_rule: ListTargetsByRuleInput => ListTargetsByRuleOutput,
    put_events: PutEventsInput => PutEventsOutput,
    put_permission: PutPermissionInput => PutPermissionOutput,
    put_rule: PutRuleInput => PutRuleOutput,
    put_targets: PutTargetsInput => PutTargetsOutput,
    remove_permission: RemovePermissionInput => RemovePermissionOutput,
    remove_targets: RemoveTargetsInput => RemoveTargetsOutput,
    start_replay: StartReplayInput => StartReplayOutput,
    tag_resource: TagResourceInput => TagResourceOutput,
    test_event_pattern: TestEventPatternInput => TestEventPatternOutput,
    untag_resource: UntagResourceInput => UntagResourceOutput,
    update_api_destination: UpdateApiDestinationInput => UpdateApiDestinationOutput,
    update_archive: UpdateArchiveInput => UpdateArchiveOutput,
    update_connection: UpdateConnectionInput => UpdateConnectionOutput,
    update_event_bus: UpdateEventBusInput => UpdateEventBusOutput,
    create_endpoint: CreateEndpointInput => CreateEndpointOutput,
    describe_endpoint: DescribeEndpointInput => DescribeEndpointOutput,
    list_endpoints: ListEndpointsInput => ListEndpointsOutput,
    update_endpoint: UpdateEndpointInput => UpdateEndpointOutput,
    delete_endpoint: DeleteEndpointInput => DeleteEndpointOutput,
    create_partner_event_source: CreatePartnerEventSourceInput => CreatePartnerEventSourceOutput,
    describe_partner_event_source: DescribePartnerEventSourceInput => DescribePartnerEventSourceOutput,
    list_partner_event_sources: ListPartnerEventSourcesInput => ListPartnerEventSourcesOutput,
    list_partner_event_source_accounts: ListPartnerEventSourceAccountsInput => ListPartnerEventSourceAccountsOutput,
    delete_partner_event_source: DeletePartnerEventSourceInput => DeletePartnerEventSourceOutput,
    put_partner_events: PutPartnerEventsInput => PutPartnerEventsOutput,
    describe_event_source: DescribeEventSourceInput => DescribeEventSourceOutput,
    list_event_sources: ListEventSourcesInput => ListEventSourcesOutput,
    activate_event_source: ActivateEventSourceInput => ActivateEventSourceOutput,
    deactivate_event_source: DeactivateEventSourceInput => DeactivateEventSourceOutput,
}
