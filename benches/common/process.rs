//! Other processes.

use std::error::Error;
use std::process::Command;

/// What a program prints, once it has ended well.
pub(crate) fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {message}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
