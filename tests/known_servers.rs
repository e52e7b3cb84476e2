//! Trust on first use: the question about an unknown certificate, and the file of known servers.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::terminal::Terminal;
use support::{Server, TIMEOUT, fails, oyez, succeeds, tls};
use tempfile::TempDir;

const QUESTION: &str = "trust this certificate from now on (yes/no/fingerprint)?";

/// A user with a home directory, and a server.
struct User {
    home: TempDir,
    server: Server,
    fingerprint: String,
}

impl User {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut server = Server::start_tls(&[]);
        let line = server.wait_for_log("certificate sha256:");
        let (_, rest) = line.split_once("certificate ").unwrap();
        let fingerprint = rest.split(';').next().unwrap().to_owned();
        Self { home, server, fingerprint }
    }

    /// The server's address, as in the file of known servers.
    fn address(&self) -> String {
        format!("localhost:{}", self.server.port())
    }

    fn file(&self) -> PathBuf {
        self.home.path().join(".local/state/oyez/known_servers")
    }

    /// Writes the file of known servers.
    fn write(&self, text: &str) {
        fs::create_dir_all(self.file().parent().unwrap()).unwrap();
        fs::write(self.file(), text).unwrap();
    }

    fn oyez(&self, arguments: &[&str]) -> Command {
        let mut command = oyez();
        command.env("HOME", self.home.path()).args(["--tls", "-s", &self.address()]);
        command.args(arguments);
        command
    }

    /// Runs a command on a terminal.
    fn on_terminal(&self, arguments: &[&str]) -> Terminal {
        Terminal::start_with_stderr(&mut self.oyez(arguments), 24, 200)
    }
}

/// Waits for the question, which must be the last row.
#[track_caller]
fn expect_question(terminal: &mut Terminal) {
    terminal.expect(&[QUESTION]);
}

