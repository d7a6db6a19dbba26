//! Which bus is meant, and the names of what belongs to it.

use cloud::{Arn, Context};
use wire::Fault;

use crate::errors::*;

/// The bus that every account has in every region.
pub(crate) const DEFAULT: &str = "default";

/// Which bus is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) bus: String,
}

impl Place {
    /// The caller's bus of that name.
    pub(crate) fn new(ctx: &Context, bus: &str) -> Place {
        Place {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            bus: bus.to_owned(),
        }
    }
    /// The bus of a name or an ARN; without either the default one.
    pub(crate) fn of(ctx: &Context, bus: Option<&str>) -> Place {
        match bus {
            Some(text) => match text.parse::<Arn>().ok().as_ref().and_then(Place::of_arn) {
                Some(place) => place,
                None => Place::new(ctx, text),
            },
            None => Place::new(ctx, DEFAULT),
        }
    }
    /// The bus of an ARN.
    pub(crate) fn of_arn(arn: &Arn) -> Option<Place> {
        let bus = arn.resource.strip_prefix("event-bus/")?;
        (arn.service == "events" && !arn.account.is_empty() && !bus.is_empty()).then(|| Place {
            account: arn.account.clone(),
            region: arn.region.clone(),
            bus: bus.to_owned(),
        })
    }
    pub(crate) fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.bus)
    }
    pub(crate) fn scope(&self) -> [&str; 4] {
        ["events", &self.account, &self.region, &self.bus]
    }
    pub(crate) fn is_default(&self) -> bool {
        self.bus == DEFAULT
    }
    pub(crate) fn arn(&self) -> String {
        let resource = format!("event-bus/{}", self.bus);
        Arn::new("events", &self.region, &self.account, resource).to_string()
    }
    pub(crate) fn rule_arn(&self, rule: &str) -> String {
        let resource = match self.is_default() {
            true => format!("rule/{rule}"),
            false => format!("rule/{}/{rule}", self.bus),
        };
        Arn::new("events", &self.region, &self.account, resource).to_string()
    }
    /// The bus and name of a rule's ARN.
    pub(crate) fn of_rule_arn(arn: &Arn) -> Option<(Place, String)> {
        let rest = arn.resource.strip_prefix("rule/")?;
        if arn.service != "events" {
            return None;
        }
        let (bus, rule) = rest.rsplit_once('/').unwrap_or((DEFAULT, rest));
        let place = Place {
            account: arn.account.clone(),
            region: arn.region.clone(),
            bus: bus.to_owned(),
        };
        Some((place, rule.to_owned()))
    }
    pub(crate) fn missing(&self) -> Fault {
        resource_not_found_exception(format!("Event bus {} does not exist.", self.bus))
    }
    pub(crate) fn missing_rule(&self, rule: &str) -> Fault {
        resource_not_found_exception(format!(
            "Rule {rule} does not exist on EventBus {}.",
            self.bus
        ))
    }
}

/// What a request asks for is not possible.
pub(crate) fn invalid(message: impl Into<String>) -> Fault {
    Fault::sender(400, "ValidationException", message.into())
}

/// A parameter's value is not possible.
pub(crate) fn invalid_parameter(name: &str, reason: &str) -> Fault {
    invalid(format!("Parameter {name} is not valid. Reason: {reason}"))
}

/// There are as many of them as there may be.
pub(crate) fn too_many() -> Fault {
    limit_exceeded_exception("The requested resource exceeds the maximum number allowed.")
}
