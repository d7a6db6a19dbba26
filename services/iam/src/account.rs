//! What an account has once: alias, password policy, and counts of everything.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Read, Record};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::service::Iam;

/// An account's settings as they are stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    #[serde(default)]
    pub(crate) alias: Option<String>,
    #[serde(default)]
    pub(crate) password_policy: Option<PasswordRules>,
    /// When the last credential report was made.
    #[serde(default)]
    pub(crate) report: Option<i64>,
}
impl Record for Account {}

/// A password policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PasswordRules {
    pub(crate) minimum_length: i32,
    pub(crate) symbols: bool,
    pub(crate) numbers: bool,
    pub(crate) uppercase: bool,
    pub(crate) lowercase: bool,
    users_may_change: bool,
    max_age: Option<i32>,
    reuse: Option<i32>,
    hard_expiry: Option<bool>,
}

impl Default for PasswordRules {
    fn default() -> Self {
        PasswordRules {
            minimum_length: 8,
            symbols: false,
            numbers: false,
            uppercase: false,
            lowercase: false,
            users_may_change: false,
            max_age: None,
            reuse: None,
            hard_expiry: None,
        }
    }
}

const ROW: &str = "account";

impl Iam {
    pub(crate) fn account(&self, account: &str) -> Result<Account, Fault> {
        Ok(self
            .cloud
            .store
            .read()
            .get(&self.accounts, &(account, ROW))?
            .unwrap_or_default())
    }

    pub(crate) async fn change_account<R>(
        &self,
        account: &str,
        f: impl FnOnce(&mut Account) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.transact(account, |tx| {
            let mut row: Account = tx.get(&self.accounts, &(account, ROW))?.unwrap_or_default();
            let result = f(&mut row)?;
            tx.put(&self.accounts, &(account, ROW), &row)?;
            Ok(result)
        })
        .await
    }

    pub(crate) async fn create_account_alias(
        &self,
        ctx: &Context,
        input: CreateAccountAliasInput,
    ) -> Result<CreateAccountAliasOutput, Fault> {
        // There is one alias; a new one replaces it.
        self.change_account(&ctx.account, |row| {
            row.alias = Some(input.account_alias);
            Ok(())
        })
        .await?;
        Ok(CreateAccountAliasOutput {})
    }

    pub(crate) async fn delete_account_alias(
        &self,
        ctx: &Context,
        input: DeleteAccountAliasInput,
    ) -> Result<DeleteAccountAliasOutput, Fault> {
        self.change_account(&ctx.account, |row| {
            if row.alias.as_deref() != Some(&input.account_alias) {
                let message = format!("The account alias {} cannot be found.", input.account_alias);
                return Err(no_such_entity_exception(message));
            }
            row.alias = None;
            Ok(())
        })
        .await?;
        Ok(DeleteAccountAliasOutput {})
    }

    pub(crate) async fn list_account_aliases(
        &self,
        ctx: &Context,
        _: ListAccountAliasesInput,
    ) -> Result<ListAccountAliasesOutput, Fault> {
        let account_aliases = self.account(&ctx.account)?.alias.into_iter().collect();
        Ok(ListAccountAliasesOutput {
            account_aliases,
            is_truncated: Some(false),
            marker: None,
        })
    }

    pub(crate) async fn update_account_password_policy(
        &self,
        ctx: &Context,
        input: UpdateAccountPasswordPolicyInput,
    ) -> Result<UpdateAccountPasswordPolicyOutput, Fault> {
        let rules = PasswordRules {
            // What is left out falls back to AWS's default, not to what was.
            minimum_length: input.minimum_password_length.unwrap_or(6),
            symbols: input.require_symbols.unwrap_or(false),
            numbers: input.require_numbers.unwrap_or(false),
            uppercase: input.require_uppercase_characters.unwrap_or(false),
            lowercase: input.require_lowercase_characters.unwrap_or(false),
            users_may_change: input.allow_users_to_change_password.unwrap_or(false),
            max_age: input.max_password_age,
            reuse: input.password_reuse_prevention,
            hard_expiry: input.hard_expiry,
        };
        self.change_account(&ctx.account, |row| {
            row.password_policy = Some(rules);
            Ok(())
        })
        .await?;
        Ok(UpdateAccountPasswordPolicyOutput {})
    }