/// Waits until the program exits with this status and its last row contains this text.
#[track_caller]
fn ends(terminal: &mut Terminal, status: i32, text: &str) {
    terminal.wait_until(|terminal| terminal.rows().last().unwrap().contains(text));
    assert_eq!(terminal.program.wait().code(), Some(status));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn accepted_certificate_is_trusted_from_then_on_in_scripts_too() {
    let user = User::new();
    let mut terminal = user.on_terminal(&["ping"]);
    expect_question(&mut terminal);
    let rows = terminal.rows().join("\n");
    let first = format!("the certificate of {} is not signed by an authority", user.address());
    assert!(rows.contains(&first), "{rows}");
    assert!(rows.contains(&format!("its fingerprint is {}\n", user.fingerprint)), "{rows}");
    terminal.press("y\n");
    terminal.expect(&["type yes, no or the fingerprint:"]);
    terminal.press("yes\n");
    ends(&mut terminal, 0, "pong: ");
    let added = format!("\noyez: added {} to {}\n", user.address(), user.file().display());
    assert!(terminal.rows().join("\n").contains(&added), "{:?}", terminal.rows());

    let entry = format!("{} {}\n", user.address(), user.fingerprint);
    assert_eq!(fs::read_to_string(user.file()).unwrap(), entry);
    assert_eq!((mode(&user.file()), mode(user.file().parent().unwrap())), (0o600, 0o700));
    succeeds(&mut user.oyez(&["ping"]));
    let mut terminal = user.on_terminal(&["ping"]);
    ends(&mut terminal, 0, "pong: ");
    assert_eq!(terminal.rows().len(), 1, "{:?}", terminal.rows());
    // It is trusted only at that address, whose host name is not case-sensitive.
    for (host, is_trusted) in [("LocalHost", true), ("127.0.0.1", false)] {
        let mut ping = oyez();
        ping.args(["--tls", "-s", &format!("{host}:{}", user.server.port()), "ping"]);
        ping.env("HOME", user.home.path());
        if is_trusted {
            succeeds(&mut ping);
        } else {
            fails(&mut ping, 1, "the certificate is not signed by a trusted authority");
        }
    }
}

/// The question takes only the answer from the terminal.
#[test]
fn input_after_the_answer_is_broadcast() {
    let user = User::new();
    let mut other = user.server.client();
    let mut terminal = user.on_terminal(&["broadcast", "-"]);
    expect_question(&mut terminal);
    terminal.press("yes\nhello\n\x04");
    assert_eq!(terminal.program.wait().code(), Some(0));
    assert!(other.line().ends_with(" hello"));
}

#[test]
fn pasted_fingerprint_must_match_the_certificate() {
    let user = User::new();
    let mut terminal = user.on_terminal(&["ping"]);
    expect_question(&mut terminal);
    terminal.press(&format!("sha256:{}\n", "0".repeat(64)));
    terminal.expect(&["type yes, no or the fingerprint:"]);
    terminal.press(&format!("{}\n", user.fingerprint));
    ends(&mut terminal, 0, "pong: ");
    assert!(user.file().exists());
}

#[test]
fn certificate_is_refused_unless_the_answer_is_yes() {
    let user = User::new();
    for answers in [&["no\n"][..], &["\n", "n\n", "y\n"], &["\x04"], &["ye\x04\x04"]] {
        let mut terminal = user.on_terminal(&["ping"]);
        expect_question(&mut terminal);
        for (i, answer) in answers.iter().enumerate() {
            terminal.wait_until(|terminal| {
                terminal.output().matches("type yes, no or the fingerprint: ").count() == i
            });
            terminal.press(answer);
        }
        ends(&mut terminal, 1, "its certificate was not accepted");
    }
    for command in ["ping", "listen"] {
        let mut terminal = user.on_terminal(&[command]);
        expect_question(&mut terminal);
        terminal.program.signal("INT");
        assert_eq!(terminal.program.wait().signal(), Some(2), "{command}");
    }
    assert!(!user.file().exists());
}

#[test]
fn without_a_terminal_an_unknown_certificate_is_refused_with_the_options_to_use() {
    let user = User::new();
    let error = format!(
        "the certificate is not signed by a trusted authority; trust it with --tls-ca or \
         --tls-fingerprint; received certificate {}",
        user.fingerprint
    );
    fails(&mut user.oyez(&["ping"]), 1, &error);
    // Nobody would see the question.
    let mut terminal = Terminal::start(&mut user.oyez(&["ping"]), 24, 80);
    assert_eq!(terminal.program.wait().code(), Some(1));
    let stderr = terminal.program.stderr.all();
    assert!(stderr.contains(&error) && !stderr.contains(QUESTION), "{stderr}");
    assert!(!user.file().exists());
}

#[test]
fn changed_certificate_is_refused_with_both_fingerprints_and_the_line() {
    let user = User::new();
    let old = format!("sha256:{}", "0".repeat(64));
    let (address, received) = (user.address(), &user.fingerprint);
    user.write(&format!("other:5051 {received}\n{address} {old}\n"));
    let file = user.file();
    let error = format!(
        "expected certificate {old}; received certificate {received}; the certificate has \
         changed: if the operator replaced it, remove line 2 of {} and start oyez again",
        file.display()
    );
    fails(&mut user.oyez(&["ping"]), 1, &error);
    let mut terminal = user.on_terminal(&["ping"]);
    terminal.wait_until(|terminal| terminal.output().contains("remove line 2 of"));
    assert_eq!(terminal.program.wait().code(), Some(1));
    assert!(!terminal.output().contains(QUESTION));
    // An option overrides the file.
    succeeds(&mut user.oyez(&["--tls-fingerprint", received, "ping"]));
    user.write(&format!("other:5051 {old}\n{address} {received}\n"));
    succeeds(&mut user.oyez(&["ping"]));
}

#[test]
fn invalid_file_is_an_error_that_names_the_line() {
    let user = User::new();
    user.write(&format!("{} {}\nother 1\n", user.address(), user.fingerprint));
    let error = format!("line 2 of {} is not an address and a fingerprint", user.file().display());
    fails(&mut user.oyez(&["ping"]), 1, &error);
    let mut terminal = user.on_terminal(&["ping"]);
    terminal.wait_until(|terminal| terminal.output().contains("line 2 of"));
    assert_eq!(terminal.program.wait().code(), Some(1));
    assert!(!terminal.output().contains(QUESTION));
}

#[test]
fn certificate_that_cannot_be_saved_is_trusted_once() {
    let user = User::new();
    for (state, reason) in [
        (Some("/dev/null"), "cannot write /dev/null/oyez/known_servers"),
        (None, "neither XDG_STATE_HOME nor HOME is set"),
    ] {
        let mut command = user.oyez(&["ping"]);
        command.env_remove("HOME");
        command.envs(state.map(|state| ("XDG_STATE_HOME", state)));
        for _ in 0..2 {
            let mut terminal = Terminal::start_with_stderr(&mut command, 24, 400);
            expect_question(&mut terminal);
            terminal.press("yes\n");
            ends(&mut terminal, 0, "pong: ");
            let rows = terminal.rows().join("\n");
            assert!(rows.contains(reason), "{rows}");
            assert!(
                rows.contains(&format!("use --tls-fingerprint {}", user.fingerprint)),
                "{rows}"
            );
        }
    }
}

#[test]
fn system_without_authorities_asks_too() {
    let user = User::new();
    let mut command = user.oyez(&["ping"]);
    command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", user.home.path());
    fails(&mut command, 1, "found no trusted certificates on this system; use --tls-ca or");
    let mut terminal = Terminal::start_with_stderr(&mut command, 24, 200);
    expect_question(&mut terminal);
    terminal.press("yes\n");
    ends(&mut terminal, 0, "pong: ");
    succeeds(&mut command);
}

/// A listener with a self-signed CA certificate, as openssl creates it by default.
struct FakeServer {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

type Connection = StreamOwned<ServerConnection, TcpStream>;

impl FakeServer {
    fn new(folder: &Path, year: i32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { listener, config: Self::config(folder, year) }
    }

    /// Creates a certificate that expires in this year, and writes it to the file `cert`.
    fn config(folder: &Path, year: i32) -> Arc<ServerConfig> {
        let [certificate, key] = ["cert", "key"].map(|name| folder.join(name));
        tls::self_sign("localhost", year, &certificate, &key);
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key);
        Arc::new(config.unwrap())
    }

    fn oyez(&self, home: &Path, arguments: &[&str]) -> Command {
        let mut command = oyez();
        let port = self.listener.local_addr().unwrap().port();
        command.env("HOME", home).args(["--tls", "-s", &format!("localhost:{port}")]);
        command.args(arguments);
        command
    }

    #[track_caller]
    fn accept(&self) -> Connection {
        let timeout = Timespec { tv_sec: TIMEOUT.as_secs() as i64, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&timeout));
        assert_eq!(ready, Ok(1), "no connection arrived");
        let stream = self.listener.accept().unwrap().0;
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.config)).unwrap(), stream)
    }

    /// Accepts a connection, and checks that the client rejects the certificate, sends nothing else
    /// and closes the connection.
    #[track_caller]
    fn is_rejected(&self) {
        let mut connection = self.accept();
        let error = connection.read(&mut [0; 100]).unwrap_err().to_string();
        assert!(error.contains("received fatal alert"), "{error}");
        assert_eq!(connection.sock.read(&mut [0; 100]).unwrap(), 0, "the connection is closed");
    }
}

