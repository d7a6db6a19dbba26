//! Passwords for the console. There is no console to log in to, so that a password exists is all that is kept.

use cloud::{Context, PrincipalKind};
use wire::{Fault, Timestamp};

use crate::account::PasswordRules;
use crate::api::*;
use crate::errors::*;
use crate::service::Iam;
use crate::user::{Login, User};

fn shown(user: &User, login: &Login) -> LoginProfile {
    LoginProfile {
        user_name: user.name.clone(),
        create_date: Timestamp(login.created),
        password_reset_required: Some(login.must_reset),
    }
}

fn no_profile(user: &str) -> Fault {
    no_such_entity_exception(format!("Login Profile for User {user} cannot be found."))
}

impl Iam {
    pub(crate) async fn create_login_profile(
        &self,
        ctx: &Context,
        input: CreateLoginProfileInput,
    ) -> Result<CreateLoginProfileOutput, Fault> {
        let name = self.user_or_caller(ctx, input.user_name)?;
        let rules = self
            .account(&ctx.account)?
            .password_policy
            .unwrap_or_default();
        let login = Login {
            created: ctx.time.whole_second().0,
            must_reset: input.password_reset_required.unwrap_or(false),
        };
        let login_profile = self.change(&ctx.account, &name, |_, user: &mut User| {
            if user.login.is_some() {
                let message = format!("Login Profile for user {} already exists.", user.name);
                return Err(entity_already_exists_exception(message));
            }
            rules.check(input.password.as_deref())?;
            user.login = Some(login.clone());
            Ok(shown(user, &login))
        });
        Ok(CreateLoginProfileOutput {
            login_profile: login_profile.await?,
        })
    }

    pub(crate) async fn get_login_profile(
        &self,
        ctx: &Context,
        input: GetLoginProfileInput,
    ) -> Result<GetLoginProfileOutput, Fault> {
        let name = self.user_or_caller(ctx, input.user_name)?;
        let user: User = self.find(&ctx.account, &name)?;
        let login = user.login.as_ref().ok_or_else(|| no_profile(&name))?;
        Ok(GetLoginProfileOutput {
            login_profile: shown(&user, login),
        })
    }

    pub(crate) async fn update_login_profile(
        &self,
        ctx: &Context,
        input: UpdateLoginProfileInput,
    ) -> Result<UpdateLoginProfileOutput, Fault> {
        let rules = self
            .account(&ctx.account)?
            .password_policy
            .unwrap_or_default();
        let name = input.user_name;
        self.change(&ctx.account, &name, |_, user: &mut User| {
            let login = user.login.as_mut().ok_or_else(|| no_profile(&name))?;
            rules.check(input.password.as_deref())?;
            login.must_reset = input.password_reset_required.unwrap_or(login.must_reset);
            Ok(())
        })
        .await?;
        Ok(UpdateLoginProfileOutput {})
    }

    pub(crate) async fn delete_login_profile(
        &self,
        ctx: &Context,
        input: DeleteLoginProfileInput,
    ) -> Result<DeleteLoginProfileOutput, Fault> {
        let name = self.user_or_caller(ctx, input.user_name)?;
        self.change(&ctx.account, &name, |_, user: &mut User| {
            user.login
                .take()
                .map(|_| ())
                .ok_or_else(|| no_profile(&name))
        })
        .await?;
        Ok(DeleteLoginProfileOutput {})
    }

    pub(crate) async fn change_password(
        &self,
        ctx: &Context,
        input: ChangePasswordInput,
    ) -> Result<ChangePasswordOutput, Fault> {
        if ctx.principal.kind != PrincipalKind::User {
            let message = "Only IAM Users can change their own password";
            return Err(invalid_user_type_exception(message));
        }
        self.account(&ctx.account)?
            .password_policy
            .unwrap_or_default()
            .check(Some(&input.new_password))?;
        Ok(ChangePasswordOutput {})
    }
}

impl PasswordRules {
    /// Holds a password against the account's policy, or AWS's default.
    fn check(&self, password: Option<&str>) -> Result<(), Fault> {
        let Some(password) = password else {
            return Ok(());
        };
        let length = usize::try_from(self.minimum_length).unwrap_or(8);
        let refuse = |what: &str| {
            let message =
                format!("Password does not conform to the account password policy: {what}");
            Err(password_policy_violation_exception(message))
        };
        if password.chars().count() < length {
            return refuse(&format!("it must have at least {length} characters"));
        }
        let has = |wanted: fn(&char) -> bool| password.chars().any(|c| wanted(&c));
        if self.symbols && !has(|c| c.is_ascii_punctuation()) {
            return refuse("it must contain a symbol");
        }
        if self.numbers && !has(char::is_ascii_digit) {
            return refuse("it must contain a number");
        }
        if self.uppercase && !has(char::is_ascii_uppercase) {
            return refuse("it must contain an uppercase letter");
        }
        if self.lowercase && !has(char::is_ascii_lowercase) {
            return refuse("it must contain a lowercase letter");
        }
        Ok(())
    }
}
