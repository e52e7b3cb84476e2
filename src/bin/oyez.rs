//! The client program.

use std::process::ExitCode;

use oyez::cli::{self, FAILED, WRONG_ARGUMENTS};
use oyez::client::config::{self, Config};
use oyez::client::{self, Failure};

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    let action = config::parse(arguments, &|variable| std::env::var_os(variable));
    cli::start("oyez", action, config::help, run)
}

fn run(config: Config) -> ExitCode {
    match client::run(config) {
        // The reader may close the output early, as in `oyez listen | head -3`.
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Error(error)) => cli::fail("oyez", FAILED, &error),
        Err(Failure::Usage(error)) => cli::fail("oyez", WRONG_ARGUMENTS, &error),
    }
}
