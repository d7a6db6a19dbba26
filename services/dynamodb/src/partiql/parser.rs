//! Statements, read.

use wire::{Bytes, Fault};

use super::token::{Token, tokens};
use super::{Kind, Returning, Statement, malformed};
use crate::expression::condition::{Comparator, Condition, Operand};
use crate::expression::path::Step;
use crate::expression::update::Expression;
use crate::expression::{Path, Update};
use crate::fault::validation;
use crate::number::Number;
use crate::value::{Attributes, Value};

/// The longest statement, in bytes.
const MAX_STATEMENT: usize = 8192;
/// Parentheses and literals within each other; bounds the stack.
const MAX_DEPTH: usize = 64;

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    parameters: std::slice::Iter<'a, Value>,
    depth: usize,
}

/// Reads a statement with its parameters.
pub fn parse(text: &str, parameters: &[Value]) -> Result<Statement, Fault> {
    if text.len() > MAX_STATEMENT {
        return Err(validation(
            "1 validation error detected: Value at 'statement' failed to satisfy constraint: Member must have length less than or equal to 8192",
        ));
    }
    for value in parameters {
        value.check()?;
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        parameters: parameters.iter(),
        depth: 0,
    };
    let statement = parser.statement()?;
    if parser.at < parser.tokens.len() {
        return Err(parser.unexpected());
    }
    if parser.parameters.next().is_some() {
        return Err(parameter_count());
    }
    Ok(statement)
}

