//! The `oyezd` program: arguments, listeners, socket files and the log.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Read as _;
use std::net::Ipv6Addr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Address, Client, Output, Program, Server, fails, oyez, oyezd, succeeds, wait_until};
use tempfile::TempDir;

/// Returns a command for a server that listens on a Unix socket.
fn unix_server(path: &Path, arguments: &[&str]) -> Command {
    let mut command = oyezd();
    command.arg("--listen").arg(format!("unix:{}", path.display())).args(arguments);
    command
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
fn invalid_arguments_exit_with_status_2() {
    fails(oyezd().arg("--frobnicate"), 2, "unknown option --frobnicate; see oyezd --help");
    fails(oyezd().args(["--listen", "host:1"]), 2, "expected IP:PORT");
    fails(oyezd().args(["--slow-clients", "never"]), 2, "expected disconnect, skip or wait");
    fails(oyezd().args(["--max-outbox", "1K"]), 2, "--max-outbox must be at least");
}

#[cfg(not(feature = "tls"))]
#[test]
fn build_without_tls_explains_how_to_get_it() {
    let encrypted = ["--listen-tls", "127.0.0.1:0", "--tls-self-signed", "/nowhere"];
    fails(oyezd().args(encrypted), 1, "this build does not support TLS; rebuild with: ");
    let mut oyez = oyez();
    let (status, _, stderr) = Program::run(oyez.args(["--tls", "ping"]));
    assert_eq!(status, 1);
    assert!(stderr.contains("this build does not support TLS; rebuild with: "), "{stderr}");
}

#[test]
fn unavailable_address_is_an_error() {
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
fn server_listens_on_several_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let others = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0"];
    let mut server = Server::spawn(unix_server(&path, &others));
    let mut addresses = vec![server.address.clone()];
    for _ in 0..2 {
        addresses.push(support::listening_address(&server.wait_for_log("listening on ")));
    }
    let mut clients: Vec<_> = addresses.iter().map(Client::connect_and_read_welcome).collect();
    clients[0].send("say hi");
    for client in &mut clients {
        client.expect("broadcast 1 1 hi");
    }
}

/// Returns a link-local address of this host and the name of its interface, if there is one.
fn link_local() -> Option<(Ipv6Addr, String)> {
    let table = fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let ip = Ipv6Addr::from_bits(u128::from_str_radix(words[0], 16).ok()?);
        ip.is_unicast_link_local().then(|| (ip, words[5].to_owned()))
    })
}

#[test]
fn link_local_address_names_its_interface() {
    let unknown = "[fe80::1%nosuch0]:5050";
    fails(
        oyezd().args(["--listen", unknown]),
        1,
        "cannot listen on [fe80::1%nosuch0]:5050: this host has no network interface nosuch0",
    );
    fails(oyez().args(["-s", unknown, "ping"]), 1, "host not found: ");
    fails(oyezd().args(["--listen", "[fe80::1]:0"]), 1, ", as in [fe80::1%eth0]:0");
    fails(oyez().args(["-s", "[fe80::1]:7", "ping"]), 1, ", as in [fe80::1%eth0]:7");
    let Some((ip, interface)) = link_local() else {
        return println!("skipped: this host has no link-local address");
    };
    let mut command = oyezd();
    let server = Server::spawn(command.args(["--listen", &format!("[{ip}%{interface}]:0")]));
    let address = format!("[{ip}%{interface}]:{}", server.port());
    let pong = succeeds(oyez().args(["-s", &address, "ping"]));
    assert!(pong.starts_with("pong: "), "{pong}");
}

#[test]
fn ipv6_listener_does_not_occupy_the_ipv4_port() {
    let server = Server::start(&[]);
    let mut command = oyezd();
    command.args(["--listen", &format!("[::]:{}", server.port())]);
    let other = Server::spawn(command);
    let address = Address::Tcp(format!("[::1]:{}", server.port()).parse().unwrap());
    let _client = Client::connect_and_read_welcome(&address);
    assert_eq!(other.stat("clients"), 2);
    assert_eq!(server.stat("clients"), 1);
}

