//! PartiQL: statements in place of operations.

mod parser;
mod run;
mod token;

use wire::Fault;

use crate::expression::path::Path;
use crate::expression::{Condition, Update};
use crate::fault::validation;
use crate::value::Attributes;

pub use parser::parse;
pub use run::conjuncts;

/// A statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The table, by name or ARN.
    pub table: String,
    /// Its index.
    pub index: Option<String>,
    /// The `WHERE` clause.
    pub condition: Option<Condition>,
    /// What is to be done.
    pub kind: Kind,
}

/// The kinds of statements.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Items are read.
    Select {
        /// Which parts; all where it is absent.
        paths: Option<Vec<Path>>,
        /// The sort key, and whether it descends.
        order: Option<(String, bool)>,
    },
    /// An item is put that must not be there yet.
    Insert {
        /// The item.
        item: Attributes,
    },
    /// An item is changed.
    Update {
        /// How.
        update: Box<Update>,
        /// What is answered.
        returning: Option<Returning>,
    },
    /// An item is deleted.
    Delete {
        /// What is answered.
        returning: Option<Returning>,
    },
    /// An item must be as it says.
    Exists,
}

/// What a write answers.
#[derive(Clone, Copy, Debug)]
pub struct Returning {
    /// The whole item, or what was changed.
    pub is_all: bool,
    /// As it was, or as it is.
    pub is_old: bool,
}

impl Statement {
    /// Whether it only reads.
    pub fn is_read(&self) -> bool {
        matches!(self.kind, Kind::Select { .. })
    }
}

/// The error of a statement that cannot be read.
fn malformed(detail: impl std::fmt::Display) -> Fault {
    validation(format!(
        "Statement wasn't well formed, can't be processed: {detail}"
    ))
}
