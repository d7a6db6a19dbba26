//! MFA devices. The codes of virtual ones are verified; nobody here knows the seeds of others, whose codes are taken at their word.

use cloud::Context;
use cloud::ports::{MfaDevices, MfaProblem};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use store::{Read, Record, Tx};
use wire::{Bytes, Fault, Timestamp};

use crate::api::*;
use crate::entity::{arn_of, key, path_of};
use crate::errors::*;
use crate::page::page;
use crate::service::Iam;
use crate::tag::{Tags, merged, paged, shown, without};
use crate::totp;
use crate::user::User;

/// The length of a seed in bytes: 64 letters in base 32.
const SEED: usize = 40;

/// An MFA device as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct MfaDevice {
    pub(crate) serial: String,
    /// Whose it is, once enabled.
    #[serde(default)]
    pub(crate) user: Option<String>,
    #[serde(default)]
    pub(crate) enabled: Option<i64>,
    #[serde(default)]
    pub(crate) tags: Tags,
    /// What a virtual device makes its codes of.
    #[serde(default, with = "serde_bytes")]
    pub(crate) seed: Vec<u8>,
    /// How many steps its clock differs from ours.
    #[serde(default)]
    pub(crate) drift: i64,
    /// The step of its last code that was used.
    #[serde(default)]
    pub(crate) used: i64,
}
impl Record for MfaDevice {}

impl MfaDevice {
    /// Takes two codes that follow each other for where the device's clock is.
    fn synchronize(&mut self, first: &str, second: &str, ctx: &Context) -> Result<(), Fault> {
        if self.seed.is_empty() {
            return Ok(());
        }
        let now = totp::step(ctx.time.0);
        let step = totp::find(&self.seed, [first, second], now).ok_or_else(|| {
            invalid_authentication_code_exception("Authentication code for device is not valid.")
        })?;
        (self.drift, self.used) = (step - now, step);
        Ok(())
    }
}

fn no_device(serial: &str) -> Fault {
    no_such_entity_exception(format!(
        "VirtualMFADevice with serial number {serial} doesn't exist."
    ))
}

/// A code for an authenticator's camera, as a black and white PNG with the quiet zone that readers need.
fn qr_code(text: &str) -> Result<Vec<u8>, Fault> {
    /// Pixels of a module's side.
    const SCALE: usize = 4;
    /// Modules of white around the code.
    const QUIET: usize = 4;
    let code = qrcode::QrCode::new(text)?;
    let modules = code.width();
    let side = (modules + 2 * QUIET) * SCALE;
    let is_dark = |x: usize, y: usize| {
        let at = |pixel: usize| (pixel / SCALE).checked_sub(QUIET).filter(|m| *m < modules);
        matches!((at(x), at(y)), (Some(x), Some(y)) if code[(x, y)] == qrcode::Color::Dark)
    };
    let pixels: Vec<u8> = (0..side)
        .flat_map(|y| (0..side).map(move |x| (x, y)))
        .map(|(x, y)| if is_dark(x, y) { 0 } else { u8::MAX })
        .collect();
    let side = u32::try_from(side)?;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(file)
}

impl MfaDevices for Iam {
    fn verify<'a>(
        &'a self,
        account: &'a str,
        user: Option<&'a str>,
        serial: &'a str,
        code: &'a str,
    ) -> BoxFuture<'a, Result<Result<(), MfaProblem>, Fault>> {
        Box::pin(async move {
            let now = totp::step(self.cloud.clock.now().0);
            let verified = self.transact(account, |tx| {
                let at = (account, &key(serial));
                let device: Option<MfaDevice> = tx.get(&self.mfa_devices, &at)?;
                let is_theirs = |device: &MfaDevice| match (&device.user, user) {
                    (Some(of), Some(user)) => key(of) == key(user),
                    (of, _) => of.is_some(),
                };
                let Some(mut device) = device.filter(is_theirs) else {
                    return Ok(Err(MfaProblem::NoDevice));
                };
                if device.seed.is_empty() {
                    return Ok(Ok(()));
                }
                let now = now + device.drift;
                let Some(step) = totp::check(&device.seed, code, now, device.used) else {
                    return Ok(Err(MfaProblem::WrongCode));
                };
                device.used = step;
                tx.put(&self.mfa_devices, &at, &device)?;
                Ok(Ok(()))
            });
            verified.await
        })
    }
}

