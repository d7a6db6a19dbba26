//! The operations, each calling down to its noun.

use std::sync::Arc;

use cloud::{Cloud, Context, Service};
use store::Table;
use wire::Fault;

use crate::api;
use crate::group::Group;
use crate::schedule::Schedule;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let store = &cloud.store;
    let schedules = Arc::new(Schedules {
        cloud: cloud.clone(),
        groups: store.table("scheduler.groups"),
        schedules: store.table("scheduler.schedules"),
    });
    schedules.register_firing();
    Service::new(api::Api(schedules))
}

/// The service's state.
pub(crate) struct Schedules {
    pub(crate) cloud: Cloud,
    /// By account, region and name.
    pub(crate) groups: Table<(String, String, String), Group>,
    /// By account, region, the group's name and the schedule's.
    pub(crate) schedules: Table<(String, String, String, String), Schedule>,
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Schedules for Schedules {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Schedules::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    create_schedule: CreateScheduleInput => CreateScheduleOutput,
    get_schedule: GetScheduleInput => GetScheduleOutput,
    update_schedule: UpdateScheduleInput => UpdateScheduleOutput,
    delete_schedule: DeleteScheduleInput => DeleteScheduleOutput,
    list_schedules: ListSchedulesInput => ListSchedulesOutput,
    create_schedule_group: CreateScheduleGroupInput => CreateScheduleGroupOutput,
    get_schedule_group: GetScheduleGroupInput => GetScheduleGroupOutput,
    list_schedule_groups: ListScheduleGroupsInput => ListScheduleGroupsOutput,
    delete_schedule_group: DeleteScheduleGroupInput => DeleteScheduleGroupOutput,
    tag_resource: TagResourceInput => TagResourceOutput,
    untag_resource: UntagResourceInput => UntagResourceOutput,
    list_tags_for_resource: ListTagsForResourceInput => ListTagsForResourceOutput,
}
