//! Few questions that one service answers for others. Each has one owner, which registers itself.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use wire::{Bytes, Fault, Timestamp};

use crate::{Arn, Principal};

/// Temporary credentials.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `ASIA…`
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
    /// The session token.
    pub session_token: String,
    /// When they end.
    pub expiration: Timestamp,
}

/// Who an access key is. Owned by `sts` (sessions) and `iam` (users' keys).
#[derive(Clone, Debug)]
pub struct Identity {
    /// The account.
    pub account: String,
    /// The caller.
    pub principal: Principal,
    /// The secret that its requests are signed with.
    pub secret_key: String,
    /// The session token that must come along.
    pub session_token: Option<String>,
    /// When it ends.
    pub expiration: Option<Timestamp>,
}

/// Users' access keys, and sessions.
pub trait Identities: Send + Sync {
    /// Who that key is; `None` for a key nobody made here.
    fn identity(&self, access_key: &str) -> Option<Identity>;
    /// Told of each request that is signed with a key of these: by whom, for which service, and in which region.
    fn used(&self, identity: &Identity, service: &str, region: &str) {
        let _ = (identity, service, region);
    }
}

/// A role, as far as others need to know it.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// The account it is of.
    pub account: String,
    /// Its name.
    pub name: String,
    /// `AROA…`
    pub id: String,
    /// Its ARN, with its path.
    pub arn: String,
    /// Its trust policy.
    pub trust: String,
    /// The longest session, seconds.
    pub max_session: i64,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
}

/// An identity provider that an account trusts.
#[derive(Clone, Debug, Default)]
pub struct IdentityProvider {
    /// Its ARN.
    pub arn: String,
    /// The audiences that tokens may be for; a SAML provider has none.
    pub clients: Vec<String>,
}

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The account.
    pub account: String,
    /// Who the session is.
    pub principal: Principal,
    /// The role or user behind it.
    pub entity_arn: String,
    /// How long it lasts.
    pub seconds: i64,
    /// Session policies: documents.
    pub policies: Vec<String>,
    /// Session policies: ARNs of managed ones.
    pub policy_arns: Vec<String>,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// Keys of those tags that go on to the next session in a chain.
    pub transitive: Vec<String>,
    /// Who began the chain.
    pub source_identity: Option<String>,
    /// When a code of an MFA device was given for it.
    pub mfa_at: Option<Timestamp>,
}

/// Where sessions are opened. Owned by `sts`.
pub trait Sessions: Send + Sync {
    /// Opens a session and answers its credentials once they are durable.
    fn open(&self, session: NewSession) -> BoxFuture<'_, Result<Credentials, Fault>>;
}

/// Why a code of an MFA device is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MfaProblem {
    /// The caller has no such device.
    NoDevice,
    /// The code is not the device's, of another time, or was used before.
    WrongCode,
}

/// MFA devices and their codes. Owned by `iam`.
pub trait MfaDevices: Send + Sync {
    /// Uses up a code of a device of that user; of anyone's for an account's root.
    fn verify<'a>(
        &'a self,
        account: &'a str,
        user: Option<&'a str>,
        serial: &'a str,
        code: &'a str,
    ) -> BoxFuture<'a, Result<Result<(), MfaProblem>, Fault>>;
}

/// Roles, for services that act as one.
pub trait Roles: Send + Sync {
    /// The role of that ARN.
    fn role(&self, role_arn: &str) -> Option<Role> {
        let _ = role_arn;
        None
    }
    /// The OpenID Connect or SAML provider of that ARN.
    fn provider(&self, arn: &str) -> Option<IdentityProvider> {
        let _ = arn;
        None
    }
    /// Whether a role exists and trusts that service.
    fn check(&self, role_arn: &str, service: &str) -> Result<(), RoleProblem>;
    /// Credentials of a new session of that role, for a service that runs something as it.
    fn assume<'a>(
        &'a self,
        role_arn: &'a str,
        session: &'a str,
        seconds: i64,
    ) -> BoxFuture<'a, Result<Credentials, Fault>>;
}

/// Why a role cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleProblem {
    /// There is none of that name.
    Missing,
    /// Its trust policy does not name the service.
    Untrusted,
}

