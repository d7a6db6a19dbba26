//! Access control lists.

use serde::{Deserialize, Serialize};
use wire::Fault;

use crate::{account, api, fault};

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";

/// To whom something is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantee {
    /// An account.
    Account(String),
    /// Everyone.
    AllUsers,
    /// Everyone with an account.
    AuthenticatedUsers,
    /// S3's log delivery.
    LogDelivery,
}

/// What is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permission {
    /// To list a bucket, to read an object.
    Read,
    /// To write into a bucket.
    Write,
    /// To read the list.
    ReadAcp,
    /// To write the list.
    WriteAcp,
    /// All of them.
    FullControl,
}

impl Permission {
    fn name(self) -> &'static str {
        match self {
            Permission::Read => "READ",
            Permission::Write => "WRITE",
            Permission::ReadAcp => "READ_ACP",
            Permission::WriteAcp => "WRITE_ACP",
            Permission::FullControl => "FULL_CONTROL",
        }
    }
    fn parse(name: &str) -> Option<Permission> {
        use Permission::{FullControl, Read, ReadAcp, Write, WriteAcp};
        [Read, Write, ReadAcp, WriteAcp, FullControl]
            .into_iter()
            .find(|p| p.name() == name)
    }
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// To whom.
    pub grantee: Grantee,
    /// What.
    pub permission: Permission,
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// The owning account.
    pub owner: String,
    /// The grants.
    pub grants: Vec<Grant>,
}

/// The headers that grant.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantHeaders<'a> {
    /// `x-amz-grant-full-control`
    pub full_control: Option<&'a str>,
    /// `x-amz-grant-read`
    pub read: Option<&'a str>,
    /// `x-amz-grant-write`
    pub write: Option<&'a str>,
    /// `x-amz-grant-read-acp`
    pub read_acp: Option<&'a str>,
    /// `x-amz-grant-write-acp`
    pub write_acp: Option<&'a str>,
}

impl GrantHeaders<'_> {
    fn is_empty(&self) -> bool {
        [
            self.full_control,
            self.read,
            self.write,
            self.read_acp,
            self.write_acp,
        ]
        .iter()
        .all(Option::is_none)
    }
}

impl Acl {
    /// The owner has full control and nobody else anything.
    pub fn private(owner: &str) -> Acl {
        let grant = Grant {
            grantee: Grantee::Account(owner.to_owned()),
            permission: Permission::FullControl,
        };
        Acl {
            owner: owner.to_owned(),
            grants: vec![grant],
        }
    }

    /// What a request's `x-amz-acl` or grant headers ask for; `None` where it has neither.
    pub fn requested(
        canned: Option<&str>,
        headers: &GrantHeaders<'_>,
        owner: &str,
        bucket_owner: &str,
    ) -> Result<Option<Acl>, Fault> {
        match canned {
            Some(_) if !headers.is_empty() => Err(fault::invalid_request(
                "Specifying both Canned ACLs and Header Grants is not allowed",
            )),
            Some(canned) => Acl::canned(canned, owner, bucket_owner).map(Some),
            None if headers.is_empty() => Ok(None),
            None => {
                let lines = [
                    (
                        "x-amz-grant-full-control",
                        headers.full_control,
                        Permission::FullControl,
                    ),
                    ("x-amz-grant-read", headers.read, Permission::Read),
                    ("x-amz-grant-write", headers.write, Permission::Write),
                    (
                        "x-amz-grant-read-acp",
                        headers.read_acp,
                        Permission::ReadAcp,
                    ),
                    (
                        "x-amz-grant-write-acp",
                        headers.write_acp,
                        Permission::WriteAcp,
                    ),
                ];
                let mut grants = Vec::new();
                for (name, line, permission) in lines {
                    for grantee in line.into_iter().flat_map(|l| l.split(',')) {
                        grants.push(Grant {
                            grantee: header_grantee(name, grantee.trim())?,
                            permission,
                        });
                    }
                }
                Ok(Some(Acl {
                    owner: owner.to_owned(),
                    grants,
                }))
            }
        }
    }

    /// Whether it lets in nobody but these accounts.
    pub fn is_among(&self, accounts: &[&str]) -> bool {
        self.grants.iter().all(|grant| {
            matches!(&grant.grantee, Grantee::Account(account) if accounts.contains(&account.as_str()))
        })
    }

