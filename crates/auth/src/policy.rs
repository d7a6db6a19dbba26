//! Policy documents as typed statements.

use crate::condition::Condition;
use crate::grammar::{self, MalformedPolicy};
use crate::pattern::Pattern;
use crate::principal::Principals;

/// What a policy is attached to, which decides what its statements must and must not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// Of a user, group or role; a permissions boundary, a session policy or a service control policy.
    Identity,
    /// Of a resource: a bucket, queue, key or function. Resources are not checked for their form.
    Resource,
    /// Of a role: who may assume it.
    Trust,
}

/// Whether a statement allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// `Allow`
    Allow,
    /// `Deny`
    Deny,
}

/// A place in a policy's text; both count from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

/// Patterns of an element and whether it is the element's `Not` form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    /// Whether this is `NotAction` or `NotResource`.
    pub is_negated: bool,
    /// The patterns.
    pub patterns: Vec<Pattern>,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// `Sid`
    pub sid: Option<String>,
    /// `Effect`
    pub effect: Effect,
    /// `Principal` or `NotPrincipal`
    pub principals: Option<Principals>,
    /// `Action` or `NotAction`
    pub actions: Patterns,
    /// `Resource` or `NotResource`
    pub resources: Option<Patterns>,
    /// `Condition`
    pub conditions: Vec<Condition>,
    /// Where the statement begins in the document.
    pub start: Position,
    /// Where it ends.
    pub end: Position,
}

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whether the version has policy variables: it is `2012-10-17`.
    pub has_variables: bool,
    /// `Id`
    pub id: Option<String>,
    /// The statements in their order.
    pub statements: Vec<Statement>,
}

impl Policy {
    /// Parses and validates a document as IAM does.
    pub fn parse(document: &str, kind: PolicyKind) -> Result<Self, MalformedPolicy> {
        grammar::parse(document, kind)
    }
}
