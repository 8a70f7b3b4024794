//! What is asked of the MPI library as a whole: to start, to end, and what its answers mean.

use std::ffi::{c_char, c_int};
use std::ptr;

use mpi::ffi;

use crate::error::{Error, Result};

/// Starts MPI, for calls from any thread. May wait for other processes without end.
///
/// Before this and after the end nothing else here may be called. MPI itself ends the process if it can't start.
pub(super) fn start() -> Result<()> {
    const ACTION: &str = "start";
    if is_started() {
        let reason = "something else in this process has started it before".into();
        return Err(Error::Mpi {
            action: ACTION,
            reason,
        });
    }
    let mut offered = 0;
    // SAFETY: MPI is not started yet; it takes null for the program's arguments.
    let code = unsafe {
        ffi::MPI_Init_thread(
            ptr::null_mut(),
            ptr::null_mut(),
            ffi::RSMPI_THREAD_MULTIPLE,
            &raw mut offered,
        )
    };
    accepted(ACTION, code)?;
    // SAFETY: the numbers of the library's levels never change.
    let needed = unsafe { ffi::RSMPI_THREAD_MULTIPLE };
    if offered < needed {
        let reason = format!(
            "{} offers no calls from several threads at once (MPI_THREAD_MULTIPLE), only {}: use a build of MPI that does",
            version(),
            level(offered)
        );
        return Err(Error::Mpi {
            action: ACTION,
            reason,
        });
    }
    Ok(())
}

/// Ends MPI, for good. May wait for other processes without end. Only the thread that started it may call this.
pub(super) fn end() -> Result<()> {
    // SAFETY: MPI has been started, on this thread, and the engine lets nobody call it any more.
    accepted("end", unsafe { ffi::MPI_Finalize() })
}

fn is_started() -> bool {
    let mut started = 0;
    // SAFETY: this may be asked at any time.
    unsafe { ffi::MPI_Initialized(&raw mut started) };
    started != 0
}

fn level(offered: c_int) -> &'static str {
    // SAFETY: the numbers of the library's levels never change.
    let levels = unsafe {
        [
            (ffi::RSMPI_THREAD_SINGLE, "MPI_THREAD_SINGLE"),
            (ffi::RSMPI_THREAD_FUNNELED, "MPI_THREAD_FUNNELED"),
            (ffi::RSMPI_THREAD_SERIALIZED, "MPI_THREAD_SERIALIZED"),
        ]
    };
    let name = levels.iter().find(|&&(number, _)| number == offered);
    name.map_or("an unknown level", |&(_, name)| name)
}

/// The library's name and version, its first line.
fn version() -> String {
    // Room for any implementation: MPICH says 8192.
    let mut text = vec![0; 1 << 14];
    let mut length = 0;
    // SAFETY: there is more room than any library takes. This may be asked at any time.
    unsafe { ffi::MPI_Get_library_version(text.as_mut_ptr().cast::<c_char>(), &raw mut length) };
    first_line(&text, length)
}

/// An error, unless the library's answer is that all went well.
pub(super) fn accepted(action: &'static str, code: c_int) -> Result<()> {
    if code == ffi::MPI_SUCCESS as c_int {
        return Ok(());
    }
    let mut text = vec![0; 1 << 14];
    let mut length = 0;
    // SAFETY: there is more room than any library takes, and the code is its own.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &raw mut length) };
    let reason = first_line(&text, length);
    Err(Error::Mpi { action, reason })
}

fn first_line(text: &[u8], length: c_int) -> String {
    let length = usize::try_from(length).unwrap_or(0).min(text.len());
    let text = String::from_utf8_lossy(&text[..length]);
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches('\0').trim().to_owned()
}