/// Logs, for services that write some.
pub trait LogSink: Send + Sync {
    /// Appends events to a stream, making group and stream where they are missing.
    fn append<'a>(
        &'a self,
        account: &'a str,
        region: &'a str,
        group: &'a str,
        stream: &'a str,
        events: Vec<(Timestamp, String)>,
    ) -> BoxFuture<'a, Result<(), Fault>>;
}

/// What is put as an object.
#[derive(Clone, Debug, Default)]
pub struct Content<'a> {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its `Content-Type`, unless it is S3's own default.
    pub media_type: Option<&'a str>,
    /// Its `Content-Encoding`.
    pub encoding: Option<&'a str>,
    /// Its storage class, unless it is S3's own default.
    pub storage_class: Option<&'a str>,
}

impl<B: Into<Bytes>> From<B> for Content<'_> {
    fn from(bytes: B) -> Self {
        Content {
            bytes: bytes.into(),
            ..Content::default()
        }
    }
}

/// Objects in buckets, for services that keep code or exports there.
pub trait Objects: Send + Sync {
    /// An object's bytes, at most `limit` of them; S3's own errors.
    fn get<'a>(
        &'a self,
        account: &'a str,
        bucket: &'a str,
        key: &'a str,
        version: Option<&'a str>,
        limit: u64,
    ) -> BoxFuture<'a, Result<Bytes, Fault>>;
    /// Some keys that begin so, in their order, behind `after`; none where there are no more.
    fn list<'a>(
        &'a self,
        account: &'a str,
        bucket: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<String>, Fault>>;
    /// Puts an object as that service would.
    fn put<'a>(
        &'a self,
        account: &'a str,
        bucket: &'a str,
        key: &'a str,
        content: Content<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>>;
}

/// What a poller needs to know of a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueFacts {
    /// Whether it is first-in-first-out.
    pub is_fifo: bool,
    /// Seconds for which a received message is not given to others.
    pub visibility: i64,
}

/// A message that a poller received.
#[derive(Clone, Debug)]
pub struct QueueMessage {
    /// Its id.
    pub id: String,
    /// What it is deleted by.
    pub handle: String,
    /// Its group.
    pub group: Option<String>,
    /// Bytes of its body and attributes.
    pub size: usize,
    /// The message, as the record of an event.
    pub record: serde_json::Value,
}

/// Queues, for services that receive from them: event source mappings and pipes. Owned by `sqs`.
pub trait Queues: Send + Sync {
    /// Whether the queue exists, and what it is like.
    fn queue(&self, queue: &Arn) -> Result<QueueFacts, Fault>;
    /// Receives messages; `wait` is how many milliseconds for the first, `None` as long as it takes, which costs nothing meanwhile.
    fn receive<'a>(
        &'a self,
        queue: &'a Arn,
        most: usize,
        wait: Option<i64>,
    ) -> BoxFuture<'a, Result<Vec<QueueMessage>, Fault>>;
    /// Deletes received messages.
    fn delete<'a>(
        &'a self,
        queue: &'a Arn,
        handles: &'a [String],
    ) -> BoxFuture<'a, Result<(), Fault>>;
    /// Makes received messages visible to others after so many seconds.
    fn delay<'a>(
        &'a self,
        queue: &'a Arn,
        handles: &'a [String],
        seconds: i64,
    ) -> BoxFuture<'a, Result<(), Fault>>;
}

/// What a function answered.
#[derive(Clone, Debug)]
pub struct FunctionAnswer {
    /// The answer, or the error.
    pub payload: Bytes,
    /// Whether it is an error of the function.
    pub has_failed: bool,
    /// The version that ran.
    pub version: String,
}

/// Functions, for services that need their answer: delivery streams, pipes. Owned by `lambda`. Who needs none delivers
/// through [`Targets`](crate::Targets).
pub trait Functions: Send + Sync {
    /// Invokes a function and waits for its answer. A throttled call is a fault of status 429.
    fn invoke<'a>(
        &'a self,
        function: &'a str,
        payload: Bytes,
        source: &'a crate::Source,
    ) -> BoxFuture<'a, Result<FunctionAnswer, Fault>>;
}

