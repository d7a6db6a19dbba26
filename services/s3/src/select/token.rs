//! The words of an SQL expression.

use wire::Fault;

use super::fault;

/// Where a word stands; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A reserved word, in lower case.
    Keyword(&'static str),
    /// A name, as it was written.
    Name(String),
    /// A name in double quotes, without them.
    Quoted(String),
    /// A text in single quotes, without them.
    Text(String),
    /// A number, as it was written.
    Number(String),
    /// An Ion literal in backticks, without them.
    Ion(String),
    /// An operator or a mark.
    Symbol(&'static str),
    /// The end of the expression.
    End,
}

impl Token {
    /// What errors call its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Token::Keyword(_) => "KEYWORD",
            Token::Name(_) => "IDENTIFIER",
            Token::Quoted(_) => "QUOTED_IDENTIFIER",
            Token::Text(_) | Token::Number(_) => "LITERAL",
            Token::Ion(_) => "ION_LITERAL",
            Token::End => "EOF",
            Token::Symbol("(") => "LEFT_PAREN",
            Token::Symbol(")") => "RIGHT_PAREN",
            Token::Symbol("[") => "LEFT_BRACKET",
            Token::Symbol("]") => "RIGHT_BRACKET",
            Token::Symbol(",") => "COMMA",
            Token::Symbol(".") => "DOT",
            Token::Symbol(";") => "SEMICOLON",
            Token::Symbol("*") => "STAR",
            Token::Symbol(_) => "OPERATOR",
        }
    }
}

/// Longer ones before their beginnings.
const SYMBOLS: [&str; 20] = [
    "<=", ">=", "<>", "!=", "||", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ".",
    ",", ";",
];

/// The reserved words, in order
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-select-sql-reference-keyword-list.html>).
const KEYWORDS: &str = "absolute action add all allocate alter and any are as asc assertion at authorization avg bag \
begin between bit bit_length blob bool boolean both by cascade cascaded case cast catalog char char_length character \
character_length check clob close coalesce collate collation column commit connect connection constraint constraints \
continue convert corresponding count create cross current current_date current_time current_timestamp current_user \
cursor date day deallocate dec decimal declare default deferrable deferred delete desc describe descriptor diagnostics \
disconnect distinct domain double drop else end end-exec escape except exception exec execute exists external extract \
false fetch first float for foreign found from full get global go goto grant group having hour identity immediate in \
indicator initially inner input insensitive insert int integer intersect interval into is isolation join key language \
last leading left level like limit list local lower match max min minute missing module month names national natural \
nchar next no not null nullif numeric octet_length of on only open option or order outer output overlaps pad partial \
pivot position precision prepare preserve primary prior privileges procedure public read real references relative \
restrict revoke right rollback rows schema scroll second section select session session_user set sexp size smallint \
some space sql sqlcode sqlerror sqlstate string struct substring sum symbol system_user table temporary then time \
timestamp timezone_hour timezone_minute to trailing transaction translate translation trim true tuple union unique \
unknown unpivot update upper usage user using value values varchar varying view when whenever where with work write \
year zone";

fn keyword(word: &str) -> Option<&'static str> {
    KEYWORDS.split(' ').find(|k| k.eq_ignore_ascii_case(word))
}

/// Splits an expression into its words, the end among them.
pub fn tokens(text: &str) -> Result<Vec<(Token, Position)>, Fault> {
    let mut lexer = Lexer {
        rest: text,
        at: Position { line: 1, column: 1 },
    };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space()?;
        let at = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push((token, at));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    rest: &'t str,
    at: Position,
}

