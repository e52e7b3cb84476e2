//! Runs the examples in the documentation and compares their output with the output shown.
//!
//! In a code block, `$ ` starts a command. A backslash continues it on the next line. `> ` starts a
//! line of input for the running command, and `^C` interrupts it. All other lines are expected
//! output; `...` matches the rest of a line or, alone on a line, any number of lines. A block
//! without `$ ` is a script that must succeed.
//!
//! The blocks under one heading share a directory and a server, unless they start `oyezd`
//! themselves. For values that differ between runs, the documentation shows the constants below.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;

use crate::markdown::{Block, Kind, Section};
use crate::support::Server;
use crate::terminal::{Next, Terminal};

const PORTS: [&str; 2] = ["5050", "5051"];
const FEED: &str = "9f3c21aa";
const FINGERPRINT: &str = "sha256:5d41…e8";
const TIME: &str = "2026-01-31T09:14:00.000Z";
const MILLISECONDS: &str = "0.120";

const WILDCARD: &str = "...";

/// The content of `app.log`, which some examples read.
const LOG: &str = "GET /index.html 200\nGET /missing.html 404\n";

/// Runs the examples of a section. The error shows where the output differs from the output shown.
pub fn run(path: &str, section: &Section) -> Result<(), String> {
    let mut runner = Runner::new(section);
    for block in section.blocks.iter().filter(|block| block.kind.is_run()) {
        runner.run_block(path, block)?;
    }
    Ok(())
}

struct Runner {
    folder: TempDir,
    /// The section's server, unless the section starts one itself.
    server: Option<Server>,
    placeholders: Placeholders,
    /// A command that may have connected to the server has run.
    has_connected: bool,
    /// The terminals of all blocks. A server may still be running in an earlier block's terminal.
    panes: Vec<Pane>,
}

/// A terminal, and the state of its last command.
struct Pane {
    terminal: Terminal,
    /// The exit status, if the command has exited.
    status: Option<i32>,
    /// The command may fail, because its output is shown or because it was interrupted.
    may_fail: bool,
    /// The command may outlive the block, because it is a server or because it reads input.
    may_outlive: bool,
    /// The command may print lines that are not shown.
    skips_output: bool,
}

impl Runner {
    fn new(section: &Section) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("app.log"), LOG).unwrap();
        let mut lines = section.blocks.iter().flat_map(|block| &block.lines);
        let starts_server = lines.any(|line| is_server(line.trim_start_matches("$ ")));
        let server = (!starts_server).then(|| Server::start(&[]));
        let placeholders = Placeholders::new(server.as_ref().map(Server::port));
        Self { folder, server, placeholders, has_connected: false, panes: vec![] }
    }

    fn open_pane(&self) -> Pane {
        let programs = Path::new(env!("CARGO_BIN_EXE_oyezd")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let server = format!("127.0.0.1:{}", self.placeholders.ports[0]);
        let terminal = Terminal::open(|shell| {
            shell.current_dir(&self.folder).env("HOME", self.folder.path()).env("PATH", path);
            shell.env("OYEZ_SERVER", server);
        });
        Pane { terminal, status: Some(0), may_fail: false, may_outlive: false, skips_output: false }
    }

    fn run_block(&mut self, path: &str, block: &Block) -> Result<(), String> {
        let steps = steps(block);
        let first = self.panes.len();
        let columns = if block.kind == Kind::TwoTerminals { 2 } else { 1 };
        for _ in 0..columns {
            self.panes.push(self.open_pane());
        }
        for (line, column, step) in steps {
            let result = self.step(first + column, &step);
            result.map_err(|error| format!("{path}:{line}: {error}"))?;
        }
        for pane in self.panes[first..].iter_mut().filter(|pane| !pane.may_outlive) {
            let result = pane.finish(&mut self.placeholders);
            result.map_err(|error| format!("{path}:{}: {error}", block.line))?;
        }
        Ok(())
    }

    fn step(&mut self, pane: usize, step: &Step) -> Result<(), String> {
        let pane = &mut self.panes[pane];
        match step {
            Step::Run(command) => {
                pane.finish(&mut self.placeholders)?;
                pane.run(&self.placeholders.expand(command));
                match &mut self.server {
                    // Wait for this command to connect, so that the next one cannot overtake it.
                    Some(server) if command.ends_with('&') => {
                        assert!(!self.has_connected, "background commands must come first");
                        server.wait_for_log(" connected");
                    }
                    _ => self.has_connected = true,
                }
            }
            Step::Script(script) => {
                let path = self.folder.path().join("script");
                fs::write(path, self.placeholders.expand(script)).unwrap();
                pane.run("bash -euo pipefail script");
                pane.skips_output = true;
            }
            Step::Type(line) => {
                pane.may_outlive = true;
                pane.terminal.type_line(&self.placeholders.expand(line));
            }
            Step::Interrupt => {
                pane.may_outlive = false;
                pane.may_fail = true;
                pane.terminal.interrupt();
            }
            Step::Print(shown) if shown == WILDCARD => pane.skips_output = true,
            Step::Print(shown) => pane.expect(shown, &mut self.placeholders)?,
        }
        Ok(())
    }
}

