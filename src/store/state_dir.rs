//! The state folder: private to one user, never followed through a symlink.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::sensitive;

const KEY_BYTES: usize = 32;

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Neither `--state-dir`, `XDG_STATE_HOME` nor `HOME` says where.
    #[error("no state folder: neither XDG_STATE_HOME nor HOME is set; name one with --state-dir")]
    NoHome,
    /// The folder itself is a symlink.
    #[error(
        "the state folder {} is a symlink; name the real folder with --state-dir", .path.display()
    )]
    Symlink {
        /// The folder.
        path: PathBuf,
    },
    /// Something else is in its place.
    #[error("{} is not a folder; move it away or name another with --state-dir", .path.display())]
    NotAFolder {
        /// What is in the way.
        path: PathBuf,
    },
    /// It belongs to another user, who could read or replace what is in it.
    #[error(
        "{} belongs to user {owner}, not to {own}; run as that user, or name another folder with --state-dir",
        .path.display()
    )]
    Foreign {
        /// Folder or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// This process's user.
        own: u32,
    },
    /// Others may write into it.
    #[error(
        "{} can be written by others (mode {mode:04o}); run `chmod go-rwx {}`",
        .path.display(), .path.display()
    )]
    Writable {
        /// Folder or file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// The key file isn't a plain file of 32 bytes.
    #[error(
        "{} is not a redaction key; remove it and a new one is made (fingerprints in old output then no longer compare)",
        .path.display()
    )]
    BadKey {
        /// The key file.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error(
        "another homeostat uses the state folder {}; stop it or name another with --state-dir",
        .path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The system said no.
    #[error("can't {action} {}: {source}; check its permissions and free space", .path.display())]
    Io {
        /// `create`, `open`, `read`…
        action: &'static str,
        /// Folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where the state lives when `--state-dir` doesn't say: `/var/lib/homeostat` as root, otherwise
/// `$XDG_STATE_HOME/homeostat`, otherwise `~/.local/state/homeostat`.
///
/// `variable` looks up an environment variable. A relative `XDG_STATE_HOME` is ignored, as the
/// XDG Base Directory Specification demands.
///
/// # Errors
/// [`StateDirError::NoHome`].
pub fn default_state_dir(
    root: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, StateDirError> {
    if root {
        return Ok(PathBuf::from("/var/lib/homeostat"));
    }
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("homeostat"))
        .ok_or(StateDirError::NoHome)
}

/// Files made from now on are readable by this user only (umask 0077). Process-wide: call it
/// once, first in `main`.
pub fn restrict_umask() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// A checked state folder.
///
/// # Guarantees
/// It is a real folder of this user with mode 0700.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// The right to be the one daemon of a state folder; ends when dropped or when the process dies.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateDir {
    /// Opens the folder, creating it (0700) when it is missing.
    ///
    /// A folder of ours that others may only read is tightened to 0700; one that others could
    /// write is refused, because what is in it may already be theirs.
    ///
    /// # Errors
    /// A symlink, somebody else's folder, one that others may write, or an I/O error.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        // Rebuilt from its components: a trailing slash would make the kernel follow a symlink.
        let path: PathBuf = path.components().collect();
        let io = |action| {
            let path = path.clone();
            move |source| StateDirError::Io { action, path, source }
        };
        if let Err(error) = path.symlink_metadata() {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(io("open")(error));
            }
            DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io("create"))?;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(error) => {
                let symlink = path.symlink_metadata().is_ok_and(|m| m.file_type().is_symlink());
                return Err(match error {
                    _ if symlink => StateDirError::Symlink { path },
                    Errno::NOTDIR => StateDirError::NotAFolder { path },
                    other => io("open")(other.into()),
                });
            }
        };
        let meta = folder.metadata().map_err(io("read"))?;
        check_owner(&path, &meta)?;
        if meta.mode() & 0o777 != 0o700 {
            folder.set_permissions(Permissions::from_mode(0o700)).map_err(io("restrict"))?;
        }
        Ok(Self { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's database.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.db")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Claims the folder for one daemon, without waiting.
    ///
    /// # Errors
    /// [`StateDirError::Locked`] while another process holds it.
    pub fn lock(&self) -> Result<StateLock, StateDirError> {
        let path = self.path.join("daemon.lock");
        let file = self.private_file(&path, "open", |o| o.create(true).truncate(false))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(StateLock { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(StateDirError::Locked { path: self.path.clone() }),
            Err(error) => Err(StateDirError::Io { action: "lock", path, source: error.into() }),
        }
    }

    /// The installation's redaction key: read, or made on first use.
    ///
    /// # Errors
    /// [`StateDirError::BadKey`] for anything that isn't our plain file of 32 bytes.
    pub fn redaction_key(&self) -> Result<[u8; KEY_BYTES], StateDirError> {
        let path = self.path.join("redaction.key");
        if path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            self.make_key(&path)?;
        }
        let file = self.private_file(&path, "read", |o| o)?;
        let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
        (&file)
            .take(KEY_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| StateDirError::Io { action: "read", path: path.clone(), source })?;
        bytes.try_into().map_err(|_| StateDirError::BadKey { path })
    }

    /// 32 hexadecimal digits, drawn anew at each call.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn random_id(&self) -> Result<String, StateDirError> {
        let mut bytes = [0_u8; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(
            |error| StateDirError::Io {
                action: "draw random bytes for",
                path: self.path.clone(),
                source: error.into(),
            },
        )?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Puts the redaction key in force for [`sensitive::Sensitive`].
    ///
    /// # Errors
    /// As [`Self::redaction_key`].
    pub fn load_redaction_key(&self) -> Result<(), StateDirError> {
        sensitive::set_redaction_key(self.redaction_key()?);
        Ok(())
    }

    /// Written aside and linked into place, so that of two first starts one key wins and no
    /// reader ever sees half of it.
    fn make_key(&self, path: &Path) -> Result<(), StateDirError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| StateDirError::Io { action, path, source }
        };
        let mut key = [0_u8; KEY_BYTES];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| io("make", path)(e.into()))?;
        let aside = self.path.join(format!("redaction.key.{}", std::process::id()));
        let _ = std::fs::remove_file(&aside);
        let written = self
            .private_file(&aside, "create", |o| o.create_new(true))
            .and_then(|mut file| {
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(io("write", &aside))
            })
            .and_then(|()| match std::fs::hard_link(&aside, path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    Err(io("create", path)(error))
                }
                _ => Ok(()),
            });
        let _ = std::fs::remove_file(&aside);
        written
    }

    /// Opens a file of this folder for reading and writing: plain, ours, 0600.
    fn private_file(
        &self,
        path: &Path,
        action: &'static str,
        with: impl FnOnce(&mut OpenOptions) -> &mut OpenOptions,
    ) -> Result<File, StateDirError> {
        open_private(path, action, with)
    }
}

