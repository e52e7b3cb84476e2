//! Encryption: who is trusted, what can be read along, and what happens to what is no TLS.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use support::tls::{self, Authority};
use support::{Address, Client, Program, Server, TIMEOUT, oyez, oyezd, size};
use tempfile::TempDir;

/// A folder with an authority's certificate in `ca`, and what the test puts there.
struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(&folder.path().join("ca"));
        let files = Self { folder, authority };
        files.issue("server", "localhost");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A certificate and a key in `<name>.cert` and `<name>.key`.
    fn issue(&self, name: &str, host: &str) {
        let (certificate, key) =
            (self.path(&format!("{name}.cert")), self.path(&format!("{name}.key")));
        self.authority.issue(host, &certificate, &key);
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A server with the certificate of this name.
    fn server(&self, name: &str, arguments: &[&str]) -> Server {
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0"]);
        command.args(["--tls-cert", &self.text(&format!("{name}.cert"))]);
        command.args(["--tls-key", &self.text(&format!("{name}.key"))]);
        command.args(arguments);
        let mut server = Server::spawn(command);
        server.address = Address::Tls(server.tcp(), self.path("ca"));
        server
    }

    /// A ping of the server with this certificate, by who knows this secret.
    fn ping(&self, server: &Server, fingerprint: &str, secret: &str) -> Command {
        fs::write(self.path("shown"), secret).unwrap();
        let shown = self.text("shown");
        self.oyez(server, &["--tls-fingerprint", fingerprint, "--secret-file", &shown, "ping"])
    }

    /// `oyez` with the server's name, and these arguments.
    fn oyez(&self, server: &Server, arguments: &[&str]) -> Command {
        let mut command = oyez();
        command.args(["-s", &format!("localhost:{}", server.port())]).args(arguments);
        command
    }
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let (status, _, stderr) = Program::run(command);
    assert_eq!((status, stderr.as_str()), (0, ""));
}

#[track_caller]
fn fails(command: &mut Command, error: &str) {
    let (status, stdout, stderr) = Program::run(command);
    assert_eq!((status, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains(error) && stderr.lines().count() == 1, "{stderr}");
}

fn fingerprint(server: &mut Server) -> String {
    let line = server.wait_for_log("certificate sha256:");
    let (_, rest) = line.split_once("certificate ").unwrap();
    rest.split(';').next().unwrap().to_owned()
}

#[test]
fn a_certificate_is_trusted_by_its_authority_or_its_fingerprint() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let pin = fingerprint(&mut server);
    succeeds(&mut files.oyez(&server, &["--tls-ca", &files.text("ca"), "ping"]));
    succeeds(&mut files.oyez(&server, &["--tls-fingerprint", &pin, "ping"]));
    let shouted = pin.to_uppercase().replace("SHA256", "sha256");
    succeeds(&mut files.oyez(&server, &["--tls-fingerprint", &shouted, "ping"]));
    // What openssl prints of the file is the same.
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &files.text("server.cert")]);
    if let Ok(output) = openssl.output() {
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, printed) = text.trim().split_once('=').unwrap();
        let printed = format!("sha256:{printed}");
        succeeds(&mut files.oyez(&server, &["--tls-fingerprint", &printed, "ping"]));
    }
}

#[test]
fn a_wrong_certificate_is_refused_with_what_was_expected_and_what_came() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let came = format!("received certificate {}", fingerprint(&mut server));
    let other = format!("sha256:{}", "00".repeat(32));
    let mut pinned = files.oyez(&server, &["--tls-fingerprint", &other, "ping"]);
    fails(&mut pinned, &format!("expected certificate {other}; {came}"));
    server.wait_for_log("the peer rejected our certificate");
    fails(&mut files.oyez(&server, &["--tls", "ping"]), &came);
    fails(
        &mut files.oyez(&server, &["--tls", "listen"]),
        "the certificate is not signed by a trusted authority",
    );
    // The name is not in it.
    let mut by_address = oyez();
    by_address.args(["-s", &server.tcp().to_string(), "--tls-ca", &files.text("ca"), "ping"]);
    fails(&mut by_address, "not valid for name \"127.0.0.1\"; certificate is only valid for");
}

#[test]
fn an_expired_certificate_is_refused() {
    let files = Files::new();
    let (certificate, key) = (files.path("old.cert"), files.path("old.key"));
    files.authority.issue_until("localhost", 2020, &certificate, &key);
    let server = files.server("old", &[]);
    let mut ping = files.oyez(&server, &["--tls-ca", &files.text("ca"), "ping"]);
    fails(&mut ping, "certificate expired");
}

