//! {{ project_name }}: an HTTP function on AWS Lambda.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use lambda_lifecycle::{Error, Invocation, Lifecycle};
use serde::Serialize;
use std::{collections::HashMap, sync::Arc};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    // Once per environment, before the first request. Lambda learns of its error.
    let prices = life.init("prices", Prices::load()).await?;
    let router = Router::new().route("/prices/{sku}", get(price));
    life.serve(router.with_state(Arc::new(prices))).await
}

async fn price(
    State(prices): State<Arc<Prices>>,
    invocation: Invocation,
    Path(sku): Path<String>,
) -> Result<Json<Price>, StatusCode> {
    // Searchable in X-Ray.
    invocation.annotate("sku", sku.clone());
    // Returns before the deadline, with time left to respond.
    let Ok(cents) = invocation.within(prices.find(&sku)).await else {
        return Err(StatusCode::GATEWAY_TIMEOUT);
    };
    let cents = cents.ok_or(StatusCode::NOT_FOUND)?;
    // Runs once the caller has the response.
    invocation.after_response(async move { tracing::info!(sku, "price was asked for") });
    Ok(Json(Price { cents }))
}

#[derive(Serialize)]
struct Price {
    cents: u64,
}

struct Prices(HashMap<String, u64>);

impl Prices {
    async fn load() -> Result<Self, Error> {
        let cents = [("tea", 450), ("kettle", 3_900)];
        Ok(Self(
            cents.map(|(sku, cents)| (sku.to_owned(), cents)).into(),
        ))
    }

    #[tracing::instrument(skip_all)]
    async fn find(&self, sku: &str) -> Option<u64> {
        self.0.get(sku).copied()
    }
}
