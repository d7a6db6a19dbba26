//! Buckets: their record, and the live view of it that every request reads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use auth::policy::{Policy, PolicyKind};
use cloud::Context;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Store, Table, Tx};
use wire::{Fault, Timestamp};

use crate::acl::Acl;
use crate::api;
use crate::configuration::{self, Document};
use crate::fault;
use crate::location;
use crate::namespace;
use crate::policy;
use crate::tagging;

/// What S3 keeps of old versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// Never enabled: a write replaces.
    #[default]
    Unversioned,
    /// A write adds a version.
    Enabled,
    /// A write replaces the null version.
    Suspended,
}

/// Who owns objects and whether access control lists count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    /// Lists do not count; the bucket's owner owns all.
    BucketOwnerEnforced,
    /// The bucket's owner owns what was written with `bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// Who writes an object owns it.
    ObjectWriter,
}

impl Ownership {
    /// By AWS's name.
    pub fn parse(name: &str) -> Result<Ownership, Fault> {
        match name {
            "BucketOwnerEnforced" => Ok(Ownership::BucketOwnerEnforced),
            "BucketOwnerPreferred" => Ok(Ownership::BucketOwnerPreferred),
            "ObjectWriter" => Ok(Ownership::ObjectWriter),
            other => Err(Fault::sender(
                400,
                "InvalidArgument",
                format!("Invalid x-amz-object-ownership header: {other}"),
            )
            .field("ArgumentName", "x-amz-object-ownership")),
        }
    }
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Ownership::BucketOwnerEnforced => "BucketOwnerEnforced",
            Ownership::BucketOwnerPreferred => "BucketOwnerPreferred",
            Ownership::ObjectWriter => "ObjectWriter",
        }
    }
}

/// What is public is not, where these say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicAccessBlock {
    /// New public lists are refused.
    pub block_public_acls: bool,
    /// Public grants do not count.
    pub ignore_public_acls: bool,
    /// New public policies are refused.
    pub block_public_policy: bool,
    /// A public policy lets only the owner's account in.
    pub restrict_public_buckets: bool,
}

/// A bucket as it is kept, under its account and name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BucketRecord {
    /// Milliseconds since 1970.
    pub created: i64,
    /// Its region.
    pub region: String,
    /// What is kept of old versions.
    #[serde(default)]
    pub versioning: Versioning,
    /// Whether objects can be locked.
    #[serde(default)]
    pub object_lock: bool,
    /// Object ownership; absent where it was deleted.
    #[serde(default)]
    pub ownership: Option<Ownership>,
    /// Who may do what.
    pub acl: Acl,
    /// The policy's text.
    #[serde(default)]
    pub policy: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<(String, String)>,
    /// What is never public.
    #[serde(default)]
    pub public_access_block: Option<PublicAccessBlock>,
    /// The other configurations, each as S3's own XML, by sub-resource and id.
    #[serde(default)]
    pub documents: BTreeMap<String, String>,
}
impl Record for BucketRecord {}

/// A bucket, its configurations read.
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The account that owns it.
    pub account: String,
    /// What is kept.
    pub record: BucketRecord,
    /// Its policy.
    pub policy: Option<Policy>,
    /// Whether the policy lets everyone in.
    pub is_policy_public: bool,
    /// `cors`.
    pub cors: Option<api::CORSConfiguration>,
    /// `lifecycle`.
    pub lifecycle: Option<api::BucketLifecycleConfiguration>,
    /// `website`.
    pub website: Option<api::WebsiteConfiguration>,
    /// `notification`.
    pub notification: Option<api::NotificationConfiguration>,
    /// `replication`.
    pub replication: Option<api::ReplicationConfiguration>,
    /// `encryption`.
    pub encryption: Option<api::ServerSideEncryptionConfiguration>,
    /// `object-lock`.
    pub lock: Option<api::ObjectLockConfiguration>,
}

/// The ARN of a bucket in that region.
fn arn_of(region: &str, name: &str) -> String {
    format!("arn:{}:s3:::{name}", cloud::arn::partition(region))
}

