//! The `cov-agent` command.
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    cov_agent::cli::main()
}
