//! Telephones: texts to numbers, who wants none, numbers to try with, and the account's settings.

use std::collections::BTreeMap;

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::Fault;

use crate::api::*;
use crate::captured::{Captured, Medium};
use crate::errors::*;
use crate::message::Draft;
use crate::service::Sns;
use crate::topic::Place;

/// An account's settings, by AWS's names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Settings(BTreeMap<String, String>);
impl Record for Settings {}

/// A number that wants no texts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OptedOut;
impl Record for OptedOut {}

/// A number to try with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TrialNumber {
    /// What its owner was sent, until it came back.
    password: Option<String>,
}
impl Record for TrialNumber {}

const SETTINGS: [&str; 6] = [
    "MonthlySpendLimit",
    "DeliveryStatusIAMRole",
    "DeliveryStatusSuccessSamplingRate",
    "DefaultSenderID",
    "DefaultSMSType",
    "UsageReportS3Bucket",
];

/// How many numbers a page lists.
const PAGE: usize = 100;

fn invalid(what: impl std::fmt::Display) -> Fault {
    invalid_parameter_exception(format!("Invalid parameter: {what}"))
}

/// Whether that is a number as E.164 has them.
pub(crate) fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (2..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0')
}

/// A number for a subscription: single dashes, dots and strokes between its digits are let through.
pub(crate) fn is_subscribable(text: &str) -> bool {
    let is_mark = |c: char| matches!(c, '-' | '.' | '/');
    let marks_follow = text
        .chars()
        .zip(text.chars().skip(1))
        .any(|(a, b)| is_mark(a) && is_mark(b));
    !marks_follow
        && !text.starts_with(is_mark)
        && !text.ends_with(is_mark)
        && is_number(&text.replace(is_mark, ""))
}

fn listed(text: &str) -> Result<(), Fault> {
    match is_number(text) && text.len() >= 5 {
        true => Ok(()),
        false => Err(invalid("PhoneNumber Reason: input incorrectly formatted")),
    }
}

