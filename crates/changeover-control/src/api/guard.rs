//! Who may call: a token, a host that isn't somebody else's name for this machine, and no foreign origin.
//!
//! Any web page can post to a loopback port, and a name of its own can be made to resolve to it (DNS rebinding).
//! So a request needs the token; its `Host` must be `localhost`, an address, or the name that `--listen` gave; and an
//! `Origin`, which browsers send, must be the same.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use changeover_api::wire::ErrorCode;
use changeover_api::wire::path::ROOT;

use super::failure::Failure;
use crate::secret;

/// What is checked of each request.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// The token that a request must bring, as `Authorization: Bearer …`.
    pub(super) token: String,
    /// The host that `--listen` named, if it is a name.
    pub(super) listen_host: String,
}

/// The middleware.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.refusal(request.uri().path(), request.headers()) {
        Some(failure) => failure.into_response(),
        None => next.run(request).await,
    }
}

impl Guard {
    fn refusal(&self, path: &str, headers: &HeaderMap) -> Option<Failure> {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !self.is_ours(host) {
            let text = format!("the Host `{host}` is not one of this server's");
            return Some(
                Failure::new(ErrorCode::Host, text)
                    .remedy("Call it as localhost, or by the address that --listen names"),
            );
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let same = origin.strip_prefix("http://").is_some_and(|origin| origin == host);
            if !same {
                let text = format!("a page of `{origin}` may not call this");
                return Some(Failure::new(ErrorCode::Origin, text));
            }
        }
        // A number from 0 to 3, for those who have nothing else.
        if path.starts_with(ROOT) && path.ends_with("/flag") {
            return None;
        }
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match given {
            Some(given) if secret::same(given.trim(), &self.token) => None,
            Some(_) => Some(
                Failure::new(ErrorCode::Token, "the token is not this run's")
                    .remedy("It is in the NAME.run file, and another at each start"),
            ),
            None => Some(
                Failure::new(ErrorCode::Token, "a token is missing")
                    .remedy("Send the one in the NAME.run file as `Authorization: Bearer TOKEN`"),
            ),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = host_name(host);
        name.eq_ignore_ascii_case("localhost")
            || name.eq_ignore_ascii_case(&self.listen_host)
            || name.parse::<std::net::IpAddr>().is_ok()
    }
}

/// The host without its port and brackets.
pub(super) fn host_name(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "/v1/migrations/bookings/status";

    fn verdict(host: &str, origin: Option<&str>, token: Option<&str>) -> Option<ErrorCode> {
        verdict_on(STATUS, host, origin, token)
    }

    fn verdict_on(path: &str, host: &str, origin: Option<&str>, token: Option<&str>) -> Option<ErrorCode> {
        let guard = Guard { token: "s3cret".to_owned(), listen_host: "control.internal".to_owned() };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        guard.refusal(path, &headers).map(|failure| failure.0.code)
    }

    #[test]
    fn the_flag_alone_needs_no_token_and_is_not_for_other_pages_either() {
        let flag = "/v1/migrations/bookings/flag";
        assert_eq!(verdict_on(flag, "localhost:7400", None, None), None);
        assert_eq!(verdict_on(flag, "evil.example", None, None), Some(ErrorCode::Host));
        assert_eq!(verdict_on(flag, "localhost", Some("http://evil.example"), None), Some(ErrorCode::Origin));
        assert_eq!(verdict_on("/x/flag", "localhost", None, None), Some(ErrorCode::Token));
    }

    #[test]
    fn only_the_token_gets_in() {
        assert_eq!(verdict("127.0.0.1:7400", None, Some("s3cret")), None);
        assert_eq!(verdict("127.0.0.1:7400", None, Some("s3cre")), Some(ErrorCode::Token));
        assert_eq!(verdict("127.0.0.1:7400", None, None), Some(ErrorCode::Token));
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_refused_even_with_the_token() {
        for host in ["localhost:7400", "LOCALHOST", "[::1]:7400", "10.0.0.3:7400", "control.internal:7400"] {
            assert_eq!(verdict(host, None, Some("s3cret")), None, "{host}");
        }
        for host in ["evil.example:7400", "127.0.0.1.evil.example", ""] {
            assert_eq!(verdict(host, None, Some("s3cret")), Some(ErrorCode::Host), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_refused_even_with_the_token() {
        let host = "localhost:7400";
        assert_eq!(verdict(host, Some("http://localhost:7400"), Some("s3cret")), None);
        for origin in ["http://evil.example", "null", "http://localhost:8080", "https://localhost:7400"] {
            assert_eq!(verdict(host, Some(origin), Some("s3cret")), Some(ErrorCode::Origin), "{origin}");
        }
    }
}
