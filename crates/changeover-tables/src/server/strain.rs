//! How a server fares, as it says itself: the statements that run there, its log's position, and its replicas'.

use changeover::StoreError;
use changeover::Value;
use changeover::store::strain::{Replica, Strain};

use super::store::ServerStore;

/// What the first column of a row says that its last one is.
pub(crate) const RUNNING: &str = "running";
pub(crate) const POSITION: &str = "position";
pub(crate) const REPLICA: &str = "replica";
/// A replica of which this role may not see how far it is.
pub(crate) const UNSEEN: &str = "unseen";

impl ServerStore {
    pub(super) async fn look_at_strain(&self) -> Result<Strain, StoreError> {
        let doing = "looking how the server fares";
        let mut session = self.inner.session(doing).await?;
        let rows = session.query(self.inner.dialect.strain(), &[]).await;
        let strain = strain(&self.inner.given_back(doing, session, rows)?);
        strain.map_err(|why| self.inner.place.refused(doing, why, "GRANT pg_monitor to our role"))
    }
}

/// Rows of a kind, a name and a number.
fn strain(rows: &[Vec<Value>]) -> Result<Strain, String> {
    let mut strain = Strain::default();
    for row in rows {
        let (Some(kind), Some(number)) = (row.first().and_then(Value::plain), row.last().and_then(number))
        else {
            continue;
        };
        match kind.as_ref() {
            POSITION => strain.position = Some(number),
            REPLICA => {
                let name = row.get(1).and_then(Value::plain).unwrap_or_default().into_owned();
                strain.replicas.push(Replica { name, position: number });
            }
            UNSEEN if number > 0 => {
                return Err(format!("how far {number} of its replicas are isn't shown to our role"));
            }
            // As MariaDB and MySQL call it; our own are among them.
            RUNNING | "Threads_running" => strain.running = Some(number),
            _ => {}
        }
    }
    Ok(strain)
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(n) => u64::try_from(*n).ok(),
        Value::Uint(n) => Some(*n),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_server_answers_is_understood() {
        let row = |kind: &str, name: &str, n: i64| vec![kind.into(), name.into(), Value::Int(n)];
        let said = strain(&[row(POSITION, "", 9), row(REPLICA, "r1", 7), row(RUNNING, "", 3)]).unwrap();
        assert_eq!((said.position, said.running), (Some(9), Some(3)));
        assert_eq!(said.replicas, [Replica { name: "r1".to_owned(), position: 7 }]);
        let said = strain(&[vec!["Threads_running".into(), "12".into()]]).unwrap();
        assert_eq!(said, Strain { running: Some(12), ..Strain::default() });
        assert!(strain(&[row(UNSEEN, "", 0)]).is_ok());
        assert!(strain(&[row(UNSEEN, "", 2)]).unwrap_err().contains("2 of its replicas"));
    }
}
