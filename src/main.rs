//! The `homeostat` binary: parses arguments, calls the library, maps the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    homeostat::cli::main()
}
