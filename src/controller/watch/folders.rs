//! Changes of files, heard from the kernel, or else found by looking.
//!
//! Folders are watched, not files: a file that is replaced by renaming another over it is a new
//! file, and its watch would stay with the old one. The folder above each is watched too, so that
//! a folder which is removed and made again is taken up.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Pause between two looks when the kernel doesn't tell.
pub const POLL: Duration = Duration::from_secs(5);
/// Pause between two looks when it does: network file systems tell nothing of other hosts.
pub const SLOW_POLL: Duration = Duration::from_secs(60);

/// What matters of all that happens in the watched folders.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Interest {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Interest {
    fn of(files: &[PathBuf]) -> Self {
        let mut interest = Self::default();
        for file in files {
            // What a link points to may change where it lies.
            for path in [Some(file.clone()), std::fs::canonicalize(file).ok()].into_iter().flatten()
            {
                interest.folders.extend(path.parent().map(Path::to_owned));
                interest.files.insert(path);
            }
        }
        interest
    }

    /// Whether a change of this path may change what is loaded: a file that was read or that
    /// would be (a new override, a new `.env`), or a folder on the way to one.
    fn takes(&self, path: &Path) -> bool {
        if self.files.contains(path) || self.folders.iter().any(|f| f.starts_with(path)) {
            return true;
        }
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return false };
        let loadable = crate::desired::source::is_yaml(path)
            || name.starts_with(".env")
            || name.ends_with(".env")
            // Kubernetes swaps mounted folders by a link of such a name.
            || name.starts_with("..");
        loadable && path.parent().is_some_and(|p| self.folders.contains(p))
    }

    /// Folders to watch: each one and the one above it, or the nearest that exists.
    fn watched(&self) -> BTreeSet<PathBuf> {
        let mut watched = BTreeSet::new();
        for folder in &self.folders {
            let existing = folder.ancestors().find(|f| f.is_dir());
            watched.extend(existing.map(Path::to_owned));
            watched.extend(existing.and_then(Path::parent).map(Path::to_owned));
        }
        watched
    }
}

/// What a file looked like.
type Stamp = Option<(i64, i64, u64, u64)>;

/// Watches the folders of files.
pub struct FolderWatch {
    interest: Arc<Mutex<Interest>>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    stamps: BTreeMap<PathBuf, Stamp>,
}

impl FolderWatch {
    /// Signals changes on `changed`; a full channel is fine, as the change is known already.
    pub fn new(changed: mpsc::Sender<()>) -> Self {
        let interest = Arc::new(Mutex::new(Interest::default()));
        let filter = Arc::clone(&interest);
        let heard = move |event: notify::Result<Event>| {
            let matters = match &event {
                // Something was lost, or a watch broke: look.
                Err(_) => true,
                Ok(event) if event.need_rescan() => true,
                Ok(event) => {
                    is_change(&event.kind) && {
                        let filter = filter.lock().unwrap_or_else(PoisonError::into_inner);
                        event.paths.iter().any(|path| filter.takes(path))
                    }
                }
            };
            if matters {
                let _ = changed.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(heard)
            .inspect_err(|error| {
                tracing::warn!(%error, "can't watch files: looking every 5 seconds instead");
            })
            .ok();
        Self { interest, watcher, watched: BTreeSet::new(), stamps: BTreeMap::new() }
    }

    /// The same without the kernel's help.
    pub fn polling() -> Self {
        Self {
            interest: Arc::default(),
            watcher: None,
            watched: BTreeSet::new(),
            stamps: BTreeMap::new(),
        }
    }

    /// Watches the folders of these files from now on. Call it before the files are read: it
    /// remembers what they look like, and takes up folders that were made anew.
    pub fn watch(&mut self, files: &[PathBuf]) {
        let interest = Interest::of(files);
        let wanted = interest.watched();
        *self.interest.lock().unwrap_or_else(PoisonError::into_inner) = interest;
        if let Some(watcher) = &mut self.watcher {
            for gone in self.watched.difference(&wanted) {
                let _ = watcher.unwatch(gone);
            }
            // Watching again is harmless, and needed for a folder that was made anew.
            let failed = wanted.iter().find_map(|folder| {
                let error = watcher.watch(folder, RecursiveMode::NonRecursive).err()?;
                // Removed just now: the folder above tells when it is back.
                folder.is_dir().then_some(error)
            });
            if let Some(error) = failed {
                tracing::warn!(%error, "can't watch files: looking every 5 seconds instead");
                self.watcher = None;
            }
        }
        self.watched = wanted;
        self.stamps = self.look();
    }

    /// Looks at the files; whether anything changed since the last look.
    pub fn poll(&mut self) -> bool {
        let now = self.look();
        let changed = now != self.stamps;
        self.stamps = now;
        changed
    }

    /// Pause until the next look.
    pub const fn pause(&self) -> Duration {
        if self.watcher.is_some() { SLOW_POLL } else { POLL }
    }

    fn look(&self) -> BTreeMap<PathBuf, Stamp> {
        let interest = self.interest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut paths = interest.files.clone();
        for folder in &interest.folders {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            paths.extend(entries.map(|e| e.path()).filter(|p| interest.takes(p)).take(1000));
        }
        paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
    }
}

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    let size = if data.is_dir() { 0 } else { data.len() };
    Some((data.mtime(), data.mtime_nsec(), size, data.ino()))
}

/// Reading is no change: our own would wake us.
fn is_change(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_loaded_matters() {
        let interest = Interest::of(&["/srv/bot/compose.yaml".into(), "/srv/bot/app.txt".into()]);
        for path in [
            "/srv/bot/compose.yaml",
            "/srv/bot/app.txt",
            "/srv/bot/compose.override.yml",
            "/srv/bot/.env",
            "/srv/bot/prod.env",
            "/srv/bot",
            "/srv",
        ] {
            assert!(interest.takes(Path::new(path)), "{path}");
        }
        for path in [
            "/srv/bot/bot.log",
            "/srv/bot/.compose.yaml.swp",
            "/srv/other.yaml",
            "/srv/bot/a/b.yaml",
        ] {
            assert!(!interest.takes(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_missing_folder_is_awaited_above() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("a/b/compose.yaml");
        let interest = Interest::of(&[file]);
        assert!(interest.watched().contains(root.path()));
        assert!(interest.takes(&root.path().join("a")));
    }

    #[test]
    fn polling_sees_edits_replacements_and_new_files() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("compose.yaml");
        std::fs::write(&file, "a").expect("writes");
        let mut watch = FolderWatch::polling();
        watch.watch(std::slice::from_ref(&file));
        assert!(!watch.poll());
        std::fs::write(&file, "ab").expect("writes");
        assert!(watch.poll());
        assert!(!watch.poll());
        let other = root.path().join("new");
        std::fs::write(&other, "cd").expect("writes");
        assert!(!watch.poll(), "a file that nobody reads");
        std::fs::rename(&other, &file).expect("renames");
        assert!(watch.poll(), "same size, another inode");
        std::fs::write(root.path().join(".env"), "A=1").expect("writes");
        assert!(watch.poll());
        std::fs::remove_file(&file).expect("removes");
        assert!(watch.poll());
        assert_eq!(watch.pause(), POLL);
    }
}