/// A stream of a table's changes, as its owner describes it.
#[derive(Clone, Debug, Default)]
pub struct TableStream {
    /// Its ARN.
    pub arn: String,
    /// Its label, the last part of the ARN.
    pub label: String,
    /// The table's name.
    pub table: String,
    /// `NEW_IMAGE` and the like.
    pub view: String,
    /// When it was enabled.
    pub created: Timestamp,
    /// Whether records still come.
    pub is_open: bool,
    /// The table's key: names and `HASH` or `RANGE`.
    pub keys: Vec<(String, String)>,
    /// Its shards.
    pub shards: Vec<TableStreamShard>,
}

/// A shard of a table's stream.
#[derive(Clone, Debug, Default)]
pub struct TableStreamShard {
    /// Its id.
    pub id: String,
    /// The sequence number of its first record.
    pub first: String,
    /// The sequence number of its last record, once no more will come.
    pub last: Option<String>,
}

/// Records of a table's stream.
#[derive(Clone, Debug, Default)]
pub struct TableStreamRecords {
    /// The records, as `GetRecords` answers them.
    pub records: Vec<serde_json::Value>,
    /// The position behind them.
    pub next: u64,
    /// Whether nothing comes after them, ever.
    pub is_end: bool,
}

/// Where to begin in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableStreamStart<'a> {
    /// With the oldest record there is.
    Oldest,
    /// With the next record to come.
    Newest,
    /// With the record of that sequence number.
    At(&'a str),
    /// Behind the record of that sequence number.
    After(&'a str),
}

/// Streams of tables' changes, for who answers or consumes them. Owned by `dynamodb`.
pub trait TableStreams: Send + Sync {
    /// An account's streams in a region, by table and label; of one table, if `table` names it.
    fn list(
        &self,
        account: &str,
        region: &str,
        table: Option<&str>,
    ) -> Result<Vec<TableStream>, Fault>;
    /// The stream of that ARN.
    fn find(&self, arn: &str) -> Result<Option<TableStream>, Fault>;
    /// The position of a place in a shard; AWS's errors where it is gone or was never there.
    fn position(&self, arn: &str, shard: &str, start: TableStreamStart<'_>) -> Result<u64, Fault>;
    /// At most `limit` records from a position on.
    fn read(
        &self,
        arn: &str,
        shard: &str,
        from: u64,
        limit: usize,
    ) -> Result<TableStreamRecords, Fault>;
    /// Notified after each commit that appended a record. Ask for it before reading: what comes in between is not
    /// missed. It costs writers nothing while nobody asks.
    fn changed(&self, arn: &str) -> Option<Arc<tokio::sync::Notify>>;
}

/// A shard of a data stream, for who consumes it.
#[derive(Clone, Debug, Default)]
pub struct DataShard {
    /// Its id.
    pub id: String,
    /// The shards that it was split or merged from, as far as they are still there: read them first.
    pub parents: Vec<String>,
    /// Whether it takes no more records.
    pub is_closed: bool,
}

/// A record of a data stream.
#[derive(Clone, Debug, Default)]
pub struct DataRecord {
    /// Its sequence number.
    pub sequence_number: String,
    /// Its key, where it has one.
    pub partition_key: Option<String>,
    /// Its content.
    pub data: Bytes,
    /// When it arrived.
    pub arrived: Timestamp,
}

/// Records of a shard.
#[derive(Clone, Debug, Default)]
pub struct DataRecords {
    /// The records.
    pub records: Vec<DataRecord>,
    /// The position behind them.
    pub next: u64,
    /// Whether nothing comes after them, ever.
    pub is_end: bool,
}

/// Where to begin in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataStart<'a> {
    /// With the oldest record there is.
    Oldest,
    /// With the next record to come.
    Newest,
    /// With the first record since then.
    Since(Timestamp),
    /// Behind the record of that sequence number.
    After(&'a str),
}

/// Data streams, for who consumes them. Owned by `kinesis`.
pub trait DataStreams: Send + Sync {
    /// The shards of a stream, or of a consumer's stream: parents before their children.
    fn shards(&self, stream: &Arn) -> Result<Vec<DataShard>, Fault>;
    /// The position of a place in a shard; AWS's errors where it was never there.
    fn position(&self, stream: &Arn, shard: &str, start: DataStart<'_>) -> Result<u64, Fault>;
    /// At most `limit` records from a position on.
    fn read(
        &self,
        stream: &Arn,
        shard: &str,
        from: u64,
        limit: usize,
    ) -> Result<DataRecords, Fault>;
    /// Notified after each commit that appended to the shard or closed it. Ask for it before reading: what comes in
    /// between is not missed.
    fn changed(&self, stream: &Arn, shard: &str) -> Result<Arc<tokio::sync::Notify>, Fault>;
}

/// A column of a table in a data catalog.
#[derive(Clone, Debug, Default)]
pub struct CatalogColumn {
    /// Its name.
    pub name: String,
    /// Its type, as Hive writes types.
    pub kind: String,
}

/// Tables of a data catalog, for services that shape data by one. Owned by `glue`.
pub trait Catalogs: Send + Sync {
    /// A table's columns, without those that partition it; of its newest version where none is named. AWS's errors
    /// where there is no such database, table or version.
    fn columns(
        &self,
        account: &str,
        region: &str,
        database: &str,
        table: &str,
        version: Option<&str>,
    ) -> Result<Vec<CatalogColumn>, Fault>;
}

/// The owners. Set once while the region is built; a question without an owner answers `None`.
#[derive(Clone, Default)]
pub struct Ports(Arc<Owners>);

#[derive(Default)]
struct Owners {
    users: OnceLock<Arc<dyn Identities>>,
    sessions: OnceLock<Arc<dyn Identities>>,
    opener: OnceLock<Arc<dyn Sessions>>,
    roles: OnceLock<Arc<dyn Roles>>,
    mfa_devices: OnceLock<Arc<dyn MfaDevices>>,
    logs: OnceLock<Arc<dyn LogSink>>,
    objects: OnceLock<Arc<dyn Objects>>,
    queues: OnceLock<Arc<dyn Queues>>,
    functions: OnceLock<Arc<dyn Functions>>,
    table_streams: OnceLock<Arc<dyn TableStreams>>,
    data_streams: OnceLock<Arc<dyn DataStreams>>,
    catalogs: OnceLock<Arc<dyn Catalogs>>,
}

macro_rules! owner {
    ($set:ident, $get:ident, $owner:ident: $what:ty, $doc:literal) => {
        #[doc = concat!("Names the owner of ", $doc, ".")]
        pub fn $set(&self, owner: Arc<$what>) {
            let _ = self.0.$owner.set(owner);
        }
        #[doc = concat!("The owner of ", $doc, ".")]
        pub fn $get(&self) -> Option<&Arc<$what>> {
            self.0.$owner.get()
        }
    };
}

impl Ports {
    owner!(set_users, users, users: dyn Identities, "users' access keys");
    owner!(set_sessions, sessions, sessions: dyn Identities, "sessions");
    owner!(set_opener, opener, opener: dyn Sessions, "the opening of sessions");
    owner!(set_roles, roles, roles: dyn Roles, "roles");
    owner!(set_mfa_devices, mfa_devices, mfa_devices: dyn MfaDevices, "MFA devices");
    owner!(set_logs, logs, logs: dyn LogSink, "logs");
    owner!(set_objects, objects, objects: dyn Objects, "objects");
    owner!(set_queues, queues, queues: dyn Queues, "queues");
    owner!(set_functions, functions, functions: dyn Functions, "functions");
    owner!(set_table_streams, table_streams, table_streams: dyn TableStreams, "streams of tables");
    owner!(set_data_streams, data_streams, data_streams: dyn DataStreams, "data streams");
    owner!(set_catalogs, catalogs, catalogs: dyn Catalogs, "data catalogs");

    /// Who an access key is, asked of every owner.
    pub fn identity(&self, access_key: &str) -> Option<Identity> {
        // Keys made here are as long as AWS's; made-up ones such as `test` need no look-up on each request.
        if access_key.len() < 16 {
            return None;
        }
        let owners = [self.sessions(), self.users()];
        owners
            .into_iter()
            .flatten()
            .find_map(|o| o.identity(access_key))
    }
}
