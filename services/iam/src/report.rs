//! Everything of an account at once: authorization details, and the credential report.

use cloud::Context;
use wire::{Bytes, Fault, Timestamp};

use crate::api::*;
use crate::attachment;
use crate::certificate::UploadKind;
use crate::entity::{Policies, boundary, encoded, key};
use crate::errors::*;
use crate::managed;
use crate::page::page;
use crate::role::Role;
use crate::service::Iam;
use crate::tag::shown;
use crate::user::User;

enum Detail {
    User(UserDetail),
    Group(GroupDetail),
    Role(Box<RoleDetail>),
    Policy(ManagedPolicyDetail),
}

fn inline(policies: &Policies) -> Option<Vec<PolicyDetail>> {
    let detail = |(name, document): (&String, &String)| PolicyDetail {
        policy_name: Some(name.clone()),
        policy_document: Some(encoded(document)),
    };
    Some(policies.inline.iter().map(detail).collect())
}

/// A report is made anew after that long, milliseconds.
const STALE: i64 = 4 * 3_600_000;

impl Iam {
    pub(crate) async fn get_account_authorization_details(
        &self,
        ctx: &Context,
        input: GetAccountAuthorizationDetailsInput,
    ) -> Result<GetAccountAuthorizationDetailsOutput, Fault> {
        let account = ctx.account.as_str();
        let wants = |kind: &str| {
            input
                .filter
                .as_ref()
                .is_none_or(|f| f.is_empty() || f.iter().any(|k| k == kind))
        };
        let mut all: Vec<(String, Detail)> = Vec::new();
        if wants("User") {
            for user in self.all(self.users, account)? {
                all.push((
                    format!("1/{}", key(&user.name)),
                    Detail::User(self.user_detail(account, &user)?),
                ));
            }
        }
        if wants("Group") {
            for group in self.all(self.groups, account)? {
                let detail = GroupDetail {
                    path: Some(group.path),
                    group_id: Some(group.id),
                    arn: Some(group.arn),
                    create_date: Some(Timestamp(group.created)),
                    group_policy_list: inline(&group.policies),
                    attached_managed_policies: Some(attachment::shown(&group.policies.managed)),
                    group_name: Some(group.name.clone()),
                };
                all.push((format!("2/{}", key(&group.name)), Detail::Group(detail)));
            }
        }
        if wants("Role") {
            for role in self.all(self.roles, account)? {
                let at = format!("3/{}", key(&role.name));
                all.push((at, Detail::Role(Box::new(self.role_detail(account, role)?))));
            }
        }
        if wants("LocalManagedPolicy") {
            for policy in self.all(self.policies, account)? {
                all.push((
                    format!("4/{}", key(&policy.arn)),
                    Detail::Policy(policy.detail(self.uses(account, &policy.arn)?)),
                ));
            }
        }
        if wants("AWSManagedPolicy") {
            for policy in managed::all() {
                let partition = ctx.partition();
                let uses = self.uses(account, &policy.arn_in(partition))?;
                // Of AWS's own policies only those in use are told.
                if uses.attachments > 0 || uses.boundaries > 0 {
                    all.push((
                        format!("5/{}", key(policy.arn)),
                        Detail::Policy(crate::policy::aws_detail(&policy, partition, uses)),
                    ));
                }
            }
        }
        let page = page(
            "GetAccountAuthorizationDetails",
            all,
            input.marker.as_deref(),
            input.max_items,
            |(k, _)| k.clone(),
        )?;
        let mut output = GetAccountAuthorizationDetailsOutput {
            user_detail_list: Some(Vec::new()),
            group_detail_list: Some(Vec::new()),
            role_detail_list: Some(Vec::new()),
            policies: Some(Vec::new()),
            is_truncated: page.is_truncated,
            marker: page.marker,
        };
        for (_, detail) in page.items {
            match detail {
                Detail::User(d) => output.user_detail_list.get_or_insert_default().push(d),
                Detail::Group(d) => output.group_detail_list.get_or_insert_default().push(d),
                Detail::Role(d) => output.role_detail_list.get_or_insert_default().push(*d),
                Detail::Policy(d) => output.policies.get_or_insert_default().push(d),
            }
        }
        Ok(output)
    }

    fn user_detail(&self, account: &str, user: &User) -> Result<UserDetail, Fault> {
        let mut groups = self.all(self.groups, account)?;
        groups.retain(|g| user.groups.contains(&key(&g.name)));
        Ok(UserDetail {
            path: Some(user.path.clone()),
            user_name: Some(user.name.clone()),
            user_id: Some(user.id.clone()),
            arn: Some(user.arn.clone()),
            create_date: Some(Timestamp(user.created)),
            user_policy_list: inline(&user.policies),
            group_list: Some(groups.into_iter().map(|g| g.name).collect()),
            attached_managed_policies: Some(attachment::shown(&user.policies.managed)),
            permissions_boundary: boundary(&user.policies),
            tags: shown(&user.tags),
        })
    }