/// Opens a plain file of this user (0600), never through a symlink.
pub(super) fn open_private(
    path: &Path,
    action: &'static str,
    with: impl FnOnce(&mut OpenOptions) -> &mut OpenOptions,
) -> Result<File, StateDirError> {
    let io = |source| StateDirError::Io { action, path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    // NONBLOCK: a pipe in the file's place must not hang us.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    let file = with(&mut options).open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(io(io::Error::other("it is not a plain file")));
    }
    check_owner(path, &meta)?;
    if meta.mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
    }
    Ok(file)
}

fn check_owner(path: &Path, meta: &std::fs::Metadata) -> Result<(), StateDirError> {
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own {
        return Err(StateDirError::Foreign { path: path.to_owned(), owner: meta.uid(), own });
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(StateDirError::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().expect("exists").mode() & 0o777
    }

    #[test]
    fn the_default_follows_the_user() {
        let with = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).into())
        };
        let of = |root, pairs| default_state_dir(root, with(pairs)).ok();
        assert_eq!(of(true, &[("HOME", "/root")]), Some("/var/lib/homeostat".into()));
        assert_eq!(
            of(false, &[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]),
            Some("/s/homeostat".into())
        );
        assert_eq!(
            of(false, &[("XDG_STATE_HOME", "s"), ("HOME", "/h")]),
            Some("/h/.local/state/homeostat".into())
        );
        assert_eq!(of(false, &[]), None);
    }

    #[test]
    fn a_new_folder_and_its_files_are_private() {
        let base = tempfile::tempdir().expect("temp");
        let dir = StateDir::open(&base.path().join("a/b")).expect("opens");
        assert_eq!(mode(dir.path()), 0o700);
        let key = dir.redaction_key().expect("made");
        assert_ne!(key, [0; 32]);
        assert_eq!(dir.redaction_key().expect("read"), key, "made once");
        assert_eq!(mode(&dir.path().join("redaction.key")), 0o600);
        let names: Vec<_> = std::fs::read_dir(dir.path()).expect("lists").collect();
        assert_eq!(names.len(), 1, "nothing is left over: {names:?}");
    }

    #[test]
    fn a_readable_folder_is_tightened_and_a_writable_one_refused() {
        let base = tempfile::tempdir().expect("temp");
        let chmod = |bits| std::fs::set_permissions(base.path(), Permissions::from_mode(bits));
        chmod(0o755).expect("chmod");
        StateDir::open(base.path()).expect("opens");
        assert_eq!(mode(base.path()), 0o700);
        for bits in [0o770, 0o702] {
            chmod(bits).expect("chmod");
            let error = StateDir::open(base.path()).expect_err("refused");
            assert!(matches!(error, StateDirError::Writable { .. }), "{error}");
            assert_eq!(mode(base.path()), bits, "left as it was");
        }
    }

    #[test]
    fn symlinks_are_refused_for_folder_and_key() {
        let base = tempfile::tempdir().expect("temp");
        let real = base.path().join("real");
        let dir = StateDir::open(&real).expect("opens");
        let link = base.path().join("link");
        std::os::unix::fs::symlink(&real, &link).expect("links");
        for path in [link.clone(), PathBuf::from(format!("{}/", link.display()))] {
            let error = StateDir::open(&path).expect_err("refused");
            assert!(matches!(error, StateDirError::Symlink { .. }), "{error}");
        }
        std::fs::write(base.path().join("bait"), [7; 32]).expect("writes");
        std::os::unix::fs::symlink(base.path().join("bait"), real.join("redaction.key"))
            .expect("links");
        assert!(dir.redaction_key().is_err());
    }

    #[test]
    fn anothers_folder_is_refused() {
        if !rustix::process::geteuid().is_root() {
            // Only root can give a folder away; another user's folder is then `/` itself.
            let error = StateDir::open(Path::new("/")).expect_err("refused");
            assert!(matches!(error, StateDirError::Foreign { .. }), "{error}");
            return;
        }
        let base = tempfile::tempdir().expect("temp");
        let path = base.path().join("theirs");
        std::fs::create_dir(&path).expect("made");
        std::os::unix::fs::chown(&path, Some(65534), None).expect("chown");
        let error = StateDir::open(&path).expect_err("refused");
        assert!(matches!(error, StateDirError::Foreign { owner: 65534, .. }), "{error}");
    }

    #[test]
    fn a_file_in_the_folders_place_is_refused() {
        let base = tempfile::tempdir().expect("temp");
        let path = base.path().join("file");
        std::fs::write(&path, "x").expect("writes");
        let error = StateDir::open(&path).expect_err("refused");
        assert!(matches!(error, StateDirError::NotAFolder { .. }), "{error}");
    }

    #[test]
    fn a_key_of_the_wrong_size_is_refused() {
        let base = tempfile::tempdir().expect("temp");
        let dir = StateDir::open(base.path()).expect("opens");
        for size in [0, 31, 33, 4096] {
            std::fs::write(base.path().join("redaction.key"), vec![1; size]).expect("writes");
            let error = dir.redaction_key().expect_err("refused");
            assert!(matches!(error, StateDirError::BadKey { .. }), "{size}: {error}");
        }
    }

    #[test]
    fn the_folder_has_one_daemon() {
        let base = tempfile::tempdir().expect("temp");
        let dir = StateDir::open(base.path()).expect("opens");
        let held = dir.lock().expect("locks");
        assert!(matches!(dir.lock(), Err(StateDirError::Locked { .. })));
        drop(held);
        dir.lock().expect("free again");
    }
}
