//! Settings: those that are invalid, missing or misspelled, and extreme ones.

use crate::{
    behavior::Probe,
    support::{Stage, Tested, ensure, test, within},
};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;
use serde_json::json;
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a daemon address and a log filter that are not text are reported once", no_text),
        test("where the daemon's address is unset or empty documents go to the default one", default_daemon),
        test("a misspelled variable is reported once", misspelled),
        test("limits of Duration::MAX are accepted", no_bounds),
        test("an invalid daemon address is reported once", malformed_daemon_address),
        test("every invalid setting is reported once and changes nothing", bad_settings),
    ]
}

async fn no_text() -> Tested {
    let address = OsStr::from_bytes(b"127.0.0.1:2000\xff");
    let filter = OsStr::from_bytes(b"orders=debug\xff");
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| {
        function.env("AWS_XRAY_DAEMON_ADDRESS", address).env("RUST_LOG", filter)
    })
    .await?;
    for _ in 0..2 {
        ensure(stage.invoke(json!({})).await?.result.is_ok(), "the invocation failed")?;
    }
    for (variable, code) in [("AWS_XRAY_DAEMON_ADDRESS", "daemon_address_invalid"), ("RUST_LOG", "setting_invalid")] {
        let named = stage.reported_as("name", variable);
        ensure(named.len() == 1 && named[0]["code"] == code, format!("{variable}: {:?}", stage.problems()))?;
    }
    Ok(())
}

async fn default_daemon() -> Tested {
    // Whatever else listens there, a daemon perhaps, would get the documents.
    let socket = match tokio::net::UdpSocket::bind("127.0.0.1:2000").await {
        Ok(socket) => socket,
        Err(error) => {
            eprintln!("skipped: 127.0.0.1:2000 cannot be bound ({error}), so its documents cannot be read");
            return Ok(());
        }
    };
    for address in [None, Some(""), Some(" ")] {
        let stage = Stage::with(Probe::Value, TraceMode::Active, |function| match address {
            Some(address) => function.env("AWS_XRAY_DAEMON_ADDRESS", address),
            None => function.without_xray(),
        })
        .await?;
        let answer = stage.invoke(json!({})).await?;
        let mut datagram = vec![0; 65_536];
        while let (bytes, _) = within("a datagram", socket.recv_from(&mut datagram)).await??
            && !String::from_utf8_lossy(&datagram[..bytes]).contains(&answer.trace_id)
        {}
    }
    Ok(())
}

async fn misspelled() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| function.env("LAMBDA_LIFECYLE_TRACE", "off")).await?;
    for _ in 0..2 {
        stage.invoke(json!({})).await?;
    }
    let unknown = stage.reported_as("code", "setting_unknown");
    let [unknown] = unknown.as_slice() else { return Err(format!("{unknown:?}").into()) };
    let (written, meant) = (&unknown["name"], &unknown["expected"]);
    ensure(written == "LAMBDA_LIFECYLE_TRACE" && meant == "LAMBDA_LIFECYCLE_TRACE", unknown.to_string())
}

async fn no_bounds() -> Tested {
    let stage = Stage::new(Probe::NoBounds, TraceMode::Active).await?;
    stage.invoke(json!({ "after": "unbounded" })).await?;
    stage.settle().await?;
    ensure(stage.logged("unbounded").len() == 1, "the work did not run")?;
    stage.lives().await
}

async fn malformed_daemon_address() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| function.xray("nowhere")).await?;
    for _ in 0..2 {
        ensure(stage.invoke(json!({})).await?.result.is_ok(), "an invocation failed")?;
        stage.settle().await?;
    }
    ensure(stage.codes() == ["daemon_address_invalid"], format!("{:?}", stage.problems()))
}

async fn bad_settings() -> Tested {
    const SETTINGS: [&str; 4] = [
        "LAMBDA_LIFECYCLE_TRACE",
        "LAMBDA_LIFECYCLE_INIT_BUDGET",
        "LAMBDA_LIFECYCLE_AFTER_RESPONSE",
        "LAMBDA_LIFECYCLE_DEADLINE_GRACE",
    ];
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| {
        SETTINGS.iter().fold(function, |function, name| function.env(name, "perhaps, or not"))
    })
    .await?;
    let answer = stage.invoke(json!({})).await?;
    stage.document(&answer).await?;
    for name in SETTINGS {
        let named = stage.reported_as("name", name);
        ensure(named.len() == 1 && named[0]["code"] == "setting_invalid", format!("{name}: {named:?}"))?;
    }
    Ok(())
}
