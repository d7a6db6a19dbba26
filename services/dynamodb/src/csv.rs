//! Files of comma-separated values.

/// The rows of a CSV file: fields may be in quotes, in which quotes are doubled and lines may end.
pub struct Rows<'t> {
    /// What is yet to be read.
    pub rest: &'t str,
    /// What stands between fields.
    pub delimiter: char,
}

impl Iterator for Rows<'_> {
    type Item = Vec<String>;
    fn next(&mut self) -> Option<Vec<String>> {
        while let Some(rest) = self.rest.strip_prefix(['\r', '\n']) {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return None;
        }
        let (mut row, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
        let mut chars = self.rest.char_indices().peekable();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if is_quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    field.push('"');
                    chars.next();
                }
                '"' if is_quoted => is_quoted = false,
                '"' if field.is_empty() => is_quoted = true,
                c if is_quoted => field.push(c),
                c if c == self.delimiter => row.push(std::mem::take(&mut field)),
                '\r' | '\n' => {
                    end = at;
                    break;
                }
                c => field.push(c),
            }
        }
        row.push(field);
        self.rest = self.rest.get(end..).unwrap_or_default();
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_csv_are_read() {
        let rows = Rows {
            rest: "a,b\r\n\"x, \"\"y\"\"\nz\",\n\nlast",
            delimiter: ',',
        };
        let rows: Vec<Vec<String>> = rows.collect();
        assert_eq!(
            rows,
            [vec!["a", "b"], vec!["x, \"y\"\nz", ""], vec!["last"]]
        );
    }
}