#[track_caller]
fn read(connection: &mut Connection, expected: &str) {
    let mut text = vec![0; expected.len()];
    connection.read_exact(&mut text).unwrap();
    assert_eq!(String::from_utf8_lossy(&text), expected);
}

#[test]
fn secret_is_sent_only_after_the_answer() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    fs::write(&secret, "open sesame\n").unwrap();
    let server = FakeServer::new(home.path(), 4000);
    let arguments = ["--secret-file", secret.to_str().unwrap(), "ping"];
    let mut terminal =
        Terminal::start_with_stderr(&mut server.oyez(home.path(), &arguments), 24, 200);
    server.is_rejected();
    expect_question(&mut terminal);
    terminal.press("yes\n");
    let mut connection = server.accept();
    connection.write_all(b"welcome 1 00c0ffee 0 oyezd/9 hello\n").unwrap();
    read(&mut connection, "auth open sesame\n");
    connection.write_all(b"ok auth user\n").unwrap();
    read(&mut connection, "ping\n");
    connection.write_all(b"pong\n").unwrap();
    ends(&mut terminal, 0, "pong: ");
}

/// The second connection must present the certificate that was accepted.
#[test]
fn other_certificate_after_the_answer_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut server = FakeServer::new(home.path(), 4000);
    let mut terminal =
        Terminal::start_with_stderr(&mut server.oyez(home.path(), &["ping"]), 24, 400);
    server.is_rejected();
    expect_question(&mut terminal);
    server.config = FakeServer::config(home.path(), 4000);
    terminal.press("yes\n");
    server.is_rejected();
    ends(&mut terminal, 1, "expected certificate sha256:");
    let file = home.path().join(".local/state/oyez/known_servers");
    let advice = format!("remove line 1 of {} and start oyez again", file.display());
    assert!(terminal.rows().join("\n").contains(&advice), "{:?}", terminal.rows());
    assert_eq!(terminal.output().matches(QUESTION).count(), 1);
}

#[test]
fn chat_asks_before_it_starts_but_never_while_it_reconnects() {
    let home = tempfile::tempdir().unwrap();
    let mut server = FakeServer::new(home.path(), 4000);
    for is_asked in [true, false] {
        let mut chat = server.oyez(home.path(), &[]);
        if !is_asked {
            // The system trusts the first certificate.
            fs::copy(home.path().join("cert"), home.path().join("trusted")).unwrap();
            chat.env("SSL_CERT_FILE", home.path().join("trusted")).env("HOME", "/nowhere");
        }
        let mut terminal = Terminal::start_with_stderr(&mut chat, 24, 200);
        if is_asked {
            server.is_rejected();
            expect_question(&mut terminal);
            terminal.press("yes\n");
        }
        let mut connection = server.accept();
        connection.write_all(b"welcome 7 00c0ffee 0 oyezd/9 hello\n").unwrap();
        terminal.expect(&["7>"]);
        server.config = FakeServer::config(home.path(), 4000);
        connection.conn.send_close_notify();
        connection.flush().unwrap();
        drop(connection);
        server.is_rejected();
        terminal.wait_until(|terminal| {
            let rows = terminal.rows().join("\n");
            rows.contains("received certificate") && rows.contains("still trying")
        });
        assert_eq!(terminal.output().contains(QUESTION), is_asked);
        // Only a certificate that was accepted has a line in the file.
        assert_eq!(terminal.output().contains("remove line 1 of"), is_asked);
        assert!(terminal.output().matches(QUESTION).count() <= 1);
    }
}

#[test]
fn expired_certificate_is_refused_without_a_question() {
    let home = tempfile::tempdir().unwrap();
    let server = FakeServer::new(home.path(), 2020);
    let mut terminal =
        Terminal::start_with_stderr(&mut server.oyez(home.path(), &["ping"]), 24, 400);
    server.is_rejected();
    ends(&mut terminal, 1, "the certificate expired on 2020-01-01");
    assert!(!terminal.output().contains(QUESTION));
}
