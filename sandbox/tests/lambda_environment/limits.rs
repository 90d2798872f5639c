//! CPU share and memory, by the machine's own control groups. Where they are not permitted, a test prints so and passes.

use crate::support::{
    Gate, Outcome, SHORT, echo, ensure, ensure_eq, ensure_timeline, event, invoke, printed, probe, trial, value,
};
use lambda_lifecycle_sandbox::{
    Failure, Invoke,
    control_groups::{ControlGroups, ControlGroupsError},
    function::{EnvironmentState, EventKind, Function, FunctionBuilder, Output},
    wait::within,
    xray::Daemon,
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

/// Variable of the process that is killed together with its sandbox.
pub(crate) const SANDBOX_TO_BE_KILLED: &str = "LIMITED_SANDBOX_TO_BE_KILLED";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("limit_the_cpu_share_begins_at_the_end_of_init", after_init),
        trial("limit_an_init_inside_the_invocation_has_the_share_only", suppressed_init),
        trial("limit_an_init_ahead_of_requests_has_the_share_only", provisioned),
        trial("limit_memory_that_is_used_up_ends_the_environment", out_of_memory),
        trial("limit_memory_that_is_used_up_in_init_fails_it", out_of_memory_in_init),
        trial("limit_what_leaves_the_process_group_ends_with_the_environment", left_behind),
        trial("limit_each_function_has_groups_of_its_own", apart),
        trial("limit_a_function_sees_the_variables_it_would_see_without", variables),
        trial("limit_groups_go_with_a_process_that_ends", ended),
        trial("limit_groups_go_with_a_dropped_function", dropped),
        trial("limit_groups_go_with_a_killed_sandbox", killed_sandbox),
        trial("limit_without_the_option_nothing_changes", without),
    ]
}