    fn canned(name: &str, owner: &str, bucket_owner: &str) -> Result<Acl, Fault> {
        let more: &[(Grantee, Permission)] = match name {
            "private" | "aws-exec-read" => &[],
            "public-read" => &[(Grantee::AllUsers, Permission::Read)],
            "public-read-write" => &[
                (Grantee::AllUsers, Permission::Read),
                (Grantee::AllUsers, Permission::Write),
            ],
            "authenticated-read" => &[(Grantee::AuthenticatedUsers, Permission::Read)],
            "bucket-owner-read" => &[(Grantee::Account(bucket_owner.to_owned()), Permission::Read)],
            "bucket-owner-full-control" => &[(
                Grantee::Account(bucket_owner.to_owned()),
                Permission::FullControl,
            )],
            "log-delivery-write" => &[
                (Grantee::LogDelivery, Permission::Write),
                (Grantee::LogDelivery, Permission::ReadAcp),
            ],
            other => return Err(fault::invalid_argument("", "x-amz-acl", other)),
        };
        let mut acl = Acl::private(owner);
        for (grantee, permission) in more {
            // The bucket's owner gains nothing over its own object.
            if *grantee != Grantee::Account(owner.to_owned()) {
                acl.grants.push(Grant {
                    grantee: grantee.clone(),
                    permission: *permission,
                });
            }
        }
        Ok(acl)
    }

    /// Reads the document of PutBucketAcl and PutObjectAcl; the owner cannot be changed by it.
    pub fn read(document: &api::AccessControlPolicy, owner: &str) -> Result<Acl, Fault> {
        let named = document.owner.as_ref().and_then(|o| o.id.as_deref());
        let named = user("CanonicalUser/ID", named.ok_or_else(malformed)?);
        let mut grants = Vec::new();
        for grant in document.grants.iter().flatten() {
            let grantee = grant.grantee.as_ref().ok_or_else(malformed)?;
            let permission = grant
                .permission
                .as_deref()
                .and_then(Permission::parse)
                .ok_or_else(malformed)?;
            let grantee = match (grantee.r#type.as_deref().unwrap_or_default(), grantee) {
                ("Group", api::Grantee { uri: Some(uri), .. }) => group("Group/URI", uri),
                ("CanonicalUser", api::Grantee { id: Some(id), .. }) => {
                    user("CanonicalUser/ID", id)
                }
                (
                    "AmazonCustomerByEmail",
                    api::Grantee {
                        email_address: Some(email),
                        ..
                    },
                ) => Err(unresolvable(email)),
                _ => Err(malformed()),
            };
            grants.push((grantee, permission));
        }
        if grants.len() > 100 {
            return Err(malformed());
        }
        if named? != Grantee::Account(owner.to_owned()) {
            return Err(fault::access_denied());
        }
        let grants = grants.into_iter().map(|(grantee, permission)| {
            Ok(Grant {
                grantee: grantee?,
                permission,
            })
        });
        Ok(Acl {
            owner: owner.to_owned(),
            grants: grants.collect::<Result<_, Fault>>()?,
        })
    }

