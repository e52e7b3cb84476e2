//! Access control: secrets, roles, connection limits, rate limits and timeouts.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use support::transcript::{play_on, play_with};
use support::{Client, Program, Server, oyez, oyezd, wait_until};
use tempfile::TempDir;

const USER: &str = "open sesame";
const ADMIN: &str = "hunter2";

/// A directory with secret files that only their owner can read.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("user", &format!("{USER}\n"));
        files.write("admin", &format!("{ADMIN}\r\n"));
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn fifo(&self, name: &str) -> String {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, self.path(name), fifo, mode, 0).unwrap();
        self.path(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = PathBuf::from(self.path(name));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.path(name)
    }
}

fn server(files: &Files, arguments: &[&str]) -> Server {
    let (user, admin) = (files.path("user"), files.path("admin"));
    let secrets = ["--secret-file", &user, "--admin-secret-file", &admin];
    Server::start(&[&secrets[..], arguments].concat())
}

#[test]
fn most_commands_require_authentication() {
    let files = Files::new();
    let server = server(&files, &[]);
    let mut client = Client::connect(&server.address);
    assert!(client.line().ends_with(" auth <secret> first"));
    play_on(
        &server,
        r"
        a+
        a> ping hi
        a< pong hi
        a> say hi
        a< error auth-required *
        a> send 1 hi
        a< error auth-required *
        a> name al
        a< error auth-required *
        a> clients
        a< error auth-required *
        a> stats
        a< error auth-required *
        a> shutdown
        a< error auth-required *
        a> nonsense
        a< error auth-required *
        a> quiet now
        a< error auth-required *
        a> auth
        a< error missing-argument *
        a> quit now
        a< error bad-argument *
        a> \x1b
        a< error not-text *
        a>
        a> ping
        a< pong
        a> quit
        a< goodbye quit
        a|
        ",
    );
}

#[test]
fn client_is_invisible_until_it_authenticates() {
    let files = Files::new();
    play_on(
        &server(&files, &[]),
        r"
        a+
        a> auth open sesame
        a< ok auth user
        b+
        a> say for authenticated clients only
        a< broadcast 1 1 for authenticated clients only
        a> clients
        a< client 1 -
        a< ok clients 1 1
        a> send 2 psst
        a< error no-such-client *
        b> auth open sesame
        b< ok auth user
        a> clients
        a< client 1 -
        a< client 2 -
        a< ok clients 2 2
        a> say hello
        b< broadcast 2 1 hello
        a< broadcast 2 1 hello
        b> name bob
        b< ok name bob
        b> auth open sesame
        b< ok auth user
        b> shutdown
        b< error not-allowed *
        ",
    );
}

#[test]
fn third_wrong_secret_disconnects_the_client() {
    let files = Files::new();
    play_on(
        &server(&files, &[]),
        r"
        a+
        a> auth open
        a< error auth-failed *
        a> auth  open sesame
        a< error auth-failed *
        a> auth Open Sesame
        a< goodbye auth-failed
        a|
        b+
        b> auth x
        b< error auth-failed *
        b> auth y
        b< error auth-failed *
        b> auth open sesame
        b< ok auth user
        b> auth x
        b< error auth-failed *
        b> ping
        b< pong
        ",
    );
}

#[test]
fn admin_can_shut_down_the_server() {
    let files = Files::new();
    let server = server(&files, &[]);
    play_on(
        &server,
        r"
        a+
        a> auth open sesame
        a< ok auth user
        a> auth hunter2
        a< ok auth admin
        a> auth open sesame
        a< ok auth admin
        b+
        b> auth hunter2
        b< ok auth admin
        b> say hello from an admin
        b< broadcast 1 2 hello from an admin
        a< broadcast 1 2 hello from an admin
        b> shutdown
        b< goodbye shutdown
        ",
    );
    assert!(server.wait().0.success());
}