impl Pane {
    fn run(&mut self, command: &str) {
        self.status = None;
        self.may_fail = false;
        self.may_outlive = is_server(command);
        self.skips_output = false;
        self.terminal.run(command);
    }

    /// Returns the next line of output, or `None` when the command has exited.
    fn next(&mut self, placeholders: &mut Placeholders) -> Option<String> {
        match self.terminal.next() {
            Next::Line(line) => Some(placeholders.normalize(&line)),
            Next::Prompt(status) => {
                self.status = Some(status);
                None
            }
        }
    }

    /// Waits until the command prints this line of the documentation.
    fn expect(&mut self, shown: &str, placeholders: &mut Placeholders) -> Result<(), String> {
        self.may_fail = true;
        loop {
            if self.status.is_some() && !self.terminal.has_jobs {
                return Err(format!("shown, but not printed:\n  {shown}"));
            }
            let Some(printed) = self.next(placeholders) else { continue };
            let is_same = match shown.strip_suffix(WILDCARD) {
                Some(beginning) => printed.starts_with(beginning),
                None => printed == shown,
            };
            if is_same {
                self.skips_output = false;
                return Ok(());
            }
            if !self.skips_output {
                return Err(format!("shown:\n  {shown}\nbut printed:\n  {printed}"));
            }
        }
    }

    /// Waits until the command exits. Fails if it prints more than is shown.
    fn finish(&mut self, placeholders: &mut Placeholders) -> Result<(), String> {
        while self.status.is_none() {
            if let Some(printed) = self.next(placeholders)
                && !self.skips_output
            {
                return Err(format!("printed, but not shown:\n  {printed}"));
            }
        }
        match self.status {
            Some(status) if status != 0 && !self.may_fail => Err(format!("exit status {status}")),
            _ => Ok(()),
        }
    }
}

/// Returns whether the command is a server, which runs until it is interrupted.
fn is_server(command: &str) -> bool {
    command.split(' ').next() == Some("oyezd")
}

enum Step {
    /// `$ command`
    Run(String),
    /// A block without commands.
    Script(String),
    /// `> input`
    Type(String),
    /// `^C`
    Interrupt,
    /// Output.
    Print(String),
}

