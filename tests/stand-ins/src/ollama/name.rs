//! Model names, compared as Ollama compares them: case ignored, parts filled in.

const HOST: &str = "registry.ollama.ai";
const NAMESPACE: &str = "library";
const TAG: &str = "latest";

/// A model's full name.
#[derive(Clone, Debug)]
pub struct Name {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

impl Name {
    /// Parses `[host/][namespace/]model[:tag]`; `None` where Ollama calls the name invalid.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (text, TAG),
        };
        let mut parts = path.rsplitn(3, '/');
        let model = parts.next().unwrap_or_default();
        let namespace = parts.next().unwrap_or(NAMESPACE);
        let host = parts.next().unwrap_or(HOST);
        let valid = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && part.len() <= 350
                && part.chars().all(allowed)
        };
        [model, namespace, host, tag].into_iter().all(valid).then(|| Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// What decides whether two names mean the same model.
    pub fn key(&self) -> String {
        format!("{}/{}/{}:{}", self.host, self.namespace, self.model, self.tag).to_lowercase()
    }

    /// The name as lists show it, without default host and namespace.
    pub fn short(&self) -> String {
        let model = format!("{}:{}", self.model, self.tag);
        match (self.host.as_str(), self.namespace.as_str()) {
            (HOST, NAMESPACE) => model,
            (HOST, namespace) => format!("{namespace}/{model}"),
            (host, namespace) => format!("{host}/{namespace}/{model}"),
        }
    }

    /// Host and manifest address, as a failed pull names them.
    pub fn manifest(&self) -> (&str, String) {
        let Self { host, namespace, model, tag } = self;
        (host, format!("https://{host}/v2/{namespace}/{model}/manifests/{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_with_their_parts_filled_in() {
        let key = |text| Name::parse(text).unwrap().key();
        for same in ["TINY", "tiny:latest", "library/Tiny", "registry.ollama.ai/library/tiny"] {
            assert_eq!(key(same), key("tiny"), "{same}");
        }
        assert_ne!(key("tiny:90k"), key("tiny"));
        assert_ne!(key("someone/tiny"), key("tiny"));
        assert_eq!(Name::parse("someone/tiny").unwrap().short(), "someone/tiny:latest");
        assert!(Name::parse("").is_none());
        assert!(Name::parse("a b").is_none());
    }
}
