//! What one sees of the program from outside: arguments, addresses, and the log.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Address, Client, Program, Server, oyezd};

fn unix_server(path: &Path, arguments: &[&str]) -> Command {
    let mut command = oyezd();
    command.arg("--listen").arg(format!("unix:{}", path.display())).args(arguments);
    command
}

#[track_caller]
fn fails(command: &mut Command, status: i32, error: &str) {
    let (ended, stdout, stderr) = Program::run(command);
    assert_eq!(ended, status, "{stderr}");
    assert_eq!(stdout, "");
    assert!(stderr.starts_with("oyezd: ") && stderr.contains(error), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn help_and_version_go_to_stdout() {
    let (status, stdout, stderr) = Program::run(oyezd().arg("--help"));
    assert_eq!(status, 0);
    assert!(stdout.starts_with("oyezd - ") && stdout.contains("--listen ADDR"), "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    assert_eq!(stderr, "");
    let (status, stdout, _) = Program::run(oyezd().arg("-V"));
    assert_eq!(status, 0);
    assert_eq!(stdout, format!("oyezd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_arguments_are_one_line_and_status_2() {
    fails(oyezd().arg("--frobnicate"), 2, "unexpected argument \"--frobnicate\"; see oyezd --help");
    fails(oyezd().args(["--listen", "localhost:1"]), 2, "expected IP:PORT");
    fails(oyezd().args(["--slow-clients", "never"]), 2, "expected disconnect, skip or wait");
    fails(oyezd().args(["--max-outbox", "1K"]), 2, "--max-outbox must be at least");
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_tls_it_says_how_to_have_it() {
    let encrypted = ["--listen-tls", "127.0.0.1:0", "--tls-self-signed", "/nowhere"];
    fails(oyezd().args(encrypted), 1, "this build does not support TLS; rebuild with: ");
    let mut oyez = support::oyez();
    let (status, _, stderr) = Program::run(oyez.args(["--tls", "ping"]));
    assert_eq!(status, 1);
    assert!(stderr.contains("this build does not support TLS; rebuild with: "), "{stderr}");
}

#[test]
fn a_port_in_use_is_one_line_and_status_1() {
    let server = Server::start(&[]);
    let address = server.tcp().to_string();
    fails(
        oyezd().args(["--listen", &address]),
        1,
        &format!("cannot listen on {address}: the port is in use"),
    );
    fails(oyezd().args(["--listen", "192.0.2.1:0"]), 1, "choose an address of this host");
}

#[test]
fn it_listens_on_several_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let others = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0"];
    let mut server = Server::spawn(unix_server(&path, &others));
    let mut addresses = vec![server.address.clone()];
    for _ in 0..2 {
        addresses.push(support::address_in(&server.wait_for_log("listening on ")));
    }
    let mut clients: Vec<_> = addresses
        .iter()
        .map(|address| {
            let mut client = Client::connect(address);
            client.welcome();
            client
        })
        .collect();
    clients[0].send("say hi");
    for client in &mut clients {
        client.expect("broadcast 1 1 hi");
    }
}

#[test]
fn ipv6_leaves_the_same_port_of_ipv4_alone() {
    let server = Server::start(&[]);
    let mut command = oyezd();
    command.args(["--listen", &format!("[::]:{}", server.port())]);
    let other = Server::spawn(command);
    let mut client =
        Client::connect(&Address::Tcp(format!("[::1]:{}", server.port()).parse().unwrap()));
    client.welcome();
    assert_eq!(other.stat("clients"), 2);
    assert_eq!(server.stat("clients"), 1);
}

#[test]
fn a_socket_file_is_made_with_its_mode_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    for (arguments, mode) in [(&[][..], 0o600), (&["--unix-mode", "666"][..], 0o666)] {
        let server = Server::spawn(unix_server(&path, arguments));
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, mode);
        server.client().ask("ping", "pong");
        server.client().ask("shutdown", "goodbye shutdown");
        let (status, log) = server.wait();
        assert!(status.success(), "{log}");
        assert!(!path.exists());
    }
}

#[test]
fn a_file_that_is_no_socket_is_never_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    fs::write(&path, "data").unwrap();
    fails(&mut unix_server(&path, &[]), 1, "the file exists and is not a socket");
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    fails(&mut unix_server(&link, &[]), 1, "the file exists and is not a socket");
    fails(
        &mut unix_server(&folder.path().join("missing/socket"), &[]),
        1,
        "cannot listen on unix:",
    );
    fails(&mut unix_server(&folder.path().join("x".repeat(200)), &[]), 1, "the path is too long");
}

#[test]
fn a_served_socket_is_in_use_and_a_stale_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = Server::spawn(unix_server(&path, &[]));
    fails(&mut unix_server(&path, &[]), 1, "the socket is in use");
    server.signal("KILL");
    server.wait();
    assert!(path.exists(), "it was left over");
    let server = Server::spawn(unix_server(&path, &[]));
    server.client().ask("ping", "pong");
}

#[test]
fn a_socket_that_is_no_longer_its_own_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = Server::spawn(unix_server(&path, &[]));
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(path.exists());
}