impl Bucket {
    fn new(account: String, name: String, record: BucketRecord) -> Bucket {
        let parsed = record
            .policy
            .as_deref()
            .map(|text| Policy::parse(text, PolicyKind::Resource));
        let policy = parsed.and_then(|parsed| match parsed {
            Ok(policy) => Some(policy),
            Err(error) => {
                tracing::error!(bucket = name, %error, "a stored policy cannot be read");
                None
            }
        });
        let documents = &record.documents;
        fn read<T: Document>(documents: &BTreeMap<String, String>) -> Option<T> {
            configuration::decode(documents.get(T::NAME)?)
        }
        Bucket {
            is_policy_public: policy.as_ref().is_some_and(policy::is_public),
            cors: read(documents),
            lifecycle: read(documents),
            website: read(documents),
            notification: read(documents),
            replication: read(documents),
            encryption: read(documents),
            lock: read(documents),
            policy,
            account,
            name,
            record,
        }
    }
    /// Its ARN.
    pub fn arn(&self) -> String {
        arn_of(&self.record.region, &self.name)
    }
    /// Whether access control lists count.
    pub fn has_acls(&self) -> bool {
        self.record.ownership != Some(Ownership::BucketOwnerEnforced)
    }
    /// What is never public.
    pub fn public_access_block(&self) -> PublicAccessBlock {
        self.record.public_access_block.unwrap_or_default()
    }
    /// Whether old versions are or were kept.
    pub fn is_versioned(&self) -> bool {
        self.record.versioning != Versioning::Unversioned
    }
}

/// All buckets of the region, by name: what is kept, and the view of it in memory.
pub struct Buckets {
    store: Store,
    table: Table<(String, String), BucketRecord>,
    live: RwLock<HashMap<String, Arc<Bucket>>>,
    /// Held while a bucket appears or goes: a name belongs to one account only.
    naming: tokio::sync::Mutex<()>,
}

