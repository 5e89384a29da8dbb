//! What keeps a service, network or volume from being translated.

/// A canonical value that has no body. `at` is its path in the project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TranslateError {
    /// homeostat doesn't know the attribute, so it can't promise what Compose would do.
    #[error("{at} is not supported yet: remove it, or run this service without homeostat")]
    Unsupported {
        /// Path of the attribute.
        at: String,
    },
    /// The value has the wrong type or can't be read.
    #[error("{at} is invalid: {reason}")]
    Invalid {
        /// Path of the attribute.
        at: String,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// The attribute refers to something that the project lacks.
    #[error("{at} refers to {what}, which the project does not define: add it or fix the name")]
    Undefined {
        /// Path of the attribute.
        at: String,
        /// What is missing.
        what: String,
    },
    /// A namespace, volume source or link needs a container that doesn't exist.
    #[error("{at} needs a container of service {service}, which has none: create that one first")]
    ParentMissing {
        /// Path of the attribute.
        at: String,
        /// The service without a container.
        service: String,
    },
    /// The engine is too old.
    #[error("{at} needs an engine of API {}.{} or later: update the engine or remove it", .needed.0, .needed.1)]
    NeedsApi {
        /// Path of the attribute.
        at: String,
        /// The least API version.
        needed: (u32, u32),
    },
}

impl TranslateError {
    pub(super) fn invalid(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { at: at.into(), reason: reason.into() }
    }
}