#[test]
fn the_log_has_connections_and_their_ends() {
    let mut server = Server::start(&[]);
    server.wait_for_log("worst case with ");
    let mut client = server.client();
    server.wait_for_log("INFO  [oyezd] client 1 connected from 127.0.0.1:");
    client.ask("name bob", "ok name bob");
    client.ask("quit", "goodbye quit");
    client.expect_end();
    drop(client);
    let line = server.wait_for_log("client 1 (bob) from 127.0.0.1:");
    assert!(line.contains("disconnected: quit; ") && line.contains(" 14 bytes in, "), "{line}");
    let (date, rest) = line.split_at("2026-01-01T00:00:00.000Z".len());
    assert!(date.ends_with('Z') && date.contains('T') && rest.starts_with(" INFO "), "{line}");
    server.client().reset();
    server.wait_for_log("client 2 from ");
    server.client().send("Host: x");
    server.wait_for_log("disconnected: foreign protocol: HTTP; ");
}

#[test]
fn at_debug_the_log_has_every_line_and_no_mistyped_secret() {
    let mut server = Server::start(&["--log-level", "debug"]);
    let mut client = server.client();
    client.send("say Grüße\u{202e}");
    server.wait_for_log(r#"client 1: "say Grüße\u{202e}" -> "broadcast 1""#);
    client.send("send 9 x");
    server.wait_for_log(r#"client 1: "send 9 x" -> "error no-such-client"#);
    client.send("stats");
    server.wait_for_log(r#"client 1: "stats" -> "ok stats""#);
    while client.line() != "ok stats" {}
    for secret in
        ["auth hunter2", "auht hunter2", " auth hunter2", "/auth hunter2", "auth hunter2\u{1b}"]
    {
        client.send(secret);
        assert!(client.line().starts_with("error "));
    }
    client.send("quit");
    drop(client);
    server.wait_for_log("disconnected");
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("unknown command (12 bytes)") && log.contains("auth (12 bytes)"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    assert!(!log.contains('\u{202e}') && !log.contains('\u{1b}'), "{log}");
}

/// Starts a server on a Unix socket with this stderr, and waits until it listens.
fn server_with_stderr(path: &Path, stderr: impl Into<Stdio>, arguments: &[&str]) -> Killed {
    let child = unix_server(path, arguments).stderr(stderr).spawn().unwrap();
    let deadline = std::time::Instant::now() + support::TIMEOUT;
    while std::os::unix::net::UnixStream::connect(path).is_err() {
        assert!(std::time::Instant::now() < deadline, "it does not listen");
        std::thread::yield_now();
    }
    Killed(child)
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Many more lines than any pipe or terminal takes, and the service goes on.
#[track_caller]
fn serves_though_the_log_is_stuck(path: &Path) -> Client {
    let address = Address::Unix(path.to_owned());
    for _ in 0..200 {
        let mut client = Client::connect(&address);
        client.welcome();
        for _ in 0..20 {
            client.ask("ping x", "pong x");
        }
    }
    let mut client = Client::connect(&address);
    client.welcome();
    client
}

#[test]
fn a_log_that_nobody_holds_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (reader, writer) = std::io::pipe().unwrap();
    let _server = server_with_stderr(&path, writer, &["--log-level", "debug"]);
    drop(reader);
    let mut client = serves_though_the_log_is_stuck(&path);
    assert!(client.stat("log_dropped") > 1000);
}

#[test]
fn a_log_on_a_full_disk_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let _server = server_with_stderr(&path, full, &["--log-level", "debug"]);
    let mut client = serves_though_the_log_is_stuck(&path);
    assert!(client.stat("log_dropped") > 1000);
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_what_was_dropped_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let server = server_with_stderr(&path, writer, &["--log-level", "debug"]);
    let mut client = serves_though_the_log_is_stuck(&path);
    let dropped = client.stat("log_dropped");
    assert!(dropped > 1000);
    // Once it is read, it says so.
    let mut log = String::new();
    while !log.contains(" log lines: stderr was full") {
        let mut bytes = [0; 64 * 1024];
        let len = reader.read(&mut bytes).unwrap();
        log.push_str(std::str::from_utf8(&bytes[..len]).unwrap());
        client.ask("ping", "pong");
    }
    drop(server);
    reader.read_to_string(&mut log).unwrap();
    let is_whole = |line: &str| {
        line.starts_with("20")
            && (line.contains("Z INFO ") || line.contains("Z DEBUG ") || line.contains("Z WARN "))
    };
    let torn: Vec<&str> = log.lines().filter(|line| !is_whole(line)).collect();
    assert!(torn.is_empty(), "{torn:?}");
}

#[test]
fn a_terminal_that_nobody_reads_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (mut controller, terminal) = support::terminal::open();
    let _server = server_with_stderr(&path, terminal, &["--log-level", "debug"]);
    let mut client = serves_though_the_log_is_stuck(&path);
    assert!(client.stat("log_dropped") > 1000);
    // It is read again: the log goes on, with whole lines.
    let mut log = String::new();
    while !log.contains(" log lines: stderr was full\r\n") {
        let mut bytes = [0; 4096];
        let len = controller.read(&mut bytes).unwrap();
        log.push_str(&String::from_utf8_lossy(&bytes[..len]));
        client.ask("ping", "pong");
    }
    client.ask("quit", "goodbye quit");
}

#[test]
fn what_cannot_be_printed_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = oyezd();
    let status = command.arg("--help").stdout(writer).status().unwrap();
    assert!(status.success());
}
