//! `/v1/models`: the names that callers can ask for.

use axum::body::Bytes;
use serde::Serialize;

use crate::gateway::{error::GatewayError, table::RouteTable};

/// The original gives every model this date, the day its interface was introduced.
const CREATED: u64 = 1_677_610_602;

#[derive(Serialize)]
struct ModelList<'a> {
    data: Vec<Model<'a>>,
    object: &'static str,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    fn new(id: &'a str, provider: &'static str) -> Self {
        Model { id, object: "model", created: CREATED, owned_by: provider }
    }
}

/// The answer to `/v1/models`, which is the same until the configuration changes.
pub(super) fn list(table: &RouteTable) -> Bytes {
    let data = table.listed().map(|(name, provider)| Model::new(name, provider)).collect();
    json(&ModelList { data, object: "list" })
}

/// The answer to `/v1/models/{id}`; a name that only a wildcard matches exists, too.
pub(super) fn one(table: &RouteTable, id: &str) -> Result<Bytes, GatewayError> {
    let route = table
        .resolve(id)
        .ok_or_else(|| GatewayError::UnknownModel { model: id.to_owned(), available: table.some_names() })?;
    Ok(json(&Model::new(id, route.group.provider())))
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
