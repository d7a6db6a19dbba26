//! Reads an SQL expression
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-select-sql-reference-select.html>).

mod call;
#[cfg(test)]
mod tests;

use wire::Fault;

use super::fault;
use super::syntax::{
    Aggregate, Comparison, Expression, Name, Operator, Projection, Query, Step, Unknown,
};
use super::timestamp::Timestamp;
use super::token::{Position, Token, tokens};
use super::value::Value;

/// The longest expression, in bytes.
const LONGEST: usize = 256 * 1024;
/// How deep parentheses may stand in each other.
const DEEPEST_PARENTHESES: usize = 48;
/// How deep expressions may stand in each other; what is evaluated takes stack for each.
const DEEPEST: usize = 192;

/// Reads a query.
pub fn parse(text: &str) -> Result<Query, Fault> {
    if text.len() > LONGEST {
        return Err(fault::of(
            "ExpressionTooLong",
            "The SQL expression is too long: The maximum byte-length for the SQL expression is 256 KB.",
        ));
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        parentheses: 0,
        aggregates: Vec::new(),
        may_aggregate: false,
    };
    parser.query()
}

struct Parser {
    tokens: Vec<(Token, Position)>,
    next: usize,
    parentheses: usize,
    aggregates: Vec<Aggregate>,
    may_aggregate: bool,
}

/// What stands in a `SELECT` list.
enum Item {
    Everything,
    Named(Option<String>, Expression),
}

