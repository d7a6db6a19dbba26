//! What the parser refuses, bounds and names.
#![allow(clippy::unwrap_used)]

use super::*;

fn code(text: &str) -> String {
    match parse(text) {
        Ok(query) => panic!("{text}: {query:?}"),
        Err(fault) => fault.code.to_string(),
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for (text, expected) in [
        ("", "ParseExpectedKeyword"),
        ("DELETE FROM S3Object", "ParseUnexpectedToken"),
        ("SELECT FROM S3Object", "ParseEmptySelect"),
        ("SELECT a", "ParseSelectMissingFrom"),
        ("SELECT * FROM t", "InvalidTableAlias"),
        ("SELECT * FROM S3Object.a", "InvalidKeyPath"),
        (
            "SELECT * FROM S3Object a, S3Object b",
            "MultipleDataSourcesUnsupported",
        ),
        ("SELECT * FROM S3Object JOIN b", "ParseMalformedJoin"),
        (
            "SELECT a, count(*) FROM S3Object",
            "UnsupportedSqlStructure",
        ),
        ("SELECT a FROM S3Object GROUP BY a", "ParseUnexpectedToken"),
        ("SELECT a FROM S3Object ORDER BY a", "ParseUnexpectedToken"),
        ("SELECT DISTINCT a FROM S3Object", "UnsupportedSqlStructure"),
        (
            "SELECT *, a FROM S3Object",
            "ParseAsteriskIsNotAloneInSelectList",
        ),
        ("SELECT s.cast FROM S3Object s", "ParseUnexpectedToken"),
        ("SELECT s.1 FROM S3Object s", "ParseUnexpectedToken"),
        ("SELECT a AS FROM S3Object", "ParseExpectedIdentForAlias"),
        ("SELECT a FROM S3Object WHERE", "ParseExpectedExpression"),
        ("SELECT a FROM S3Object WHERE a IS", "ParseExpectedTypeName"),
        (
            "SELECT a FROM S3Object WHERE sum(a) > 1",
            "UnsupportedSqlOperation",
        ),
        ("SELECT a FROM S3Object LIMIT -1", "EvaluatorNegativeLimit"),
        ("SELECT a FROM S3Object LIMIT x", "ParseExpectedNumber"),
        ("SELECT CAST(a) FROM S3Object", "ParseCastArity"),
        (
            "SELECT CAST a FROM S3Object",
            "ParseExpectedLeftParenAfterCast",
        ),
        ("SELECT CAST(a AS x) FROM S3Object", "ParseExpectedTypeName"),
        (
            "SELECT sum(*) FROM S3Object",
            "ParseUnsupportedCallWithStar",
        ),
        (
            "SELECT sum(a, b) FROM S3Object",
            "ParseNonUnaryAgregateFunctionCall",
        ),
        (
            "SELECT sum(sum(a)) FROM S3Object",
            "UnsupportedSqlOperation",
        ),
        ("SELECT abs(a) FROM S3Object", "UnsupportedFunction"),
        ("SELECT lower() FROM S3Object", "EvaluatorInvalidArguments"),
        (
            "SELECT lower(a FROM S3Object",
            "ParseExpectedRightParenBuiltinFunctionCall",
        ),
        (
            "SELECT date_add(week, 1, a) FROM S3Object",
            "ParseExpectedDatePart",
        ),
        (
            "SELECT date_add(year 1, a) FROM S3Object",
            "ParseExpectedArgumentDelimiter",
        ),
        ("SELECT CASE a END FROM S3Object", "ParseExpectedWhenClause"),
        ("SELECT `x y` FROM S3Object", "LexerInvalidIONLiteral"),
        (
            "SELECT s.a[*] FROM S3Object s",
            "ParseInvalidContextForWildcardInSelectList",
        ),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
    let fault = parse("SELECT a FROM S3Object GROUP BY a").unwrap_err();
    let message = "Unexpected token found KEYWORD:UNKNOWN at line 1, column 24.";
    assert_eq!(fault.message, message);
}

#[test]
fn expressions_are_bounded() {
    assert_eq!(code(&"x".repeat(LONGEST + 1)), "ExpressionTooLong");
    let nested = format!(
        "SELECT {}1{} FROM S3Object",
        "(".repeat(5000),
        ")".repeat(5000)
    );
    assert_eq!(code(&nested), "MaxOperatorsExceeded");
    let long = format!("SELECT 1{} FROM S3Object", "+1".repeat(50_000));
    assert_eq!(code(&long), "MaxOperatorsExceeded");
    let nots = format!("SELECT a FROM S3Object WHERE {} a", "NOT ".repeat(20_000));
    assert!(parse(&nots).is_ok());
    let either = format!(
        "SELECT a FROM S3Object WHERE a = 1{}",
        " OR a = 2".repeat(20_000)
    );
    assert!(parse(&either).is_ok());
}

proptest::proptest! {
    #[test]
    fn arbitrary_words_neither_panic_nor_hang(
        words in proptest::collection::vec("select|from|S3Object|where|limit|case|when|then|else|end|cast|as|int|\\(|\\)|\\[|\\]|\\*|,|\\.|-|not|in|between|and|like|escape|is|null|count|trim|both|substring|for|extract|year|date_add|`|'|\"|1|a|=|\\|\\||;", 0..30),
    ) {
        let _ = parse(&words.join(" "));
        let _ = parse(&format!("SELECT {} FROM S3Object", words.join(" ")));
    }
}

#[test]
fn items_are_named() {
    let text = "SELECT a, s.b.c, s.d[0], lower(a), 1 AS one, s.\"E e\" x FROM S3Object s";
    let Projection::Items(items) = parse(text).unwrap().projection else {
        panic!("items");
    };
    let names: Vec<&str> = items.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "c", "_3", "_4", "one", "x"]);
}
