//! `postern schema`: the JSON Schema of the configuration, for editors: `# yaml-language-server: $schema=…`.

use std::process::ExitCode;

pub(super) fn run() -> ExitCode {
    match serde_json::to_string_pretty(&crate::config::schema()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
