//! What a failed load says.

use std::fmt;
use std::path::PathBuf;

use crate::api::diagnostic::Diagnostic;

/// Everything that is wrong with a source.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
pub struct Diagnostics {
    /// The findings, sorted by place; never empty.
    pub list: Vec<Diagnostic>,
    /// The source isn't there any more: deleted, moved away or unreadable. It says nothing about
    /// what is wanted, so nothing is removed for it.
    pub source_gone: bool,
    /// Files that were looked at; a change of one may mend the source.
    pub files: Vec<PathBuf>,
}

impl Diagnostics {
    /// Findings of files that are there.
    pub fn new(mut list: Vec<Diagnostic>) -> Self {
        list.sort();
        list.dedup();
        Self { list, source_gone: false, files: Vec::new() }
    }

    /// A source that isn't there.
    pub fn gone(finding: Diagnostic) -> Self {
        Self { list: vec![finding], source_gone: true, files: Vec::new() }
    }

    /// These and others of the same source, which is there.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.list.extend(more.list);
        let files = self.files.into_iter().chain(more.files);
        Self::new(self.list).read(files)
    }

    /// The same with the files that were looked at.
    #[must_use]
    pub fn read(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.files.extend(files);
        self.files.extend(self.list.iter().map(|d| d.file.clone()));
        self.files.sort();
        self.files.dedup();
        self
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(finding: Diagnostic) -> Self {
        Self::new(vec![finding])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.list.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}