impl Sns {
    /// Publishes to a number.
    pub(crate) async fn text(
        &self,
        ctx: &Context,
        number: &str,
        draft: Draft,
    ) -> Result<PublishOutput, Fault> {
        if !is_number(number) {
            return Err(invalid(format_args!(
                "PhoneNumber Reason: {number} is not valid to publish to"
            )));
        }
        let message = draft.check(ctx.time)?;
        let captured = Captured::of(&message, number, Medium::Sms);
        let place = Place {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            name: String::new(),
        };
        let scope = ["sns.captured", message.id.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                self.keep(tx, &place, Medium::Sms, &captured)
            })
            .await?;
        Ok(PublishOutput {
            message_id: Some(message.id),
            sequence_number: None,
        })
    }

    pub(crate) fn is_opted_out(&self, account: &str, number: &str) -> Result<bool, Fault> {
        let view = self.cloud.store.read();
        Ok(view.contains(&self.opted_out, &(account, number))?)
    }

    /// Notes that a number wants no texts, as its owner would say by a reply.
    pub(crate) async fn opt_out(&self, account: &str, number: &str) -> Result<(), Fault> {
        let scope = ["sns.phones", account];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                tx.put(&self.opted_out, &(account, number), &OptedOut)?;
                Ok::<_, Fault>(())
            })
            .await
    }

    pub(crate) async fn check_if_phone_number_is_opted_out(
        &self,
        ctx: &Context,
        input: CheckIfPhoneNumberIsOptedOutInput,
    ) -> Result<CheckIfPhoneNumberIsOptedOutOutput, Fault> {
        listed(&input.phone_number)?;
        Ok(CheckIfPhoneNumberIsOptedOutOutput {
            is_opted_out: Some(self.is_opted_out(&ctx.account, &input.phone_number)?),
        })
    }

    pub(crate) async fn list_phone_numbers_opted_out(
        &self,
        ctx: &Context,
        input: ListPhoneNumbersOptedOutInput,
    ) -> Result<ListPhoneNumbersOptedOutOutput, Fault> {
        let of = "ListPhoneNumbersOptedOut";
        let mut range = Range::prefix(&(&ctx.account,)).limit(PAGE + 1);
        if let Some(after) = crate::platform::from_token(of, input.next_token)? {
            range = range.after(&(&ctx.account, &after));
        }
        let view = self.cloud.store.read();
        let rows = view.range(&self.opted_out, range);
        let mut numbers = rows
            .map(|row| row.map(|((_, number), _)| number))
            .collect::<Result<Vec<_>, _>>()?;
        let more = numbers.len() > PAGE;
        numbers.truncate(PAGE);
        let last = numbers.last().filter(|_| more);
        Ok(ListPhoneNumbersOptedOutOutput {
            next_token: last.map(|number| cloud::paging::token(of, &[number])),
            phone_numbers: Some(numbers),
        })
    }

    /// None: an account gets dedicated numbers from AWS End User Messaging, not from this service.
    pub(crate) async fn list_origination_numbers(
        &self,
        _: &Context,
        input: ListOriginationNumbersInput,
    ) -> Result<ListOriginationNumbersOutput, Fault> {
        crate::platform::from_token("ListOriginationNumbers", input.next_token)?;
        Ok(ListOriginationNumbersOutput {
            next_token: None,
            phone_numbers: Some(Vec::new()),
        })
    }

    pub(crate) async fn opt_in_phone_number(
        &self,
        ctx: &Context,
        input: OptInPhoneNumberInput,
    ) -> Result<OptInPhoneNumberOutput, Fault> {
        listed(&input.phone_number)?;
        let scope = ["sns.phones", ctx.account.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                tx.delete(&self.opted_out, &(&ctx.account, &input.phone_number));
                Ok::<_, Fault>(())
            })
            .await?;
        Ok(OptInPhoneNumberOutput {})
    }

    pub(crate) async fn set_sms_attributes(
        &self,
        ctx: &Context,
        input: SetSMSAttributesInput,
    ) -> Result<SetSMSAttributesOutput, Fault> {
        for (name, value) in &input.attributes {
            if !SETTINGS.contains(&name.as_str()) {
                return Err(invalid_parameter_exception(format!(
                    "{name} is not a valid attribute"
                )));
            }
            let is_sender = (1..=11).contains(&value.len())
                && value.bytes().all(|b| b.is_ascii_alphanumeric())
                && value.bytes().any(|b| b.is_ascii_alphabetic());
            let percent = value.parse::<u8>().is_ok_and(|n| n <= 100);
            let refused = match name.as_str() {
                "DefaultSMSType" => !matches!(value.as_str(), "Promotional" | "Transactional"),
                "DefaultSenderID" => !is_sender,
                "DeliveryStatusSuccessSamplingRate" => !percent,
                "MonthlySpendLimit" => value.parse::<u32>().is_err(),
                _ => false,
            };
            if refused {
                return Err(invalid_parameter_exception(match name.as_str() {
                    // The word is AWS's own.
                    "DefaultSenderID" => "DefaultSendID is not a valid attribute".to_owned(),
                    name => format!("{name} is invalid"),
                }));
            }
        }
        let scope = ["sns.phones", ctx.account.as_str()];
        let at = (&ctx.account, &ctx.region);
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let found: Option<Settings> = tx.get(&self.sms_settings, &at)?;
                let mut settings = found.unwrap_or_default();
                settings.0.extend(input.attributes);
                tx.put(&self.sms_settings, &at, &settings)?;
                Ok::<_, Fault>(())
            })
            .await?;
        Ok(SetSMSAttributesOutput {})
    }

    pub(crate) async fn get_sms_attributes(
        &self,
        ctx: &Context,
        input: GetSMSAttributesInput,
    ) -> Result<GetSMSAttributesOutput, Fault> {
        let at = (&ctx.account, &ctx.region);
        let found: Option<Settings> = self.cloud.store.read().get(&self.sms_settings, &at)?;
        let mut settings = found.unwrap_or_default().0;
        settings
            .entry("MonthlySpendLimit".into())
            .or_insert_with(|| "1".into());
        if let Some(names) = input.attributes.filter(|names| !names.is_empty()) {
            settings.retain(|name, _| names.contains(name));
        }
        Ok(GetSMSAttributesOutput {
            attributes: Some(settings),
        })
    }

    pub(crate) async fn create_sms_sandbox_phone_number(
        &self,
        ctx: &Context,
        input: CreateSMSSandboxPhoneNumberInput,
    ) -> Result<CreateSMSSandboxPhoneNumberOutput, Fault> {
        let number = input.phone_number;
        if !is_number(&number) {
            return Err(invalid("PhoneNumber"));
        }
        if self.is_opted_out(&ctx.account, &number)? {
            return Err(opted_out_exception(
                "Phone number is opted out of receiving SMS messages",
            ));
        }
        let mut bytes = [0; 4];
        cloud::ids::random(&mut bytes);
        let password = format!("{:06}", u32::from_ne_bytes(bytes) % 1_000_000);
        let message = Draft {
            message: format!("Your verification code is {password}"),
            subject: None,
            structure: None,
            attributes: BTreeMap::new(),
            group: None,
            dedup: None,
        }
        .check(ctx.time)?;
        let captured = Captured::of(&message, &number, Medium::Sms);
        let place = Place {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            name: String::new(),
        };
        let scope = ["sns.phones", ctx.account.as_str()];
        let at = (&ctx.account, &ctx.region, &number);
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let known: Option<TrialNumber> = tx.get(&self.trial_numbers, &at)?;
                if known.is_some_and(|known| known.password.is_none()) {
                    return Err(user_error_exception("Phone number is already verified"));
                }
                let trial = TrialNumber {
                    password: Some(password),
                };
                tx.put(&self.trial_numbers, &at, &trial)?;
                self.keep(tx, &place, Medium::Sms, &captured)
            })
            .await?;
        Ok(CreateSMSSandboxPhoneNumberOutput {})
    }

    pub(crate) async fn verify_sms_sandbox_phone_number(
        &self,
        ctx: &Context,
        input: VerifySMSSandboxPhoneNumberInput,
    ) -> Result<VerifySMSSandboxPhoneNumberOutput, Fault> {
        let scope = ["sns.phones", ctx.account.as_str()];
        let at = (&ctx.account, &ctx.region, &input.phone_number);
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let known: Option<TrialNumber> = tx.get(&self.trial_numbers, &at)?;
                let known = known.ok_or_else(no_number)?;
                if known.password.is_some_and(|p| p != input.one_time_password) {
                    return Err(verification_exception("Invalid one-time password"));
                }
                tx.put(&self.trial_numbers, &at, &TrialNumber { password: None })?;
                Ok(())
            })
            .await?;
        Ok(VerifySMSSandboxPhoneNumberOutput {})
    }

    pub(crate) async fn delete_sms_sandbox_phone_number(
        &self,
        ctx: &Context,
        input: DeleteSMSSandboxPhoneNumberInput,
    ) -> Result<DeleteSMSSandboxPhoneNumberOutput, Fault> {
        let scope = ["sns.phones", ctx.account.as_str()];
        let at = (&ctx.account, &ctx.region, &input.phone_number);
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                if !tx.contains(&self.trial_numbers, &at)? {
                    return Err(no_number());
                }
                tx.delete(&self.trial_numbers, &at);
                Ok(())
            })
            .await?;
        Ok(DeleteSMSSandboxPhoneNumberOutput {})
    }

    pub(crate) async fn list_sms_sandbox_phone_numbers(
        &self,
        ctx: &Context,
        input: ListSMSSandboxPhoneNumbersInput,
    ) -> Result<ListSMSSandboxPhoneNumbersOutput, Fault> {
        let of = "ListSMSSandboxPhoneNumbers";
        let most = input
            .max_results
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(PAGE);
        let mut range = Range::prefix(&(&ctx.account, &ctx.region)).limit(most + 1);
        if let Some(after) = crate::platform::from_token(of, input.next_token)? {
            range = range.after(&(&ctx.account, &ctx.region, &after));
        }
        let view = self.cloud.store.read();
        let rows = view
            .range(&self.trial_numbers, range)
            .collect::<Result<Vec<_>, _>>()?;
        let last = rows
            .get(most.saturating_sub(1))
            .filter(|_| rows.len() > most);
        let next_token = last.map(|((.., number), _)| cloud::paging::token(of, &[number]));
        let shown = rows.into_iter().take(most);
        let shown = shown.map(|((.., number), trial)| SMSSandboxPhoneNumber {
            phone_number: Some(number),
            status: Some(match trial.password {
                Some(_) => "Pending".into(),
                None => "Verified".into(),
            }),
        });
        Ok(ListSMSSandboxPhoneNumbersOutput {
            phone_numbers: shown.collect(),
            next_token,
        })
    }

    /// No account is confined to its trial numbers here: nothing leaves the machine.
    pub(crate) async fn get_sms_sandbox_account_status(
        &self,
        _: &Context,
        _: GetSMSSandboxAccountStatusInput,
    ) -> Result<GetSMSSandboxAccountStatusOutput, Fault> {
        Ok(GetSMSSandboxAccountStatusOutput {
            is_in_sandbox: false,
        })
    }
}

fn no_number() -> Fault {
    resource_not_found_exception("Phone number not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_what_is_none() {
        for good in ["+15551234567", "+123123123", "15551234567"] {
            assert!(is_number(good), "{good}");
        }
        for bad in [
            "+1a234",
            "NAA+15551234567",
            "+",
            "",
            "+0123456",
            "+1555123456789012",
        ] {
            assert!(!is_number(bad), "{bad}");
        }
        for good in ["+15-551234567", "+12/34-567.890"] {
            assert!(is_subscribable(good), "{good}");
        }
        for bad in [
            "+15--551234567",
            "+15551234567.",
            "/+15551234567",
            "invalid-number",
        ] {
            assert!(!is_subscribable(bad), "{bad}");
        }
    }
}
