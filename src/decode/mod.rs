//! Decodes events. An error has the expected type and the position, and never the value: the contents of events are confidential,
//! and serde's own messages quote them.

mod tracked;
mod undecodable;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tracked::{Track, Tracked};
pub(crate) use undecodable::Undecodable;

/// Decodes a value from JSON.
pub(crate) fn from_str<T: DeserializeOwned>(json: &str) -> Result<T, Undecodable> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = from_deserializer(&mut deserializer)?;
    deserializer.end().map_err(|error| Track::default().recover(&error))?;
    Ok(value)
}

/// Decodes a value from JSON in bytes.
#[cfg(any(feature = "kinesis", feature = "kafka"))]
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, Undecodable> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = from_deserializer(&mut deserializer)?;
    deserializer.end().map_err(|error| Track::default().recover(&error))?;
    Ok(value)
}

/// Decodes a value with a JSON deserializer.
pub(crate) fn from_deserializer<'de, T, D>(deserializer: D) -> Result<T, Undecodable>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(Tracked::new(deserializer, &Track::default()))
}

/// The name of a type without its modules: `Vec<Order>`.
pub(crate) fn type_name<T: ?Sized>() -> String {
    let mut rest = std::any::type_name::<T>();
    let mut short = String::new();
    while let Some(colons) = rest.find("::") {
        let module = rest[..colons]
            .rfind(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
        short.push_str(&rest[..module]);
        rest = &rest[colons + 2..];
    }
    short.push_str(rest);
    short
}

#[cfg(test)]
mod tests;
