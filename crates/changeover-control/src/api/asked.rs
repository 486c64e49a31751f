//! Who makes a request, and why, as its headers say: known to all that is done for it.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use changeover_api::wire::ErrorCode;
use changeover_api::wire::asked::{MAX_WHO, MAX_WHY, WHO, WHY, on_one_line};

use super::failure::Failure;
use crate::asked::{Asked, for_them};

/// The middleware.
pub(super) async fn know(request: Request, next: Next) -> Response {
    match of(request.headers()) {
        Ok(asked) => for_them(asked, next.run(request)).await,
        Err(failure) => failure.into_response(),
    }
}

fn of(headers: &HeaderMap) -> Result<Asked, Failure> {
    Ok(Asked::by(said(headers, WHO, MAX_WHO)?, said(headers, WHY, MAX_WHY)?))
}

fn said(headers: &HeaderMap, name: &str, most: usize) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = on_one_line(&String::from_utf8_lossy(value.as_bytes()));
    let length = text.chars().count();
    if length > most {
        let text = format!("the header `{name}` has {length} characters, and may have {most}");
        return Err(Failure::new(ErrorCode::BadRequest, text));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_headers_say_who_and_why() {
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers).ok(), Some(Asked::by(None, None)));
        headers.insert(WHO, HeaderValue::from_static("ann@db-1"));
        headers.insert(WHY, HeaderValue::from_bytes("zu früh".as_bytes()).unwrap());
        let asked = Asked { who: "ann@db-1".to_owned(), why: Some("zu früh".to_owned()) };
        assert_eq!(of(&headers).ok(), Some(asked));
        headers.insert(WHO, HeaderValue::from_str(&"x".repeat(MAX_WHO + 1)).unwrap());
        assert!(of(&headers).is_err(), "it would fill the audit");
    }
}
