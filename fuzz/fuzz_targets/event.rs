//! The recognizer of events: any bytes are some kind of event.
#![no_main]

use lambda_lifecycle::Trigger;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|event: &[u8]| {
    let trigger = Trigger::recognize(event);
    assert_eq!(Trigger::recognize(event), trigger);
    assert!(!trigger.as_str().is_empty() && !trigger.as_faas_trigger().is_empty());
});
