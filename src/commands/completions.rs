//! `feedline completions`

use clap::Args;
use clap_complete::{Shell, generate};
use feedline::Result;

use super::Output;

const EXAMPLES: &str = "\
Examples:
  feedline completions bash > ~/.local/share/bash-completion/completions/feedline
  feedline completions zsh > ~/.zfunc/_feedline
  feedline completions fish > ~/.config/fish/completions/feedline.fish";

/// Print a script that completes feedline's options in a shell
///
/// The script belongs where the shell looks for completions; a new shell then knows them.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut command: clap::Command, output: &Output) -> Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut command, "feedline", &mut script);
        let script = String::from_utf8_lossy(&script);
        let value = serde_json::json!({ "shell": self.shell.to_string(), "script": script });
        output.result(script.trim_end(), &value)
    }
}
