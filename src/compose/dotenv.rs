//! Env files as Docker Compose reads them: quotes, escapes, `export`, comments, expansion.

use super::interpolate::{Assignments, Lookup, TemplateError, substitute};

/// A mistake in an env file: the line and what is wrong, without any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnvError {
    pub(super) line: u32,
    pub(super) message: String,
}

/// Parses an env file into `out`; later names win. Expansion asks `lookup`, then what the file
/// has set so far.
pub(super) fn parse(text: &str, out: &mut Assignments, lookup: Lookup<'_>) -> Result<(), EnvError> {
    let mut parser = Parser { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    while parser.skip_to_statement() {
        let (key, inherited) = parser.key()?;
        if inherited {
            if let Some(value) = lookup(&key) {
                out.insert(key, value);
            }
            continue;
        }
        let value = parser.value(out, lookup)?;
        out.insert(key, value);
    }
    Ok(())
}

/// Parses the `raw` format: `KEY=VALUE` lines taken literally.
pub(super) fn parse_raw(
    text: &str,
    out: &mut Assignments,
    lookup: Lookup<'_>,
) -> Result<(), EnvError> {
    for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let (key, value) = match trimmed.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (trimmed.trim_end(), lookup(trimmed.trim_end())),
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            let line = u32::try_from(index + 1).unwrap_or(u32::MAX);
            return Err(EnvError {
                line,
                message: "the variable's name holds a space or is empty".into(),
            });
        }
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    }
    Ok(())
}

struct Parser<'a> {
    rest: &'a str,
    line: u32,
}

/// Spaces that don't end a line.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

impl<'a> Parser<'a> {
    fn error(&self, message: impl Into<String>) -> EnvError {
        EnvError { line: self.line, message: message.into() }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        let lines = taken.bytes().filter(|b| *b == b'\n').count();
        self.line += u32::try_from(lines).unwrap_or(0);
        self.rest = rest;
        taken
    }

    /// Skips blanks and comments; `false` at the end.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            let start = self.rest.find(|c: char| !c.is_whitespace()).unwrap_or(self.rest.len());
            self.take(start);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(end);
        }
    }

    /// A variable's name, and whether it stands alone (its value comes from outside).
    fn key(&mut self) -> Result<(String, bool), EnvError> {
        if let Some(tail) = self.rest.strip_prefix("export")
            && tail.starts_with(char::is_whitespace)
        {
            let skipped = self.rest.len() - tail.trim_start_matches(is_space).len();
            self.take(skipped);
        }
        let mut end = self.rest.len();
        let mut inherited = true;
        for (index, c) in self.rest.char_indices() {
            match c {
                '=' | ':' => {
                    (end, inherited) = (index, false);
                    break;
                }
                '\n' => {
                    end = index;
                    break;
                }
                '_' | '.' | '-' | '[' | ']' => {}
                c if is_space(c) || c.is_alphanumeric() => {}
                c => {
                    return Err(
                        self.error(format!("unexpected character `{c}` in a variable's name"))
                    );
                }
            }
        }
        let key = self.rest[..end].trim_end().to_owned();
        if key.contains(' ') {
            return Err(self.error("a variable's name can't hold a space"));
        }
        self.take((end + 1).min(self.rest.len()));
        let blanks = self.rest.len() - self.rest.trim_start_matches(is_space).len();
        self.take(blanks);
        Ok((key, inherited))
    }

    fn value(&mut self, set: &Assignments, lookup: Lookup<'_>) -> Result<String, EnvError> {
        let line = self.line;
        let text = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let inside = self.quoted(quote)?;
                if quote == '\'' {
                    return Ok(inside);
                }
                unescape(&inside)
            }
            _ => {
                let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
                let value = self.take(end);
                let value = value.split_once(" #").map_or(value, |(value, _)| value);
                value.trim_end().to_owned()
            }
        };
        if !text.contains('$') {
            return Ok(text);
        }
        let find = |name: &str| lookup(name).or_else(|| set.get(name).cloned());
        substitute(&text, &find, &mut Vec::new()).map_err(|error| EnvError {
            line,
            message: match error {
                TemplateError::Invalid => {
                    "a `${` is no variable: write `$${` or use single quotes".into()
                }
                TemplateError::Required(name, _) => {
                    format!("required variable `{name}` is not set")
                }
                TemplateError::TooLarge => "the value grows too large".into(),
            },
        })
    }

    /// The inside of a quoted value; a backslash keeps a quote inside.
    fn quoted(&mut self, quote: char) -> Result<String, EnvError> {
        let mut out = String::new();
        let mut escaped = false;
        for (index, c) in self.rest.char_indices().skip(1) {
            if c == quote && !escaped {
                self.take(index + 1);
                return Ok(out);
            }
            if c == '\\' && !escaped {
                escaped = true;
                continue;
            }
            if escaped && c != quote {
                out.push('\\');
            }
            escaped = false;
            out.push(c);
        }
        Err(self.error("a quoted value isn't closed"))
    }
}

/// Resolves the escapes of a double-quoted value. `\$` becomes `$$`, which expansion turns to `$`.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.peek() {
            Some('$') => out.push_str("$$"),
            Some('"') => out.push('"'),
            Some('\\') => out.push('\\'),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some('0') => {
                let mut digits = String::new();
                let mut ahead = chars.clone();
                ahead.next();
                while digits.len() < 3
                    && let Some(digit) = ahead.next_if(char::is_ascii_digit)
                {
                    digits.push(digit);
                }
                match u32::from_str_radix(&digits, 8).ok().filter(|_| digits.len() == 3) {
                    Some(code) if code < 256 => {
                        out.extend(char::from_u32(code));
                        chars = ahead;
                        continue;
                    }
                    _ => {
                        out.push('\\');
                        continue;
                    }
                }
            }
            _ => {
                out.push('\\');
                continue;
            }
        }
        chars.next();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Assignments {
        let mut out = Assignments::new();
        let lookup = |name: &str| (name == "OUT").then(|| "outside".to_owned());
        parse(text, &mut out, &lookup).expect("parses");
        out
    }

    #[test]
    fn every_form_of_value_is_read() {
        let env = read(concat!(
            "# comment\nA=1\n  B = two # note\nexport C='si$ngle #x'\nD=\"dou\\tble\\\"q $A\"\n",
            "E=${A}-${UNSET:-d}\nF: yaml\nOUT\nNOT_SET\nG=a#b\nH=\"multi\nline\"\nI=\nJ=\"\\$A\"\n",
            "K=$OUT\nL='it\\'s'\nM=x\r\n",
        ));
        for (name, value) in [
            ("A", "1"),
            ("B", "two"),
            ("C", "si$ngle #x"),
            ("D", "dou\tble\"q 1"),
            ("E", "1-d"),
            ("F", "yaml"),
            ("OUT", "outside"),
            ("G", "a#b"),
            ("H", "multi\nline"),
            ("I", ""),
            ("J", "$A"),
            ("K", "outside"),
            ("L", "it's"),
            ("M", "x"),
        ] {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!env.contains_key("NOT_SET"));
    }

    #[test]
    fn mistakes_name_their_line_and_no_value() {
        for (text, line) in [("A=1\nB!=secret\n", 2), ("A=1\nB=\"secret\n", 2), ("A B=secret", 1)] {
            let error = parse(text, &mut Assignments::new(), &|_| None).expect_err("fails");
            assert_eq!(error.line, line, "{text}");
            assert!(!error.message.contains("secret"), "{}", error.message);
        }
    }
}