#[test]
fn admin_secret_alone_requires_no_secret_from_other_clients() {
    let files = Files::new();
    let admin = files.path("admin");
    play_with(
        &["--admin-secret-file", &admin],
        r"
        a+
        a> say hi
        a< broadcast 1 1 hi
        a> shutdown
        a< error not-allowed *
        a> auth open sesame
        a< error auth-failed *
        a> auth hunter2
        a< ok auth admin
        a> shutdown
        a< goodbye shutdown
        a|
        ",
    );
    // With `local`, every client on this host may shut the server down, not only admins.
    play_with(
        &["--admin-secret-file", &admin, "--allow-shutdown", "local"],
        r"
        a+
        a> shutdown
        a< goodbye shutdown
        a|
        ",
    );
    play_with(
        &["--admin-secret-file", &admin, "--allow-shutdown", "nobody"],
        r"
        a+
        a> auth hunter2
        a< ok auth admin
        a> shutdown
        a< error not-allowed *
        ",
    );
}

#[test]
fn auth_is_refused_when_no_secret_is_configured() {
    play_with(
        &[],
        r"
        a+
        a> auth hunter2
        a< error not-allowed this server requires no secret
        a> ping
        a< pong
        ",
    );
}

#[test]
fn unauthenticated_client_is_disconnected_after_the_timeout() {
    let files = Files::new();
    let mut server = server(&files, &["--auth-timeout", "1"]);
    let mut user = server.client();
    user.ask("auth open sesame", "ok auth user");
    let mut others: Vec<_> = (0..200).map(|_| Client::connect(&server.address)).collect();
    for other in &mut others {
        other.read_welcome();
        user.ask("ping", "pong");
    }
    for other in &mut others {
        other.expect("goodbye auth-timeout");
        other.expect_end();
        user.ask("ping", "pong");
    }
    server.wait_for_log("disconnected: authentication timed out");
    drop(others);
    user.ask("ping", "pong");
    wait_until(|| user.stat("clients") == 1);
}

#[test]
fn secrets_never_appear_in_the_log() {
    let files = Files::new();
    let mut server = server(&files, &["--log-level", "trace"]);
    for line in [
        "auth hunter3",
        " auth hunter2",
        "auht hunter2",
        "/auth hunter2",
        "AUTH  hunter2",
        "ping hunter2",
        "say hunter2",
        "name hunter2",
        "send 1 hunter2",
        "quit hunter2",
        "hunter2",
        "auth hunter2\u{1b}",
        "auth\thunter2",
        "auth open sesame",
        "auth hunter2",
        "auth hunter2",
        "auht hunter2",
        " auth hunter2",
    ] {
        let mut client = server.client();
        client.send(line);
        let reply = client.line();
        assert!(reply == "pong hunter2" || !reply.contains("hunter"), "{reply}");
        client.ask("auth hunter2", "ok auth admin");
        client.send(line);
        client.line();
        client.send_bytes(line.as_bytes());
        client.shutdown_write();
        client.rest();
    }
    server.wait_for_log("client 18: \"auth (12 bytes)\" -> \"ok auth admin\"");
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("\"ping (12 bytes)\" -> \"pong\""), "{log}");
    assert!(
        log.contains("wrong secret (attempt 1)") && log.contains("authenticated as admin"),
        "{log}"
    );
    // Once a client is authenticated, it may send the same word as ordinary text.
    let is_ordinary_text = |line: &&str| {
        [r#""ping hunter2" -> "#, r#""say hunter2" -> "#, r#""name hunter2" -> "#]
            .iter()
            .chain(&[r#""send 1 hunter2" -> "#, r#""quit hunter2" -> "#, " (hunter2) from "])
            .any(|text| line.contains(text))
    };
    for line in log.lines().filter(|line| !is_ordinary_text(line)) {
        assert!(!line.contains("hunter") && !line.contains("sesame"), "{line}");
    }
}

#[test]
fn unusable_secret_file_is_an_error_with_the_reason() {
    let files = Files::new();
    let long = files.write("long", &"x".repeat(500));
    let user = files.path("user");
    for (arguments, error) in [
        (vec!["--secret-file".to_owned(), files.write("empty", "\n")], ": empty"),
        (
            vec!["--secret-file".to_owned(), files.write("two", "a\nb\n")],
            "not a single line of text",
        ),
        (vec!["--secret-file".to_owned(), files.path("missing")], "No such file"),
        (
            vec!["--secret-file".to_owned(), "/dev/zero".to_owned()],
            "neither a regular file nor a pipe",
        ),
        (vec!["--secret-file".to_owned(), files.fifo("fifo")], "neither a regular file nor a pipe"),
        (
            vec!["--secret-file".into(), long, "--max-line".into(), "200".into()],
            "longer than 195 bytes, the maximum with --max-line 200",
        ),
        (
            vec!["--secret-file".into(), user.clone(), "--admin-secret-file".into(), user],
            "hold the same secret",
        ),
    ] {
        let mut command = oyezd();
        let (status, _, stderr) =
            Program::run(command.args(["--listen", "127.0.0.1:0"]).args(arguments));
        assert_eq!(status, 1, "{stderr}");
        assert!(stderr.lines().last().unwrap().starts_with("oyezd: "), "{stderr}");
        assert!(stderr.contains(error), "{stderr}");
    }
    let open = files.write("open", "x");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = oyezd();
    command.args(["--listen", "127.0.0.1:0", "--secret-file", &open]);
    let mut program = Program::start_with_piped_stderr(&mut command);
    program.stderr.wait_for(&format!("{open} is readable by others; fix: chmod 600"));
    drop(program);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o620)).unwrap();
    let mut server = Program::start_with_piped_stderr(&mut command);
    let warning = format!("secret file {open} is writable by others; fix: chmod go-w {open}");
    server.stderr.wait_for(&warning);
    let mut client = oyez();
    client.args(["-s", "unix:/nowhere", "--secret-file", &open, "ping"]);
    let (_, _, stderr) = Program::run(&mut client);
    assert!(stderr.contains(&format!("oyez: {warning}\n")), "{stderr}");
}

