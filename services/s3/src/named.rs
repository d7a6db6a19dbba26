//! Configurations of which a bucket has several, told apart by an id: analytics, inventory, metrics, intelligent tiering.

use cloud::Context;
use wire::Fault;

use crate::configuration::Document;
use crate::{configuration, fault};

fn no_such_configuration() -> Fault {
    Fault::sender(
        404,
        "NoSuchConfiguration",
        "The specified configuration does not exist.",
    )
}

impl crate::S3 {
    /// Puts one of several documents of a kind.
    pub(crate) async fn put_named<T: Document>(
        &self,
        ctx: &Context,
        bucket: &str,
        expected: Option<&str>,
        action: &str,
        ids: (&str, &str),
        document: &T,
    ) -> Result<(), Fault> {
        let bucket = self.configured(ctx, bucket, expected, action)?;
        if ids.0 != ids.1 {
            return Err(match T::NAME {
                "analytics" | "intelligent-tiering" => fault::malformed_xml(),
                _ => Fault::sender(
                    400,
                    "IdMismatch",
                    "Document ID does not match the specified configuration ID.",
                ),
            });
        }
        let name = format!("{}/{}", T::NAME, ids.0);
        self.keep_text(&bucket, name, Some(configuration::encode(document)))
            .await
    }

    /// Shows one of several documents of a kind.
    pub(crate) fn named<T: Document>(
        &self,
        ctx: &Context,
        bucket: &str,
        expected: Option<&str>,
        action: &str,
        id: &str,
    ) -> Result<T, Fault> {
        let bucket = self.configured(ctx, bucket, expected, action)?;
        let text = bucket.record.documents.get(&format!("{}/{id}", T::NAME));
        text.and_then(|text| configuration::decode(text))
            .ok_or_else(no_such_configuration)
    }

    /// Shows documents of a kind, a hundred at most, and where to go on.
    pub(crate) fn all_named<T: Document>(
        &self,
        ctx: &Context,
        bucket: &str,
        expected: Option<&str>,
        action: &str,
        token: Option<&str>,
    ) -> Result<(Vec<T>, Option<String>), Fault> {
        const MOST: usize = 100;
        let bucket = self.configured(ctx, bucket, expected, action)?;
        let prefix = format!("{}/", T::NAME);
        let after = match token {
            Some(token) => Some(
                cloud::paging::place(T::NAME, token)
                    .and_then(|place| place.into_iter().next())
                    .ok_or_else(|| {
                        fault::invalid_argument(
                            "The continuation token provided is incorrect",
                            "continuation-token",
                            token,
                        )
                    })?,
            ),
            None => None,
        };
        let documents = &bucket.record.documents;
        let mut texts = documents
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
        let page: Vec<_> = texts.by_ref().take(MOST).collect();
        let next = texts.next().and(page.last());
        let next = next.map(|(name, _)| cloud::paging::token(T::NAME, &[name.as_str()]));
        let shown = page
            .iter()
            .filter_map(|(_, text)| configuration::decode(text));
        Ok((shown.collect(), next))
    }

    /// Deletes one of several documents of a kind.
    pub(crate) async fn delete_named<T: Document>(
        &self,
        ctx: &Context,
        bucket: &str,
        expected: Option<&str>,
        action: &str,
        id: &str,
    ) -> Result<(), Fault> {
        let bucket = self.configured(ctx, bucket, expected, action)?;
        let name = format!("{}/{id}", T::NAME);
        if !bucket.record.documents.contains_key(&name) {
            return Err(no_such_configuration());
        }
        self.keep_text(&bucket, name, None).await
    }
}