    /// Whether the list grants that to a caller; `None` is nobody in particular.
    pub fn allows(
        &self,
        caller: Option<&str>,
        permission: Permission,
        ignore_public: bool,
    ) -> bool {
        self.grants.iter().any(|grant| {
            let is_granted =
                grant.permission == permission || grant.permission == Permission::FullControl;
            is_granted
                && match &grant.grantee {
                    Grantee::Account(account) => caller == Some(account),
                    Grantee::AllUsers => !ignore_public,
                    Grantee::AuthenticatedUsers => !ignore_public && caller.is_some(),
                    Grantee::LogDelivery => false,
                }
        })
    }
    /// Whether it grants anything to everyone.
    pub fn is_public(&self) -> bool {
        self.grants
            .iter()
            .any(|g| matches!(g.grantee, Grantee::AllUsers | Grantee::AuthenticatedUsers))
    }
    /// The grants as the API shows them; `display_name` gives an account's name, where it is shown.
    pub fn shown(&self, display_name: impl Fn(&str) -> Option<String>) -> Vec<api::Grant> {
        let grants = self.grants.iter().map(|grant| {
            let group = |uri: &str| api::Grantee {
                r#type: Some("Group".into()),
                uri: Some(uri.into()),
                ..Default::default()
            };
            let grantee = match &grant.grantee {
                Grantee::Account(account) => api::Grantee {
                    r#type: Some("CanonicalUser".into()),
                    id: Some(account::canonical_id(account)),
                    display_name: display_name(account),
                    ..Default::default()
                },
                Grantee::AllUsers => group(ALL_USERS),
                Grantee::AuthenticatedUsers => group(AUTHENTICATED_USERS),
                Grantee::LogDelivery => group(LOG_DELIVERY),
            };
            api::Grant {
                grantee: Some(grantee),
                permission: Some(grant.permission.name().to_owned()),
            }
        });
        let mut shown: Vec<api::Grant> = grants.collect();
        let is_named =
            |g: &api::Grant| g.grantee.as_ref().is_some_and(|g| g.display_name.is_some());
        if shown.iter().any(is_named) {
            // Clients of that time expect groups first.
            shown.sort_by_key(is_named);
        }
        shown
    }
}

/// What is wrong with a document that is no list.
pub(crate) fn malformed() -> Fault {
    Fault::sender(
        400,
        "MalformedACLError",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}

/// A group; `argument` is what an error calls the place that names it.
fn group(argument: &str, uri: &str) -> Result<Grantee, Fault> {
    match uri {
        ALL_USERS => Ok(Grantee::AllUsers),
        AUTHENTICATED_USERS => Ok(Grantee::AuthenticatedUsers),
        LOG_DELIVERY => Ok(Grantee::LogDelivery),
        other => Err(fault::invalid_argument(
            "Invalid group uri",
            argument,
            other,
        )),
    }
}

/// An account, by its canonical id.
fn user(argument: &str, id: &str) -> Result<Grantee, Fault> {
    match account::account_of(id) {
        Some(account) => Ok(Grantee::Account(account)),
        None => Err(fault::invalid_argument("Invalid id", argument, id)),
    }
}

fn unresolvable(email: &str) -> Fault {
    Fault::sender(
        400,
        "UnresolvableGrantByEmailAddress",
        "The e-mail address you provided does not match any account on record.",
    )
    .field("EmailAddress", email)
}

/// `id="…"`, `uri="…"` or `emailAddress="…"`, as a header of that name has it.
fn header_grantee(header: &str, text: &str) -> Result<Grantee, Fault> {
    let unknown = || fault::invalid_argument("Argument format not recognized", header, text);
    let (kind, value) = text.split_once('=').ok_or_else(unknown)?;
    let value = value.trim().trim_matches('"');
    match kind.trim() {
        "id" => user("id", value),
        "uri" => group("uri", value),
        "emailAddress" => Err(unresolvable(value)),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canned_list_grants_what_its_name_says() {
        let acl = Acl::canned("public-read", "000000000001", "000000000001").expect("a list");
        assert!(acl.allows(None, Permission::Read, false));
        assert!(!acl.allows(None, Permission::Read, true));
        assert!(!acl.allows(None, Permission::Write, false));
        assert!(acl.allows(Some("000000000001"), Permission::WriteAcp, true));
        let acl =
            Acl::canned("authenticated-read", "000000000001", "000000000001").expect("a list");
        assert!(!acl.allows(None, Permission::Read, false));
        assert!(acl.allows(Some("000000000002"), Permission::Read, false));
    }

    #[test]
    fn a_grant_to_an_id_that_nobody_has_is_refused() {
        let headers = GrantHeaders {
            read: Some("id=\"nobody\""),
            ..Default::default()
        };
        assert!(Acl::requested(None, &headers, "1", "1").is_err());
        let id = format!("id=\"{}\"", account::canonical_id("000000000002"));
        let headers = GrantHeaders {
            read: Some(&id),
            ..Default::default()
        };
        let acl = Acl::requested(None, &headers, "000000000001", "000000000001")
            .expect("a list")
            .expect("a list");
        assert!(acl.allows(Some("000000000002"), Permission::Read, true));
    }
}
