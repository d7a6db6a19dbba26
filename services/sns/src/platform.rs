//! Platform applications and their endpoints. What is pushed to them is kept for who asks.

use std::collections::BTreeMap;

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::Fault;

use crate::api::*;
use crate::captured::{Captured, Medium};
use crate::errors::*;
use crate::message::Draft;
use crate::service::Sns;
use crate::topic::PAGE;

/// An application as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Application {
    attributes: BTreeMap<String, String>,
}
impl Record for Application {}

/// An endpoint as it is stored; `Token`, `Enabled` and `CustomUserData` are attributes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    attributes: BTreeMap<String, String>,
}
impl Record for Device {}

/// The endpoint of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Registered(String);
impl Record for Registered {}

const PLATFORMS: [&str; 11] = [
    "ADM",
    "APNS",
    "APNS_SANDBOX",
    "APNS_VOIP",
    "APNS_VOIP_SANDBOX",
    "MACOS",
    "MACOS_SANDBOX",
    "BAIDU",
    "GCM",
    "MPNS",
    "WNS",
];

fn invalid(what: &str) -> Fault {
    invalid_parameter_exception(format!("Invalid parameter: {what}"))
}

/// An application by its ARN, or an endpoint, whose name has its id behind a slash.
struct Place {
    account: String,
    region: String,
    /// `GCM/name`
    name: String,
}

impl Place {
    fn parse(text: &str, kind: &str, what: &str) -> Result<Place, Fault> {
        let parts = text.split(':').count();
        if parts < 6 {
            return Err(invalid(&format!(
                "{what} Reason: An ARN must have at least 6 elements, not {parts}"
            )));
        }
        let arn: Arn = text.parse().map_err(|_| invalid(what))?;
        match arn.typed() {
            Some((k, name)) if k == kind && arn.service == "sns" => Ok(Place {
                account: arn.account.clone(),
                region: arn.region.clone(),
                name: name.to_owned(),
            }),
            _ => Err(invalid(what)),
        }
    }
    fn application(text: &str) -> Result<Place, Fault> {
        Place::parse(text, "app", "PlatformApplicationArn")
    }
    /// An endpoint's application and its id.
    fn endpoint(text: &str, what: &str) -> Result<(Place, String), Fault> {
        let mut place = Place::parse(text, "endpoint", what)?;
        if place.name.split('/').count() != 3 {
            return Err(invalid(&format!(
                "{what} Reason: Wrong number of slashes in relative portion of the ARN."
            )));
        }
        let (name, id) = place.name.rsplit_once('/').ok_or_else(|| invalid(what))?;
        let (name, id) = (name.to_owned(), id.to_owned());
        place.name = name;
        Ok((place, id))
    }
    fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.name)
    }
    fn arn(&self) -> String {
        let resource = format!("app/{}", self.name);
        Arn::new("sns", &self.region, &self.account, resource).to_string()
    }
    fn endpoint_arn(&self, id: &str) -> String {
        let resource = format!("endpoint/{}/{id}", self.name);
        Arn::new("sns", &self.region, &self.account, resource).to_string()
    }
    fn scope(&self) -> [&str; 4] {
        ["sns.platform", &self.account, &self.region, &self.name]
    }
}

/// Checks an endpoint's attributes.
fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), Fault> {
    for (name, value) in attributes {
        match name.as_str() {
            "Enabled" | "Token" => {}
            "CustomUserData" if value.len() <= 2048 => {}
            "CustomUserData" => {
                return Err(invalid(
                    "Attributes Reason: Invalid value for attribute: CustomUserData: must be at most 2048 bytes long in UTF-8 encoding",
                ));
            }
            other => {
                return Err(invalid(&format!(
                    "Attributes Reason: Invalid attribute name: {other}"
                )));
            }
        }
    }
    Ok(())
}

fn no_application() -> Fault {
    not_found_exception("PlatformApplication does not exist")
}

fn no_endpoint() -> Fault {
    not_found_exception("Endpoint does not exist")
}

/// The name that the next page begins behind.
pub(crate) fn from_token(of: &str, token: Option<String>) -> Result<Option<String>, Fault> {
    let Some(token) = token.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let name = cloud::paging::place(of, &token).and_then(|mut p| p.pop());
    name.map(Some).ok_or_else(|| invalid("NextToken"))
}

impl Sns {
    async fn at_platform<R>(
        &self,
        place: &Place,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = place.scope();
        self.cloud.store.transact(Scope::new(&scope), f).await
    }

