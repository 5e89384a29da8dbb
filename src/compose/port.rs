//! The short form of a port: `[[HOST_IP:][PUBLISHED]:]TARGET[/PROTOCOL]`, ranges included.

use std::net::IpAddr;

/// One port of a short form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShortPort {
    pub(super) host_ip: String,
    pub(super) published: String,
    pub(super) target: u16,
    pub(super) protocol: String,
}

/// Parses a short form; a range gives several ports, sorted by `target/protocol` as text.
pub(super) fn parse(spec: &str) -> Result<Vec<ShortPort>, String> {
    let (rest, protocol) = match spec.split_once('/') {
        None => (spec, "tcp".to_owned()),
        Some((_, "")) => return Err(format!("`{spec}` names no protocol after the slash")),
        Some((rest, protocol)) => (rest, protocol.to_ascii_lowercase()),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{spec}` has an unknown protocol: use tcp, udp or sctp"));
    }
    let (host_ip, published, target) = split(rest);
    if target.is_empty() {
        return Err(format!("`{spec}` names no container port"));
    }
    let host_ip = host_ip.trim_start_matches('[').trim_end_matches(']');
    if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
        return Err(format!("`{spec}` begins with an invalid IP address"));
    }
    let (start, end) = range(target).ok_or(format!("`{spec}` has an invalid container port"))?;
    let hosts = match published {
        "" => None,
        text => Some(range(text).ok_or(format!("`{spec}` has an invalid host port"))?),
    };
    if let Some((low, high)) = hosts {
        // One container port may take any port of a range; otherwise the ranges pair up.
        if high - low != end - start && end != start {
            return Err(format!("the ranges of `{spec}` differ in length"));
        }
    }
    let mut ports = Vec::new();
    for offset in 0..=end - start {
        let published = match hosts {
            None => String::new(),
            Some((low, high)) if end == start && high != low => format!("{low}-{high}"),
            Some((low, _)) => (low + offset).to_string(),
        };
        ports.push(ShortPort {
            host_ip: host_ip.to_owned(),
            published,
            target: start + offset,
            protocol: protocol.clone(),
        });
    }
    ports.sort_by_key(|port| format!("{}/{}", port.target, port.protocol));
    Ok(ports)
}

/// Splits in address, host port and container port.
fn split(text: &str) -> (&str, &str, &str) {
    let Some((rest, target)) = text.rsplit_once(':') else { return ("", "", text) };
    match rest.rsplit_once(':') {
        // A bracketed address without a port: `[::1]:80` can't be told from `ip:port`, as in Docker.
        None => ("", rest, target),
        Some((host_ip, published)) => (host_ip, published, target),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten()
    };
    match text.split_once('-') {
        None => port(text).map(|p| (p, p)),
        Some((low, high)) => {
            let (low, high) = (port(low)?, port(high)?);
            (low <= high).then_some((low, high))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(spec: &str) -> (String, String, u16, String) {
        let port = parse(spec).expect("parses").remove(0);
        (port.host_ip, port.published, port.target, port.protocol)
    }

    #[test]
    fn short_forms_are_taken_apart() {
        assert_eq!(one("80"), (String::new(), String::new(), 80, "tcp".into()));
        assert_eq!(one("8080:80/udp"), (String::new(), "8080".into(), 80, "udp".into()));
        assert_eq!(one("127.0.0.1:8080:80"), ("127.0.0.1".into(), "8080".into(), 80, "tcp".into()));
        assert_eq!(one("127.0.0.1::80"), ("127.0.0.1".into(), String::new(), 80, "tcp".into()));
        assert_eq!(one("[::1]:8080:80"), ("::1".into(), "8080".into(), 80, "tcp".into()));
        assert_eq!(one("8000-9000:80"), (String::new(), "8000-9000".into(), 80, "tcp".into()));
        assert_eq!(parse("9000-9002:80-82").expect("parses").len(), 3);
        for wrong in
            ["", "a", "80/x", "1.2.3:80:80", "70000:80", "1-3:4-5", "3-1:3-1", "80:", "80/"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
