//! Server certificates, and users' signing certificates and SSH keys: kept, and used by nobody here.

use auth::account::IdKind;
use base64::Engine;
use cloud::Context;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record};
use wire::{Fault, Timestamp};

use crate::access_key::status;
use crate::api::*;
use crate::entity::{arn_of, key, new_id, path_of};
use crate::errors::*;
use crate::page::page;
use crate::service::Iam;
use crate::tag::{Tags, merged, paged, shown, without};
use crate::user::User;

/// A server certificate as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ServerCertificateRow {
    name: String,
    path: String,
    id: String,
    arn: String,
    uploaded: i64,
    expires: Option<i64>,
    body: String,
    #[serde(default)]
    chain: Option<String>,
    #[serde(default)]
    private_key: String,
    #[serde(default)]
    tags: Tags,
}
impl Record for ServerCertificateRow {}

/// Something that a user uploaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) kind: UploadKind,
    id: String,
    /// The user's name when it was uploaded.
    user: String,
    body: String,
    pub(crate) is_active: bool,
    /// Milliseconds, which keep those of one second in their order; told in seconds.
    pub(crate) uploaded: i64,
    fingerprint: String,
}
impl Record for Upload {}

/// What a user uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum UploadKind {
    Signing,
    Ssh,
}

impl ServerCertificateRow {
    fn metadata(&self) -> ServerCertificateMetadata {
        ServerCertificateMetadata {
            path: self.path.clone(),
            server_certificate_name: self.name.clone(),
            server_certificate_id: self.id.clone(),
            arn: self.arn.clone(),
            upload_date: Some(Timestamp(self.uploaded).whole_second()),
            expiration: self.expires.map(Timestamp),
        }
    }
}

fn no_certificate(name: &str) -> Fault {
    no_such_entity_exception(format!(
        "The Server Certificate with name {name} cannot be found."
    ))
}

/// The bytes of a certificate in PEM.
fn der(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}

/// When a certificate ends: the second of the two times that stand behind each other in it.
fn expiry(der: &[u8]) -> Option<Timestamp> {
    let mut times = Vec::new();
    let mut at = 0;
    while let Some([tag, len, ..]) = der.get(at..) {
        let (tag, len) = (*tag, usize::from(*len));
        let text = der
            .get(at + 2..at + 2 + len)
            .and_then(|t| std::str::from_utf8(t).ok());
        let full = match (tag, len, text) {
            (0x17, 13, Some(t)) => Some(format!(
                "{}{t}",
                if t.as_bytes()[0] < b'5' { "20" } else { "19" }
            )),
            (0x18, 15, Some(t)) => Some(t.to_owned()),
            _ => None,
        };
        let time = full
            .filter(|t| t.is_ascii() && t.ends_with('Z'))
            .and_then(|t| {
                Timestamp::parse(&format!(
                    "{}-{}-{}T{}:{}:{}Z",
                    &t[..4],
                    &t[4..6],
                    &t[6..8],
                    &t[8..10],
                    &t[10..12],
                    &t[12..14]
                ))
            });
        match time {
            Some(time) => {
                times.push(time);
                at += 2 + len;
            }
            None => at += 1,
        }
    }
    times.get(1).copied()
}

impl Iam {
    fn certificate(&self, account: &str, name: &str) -> Result<ServerCertificateRow, Fault> {
        let found = self
            .cloud
            .store
            .read()
            .get(&self.server_certificates, &(account, &key(name)))?;
        found.ok_or_else(|| no_certificate(name))
    }

    async fn change_certificate(
        &self,
        ctx: &Context,
        name: &str,
        f: impl FnOnce(&mut ServerCertificateRow) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let account = ctx.account.as_str();
        self.transact(account, |tx| {
            let mut row: ServerCertificateRow = tx
                .get(&self.server_certificates, &(account, &key(name)))?
                .ok_or_else(|| no_certificate(name))?;
            f(&mut row)?;
            if key(&row.name) != key(name) {
                if tx.contains(&self.server_certificates, &(account, &key(&row.name)))? {
                    return Err(certificate_exists(&row.name));
                }
                tx.delete(&self.server_certificates, &(account, &key(name)));
            }
            Ok(tx.put(&self.server_certificates, &(account, &key(&row.name)), &row)?)
        })
        .await
    }

