//! Uploads by browsers: `multipart/form-data` with a signed policy.

use auth::post_policy::{Form, FormSignature, PostError, PostPolicy};
use bytes::{Buf, Bytes, BytesMut};
use cloud::{Context, Principal};
use futures_util::StreamExt;
use http::request::Parts;
use wire::body::ByteStream;
use wire::protocol::Response;
use wire::{Body, BodyError, Fault, Timestamp};

use super::{bucket_and_key, denied, header};
use crate::checksum::{ALGORITHMS, Announced};
use crate::condition::WriteConditions;
use crate::content::{self, Plan};
use crate::properties::Requested;
use crate::put::New;
use crate::{S3, encryption, fault};

const CONTENT_TYPE: &str = "multipart/form-data";

/// All fields before the file together.
const MAX_FIELDS: usize = 64 * 1024;

/// Whether a request is a form's upload. What is sent to a bucket without saying what for can be nothing else.
pub fn is_form(request: &http::Request<Body>) -> bool {
    if *request.method() != http::Method::POST {
        return false;
    }
    let content = wire::header::text(request.headers(), "content-type").unwrap_or_default();
    let (bucket, key) = bucket_and_key(request.uri().path());
    let asks_nothing = || request.uri().query().unwrap_or_default().is_empty();
    !bucket.is_empty() && key.is_empty() && (content.starts_with(CONTENT_TYPE) || asks_nothing())
}

fn refused(error: &PostError) -> Fault {
    let message = error.to_string();
    match error {
        PostError::InvalidPolicyDocument(_) => Fault::sender(400, "InvalidPolicyDocument", message),
        PostError::Expired | PostError::ConditionFailed(_) | PostError::ExtraFields(_) => {
            denied(message)
        }
        PostError::TooSmall { proposed, minimum } => Fault::sender(400, "EntityTooSmall", message)
            .field("ProposedSize", proposed.to_string())
            .field("MinSizeAllowed", minimum.to_string()),
        PostError::TooLarge { proposed, maximum } => Fault::sender(400, "EntityTooLarge", message)
            .field("ProposedSize", proposed.to_string())
            .field("MaxSizeAllowed", maximum.to_string()),
        PostError::MissingField(name) => fault::invalid_argument(message, name, ""),
        PostError::Credential => fault::invalid_argument(message, "X-Amz-Credential", ""),
        PostError::Algorithm => fault::invalid_argument(message, "X-Amz-Algorithm", ""),
        PostError::SignatureMismatch => Fault::sender(403, "SignatureDoesNotMatch", message),
    }
}

fn malformed() -> Fault {
    Fault::sender(
        400,
        "MalformedPOSTRequest",
        "The body of your POST request is not well-formed multipart/form-data.",
    )
}

/// Reads a form's parts off its stream.
struct Reader {
    stream: ByteStream,
    buffer: BytesMut,
    /// `\r\n--boundary`
    boundary: Vec<u8>,
}

