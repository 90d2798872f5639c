//! The watchdog's thread. Contains `unsafe` on Linux: see `spawn`.

use crate::panics;
use std::io;

/// Enough to write documents, and small enough to map quickly.
const STACK: usize = 256 * 1024;

/// Starts a thread that runs until the process ends.
///
/// A thread of `std` asks for the bounds of its stack and prepares a handler of stack overflows. glibc allocates memory for the answer
/// and maps an arena for it, and the first thread waits to map its own pages meanwhile. So this one is made by `pthread_create`.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn spawn(run: fn()) -> io::Result<()> {
    use std::{ffi::c_void, mem::MaybeUninit, ptr};

    extern "C" fn start(run: *mut c_void) -> *mut c_void {
        // SAFETY: the name has 15 bytes and a terminator, which is the longest one.
        unsafe { libc::pthread_setname_np(libc::pthread_self(), c"lambda-watchdog".as_ptr()) };
        // SAFETY: `spawn` passes a function of this type.
        let run = unsafe { std::mem::transmute::<*mut c_void, fn()>(run) };
        // A panic may not unwind into C.
        let _ = panics::catch(run);
        ptr::null_mut()
    }

    let check = |code| if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) };
    let (mut attributes, mut thread) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the attributes are initialized before they are used, and destroyed after that. The function that the thread gets lives as
    // long as the process, and the thread borrows nothing.
    unsafe {
        check(libc::pthread_attr_init(attributes.as_mut_ptr()))?;
        let attributes = attributes.as_mut_ptr();
        let created = check(libc::pthread_attr_setstacksize(attributes, STACK))
            .and_then(|()| check(libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED)))
            .and_then(|()| check(libc::pthread_create(thread.as_mut_ptr(), attributes, start, run as *mut c_void)));
        libc::pthread_attr_destroy(attributes);
        created
    }
}

/// Starts a thread that runs until the process ends.
#[cfg(not(target_os = "linux"))]
pub(super) fn spawn(run: fn()) -> io::Result<()> {
    let run = move || drop(panics::catch(run));
    std::thread::Builder::new().name("lambda-watchdog".to_owned()).stack_size(STACK).spawn(run).map(drop)
}