impl Iam {
    async fn change_device<R>(
        &self,
        ctx: &Context,
        serial: &str,
        f: impl FnOnce(&Tx<'_>, &mut MfaDevice) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.transact(&ctx.account, |tx| {
            let at = (&ctx.account, &key(serial));
            let mut device: MfaDevice = tx
                .get(&self.mfa_devices, &at)?
                .ok_or_else(|| no_device(serial))?;
            let result = f(tx, &mut device)?;
            tx.put(&self.mfa_devices, &at, &device)?;
            Ok(result)
        })
        .await
    }

    pub(crate) fn devices_of(&self, account: &str, user: &str) -> Result<Vec<MfaDevice>, Fault> {
        let mut all = self.all(self.mfa_devices, account)?;
        all.retain(|d| d.user.as_deref().map(key) == Some(key(user)));
        Ok(all)
    }

    pub(crate) async fn create_virtual_mfa_device(
        &self,
        ctx: &Context,
        input: CreateVirtualMFADeviceInput,
    ) -> Result<CreateVirtualMFADeviceOutput, Fault> {
        let path = path_of(input.path)?;
        let resource = format!("mfa{path}{}", input.virtual_mfa_device_name);
        let mut seed = [0; SEED];
        cloud::ids::random(&mut seed);
        let device = MfaDevice {
            serial: arn_of(ctx, resource),
            tags: merged(&Tags::new(), input.tags.unwrap_or_default())?,
            seed: seed.to_vec(),
            ..MfaDevice::default()
        };
        self.transact(&ctx.account, |tx| {
            let at = (&ctx.account, &key(&device.serial));
            if tx.contains(&self.mfa_devices, &at)? {
                return Err(entity_already_exists_exception(
                    "MFADevice entity at the same path and name already exists.",
                ));
            }
            Ok(tx.put(&self.mfa_devices, &at, &device)?)
        })
        .await?;
        let seed = totp::shown(&device.seed);
        let uri = format!(
            "otpauth://totp/{}@{}?secret={seed}",
            input.virtual_mfa_device_name, ctx.account
        );
        let virtual_mfa_device = VirtualMFADevice {
            serial_number: device.serial,
            qr_code_png: Some(Bytes::from(qr_code(&uri)?)),
            base32_string_seed: Some(Bytes::from(seed)),
            tags: shown(&device.tags),
            ..VirtualMFADevice::default()
        };
        Ok(CreateVirtualMFADeviceOutput { virtual_mfa_device })
    }

    pub(crate) async fn delete_virtual_mfa_device(
        &self,
        ctx: &Context,
        input: DeleteVirtualMFADeviceInput,
    ) -> Result<DeleteVirtualMFADeviceOutput, Fault> {
        let serial = input.serial_number;
        self.transact(&ctx.account, |tx| {
            let at = (&ctx.account, &key(&serial));
            let device: MfaDevice = tx
                .get(&self.mfa_devices, &at)?
                .ok_or_else(|| no_device(&serial))?;
            if device.user.is_some() {
                return Err(delete_conflict_exception(
                    "MFA VirtualDevice is in use. Must deactivate it first.",
                ));
            }
            tx.delete(&self.mfa_devices, &at);
            Ok(())
        })
        .await?;
        Ok(DeleteVirtualMFADeviceOutput {})
    }

    pub(crate) async fn enable_mfa_device(
        &self,
        ctx: &Context,
        input: EnableMFADeviceInput,
    ) -> Result<EnableMFADeviceOutput, Fault> {
        let serial = input.serial_number;
        self.transact(&ctx.account, |tx| {
            let user: User = self.find_in(tx, &ctx.account, &input.user_name)?;
            let at = (&ctx.account, &key(&serial));
            let mut device = match tx.get(&self.mfa_devices, &at)? {
                Some(device) => device,
                // The serial number of a device that one can hold is its maker's.
                None if !serial.starts_with("arn:") => MfaDevice {
                    serial,
                    ..MfaDevice::default()
                },
                None => return Err(no_device(&serial)),
            };
            if device.user.is_some() {
                return Err(entity_already_exists_exception(
                    "MFA Device is already in use.",
                ));
            }
            device.synchronize(
                &input.authentication_code1,
                &input.authentication_code2,
                ctx,
            )?;
            device.user = Some(user.name);
            device.enabled = Some(ctx.time.whole_second().0);
            Ok(tx.put(&self.mfa_devices, &at, &device)?)
        })
        .await?;
        Ok(EnableMFADeviceOutput {})
    }

    pub(crate) async fn deactivate_mfa_device(
        &self,
        ctx: &Context,
        input: DeactivateMFADeviceInput,
    ) -> Result<DeactivateMFADeviceOutput, Fault> {
        let name = self.user_or_caller(ctx, input.user_name)?;
        self.change_device(ctx, &input.serial_number, |_, device| {
            if device.user.as_deref().map(key) != Some(key(&name)) {
                let message = format!(
                    "Device with serial number {} cannot be found for user {name}.",
                    device.serial
                );
                return Err(no_such_entity_exception(message));
            }
            device.user = None;
            device.enabled = None;
            Ok(())
        })
        .await?;
        Ok(DeactivateMFADeviceOutput {})
    }

    pub(crate) async fn resync_mfa_device(
        &self,
        ctx: &Context,
        input: ResyncMFADeviceInput,
    ) -> Result<ResyncMFADeviceOutput, Fault> {
        self.change_device(ctx, &input.serial_number, |_, device| {
            device.synchronize(
                &input.authentication_code1,
                &input.authentication_code2,
                ctx,
            )
        })
        .await?;
        Ok(ResyncMFADeviceOutput {})
    }

    pub(crate) async fn get_mfa_device(
        &self,
        ctx: &Context,
        input: GetMFADeviceInput,
    ) -> Result<GetMFADeviceOutput, Fault> {
        let serial = input.serial_number;
        let found = self
            .cloud
            .store
            .read()
            .get(&self.mfa_devices, &(&ctx.account, &key(&serial)))?;
        let device = found.ok_or_else(|| no_device(&serial))?;
        Ok(GetMFADeviceOutput {
            user_name: device.user,
            serial_number: device.serial,
            enable_date: device.enabled.map(Timestamp),
            ..Default::default()
        })
    }

    pub(crate) async fn list_mfa_devices(
        &self,
        ctx: &Context,
        input: ListMFADevicesInput,
    ) -> Result<ListMFADevicesOutput, Fault> {
        let devices = match input.user_name {
            Some(name) => {
                let user: User = self.find(&ctx.account, &name)?;
                self.devices_of(&ctx.account, &user.name)?
            }
            None => self
                .all(self.mfa_devices, &ctx.account)?
                .into_iter()
                .filter(|d| d.user.is_some())
                .collect(),
        };
        let page = page(
            "ListMFADevices",
            devices,
            input.marker.as_deref(),
            input.max_items,
            |d| key(&d.serial),
        )?;
        let shown = page.items.into_iter().map(|d| MFADevice {
            user_name: d.user.unwrap_or_default(),
            serial_number: d.serial,
            enable_date: Timestamp(d.enabled.unwrap_or_default()),
        });
        Ok(ListMFADevicesOutput {
            mfa_devices: shown.collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn list_virtual_mfa_devices(
        &self,
        ctx: &Context,
        input: ListVirtualMFADevicesInput,
    ) -> Result<ListVirtualMFADevicesOutput, Fault> {
        let wanted = input.assignment_status.as_deref().unwrap_or("Any");
        let mut all = self.all(self.mfa_devices, &ctx.account)?;
        all.retain(|d| match wanted {
            "Assigned" => d.user.is_some(),
            "Unassigned" => d.user.is_none(),
            _ => true,
        });
        let page = page(
            "ListVirtualMFADevices",
            all,
            input.marker.as_deref(),
            input.max_items,
            |d| key(&d.serial),
        )?;
        let shown = page.items.into_iter().map(|d| {
            let user = d
                .user
                .as_ref()
                .map(|name| self.find::<User>(&ctx.account, name))
                .transpose()?;
            Ok(VirtualMFADevice {
                serial_number: d.serial,
                user: user.map(|u| u.listed()),
                enable_date: d.enabled.map(Timestamp),
                ..VirtualMFADevice::default()
            })
        });
        Ok(ListVirtualMFADevicesOutput {
            virtual_mfa_devices: shown.collect::<Result<_, Fault>>()?,
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn tag_mfa_device(
        &self,
        ctx: &Context,
        input: TagMFADeviceInput,
    ) -> Result<TagMFADeviceOutput, Fault> {
        self.change_device(ctx, &input.serial_number, |_, device| {
            device.tags = merged(&device.tags, input.tags)?;
            Ok(())
        })
        .await?;
        Ok(TagMFADeviceOutput {})
    }

    pub(crate) async fn untag_mfa_device(
        &self,
        ctx: &Context,
        input: UntagMFADeviceInput,
    ) -> Result<UntagMFADeviceOutput, Fault> {
        self.change_device(ctx, &input.serial_number, |_, device| {
            without(&mut device.tags, &input.tag_keys);
            Ok(())
        })
        .await?;
        Ok(UntagMFADeviceOutput {})
    }

    pub(crate) async fn list_mfa_device_tags(
        &self,
        ctx: &Context,
        input: ListMFADeviceTagsInput,
    ) -> Result<ListMFADeviceTagsOutput, Fault> {
        let serial = input.serial_number;
        let found = self
            .cloud
            .store
            .read()
            .get(&self.mfa_devices, &(&ctx.account, &key(&serial)))?;
        let device = found.ok_or_else(|| no_device(&serial))?;
        let page = paged(&device.tags, input.marker.as_deref(), input.max_items)?;
        Ok(ListMFADeviceTagsOutput {
            tags: page.items,
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_code_is_a_picture_with_a_finder_in_its_corner() {
        let file = qr_code("otpauth://totp/phone@000000000000?secret=ABC").expect("a code");
        let mut reader = png::Decoder::new(std::io::Cursor::new(file))
            .read_info()
            .expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let side = reader.next_frame(&mut pixels).expect("pixels").width as usize;
        // A row through the middle of a finder: quiet, 1 dark, 1 light, 3 dark, 1 light, 1 dark.
        let row = &pixels[side * (4 + 3) * 4..][..side];
        let modules: Vec<bool> = row.iter().step_by(4).map(|pixel| *pixel == 0).collect();
        let finder = [true, false, true, true, true, false, true];
        assert_eq!(modules[..4], [false; 4]);
        assert_eq!(modules[4..11], finder);
    }
}