#[test]
fn who_has_no_certificate_is_refused_where_one_is_asked_for() {
    let files = Files::new();
    files.issue("client", "al");
    let strangers = Files::new();
    strangers.issue("client", "al");
    let mut server = files.server("server", &["--tls-client-ca", &files.text("ca")]);
    let trust = ["--tls-ca", &files.text("ca")];
    let mut ping = files.oyez(&server, &[&trust[..], &["ping"]].concat());
    fails(&mut ping, "the server requires a client certificate; use --tls-cert and --tls-key");
    server.wait_for_log("TLS handshake failed: the peer sent no certificate");
    let show = |files: &Files| {
        let (certificate, key) = (files.text("client.cert"), files.text("client.key"));
        vec!["--tls-cert".to_owned(), certificate, "--tls-key".to_owned(), key]
    };
    succeeds(files.oyez(&server, &trust).args(show(&files)).arg("ping"));
    let mut stranger = files.oyez(&server, &trust);
    fails(stranger.args(show(&strangers)).arg("ping"), "the peer rejected our certificate");
    server
        .wait_for_log("TLS handshake failed: the certificate is not signed by a trusted authority");
}

#[test]
fn a_certificate_of_its_own_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("deep/tls");
    let start = || {
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed"]).arg(&made);
        Server::spawn(command)
    };
    let mut server = start();
    let first = fingerprint(&mut server);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(made.clone()), mode(made.join("key.pem"))), (0o700, 0o600));
    let certificate = made.join("cert.pem");
    let trust = ["--tls-ca", certificate.to_str().unwrap(), "ping"];
    let mut by_name = oyez();
    succeeds(by_name.args(["-s", &format!("localhost:{}", server.port())]).args(trust));
    succeeds(oyez().args(["-s", &server.tcp().to_string()]).args(trust));
    drop(server);
    assert_eq!(fingerprint(&mut start()), first, "it is kept");
    // It was interrupted when there was only a key.
    fs::remove_file(&certificate).unwrap();
    let key = fs::read(made.join("key.pem")).unwrap();
    assert_ne!(fingerprint(&mut start()), first);
    assert_eq!(fs::read(made.join("key.pem")).unwrap(), key);
}