    fn role_detail(&self, account: &str, role: Role) -> Result<RoleDetail, Fault> {
        let profiles = self
            .profiles_of(account, &role.name)?
            .map(|p| self.profile_shown(account, &p));
        let role_last_used = self.role_last_used(account, &role.id)?;
        Ok(RoleDetail {
            instance_profile_list: Some(profiles.collect::<Result<_, _>>()?),
            path: Some(role.path),
            role_name: Some(role.name),
            role_id: Some(role.id),
            arn: Some(role.arn),
            create_date: Some(Timestamp(role.created)),
            assume_role_policy_document: Some(encoded(&role.trust)),
            role_policy_list: inline(&role.policies),
            attached_managed_policies: Some(attachment::shown(&role.policies.managed)),
            permissions_boundary: boundary(&role.policies),
            tags: shown(&role.tags),
            role_last_used: Some(role_last_used),
        })
    }

    pub(crate) async fn generate_credential_report(
        &self,
        ctx: &Context,
        _: GenerateCredentialReportInput,
    ) -> Result<GenerateCredentialReportOutput, Fault> {
        let now = ctx.time.0;
        let is_new = self.change_account(&ctx.account, |row| {
            let is_new = row.report.is_none_or(|made| now - made > STALE);
            if is_new {
                row.report = Some(now);
            }
            Ok(is_new)
        });
        Ok(match is_new.await? {
            true => GenerateCredentialReportOutput {
                state: Some("STARTED".into()),
                description: Some("No report exists. Starting a new report generation task".into()),
            },
            false => GenerateCredentialReportOutput {
                state: Some("COMPLETE".into()),
                description: None,
            },
        })
    }

    pub(crate) async fn get_credential_report(
        &self,
        ctx: &Context,
        _: GetCredentialReportInput,
    ) -> Result<GetCredentialReportOutput, Fault> {
        let made = self.account(&ctx.account)?.report.ok_or_else(|| {
            credential_report_not_present_exception(
                "No report present. Please generate one using GenerateCredentialReport.",
            )
        })?;
        if ctx.time.0 - made > STALE {
            return Err(credential_report_expired_exception(
                "The most recent credential report has expired. To generate a new credential report, use GenerateCredentialReport.",
            ));
        }
        Ok(GetCredentialReportOutput {
            content: Some(Bytes::from(self.report(&ctx.account)?)),
            report_format: Some("text/csv".into()),
            generated_time: Some(Timestamp(made)),
        })
    }

    fn report(&self, account: &str) -> Result<String, Fault> {
        let mut text = String::from(
            "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,\
             password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,\
             access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,\
             access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,\
             access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,\
             cert_2_active,cert_2_last_rotated\n",
        );
        let date = |millis: i64| Timestamp(millis).iso8601_secs().replace('Z', "+00:00");
        for user in self.all(self.users, account)? {
            let mut fields = vec![user.name.clone(), user.arn.clone(), date(user.created)];
            match &user.login {
                Some(login) => fields.extend(
                    ["true", "no_information", &date(login.created), "N/A"].map(str::to_owned),
                ),
                None => fields.extend(["false", "N/A", "N/A", "N/A"].map(str::to_owned)),
            }
            fields.push((!self.devices_of(account, &user.name)?.is_empty()).to_string());
            let keys = self.keys_of(account, &user)?;
            for slot in 0..2 {
                let mut last = None;
                match keys.get(slot) {
                    Some(k) => {
                        fields.extend([k.is_active.to_string(), date(k.created)]);
                        last = self.last_use(account, &k.id)?;
                    }
                    None => fields.extend(["false", "N/A"].map(str::to_owned)),
                }
                match last {
                    Some(used) => fields.extend([date(used.time), used.region, used.service]),
                    None => fields.extend(["N/A", "N/A", "N/A"].map(str::to_owned)),
                }
            }
            let mut certificates = self.uploads_of(account, &user, UploadKind::Signing)?;
            certificates.sort_by_key(|c| c.uploaded);
            for slot in 0..2 {
                match certificates.get(slot) {
                    Some(c) => fields.extend([c.is_active.to_string(), date(c.uploaded)]),
                    None => fields.extend(["false", "N/A"].map(str::to_owned)),
                }
            }
            text.push_str(&fields.join(","));
            text.push('\n');
        }
        Ok(text)
    }
}
