//! Decodes an event into a value, so that an invalid event, or a panic while decoding it, is an ordinary outcome.

use crate::{decode, invocation::Outcome, panics};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Deserializer};

/// The type that `lambda_runtime` decodes instead of the handler's own. It always succeeds.
#[derive(Debug)]
pub struct Payload<T>(pub(super) Result<T, Outcome>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Payload<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decoded = panics::catch(|| decode::from_deserializer::<T, D>(deserializer));
        Ok(Self(match decoded {
            Ok(Ok(payload)) => Ok(payload),
            Ok(Err(error)) => Err(Outcome::Undecodable(Diagnostic {
                error_type: "Lifecycle.UndecodableEvent".to_owned(),
                error_message: format!("the event is not a valid {}: {error}", decode::type_name::<T>()),
            })),
            Err(panic) => Err(Outcome::Panicked(Diagnostic {
                error_type: "Lifecycle.Panic".to_owned(),
                error_message: format!("decoding the event into {} panicked: {panic}", decode::type_name::<T>()),
            })),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Explosive;

    impl<'de> Deserialize<'de> for Explosive {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("fuse was lit")
        }
    }

    fn decode<T: for<'de> Deserialize<'de>>(event: &str) -> Result<T, Outcome> {
        // Like lambda_runtime, without a check for trailing bytes.
        let mut deserializer = serde_json::Deserializer::from_str(event);
        Payload::<T>::deserialize(&mut deserializer).expect("never fails").0
    }

    #[test]
    fn every_event_decodes_into_a_payload() {
        assert_eq!(decode::<Vec<u8>>("[1,2]"), Ok(vec![1, 2]));
        for event in ["", "{", "[1,\"x\"]", "{\"a\":", "nul", "[1,2"] {
            assert!(matches!(decode::<Vec<u8>>(event), Err(Outcome::Undecodable(_))), "{event}");
        }
    }

    #[test]
    fn a_panic_while_decoding_is_told_with_its_message() {
        let Err(Outcome::Panicked(diagnostic)) = decode::<Explosive>("1") else { panic!("no panic reported") };
        assert!(diagnostic.error_message.contains("fuse was lit"), "{diagnostic:?}");
    }
}
