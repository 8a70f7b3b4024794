//! Calls into code that is not ours: a user's source or `map`, which may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};
use crate::source::Source;

/// Runs foreign code; of a panic in it, the message remains.
pub(crate) fn guarded<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("(no message)").to_owned();
        // What was thrown is foreign, too, and may panic when it is dropped.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(second);
        }
        text
    })
}

/// Has `source` make sure that it is still what it was.
pub(crate) fn verify(source: &dyn Source) -> Result<()> {
    guarded(|| source.verify()).map_err(panicked("verify"))?
}

/// The fingerprint of `source`, once it is verified: a mapped file that has become shorter must not be touched.
pub(crate) fn fingerprint(source: &dyn Source) -> Result<u64> {
    verify(source)?;
    guarded(|| source.fingerprint()).map_err(panicked("fingerprint"))?
}

/// For `map_err`: an error that names the call.
pub(crate) fn panicked(call: &'static str) -> impl FnOnce(String) -> Error {
    move |message| Error::SourcePanic { call, message }
}