impl Buckets {
    /// Reads what is kept.
    pub fn open(store: &Store) -> Buckets {
        let buckets = Buckets {
            store: store.clone(),
            table: store.table("s3.buckets"),
            live: RwLock::default(),
            naming: tokio::sync::Mutex::new(()),
        };
        buckets.reload();
        buckets
    }
    /// Builds the live view anew.
    pub fn reload(&self) {
        let view = self.store.read();
        let mut live = HashMap::new();
        for row in view.range(&self.table, Range::all()) {
            match row {
                Ok(((account, name), record)) => {
                    live.insert(name.clone(), Arc::new(Bucket::new(account, name, record)));
                }
                Err(error) => tracing::error!(%error, "a bucket's record cannot be read"),
            }
        }
        *self.live.write() = live;
    }
    /// The bucket of that name.
    pub fn find(&self, name: &str) -> Option<Arc<Bucket>> {
        self.live.read().get(name).cloned()
    }
    /// The bucket of that name, whose owner must be `expected` where that is given.
    pub fn get(&self, name: &str, expected: Option<&str>) -> Result<Arc<Bucket>, Fault> {
        if let Some(owner) = expected.filter(|owner| !auth::account::is_account_id(owner)) {
            let message = format!(
                "The value of the expected bucket owner parameter must be an AWS Account ID... [{owner}]"
            );
            return Err(Fault::sender(
                400,
                "InvalidBucketOwnerAWSAccountID",
                message,
            ));
        }
        let bucket = self.find(name).ok_or_else(|| fault::no_such_bucket(name))?;
        if expected.is_some_and(|owner| owner != bucket.account) {
            return Err(fault::access_denied());
        }
        Ok(bucket)
    }
    /// An account's buckets by name.
    pub fn of_account(&self, account: &str) -> Vec<Arc<Bucket>> {
        let mut all: Vec<_> = self
            .live
            .read()
            .values()
            .filter(|b| b.account == account)
            .cloned()
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
    /// Fails where the bucket has gone meanwhile; asked within a transaction that writes into it.
    pub fn require(&self, tx: &Tx<'_>, bucket: &Bucket) -> Result<(), Fault> {
        if tx.contains(&self.table, &(&bucket.account, &bucket.name))? {
            return Ok(());
        }
        Err(fault::no_such_bucket(&bucket.name))
    }
    /// Changes a bucket's record, and whatever else `change` does in the same transaction.
    pub async fn change<R: Send>(
        &self,
        bucket: &Bucket,
        change: impl FnOnce(&mut BucketRecord, &mut Tx<'_>) -> Result<R, Fault> + Send,
    ) -> Result<R, Fault> {
        let key = (&bucket.account, &bucket.name);
        let scope = ["s3", &bucket.name];
        let (result, record) = self
            .store
            .transact(Scope::new(&scope), |tx| {
                let record = tx.get(&self.table, &key)?;
                let mut record = record.ok_or_else(|| fault::no_such_bucket(&bucket.name))?;
                let result = change(&mut record, tx)?;
                tx.put(&self.table, &key, &record)?;
                // Within the lock, so that the last change is also the last one shown.
                let shown =
                    Bucket::new(bucket.account.clone(), bucket.name.clone(), record.clone());
                self.live
                    .write()
                    .insert(bucket.name.clone(), Arc::new(shown));
                Ok::<_, Fault>((result, record))
            })
            .await
            .inspect_err(|_| self.refresh(&bucket.account, &bucket.name))?;
        drop(record);
        Ok(result)
    }
    /// Shows again what is kept, after a write that failed.
    fn refresh(&self, account: &str, name: &str) {
        let mut live = self.live.write();
        match self.store.read().get(&self.table, &(account, name)) {
            Ok(Some(record)) => {
                live.insert(
                    name.to_owned(),
                    Arc::new(Bucket::new(account.to_owned(), name.to_owned(), record)),
                );
            }
            Ok(None) if live.get(name).is_some_and(|b| b.account == account) => {
                live.remove(name);
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, name, "a bucket's record cannot be read"),
        }
    }
    /// Adds a bucket; fails with what `taken` makes of one that has the name.
    pub async fn create(
        &self,
        account: &str,
        name: &str,
        record: BucketRecord,
        taken: impl Fn(&Bucket) -> Fault + Send,
    ) -> Result<(), Fault> {
        let _naming = self.naming.lock().await;
        if let Some(other) = self.find(name) {
            return Err(taken(&other));
        }
        let scope = ["s3", name];
        self.store
            .transact(Scope::new(&scope), |tx| {
                tx.put(&self.table, &(account, name), &record)
            })
            .await?;
        let bucket = Bucket::new(account.to_owned(), name.to_owned(), record);
        self.live.write().insert(name.to_owned(), Arc::new(bucket));
        Ok(())
    }
    /// Removes a bucket, after `check` within the same transaction.
    pub async fn delete(
        &self,
        bucket: &Bucket,
        check: impl FnOnce(&mut Tx<'_>) -> Result<(), Fault> + Send,
    ) -> Result<(), Fault> {
        let _naming = self.naming.lock().await;
        let scope = ["s3", &bucket.name];
        self.store
            .transact(Scope::new(&scope), |tx| {
                self.require(tx, bucket)?;
                check(tx)?;
                tx.delete(&self.table, &(&bucket.account, &bucket.name));
                Ok::<_, Fault>(())
            })
            .await?;
        self.live.write().remove(&bucket.name);
        Ok(())
    }
}

/// How names of general purpose buckets must not begin and end
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Whether a name may be a bucket's.
pub fn is_valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let is_address =
        || name.split('.').count() == 4 && name.split('.').all(|p| p.parse::<u8>().is_ok());
    (3..=63).contains(&name.len())
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(allowed)
        && !name.contains("..")
        && !name.contains(".-")
        && !name.contains("-.")
        && !RESERVED_PREFIXES.iter().any(|p| name.starts_with(p))
        && !RESERVED_SUFFIXES.iter().any(|s| name.ends_with(s))
        && !is_address()
}

impl crate::S3 {
    /// `CreateBucket`
    pub(crate) async fn create(
        &self,
        ctx: &Context,
        input: api::CreateBucketInput,
    ) -> Result<api::CreateBucketOutput, Fault> {
        self.require_signed(ctx)?;
        let name = input.bucket.as_str();
        if !is_valid_name(name) {
            return Err(Fault::sender(
                400,
                "InvalidBucketName",
                "The specified bucket is not valid.",
            )
            .field("BucketName", name));
        }
        let configuration = input.create_bucket_configuration.unwrap_or_default();
        let asked = configuration.location_constraint.as_deref();
        let region = location::chosen(asked, &ctx.region)?;
        let namespace = input.bucket_namespace.as_deref();
        namespace::check(name, namespace, &ctx.account, &region)?;
        let ownership = match input.object_ownership.as_deref() {
            Some(name) => Some(Ownership::parse(name)?),
            None => self.default_ownership(),
        };
        let grants = crate::acl::GrantHeaders {
            full_control: input.grant_full_control.as_deref(),
            read: input.grant_read.as_deref(),
            write: input.grant_write.as_deref(),
            read_acp: input.grant_read_acp.as_deref(),
            write_acp: input.grant_write_acp.as_deref(),
        };
        let acl = Acl::requested(input.acl.as_deref(), &grants, &ctx.account, &ctx.account)?;
        if let Some(acl) = &acl
            && ownership == Some(Ownership::BucketOwnerEnforced)
            && *acl != Acl::private(&ctx.account)
        {
            return Err(Fault::sender(
                400,
                "InvalidBucketAclWithObjectOwnership",
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            ));
        }
        let object_lock = input.object_lock_enabled_for_bucket.unwrap_or(false);
        let mut documents = BTreeMap::new();
        if let Some("EU") = asked {
            documents.insert(location::ALIAS.to_owned(), "EU".to_owned());
        }
        if object_lock {
            let enabled = api::ObjectLockConfiguration {
                object_lock_enabled: Some("Enabled".into()),
                rule: None,
            };
            documents.insert("object-lock".to_owned(), configuration::encode(&enabled));
        }
        let tags = configuration
            .tags
            .map(|set| tagging::bucket_tags(Some(set), tagging::Tagged::NewBucket))
            .transpose()?
            .unwrap_or_default();
        let is_tagged = !tags.is_empty();
        // New buckets block what is public since 2023, as their lists do not count.
        let is_closed = self.default_ownership() == Some(Ownership::BucketOwnerEnforced);
        let all = PublicAccessBlock {
            block_public_acls: true,
            ignore_public_acls: true,
            block_public_policy: true,
            restrict_public_buckets: true,
        };
        let record = BucketRecord {
            created: ctx.time.0,
            region: region.clone(),
            versioning: if object_lock {
                Versioning::Enabled
            } else {
                Versioning::Unversioned
            },
            object_lock,
            ownership,
            acl: acl.clone().unwrap_or_else(|| Acl::private(&ctx.account)),
            policy: None,
            tags,
            public_access_block: is_closed.then_some(all),
            documents,
        };
        let location = if region == "us-east-1" {
            format!("/{name}")
        } else {
            format!("http://{name}.s3.amazonaws.com/")
        };
        let output = api::CreateBucketOutput {
            location: Some(location),
            bucket_arn: Some(arn_of(&region, name)),
        };
        let taken = |other: &Bucket| {
            if other.account == ctx.account {
                Fault::sender(
                    409,
                    "BucketAlreadyOwnedByYou",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                )
                .field("BucketName", name)
            } else {
                Fault::sender(
                    409,
                    "BucketAlreadyExists",
                    "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
                )
                .field("BucketName", name)
            }
        };
        match self.buckets.create(&ctx.account, name, record, taken).await {
            // The oldest region answers a repeated creation with success, and resets the list.
            Err(fault)
                if fault.is("BucketAlreadyOwnedByYou")
                    && !is_tagged
                    && ctx.region == "us-east-1"
                    && region == "us-east-1" =>
            {
                let bucket = self.buckets.get(name, None)?;
                if bucket.record.region != "us-east-1" {
                    return Err(fault);
                }
                let renewed = acl.unwrap_or_else(|| Acl::private(&ctx.account));
                if bucket.has_acls() && bucket.record.acl != renewed {
                    self.buckets
                        .change(&bucket, |record, _| {
                            record.acl = renewed;
                            Ok(())
                        })
                        .await?;
                }
                Ok(output)
            }
            Err(fault) => Err(fault),
            Ok(()) => Ok(output),
        }
    }

    /// `DeleteBucket`
    pub(crate) async fn remove(
        &self,
        ctx: &Context,
        input: api::DeleteBucketInput,
    ) -> Result<(), Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:DeleteBucket")?;
        self.buckets
            .delete(&bucket, |tx| {
                if self.objects.is_empty(tx, &bucket)? {
                    return self.uploads.drop_all(tx, &bucket);
                }
                let message = if bucket.is_versioned() {
                    "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
                } else {
                    "The bucket you tried to delete is not empty"
                };
                Err(Fault::sender(409, "BucketNotEmpty", message).field("BucketName", bucket.name.as_str()))
            })
            .await
    }

    /// `HeadBucket`
    pub(crate) async fn head(
        &self,
        ctx: &Context,
        input: api::HeadBucketInput,
    ) -> Result<api::HeadBucketOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_acl(ctx, &bucket, "s3:ListBucket", crate::acl::Permission::Read)?;
        Ok(api::HeadBucketOutput {
            bucket_arn: Some(bucket.arn()),
            bucket_region: Some(bucket.record.region.clone()),
            access_point_alias: Some(false),
            ..Default::default()
        })
    }

