//! Defaults that mean the same in another database: literals, the present moment, a new UUID.

use super::types::quoted_text;
use crate::catalog::Engine;
use crate::types::Exact;

/// What a default says, in no database's words.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    Null,
    Number(String),
    Text(String),
    Bool(bool),
    Bits(String),
    Now,
    NewUuid,
}

/// The default of a column that holds this, for another kind of database; `None` where it can't be said there. The type is the
/// one that the column has there.
pub(super) fn carried(default: &str, of: &Exact, from: Engine, to: Engine, there: &str) -> Option<String> {
    let meaning = read(default, from)?;
    // Beyond these a literal may mean something else there: an array, bytes, a moment without its zone.
    let sql = match (&meaning, of) {
        (Meaning::Null, _) => "NULL".to_owned(),
        (Meaning::Bool(b), _) => boolean(*b, there),
        (Meaning::Number(n), Exact::Bool) => boolean(!n.trim_start_matches(['0', '.']).is_empty(), there),
        (Meaning::Number(n), _) if there == "boolean" => {
            boolean(!n.trim_start_matches(['0', '.']).is_empty(), there)
        }
        (
            Meaning::Number(n),
            Exact::Int { .. } | Exact::Decimal { .. } | Exact::Single { .. } | Exact::Real { .. },
        ) => n.clone(),
        (Meaning::Number(n), Exact::Text(_)) => quoted_text(n, to),
        (Meaning::Text(text), Exact::Text(_) | Exact::Enum(_) | Exact::Uuid | Exact::Json(_)) => {
            quoted_text(text, to)
        }
        (
            Meaning::Text(text),
            Exact::Int { .. } | Exact::Decimal { .. } | Exact::Single { .. } | Exact::Real { .. },
        ) if is_number(text) => text.clone(),
        (Meaning::Text(text), Exact::Date { .. } | Exact::Time(_) | Exact::Timestamp(_))
            if is_plain_date(text) =>
        {
            quoted_text(text, to)
        }
        (Meaning::Bits(bits), Exact::Bits { .. }) => match to {
            Engine::Postgres => format!("B'{bits}'"),
            Engine::MariaDb(..) | Engine::MySql => format!("b'{bits}'"),
            Engine::Sqlite => quoted_text(bits, to),
        },
        (Meaning::Now, Exact::Timestamp(span) | Exact::Instant(span)) => match to {
            Engine::Postgres if there.starts_with("timestamptz") => "CURRENT_TIMESTAMP".to_owned(),
            Engine::Postgres => "LOCALTIMESTAMP".to_owned(),
            Engine::MariaDb(..) | Engine::MySql => format!("CURRENT_TIMESTAMP({})", span.digits),
            Engine::Sqlite => return None,
        },
        (Meaning::NewUuid, Exact::Uuid) => match to {
            Engine::Postgres => "gen_random_uuid()".to_owned(),
            Engine::MariaDb(..) | Engine::MySql => "(uuid())".to_owned(),
            Engine::Sqlite => return None,
        },
        _ => return None,
    };
    // Those have defaults only as expressions.
    let is_long = ["text", "blob", "json"].iter().any(|long| there.ends_with(long));
    let in_parentheses = matches!(to, Engine::MariaDb(..) | Engine::MySql) && is_long && sql != "NULL";
    Some(if in_parentheses { format!("({sql})") } else { sql })
}

fn boolean(b: bool, there: &str) -> String {
    match (there, b) {
        ("boolean", true) => "true",
        ("boolean", false) => "false",
        (_, true) => "1",
        (_, false) => "0",
    }
    .to_owned()
}

/// A date that is one everywhere.
fn is_plain_date(text: &str) -> bool {
    let zero = text.starts_with("0000") || text.contains("-00");
    !zero && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | ' '))
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && digits.matches('.').count() <= 1
        && !digits.ends_with('.')
}

fn read(default: &str, from: Engine) -> Option<Meaning> {
    let sql = without_parentheses(default.trim());
    let upper = sql.to_ascii_uppercase();
    let call = upper.split(['(', ' ']).next().unwrap_or_default();
    let mysql = matches!(from, Engine::MariaDb(..) | Engine::MySql);
    if let Some(bits) = sql.strip_prefix(['b', 'B']).filter(|rest| rest.starts_with('\'')) {
        let (bits, rest) = quoted(bits, mysql)?;
        return is_cast(rest).then_some(Meaning::Bits(bits));
    }
    if sql.starts_with('\'') || (from == Engine::Sqlite && sql.starts_with('"')) {
        let (text, rest) = quoted(sql, mysql)?;
        return is_cast(rest).then_some(Meaning::Text(text));
    }
    let (bare, cast) = sql.split_once("::").unwrap_or((sql, ""));
    if !cast.is_empty() && !is_cast(&format!("::{cast}")) {
        return None;
    }
    let bare = without_parentheses(bare.trim());
    match bare.to_ascii_uppercase().as_str() {
        "NULL" => Some(Meaning::Null),
        "TRUE" => Some(Meaning::Bool(true)),
        "FALSE" => Some(Meaning::Bool(false)),
        _ if is_number(bare) => Some(Meaning::Number(bare.to_owned())),
        _ if !cast.is_empty() => None,
        whole => match call {
            "CURRENT_TIMESTAMP" | "LOCALTIMESTAMP" | "NOW" if is_alone(whole) => Some(Meaning::Now),
            "GEN_RANDOM_UUID" | "UUID_GENERATE_V4" | "UUID" if whole.ends_with("()") => {
                Some(Meaning::NewUuid)
            }
            _ => None,
        },
    }
}