/// Nothing where this machine does not permit control groups.
pub(crate) fn permitted() -> Option<ControlGroups> {
    match ControlGroups::find() {
        Ok(groups) => Some(groups),
        Err(error @ (ControlGroupsError::NotMounted { .. } | ControlGroupsError::NotPermitted { .. })) => {
            println!("skipped: {error}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fn limited(mode: &str, groups: &ControlGroups) -> FunctionBuilder {
    probe(mode).memory(128).limit(groups.clone())
}

/// The folders of a process's own group.
fn folders_of(pid: u32, groups: &ControlGroups) -> Result<Vec<PathBuf>, Failed> {
    let listed = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let name = listed.lines().find_map(|line| line.rsplit('/').next().filter(|name| name.starts_with("lambda-sandbox-")));
    let name = name.ok_or_else(|| format!("no separate group in\n{listed}"))?;
    Ok(groups.folders().into_iter().map(|folder| folder.join(name)).collect())
}

/// Those of the newest process. Waits for a first one.
async fn folders(function: &Function, groups: &ControlGroups) -> Result<Vec<PathBuf>, Failed> {
    let spawned = |kind: &EventKind| if let EventKind::Spawned { pid, .. } = kind { Some(*pid) } else { None };
    function.subscribe().from_start().find(|event| spawned(&event.kind).is_some()).await;
    let newest = function.timeline().iter().rev().find_map(|event| spawned(&event.kind));
    folders_of(newest.ok_or("a process")?, groups)
}

/// The first file of these that one of the folders has.
fn read(folders: &[PathBuf], files: [&str; 2]) -> Result<String, Failed> {
    let found =
        folders.iter().flat_map(|folder| files.map(|file| folder.join(file))).find_map(|file| fs::read_to_string(file).ok());
    Ok(found.ok_or_else(|| format!("none of {files:?} in {folders:?}"))?.trim().to_owned())
}

/// The CPU time of each 20 ms, in microseconds; nothing for a process without a limit.
fn quota(folders: &[PathBuf]) -> Result<Option<u64>, Failed> {
    let text = read(folders, ["cpu.cfs_quota_us", "cpu.max"])?;
    Ok(text.split(' ').next().and_then(|quota| quota.parse().ok()))
}

/// Nobody reports that a folder has gone.
async fn gone(folders: &[PathBuf]) -> Outcome {
    let gone = async {
        while folders.iter().any(|folder| folder.exists()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    Ok(within(format!("the removal of {folders:?}"), gone).await?)
}

async fn after_init() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let gate = Gate::new().await?;
    let function = limited("init-gate", &groups).env("GATE", gate.address()?).build().await;
    let call = invoke(&function, json!({ "gate": gate.address()?, "answer": 1 }));
    let seen = async {
        let in_init = gate.held().await?;
        let own = folders(&function, &groups).await?;
        let (during, memory) = (quota(&own)?, read(&own, ["memory.limit_in_bytes", "memory.max"])?);
        in_init.release();
        let in_handler = gate.held().await?;
        let after = quota(&own)?;
        in_handler.release();
        Ok::<_, Failed>((own, during, after, memory))
    };
    let (answer, (own, during, after, memory)) = tokio::try_join!(async { Ok(call.await) }, seen)?;
    ensure_eq(value(&answer)?, json!(1))?;
    ensure_eq((during, after), (None, Some(1_447)))?;
    ensure_eq(memory, "134217728")?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    ensure_timeline(&function, "Spawned NextCalled InitDone CpuLimited EventOut ResponseIn202 NextCalled Frozen")?;
    // It stays as it is from invocation to invocation.
    ensure_eq(value(&invoke(&function, echo("again")).await)?, json!("again"))?;
    ensure_eq(quota(&own)?, Some(1_447))?;
    function.shutdown().await;
    gone(&own).await
}

async fn suppressed_init() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let marker = std::env::temp_dir().join(format!("lambda-environment-{}-limited", std::process::id()));
    if marker.exists() {
        fs::remove_file(&marker)?;
    }
    let function = limited("init-hang-once", &groups).env("MARKER", &marker).init_limit(SHORT).build().await;
    let answer = invoke(&function, echo("at last")).await;
    fs::remove_file(marker)?;
    ensure_eq(value(&answer)?, json!("at last"))?;
    function.wait_frozen().await;
    ensure_timeline(
        &function,
        "Spawned InitTimedOut Killed Exited Respawned CpuLimited NextCalled InitDone EventOut ResponseIn202 NextCalled Frozen",
    )
}

async fn provisioned() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let function = limited("", &groups).initialization_type("provisioned-concurrency").build().await;
    function.warm_up().await?;
    ensure_timeline(&function, "Spawned CpuLimited NextCalled InitDone Frozen")?;
    ensure_eq(quota(&folders(&function, &groups).await?)?, Some(1_447))
}

async fn out_of_memory() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let daemon = Daemon::start().await?;
    let function = limited("", &groups).xray(daemon.address()).trace_store(daemon.store()).build().await;
    let answer = invoke(&function, json!({ "allocate": 256 })).await;
    ensure_eq(answer.result, Err(Failure::OutOfMemory { memory_mb: 128 }))?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Dead)?;
    ensure_timeline(&function, "Spawned NextCalled InitDone CpuLimited EventOut OutOfMemory Exited")?;
    let report = function.logs().into_iter().find(|line| line.output == Output::Platform && line.text.starts_with("REPORT"));
    let report = report.ok_or("a report")?.text;
    ensure(report.contains("Error Type: Runtime.OutOfMemory") && report.contains("Max Memory Used: 128 MB"), report)?;
    let trace = daemon.store().trace(&answer.trace_id).ok_or("not traced")?;
    let segment =
        trace.documents.iter().find(|document| document.origin.as_deref() == Some("AWS::Lambda::Function")).ok_or("a segment")?;
    ensure(segment.fault && !segment.in_progress, "the segment of the function is not a fault")?;
    // The limit is the process's, and the next one has it, too.
    ensure_eq(value(&invoke(&function, json!({ "allocate": 16, "answer": 1 })).await)?, json!(1))?;
    ensure_eq(quota(&folders(&function, &groups).await?)?, Some(1_447))
}

async fn out_of_memory_in_init() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let function = limited("init-allocate", &groups).build().await;
    let answer = invoke(&function, json!(null)).await;
    ensure_eq(answer.result, Err(Failure::OutOfMemory { memory_mb: 128 }))?;
    ensure_timeline(&function, "Spawned OutOfMemory Exited InitError Respawned CpuLimited OutOfMemory Exited InitError")
}

async fn left_behind() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let function = limited("", &groups).build().await;
    ensure_eq(value(&invoke(&function, json!({ "leave_behind": true, "answer": 1 })).await)?, json!(1))?;
    let left: u32 = printed(&function, "left behind ").await.parse()?;
    let own = folders(&function, &groups).await?;
    ensure_eq(folders_of(left, &groups)?, own.clone())?;
    function.shutdown().await;
    gone(&own).await?;
    // A group that is gone has no process.
    ensure(folders_of(left, &groups).is_err(), "the child lives on")
}

