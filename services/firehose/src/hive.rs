//! Types of columns, as Hive writes them: `array<struct<sku:string,price:decimal(10,2)>>`.

/// How deep types may be nested.
const DEEPEST: usize = 32;

/// The type of a column, or of what is within one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Boolean,
    /// Signed, of that many bits: 8, 16, 32, 64.
    Integer(u8),
    Float,
    Double,
    /// Digits in all, and behind the point.
    Decimal(u8, u8),
    /// At most that many characters; a `char` loses the spaces at its end.
    Text {
        most: Option<usize>,
        is_char: bool,
    },
    Binary,
    Date,
    Timestamp,
    List(Box<Type>),
    /// The type of the keys, which is no list, map or structure, and of the values.
    Map(Box<Type>, Box<Type>),
    Structure(Vec<(String, Type)>),
}

impl Type {
    /// Reads a type; `None` for what Hive does not know, or Parquet cannot hold.
    pub(crate) fn parse(text: &str) -> Option<Type> {
        let mut rest = text.trim();
        let found = read(&mut rest, 0)?;
        rest.trim().is_empty().then_some(found)
    }

    fn is_nested(&self) -> bool {
        matches!(self, Type::List(_) | Type::Map(..) | Type::Structure(_))
    }
}

/// Takes that character off, with the space around it.
fn take(rest: &mut &str, c: char) -> Option<()> {
    *rest = rest.trim_start().strip_prefix(c)?.trim_start();
    Some(())
}

/// Takes a number off.
fn number(rest: &mut &str) -> Option<usize> {
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let (digits, more) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = more.trim_start();
    digits.parse().ok()
}

/// The name of a structure's member, up to its colon; within backquotes it may be anything.
fn name(rest: &mut &str) -> Option<String> {
    *rest = rest.trim_start();
    if let Some(quoted) = rest.strip_prefix('`') {
        let mut name = String::new();
        let mut chars = quoted.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '`' {
                name.push(c);
            } else if chars.next_if(|(_, next)| *next == '`').is_some() {
                name.push('`');
            } else {
                *rest = quoted.get(at + 1..)?;
                return Some(name).filter(|n| !n.is_empty());
            }
        }
        return None;
    }
    let (name, _) = rest.split_once(':')?;
    let is_plain = !name.is_empty() && !name.contains(['<', '>', ',', '(', ')']);
    *rest = rest.get(name.len()..)?;
    is_plain.then(|| name.trim().to_owned())
}

fn read(rest: &mut &str, depth: usize) -> Option<Type> {
    if depth > DEEPEST {
        return None;
    }
    *rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
    let (word, more) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = more.trim_start();
    let found = match word.to_ascii_lowercase().as_str() {
        "boolean" => Type::Boolean,
        "tinyint" => Type::Integer(8),
        "smallint" => Type::Integer(16),
        "int" | "integer" => Type::Integer(32),
        "bigint" => Type::Integer(64),
        "float" => Type::Float,
        "double" => Type::Double,
        "decimal" => {
            let (mut precision, mut scale) = (10, 0);
            if take(rest, '(').is_some() {
                precision = number(rest)?;
                if take(rest, ',').is_some() {
                    scale = number(rest)?;
                }
                take(rest, ')')?;
            }
            if !(1..=38).contains(&precision) || scale > precision {
                return None;
            }
            Type::Decimal(u8::try_from(precision).ok()?, u8::try_from(scale).ok()?)
        }
        "string" => Type::Text {
            most: None,
            is_char: false,
        },
        word @ ("varchar" | "char") => {
            let is_char = word == "char";
            take(rest, '(')?;
            let most = number(rest)?;
            take(rest, ')')?;
            if !(1..=if is_char { 255 } else { 65_535 }).contains(&most) {
                return None;
            }
            Type::Text {
                most: Some(most),
                is_char,
            }
        }
        "binary" => Type::Binary,
        "date" => Type::Date,
        "timestamp" => Type::Timestamp,
        "array" => {
            take(rest, '<')?;
            let element = read(rest, depth + 1)?;
            take(rest, '>')?;
            Type::List(Box::new(element))
        }
        "map" => {
            take(rest, '<')?;
            let key = read(rest, depth + 1)?;
            take(rest, ',')?;
            let value = read(rest, depth + 1)?;
            take(rest, '>')?;
            if key.is_nested() {
                return None;
            }
            Type::Map(Box::new(key), Box::new(value))
        }
        "struct" => {
            take(rest, '<')?;
            let mut members: Vec<(String, Type)> = Vec::new();
            loop {
                let name = name(rest)?;
                take(rest, ':')?;
                let is_new = |(n, _): &(String, Type)| !n.eq_ignore_ascii_case(&name);
                if !members.iter().all(is_new) {
                    return None;
                }
                members.push((name, read(rest, depth + 1)?));
                if take(rest, ',').is_none() {
                    break;
                }
            }
            take(rest, '>')?;
            Type::Structure(members)
        }
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Type = Type::Text {
        most: None,
        is_char: false,
    };

    #[test]
    fn types_are_read_at_any_depth() {
        assert_eq!(Type::parse("BIGINT"), Some(Type::Integer(64)));
        assert_eq!(Type::parse("decimal( 10 , 2 )"), Some(Type::Decimal(10, 2)));
        assert_eq!(Type::parse("decimal"), Some(Type::Decimal(10, 0)));
        let nested = Type::parse("map<string, array<struct<a:int,`b:c``d`:string>>>");
        let structure = Type::Structure(vec![
            ("a".into(), Type::Integer(32)),
            ("b:c`d".into(), TEXT),
        ]);
        let list = Type::List(Box::new(structure));
        assert_eq!(nested, Some(Type::Map(Box::new(TEXT), Box::new(list))));
    }

    #[test]
    fn what_cannot_be_held_is_no_type() {
        let deep = format!("{}string{}", "array<".repeat(40), ">".repeat(40));
        for text in [
            "uniontype<int,string>",
            "array<string",
            "struct<a:>",
            "varchar(6 5535)",
            "varchar(65536)",
            "char(0)",
            "decimal(1 0,2)",
            "decimal(39,2)",
            "decimal(2,3)",
            "struct<a:int,A:string>",
            "map<array<string>,int>",
            "struct<:string>",
            "map<string>",
            "array<string>garbage",
            "struct<a:string>,",
            "",
            &deep,
        ] {
            assert_eq!(Type::parse(text), None, "{text}");
        }
    }
}
