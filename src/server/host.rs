//! The `Host` allow-list: what stops a web page that rebinds its name to 127.0.0.1.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Whether a request names this listener: its own address or `localhost`, with its port or none.
/// An absolute request target must name it too, because it overrides `Host`.
pub(super) fn is_ours(headers: &HeaderMap, target: &Uri, own: SocketAddr) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    names(host, own) && target.authority().is_none_or(|a| names(a.as_str(), own))
}

fn names(authority: &str, own: SocketAddr) -> bool {
    // IPv6 stands in brackets, so the last colon outside them starts the port.
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    };
    let port_fits = port.is_none_or(|p| p.parse() == Ok(own.port()));
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    let name_fits = name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip == own.ip());
    port_fits && name_fits
}

/// Refuses requests for other names with 421.
pub(super) async fn check(
    own: SocketAddr,
    rejected: impl Fn(),
    request: Request,
    next: Next,
) -> Response {
    if request.version() <= Version::HTTP_11 && is_ours(request.headers(), request.uri(), own) {
        return next.run(request).await;
    }
    rejected();
    let detail = format!("this is {own}; ask for it by that address or as localhost");
    Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(hosts: &[&str], target: &str, own: &str) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().expect("header"));
        }
        is_ours(&headers, &target.parse().expect("uri"), own.parse().expect("address"))
    }

    #[test]
    fn only_the_listeners_own_names_pass() {
        let v4 = "127.0.0.1:9750";
        for host in ["127.0.0.1:9750", "127.0.0.1", "localhost:9750", "LocalHost"] {
            assert!(ours(&[host], "/", v4), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9750",
            "localhost.evil.example",
            "localhost:80",
            "127.0.0.1:",
            "127.0.0.2:9750",
            "127.1:9750",
            "2130706433",
            "[::1]:9750",
            "localhost:9750:9750",
            "user@localhost",
        ] {
            assert!(!ours(&[host], "/", v4), "{host}");
        }
        assert!(ours(&["[::1]:9750"], "/", "[::1]:9750"));
        assert!(ours(&["[::1]"], "/", "[::1]:9750"));
    }

    #[test]
    fn no_host_two_hosts_and_another_target_are_refused() {
        let own = "127.0.0.1:9750";
        assert!(!ours(&[], "/", own));
        assert!(!ours(&["localhost", "evil.example"], "/", own));
        assert!(!ours(&["localhost"], "http://evil.example/metrics", own));
        assert!(ours(&["localhost"], "http://localhost:9750/metrics", own));
    }
}