#[test]
fn socket_file_has_the_given_mode_and_is_removed_at_exit() {
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
fn file_that_is_not_a_socket_is_never_replaced() {
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
fn longest_path_of_a_socket_is_the_same_for_both_programs() {
    let folder = tempfile::tempdir().unwrap();
    let address = |len: usize| format!("unix:{}", "x".repeat(len));
    let in_folder = |mut program: Command, arguments: &[&str]| {
        program.args(arguments).current_dir(&folder);
        program
    };
    let _server = Server::spawn(in_folder(oyezd(), &["--listen", &address(107)]));
    let pong = succeeds(&mut in_folder(oyez(), &["-s", &address(107), "ping"]));
    assert!(pong.starts_with("pong: "), "{pong}");
    for mut program in [
        in_folder(oyezd(), &["--listen", &address(108)]),
        in_folder(oyez(), &["-s", &address(108), "ping"]),
    ] {
        let error = "the path is too long for a Unix socket: 108 bytes, at most 107";
        fails(&mut program, 1, error);
    }
}

#[test]
fn abstract_socket_is_refused_by_both_programs() {
    let error = "abstract sockets are not supported; for a file, write unix:./@NAME";
    fails(oyezd().args(["--listen", "unix:@oyezd"]), 2, error);
    fails(oyez().args(["-s", "unix:@oyezd", "ping"]), 2, error);
    fails(oyez().env("OYEZ_SERVER", "unix:@oyezd").arg("ping"), 2, error);
    let folder = tempfile::tempdir().unwrap();
    let mut command = oyezd();
    let _server = Server::spawn(command.args(["--listen", "unix:./@oyezd"]).current_dir(&folder));
    assert!(folder.path().join("@oyezd").exists());
    let pong = succeeds(oyez().args(["-s", "unix:./@oyezd", "ping"]).current_dir(&folder));
    assert!(pong.starts_with("pong: "), "{pong}");
}

#[test]
fn live_socket_is_an_error_and_stale_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = Server::spawn(unix_server(&path, &[]));
    fails(&mut unix_server(&path, &[]), 1, "the socket is in use");
    server.signal("KILL");
    server.wait();
    assert!(path.exists(), "a killed server must leave its socket file");
    let server = Server::spawn(unix_server(&path, &[]));
    server.client().ask("ping", "pong");
}

#[test]
fn socket_file_of_another_server_is_not_removed() {
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
fn connections_and_disconnects_are_logged() {
    let mut server = Server::start(&[]);
    server
        .wait_for_log("memory: little while clients keep reading; worst case with 10000 clients: ");
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
    let mut client = server.client();
    client.ask("ping", "pong");
    client.reset();
    server.wait_for_log("client 2 from ");
    server.client().send("Host: x");
    server.wait_for_log("disconnected: foreign protocol: HTTP; ");
    server.client().send("PROXY TCP4 192.0.2.1 192.0.2.2 40000 5050\r");
    server.wait_for_log("disconnected: foreign protocol: PROXY protocol; turn it off in the proxy");
    server.client().send_bytes(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    server.wait_for_log("disconnected: foreign protocol: PROXY protocol; turn it off in the proxy");
}

/// Connects and disconnects without sending anything, in the ways that health checks do.
fn probe(server: &Server) {
    Client::connect(&server.address).reset();
    drop(Client::connect(&server.address));
    server.client().reset();
    let mut client = server.client();
    client.shutdown_write();
    client.rest();
}

#[test]
fn health_checks_are_logged_only_at_level_debug() {
    let mut server = Server::start(&["--log-level", "debug"]);
    probe(&server);
    for id in 1..=4 {
        let line = server.wait_for_log(" disconnected: ");
        assert!(line.contains(" DEBUG ") && line.contains(", 0 bytes in, "), "{id}: {line}");
    }
    let server = Server::start(&[]);
    probe(&server);
    let mut client = server.client();
    wait_until(|| client.stat("clients") == 1);
    client.ask("quit", "goodbye quit");
    drop(client);
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("client 5 connected from ") && log.contains("client 5 from "), "{log}");
    assert_eq!(log.matches("[oyezd] client ").count(), 2, "{log}");
}

#[cfg(feature = "tls")]
#[test]
fn health_checks_over_tls_are_logged_only_at_level_debug() {
    let server = Server::start_tls(&[]);
    let tcp = Address::Tcp(server.tcp());
    Client::connect(&tcp).reset();
    drop(Client::connect(&tcp));
    drop(server.client());
    // These are not health checks: a client that does not use TLS, and one that gives up.
    let mut plain = Client::connect(&tcp);
    plain.send("ping");
    plain.rest_until_error();
    drop(plain);
    let mut hello = Client::connect(&tcp);
    hello.send_bytes(b"\x16\x03\x01\x02\x00");
    drop(hello);
    let mut client = server.client();
    wait_until(|| client.stat("clients") == 1);
    client.ask("quit", "goodbye quit");
    drop(client);
    server.signal("TERM");
    let (_, log) = server.wait();
    for id in 4..=6 {
        assert!(log.contains(&format!("client {id} connected from ")), "{id}: {log}");
        assert!(log.contains(&format!("client {id} from ")), "{id}: {log}");
    }
    assert_eq!(log.matches("[oyezd] client ").count(), 6, "{log}");
}

#[test]
fn client_that_only_listens_is_logged() {
    let mut server = Server::start(&[]);
    let client = server.client();
    server.wait_for_log("INFO  [oyezd] client 1 connected from 127.0.0.1:");
    drop(client);
    let line = server.wait_for_log("client 1 from 127.0.0.1:");
    assert!(line.contains("INFO  [oyezd] ") && line.contains(", 0 bytes in, "), "{line}");
}

#[test]
fn debug_log_has_every_line_but_no_mistyped_secret() {
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
    server.wait_for_log("client 1: closing: quit");
    server.wait_for_log("client 1 from 127.0.0.1");
    let mut client = server.client();
    client.shutdown_write();
    server.wait_for_log("client 2: closing: end of input");
    server.wait_for_log("client 2 from 127.0.0.1");
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("unknown command (12 bytes)") && log.contains("auth (12 bytes)"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    assert!(!log.contains('\u{202e}') && !log.contains('\u{1b}'), "{log}");
}

#[test]
fn log_sums_up_lines_about_many_clients() {
    let server = Server::start(&[]);
    for _ in 0..150 {
        server.client().ask("quit", "goodbye quit");
    }
    server.signal("TERM");
    let (_, log) = server.wait();
    let omitted = log.lines().filter_map(|line| {
        let (count, _) =
            line.split_once("… and ")?.1.split_once(" more lines about clients in ")?;
        Some(count.parse::<usize>().unwrap())
    });
    let (logged, omitted) = (log.matches("] client ").count(), omitted.sum::<usize>());
    assert!(omitted > 0 && logged + omitted == 300, "{logged} and {omitted}: {log}");
}

/// A server that logs every request to the given stderr.
struct LoggingServer {
    server: Server,
    _folder: TempDir,
}

impl LoggingServer {
    fn start(stderr: impl Into<Stdio>) -> Self {
        Self::start_after_script(":", stderr)
    }

    fn start_after_script(script: &str, stderr: impl Into<Stdio>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let server = unix_server(&path, &["--log-level", "debug"]);
        let mut command = Command::new("bash");
        command.args(["-c", &format!(r#"{script}; exec "$0" "$@""#)]);
        command.arg(server.get_program()).args(server.get_args());
        Self { server: Server::spawn_with_log(command, stderr, path), _folder: folder }
    }

    /// Makes the server log far more than a pipe or a terminal buffers, and asserts that it still
    /// replies to every request. Returns a new client.
    #[track_caller]
    fn fill_log(&self) -> Client {
        for _ in 0..200 {
            let mut client = self.server.client();
            for _ in 0..20 {
                client.ask("ping x", "pong x");
            }
        }
        self.server.client()
    }
}

#[test]
fn closed_log_pipe_does_not_stop_the_server() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = LoggingServer::start(writer);
    drop(reader);
    let mut client = server.fill_log();
    assert!(client.stat("log_dropped") > 1000);
}

#[test]
fn log_on_a_full_disk_does_not_stop_the_server() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = LoggingServer::start(full);
    let mut client = server.fill_log();
    assert!(client.stat("log_dropped") > 1000);
}

#[test]
fn log_file_at_its_size_limit_does_not_stop_the_server() {
    let file = tempfile::tempfile().unwrap();
    let server = LoggingServer::start_after_script("ulimit -f 16", file);
    let mut client = server.fill_log();
    assert!(client.stat("log_dropped") > 1000);
}

#[test]
fn unread_log_pipe_does_not_block_the_server_and_dropped_lines_are_reported() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = LoggingServer::start(writer);
    let mut client = server.fill_log();
    assert!(client.stat("log_dropped") > 1000);
    // Once the pipe is read again, the report appears without another event.
    let mut log = Output::capture(Some(reader));
    let report = log.wait_for(" log lines: stderr was full");
    assert_eq!(client.stat("log_dropped"), dropped_lines(&report) as u64);
    drop((client, server));
    let log = log.all();
    let is_whole = |line: &str| {
        line.starts_with("20")
            && (line.contains("Z INFO ") || line.contains("Z DEBUG ") || line.contains("Z WARN "))
    };
    let torn: Vec<&str> = log.lines().filter(|line| !is_whole(line)).collect();
    assert!(torn.is_empty(), "the log has torn lines: {torn:?}");
}

#[test]
fn dropped_log_lines_are_reported_where_they_are_missing() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let server = LoggingServer::start(writer);
    let mut client = server.server.client();
    let pings = 5000;
    for i in 0..pings {
        client.ask(&format!("ping {i}"), &format!("pong {i}"));
    }
    // Make room for the report and one more line.
    let mut before = vec![0; 64 * 1024];
    let len = reader.read(&mut before).unwrap();
    client.ask("ping last", "pong last");
    let mut after = Output::capture(Some(reader));
    after.wait_for("\"ping last\"");
    drop((client, server));
    let log = String::from_utf8_lossy(&before[..len]).into_owned() + &after.all();
    let mut next = 0;
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once(": \"ping ") {
            let number = rest.split('"').next().unwrap();
            let expected = if next == pings { "last" } else { &next.to_string() };
            assert_eq!(number, expected);
            next += 1;
        }
        next += dropped_lines(line);
    }
    assert_eq!(next, pings + 1);
}

/// Returns how many lines are missing before this line of the log.
fn dropped_lines(line: &str) -> usize {
    let count = line.split_once(" dropped ").and_then(|(_, rest)| rest.split_once(" log line"));
    count.map_or(0, |(count, _)| count.parse().unwrap())
}

#[test]
fn server_with_an_unread_log_sleeps() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let server = LoggingServer::start(writer);
    assert!(server.fill_log().stat("log_dropped") > 1000);
    server.server.assert_idle();
}

#[test]
fn unread_log_terminal_does_not_block_the_server() {
    let (mut controller, terminal) = support::terminal::open();
    let server = LoggingServer::start(terminal);
    let mut client = server.fill_log();
    assert!(client.stat("log_dropped") > 1000);
    // Once the terminal is read again, the log continues.
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
fn help_into_a_closed_pipe_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = oyezd();
    let status = command.arg("--help").stdout(writer).status().unwrap();
    assert!(status.success());
}