/// A field, or the file whose bytes follow.
enum FormPart {
    Field(String, Bytes),
    File {
        /// Without folders; absent where the part names no file.
        name: Option<String>,
        content_type: Option<String>,
    },
    End,
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

impl Reader {
    async fn fill(&mut self) -> Result<(), Fault> {
        match self.stream.next().await.transpose()? {
            Some(chunk) => self.buffer.extend_from_slice(&chunk),
            None => return Err(malformed()),
        }
        Ok(())
    }
    /// Everything up to `mark`, which is taken too.
    async fn until(&mut self, mark: &[u8]) -> Result<Bytes, Fault> {
        loop {
            if let Some(at) = position(&self.buffer, mark) {
                let found = self.buffer.split_to(at).freeze();
                self.buffer.advance(mark.len());
                return Ok(found);
            }
            if self.buffer.len() > MAX_FIELDS {
                return Err(Fault::sender(
                    400,
                    "MaxPostPreDataLengthExceeded",
                    "Your POST request fields preceding the upload file were too large.",
                ));
            }
            self.fill().await?;
        }
    }
    /// The next part; the reader stands behind a boundary.
    async fn part(&mut self) -> Result<FormPart, Fault> {
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"--") {
            return Ok(FormPart::End);
        }
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let lines: Vec<&str> = head.split("\r\n").collect();
        let line = |name: &str| {
            lines.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let disposition = line("content-disposition").ok_or_else(malformed)?;
        let parameter = |name: &str| {
            let start = disposition.find(&format!("{name}=\""))? + name.len() + 2;
            let rest = disposition.get(start..)?;
            rest.split('"').next().map(str::to_owned)
        };
        let name = parameter(" name").ok_or_else(malformed)?;
        if name.eq_ignore_ascii_case("file") {
            let file = parameter("filename").map(|file| {
                file.rsplit(['/', '\\'])
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            });
            return Ok(FormPart::File {
                name: file,
                content_type: line("content-type").map(str::to_owned),
            });
        }
        let boundary = self.boundary.clone();
        let value = self.until(&boundary).await?;
        Ok(FormPart::Field(name, value))
    }
    /// The file's bytes: everything up to the next boundary.
    fn file(self) -> impl futures_util::Stream<Item = Result<Bytes, BodyError>> + Send {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut reader = state?;
            loop {
                if let Some(at) = position(&reader.buffer, &reader.boundary) {
                    return Some((Ok(reader.buffer.split_to(at).freeze()), None));
                }
                // The end of what is here may be the beginning of the boundary.
                let sure = reader.buffer.len().saturating_sub(reader.boundary.len());
                if sure > 0 {
                    return Some((Ok(reader.buffer.split_to(sure).freeze()), Some(reader)));
                }
                match reader.stream.next().await {
                    Some(Ok(chunk)) => reader.buffer.extend_from_slice(&chunk),
                    Some(Err(error)) => return Some((Err(error), None)),
                    None => {
                        return Some((
                            Err(BodyError::Incomplete("the form has no end".into())),
                            None,
                        ));
                    }
                }
            }
        })
    }
}

/// Who uploads, by the form's signature.
fn uploader(s3: &S3, ctx: &Context, signature: &FormSignature<'_>) -> Result<Context, Fault> {
    let mut uploader = ctx.clone();
    let Some(key) = signature.access_key_id() else {
        uploader.principal = Principal::anonymous();
        return Ok(uploader);
    };
    match s3.cloud.ports.identity(key) {
        Some(identity) => {
            if let Err(error) = signature.verify(&identity.secret_key) {
                return Err(explained(&error, signature));
            }
            uploader.account = identity.account;
            uploader.principal = identity.principal;
        }
        None => {
            let account = auth::account::account_of_access_key(key);
            let is_made_up =
                account == auth::account::DEFAULT_ACCOUNT && !auth::account::is_account_id(key);
            uploader.account = if is_made_up {
                s3.cloud.config.account.clone()
            } else {
                account
            };
            uploader.principal =
                Principal::root(&uploader.account, &uploader.region, Some(key.to_owned()));
        }
    }
    Ok(uploader)
}

/// A signature's error, with what was signed and by whom.
fn explained(error: &PostError, signature: &FormSignature<'_>) -> Fault {
    let (key, given, policy) = match signature {
        FormSignature::Anonymous => return refused(error),
        FormSignature::V4 {
            credential,
            signature,
            policy,
        } => (credential.access_key_id, signature, policy),
        FormSignature::V2 {
            access_key_id,
            signature,
            policy,
        } => (*access_key_id, signature, policy),
    };
    refused(error)
        .field("AWSAccessKeyId", key)
        .field("StringToSign", *policy)
        .field("SignatureProvided", *given)
        .field("StringToSignBytes", auth::sigv4::spaced_hex(policy))
}