/// Returns the steps of a block, each with its line number and the index of its terminal.
fn steps(block: &Block) -> Vec<(usize, usize, Step)> {
    if !block.lines.iter().any(|line| line.starts_with("$ ")) {
        return vec![(block.line, 0, Step::Script(block.lines.join("\n")))];
    }
    // The second terminal starts at the leftmost `$` after two spaces.
    let second = match block.kind {
        Kind::TwoTerminals => block.lines.iter().filter_map(|line| line.find("  $ ")).min(),
        _ => None,
    };
    let mut steps: Vec<(usize, usize, Step)> = vec![];
    for (index, line) in block.lines.iter().enumerate() {
        if let Some((_, _, Step::Run(command))) = steps.last_mut()
            && let Some(beginning) = command.strip_suffix('\\')
        {
            *command = format!("{beginning}{}", line.trim_start());
            continue;
        }
        let columns = match second.and_then(|column| line.split_at_checked(column)) {
            Some((left, right)) => vec![left.trim_end(), right.trim_start()],
            None => vec![line.as_str()],
        };
        for (column, text) in columns.iter().enumerate() {
            let step = match text.split_at_checked(2) {
                Some(("$ ", command)) => Step::Run(command.to_owned()),
                Some(("> ", input)) => Step::Type(input.to_owned()),
                Some(("^C", "")) => Step::Interrupt,
                _ if text.is_empty() && second.is_some() => continue,
                _ => Step::Print((*text).to_owned()),
            };
            steps.push((block.line + 1 + index, column, step));
        }
    }
    steps
}

/// The values of this run for the constants in the documentation.
struct Placeholders {
    ports: [String; 2],
    feed: Option<String>,
    fingerprint: Option<String>,
}

impl Placeholders {
    /// `port` is the port of the section's server, if that is already running.
    fn new(port: Option<u16>) -> Self {
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let free = free.map(|listener| listener.local_addr().unwrap().port());
        let ports = [port.unwrap_or(free[0]), free[1]].map(|port| port.to_string());
        Self { ports, feed: None, fingerprint: None }
    }

    /// Replaces the constants of the documentation with the values of this run.
    fn expand(&self, shown: &str) -> String {
        let mut text = shown.to_owned();
        if is_server(shown) && !shown.contains("--listen") {
            text.insert_str("oyezd".len(), &format!(" --listen 127.0.0.1:{}", PORTS[0]));
        }
        for (shown, real) in PORTS.iter().zip(&self.ports) {
            text = text.replace(shown, real);
        }
        for (shown, real) in [(FEED, &self.feed), (FINGERPRINT, &self.fingerprint)] {
            if text.contains(shown) {
                text = text
                    .replace(shown, real.as_ref().expect("a value is printed before it is used"));
            }
        }
        text
    }

    /// Replaces the values of this run with the constants of the documentation.
    fn normalize(&mut self, printed: &str) -> String {
        let is_in_word = |c: char| c.is_ascii_alphanumeric() || ".:-".contains(c);
        let mut shown = String::new();
        let mut rest = printed;
        while let Some(next) = rest.chars().next() {
            let len = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
            let word = rest[..len].trim_end_matches(['.', ':', '-']);
            let len = if word.is_empty() { next.len_utf8() } else { word.len() };
            let (word, after) = rest.split_at(len);
            shown.push_str(&self.normalize_word(word, after));
            rest = after;
        }
        shown
    }

    fn normalize_word(&mut self, word: &str, after: &str) -> String {
        let is_hex = |text: &str, len| {
            text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if is_hex(word, FEED.len()) {
            self.feed = Some(word.to_owned());
            return FEED.to_owned();
        }
        if word.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, 64)) {
            self.fingerprint = Some(word.to_owned());
            return FINGERPRINT.to_owned();
        }
        if word.len() == TIME.len() && word.ends_with('Z') && word.as_bytes()[10] == b'T' {
            return TIME.to_owned();
        }
        if word.contains('.') && after.starts_with(" ms") {
            return MILLISECONDS.to_owned();
        }
        for (shown, real) in PORTS.iter().zip(&self.ports) {
            if let Some(host) = word.strip_suffix(real.as_str())
                && (host.is_empty() || host.ends_with(':'))
            {
                return format!("{host}{shown}");
            }
        }
        word.to_owned()
    }
}
