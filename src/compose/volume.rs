//! The short form of a mount: `[SOURCE:]TARGET[:OPTIONS]`.

/// A parsed short form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ShortMount {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) read_only: bool,
    pub(super) nocopy: bool,
    pub(super) propagation: Option<String>,
    pub(super) selinux: Option<String>,
}

impl ShortMount {
    /// The source is a path of the host rather than a volume's name.
    pub(super) fn is_bind(&self) -> bool {
        let mut chars = self.source.chars();
        match chars.next() {
            Some('.' | '/' | '~') => true,
            Some('\\') => self.source.starts_with("\\\\"),
            Some(letter) => letter.is_alphabetic() && chars.next() == Some(':'),
            None => false,
        }
    }
}

/// Parses a short form, or says what is wrong with it.
pub(super) fn parse(spec: &str) -> Result<ShortMount, String> {
    let mut mount = ShortMount::default();
    if spec.is_empty() {
        return Err("a mount can't be empty".into());
    }
    if spec.len() <= 2 {
        mount.target = spec.into();
        return Ok(mount);
    }
    let sections = sections(spec);
    if sections.iter().any(String::is_empty) {
        return Err(format!("`{spec}` has an empty section between colons"));
    }
    let mut sections = sections.into_iter();
    match (sections.next(), sections.next()) {
        (Some(target), None) => mount.target = target,
        (source, target) => {
            mount.source = source.unwrap_or_default();
            mount.target = target.unwrap_or_default();
        }
    }
    let options = sections.next().unwrap_or_default();
    if sections.next().is_some() {
        return Err(format!("`{spec}` has too many colons: use the long form"));
    }
    for option in options.split(',') {
        match option {
            "ro" => mount.read_only = true,
            "rw" => mount.read_only = false,
            "nocopy" => mount.nocopy = true,
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                mount.propagation = Some(option.into());
            }
            "z" | "Z" => mount.selinux = Some(option.into()),
            // Docker Compose ignores what it doesn't know.
            _ => {}
        }
    }
    Ok(mount)
}

/// Splits at colons, except behind a drive letter and inside `${…}`.
fn sections(spec: &str) -> Vec<String> {
    let mut result = Vec::new();
    let mut current = String::new();
    let mut inside = 0;
    let mut chars = spec.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '$' if chars.peek() == Some(&'{') => inside += 1,
            '}' if inside > 0 => inside -= 1,
            ':' if inside == 0 => {
                let mut letters = current.chars();
                let drive =
                    letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none();
                if !drive {
                    result.push(std::mem::take(&mut current));
                    continue;
                }
            }
            _ => {}
        }
        current.push(char);
    }
    result.push(current);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_taken_apart() {
        let mount = parse("./a:/b:ro,z").expect("parses");
        assert_eq!((mount.source.as_str(), mount.target.as_str()), ("./a", "/b"));
        assert!(mount.read_only && mount.is_bind());
        assert_eq!(mount.selinux.as_deref(), Some("z"));
        let mount = parse("data:/b").expect("parses");
        assert!(!mount.is_bind());
        let mount = parse("/b").expect("parses");
        assert_eq!((mount.source.as_str(), mount.target.as_str()), ("", "/b"));
        assert!(parse("C:\\x:/b").expect("parses").is_bind());
        assert!(parse("").is_err());
        assert!(parse("aa::b").is_err());
        assert!(parse("aa:/b:ro:x").is_err());
    }
}