    pub(crate) async fn upload_server_certificate(
        &self,
        ctx: &Context,
        input: UploadServerCertificateInput,
    ) -> Result<UploadServerCertificateOutput, Fault> {
        let der = der(&input.certificate_body).ok_or_else(malformed)?;
        let path = path_of(input.path)?;
        let name = input.server_certificate_name;
        let row = ServerCertificateRow {
            arn: arn_of(ctx, format!("server-certificate{path}{name}")),
            id: new_id(IdKind::ServerCertificate, &ctx.account),
            name,
            path,
            uploaded: ctx.time.0,
            expires: expiry(&der).map(|t| t.0),
            body: input.certificate_body.trim().to_owned(),
            chain: input.certificate_chain,
            private_key: input.private_key,
            tags: merged(&Tags::new(), input.tags.unwrap_or_default())?,
        };
        self.transact(&ctx.account, |tx| {
            let at = (&ctx.account, &key(&row.name));
            if tx.contains(&self.server_certificates, &at)? {
                return Err(certificate_exists(&row.name));
            }
            Ok(tx.put(&self.server_certificates, &at, &row)?)
        })
        .await?;
        Ok(UploadServerCertificateOutput {
            server_certificate_metadata: Some(row.metadata()),
            tags: shown(&row.tags),
        })
    }

    pub(crate) async fn get_server_certificate(
        &self,
        ctx: &Context,
        input: GetServerCertificateInput,
    ) -> Result<GetServerCertificateOutput, Fault> {
        let row = self.certificate(&ctx.account, &input.server_certificate_name)?;
        Ok(GetServerCertificateOutput {
            server_certificate: ServerCertificate {
                server_certificate_metadata: row.metadata(),
                certificate_body: row.body,
                certificate_chain: row.chain,
                tags: shown(&row.tags),
            },
        })
    }

    pub(crate) async fn update_server_certificate(
        &self,
        ctx: &Context,
        input: UpdateServerCertificateInput,
    ) -> Result<UpdateServerCertificateOutput, Fault> {
        let path = input.new_path.map(|p| path_of(Some(p))).transpose()?;
        self.change_certificate(ctx, &input.server_certificate_name, |row| {
            row.name = input
                .new_server_certificate_name
                .unwrap_or(std::mem::take(&mut row.name));
            row.path = path.unwrap_or(std::mem::take(&mut row.path));
            let resource = format!("server-certificate{}{}", row.path, row.name);
            row.arn = arn_of(ctx, resource);
            Ok(())
        })
        .await?;
        Ok(UpdateServerCertificateOutput {})
    }

    pub(crate) async fn delete_server_certificate(
        &self,
        ctx: &Context,
        input: DeleteServerCertificateInput,
    ) -> Result<DeleteServerCertificateOutput, Fault> {
        let name = input.server_certificate_name;
        self.transact(&ctx.account, |tx| {
            let at = (&ctx.account, &key(&name));
            if !tx.contains(&self.server_certificates, &at)? {
                return Err(no_certificate(&name));
            }
            tx.delete(&self.server_certificates, &at);
            Ok(())
        })
        .await?;
        Ok(DeleteServerCertificateOutput {})
    }

