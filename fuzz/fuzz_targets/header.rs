//! `RUSTC_BOOTSTRAP=1 cargo fuzz run header`: any text is a header, and what is handed on parses to itself.
#![no_main]

use lambda_lifecycle::xray::{DaemonAddress, TraceHeader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let header = TraceHeader::parse(text);
    let out = header.to_string();
    assert!(out.len() <= 900 && out.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    let again = TraceHeader::parse(&out);
    assert_eq!((again.to_string(), again.ignored()), (out, None));
    if let Some(traceparent) = header.to_traceparent() {
        let back = TraceHeader::from_traceparent(&traceparent).expect("our own traceparent");
        assert_eq!((back.root(), back.parent()), (header.root(), header.parent()));
    }
    let _ = TraceHeader::from_traceparent(text);
    if let Ok(address) = DaemonAddress::parse(text) {
        assert_eq!(DaemonAddress::parse(&address.to_string()).expect("our own address"), address);
    }
});
