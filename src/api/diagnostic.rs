//! What is wrong, or doubtful, in a file that a person wrote: the place, the line and the mend.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest excerpt that is shown, in characters.
const MAX_EXCERPT: usize = 160;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// The file works, but perhaps not as meant.
    Warning,
}

/// A position in a text; both count from 1, 0 is unknown. Columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// File.
    pub file: PathBuf,
    /// Where in it; line 0 means the file as a whole.
    pub at: Position,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, lowercase, without a final dot.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line as written.
    pub excerpt: Option<String>,
}

impl Diagnostic {
    /// An error that concerns a whole file.
    pub fn file(path: &Path, message: impl Into<String>) -> Self {
        Self {
            file: path.to_owned(),
            at: Position::default(),
            severity: Severity::Error,
            message: message.into(),
            help: None,
            excerpt: None,
        }
    }

    /// An error at a place of `text`, the whole of the file.
    pub fn at(path: &Path, text: &str, at: Position, message: impl Into<String>) -> Self {
        let line = at.line.checked_sub(1).and_then(|n| text.lines().nth(n as usize));
        let excerpt = line
            .filter(|l| !l.trim().is_empty() && l.chars().count() <= MAX_EXCERPT)
            .map(|l| l.trim_end().to_owned());
        Self { at, excerpt, ..Self::file(path, message) }
    }

    /// The same with a mend.
    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        let Position { line, column } = self.at;
        if line > 0 {
            write!(f, ":{line}:{column}")?;
        }
        let word = if self.severity == Severity::Warning { "warning: " } else { "" };
        write!(f, ": {word}{}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            let gutter = " ".repeat(line.to_string().len());
            let before = excerpt.chars().take(column.saturating_sub(1) as usize);
            let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n {gutter} |\n {line} | {excerpt}\n {gutter} | {indent}^")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// The name nearest to a wrong one, if it is near enough to be meant.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len().min(wrong.len()) / 3)
        .map(|(_, name)| name)
}

/// The help line for a wrong name: the nearest known one, or all of them when they are few.
pub fn did_you_mean<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(name) = nearest(wrong, known.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let names: Vec<&str> = known.into_iter().take(21).collect();
    (1..=20).contains(&names.len()).then(|| format!("known here: {}", names.join(", ")))
}

impl From<crate::compose::Diagnostic> for Diagnostic {
    fn from(found: crate::compose::Diagnostic) -> Self {
        let at = Position { line: found.line, column: found.column };
        let crate::compose::Diagnostic { file, message, help, excerpt, .. } = found;
        Self { file, at, severity: Severity::Error, message, help, excerpt }
    }
}