impl<'t> Lexer<'t> {
    /// Takes that many bytes.
    fn take(&mut self, len: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        for c in taken.chars() {
            if c == '\n' {
                self.at = Position {
                    line: self.at.line + 1,
                    column: 1,
                };
            } else {
                self.at.column += 1;
            }
        }
        taken
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    fn skip_space(&mut self) -> Result<(), Fault> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest.starts_with("--") {
                self.take_while(|c| c != '\n');
            } else if self.rest.starts_with("/*") {
                match self.rest.find("*/") {
                    Some(end) => self.take(end + 2),
                    None => return Err(self.invalid_char()),
                };
            } else {
                return Ok(());
            }
        }
    }

    fn invalid_char(&self) -> Fault {
        fault::at("LexerInvalidChar", "Invalid character", self.at)
    }

    /// What stands between two quotes, which are doubled inside.
    fn quoted(&mut self, quote: char) -> Result<String, Fault> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c != quote {
                text.push(c);
            } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
                text.push(c);
                chars.next();
            } else {
                self.take(at + quote.len_utf8());
                return Ok(text);
            }
        }
        Err(self.invalid_char())
    }

    fn token(&mut self) -> Result<Token, Fault> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(Token::End);
        };
        Ok(match first {
            '\'' => Token::Text(self.quoted('\'')?),
            '"' => Token::Quoted(self.quoted('"')?),
            '`' => Token::Ion(self.quoted('`')?),
            '0'..='9' => self.number()?,
            '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number()?,
            c if c.is_alphabetic() || c == '_' || c == '$' => {
                let word = self.take_while(|c| c.is_alphanumeric() || c == '_' || c == '$');
                keyword(word).map_or_else(|| Token::Name(word.to_owned()), Token::Keyword)
            }
            _ => match SYMBOLS.iter().find(|s| self.rest.starts_with(**s)) {
                Some(symbol) => {
                    self.take(symbol.len());
                    Token::Symbol(symbol)
                }
                None => return Err(self.invalid_char()),
            },
        })
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let at = self.at;
        let mut text = self.take_while(|c| c.is_ascii_digit()).to_owned();
        if self.rest.starts_with('.') {
            text.push_str(self.take(1));
            text.push_str(self.take_while(|c| c.is_ascii_digit()));
        }
        if self.rest.starts_with(['e', 'E']) {
            text.push_str(self.take(1));
            if self.rest.starts_with(['+', '-']) {
                text.push_str(self.take(1));
            }
            let digits = self.take_while(|c| c.is_ascii_digit());
            if digits.is_empty() {
                return Err(fault::at("LexerInvalidLiteral", "Invalid literal", at));
            }
            text.push_str(digits);
        }
        if self
            .rest
            .starts_with(|c: char| c.is_alphanumeric() || c == '_')
        {
            return Err(fault::at("LexerInvalidLiteral", "Invalid literal", at));
        }
        Ok(Token::Number(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let text = "SELECT s.\"a \"\"b\"\"\", 'it''s' -- what\n FROM S3Object[*] s /* x */ WHERE _1 <= .5e3;";
        let found: Vec<Token> = tokens(text).unwrap().into_iter().map(|(t, _)| t).collect();
        let name = |text: &str| Token::Name(text.to_owned());
        let expected = [
            Token::Keyword("select"),
            name("s"),
            Token::Symbol("."),
            Token::Quoted("a \"b\"".into()),
            Token::Symbol(","),
            Token::Text("it's".into()),
            Token::Keyword("from"),
            name("S3Object"),
            Token::Symbol("["),
            Token::Symbol("*"),
            Token::Symbol("]"),
            name("s"),
            Token::Keyword("where"),
            name("_1"),
            Token::Symbol("<="),
            Token::Number(".5e3".into()),
            Token::Symbol(";"),
            Token::End,
        ];
        assert_eq!(found, expected);
        let (_, at) = &tokens(text).unwrap()[6];
        assert_eq!((at.line, at.column), (2, 2));
    }

    #[test]
    fn what_is_no_word_is_refused() {
        for (text, code) in [
            ("SELECT 'a", "LexerInvalidChar"),
            ("a ? b", "LexerInvalidChar"),
            ("/* a", "LexerInvalidChar"),
            ("1e", "LexerInvalidLiteral"),
            ("1a", "LexerInvalidLiteral"),
        ] {
            assert_eq!(tokens(text).unwrap_err().code, code, "{text}");
        }
    }
}
