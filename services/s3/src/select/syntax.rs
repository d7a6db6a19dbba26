//! What a query consists of.

use super::function::Function;
use super::value::{Type, Value};

/// A name of a column or member.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub text: String,
    /// Written in double quotes: the case of its letters counts.
    pub is_exact: bool,
}

impl Name {
    /// Whether it means what has that name.
    pub fn matches(&self, other: &str) -> bool {
        if self.is_exact {
            self.text == other
        } else {
            self.text.eq_ignore_ascii_case(other)
        }
    }
}

/// A step into a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Name(Name),
    Index(usize),
    /// `.*`: every member.
    Members,
    /// `[*]`: every element.
    Elements,
}

/// `+` and its like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// `=` and its like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What `IS` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unknown {
    /// Missing counts as null.
    Null,
    Missing,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Literal(Value),
    /// A name and steps from there.
    Path(Name, Vec<Step>),
    /// A column of a row of fields, counted from 0: what a path becomes once the columns are known.
    Column(usize),
    /// The whole row.
    Row,
    List(Vec<Expression>),
    Negate(Box<Expression>),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Arithmetic(Operator, Box<[Expression; 2]>),
    Concat(Box<[Expression; 2]>),
    Compare(Comparison, Box<[Expression; 2]>),
    Is(Unknown, Box<Expression>),
    /// The first among the others.
    In(Vec<Expression>),
    /// Value, least, greatest.
    Between(Box<[Expression; 3]>),
    /// Text, pattern and, where one is said, the escape character.
    Like(Vec<Expression>),
    Cast(Type, Box<Expression>),
    /// Pairs of condition and result, then what holds else.
    Case(Vec<Expression>),
    Call(Function, Vec<Expression>),
    /// One of the query's aggregates.
    Aggregate(usize),
}

impl Expression {
    /// The expressions that it is made of.
    pub fn parts(&mut self) -> &mut [Expression] {
        use Expression::*;
        match self {
            Literal(_) | Path(..) | Column(_) | Row | Aggregate(_) => &mut [],
            Negate(of) | Not(of) | Is(_, of) | Cast(_, of) => std::slice::from_mut(of),
            Arithmetic(_, pair) | Concat(pair) | Compare(_, pair) => pair.as_mut_slice(),
            Between(three) => three.as_mut_slice(),
            List(all) | And(all) | Or(all) | In(all) | Like(all) | Case(all) | Call(_, all) => all,
        }
    }

    /// How many expressions stand in each other.
    pub fn depth(&mut self) -> usize {
        let parts = self.parts().iter_mut();
        1 + parts.map(Expression::depth).max().unwrap_or(0)
    }

    /// Does `change` to it and all that it is made of.
    pub fn each<E>(
        &mut self,
        change: &mut dyn FnMut(&mut Expression) -> Result<(), E>,
    ) -> Result<(), E> {
        change(self)?;
        self.parts()
            .iter_mut()
            .try_for_each(|part| part.each(change))
    }
}

/// An aggregate function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AggregateFunction {
    Average,
    Count,
    Maximum,
    Minimum,
    Sum,
}

/// An aggregate over all rows that pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub function: AggregateFunction,
    /// `None` for `*`.
    pub of: Option<Expression>,
}

/// What a query gives of each row.
#[derive(Clone, Debug, PartialEq)]
pub enum Projection {
    /// The row as it is.
    Everything,
    /// Named values.
    Items(Vec<(String, Expression)>),
}

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub projection: Projection,
    pub aggregates: Vec<Aggregate>,
    /// The steps from a document to rows; none where every document is a row.
    pub from: Vec<Step>,
    /// Whether `FROM` has steps of its own, which only JSON has use for.
    pub has_path: bool,
    /// What the row is called.
    pub alias: Name,
    pub condition: Option<Expression>,
    pub limit: Option<u64>,
}
