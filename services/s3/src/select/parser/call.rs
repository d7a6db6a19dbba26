//! Calls: functions, aggregates, `CAST` and `CASE`.

use wire::Fault;

use super::{Parser, built};
use crate::select::fault;
use crate::select::function::{Field, Function, Side};
use crate::select::syntax::{Aggregate, AggregateFunction, Comparison, Expression};
use crate::select::timestamp::Part;
use crate::select::token::Token;
use crate::select::value::{Type, Value};

impl Parser {
    pub(super) fn case(&mut self) -> Result<Expression, Fault> {
        self.enter()?;
        let operand = if self.is_keyword("when") {
            None
        } else {
            Some(self.expression()?)
        };
        let mut parts = Vec::new();
        while self.keyword("when") {
            let condition = self.expression()?;
            parts.push(match &operand {
                Some(operand) => built(Expression::Compare(
                    Comparison::Equal,
                    Box::new([operand.clone(), condition]),
                ))?,
                None => condition,
            });
            self.expect_keyword("then")?;
            parts.push(self.expression()?);
        }
        if parts.is_empty() {
            return Err(self.missing("ParseExpectedWhenClause", "WHEN clause"));
        }
        parts.push(if self.keyword("else") {
            self.expression()?
        } else {
            Expression::Literal(Value::Null)
        });
        self.expect_keyword("end")?;
        self.parentheses -= 1;
        built(Expression::Case(parts))
    }

    pub(super) fn cast(&mut self) -> Result<Expression, Fault> {
        self.open("ParseExpectedLeftParenAfterCast")?;
        let of = self.expression()?;
        if !self.keyword("as") {
            return Err(fault::at(
                "ParseCastArity",
                "The SQL expression CAST has incorrect arity",
                self.position(),
            ));
        }
        let to = match self.take() {
            Token::Keyword("bool" | "boolean") => Type::Bool,
            Token::Keyword("int" | "integer" | "smallint") => Type::Int,
            Token::Keyword("float" | "real") => Type::Float,
            Token::Keyword("double") => {
                self.keyword("precision");
                Type::Float
            }
            Token::Keyword("decimal" | "dec" | "numeric") => Type::Decimal,
            Token::Keyword("string" | "varchar" | "char" | "character" | "symbol") => Type::Text,
            Token::Keyword("timestamp") => Type::Timestamp,
            _ => {
                self.next -= 1;
                return Err(self.missing("ParseExpectedTypeName", "type name"));
            }
        };
        // A length or precision is taken and has no effect, as CAST does not round.
        if self.symbol("(") {
            loop {
                match self.take() {
                    Token::Number(_) => {}
                    _ => {
                        self.next -= 1;
                        let message = "The SQL expression contains an invalid parameter value";
                        return Err(fault::at("ParseInvalidTypeParam", message, self.position()));
                    }
                }
                if !self.symbol(",") {
                    break;
                }
            }
            self.expect(")", "ParseExpectedTokenType", "token")?;
        }
        self.close("ParseExpectedTokenType", "token")?;
        built(Expression::Cast(to, Box::new(of)))
    }

    /// A call of a function whose name is a reserved word, which was taken.
    pub(super) fn keyword_function(&mut self, word: &'static str) -> Result<Expression, Fault> {
        let sum = match word {
            "avg" => Some(AggregateFunction::Average),
            "count" => Some(AggregateFunction::Count),
            "max" => Some(AggregateFunction::Maximum),
            "min" => Some(AggregateFunction::Minimum),
            "sum" => Some(AggregateFunction::Sum),
            _ => None,
        };
        if let Some(function) = sum {
            return self.aggregate(function);
        }
        let function = match word {
            "coalesce" => Function::Coalesce,
            "nullif" => Function::NullIf,
            "char_length" | "character_length" => Function::CharLength,
            "lower" => Function::Lower,
            "upper" => Function::Upper,
            "substring" => return self.substring(),
            "trim" => return self.trim(),
            "extract" => return self.extract(),
            _ => {
                self.next -= 1;
                return Err(self.unexpected());
            }
        };
        self.open("ParseExpectedLeftParenBuiltinFunctionCall")?;
        self.call(function)
    }

    /// A call of a function whose name is no reserved word and the next one.
    pub(super) fn named_function(&mut self, name: &str) -> Result<Expression, Fault> {
        let at = self.position();
        let lower = name.to_ascii_lowercase();
        self.next += 1;
        self.open("ParseExpectedLeftParenBuiltinFunctionCall")?;
        let function = match lower.as_str() {
            "date_add" => Function::DateAdd(self.part()?),
            "date_diff" => Function::DateDiff(self.part()?),
            "to_string" => Function::ToText,
            "to_timestamp" => Function::ToTimestamp,
            "utcnow" => Function::UtcNow,
            _ => {
                let message = "Encountered an unsupported SQL function";
                return Err(fault::at("UnsupportedFunction", message, at));
            }
        };
        self.call(function)
    }

