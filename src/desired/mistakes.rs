//! What is told when a stack doesn't load: all that can be found, not only what came first.

use std::path::Path;

use super::assemble::{LoadedStack, Written};
use super::diagnostics::Diagnostics;
use super::escalation::{Escalation, escalation};
use super::files::{ResourceFile, compose_file, name_of};
use super::source::{Source, parent};
use crate::api::diagnostic::Diagnostic;
use crate::api::document::Document;
use crate::compose::{self, LoadOptions};

impl Source {
    /// Loads the Compose files also where the policy is wrong: all mistakes are told at once.
    pub(super) fn load_all(
        &self,
        generation: u64,
        options: LoadOptions,
        written: Option<Written<'_>>,
        escalation: Result<Escalation, Diagnostics>,
    ) -> Result<LoadedStack, Diagnostics> {
        let (escalation, mistakes) = match escalation {
            Ok(escalation) => (escalation, None),
            Err(mistakes) => (Escalation::default(), Some(mistakes)),
        };
        let loaded = self.load_compose(generation, options, written, escalation);
        match (mistakes, loaded) {
            (None, loaded) => loaded,
            (Some(mistakes), Ok(loaded)) => Err(mistakes.read(loaded.files_read)),
            (Some(mistakes), Err(more)) => Err(mistakes.and(more)),
        }
    }

    /// The mistakes of a Stack with those of what lies beside it, which don't need it: whoever mends
    /// one sees all.
    pub(super) fn beyond(
        &self,
        mistakes: Diagnostics,
        file: &ResourceFile,
        files: &[ResourceFile],
    ) -> Diagnostics {
        let folder = parent(&file.path);
        let mut all = mistakes;
        if let Err(more) = escalation(files) {
            all = all.and(more);
        }
        let options = self.options(None, &folder);
        if compose_file(&folder).is_some()
            && let Err(error) = compose::load(&LoadOptions { files: Vec::new(), ..options })
        {
            let more = error.0.into_iter().map(Diagnostic::from).collect();
            all = all.and(Diagnostics::new(more));
        }
        all
    }

    /// Why the Stack isn't there: its file can't be understood, or it is gone.
    pub(super) fn missing(
        &self,
        last: &Path,
        documents: &[(&ResourceFile, Document<'_>)],
    ) -> Diagnostics {
        let nameless = documents
            .iter()
            .filter(|(file, document)| file.path == last && name_of(document).is_none());
        let mistakes: Vec<Diagnostic> =
            nameless.filter_map(|(file, document)| file.decode(document).err()).flatten().collect();
        if !mistakes.is_empty() {
            return Diagnostics::new(mistakes);
        }
        let message = format!("the Stack `{}` is gone from its files", self.name);
        let help = format!(
            "it is kept as it was last read; to take it down, stop the daemon, then `homeostat \
             delete stack/{}`",
            self.name
        );
        Diagnostics::gone(Diagnostic::file(last, message).help(help))
    }
}