impl Parser {
    fn peek(&self) -> &Token {
        self.peek_at(0)
    }
    fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens
            .get(self.next + ahead)
            .map_or(&Token::End, |(token, _)| token)
    }
    fn position(&self) -> Position {
        let last = self.tokens.last().map(|(_, at)| *at);
        let at = self.tokens.get(self.next).map(|(_, at)| *at).or(last);
        at.unwrap_or(Position { line: 1, column: 1 })
    }
    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }
    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(s) if *s == symbol)
    }
    fn is_keyword(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Keyword(k) if *k == word)
    }
    /// Takes a symbol if it is the next word.
    fn symbol(&mut self, symbol: &str) -> bool {
        let is_next = self.is_symbol(symbol);
        self.next += usize::from(is_next);
        is_next
    }
    /// Takes a keyword if it is the next word.
    fn keyword(&mut self, word: &str) -> bool {
        let is_next = self.is_keyword(word);
        self.next += usize::from(is_next);
        is_next
    }
    /// The error for a word that cannot stand where it does.
    fn unexpected(&self) -> Fault {
        let found = format!("Unexpected token found {}:UNKNOWN", self.peek().kind());
        fault::at("ParseUnexpectedToken", &found, self.position())
    }
    fn missing(&self, code: &'static str, what: &str) -> Fault {
        let message = format!("Did not find the expected {what} in the SQL expression");
        fault::at(code, &message, self.position())
    }
    fn expect(&mut self, symbol: &str, code: &'static str, what: &str) -> Result<(), Fault> {
        if self.symbol(symbol) {
            Ok(())
        } else {
            Err(self.missing(code, what))
        }
    }
    fn expect_keyword(&mut self, word: &str) -> Result<(), Fault> {
        if self.keyword(word) {
            Ok(())
        } else {
            Err(self.missing("ParseExpectedKeyword", "keyword"))
        }
    }

    fn query(&mut self) -> Result<Query, Fault> {
        if !self.keyword("select") {
            return Err(match self.peek() {
                Token::End => self.missing("ParseExpectedKeyword", "keyword"),
                _ => self.unexpected(),
            });
        }
        if self.is_keyword("distinct") {
            return Err(fault::structure());
        }
        self.keyword("all");
        if self.is_keyword("from") || *self.peek() == Token::End {
            return Err(fault::at(
                "ParseEmptySelect",
                "The SQL expression contains an empty SELECT",
                self.position(),
            ));
        }
        self.may_aggregate = true;
        let items = self.items()?;
        self.may_aggregate = false;
        if !self.keyword("from") {
            return Err(match self.peek() {
                Token::End => fault::at(
                    "ParseSelectMissingFrom",
                    "The SQL expression contains a missing FROM after SELECT list",
                    self.position(),
                ),
                _ => self.unexpected(),
            });
        }
        let (from, has_path, alias) = self.from()?;
        let condition = if self.keyword("where") {
            Some(self.expression()?)
        } else {
            None
        };
        let limit = if self.keyword("limit") {
            Some(self.limit()?)
        } else {
            None
        };
        self.symbol(";");
        if *self.peek() != Token::End {
            return Err(self.unexpected());
        }
        let aggregates = std::mem::take(&mut self.aggregates);
        let projection = projection(items, &alias, !aggregates.is_empty())?;
        Ok(Query {
            projection,
            aggregates,
            from,
            has_path,
            alias,
            condition,
            limit,
        })
    }

    fn items(&mut self) -> Result<Vec<Item>, Fault> {
        let mut items = Vec::new();
        loop {
            if self.symbol("*") {
                items.push(Item::Everything);
            } else if let Some(name) = self.everything_of() {
                items.push(Item::Named(
                    None,
                    Expression::Path(name, vec![Step::Members]),
                ));
            } else {
                let expression = self.expression()?;
                let alias = self.alias()?.map(|name| name.text);
                items.push(Item::Named(alias, expression));
            }
            if !self.symbol(",") {
                break;
            }
        }
        if items.len() > 1 && items.iter().any(|item| matches!(item, Item::Everything)) {
            return Err(fault::of(
                "ParseAsteriskIsNotAloneInSelectList",
                "Other expressions are not allowed in the SELECT list when '*' is used without dot notation in the SQL expression.",
            ));
        }
        Ok(items)
    }

    /// Takes `name.*`.
    fn everything_of(&mut self) -> Option<Name> {
        let name = self.peek_name()?;
        let is_it = matches!(self.peek_at(1), Token::Symbol("."))
            && matches!(self.peek_at(2), Token::Symbol("*"));
        if !is_it {
            return None;
        }
        self.next += 3;
        Some(name)
    }

    fn peek_name(&self) -> Option<Name> {
        match self.peek() {
            Token::Name(text) => Some(Name {
                text: text.clone(),
                is_exact: false,
            }),
            Token::Quoted(text) => Some(Name {
                text: text.clone(),
                is_exact: true,
            }),
            _ => None,
        }
    }

    fn name(&mut self) -> Option<Name> {
        let name = self.peek_name()?;
        self.next += 1;
        Some(name)
    }

    /// `AS name` or `name`.
    fn alias(&mut self) -> Result<Option<Name>, Fault> {
        if self.keyword("as") {
            let missing = self.missing("ParseExpectedIdentForAlias", "identifier for the alias");
            return self.name().ok_or(missing).map(Some);
        }
        Ok(self.name())
    }

    fn from(&mut self) -> Result<(Vec<Step>, bool, Name), Fault> {
        let at = self.position();
        let Some(table) = self.name() else {
            return Err(self.unexpected());
        };
        if !table.text.eq_ignore_ascii_case("s3object") {
            let message = "The SQL expression contains an invalid table alias";
            return Err(fault::at("InvalidTableAlias", message, at));
        }
        let mut steps = Vec::new();
        while let Some(step) = self.step()? {
            steps.push(step);
        }
        let has_path = steps.len() > 1;
        match steps.first() {
            None => {}
            Some(Step::Elements) => drop(steps.remove(0)),
            Some(_) => {
                let message = "The key path in the SQL expression is invalid";
                return Err(fault::at("InvalidKeyPath", message, at));
            }
        }
        let is_whole = self.tokens.get(self.next - 1).map(|(t, _)| t) != Some(&Token::Symbol("]"));
        let alias = match self.alias()? {
            Some(alias) => alias,
            None => match steps.last() {
                Some(Step::Name(name)) => name.clone(),
                _ => Name {
                    text: if is_whole { table.text } else { "_1".into() },
                    is_exact: false,
                },
            },
        };
        if self.is_symbol(",") {
            return Err(fault::of(
                "MultipleDataSourcesUnsupported",
                "Multiple data sources are not supported.",
            ));
        }
        let joins = ["join", "inner", "left", "right", "full", "cross", "natural"];
        if joins.iter().any(|word| self.is_keyword(word)) {
            let message = "JOIN is not supported in the SQL expression";
            return Err(fault::at("ParseMalformedJoin", message, self.position()));
        }
        Ok((steps, has_path, alias))
    }

    fn limit(&mut self) -> Result<u64, Fault> {
        let is_negative = self.symbol("-");
        match self.take() {
            Token::Number(_) if is_negative => Err(fault::of(
                "EvaluatorNegativeLimit",
                "LIMIT must not be negative.",
            )),
            Token::Number(digits) => digits.parse().map_err(|_| fault::number_format()),
            _ => {
                self.next -= 1;
                Err(self.missing("ParseExpectedNumber", "number"))
            }
        }
    }

    /// `.name`, `.*`, `[0]`, `['name']` or `[*]`.
    fn step(&mut self) -> Result<Option<Step>, Fault> {
        if self.symbol(".") {
            if self.symbol("*") {
                return Ok(Some(Step::Members));
            }
            return match self.name() {
                Some(name) => Ok(Some(Step::Name(name))),
                None if matches!(self.peek(), Token::Keyword(_)) => Err(self.unexpected()),
                None => Err(fault::at(
                    "ParseInvalidPathComponent",
                    "The SQL expression contains an invalid path component",
                    self.position(),
                )),
            };
        }
        if !self.symbol("[") {
            return Ok(None);
        }
        let step = match self.take() {
            Token::Symbol("*") => Step::Elements,
            Token::Text(text) => Step::Name(Name {
                text,
                is_exact: true,
            }),
            Token::Number(digits) => Step::Index(digits.parse().map_err(|_| {
                let message = "The SQL expression contains an invalid path component";
                fault::at("ParseInvalidPathComponent", message, self.position())
            })?),
            _ => {
                self.next -= 1;
                return Err(self.unexpected());
            }
        };
        self.expect("]", "ParseExpectedTokenType", "token")?;
        Ok(Some(step))
    }

    fn expression(&mut self) -> Result<Expression, Fault> {
        self.chain("or", Parser::conjunction, Expression::Or)
    }
    fn conjunction(&mut self) -> Result<Expression, Fault> {
        self.chain("and", Parser::negation, Expression::And)
    }
    fn chain(
        &mut self,
        word: &str,
        part: fn(&mut Parser) -> Result<Expression, Fault>,
        all: fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression, Fault> {
        let first = part(self)?;
        if !self.is_keyword(word) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.keyword(word) {
            parts.push(part(self)?);
        }
        built(all(parts))
    }

    fn negation(&mut self) -> Result<Expression, Fault> {
        let mut count = 0;
        while self.keyword("not") {
            count += 1;
        }
        let of = self.predicate()?;
        Ok(match count {
            0 => of,
            n if n % 2 == 1 => Expression::Not(Box::new(of)),
            _ => Expression::Not(Box::new(Expression::Not(Box::new(of)))),
        })
    }

    fn predicate(&mut self) -> Result<Expression, Fault> {
        let mut left = self.concatenation()?;
        loop {
            let comparison = match self.peek() {
                Token::Symbol("=") => Some(Comparison::Equal),
                Token::Symbol("<>" | "!=") => Some(Comparison::NotEqual),
                Token::Symbol("<") => Some(Comparison::Less),
                Token::Symbol("<=") => Some(Comparison::LessOrEqual),
                Token::Symbol(">") => Some(Comparison::Greater),
                Token::Symbol(">=") => Some(Comparison::GreaterOrEqual),
                _ => None,
            };
            left = if let Some(comparison) = comparison {
                self.next += 1;
                let right = self.concatenation()?;
                built(Expression::Compare(comparison, Box::new([left, right])))?
            } else if self.keyword("is") {
                let is_not = self.keyword("not");
                let what = match self.take() {
                    Token::Keyword("null" | "unknown") => Unknown::Null,
                    Token::Keyword("missing") => Unknown::Missing,
                    _ => {
                        self.next -= 1;
                        return Err(self.missing("ParseExpectedTypeName", "type name"));
                    }
                };
                negated(is_not, Expression::Is(what, Box::new(left)))?
            } else {
                let is_not = self.is_keyword("not")
                    && matches!(self.peek_at(1), Token::Keyword("in" | "between" | "like"));
                self.next += usize::from(is_not);
                match self.contained(left)? {
                    Ok(found) => negated(is_not, found)?,
                    Err(left) => return Ok(left),
                }
            };
        }
    }

    /// `IN`, `BETWEEN` and `LIKE`; gives the left side back where none follows.
    fn contained(&mut self, left: Expression) -> Result<Result<Expression, Expression>, Fault> {
        let found = if self.keyword("in") {
            let mut all = vec![left];
            self.open("ParseExpectedLeftParenValueConstructor")?;
            loop {
                all.push(self.expression()?);
                if !self.symbol(",") {
                    break;
                }
            }
            self.close("ParseExpectedTokenType", "token")?;
            Expression::In(all)
        } else if self.keyword("between") {
            let least = self.concatenation()?;
            self.expect_keyword("and")?;
            let greatest = self.concatenation()?;
            Expression::Between(Box::new([left, least, greatest]))
        } else if self.keyword("like") {
            let mut all = vec![left, self.concatenation()?];
            if self.keyword("escape") {
                all.push(self.concatenation()?);
            }
            Expression::Like(all)
        } else {
            return Ok(Err(left));
        };
        built(found).map(Ok)
    }

    fn concatenation(&mut self) -> Result<Expression, Fault> {
        let mut left = self.sum()?;
        while self.symbol("||") {
            let right = self.sum()?;
            left = built(Expression::Concat(Box::new([left, right])))?;
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expression, Fault> {
        let mut left = self.product()?;
        loop {
            let operator = match self.peek() {
                Token::Symbol("+") => Operator::Add,
                Token::Symbol("-") => Operator::Subtract,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.product()?;
            left = built(Expression::Arithmetic(operator, Box::new([left, right])))?;
        }
    }

    fn product(&mut self) -> Result<Expression, Fault> {
        let mut left = self.signed()?;
        loop {
            let operator = match self.peek() {
                Token::Symbol("*") => Operator::Multiply,
                Token::Symbol("/") => Operator::Divide,
                Token::Symbol("%") => Operator::Remainder,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.signed()?;
            left = built(Expression::Arithmetic(operator, Box::new([left, right])))?;
        }
    }

    fn signed(&mut self) -> Result<Expression, Fault> {
        let mut is_negative = false;
        let mut is_signed = false;
        while self.is_symbol("-") || self.is_symbol("+") {
            is_negative ^= self.is_symbol("-");
            is_signed = true;
            self.next += 1;
        }
        if is_negative && let Token::Number(digits) = self.peek() {
            let literal = Value::number(&format!("-{digits}"))?;
            self.next += 1;
            return Ok(Expression::Literal(literal));
        }
        let of = self.primary()?;
        match (is_signed, is_negative) {
            (true, true) => built(Expression::Negate(Box::new(of))),
            (true, false) => built(Expression::Negate(Box::new(Expression::Negate(Box::new(
                of,
            ))))),
            _ => Ok(of),
        }
    }

    fn open(&mut self, code: &'static str) -> Result<(), Fault> {
        self.expect("(", code, "left parenthesis")?;
        self.enter()
    }
    fn enter(&mut self) -> Result<(), Fault> {
        self.parentheses += 1;
        if self.parentheses > DEEPEST_PARENTHESES {
            return Err(fault::too_complex());
        }
        Ok(())
    }
    fn close(&mut self, code: &'static str, what: &str) -> Result<(), Fault> {
        self.parentheses -= 1;
        self.expect(")", code, what)
    }

    fn primary(&mut self) -> Result<Expression, Fault> {
        if let Some(name) = self.peek_name() {
            if matches!(self.peek_at(1), Token::Symbol("(")) && !name.is_exact {
                return self.named_function(&name.text);
            }
            self.next += 1;
            return self.path(name);
        }
        let at = self.position();
        match self.take() {
            Token::Number(digits) => Ok(Expression::Literal(Value::number(&digits)?)),
            Token::Text(text) => Ok(Expression::Literal(Value::Text(text))),
            Token::Ion(text) => Ok(Expression::Literal(ion(&text, at)?)),
            Token::Keyword("true") => Ok(Expression::Literal(Value::Bool(true))),
            Token::Keyword("false") => Ok(Expression::Literal(Value::Bool(false))),
            Token::Keyword("null") => Ok(Expression::Literal(Value::Null)),
            Token::Keyword("missing") => Ok(Expression::Literal(Value::Missing)),
            Token::Keyword("case") => self.case(),
            Token::Keyword("cast") => self.cast(),
            Token::Keyword(word) => self.keyword_function(word),
            Token::Symbol("(") => {
                self.enter()?;
                let of = self.expression()?;
                self.close("ParseExpectedTokenType", "token")?;
                Ok(of)
            }
            Token::Symbol("[") => {
                self.enter()?;
                let mut items = Vec::new();
                while !self.is_symbol("]") {
                    items.push(self.expression()?);
                    if !self.symbol(",") {
                        break;
                    }
                }
                self.parentheses -= 1;
                self.expect("]", "ParseExpectedTokenType", "token")?;
                built(Expression::List(items))
            }
            Token::End => {
                self.next -= 1;
                Err(self.missing("ParseExpectedExpression", "expression"))
            }
            _ => {
                self.next -= 1;
                Err(self.unexpected())
            }
        }
    }

    fn path(&mut self, name: Name) -> Result<Expression, Fault> {
        let mut steps = Vec::new();
        while let Some(step) = self.step()? {
            if matches!(step, Step::Members | Step::Elements) {
                return Err(fault::at(
                    "ParseInvalidContextForWildcardInSelectList",
                    "Invalid use of * in SELECT list in the SQL expression",
                    self.position(),
                ));
            }
            steps.push(step);
        }
        Ok(Expression::Path(name, steps))
    }
}

/// An expression that is not too deep.
fn built(mut expression: Expression) -> Result<Expression, Fault> {
    if expression.depth() > DEEPEST {
        return Err(fault::too_complex());
    }
    Ok(expression)
}

fn negated(is_not: bool, expression: Expression) -> Result<Expression, Fault> {
    built(if is_not {
        Expression::Not(Box::new(expression))
    } else {
        expression
    })
}

/// An Ion literal: a timestamp, number, text, truth or null.
fn ion(text: &str, at: Position) -> Result<Value, Fault> {
    let text = text.trim();
    let value = match text {
        "null" => Some(Value::Null),
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ if text.starts_with('"') => serde_json::from_str(text).ok().map(Value::Text),
        _ => Timestamp::parse(text)
            .map(Value::Timestamp)
            .or_else(|| Value::number(text).ok()),
    };
    let message = "The SQL expression contains an invalid Ion literal";
    value.ok_or_else(|| fault::at("LexerInvalidIONLiteral", message, at))
}

/// Names the items of a `SELECT` list: by their alias, the last name of their path, or their place.
fn projection(items: Vec<Item>, alias: &Name, has_sums: bool) -> Result<Projection, Fault> {
    let mut named = Vec::new();
    for (n, item) in items.into_iter().enumerate() {
        let (given, mut expression) = match item {
            Item::Everything => return Ok(Projection::Everything),
            Item::Named(given, expression) => (given, expression),
        };
        if let Expression::Path(name, steps) = &expression
            && steps[..] == [Step::Members]
        {
            return if name.matches(&alias.text) && n == 0 && !has_sums {
                Ok(Projection::Everything)
            } else {
                Err(fault::structure())
            };
        }
        if has_sums {
            // There is no row to take a column from.
            expression.each(&mut |part| match part {
                Expression::Path(..) => Err(fault::structure()),
                _ => Ok(()),
            })?;
        }
        let name = given.or_else(|| match &expression {
            Expression::Path(name, steps) => match steps.last() {
                None => Some(name.text.clone()),
                Some(Step::Name(name)) => Some(name.text.clone()),
                Some(_) => None,
            },
            _ => None,
        });
        named.push((name.unwrap_or_else(|| format!("_{}", n + 1)), expression));
    }
    Ok(Projection::Items(named))
}