    pub(crate) async fn list_server_certificates(
        &self,
        ctx: &Context,
        input: ListServerCertificatesInput,
    ) -> Result<ListServerCertificatesOutput, Fault> {
        let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
        let rows = self.all(self.server_certificates, &ctx.account)?;
        let rows = rows.into_iter().filter(|r| r.path.starts_with(&prefix));
        let page = page(
            "ListServerCertificates",
            rows,
            input.marker.as_deref(),
            input.max_items,
            |r| key(&r.name),
        )?;
        Ok(ListServerCertificatesOutput {
            server_certificate_metadata_list: page
                .items
                .iter()
                .map(ServerCertificateRow::metadata)
                .collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn tag_server_certificate(
        &self,
        ctx: &Context,
        input: TagServerCertificateInput,
    ) -> Result<TagServerCertificateOutput, Fault> {
        self.change_certificate(ctx, &input.server_certificate_name, |row| {
            row.tags = merged(&row.tags, input.tags)?;
            Ok(())
        })
        .await?;
        Ok(TagServerCertificateOutput {})
    }

    pub(crate) async fn untag_server_certificate(
        &self,
        ctx: &Context,
        input: UntagServerCertificateInput,
    ) -> Result<UntagServerCertificateOutput, Fault> {
        self.change_certificate(ctx, &input.server_certificate_name, |row| {
            without(&mut row.tags, &input.tag_keys);
            Ok(())
        })
        .await?;
        Ok(UntagServerCertificateOutput {})
    }

    pub(crate) async fn list_server_certificate_tags(
        &self,
        ctx: &Context,
        input: ListServerCertificateTagsInput,
    ) -> Result<ListServerCertificateTagsOutput, Fault> {
        let row = self.certificate(&ctx.account, &input.server_certificate_name)?;
        let page = paged(&row.tags, input.marker.as_deref(), input.max_items)?;
        Ok(ListServerCertificateTagsOutput {
            tags: page.items,
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) fn uploads_of(
        &self,
        account: &str,
        user: &User,
        kind: UploadKind,
    ) -> Result<Vec<Upload>, Fault> {
        let view = self.cloud.store.read();
        let rows = view.range(&self.uploads, Range::prefix(&(account, &user.id)));
        let all = rows
            .map(|row| row.map(|(_, upload)| upload))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().filter(|u| u.kind == kind).collect())
    }

    async fn change_upload(
        &self,
        account: &str,
        user: &User,
        id: &str,
        f: impl FnOnce(&mut Upload) -> bool,
    ) -> Result<(), Fault> {
        self.transact(account, |tx| {
            let at = (account, &user.id, id);
            let mut upload: Upload = tx.get(&self.uploads, &at)?.ok_or_else(|| no_upload(id))?;
            if f(&mut upload) {
                tx.put(&self.uploads, &at, &upload)?;
            } else {
                tx.delete(&self.uploads, &at);
            }
            Ok(())
        })
        .await
    }

    async fn add_upload(&self, account: &str, user: &User, upload: &Upload) -> Result<(), Fault> {
        self.transact(account, |tx| {
            let (most, quota) = match upload.kind {
                UploadKind::Signing => (2, "CertificatesPerUser"),
                UploadKind::Ssh => (5, "SSHPublicKeysPerUser"),
            };
            let rows = tx.range(&self.uploads, Range::prefix(&(account, &user.id)));
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            if rows.iter().filter(|(_, u)| u.kind == upload.kind).count() >= most {
                return Err(limit_exceeded_exception(format!(
                    "Cannot exceed quota for {quota}: {most}"
                )));
            }
            Ok(tx.put(&self.uploads, &(account, &user.id, &upload.id), upload)?)
        })
        .await
    }

    pub(crate) async fn upload_signing_certificate(
        &self,
        ctx: &Context,
        input: UploadSigningCertificateInput,
    ) -> Result<UploadSigningCertificateOutput, Fault> {
        let user: User = self.find(&ctx.account, &self.user_or_caller(ctx, input.user_name)?)?;
        let body = input.certificate_body;
        let bytes = der(&body).ok_or_else(|| {
            malformed_certificate_exception(format!("Certificate {body} is malformed"))
        })?;
        let id = cloud::ids::upper(32);
        let upload = Upload {
            kind: UploadKind::Signing,
            id,
            user: user.name.clone(),
            body,
            is_active: true,
            uploaded: ctx.time.0,
            fingerprint: fingerprint(&bytes),
        };
        self.add_upload(&ctx.account, &user, &upload).await?;
        Ok(UploadSigningCertificateOutput {
            certificate: upload.signing(),
        })
    }

    pub(crate) async fn update_signing_certificate(
        &self,
        ctx: &Context,
        input: UpdateSigningCertificateInput,
    ) -> Result<UpdateSigningCertificateOutput, Fault> {
        let user: User = self.find(&ctx.account, &self.user_or_caller(ctx, input.user_name)?)?;
        self.change_upload(&ctx.account, &user, &input.certificate_id, |u| {
            u.is_active = input.status == "Active";
            true
        })
        .await?;
        Ok(UpdateSigningCertificateOutput {})
    }

    pub(crate) async fn delete_signing_certificate(
        &self,
        ctx: &Context,
        input: DeleteSigningCertificateInput,
    ) -> Result<DeleteSigningCertificateOutput, Fault> {
        let user: User = self.find(&ctx.account, &self.user_or_caller(ctx, input.user_name)?)?;
        self.change_upload(&ctx.account, &user, &input.certificate_id, |_| false)
            .await?;
        Ok(DeleteSigningCertificateOutput {})
    }

    pub(crate) async fn list_signing_certificates(
        &self,
        ctx: &Context,
        input: ListSigningCertificatesInput,
    ) -> Result<ListSigningCertificatesOutput, Fault> {
        let user: User = self.find(&ctx.account, &self.user_or_caller(ctx, input.user_name)?)?;
        let uploads = self.uploads_of(&ctx.account, &user, UploadKind::Signing)?;
        let page = page(
            "ListSigningCertificates",
            uploads,
            input.marker.as_deref(),
            input.max_items,
            |u| u.id.clone(),
        )?;
        Ok(ListSigningCertificatesOutput {
            certificates: page.items.iter().map(Upload::signing).collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn upload_ssh_public_key(
        &self,
        ctx: &Context,
        input: UploadSSHPublicKeyInput,
    ) -> Result<UploadSSHPublicKeyOutput, Fault> {
        let user: User = self.find(&ctx.account, &input.user_name)?;
        let body = input.ssh_public_key_body;
        let bytes = ssh_bytes(&body)
            .ok_or_else(|| invalid_public_key_exception("The public key is not valid."))?;
        let upload = Upload {
            kind: UploadKind::Ssh,
            id: new_id(IdKind::PublicKey, &ctx.account),
            user: user.name.clone(),
            body,
            is_active: true,
            uploaded: ctx.time.0,
            fingerprint: fingerprint(&bytes),
        };
        self.add_upload(&ctx.account, &user, &upload).await?;
        Ok(UploadSSHPublicKeyOutput {
            ssh_public_key: Some(upload.ssh()),
        })
    }

    pub(crate) async fn get_ssh_public_key(
        &self,
        ctx: &Context,
        input: GetSSHPublicKeyInput,
    ) -> Result<GetSSHPublicKeyOutput, Fault> {
        let user: User = self.find(&ctx.account, &input.user_name)?;
        let at = (&ctx.account, &user.id, &input.ssh_public_key_id);
        let found: Option<Upload> = self.cloud.store.read().get(&self.uploads, &at)?;
        let upload = found.ok_or_else(|| no_upload(&input.ssh_public_key_id))?;
        Ok(GetSSHPublicKeyOutput {
            ssh_public_key: Some(upload.ssh()),
        })
    }

    pub(crate) async fn update_ssh_public_key(
        &self,
        ctx: &Context,
        input: UpdateSSHPublicKeyInput,
    ) -> Result<UpdateSSHPublicKeyOutput, Fault> {
        let user: User = self.find(&ctx.account, &input.user_name)?;
        self.change_upload(&ctx.account, &user, &input.ssh_public_key_id, |u| {
            u.is_active = input.status == "Active";
            true
        })
        .await?;
        Ok(UpdateSSHPublicKeyOutput {})
    }

    pub(crate) async fn delete_ssh_public_key(
        &self,
        ctx: &Context,
        input: DeleteSSHPublicKeyInput,
    ) -> Result<DeleteSSHPublicKeyOutput, Fault> {
        let user: User = self.find(&ctx.account, &input.user_name)?;
        self.change_upload(&ctx.account, &user, &input.ssh_public_key_id, |_| false)
            .await?;
        Ok(DeleteSSHPublicKeyOutput {})
    }

    pub(crate) async fn list_ssh_public_keys(
        &self,
        ctx: &Context,
        input: ListSSHPublicKeysInput,
    ) -> Result<ListSSHPublicKeysOutput, Fault> {
        let user: User = self.find(&ctx.account, &self.user_or_caller(ctx, input.user_name)?)?;
        let uploads = self.uploads_of(&ctx.account, &user, UploadKind::Ssh)?;
        let page = page(
            "ListSSHPublicKeys",
            uploads,
            input.marker.as_deref(),
            input.max_items,
            |u| u.id.clone(),
        )?;
        let shown = page.items.into_iter().map(|u| SSHPublicKeyMetadata {
            user_name: u.user,
            ssh_public_key_id: u.id,
            status: status(u.is_active),
            upload_date: Timestamp(u.uploaded).whole_second(),
        });
        Ok(ListSSHPublicKeysOutput {
            ssh_public_keys: Some(shown.collect()),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }
}

impl Upload {
    fn signing(&self) -> SigningCertificate {
        SigningCertificate {
            user_name: self.user.clone(),
            certificate_id: self.id.clone(),
            certificate_body: self.body.clone(),
            status: status(self.is_active),
            upload_date: Some(Timestamp(self.uploaded).whole_second()),
        }
    }
    fn ssh(&self) -> SSHPublicKey {
        SSHPublicKey {
            user_name: self.user.clone(),
            ssh_public_key_id: self.id.clone(),
            fingerprint: self.fingerprint.clone(),
            ssh_public_key_body: self.body.clone(),
            status: status(self.is_active),
            upload_date: Some(Timestamp(self.uploaded).whole_second()),
        }
    }
}

/// The bytes of a public key in SSH's form or PEM.
fn ssh_bytes(body: &str) -> Option<Vec<u8>> {
    let text: String = match body.trim().strip_prefix("-----BEGIN ") {
        Some(_) => body
            .lines()
            .filter(|l| !l.starts_with("-----"))
            .map(str::trim)
            .collect(),
        None => body.split_whitespace().nth(1)?.to_owned(),
    };
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

fn fingerprint(bytes: &[u8]) -> String {
    let digest = Md5::digest(bytes);
    digest
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

fn no_upload(id: &str) -> Fault {
    no_such_entity_exception(format!("The Certificate with id {id} cannot be found."))
}

fn certificate_exists(name: &str) -> Fault {
    entity_already_exists_exception(format!(
        "The Server Certificate with name {name} already exists."
    ))
}

fn malformed() -> Fault {
    malformed_certificate_exception(
        "Unable to parse certificate. Please ensure the certificate is in PEM format.",
    )
}
