//! Mistakes in Compose files, each with its place, the line that it is in and the mend.
//!
//! Messages never hold a value of the environment: they name the attribute, the variable or what
//! was written in the file before interpolation.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in one of the files of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Index of the file in [`Sources`].
    pub file: u16,
    /// Column in characters, counted from 1; 0 when unknown.
    pub column: u16,
    /// Line, counted from 1; 0 when unknown.
    pub line: u32,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file, as an absolute path.
    pub file: PathBuf,
    /// Line, counted from 1; 0 when the mistake concerns the file as a whole.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// What is wrong, lowercase, without a final dot.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The source line, as written.
    pub excerpt: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            let indent: String = excerpt
                .chars()
                .take(self.column.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n {gutter} |\n {number} | {excerpt}\n {gutter} | {indent}^")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a project, sorted by place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError(pub Vec<Diagnostic>);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// Marks that a stage failed; the mistakes are in [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed;

/// The result of a stage.
pub(super) type Staged<T> = Result<T, Failed>;

/// At most this many mistakes are kept: more help nobody.
const MAX_DIAGNOSTICS: usize = 50;
/// Longest excerpt, in characters.
const MAX_EXCERPT: usize = 160;

struct Source {
    path: PathBuf,
    text: std::rc::Rc<str>,
}

/// The files that a load has read, and the mistakes found in them so far.
#[derive(Default)]
pub(super) struct Sources {
    files: Vec<Source>,
    diagnostics: Vec<Diagnostic>,
    /// Files read besides the Compose files given (env files, label files).
    pub(super) others: Vec<PathBuf>,
    /// Warnings: what is accepted but probably not meant.
    pub(super) warnings: Vec<String>,
    /// The text of the file `-`.
    pub(super) stdin: Option<std::rc::Rc<str>>,
}

impl Sources {
    /// Registers a file's text and returns its index.
    pub(super) fn add(&mut self, path: &Path, text: std::rc::Rc<str>) -> u16 {
        let index = self.files.len();
        self.files.push(Source { path: path.to_owned(), text });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    /// The path of a file.
    pub(super) fn path(&self, file: u16) -> PathBuf {
        self.files.get(usize::from(file)).map(|s| s.path.clone()).unwrap_or_default()
    }

    /// Paths of all YAML files read so far.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|s| s.path.as_path())
    }

    /// Notes a mistake at a place.
    pub(super) fn report(&mut self, place: Place, message: impl Into<String>) -> Failed {
        self.push(place, message.into(), None)
    }

    /// Notes a mistake at a place, with the mend.
    pub(super) fn report_help(
        &mut self,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Failed {
        self.push(place, message.into(), Some(help.into()))
    }

    /// Notes a mistake that concerns a whole file.
    pub(super) fn report_file(&mut self, path: &Path, message: impl Into<String>) -> Failed {
        self.report_line(path, 0, message)
    }

    /// Notes a mistake in a line of a file that is no YAML (an env file).
    pub(super) fn report_line(
        &mut self,
        path: &Path,
        line: u32,
        message: impl Into<String>,
    ) -> Failed {
        self.add_diagnostic(Diagnostic {
            file: path.to_owned(),
            line,
            column: u32::from(line > 0),
            message: message.into(),
            help: None,
            excerpt: None,
        })
    }

    fn push(&mut self, place: Place, message: String, help: Option<String>) -> Failed {
        let source = self.files.get(usize::from(place.file));
        let excerpt = source.filter(|_| place.line > 0).and_then(|s| {
            let line = s.text.lines().nth(place.line as usize - 1)?;
            (line.chars().count() <= MAX_EXCERPT).then(|| printable(line.trim_end()))
        });
        let file = self.path(place.file);
        let (line, column) = (place.line, u32::from(place.column));
        self.add_diagnostic(Diagnostic { file, line, column, message, help, excerpt })
    }

    fn add_diagnostic(&mut self, diagnostic: Diagnostic) -> Failed {
        if self.diagnostics.len() < MAX_DIAGNOSTICS && !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
        Failed
    }

    /// Fails if any mistake has been noted.
    pub(super) fn check(&self) -> Staged<()> {
        if self.diagnostics.is_empty() { Ok(()) } else { Err(Failed) }
    }

    /// The mistakes, sorted by place.
    pub(super) fn into_error(mut self) -> LoadError {
        self.diagnostics.sort();
        LoadError(self.diagnostics)
    }
}

/// A line that can't drive a terminal.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// `did you mean X?` for the known name that is nearest to a wrong one.
pub(super) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(wrong.len()) / 3)
        .min()
        .map(|(_, name)| name)
}

/// The help line for a wrong name: the nearest known one, or all when they are few.
pub(super) fn did_you_mean<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(name) = nearest(wrong, known.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let names: Vec<&str> = known.into_iter().take(9).collect();
    (!names.is_empty() && names.len() <= 8).then(|| format!("known here: {}", names.join(", ")))
}