/// A word, with nothing behind it but the digits of a second.
fn is_alone(call: &str) -> bool {
    let rest = call.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '_');
    rest.is_empty()
        || rest
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .is_some_and(|digits| digits.chars().all(|c| c.is_ascii_digit()))
}

fn without_parentheses(sql: &str) -> &str {
    match sql.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) if !inner.contains(['(', ')']) => inner.trim(),
        _ => sql,
    }
}

/// PostgreSQL says the type of each literal.
fn is_cast(rest: &str) -> bool {
    let is_type =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '(' | ')' | ',' | '.' | '"' | '[' | ']');
    rest.is_empty() || rest.strip_prefix("::").is_some_and(|name| name.chars().all(is_type))
}

/// The text in quotes at the beginning, and what follows it.
fn quoted(sql: &str, backslashes: bool) -> Option<(String, &str)> {
    let mut chars = sql.char_indices();
    let (_, quote) = chars.next()?;
    let mut text = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote && sql[at + 1..].starts_with(quote) => {
                text.push(quote);
                chars.next();
            }
            c if c == quote => return Some((text, &sql[at + 1..])),
            '\\' if backslashes => match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                '0' => text.push('\0'),
                c => text.push(c),
            },
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::types::ANY_TEXT;
    use super::*;
    use crate::types::Span;

    const MARIADB: Engine = Engine::MariaDb(10, 11);
    const SPAN: Span = Span { digits: 3, min: 0, max: 9 };

    #[test]
    fn a_default_says_the_same_there_or_nothing() {
        let text = || Exact::Text(ANY_TEXT);
        let int = || Exact::Int { min: 0, max: 9 };
        let (postgres, sqlite) = (Engine::Postgres, Engine::Sqlite);
        for (default, of, from, to, there, expected) in [
            ("'it''s'::character varying", text(), postgres, MARIADB, "varchar(9)", Some("'it''s'")),
            ("'a\\b'::text", text(), postgres, MARIADB, "longtext", Some("('a\\\\b')")),
            ("'a\\\\b'", text(), MARIADB, postgres, "text", Some("'a\\b'")),
            ("'-1'::integer", int(), postgres, MARIADB, "int", Some("-1")),
            ("(0)::numeric", int(), postgres, sqlite, "INTEGER", Some("0")),
            ("true", Exact::Bool, postgres, MARIADB, "tinyint(1)", Some("1")),
            ("1", Exact::Bool, sqlite, postgres, "boolean", Some("true")),
            ("now()", Exact::Instant(SPAN), postgres, MARIADB, "timestamp(3)", Some("CURRENT_TIMESTAMP(3)")),
            (
                "current_timestamp(3)",
                Exact::Timestamp(SPAN),
                MARIADB,
                postgres,
                "timestamp(3)",
                Some("LOCALTIMESTAMP"),
            ),
            ("b'01'", Exact::Bits { min: 2, max: Some(2) }, MARIADB, postgres, "bit(2)", Some("B'01'")),
            ("uuid()", Exact::Uuid, MARIADB, postgres, "uuid", Some("gen_random_uuid()")),
            ("NULL::text", text(), postgres, MARIADB, "longtext", Some("NULL")),
            ("'0000-00-00'", Exact::Timestamp(SPAN), MARIADB, postgres, "timestamp(3)", None),
            ("'2026-11-22 10:00:00+00'", Exact::Instant(SPAN), postgres, MARIADB, "timestamp(3)", None),
            ("lower('A')", text(), postgres, MARIADB, "longtext", None),
            ("now() + '1 day'::interval", Exact::Instant(SPAN), postgres, MARIADB, "timestamp(3)", None),
            ("nextval('a_id_seq'::regclass)", int(), postgres, MARIADB, "int", None),
            ("'a' || 'b'", text(), sqlite, postgres, "text", None),
            ("CURRENT_TIMESTAMP", text(), sqlite, postgres, "text", None),
            ("'{1,2}'::integer[]", Exact::Array(std::sync::Arc::new(int())), postgres, MARIADB, "json", None),
        ] {
            assert_eq!(carried(default, &of, from, to, there).as_deref(), expected, "{default}");
        }
    }
}
