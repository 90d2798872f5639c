//! The CPU time that root certificates cost the first connection of an SDK client. No server accepts it.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench roots`.

use aws_sdk_sqs::{Client, config::Credentials};
use lambda_lifecycle::{
    aws_config::Region,
    aws_sdk::{ConnectOnly, HttpsClient, Roots},
};
use lambda_lifecycle_benches::measure::{text, thread_cpu};
use std::time::Duration;

const TIMES: usize = 51;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // Every row has the cost of the call itself, which the bundle of one certificate shows best.
    for (name, roots) in [
        ("a bundle of one certificate", Roots::Pem(ONE.into())),
        ("Roots::Amazon", Roots::Amazon),
        ("Roots::Compiled, the default", Roots::Compiled),
        ("Roots::Native", Roots::Native),
    ] {
        let mut costs = Vec::new();
        for _ in 0..TIMES {
            costs.push(first_connection(roots.clone()).await);
        }
        costs.sort_unstable();
        println!("{name:32} {:>10}", text(costs[TIMES / 2].as_nanos() as f64));
    }
}

async fn first_connection(roots: Roots) -> Duration {
    let https = HttpsClient::with_roots(roots).expect("the bundle has a certificate");
    let config = https
        .loader()
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "none", None, None, "bench"))
        .endpoint_url("https://127.0.0.1:1")
        .load()
        .await;
    let client = Client::new(&config);
    let before = thread_cpu();
    // No server listens on this port: it fails when the certificates are read and the TLS client is made.
    let refused = client.list_queues().customize().interceptor(ConnectOnly).send().await;
    assert!(refused.is_err(), "a server listens on port 1");
    thread_cpu() - before
}

/// Signed by itself, for this bench.
const ONE: &str = "-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUZ7XOg7H51Sm72vGOX1+No4g2dBowCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwHhcNMjYxMTI2MTcyODExWhcNMjYxMjI2MTcyODExWjAN
MQswCQYDVQQDDAJjYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABH2+zXjwq7D+
XL/2H9lwbuVDUAkZUbXbJhFlB/7QrJPmqTEAl1LVOj8Lqt04wGSie+SnGpeuVFfg
t6HVKHQzhPujUzBRMB0GA1UdDgQWBBTjPG5AD4aDBsLkoKp2G8NnZH5sCjAfBgNV
HSMEGDAWgBTjPG5AD4aDBsLkoKp2G8NnZH5sCjAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIQCgO2hkCeuYWHCMLPsW0uJC1t19sl0+xrZjTMPZiDcw
2QIgV1gutTo6QHq+7Q5EG7b1sM0Aq09LjbWc/1uDmp3oPK8=
-----END CERTIFICATE-----";
