//! Trust on first use: asks whether to trust a certificate that no trusted authority has signed,
//! and remembers the answer.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::stdio::stdin;
use rustix::termios::{QueueSelector, tcflush};

use crate::client::connection::known_servers::{Entry, KnownServers};
use crate::client::connection::options::ConnectOptions;
use crate::client::stdio::notice;
use crate::net::tls_config::{Fingerprint, ServerVerification};

/// How many times the user is asked before the answer counts as no.
const MAX_QUESTIONS: usize = 3;

/// The maximum length of a line that is typed on a terminal, in bytes.
const MAX_TYPED: usize = 4096;

/// What is known about the server. Exists only if no option says which certificates to trust.
#[derive(Debug)]
pub(super) struct FirstUse {
    server: String,
    /// `None` if the user has no home directory.
    servers: Option<KnownServers>,
    /// The server's entry, or why the file cannot be used.
    entry: Result<Option<Entry>, String>,
}

impl FirstUse {
    pub(super) fn new(options: &ConnectOptions) -> Option<Self> {
        let tls = options.tls.as_ref()?;
        if tls.verification != ServerVerification::System {
            return None;
        }
        let servers = options.known_servers.clone();
        let servers = servers.map(|file| KnownServers::new(file, &options.server));
        let entry = servers.as_ref().map_or(Ok(None), KnownServers::find);
        Some(Self { server: options.server.to_string(), servers, entry })
    }

    /// Returns the only certificate to trust, if the server is known.
    pub(super) fn trusted(&self) -> Option<Fingerprint> {
        self.entry.as_ref().ok()?.as_ref().map(|entry| entry.fingerprint)
    }

    /// Returns advice for when the certificate was refused because it is unknown.
    pub(super) fn advice(&self) -> Option<String> {
        match &self.entry {
            Ok(None) => None,
            Ok(Some(Entry { line, .. })) => {
                let file = self.servers.as_ref().map(|servers| servers.file.display())?;
                Some(format!(
                    "the certificate has changed: if the operator replaced it, remove line {line} \
                     of {file} and start oyez again"
                ))
            }
            Err(error) => Some(error.clone()),
        }
    }

    /// Asks on the terminal whether to trust this certificate. Returns false without asking if there
    /// is no terminal, or if the server had another certificate before. The error says that the
    /// user does not trust it.
    pub(super) fn ask(&mut self, fingerprint: Fingerprint) -> Result<bool, String> {
        if self.entry != Ok(None) || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(false);
        }
        let server = &self.server;
        notice(&format!(
            "the certificate of {server} is not signed by an authority that this system trusts"
        ));
        notice(&format!("its fingerprint is {fingerprint}"));
        notice("compare it with the fingerprint that the server logs when it starts");
        // Text that was typed before the question is not an answer to it.
        let _ = tcflush(stdin(), QueueSelector::IFlush);
        let mut question = "trust this certificate from now on (yes/no/fingerprint)? ";
        for _ in 0..MAX_QUESTIONS {
            let _ = write!(io::stderr(), "{question}");
            let Some(answer) = read_line() else {
                let _ = writeln!(io::stderr());
                break;
            };
            let answer = answer.trim();
            if answer == "yes" || answer.parse() == Ok(fingerprint) {
                self.keep(fingerprint);
                return Ok(true);
            }
            if answer == "no" {
                break;
            }
            question = "type yes, no or the fingerprint: ";
        }
        Err(format!("not connected to {server}: its certificate was not accepted"))
    }

    /// Adds the certificate to the file. If that fails, the next client will ask again.
    fn keep(&mut self, fingerprint: Fingerprint) {
        let kept = match &self.servers {
            Some(servers) => servers.add(fingerprint).and_then(|()| {
                notice(&format!("added {} to {}", self.server, servers.file.display()));
                servers.find()
            }),
            None => Err("neither XDG_STATE_HOME nor HOME is set".to_owned()),
        };
        match kept {
            Ok(entry) => self.entry = Ok(entry),
            Err(error) => notice(&format!(
                "the certificate is trusted for this run only: {error}; next time, use \
                 --tls-fingerprint {fingerprint}"
            )),
        }
    }
}

/// Reads one line from the terminal. Returns `None` at its end. Reads no more than that line: the
/// rest of the input is for the task.
///
/// No task handles signals before it is connected, so Ctrl-C ends the process.
fn read_line() -> Option<String> {
    let mut line = [0; MAX_TYPED];
    // Another process may have made the terminal non-blocking.
    poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], None).ok()?;
    let len = rustix::io::read(stdin(), &mut line).ok()?;
    let line = String::from_utf8_lossy(&line[..len]).into_owned();
    line.ends_with('\n').then_some(line)
}