    /// Whether an endpoint could be pushed to; `what` is the parameter's name.
    pub(crate) fn check_endpoint(&self, arn: &str, what: &str) -> Result<(), Fault> {
        let (place, id) = Place::endpoint(arn, what)?;
        let at = (&place.account, &place.region, &place.name, &id);
        let device: Option<Device> = self.cloud.store.read().get(&self.devices, &at)?;
        let device = device.ok_or_else(|| {
            invalid(&format!(
                "{what} Reason: No endpoint found for the target arn specified"
            ))
        })?;
        if device.attributes.get("Enabled").map(String::as_str) != Some("true") {
            return Err(endpoint_disabled_exception("Endpoint is disabled"));
        }
        Ok(())
    }

    /// Whether an endpoint exists that a topic's messages may be pushed to.
    pub(crate) fn check_is_device(&self, arn: &str) -> Result<(), Fault> {
        let none = || invalid("Endpoint Reason: Endpoint does not exist for endpoint arn");
        let (place, id) = Place::endpoint(arn, "Endpoint").map_err(|_| none())?;
        let at = (&place.account, &place.region, &place.name, &id);
        match self.cloud.store.read().contains(&self.devices, &at)? {
            true => Ok(()),
            false => Err(invalid(&format!(
                "Endpoint Reason: Endpoint does not exist for endpoint arn{arn}"
            ))),
        }
    }

