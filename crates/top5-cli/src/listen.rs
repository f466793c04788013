//! Where a server listens: an address of this machine, by number or by name.

use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener};

use anyhow::Result;

/// A name that a browser or a resolver may be asked for.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    match !text.is_empty() && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("expected a name alone, as models.example: any port is allowed, and names of other letters are \
                      written as xn--…"
            .to_owned()),
    }
}

/// A host: its address, in brackets or not, or its name.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match address.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => host_name(text).map_err(|_| {
            "expected a host alone, as 127.0.0.1, ::1 or localhost; its port has a flag of its own"
                .to_owned()
        }),
    }
}

/// A host and a port.
pub(crate) fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').filter(|(before, _)| {
        // An address of version 6 has colons of its own.
        !before.contains(':') || before.ends_with(']')
    });
    let parts = parts.and_then(|(before, port)| Some((host(before).ok()?, port.parse().ok()?)));
    parts.ok_or_else(|| {
        "expected HOST:PORT, as localhost:8000, 127.0.0.1:8000 or [::1]:8000".to_owned()
    })
}

/// Takes the port; where another program has it, another one can be given by `flag`.
pub(crate) fn bind(host: &str, port: u16, flag: &str) -> Result<TcpListener> {
    TcpListener::bind((host, port)).map_err(|error| {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let taken = error.kind() == ErrorKind::AddrInUse;
        let advice = taken.then(|| format!(": the port is taken, give {flag} another"));
        let advice = advice.unwrap_or_default();
        anyhow::Error::new(error).context(format!("listening at {host}:{port}{advice}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_names() {
        assert_eq!(host_name("models.example").as_deref(), Ok("models.example"));
        for wrong in ["", "models.example:8000", "http://models.example", "*", "ä.example"] {
            assert!(host_name(wrong).unwrap_err().contains("a name alone"), "{wrong}");
        }
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("0.0.0.0", "0.0.0.0"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", "localhost:8000", "http://localhost", "[localhost]", ":::"] {
            assert!(host(wrong).unwrap_err().contains("a host alone"), "{wrong}");
        }
    }

    #[test]
    fn ports_follow_their_hosts() {
        for (text, name, port) in [
            ("localhost:8000", "localhost", 8000),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("[::1]:80", "::1", 80),
            ("models.example:65535", "models.example", 65535),
        ] {
            assert_eq!(host_and_port(text), Ok((name.to_owned(), port)), "{text}");
        }
        for wrong in ["", "8000", ":8000", "localhost", "localhost:", "localhost:65536", "::1:80"] {
            assert!(host_and_port(wrong).unwrap_err().contains("HOST:PORT"), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_listened_at_and_a_taken_port_is_told_with_it() {
        let taken = bind("localhost", 0, "--port").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(taken.local_addr().unwrap().ip().is_loopback());
        let host = taken.local_addr().unwrap().ip().to_string();
        let error = format!("{:#}", bind(&host, port, "--port").unwrap_err());
        assert!(error.contains(&format!("{port}: the port is taken, give --port")), "{error}");
    }
}