#[test]
fn unencrypted_network_listener_with_a_secret_logs_a_warning() {
    let files = Files::new();
    let mut command = oyezd();
    command.args(["--listen", "0.0.0.0:0", "--secret-file", &files.path("user")]);
    let mut program = Program::start_with_piped_stderr(&mut command);
    program.stderr.wait_for("send their secrets unencrypted over the network");
}

#[test]
fn connections_beyond_the_limit_per_address_are_refused() {
    let mut server = Server::start(&["--max-per-address", "2"]);
    let first = server.client();
    let mut second = server.client();
    let mut third = Client::connect(&server.address);
    assert!(third.line().starts_with("error server-full too many connections from this"));
    third.expect_end();
    server.wait_for_log("too many connections from this address (--max-per-address)");
    assert_eq!(second.stat("refused"), 1);
    drop(first);
    wait_until(|| second.stat("clients") == 1);
    server.client().ask("ping", "pong");
}

#[test]
fn idle_client_is_disconnected_after_the_timeout() {
    let mut server = Server::start(&["--idle-timeout", "1"]);
    let mut idle = server.client();
    idle.expect("goodbye idle");
    idle.expect_end();
    server.wait_for_log("disconnected: idle for --idle-timeout");
}

#[test]
fn rate_limited_client_is_slowed_down_and_loses_no_line() {
    let mut server = Server::start(&["--rate-limit", "50"]);
    let mut other = server.client();
    let mut fast = server.client();
    let lines: String = (1..=100).map(|i| format!("say {i}\n")).collect();
    fast.send_bytes(lines.as_bytes());
    server.wait_for_log("client 2: over --rate-limit");
    other.send("ping");
    while other.line() != "pong" {}
    for i in 1..=100 {
        fast.expect(&format!("broadcast {i} 2 {i}"));
    }
    server.assert_idle();
}

#[test]
fn rate_limited_client_does_not_keep_the_server_busy() {
    let mut server = Server::start(&["--rate-limit", "1"]);
    let mut client = server.client();
    // The limit allows one line per second, so it delays the client's lines throughout.
    client.send_bytes("ping\n".repeat(100).as_bytes());
    server.wait_for_log("client 1: over --rate-limit");
    server.assert_idle();
    client.expect("pong");
}