    /// Publishes to an endpoint.
    pub(crate) async fn push(
        &self,
        ctx: &Context,
        arn: &str,
        what: &str,
        draft: Draft,
    ) -> Result<PublishOutput, Fault> {
        self.check_endpoint(arn, what)?;
        let message = draft.check(ctx.time)?;
        let captured = Captured::of(&message, arn, Medium::Push);
        let (device, _) = Place::endpoint(arn, what)?;
        let place = crate::topic::Place {
            account: device.account,
            region: device.region,
            name: String::new(),
        };
        let scope = ["sns.captured", message.id.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                self.keep(tx, &place, Medium::Push, &captured)
            })
            .await?;
        Ok(PublishOutput {
            message_id: Some(message.id),
            sequence_number: None,
        })
    }

    pub(crate) async fn create_platform_application(
        &self,
        ctx: &Context,
        input: CreatePlatformApplicationInput,
    ) -> Result<CreatePlatformApplicationOutput, Fault> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let why = match input.name.as_str() {
            "" => "cannot be empty",
            name if name.len() > 256 => "must be at most 256 characters long",
            name if !name.bytes().all(fine) => {
                "must contain only characters 'a'-'z', 'A'-'Z', '0'-'9', '_', '-', and '.'"
            }
            _ => "",
        };
        if !why.is_empty() {
            return Err(invalid(&format!("{} Reason: {why}", input.name)));
        }
        if !PLATFORMS.contains(&input.platform.as_str()) {
            return Err(invalid(&format!(
                "Platform Reason: {} is not supported",
                input.platform
            )));
        }
        let given = |name: &str| input.attributes.contains_key(name);
        // Google's services and Baidu's take one secret.
        let is_paired = !matches!(input.platform.as_str(), "GCM" | "BAIDU");
        let why = match (given("PlatformPrincipal"), given("PlatformCredential")) {
            (true, false) => "PlatformPrincipal attribute provided without PlatformCredential",
            (false, true) if is_paired => {
                "PlatformCredential attribute provided without PlatformPrincipal"
            }
            _ => "",
        };
        if !why.is_empty() {
            return Err(invalid(&format!("Attributes Reason: {why}")));
        }
        let place = Place {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            name: format!("{}/{}", input.platform, input.name),
        };
        let application = Application {
            attributes: input.attributes,
        };
        self.at_platform(&place, |tx| {
            if !tx.contains(&self.applications, &place.key())? {
                tx.put(&self.applications, &place.key(), &application)?;
            }
            Ok(())
        })
        .await?;
        Ok(CreatePlatformApplicationOutput {
            platform_application_arn: Some(place.arn()),
        })
    }

    pub(crate) async fn delete_platform_application(
        &self,
        _: &Context,
        input: DeletePlatformApplicationInput,
    ) -> Result<DeletePlatformApplicationOutput, Fault> {
        let place = Place::application(&input.platform_application_arn)?;
        self.at_platform(&place, |tx| {
            tx.delete(&self.applications, &place.key());
            let devices = {
                let rows = tx.range(&self.devices, Range::prefix(&place.key()));
                rows.map(|row| row.map(|((.., id), device)| (id, device)))
                    .collect::<Result<Vec<_>, _>>()?
            };
            for (id, device) in devices {
                self.drop_device(tx, &place, &id, &device);
            }
            Ok(())
        })
        .await?;
        Ok(DeletePlatformApplicationOutput {})
    }

    fn drop_device(&self, tx: &mut Tx<'_>, place: &Place, id: &str, device: &Device) {
        tx.delete(
            &self.devices,
            &(&place.account, &place.region, &place.name, id),
        );
        if let Some(token) = device.attributes.get("Token") {
            tx.delete(
                &self.device_tokens,
                &(&place.account, &place.region, &place.name, token),
            );
        }
    }

    pub(crate) async fn list_platform_applications(
        &self,
        ctx: &Context,
        input: ListPlatformApplicationsInput,
    ) -> Result<ListPlatformApplicationsOutput, Fault> {
        let of = "ListPlatformApplications";
        let mut range = Range::prefix(&(&ctx.account, &ctx.region)).limit(PAGE + 1);
        if let Some(after) = from_token(of, input.next_token)? {
            range = range.after(&(&ctx.account, &ctx.region, &after));
        }
        let view = self.cloud.store.read();
        let rows = view
            .range(&self.applications, range)
            .collect::<Result<Vec<_>, _>>()?;
        let last = rows.get(PAGE - 1).filter(|_| rows.len() > PAGE);
        let next_token = last.map(|((.., name), _)| cloud::paging::token(of, &[name]));
        let shown = rows
            .into_iter()
            .take(PAGE)
            .map(|((account, region, name), a)| {
                let place = Place {
                    account,
                    region,
                    name,
                };
                PlatformApplication {
                    platform_application_arn: Some(place.arn()),
                    attributes: Some(shown_application(a)),
                }
            });
        Ok(ListPlatformApplicationsOutput {
            platform_applications: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn get_platform_application_attributes(
        &self,
        _: &Context,
        input: GetPlatformApplicationAttributesInput,
    ) -> Result<GetPlatformApplicationAttributesOutput, Fault> {
        let place = Place::application(&input.platform_application_arn)?;
        let found = self
            .cloud
            .store
            .read()
            .get(&self.applications, &place.key())?;
        let application: Application = found.ok_or_else(no_application)?;
        Ok(GetPlatformApplicationAttributesOutput {
            attributes: Some(shown_application(application)),
        })
    }

    pub(crate) async fn set_platform_application_attributes(
        &self,
        _: &Context,
        input: SetPlatformApplicationAttributesInput,
    ) -> Result<SetPlatformApplicationAttributesOutput, Fault> {
        let place = Place::application(&input.platform_application_arn)?;
        let Some(attributes) = input.attributes else {
            return Err(Fault::sender(
                400,
                "ValidationError",
                "1 validation error detected: Value null at 'attributes' failed to satisfy constraint: Member must not be null",
            ));
        };
        self.at_platform(&place, |tx| {
            let found: Option<Application> = tx.get(&self.applications, &place.key())?;
            let mut application = found.ok_or_else(no_application)?;
            application.attributes.extend(attributes);
            tx.put(&self.applications, &place.key(), &application)?;
            Ok(())
        })
        .await?;
        Ok(SetPlatformApplicationAttributesOutput {})
    }

    pub(crate) async fn create_platform_endpoint(
        &self,
        _: &Context,
        input: CreatePlatformEndpointInput,
    ) -> Result<CreatePlatformEndpointOutput, Fault> {
        let place = Place::application(&input.platform_application_arn)?;
        let mut attributes = input.attributes.unwrap_or_default();
        if let Some(data) = input.custom_user_data {
            attributes.entry("CustomUserData".into()).or_insert(data);
        }
        check_attributes(&attributes)?;
        attributes
            .entry("Enabled".into())
            .or_insert_with(|| "true".into());
        attributes.insert("Token".into(), input.token.clone());
        let id = self
            .at_platform(&place, |tx| {
                if !tx.contains(&self.applications, &place.key())? {
                    return Err(no_application());
                }
                let token = (&place.account, &place.region, &place.name, &input.token);
                let known: Option<Registered> = tx.get(&self.device_tokens, &token)?;
                if let Some(Registered(id)) = known {
                    let at = (&place.account, &place.region, &place.name, &id);
                    let device: Option<Device> = tx.get(&self.devices, &at)?;
                    if device.is_some_and(|d| d.attributes != attributes) {
                        return Err(invalid(&format!(
                            "Token Reason: Endpoint {} already exists with the same Token, but different attributes.",
                            place.endpoint_arn(&id)
                        )));
                    }
                    return Ok(id);
                }
                let id = cloud::ids::uuid();
                tx.put(&self.device_tokens, &token, &Registered(id.clone()))?;
                let at = (&place.account, &place.region, &place.name, &id);
                tx.put(&self.devices, &at, &Device { attributes })?;
                Ok(id)
            })
            .await?;
        Ok(CreatePlatformEndpointOutput {
            endpoint_arn: Some(place.endpoint_arn(&id)),
        })
    }

    pub(crate) async fn delete_endpoint(
        &self,
        _: &Context,
        input: DeleteEndpointInput,
    ) -> Result<DeleteEndpointOutput, Fault> {
        let (place, id) = Place::endpoint(&input.endpoint_arn, "EndpointArn")?;
        self.at_platform(&place, |tx| {
            let at = (&place.account, &place.region, &place.name, &id);
            let device: Option<Device> = tx.get(&self.devices, &at)?;
            if let Some(device) = device {
                self.drop_device(tx, &place, &id, &device);
            }
            Ok(())
        })
        .await?;
        Ok(DeleteEndpointOutput {})
    }

    pub(crate) async fn list_endpoints_by_platform_application(
        &self,
        _: &Context,
        input: ListEndpointsByPlatformApplicationInput,
    ) -> Result<ListEndpointsByPlatformApplicationOutput, Fault> {
        let place = Place::application(&input.platform_application_arn)?;
        let view = self.cloud.store.read();
        if !view.contains(&self.applications, &place.key())? {
            return Err(no_application());
        }
        let of = "ListEndpointsByPlatformApplication";
        let mut range = Range::prefix(&place.key()).limit(PAGE + 1);
        if let Some(after) = from_token(of, input.next_token)? {
            range = range.after(&(&place.account, &place.region, &place.name, &after));
        }
        let rows = view
            .range(&self.devices, range)
            .collect::<Result<Vec<_>, _>>()?;
        let last = rows.get(PAGE - 1).filter(|_| rows.len() > PAGE);
        let next_token = last.map(|((.., id), _)| cloud::paging::token(of, &[id]));
        let shown = rows
            .into_iter()
            .take(PAGE)
            .map(|((.., id), device)| Endpoint {
                endpoint_arn: Some(place.endpoint_arn(&id)),
                attributes: Some(device.attributes),
            });
        Ok(ListEndpointsByPlatformApplicationOutput {
            endpoints: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn get_endpoint_attributes(
        &self,
        _: &Context,
        input: GetEndpointAttributesInput,
    ) -> Result<GetEndpointAttributesOutput, Fault> {
        let (place, id) = Place::endpoint(&input.endpoint_arn, "EndpointArn")?;
        let at = (&place.account, &place.region, &place.name, &id);
        let device: Option<Device> = self.cloud.store.read().get(&self.devices, &at)?;
        Ok(GetEndpointAttributesOutput {
            attributes: Some(device.ok_or_else(no_endpoint)?.attributes),
        })
    }

    pub(crate) async fn set_endpoint_attributes(
        &self,
        _: &Context,
        input: SetEndpointAttributesInput,
    ) -> Result<SetEndpointAttributesOutput, Fault> {
        let (place, id) = Place::endpoint(&input.endpoint_arn, "EndpointArn")?;
        check_attributes(&input.attributes)?;
        self.at_platform(&place, |tx| {
            let at = (&place.account, &place.region, &place.name, &id);
            let found: Option<Device> = tx.get(&self.devices, &at)?;
            let mut device = found.ok_or_else(no_endpoint)?;
            let old = device.clone();
            device.attributes.extend(input.attributes);
            // The token may be a new one.
            self.drop_device(tx, &place, &id, &old);
            if let Some(token) = device.attributes.get("Token") {
                let token = (&place.account, &place.region, &place.name, token);
                tx.put(&self.device_tokens, &token, &Registered(id.clone()))?;
            }
            tx.put(&self.devices, &at, &device)?;
            Ok(())
        })
        .await?;
        Ok(SetEndpointAttributesOutput {})
    }
}

/// What of an application is answered: its secrets are not.
fn shown_application(application: Application) -> BTreeMap<String, String> {
    let mut attributes = application.attributes;
    attributes.remove("PlatformCredential");
    attributes.remove("PlatformPrincipal");
    attributes
        .entry("Enabled".into())
        .or_insert_with(|| "true".into());
    attributes
}