    /// `ListBuckets`
    pub(crate) async fn list(
        &self,
        ctx: &Context,
        input: api::ListBucketsInput,
    ) -> Result<api::ListBucketsOutput, Fault> {
        self.require_signed(ctx)?;
        let limit = match input.max_buckets {
            None => 10_000,
            Some(n @ 1..=10_000) => n as usize,
            Some(n) => {
                return Err(fault::invalid_argument(
                    "Argument max-buckets must be an integer between 1 and 10000.",
                    "max-buckets",
                    n.to_string(),
                ));
            }
        };
        let after = match input
            .continuation_token
            .as_deref()
            .filter(|t| !t.is_empty())
        {
            None => None,
            Some(token) => {
                match cloud::paging::place("ListBuckets", token).and_then(|mut p| p.pop()) {
                    Some(name) => Some(name),
                    None => {
                        return Err(fault::invalid_argument(
                            "The continuation token provided is incorrect",
                            "continuation-token",
                            token,
                        ));
                    }
                }
            }
        };
        if let Some(region) = &input.bucket_region
            && !location::is_region(region)
        {
            let message = format!("Argument value {region} is not a valid AWS Region");
            return Err(Fault::sender(400, "InvalidArgument", message)
                .field("ArgumentName", "bucket-region"));
        }
        let is_wanted = |bucket: &&Arc<Bucket>| {
            after.as_ref().is_none_or(|after| bucket.name > *after)
                && input
                    .prefix
                    .as_ref()
                    .is_none_or(|p| bucket.name.starts_with(p.as_str()))
                && input
                    .bucket_region
                    .as_ref()
                    .is_none_or(|r| bucket.record.region == *r)
        };
        let all = self.buckets.of_account(&ctx.account);
        let wanted: Vec<_> = all.iter().filter(is_wanted).take(limit + 1).collect();
        let next = (wanted.len() > limit)
            .then(|| wanted.get(limit - 1))
            .flatten();
        let with_region = input.max_buckets.is_some()
            || input.prefix.is_some()
            || input.bucket_region.is_some()
            || input.continuation_token.is_some();
        let shown = wanted.iter().take(limit).map(|b| api::Bucket {
            name: Some(b.name.clone()),
            creation_date: Some(Timestamp(b.record.created).whole_second()),
            bucket_region: with_region.then(|| b.record.region.clone()),
            bucket_arn: Some(b.arn()),
        });
        Ok(api::ListBucketsOutput {
            buckets: Some(shown.collect()),
            owner: Some(self.owner(&ctx.account)),
            continuation_token: next.map(|b| cloud::paging::token("ListBuckets", &[&b.name])),
            prefix: input.prefix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::is_valid_name;

    #[test]
    fn names_follow_the_rules_of_dns() {
        for good in ["abc", "a.b-c", "1ab", &"a".repeat(63)] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in [
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            "a..b",
            "a.-b",
            "192.168.5.123",
            "",
            &"a".repeat(64),
        ] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