async fn apart() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let (one, two) = (limited("", &groups).memory(256).build().await, limited("", &groups).max_environments(2).build().await);
    ensure_eq(value(&invoke(&one, echo("one")).await)?, json!("one"))?;
    ensure_eq(value(&invoke(&two, echo("two")).await)?, json!("two"))?;
    let (first, second) = (folders(&one, &groups).await?, folders(&two, &groups).await?);
    ensure(first != second, format!("both have {first:?}"))?;
    ensure_eq((quota(&first)?, quota(&second)?), (Some(2_894), Some(1_447)))?;
    one.shutdown().await;
    gone(&first).await?;
    ensure_eq(quota(&second)?, Some(1_447))?;
    ensure_eq(value(&invoke(&two, echo("still")).await)?, json!("still"))
}

async fn variables() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let mut names = Vec::new();
    for function in [limited("", &groups), probe("").memory(128)] {
        let seen = value(&invoke(&function.env("ONE", "1 2\n3").build().await, json!({ "environment": true })).await)?;
        ensure_eq(&seen["ONE"], &json!("1 2\n3"))?;
        let seen = seen.as_object().ok_or("variables")?;
        // Some shells set it, regardless of their environment.
        names.push(seen.keys().filter(|name| *name != "_").cloned().collect::<BTreeSet<_>>());
    }
    ensure_eq(&names[0], &names[1])
}

async fn ended() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let gate = Gate::new().await?;
    let function = limited("", &groups).build().await;
    let call = invoke(&function, json!({ "gate": gate.address()?, "leave_behind": true, "exit": 7 }));
    let seen = async {
        let held = gate.held().await?;
        let own = folders(&function, &groups).await?;
        held.release();
        Ok::<_, Failed>(own)
    };
    let (answer, own) = tokio::try_join!(async { Ok(call.await) }, seen)?;
    ensure_eq(answer.result, Err(Failure::Exited("exit status 7".to_owned())))?;
    gone(&own).await
}

async fn dropped() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let gate = Gate::new().await?;
    let function = limited("", &groups).build().await;
    let busy = function.clone();
    let task = json!({ "gate": gate.address()? });
    let call = tokio::spawn(async move { busy.invoke(event(&task)).await });
    let held = gate.held().await?;
    let own = folders(&function, &groups).await?;
    call.abort();
    let _ = call.await;
    drop(function);
    held.gone().await;
    gone(&own).await
}

/// Runs in a separate process: prints the folders of a function that is frozen, and waits at the gate with one that is busy.
pub(crate) fn sandbox_to_be_killed(gate: &OsStr) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let Some(groups) = permitted() else { return ExitCode::FAILURE };
    runtime.block_on(async {
        let (frozen, busy) = (limited("", &groups).build().await, limited("", &groups).build().await);
        invoke(&frozen, json!(null)).await;
        frozen.wait_frozen().await;
        invoke(&busy, json!({ "gate": gate.to_string_lossy() })).await;
    });
    ExitCode::SUCCESS
}

async fn killed_sandbox() -> Outcome {
    let Some(groups) = permitted() else { return Ok(()) };
    let gate = Gate::new().await?;
    let mut sandbox = Command::new(std::env::current_exe()?).env(SANDBOX_TO_BE_KILLED, gate.address()?).spawn()?;
    let busy = gate.held().await?;
    let prefix = format!("lambda-sandbox-{}-", sandbox.id());
    let own: Vec<PathBuf> = groups.folders().iter().flat_map(|folder| groups_in(folder, &prefix)).collect();
    sandbox.kill()?;
    sandbox.wait()?;
    busy.gone().await;
    ensure_eq(own.len(), 2 * groups.folders().len())?;
    gone(&own).await
}

fn groups_in(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).map(|entry| entry.path()).collect()
}

async fn without() -> Outcome {
    let Ok(own) = fs::read_to_string("/proc/self/cgroup") else {
        println!("skipped: control groups are not available");
        return Ok(());
    };
    let function = probe("").memory(128).build().await;
    ensure_eq(value(&invoke(&function, json!({ "allocate": 192, "answer": 1 })).await)?, json!(1))?;
    let pid = function.pid().ok_or("a process")?;
    ensure_eq(fs::read_to_string(format!("/proc/{pid}/cgroup"))?, own)?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    ensure_timeline(&function, "Spawned NextCalled InitDone EventOut ResponseIn202 NextCalled Frozen")
}
