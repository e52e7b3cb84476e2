//! The server program.

use std::process::ExitCode;

use oyez::cli::{self, FAILED};
use oyez::server::config::{self, Config};
use oyez::server::{End, Server, logging};

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    cli::start("oyezd", config::parse(arguments), config::help, serve)
}

fn serve(config: Config) -> ExitCode {
    logging::start(config.log_level);
    let error = match Server::bind(config).map(Server::run) {
        Ok(Ok(End::Graceful)) => return ExitCode::SUCCESS,
        Ok(Ok(End::Forced)) => return ExitCode::from(FAILED),
        Ok(Err(error)) => format!("cannot poll the sockets: {error}"),
        Err(error) => error,
    };
    cli::fail("oyezd", FAILED, &error)
}
