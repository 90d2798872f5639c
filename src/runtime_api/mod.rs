//! Lambda's Runtime API and Extensions API: connections, requests and responses. It does not depend on the loop that uses it.

mod body;
mod client;
mod connection;
mod counted;
pub(crate) mod diagnostic;
mod endpoint;

pub(crate) use body::{Body, Progress};
pub(crate) use client::Client;
pub(crate) use connection::{Connection, Failure, Reply};
pub(crate) use endpoint::Endpoint;

use endpoint::Address;
