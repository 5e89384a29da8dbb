//! Values that must not leak: environment, labels, build arguments, inline configs.
//!
//! `Debug`, `Display` and `Serialize` print `‹redacted:8-hex›`, where the digits are an HMAC of
//! the value under a key of this installation: two equal values look equal, and nobody can guess
//! a short value from its digits without the key. Only `config`, the body of a create call and
//! the configuration hash may call [`Sensitive::expose`].

use std::fmt;
use std::sync::OnceLock;

use hmac::{Hmac, Mac};
use serde::{Serialize, Serializer};
use sha2::Sha256;

static KEY: OnceLock<[u8; 32]> = OnceLock::new();

/// Sets the installation's redaction key. The first call wins; later ones are ignored.
pub fn set_redaction_key(key: [u8; 32]) {
    let _ = KEY.set(key);
}

/// A value that prints as a fingerprint.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Call it only where the value must leave (see the module's page).
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, for a change during loading.
    pub const fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Serialize> Sensitive<T> {
    /// `‹redacted:8-hex›`. Without an installation key the digits are left out.
    pub fn fingerprint(&self) -> String {
        let Some(key) = KEY.get() else { return "‹redacted›".into() };
        let (Ok(mut mac), Ok(bytes)) =
            (Hmac::<Sha256>::new_from_slice(key), serde_json::to_vec(&self.0))
        else {
            return "‹redacted›".into();
        };
        mac.update(&bytes);
        let digest = mac.finalize().into_bytes();
        let hex: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        format!("‹redacted:{hex}›")
    }
}

impl<T> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Serialize> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl<T: Serialize> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl<T: Serialize> Serialize for Sensitive<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_output_holds_the_value() {
        set_redaction_key([7; 32]);
        let secret = Sensitive::new(String::from("hunter2"));
        let outputs = [
            format!("{secret}"),
            format!("{secret:?}"),
            serde_json::to_string(&secret).expect("serialises"),
        ];
        for output in outputs {
            assert!(!output.contains("hunter2"), "{output}");
            assert!(output.contains("‹redacted:"), "{output}");
        }
    }

    #[test]
    fn equal_values_share_a_fingerprint_and_others_do_not() {
        set_redaction_key([7; 32]);
        let a = Sensitive::new("a".to_owned());
        assert_eq!(a.fingerprint(), Sensitive::new("a".to_owned()).fingerprint());
        assert_ne!(a.fingerprint(), Sensitive::new("b".to_owned()).fingerprint());
    }
}
