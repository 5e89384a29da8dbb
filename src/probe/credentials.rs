//! Credentials from files, read at every probe: small local files, so that a rotated secret is
//! taken up without a restart.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::probe::spec::Auth;
use crate::probe::{Outcome, reason};
use crate::sensitive::Sensitive;

/// Most bytes of a credential.
const LIMIT: u64 = 4096;

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub username: Option<Sensitive<String>>,
    pub password: Option<Sensitive<String>>,
    pub token: Option<Sensitive<String>>,
}

impl Credentials {
    /// Reads the files that `auth` names.
    ///
    /// # Errors
    /// The outcome of a probe that can't be made: unknown, `CredentialMissing`.
    pub fn read(auth: &Auth) -> Result<Self, Outcome> {
        let read = |path: &Option<String>| path.as_deref().map(read).transpose();
        Ok(Self {
            username: read(&auth.username_file)?,
            password: read(&auth.password_file)?,
            token: read(&auth.token_file)?,
        })
    }

    /// The value of an `Authorization` header.
    pub fn authorization(&self) -> Option<Sensitive<String>> {
        if let Some(token) = &self.token {
            return Some(Sensitive::new(format!("Bearer {}", token.expose())));
        }
        let password = self.password.as_ref()?;
        let username = self.username.as_ref().map_or("", |u| u.expose().as_str());
        let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
        Some(Sensitive::new(format!("Basic {pair}")))
    }
}

fn read(path: &str) -> Result<Sensitive<String>, Outcome> {
    let missing = |problem: &str| {
        Outcome::unknown(
            reason::CREDENTIAL_MISSING,
            format!("{path} {problem}: put the credential there"),
        )
    };
    let path_ref = Path::new(path);
    // A pipe would block the thread.
    if !path_ref
        .metadata()
        .map_err(|e| missing(&format!("can't be read ({})", e.kind())))?
        .is_file()
    {
        return Err(missing("is no regular file"));
    }
    let file =
        File::open(path_ref).map_err(|e| missing(&format!("can't be read ({})", e.kind())))?;
    let mut text = String::new();
    file.take(LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|e| missing(&format!("can't be read ({})", e.kind())))?;
    if text.len() as u64 > LIMIT {
        return Err(missing("is longer than 4096 bytes"));
    }
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(missing("is empty"));
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err(missing("has more than one line"));
    }
    Ok(Sensitive::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> Option<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.to_str().map(Into::into)
    }

    #[test]
    fn headers_follow_from_the_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let auth = Auth {
            username_file: file(&folder, "u", "ann\n"),
            password_file: file(&folder, "p", "pa:ss\r\n"),
            token_file: None,
        };
        let credentials = Credentials::read(&auth).expect("readable");
        let header = credentials.authorization().expect("a header");
        assert_eq!(header.expose(), "Basic YW5uOnBhOnNz");
        let auth = Auth { token_file: file(&folder, "t", "tok"), ..Auth::default() };
        let credentials = Credentials::read(&auth).expect("readable");
        assert_eq!(credentials.authorization().expect("a header").expose(), "Bearer tok");
    }

    #[test]
    fn what_is_no_credential_is_unknown_with_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        for password_file in [
            Some("/nonexistent/secret".into()),
            Some("/dev/zero".into()),
            file(&folder, "empty", "\n"),
            file(&folder, "long", &"x".repeat(5000)),
            file(&folder, "lines", "a\nb\n"),
        ] {
            let auth = Auth { password_file: password_file.clone(), ..Auth::default() };
            let outcome = Credentials::read(&auth).expect_err("refused");
            assert_eq!(outcome.reason, "CredentialMissing");
            assert!(outcome.message.starts_with(&password_file.expect("a path")));
        }
    }
}
