//! The binary of the client: parses the arguments, runs, and sets the exit status.

use std::io::Write as _;
use std::process::ExitCode;

use oyez::client::config::{self, Action};
use oyez::client::{self, Failure};
use oyez::escape::escape_untrusted;

const FAILED: u8 = 1;
const WRONG_ARGUMENTS: u8 = 2;

fn main() -> ExitCode {
    let server = std::env::var_os("OYEZ_SERVER");
    match config::parse(std::env::args_os().skip(1).collect(), server) {
        Ok(Action::Run(config)) => run(*config),
        Ok(Action::Help) => print(&config::help()),
        Ok(Action::Version) => print(concat!("oyez ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => fail(WRONG_ARGUMENTS, &format!("{error}; see oyez --help")),
    }
}

fn run(config: config::Config) -> ExitCode {
    match client::run(config) {
        // A reader that has seen enough closes the output, as in `oyez listen | head -3`.
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Error(error)) => fail(FAILED, &error),
        Err(Failure::Usage(error)) => fail(WRONG_ARGUMENTS, &error),
    }
}

// Neither reports a failed write, since there is nowhere left to report it.

fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(status: u8, error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "oyez: {}", escape_untrusted(error, 2048));
    ExitCode::from(status)
}
