//! What a database says of itself, before there is a spec.

use changeover_api::spec::StoreUrl;
use changeover_tables::catalog::Catalog;

use crate::connect;
use crate::error::ControlError;

/// What tells this database from every other, and its tables. `store` is what it is to be called. Changes nothing.
///
/// # Errors
/// If it can't be reached, or read.
pub async fn look_at(store: &str, url: &StoreUrl) -> Result<(String, Catalog), ControlError> {
    let database = connect::open(store, url).await?;
    let catalog = database.catalog().await;
    let identifier = database.identifier();
    database.close().await;
    Ok((identifier, catalog?))
}