/// Takes an upload in.
pub async fn receive(
    s3: &S3,
    ctx: &Context,
    request: &Parts,
    body: Body,
) -> Result<Response, Fault> {
    let (bucket, _) = bucket_and_key(request.uri.path());
    let bucket = s3.buckets.get(&bucket, None)?;
    let content = header(request, "content-type").unwrap_or_default();
    if !content.starts_with(CONTENT_TYPE) {
        return Err(fault::precondition_failed(
            "Bucket POST must be of the enclosure-type multipart/form-data",
        ));
    }
    let boundary = content
        .split(';')
        .find_map(|p| p.trim().strip_prefix("boundary="))
        .map(|b| b.trim_matches('"'));
    let boundary = boundary
        .filter(|b| !b.is_empty() && b.len() <= 70)
        .ok_or_else(malformed)?;
    let mut reader = Reader {
        stream: body.into_stream(),
        buffer: BytesMut::new(),
        boundary: format!("\r\n--{boundary}").into_bytes(),
    };
    reader.until(format!("--{boundary}").as_bytes()).await?;
    let mut fields: Vec<(String, String)> = Vec::new();
    let (file_name, file_type) = loop {
        match reader.part().await? {
            FormPart::Field(name, value) => {
                let value = String::from_utf8(value.to_vec()).map_err(|_| malformed())?;
                let size: usize = fields.iter().map(|(k, v)| k.len() + v.len()).sum();
                if size + value.len() > MAX_FIELDS {
                    return Err(Fault::sender(
                        400,
                        "MaxPostPreDataLengthExceeded",
                        "Your POST request fields preceding the upload file were too large.",
                    ));
                }
                fields.push((name, value));
            }
            FormPart::File { name, content_type } => break (name, content_type),
            FormPart::End => {
                return Err(fault::invalid_argument(
                    "POST requires exactly one file upload per request.",
                    "file",
                    "0",
                ));
            }
        }
    };
    let form = Form(&fields);
    let key = form.get("key").ok_or_else(|| {
        fault::invalid_argument(
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
            "key",
            "",
        )
    })?;
    let key = match &file_name {
        Some(name) => key.replace("${filename}", name),
        None => key.to_owned(),
    };
    if key.is_empty() {
        return Err(fault::invalid_argument(
            "User key must have a length greater than 0.",
            "key",
            "",
        ));
    }
    let signature = FormSignature::of(form).map_err(|error| refused(&error))?;
    let ctx = uploader(s3, ctx, &signature)?;
    // A policy that nobody signed says nothing.
    let policy = form
        .get("policy")
        .filter(|_| signature != FormSignature::Anonymous);
    let policy = match policy {
        Some(text) => {
            let policy = PostPolicy::decode(text).map_err(|error| refused(&error))?;
            let mut covered = fields.clone();
            covered.retain(|(name, _)| !name.eq_ignore_ascii_case("bucket"));
            covered.push(("bucket".to_owned(), bucket.name.clone()));
            for (name, value) in &mut covered {
                if name.eq_ignore_ascii_case("key") {
                    value.clone_from(&key);
                }
            }
            let now = Timestamp(ctx.time.0.saturating_sub(s3.cloud.clock.offset())).date_time();
            policy
                .check(Form(&covered), now)
                .map_err(|error| refused(&error))?;
            Some(policy)
        }
        None => None,
    };
    let metadata = fields
        .iter()
        .filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.clone()))
        })
        .collect();
    let tagging = form.get("tagging").map(read_tagging).transpose()?;
    let asked = Requested {
        content_type: form.get("Content-Type").or(file_type.as_deref()),
        cache_control: form.get("Cache-Control"),
        content_disposition: form.get("Content-Disposition"),
        content_encoding: form.get("Content-Encoding"),
        content_language: form.get("Content-Language"),
        expires: form.get("Expires").and_then(Timestamp::parse),
        website_redirect: form.get("x-amz-website-redirect-location"),
        metadata: Some(&metadata),
        // A form's text is UTF-8, where a header's is Latin-1.
        metadata_is_text: true,
        storage_class: form.get("x-amz-storage-class"),
        tagging: tagging.as_deref(),
        acl: form.get("acl").or(form.get("x-amz-acl")),
        encryption: encryption::Requested {
            algorithm: form.get("x-amz-server-side-encryption"),
            kms_key: form.get("x-amz-server-side-encryption-aws-kms-key-id"),
            context: form.get("x-amz-server-side-encryption-context"),
            bucket_key: None,
        },
        customer: (
            form.get("x-amz-server-side-encryption-customer-algorithm"),
            form.get("x-amz-server-side-encryption-customer-key"),
            form.get("x-amz-server-side-encryption-customer-key-MD5"),
        ),
        ..Requested::default()
    };
    s3.permit_new(&ctx, &bucket, &key, &asked, |_| {})?;
    let mut properties = asked.read(&ctx, &bucket, &key)?;
    let sums: Vec<_> = ALGORITHMS
        .into_iter()
        .map(|a| (a, form.get(a.header())))
        .collect();
    let announced = Announced::read(&sums, form.get("x-amz-checksum-algorithm"))?;
    s3.seal(&bucket, &mut properties).await?;
    let limit = policy
        .as_ref()
        .and_then(PostPolicy::maximum_length)
        .unwrap_or(content::MAX_PUT)
        .min(content::MAX_PUT);
    let body = content::gather(Box::pin(reader.file()), limit)
        .await
        .map_err(|size| match size {
            content::Gathering::TooLarge(proposed) => refused(&PostError::TooLarge {
                proposed,
                maximum: limit,
            }),
            content::Gathering::Failed(error) => Fault::from_body(&error),
        })?;
    let plan = Plan {
        algorithm: announced.algorithm(),
        also: None,
        key: properties.key.as_ref(),
        inline: true,
    };
    let mut taken = content::take_any(s3.objects.store.blobs(), body, &plan, limit).await?;
    if let Some(policy) = &policy {
        policy
            .check_length(taken.size)
            .map_err(|error| refused(&error))?;
    }
    announced.check(&taken.checksum)?;
    let mut version = crate::object::Version::with(properties, s3.cloud.clock.now().0);
    version.checksum = Some(crate::checksum::Checksum {
        algorithm: announced.algorithm(),
        value: taken.checksum.clone(),
        full_object: true,
    });
    let bytes = version.fill(&mut taken);
    let new = New {
        version,
        bytes,
        event: "ObjectCreated:Post",
    };
    let version = s3
        .commit(&ctx, &bucket, &key, new, &WriteConditions::default())
        .await?;
    drop(taken);
    Ok(success(&ctx, &bucket.name, &key, &version, form))
}

