//! Codes of MFA devices that come along with a request for a session.

use cloud::ports::MfaProblem;
use cloud::{Context, PrincipalKind};
use wire::{Fault, Timestamp};

use crate::service::Sts;

fn denied(message: &'static str) -> Fault {
    Fault::sender(403, "AccessDenied", message)
}

impl Sts {
    /// Uses up the caller's code. Gives when, or `None` where no code came along.
    pub(crate) async fn verify_mfa(
        &self,
        ctx: &Context,
        serial: Option<&str>,
        code: Option<&str>,
    ) -> Result<Option<Timestamp>, Fault> {
        let (serial, code) = match (serial, code) {
            (None, None) => return Ok(None),
            (Some(serial), Some(code)) => (serial, code),
            _ => {
                return Err(denied(
                    "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code.",
                ));
            }
        };
        let user = match ctx.principal.kind {
            PrincipalKind::User => ctx.principal.arn.rsplit('/').next(),
            _ => None,
        };
        let verified = match self.cloud.ports.mfa_devices() {
            Some(devices) => devices.verify(&ctx.account, user, serial, code).await?,
            None => Err(MfaProblem::NoDevice),
        };
        match verified {
            Ok(()) => Ok(Some(ctx.time)),
            Err(MfaProblem::WrongCode) => Err(denied(
                "MultiFactorAuthentication failed with invalid MFA one time pass code. ",
            )),
            Err(MfaProblem::NoDevice) => Err(denied(
                "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.",
            )),
        }
    }
}
