//! Pages of what a function has by name: aliases, and what is configured for them.

use store::Range;
use wire::Fault;

use crate::errors;
use crate::name::Name;
use crate::state::QualifiedKey;

/// What a request asks for of a list.
pub struct Page {
    of: &'static str,
    after: Option<String>,
    most: usize,
}

impl Page {
    /// Reads `Marker` and `MaxItems` of the operation `of`; fifty at most.
    pub fn read(
        of: &'static str,
        marker: Option<&str>,
        max_items: Option<i32>,
    ) -> Result<Page, Fault> {
        let start = cloud::paging::start(of, marker)
            .ok_or_else(|| errors::invalid_parameter_value_exception("Invalid pagination token"))?;
        let after = start.and_then(|mut parts| parts.pop());
        let most = usize::try_from(max_items.unwrap_or(50)).unwrap_or(50);
        Ok(Page {
            of,
            after,
            most: most.clamp(1, 50),
        })
    }

    /// The rows of a function behind the name that it begins behind.
    pub fn range(&self, name: &Name) -> Range<QualifiedKey> {
        let range = Range::prefix(&name.key());
        match &self.after {
            Some(after) => range.after(&(&name.account, &name.region, &name.function, after)),
            None => range,
        }
    }

    /// As many of those rows as belong to it, and where the next one begins.
    pub fn cut<T>(
        self,
        rows: impl Iterator<Item = Result<(String, T), Fault>>,
    ) -> Result<(Vec<T>, Option<String>), Fault> {
        let mut shown = Vec::new();
        let mut last = String::new();
        for row in rows {
            let (name, row) = row?;
            if shown.len() >= self.most {
                let marker = cloud::paging::token(self.of, &[&last]);
                return Ok((shown, Some(marker)));
            }
            last = name;
            shown.push(row);
        }
        Ok((shown, None))
    }
}