#[test]
fn files_that_will_not_do_are_named_with_their_fault() {
    let files = Files::new();
    files.issue("other", "localhost");
    fs::write(files.path("empty"), "").unwrap();
    let server = |certificate: &str, key: &str| {
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0"]);
        command.args(["--tls-cert", &files.text(certificate), "--tls-key", &files.text(key)]);
        let (status, _, stderr) = Program::run(&mut command);
        assert_eq!(status, 1, "{stderr}");
        stderr
    };
    assert!(server("missing", "server.key").contains("missing: No such file"));
    assert!(server("empty", "server.key").contains("empty: no PEM certificate found"));
    assert!(server("server.cert", "empty").contains("empty: no PEM private key found"));
    assert!(server("server.cert", "other.key").contains("does not belong to certificate"));
    fs::set_permissions(files.path("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut server = files.server("server", &[]);
    server.wait_for_log("is readable by others; fix: chmod 600");
}

/// Passes on what comes, both ways, and keeps a copy.
fn record(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&heard);
    thread::spawn(move || {
        for near in listener.incoming().map(Result::unwrap) {
            let far = TcpStream::connect(to).unwrap();
            for (mut from, mut to) in
                [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)]
            {
                let copy = Arc::clone(&copy);
                thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(len @ 1..) = from.read(&mut bytes) {
                        copy.lock().unwrap().extend_from_slice(&bytes[..len]);
                        let _ = to.write_all(&bytes[..len]);
                    }
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (address, heard)
}

/// What somebody on the way hears when one listens to what another says, and is let in by a secret.
fn overheard(files: &Files, server: &Server, trust: &[&str]) -> String {
    let (address, heard) = record(server.tcp());
    let client = |arguments: &[&str]| {
        let mut command = oyez();
        command.args(["-s", &format!("localhost:{}", address.port())]).args(trust);
        command.args(["--secret-file", &files.text("secret")]).args(arguments);
        command
    };
    let listen = Program::start(&mut client(&["--name", "listener", "listen", "--count", "1"]));
    let mut insider = Client::connect(&server.address);
    insider.welcome();
    insider.ask("auth open sesame", "ok auth user");
    insider.send_to("listener", "psst");
    succeeds(&mut client(&["--name", "speaker", "broadcast", "a secret message"]));
    let (status, stdout, _) = listen.wait_all();
    assert_eq!((status, stdout.as_str()), (0, "a secret message\n"));
    let heard = heard.lock().unwrap();
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn nobody_reads_along() {
    let files = Files::new();
    fs::write(files.path("secret"), "open sesame\n").unwrap();
    let secret = ["--secret-file", &files.text("secret")];
    let encrypted =
        overheard(&files, &files.server("server", &secret), &["--tls-ca", &files.text("ca")]);
    let plain = overheard(&files, &Server::start(&secret), &[]);
    let words =
        ["welcome", "auth", "sesame", "listener", "speaker", "broadcast", "message", "psst"];
    for word in words {
        assert!(plain.contains(word), "{word} was said");
        assert!(!encrypted.contains(word), "{word}");
    }
    assert!(encrypted.len() > 1000, "it was recorded");
}

/// A peer that is gone may have said something before.
#[test]
fn what_a_reset_connection_had_said_is_executed() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let mut other = server.client();
    let stream = TcpStream::connect(server.tcp()).unwrap();
    let raw = stream.try_clone().unwrap();
    let mut gone = tls::connect(stream, &files.path("ca"));
    gone.read_exact(&mut [0; 8]).unwrap();
    // It reads nothing, so that the server's writes are refused, and at last they fail.
    let flood = format!("say {}\n", "x".repeat(1000));
    for _ in 0..8000 {
        other.send_bytes(flood.as_bytes());
        other.line();
    }
    // The server sees the lines and the reset together.
    server.signal("STOP");
    gone.write_all(b"say 1\nsay 2\nsay 3\n").unwrap();
    rustix::net::sockopt::set_socket_linger(&raw, Some(std::time::Duration::ZERO)).unwrap();
    drop((gone, raw));
    server.signal("CONT");
    for text in ["1", "2", "3"] {
        assert!(other.line().ends_with(&format!(" 2 {text}")));
    }
    server.wait_for_log("client 2 ");
}

#[test]
fn a_new_certificate_is_for_those_who_come_after_it() {
    let files = Files::new();
    fs::write(files.path("secret"), "old\n").unwrap();
    let mut server = files.server("server", &["--secret-file", &files.text("secret")]);
    let old = fingerprint(&mut server);
    let mut before = Client::connect(&server.address);
    before.welcome();
    before.ask("auth old", "ok auth user");
    succeeds(&mut files.ping(&server, &old, "old"));

    files.issue("server", "localhost");
    fs::write(files.path("secret"), "new\n").unwrap();
    server.signal("HUP");
    let new = fingerprint(&mut server);
    assert_ne!(new, old);
    succeeds(&mut files.ping(&server, &new, "new"));
    fails(&mut files.ping(&server, &old, "new"), "no encrypted connection to localhost");
    fails(&mut files.ping(&server, &new, "old"), "does not take the secret");
    before.ask("ping", "pong");

    fs::write(files.path("server.cert"), "broken").unwrap();
    fs::write(files.path("secret"), "").unwrap();
    server.signal("HUP");
    server
        .wait_for_log("reload failed, keeping the current certificates and secrets: secret file ");
    fs::write(files.path("secret"), "newer\n").unwrap();
    server.signal("HUP");
    server
        .wait_for_log("reload failed, keeping the current certificates and secrets: certificate ");
    succeeds(&mut files.ping(&server, &new, "new"));
    before.ask("ping", "pong");
}

#[test]
fn handshakes_that_do_not_end_are_ended_and_keep_nobody_waiting() {
    let files = Files::new();
    let mut server = files.server("server", &["--auth-timeout", "1"]);
    let mut other = server.client();
    // Some say nothing, and some the beginning of a hello, byte by byte.
    let mut half_open: Vec<_> =
        (0..200).map(|_| TcpStream::connect(server.tcp()).unwrap()).collect();
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for byte in hello {
        for stream in half_open.iter_mut().step_by(2) {
            let _ = stream.write_all(&[byte]);
        }
        other.ask("ping", "pong");
    }
    for stream in &mut half_open {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        // It is closed without a word, or with a reset.
        assert!(matches!(stream.read(&mut [0; 100]), Ok(0) | Err(_)));
    }
    server.wait_for_log("disconnected: authentication timed out");
    let deadline = Instant::now() + TIMEOUT;
    while other.stat("clients") > 1 {
        assert!(Instant::now() < deadline);
    }
    let ticks = server.cpu_ticks();
    assert!(ticks < 100, "it has spun for {ticks} ticks");
}

#[test]
fn what_is_no_tls_is_closed_and_disturbs_nobody() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let mut other = server.client();
    for garbage in [
        b"ping\nsay hi\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 100_000],
        vec![0x16; 100_000],
        [&[0x16, 3, 1, 0x40, 0][..], &[0xff; 0x4000]].concat(),
    ] {
        let mut stream = TcpStream::connect(server.tcp()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(Shutdown::Write);
        let mut said = vec![];
        let _ = stream.read_to_end(&mut said);
        // An alert at most.
        assert!(said.len() <= 7, "{said:?}");
        let line = server.wait_for_log("disconnected: TLS handshake failed: ");
        assert!(!line.contains("connection lost"), "{line}");
        other.ask("ping", "pong");
    }
    // The same the other way round.
    let plain = Server::start(&[]);
    let mut to_plain = oyez();
    to_plain.args(["-s", &plain.address.to_string(), "--tls", "ping"]);
    fails(&mut to_plain, "the peer does not speak TLS; try again later");
    let mut to_tls = files.oyez(&server, &["--timeout", "1", "ping"]);
    fails(&mut to_tls, "it says nothing; if it is encrypted, --tls is missing");
    let ticks = server.cpu_ticks();
    assert!(ticks < 100, "it has spun for {ticks} ticks");
}

#[test]
fn garbage_after_the_handshake_ends_only_its_own_connection() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let mut other = server.client();
    let stream = TcpStream::connect(server.tcp()).unwrap();
    let mut raw = stream.try_clone().unwrap();
    let mut broken = BufReader::new(tls::connect(stream, &files.path("ca")));
    let mut line = String::new();
    broken.read_line(&mut line).unwrap();
    assert!(line.starts_with("welcome "), "{line}");
    broken.get_mut().write_all(b"say before\n").unwrap();
    other.expect("broadcast 1 2 before");
    raw.write_all(&[0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5]).unwrap();
    server.wait_for_log("client 2 ");
    let gone = server.wait_for_log("disconnected: ");
    assert!(gone.contains("cannot decrypt"), "{gone}");
    other.ask("ping", "pong");
}

#[test]
fn the_end_of_input_without_an_end_of_tls_keeps_the_lines_before_it() {
    let files = Files::new();
    let server = files.server("server", &[]);
    let mut other = server.client();
    let stream = TcpStream::connect(server.tcp()).unwrap();
    let raw = stream.try_clone().unwrap();
    let mut cut = tls::connect(stream, &files.path("ca"));
    cut.write_all(b"say whole\nsay ha").unwrap();
    raw.shutdown(Shutdown::Write).unwrap();
    other.expect("broadcast 1 2 whole");
    let mut said = String::new();
    cut.read_to_string(&mut said).unwrap();
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said[1], "broadcast 1 2 whole");
    assert!(said[2].starts_with("error incomplete-line "), "{said:?}");
}

/// Each reader checks that it gets every line. OYEZ_READERS and OYEZ_LINES make more of it.
/// Whatever comes behind the end of TLS, what was owed before it arrives.
#[test]
fn nothing_behind_the_end_of_tls_destroys_what_is_owed() {
    let files = Files::new();
    // Sockets that are always full, so that much is owed that is encrypted already.
    let server = files.server("server", &["--send-buffer", "4K"]);
    let mut other = server.client();
    for ends_at_once in [false, true] {
        let stream = TcpStream::connect(server.tcp()).unwrap();
        let mut raw = stream.try_clone().unwrap();
        let mut reader = tls::connect(stream, &files.path("ca"));
        reader.read_exact(&mut [0; 8]).unwrap();
        for i in 1..=1000 {
            other.send(&format!("say {i} {}", "x".repeat(1000)));
            other.line();
        }
        reader.write_all(b"ping z\n").unwrap();
        reader.conn.send_close_notify();
        reader.flush().unwrap();
        if ends_at_once {
            raw.shutdown(Shutdown::Write).unwrap();
        } else {
            raw.write_all(&[0; 8000]).unwrap();
        }
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert!(said.ends_with("x\npong z\n"), "{} bytes came", said.len());
        assert_eq!(said.lines().filter(|line| line.starts_with("broadcast ")).count(), 1000);
    }
}

#[test]
fn many_readers_lose_no_line() {
    let (readers, lines) = (size("OYEZ_READERS", 20), size("OYEZ_LINES", 20_000));
    let files = Files::new();
    let server = files.server("server", &[]);
    let threads: Vec<_> = (0..readers)
        .map(|_| {
            let stream = TcpStream::connect(server.tcp()).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let mut reader = BufReader::new(tls::connect(stream, &files.path("ca")));
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            thread::spawn(move || {
                for seq in 1..=lines {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                    assert!(line.starts_with(&format!("broadcast {seq} ")), "{line}");
                }
            })
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    fs::write(&input, format!("{}\n", "x".repeat(100)).repeat(lines)).unwrap();
    let mut broadcast = files.oyez(&server, &["--tls-ca", &files.text("ca"), "broadcast", "-"]);
    succeeds(broadcast.stdin(Stdio::from(fs::File::open(&input).unwrap())));
    for thread in threads {
        thread.join().unwrap();
    }
}
