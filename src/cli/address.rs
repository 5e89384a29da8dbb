//! Addresses to listen on.

use std::net::SocketAddr;

/// Reads `ADDR:PORT`. `localhost` is the IPv4 loopback address: no name is looked up.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let local = text
        .rsplit_once(':')
        .filter(|(host, _)| host.eq_ignore_ascii_case("localhost"))
        .map(|(_, port)| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(text).parse().map_err(|_| {
        "use an address with a port, as 127.0.0.1:9750, [::1]:9750 or localhost:9750".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_loopback_and_no_other_name_is_known() {
        for text in ["localhost:9750", "LocalHost:9750", "127.0.0.1:9750"] {
            let expected = SocketAddr::from(([127, 0, 0, 1], 9750));
            assert_eq!(address(text), Ok(expected), "{text}");
        }
        assert!(address("[::1]:0").is_ok());
        for text in ["localhost", "localhost:", "localhost:99999", "example.org:80", ":9750"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