/// `tagging` holds a document, where the header holds a query.
fn read_tagging(text: &str) -> Result<String, Fault> {
    use wire::Decode;
    let read = || {
        let document = wire::xml::parse(text.as_bytes())?;
        crate::api::Tagging::decode(
            &mut wire::xml::XmlReader::new(document.root_element()),
            &mut wire::Audit::default(),
        )
    };
    let tagging = read().map_err(|_| fault::malformed_xml())?;
    let pairs = tagging
        .tag_set
        .iter()
        .flatten()
        .map(|t| (t.key.as_str(), t.value.as_str()));
    Ok(form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish())
}

fn success(
    ctx: &Context,
    bucket: &str,
    key: &str,
    version: &crate::object::Version,
    form: Form<'_>,
) -> Response {
    let location = crate::listing::location(ctx, bucket, key);
    let etag = version.quoted_etag();
    let redirect = form.get("success_action_redirect").or(form.get("redirect"));
    let response = match redirect.and_then(|url| {
        url.parse::<http::Uri>()
            .ok()
            .filter(|u| u.host().is_some())
            .map(|_| url)
    }) {
        Some(url) => {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("bucket", bucket)
                .append_pair("key", key)
                .append_pair("etag", &etag)
                .finish();
            let separator = if url.contains('?') { '&' } else { '?' };
            Response {
                status: 303,
                headers: vec![("Location".into(), format!("{url}{separator}{query}"))],
                body: Body::Empty,
            }
        }
        None => match form.get("success_action_status") {
            Some("201") => {
                let mut text =
                    String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>");
                for (name, value) in [
                    ("Location", location.as_str()),
                    ("Bucket", bucket),
                    ("Key", key),
                    ("ETag", etag.as_str()),
                ] {
                    text.push_str(&format!("<{name}>"));
                    wire::xml::escape(&mut text, value);
                    text.push_str(&format!("</{name}>"));
                }
                text.push_str("</PostResponse>");
                Response::new(201, "application/xml", text).header("Location", location)
            }
            Some("200") => Response {
                status: 200,
                headers: vec![("Location".into(), location)],
                body: Body::Empty,
            },
            _ => Response {
                status: 204,
                headers: vec![("Location".into(), location)],
                body: Body::Empty,
            },
        },
    };
    let mut response = response.header("ETag", etag);
    if let Some(sum) = &version.checksum {
        response = response
            .header(sum.algorithm.header(), sum.value.clone())
            .header("x-amz-checksum-type", sum.kind());
    }
    match &version.id {
        Some(id) => response.header("x-amz-version-id", id.clone()),
        None => response,
    }
}