    /// The arguments of a call whose parenthesis was opened, to its end.
    fn call(&mut self, function: Function) -> Result<Expression, Fault> {
        let mut arguments = Vec::new();
        if !self.is_symbol(")") {
            loop {
                if self.is_symbol("*") {
                    return Err(self.star());
                }
                arguments.push(self.expression()?);
                if !self.symbol(",") {
                    break;
                }
            }
        }
        self.end_call()?;
        if !function.takes(arguments.len()) {
            return Err(fault::invalid_arguments());
        }
        built(Expression::Call(function, arguments))
    }

    fn end_call(&mut self) -> Result<(), Fault> {
        let code = "ParseExpectedRightParenBuiltinFunctionCall";
        self.close(code, "right parenthesis character")
    }

    fn star(&self) -> Fault {
        fault::at(
            "ParseUnsupportedCallWithStar",
            "Only COUNT with (*) as a parameter is supported in the SQL expression",
            self.position(),
        )
    }

    fn aggregate(&mut self, function: AggregateFunction) -> Result<Expression, Fault> {
        if !self.may_aggregate {
            return Err(fault::operation());
        }
        self.open("ParseExpectedLeftParenBuiltinFunctionCall")?;
        let of = if self.is_symbol("*") {
            if function != AggregateFunction::Count {
                return Err(self.star());
            }
            self.next += 1;
            None
        } else {
            if self.keyword("distinct") {
                return Err(fault::structure());
            }
            // No aggregate stands in another.
            self.may_aggregate = false;
            let of = self.expression()?;
            self.may_aggregate = true;
            Some(of)
        };
        if self.is_symbol(",") {
            return Err(fault::at(
                "ParseNonUnaryAgregateFunctionCall",
                "Only one argument is supported for aggregate functions in the SQL expression",
                self.position(),
            ));
        }
        self.end_call()?;
        self.aggregates.push(Aggregate { function, of });
        Ok(Expression::Aggregate(self.aggregates.len() - 1))
    }

    /// A part of a date and the comma after it.
    fn part(&mut self) -> Result<Part, Fault> {
        let part = match self.field()? {
            Field::Part(part) => part,
            _ => {
                self.next -= 1;
                return Err(self.missing("ParseExpectedDatePart", "date part"));
            }
        };
        self.expect(",", "ParseExpectedArgumentDelimiter", "argument delimiter")?;
        Ok(part)
    }

    fn field(&mut self) -> Result<Field, Fault> {
        let word = match self.take() {
            Token::Keyword(word) => word.to_owned(),
            Token::Name(word) => word.to_ascii_lowercase(),
            _ => String::new(),
        };
        Ok(match word.as_str() {
            "year" => Field::Part(Part::Year),
            "month" => Field::Part(Part::Month),
            "day" => Field::Part(Part::Day),
            "hour" => Field::Part(Part::Hour),
            "minute" => Field::Part(Part::Minute),
            "second" => Field::Part(Part::Second),
            "timezone_hour" => Field::TimezoneHour,
            "timezone_minute" => Field::TimezoneMinute,
            _ => {
                self.next -= 1;
                return Err(self.missing("ParseExpectedDatePart", "date part"));
            }
        })
    }

    fn extract(&mut self) -> Result<Expression, Fault> {
        self.open("ParseExpectedLeftParenBuiltinFunctionCall")?;
        let field = self.field()?;
        self.expect_keyword("from")?;
        self.call(Function::Extract(field))
    }

    fn substring(&mut self) -> Result<Expression, Fault> {
        self.open("ParseExpectedLeftParenBuiltinFunctionCall")?;
        let mut arguments = vec![self.expression()?];
        let words = if self.is_keyword("from") {
            [Token::Keyword("from"), Token::Keyword("for")]
        } else {
            [Token::Symbol(","), Token::Symbol(",")]
        };
        for word in words {
            if *self.peek() != word {
                break;
            }
            self.next += 1;
            arguments.push(self.expression()?);
        }
        if arguments.len() == 1 {
            let what = "argument delimiter";
            return Err(self.missing("ParseExpectedArgumentDelimiter", what));
        }
        self.end_call()?;
        built(Expression::Call(Function::Substring, arguments))
    }

    /// `TRIM([LEADING | TRAILING | BOTH] [characters] [FROM] text)`.
    fn trim(&mut self) -> Result<Expression, Fault> {
        self.open("ParseExpectedLeftParenBuiltinFunctionCall")?;
        let side = if self.keyword("leading") {
            Side::Leading
        } else if self.keyword("trailing") {
            Side::Trailing
        } else {
            self.keyword("both");
            Side::Both
        };
        let mut arguments = Vec::new();
        if !self.is_keyword("from") {
            arguments.push(self.expression()?);
        }
        if self.keyword("from") {
            arguments.insert(0, self.expression()?);
        }
        self.end_call()?;
        built(Expression::Call(Function::Trim(side), arguments))
    }
}
