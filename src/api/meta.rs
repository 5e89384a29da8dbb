//! What every resource has: version, kind, name.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// API group of homeostat's resources.
pub const GROUP: &str = "homeostat.dev";
/// Version of the resources that this program reads.
pub const API_VERSION: &str = "homeostat.dev/v1alpha1";
/// Kinds of the API. [`super::Stack`] and [`super::EscalationPolicy`] are acted upon by this version.
pub const KINDS: [&str; 4] = ["EscalationPolicy", "GpuPolicy", "Playbook", "Stack"];

/// A DNS label (RFC 1123): 1 to 63 lowercase letters, digits and `-`, no `-` at either end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// A name that is no DNS label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no valid name: use 1 to 63 lowercase letters, digits and `-`, beginning and ending \
     with a letter or digit"
)]
pub struct NameError(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] when it is no DNS label.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let bytes = text.as_bytes();
        let ends = bytes.first() != Some(&b'-') && bytes.last() != Some(&b'-');
        if (1..=63).contains(&bytes.len()) && ends && bytes.iter().all(|b| inner(*b)) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError(text.chars().take(80).collect()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            "minLength": 1,
            "maxLength": 63,
        })
    }
}

/// Name and notes of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Name, unique among resources of the kind.
    pub name: Name,
    /// Labels: notes that homeostat doesn't read.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Annotations: notes that homeostat doesn't read.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
}
