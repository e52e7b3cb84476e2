//! The server's binary: parses the arguments, starts the log, runs the server.

use std::io::Write as _;
use std::process::ExitCode;

use oyez::escape::escape_untrusted;
use oyez::server::config::{self, Action, Config};
use oyez::server::{End, Server, logging};

const FAILED: u8 = 1;
const WRONG_ARGUMENTS: u8 = 2;

fn main() -> ExitCode {
    match config::parse(std::env::args_os().skip(1).collect()) {
        Ok(Action::Run(config)) => {
            logging::start(config.log_level);
            serve(*config)
        }
        Ok(Action::Help) => print(&config::help()),
        Ok(Action::Version) => print(concat!("oyezd ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => fail(WRONG_ARGUMENTS, &format!("{error}; see oyezd --help")),
    }
}

fn serve(config: Config) -> ExitCode {
    let server = match Server::bind(config) {
        Ok(server) => server,
        Err(error) => return fail(FAILED, &error),
    };
    match server.run() {
        Ok(End::Graceful) => ExitCode::SUCCESS,
        Ok(End::Forced) => ExitCode::from(FAILED),
        Err(error) => fail(FAILED, &format!("cannot continue: {error}")),
    }
}

/// Ignores write errors: nobody reads the output.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(status: u8, error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "oyezd: {}", escape_untrusted(error, 3 * 1024));
    ExitCode::from(status)
}
