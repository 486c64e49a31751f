//! Whether a value fits a column: by the column's declared type, not only by what a lenient database would take.

use changeover::Value;

use crate::catalog::{ColumnInfo, Domain, TableInfo};

/// The column that a value is on its way to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub column: String,
    /// Its type, as declared.
    pub declared: String,
    /// What it holds.
    pub domain: Domain,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether the type doesn't matter, by rule. A STRICT table's type always does.
    pub carry: bool,
    /// Whether the database itself insists on the type: then no rule helps.
    pub strict: bool,
}

impl Target {
    /// The target that a column is.
    #[must_use]
    pub fn of(column: &ColumnInfo, table: &TableInfo, carry: bool) -> Self {
        Self {
            column: column.name.clone(),
            declared: column.declared.clone(),
            domain: column.domain.clone(),
            not_null: column.not_null,
            carry,
            strict: table.strict,
        }
    }

    /// Why a value, already as the column would store it, doesn't fit; `None` if it does.
    #[must_use]
    pub fn objection(&self, value: &Value) -> Option<String> {
        if value.is_null() {
            return self.not_null.then(|| {
                format!("the column {} takes no NULL: give it a value by `set`, or mend the row", self.column)
            });
        }
        if self.carry || holds(&self.domain, value) {
            return None;
        }
        let remedy = if self.strict {
            "mend the row, or convert it by `set`: its table is STRICT, and holds nothing else".to_owned()
        } else {
            format!(
                "mend the row, convert it by `set`, or let it pass with rules = [{{ column = \"{}\", carry = true }}]",
                self.column
            )
        };
        Some(format!(
            "{} in a column for {} ({} {}): {remedy}",
            value.type_name(),
            self.domain.name(),
            self.column,
            if self.declared.is_empty() { "without a type" } else { &self.declared },
        ))
    }
}

/// Whether a column of this domain is meant to hold such a value.
#[must_use]
pub(crate) const fn holds(domain: &Domain, value: &Value) -> bool {
    match (domain, value) {
        (_, Value::Null) | (Domain::Any | Domain::Loose | Domain::Exact(_), _) => true,
        (Domain::Integer, Value::Int(_))
        | (Domain::Real, Value::Real(_))
        | (Domain::Number, Value::Int(_) | Value::Real(_))
        | (Domain::Text, Value::Text(_) | Value::Opaque(_))
        | (Domain::Bytes, Value::Bytes(_)) => true,
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(domain: Domain) -> Target {
        Target {
            column: "c".into(),
            declared: "T".into(),
            domain,
            not_null: false,
            carry: false,
            strict: false,
        }
    }

    #[test]
    fn text_in_a_column_for_integers_is_objected_to_and_carried_by_rule() {
        let mut integers = target(Domain::Integer);
        assert!(integers.objection(&Value::Int(1)).is_none());
        let why = integers.objection(&"abc".into()).unwrap();
        assert!(why.contains("text in a column for integers") && why.contains("carry"), "{why}");
        integers.carry = true;
        assert!(integers.objection(&"abc".into()).is_none());
    }

    #[test]
    fn no_rule_is_recommended_that_a_strict_table_would_not_keep() {
        let strict = Target { strict: true, ..target(Domain::Integer) };
        let why = strict.objection(&"abc".into()).unwrap();
        assert!(why.contains("STRICT") && !why.contains("carry"), "{why}");
    }

    #[test]
    fn a_fraction_does_not_fit_a_column_for_integers() {
        assert!(target(Domain::Integer).objection(&Value::Real(0.5)).is_some());
        assert!(target(Domain::Number).objection(&Value::Real(0.5)).is_none());
    }

    #[test]
    fn null_fits_unless_the_column_refuses_it_even_when_types_are_carried() {
        let mut text = target(Domain::Text);
        assert!(text.objection(&Value::Null).is_none());
        text.not_null = true;
        text.carry = true;
        assert!(text.objection(&Value::Null).is_some());
    }
}