fn parameter_count() -> Fault {
    validation("Number of parameters in request and statement don't match.")
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn unexpected(&self) -> Fault {
        let shown = match self.peek() {
            None => "end of statement".to_owned(),
            Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text)) => text.clone(),
            Some(Token::Number(text)) => text.clone(),
            Some(Token::Symbol(text)) => (*text).to_owned(),
        };
        malformed(format!("Unexpected term: {shown}"))
    }

    fn takes(&mut self, symbol: &str) -> bool {
        let is_here = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(is_here);
        is_here
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Fault> {
        match self.takes(symbol) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word))
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is_here = self.is_word(word);
        self.at += usize::from(is_here);
        is_here
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Fault> {
        match self.takes_word(word) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    fn deeper<R>(&mut self, f: impl FnOnce(&mut Self) -> Result<R, Fault>) -> Result<R, Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(malformed("The statement is nested too deeply"));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    fn statement(&mut self) -> Result<Statement, Fault> {
        if self.takes_word("EXISTS") {
            self.expect("(")?;
            let mut inner = self.deeper(Self::statement)?;
            self.expect(")")?;
            match inner.kind {
                Kind::Select { .. } => inner.kind = Kind::Exists,
                _ => return Err(malformed("EXISTS needs a SELECT statement")),
            }
            return Ok(inner);
        }
        if self.takes_word("SELECT") {
            return self.select();
        }
        if self.takes_word("INSERT") {
            return self.insert();
        }
        if self.takes_word("UPDATE") {
            return self.update();
        }
        if self.takes_word("DELETE") {
            self.expect_word("FROM")?;
            let (table, index) = self.table()?;
            if index.is_some() {
                return Err(malformed("DELETE needs a table"));
            }
            let condition = self.condition()?;
            let returning = self.returning()?;
            return Ok(Statement {
                table,
                index: None,
                condition,
                kind: Kind::Delete { returning },
            });
        }
        Err(self.unexpected())
    }

    fn select(&mut self) -> Result<Statement, Fault> {
        let mut paths = Vec::new();
        if !self.takes("*") {
            loop {
                paths.push(self.path()?);
                if !self.takes(",") {
                    break;
                }
            }
        }
        self.expect_word("FROM")?;
        let (table, index) = self.table()?;
        let condition = self.condition()?;
        let mut order = None;
        if self.takes_word("ORDER") {
            self.expect_word("BY")?;
            let path = self.path()?;
            let is_descending = self.takes_word("DESC");
            if !is_descending {
                self.takes_word("ASC");
            }
            order = Some((path.root, is_descending));
        }
        Ok(Statement {
            table,
            index,
            condition,
            kind: Kind::Select {
                paths: (!paths.is_empty()).then_some(paths),
                order,
            },
        })
    }

    fn insert(&mut self) -> Result<Statement, Fault> {
        self.expect_word("INTO")?;
        let (table, _) = self.table()?;
        self.expect_word("VALUE")?;
        let Value::M(item) = self.value()? else {
            return Err(malformed("VALUE needs a tuple"));
        };
        Ok(Statement {
            table,
            index: None,
            condition: None,
            kind: Kind::Insert { item },
        })
    }

    fn update(&mut self) -> Result<Statement, Fault> {
        let (table, _) = self.table()?;
        let mut update = Update::default();
        loop {
            if self.takes_word("SET") {
                loop {
                    let path = self.path()?;
                    self.expect("=")?;
                    self.assign(&mut update, path)?;
                    if !self.takes(",") {
                        break;
                    }
                }
            } else if self.takes_word("REMOVE") {
                loop {
                    update.remove.push(self.path()?);
                    if !self.takes(",") {
                        break;
                    }
                }
            } else {
                break;
            }
        }
        if update.targets().next().is_none() {
            return Err(self.unexpected());
        }
        let condition = self.condition()?;
        let returning = self.returning()?;
        Ok(Statement {
            table,
            index: None,
            condition,
            kind: Kind::Update {
                update: Box::new(update),
                returning,
            },
        })
    }

    /// The right side of an assignment; `set_add` and `set_delete` change the path itself.
    fn assign(&mut self, update: &mut Update, path: Path) -> Result<(), Fault> {
        for (name, is_add) in [("set_add", true), ("set_delete", false)] {
            if self.is_call(name) {
                self.at += 2;
                let own = self.path()?;
                self.expect(",")?;
                let value = self.value()?;
                self.expect(")")?;
                if own != path {
                    return Err(validation(format!("{name} needs the path that is set")));
                }
                if !matches!(value, Value::SS(_) | Value::NS(_) | Value::BS(_)) {
                    return Err(validation(format!("{name} needs a set")));
                }
                match is_add {
                    true => update.add.push((path, value)),
                    false => update.delete.push((path, value)),
                }
                return Ok(());
            }
        }
        let expression = self.sum()?;
        update.set.push((path, expression));
        Ok(())
    }

    fn is_call(&self, name: &str) -> bool {
        self.is_word(name) && matches!(self.tokens.get(self.at + 1), Some(Token::Symbol("(")))
    }

    fn sum(&mut self) -> Result<Expression, Fault> {
        let mut left = self.term()?;
        loop {
            let (a, is_plus) = if self.takes("+") {
                (left, true)
            } else if self.takes("-") {
                (left, false)
            } else {
                return Ok(left);
            };
            let b = Box::new(self.term()?);
            left = match is_plus {
                true => Expression::Plus(Box::new(a), b),
                false => Expression::Minus(Box::new(a), b),
            };
        }
    }

    fn term(&mut self) -> Result<Expression, Fault> {
        for name in ["list_append", "if_not_exists"] {
            if self.is_call(name) {
                self.at += 2;
                let first = self.deeper(Self::sum)?;
                self.expect(",")?;
                let second = Box::new(self.deeper(Self::sum)?);
                self.expect(")")?;
                return match (name, first) {
                    ("list_append", first) => Ok(Expression::ListAppend(Box::new(first), second)),
                    (_, Expression::Path(path)) => Ok(Expression::IfNotExists(path, second)),
                    _ => Err(malformed("if_not_exists needs a path")),
                };
            }
        }
        if self.is_literal() {
            return Ok(Expression::Value(self.value()?));
        }
        Ok(Expression::Path(self.path()?))
    }

    fn returning(&mut self) -> Result<Option<Returning>, Fault> {
        if !self.takes_word("RETURNING") {
            return Ok(None);
        }
        let is_all = self.takes_word("ALL");
        if !is_all {
            self.expect_word("MODIFIED")?;
        }
        let is_old = self.takes_word("OLD");
        if !is_old {
            self.expect_word("NEW")?;
        }
        self.expect("*")?;
        Ok(Some(Returning { is_all, is_old }))
    }

    fn table(&mut self) -> Result<(String, Option<String>), Fault> {
        let table = self.name()?;
        let index = match self.takes(".") {
            true => Some(self.name()?),
            false => None,
        };
        Ok((table, index))
    }

    fn name(&mut self) -> Result<String, Fault> {
        let name = match self.peek() {
            Some(Token::Word(name) | Token::Quoted(name)) => name.clone(),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(name)
    }

    fn path(&mut self) -> Result<Path, Fault> {
        let root = self.name()?;
        let mut steps = Vec::new();
        loop {
            if self.takes(".") {
                steps.push(Step::Name(self.name()?));
            } else if self.takes("[") {
                let step = match self.peek() {
                    Some(Token::Number(digits)) => digits.parse().ok().map(Step::Index),
                    Some(Token::Text(name)) => Some(Step::Name(name.clone())),
                    _ => None,
                };
                steps.push(step.ok_or_else(|| self.unexpected())?);
                self.at += 1;
                self.expect("]")?;
            } else {
                return Ok(Path { root, steps });
            }
        }
    }

    fn is_literal(&self) -> bool {
        match self.peek() {
            Some(Token::Text(_) | Token::Number(_)) => true,
            Some(Token::Symbol(symbol)) => matches!(*symbol, "?" | "{" | "[" | "<<" | "-" | "+"),
            Some(Token::Word(word)) => ["true", "false", "null"]
                .iter()
                .any(|w| word.eq_ignore_ascii_case(w)),
            _ => false,
        }
    }

    fn value(&mut self) -> Result<Value, Fault> {
        self.deeper(Self::literal)
    }

    fn literal(&mut self) -> Result<Value, Fault> {
        if self.takes("?") {
            return self.parameters.next().cloned().ok_or_else(parameter_count);
        }
        if self.takes("{") {
            let mut map = Attributes::new();
            if !self.takes("}") {
                loop {
                    let name = match self.peek() {
                        Some(Token::Text(name) | Token::Quoted(name)) => name.clone(),
                        _ => return Err(self.unexpected()),
                    };
                    self.at += 1;
                    self.expect(":")?;
                    map.insert(name, self.value()?);
                    if !self.takes(",") {
                        break;
                    }
                }
                self.expect("}")?;
            }
            return Ok(Value::M(map));
        }
        if self.takes("[") {
            return Ok(Value::L(self.values("]")?));
        }
        if self.takes("<<") {
            let values = self.values(">>")?;
            let set = set_of(values)?;
            set.check()?;
            return Ok(set);
        }
        let sign = match (self.takes("-"), self.takes("+")) {
            (true, _) => "-",
            _ => "",
        };
        let value = match self.peek() {
            Some(Token::Number(text)) => Number::parse(&format!("{sign}{text}"))
                .map(Value::N)
                .map_err(|bad| validation(bad.to_string()))?,
            Some(Token::Text(text)) if sign.is_empty() => Value::S(text.clone()),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Value::Bool(true),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Value::Bool(false),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("null") => Value::Null,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(value)
    }

    fn values(&mut self, end: &str) -> Result<Vec<Value>, Fault> {
        let mut values = Vec::new();
        if self.takes(end) {
            return Ok(values);
        }
        loop {
            values.push(self.value()?);
            if !self.takes(",") {
                break;
            }
        }
        self.expect(end)?;
        Ok(values)
    }

    fn condition(&mut self) -> Result<Option<Condition>, Fault> {
        match self.takes_word("WHERE") {
            true => self.or().map(Some),
            false => Ok(None),
        }
    }

    fn or(&mut self) -> Result<Condition, Fault> {
        self.deeper(|p| {
            let mut left = p.and()?;
            while p.takes_word("OR") {
                left = Condition::Or(Box::new(left), Box::new(p.and()?));
            }
            Ok(left)
        })
    }

    fn and(&mut self) -> Result<Condition, Fault> {
        let mut left = self.not()?;
        while self.takes_word("AND") {
            left = Condition::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Condition, Fault> {
        if self.takes_word("NOT") {
            let inner = self.deeper(Self::not)?;
            return Ok(Condition::Not(Box::new(inner)));
        }
        if self.takes("(") {
            let inner = self.or()?;
            self.expect(")")?;
            return Ok(inner);
        }
        for name in ["begins_with", "contains", "attribute_type"] {
            if self.is_call(name) {
                self.at += 2;
                let first = self.operand()?;
                self.expect(",")?;
                let second = self.operand()?;
                self.expect(")")?;
                return match (name, first, second) {
                    ("begins_with", a, b) => Ok(Condition::BeginsWith(a, b)),
                    ("contains", a, b) => Ok(Condition::Contains(a, b)),
                    (_, operand, Operand::Value(Value::S(kind))) => {
                        Ok(Condition::Type(operand, kind))
                    }
                    _ => Err(malformed("attribute_type needs a path and a type")),
                };
            }
        }
        self.comparison()
    }

    fn operand(&mut self) -> Result<Operand, Fault> {
        if self.is_call("size") {
            self.at += 2;
            let path = self.path()?;
            self.expect(")")?;
            return Ok(Operand::Size(path));
        }
        if self.is_literal() {
            return Ok(Operand::Value(self.value()?));
        }
        Ok(Operand::Path(self.path()?))
    }

    fn comparison(&mut self) -> Result<Condition, Fault> {
        let left = self.operand()?;
        if self.takes_word("IS") {
            let is_not = self.takes_word("NOT");
            let Operand::Path(path) = left else {
                return Err(malformed("IS needs a path"));
            };
            let test = if self.takes_word("MISSING") {
                Condition::NotExists(path)
            } else {
                self.expect_word("NULL")?;
                Condition::Type(Operand::Path(path), "NULL".into())
            };
            return Ok(match is_not {
                true => Condition::Not(Box::new(test)),
                false => test,
            });
        }
        if self.takes_word("BETWEEN") {
            let low = self.operand()?;
            self.expect_word("AND")?;
            let high = self.operand()?;
            return Ok(Condition::Between(left, low, high));
        }
        let is_not = self.takes_word("NOT");
        if self.takes_word("IN") {
            let end = if self.takes("[") { "]" } else { ")" };
            if end == ")" {
                self.expect("(")?;
            }
            let list = self.values(end)?;
            if list.len() > 100 {
                return Err(validation("An IN list can have at most 100 values"));
            }
            let test = Condition::In(left, list.into_iter().map(Operand::Value).collect());
            return Ok(match is_not {
                true => Condition::Not(Box::new(test)),
                false => test,
            });
        }
        let comparators = [
            ("=", Comparator::Eq),
            ("<>", Comparator::Ne),
            ("!=", Comparator::Ne),
            ("<=", Comparator::Le),
            (">=", Comparator::Ge),
            ("<", Comparator::Lt),
            (">", Comparator::Gt),
        ];
        let found = comparators
            .into_iter()
            .find(|(symbol, _)| self.takes(symbol));
        let Some((_, comparator)) = found.filter(|_| !is_not) else {
            return Err(self.unexpected());
        };
        let right = self.operand()?;
        Ok(Condition::Compare(comparator, left, right))
    }
}

/// A set of values of one type.
fn set_of(values: Vec<Value>) -> Result<Value, Fault> {
    let wrong = || validation("A set needs values of one type: texts, numbers or bytes");
    let (mut texts, mut numbers, mut blobs) = (Vec::new(), Vec::new(), Vec::<Bytes>::new());
    for value in values {
        match value {
            Value::S(text) => texts.push(text),
            Value::N(number) => numbers.push(number),
            Value::B(bytes) => blobs.push(bytes),
            _ => return Err(wrong()),
        }
    }
    match (texts.is_empty(), numbers.is_empty(), blobs.is_empty()) {
        (false, true, true) => Ok(Value::SS(texts)),
        (true, false, true) => Ok(Value::NS(numbers)),
        (true, true, false) => Ok(Value::BS(blobs)),
        _ => Err(wrong()),
    }
}
