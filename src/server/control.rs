//! The control socket: the owner's way in.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::{Extension, Router};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::connection::{self, Limits};
use super::listen::ServerError;
use super::routes::{self, Caller};
use crate::store::{StateDir, StateDirError, StateLock};

/// A bound control socket (0600). Its file goes when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// Removes the socket's file, if it is still ours, before the daemon's lock is given back.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
    _lock: StateLock,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.path.symlink_metadata().is_ok_and(|m| m.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl ControlSocket {
    /// Claims the state folder and binds the socket in it. A stale socket file is replaced; a
    /// live daemon is left alone.
    ///
    /// # Errors
    /// [`ServerError::AlreadyRunning`], [`ServerError::NotASocket`], [`ServerError::Socket`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(dir: &StateDir) -> Result<Self, ServerError> {
        let path = dir.socket();
        let failed = |source| ServerError::Socket { path: path.clone(), source };
        let lock = dir.lock().map_err(|error| match error {
            StateDirError::Locked { .. } => ServerError::AlreadyRunning { path: path.clone() },
            other => failed(io::Error::other(other.to_string())),
        })?;
        refuse_live(&path)?;
        // Bound aside, restricted, then moved into place: nobody sees it with another mode, and
        // the move replaces a stale one.
        let aside = path.with_extension("new");
        let _ = std::fs::remove_file(&aside);
        let listener = UnixListener::bind(&aside).map_err(failed)?;
        let placed = std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&aside, &path))
            .and_then(|()| path.symlink_metadata());
        let inode = match placed {
            Ok(meta) => meta.ino(),
            Err(error) => {
                let _ = std::fs::remove_file(&aside);
                return Err(failed(error));
            }
        };
        Ok(Self { listener, file: SocketFile { path, inode, _lock: lock } })
    }

    /// Serves reads and writes to this user and to root. The task ends after `stop`.
    pub fn serve(self, shared: Shared, stop: CancellationToken) -> JoinHandle<()> {
        let Self { listener, file } = self;
        let own = rustix::process::geteuid().as_raw();
        let router = routes::control(shared);
        tokio::spawn(async move {
            let admit = move |peer: &UnixStream| admit(peer, own, &router);
            connection::serve(listener, Limits::OWNER, stop, admit).await;
            drop(file);
        })
    }
}

fn admit(peer: &UnixStream, own: u32, router: &Router) -> Option<Router> {
    match peer.peer_cred() {
        Ok(cred) if may_enter(cred.uid(), own) => {
            Some(router.clone().layer(Extension(Caller { uid: cred.uid() })))
        }
        Ok(cred) => {
            tracing::warn!(uid = cred.uid(), "turned away from the control socket");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "a caller of the control socket has no credentials");
            None
        }
    }
}

const fn may_enter(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// The lock already says that no daemon of ours runs; this also catches one whose lock file was
/// removed under it.
fn refuse_live(path: &Path) -> Result<(), ServerError> {
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ServerError::Socket { path: path.to_owned(), source }),
    };
    if !meta.file_type().is_socket() {
        return Err(ServerError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(source) => Err(ServerError::Socket { path: path.to_owned(), source }),
        Ok(_) => Err(ServerError::AlreadyRunning { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::may_enter;

    #[test]
    fn only_the_owner_and_root_enter() {
        assert!(may_enter(1000, 1000));
        assert!(may_enter(0, 1000));
        assert!(!may_enter(1001, 1000));
        assert!(!may_enter(1000, 0));
    }
}
