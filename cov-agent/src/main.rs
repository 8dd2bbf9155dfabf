//! The `cov-agent` command.
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    #[cfg(feature = "collect")]
    if let Some(status) = cov_agent::process::gate::serve_if_asked() {
        return status;
    }
    cov_agent::cli::main().into()
}