    pub(crate) async fn get_account_password_policy(
        &self,
        ctx: &Context,
        _: GetAccountPasswordPolicyInput,
    ) -> Result<GetAccountPasswordPolicyOutput, Fault> {
        let rules = self
            .account(&ctx.account)?
            .password_policy
            .ok_or_else(|| no_password_policy(ctx))?;
        let password_policy = PasswordPolicy {
            minimum_password_length: Some(rules.minimum_length),
            require_symbols: Some(rules.symbols),
            require_numbers: Some(rules.numbers),
            require_uppercase_characters: Some(rules.uppercase),
            require_lowercase_characters: Some(rules.lowercase),
            allow_users_to_change_password: Some(rules.users_may_change),
            expire_passwords: Some(rules.max_age.is_some_and(|days| days > 0)),
            max_password_age: rules.max_age,
            password_reuse_prevention: rules.reuse,
            hard_expiry: rules.hard_expiry,
        };
        Ok(GetAccountPasswordPolicyOutput { password_policy })
    }

    pub(crate) async fn delete_account_password_policy(
        &self,
        ctx: &Context,
        _: DeleteAccountPasswordPolicyInput,
    ) -> Result<DeleteAccountPasswordPolicyOutput, Fault> {
        self.change_account(&ctx.account, |row| {
            row.password_policy
                .take()
                .map(|_| ())
                .ok_or_else(|| no_password_policy(ctx))
        })
        .await?;
        Ok(DeleteAccountPasswordPolicyOutput {})
    }

    pub(crate) async fn get_account_summary(
        &self,
        ctx: &Context,
        _: GetAccountSummaryInput,
    ) -> Result<GetAccountSummaryOutput, Fault> {
        let account = ctx.account.as_str();
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let policies = self.all(self.policies, account)?;
        let providers = self.all(self.providers, account)?;
        let devices = self.all(self.mfa_devices, account)?;
        let in_use = devices.iter().filter(|d| d.user.is_some()).count();
        let counts = [
            ("Users", number(self.all(self.users, account)?.len())),
            ("UsersQuota", 5000),
            ("Groups", number(self.all(self.groups, account)?.len())),
            ("GroupsQuota", 300),
            ("Roles", number(self.all(self.roles, account)?.len())),
            ("RolesQuota", 1000),
            ("Policies", number(policies.len())),
            ("PoliciesQuota", 1500),
            (
                "PolicyVersionsInUse",
                number(policies.iter().map(|p| p.versions.len()).sum()),
            ),
            ("PolicyVersionsInUseQuota", 10_000),
            (
                "InstanceProfiles",
                number(self.all(self.profiles, account)?.len()),
            ),
            ("InstanceProfilesQuota", 1000),
            (
                "ServerCertificates",
                number(self.all(self.server_certificates, account)?.len()),
            ),
            ("ServerCertificatesQuota", 20),
            ("Providers", number(providers.len())),
            ("MFADevices", number(devices.len())),
            ("MFADevicesInUse", number(in_use)),
            ("AccountMFAEnabled", 0),
            ("AccountAccessKeysPresent", 0),
            ("AccountSigningCertificatesPresent", 0),
            ("AccountPasswordPresent", 1),
            ("AccessKeysPerUserQuota", 2),
            ("AssumeRolePolicySizeQuota", 2048),
            ("AttachedPoliciesPerGroupQuota", 10),
            ("AttachedPoliciesPerRoleQuota", 10),
            ("AttachedPoliciesPerUserQuota", 10),
            ("GlobalEndpointTokenVersion", 1),
            ("GroupPolicySizeQuota", 5120),
            ("GroupsPerUserQuota", 10),
            ("PolicySizeQuota", 6144),
            ("RolePolicySizeQuota", 10_240),
            ("SigningCertificatesPerUserQuota", 2),
            ("UserPolicySizeQuota", 2048),
            ("VersionsPerPolicyQuota", 5),
        ];
        let summary_map = counts
            .into_iter()
            .map(|(name, n)| (name.to_owned(), n))
            .collect();
        Ok(GetAccountSummaryOutput {
            summary_map: Some(summary_map),
        })
    }
}

fn no_password_policy(ctx: &Context) -> Fault {
    no_such_entity_exception(format!(
        "The Password Policy with domain name {} cannot be found.",
        ctx.account
    ))
}
