//! A stand-in for a server, for tests of the client.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::{Client, Program, oyez};

/// The feed of most fake servers.
pub const FEED: &str = "00c0ffee";

/// A listener whose connections the test serves, in place of `oyezd`.
pub struct FakeServer(TcpListener);

impl FakeServer {
    pub fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Accepts the next connection, and sends nothing.
    pub fn accept(&self) -> Client {
        Client::accept(&self.0)
    }

    /// Returns a command that runs `oyez` with this server.
    pub fn oyez(&self, arguments: &[&str]) -> Command {
        let mut command = oyez();
        command.args(["-s", &self.address()]).args(arguments);
        command
    }

    pub fn start(&self, arguments: &[&str]) -> Program {
        Program::start(&mut self.oyez(arguments))
    }

    /// Starts `oyez broadcast -` with these options and a pipe as its input.
    pub fn start_broadcast(&self, options: &[&str]) -> Program {
        let mut command = self.oyez(&[options, &["broadcast", "-"]].concat());
        Program::start(command.stdin(Stdio::piped()))
    }

    /// Accepts the next connection and sends the welcome line.
    pub fn welcome(&self, feed: &str, seq: u64) -> Client {
        self.welcome_as(1, feed, seq)
    }

    pub fn welcome_as(&self, id: u64, feed: &str, seq: u64) -> Client {
        let mut oyez = self.accept();
        oyez.send(&format!("welcome {id} {feed} {seq} oyezd/9 hello"));
        oyez
    }

    /// Accepts the next connection of an `oyez broadcast -` and replies until it may send lines.
    pub fn welcome_sender(&self, id: u64, feed: &str, seq: u64) -> Client {
        let mut oyez = self.welcome_as(id, feed, seq);
        oyez.expect("quiet");
        oyez.expect("stats");
        oyez.send("ok quiet\nstat max_line 100\nok stats");
        oyez
    }
}
