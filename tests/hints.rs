//! Hints for people: the address that was probably meant, and what the client is waiting for.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketType};

#[cfg(feature = "tls")]
use support::Server;
use support::fake_server::{FEED, FakeServer};
#[cfg(feature = "chat")]
use support::terminal::Terminal;
use support::{Program, fails, oyez, oyezd};

/// Runs a program that must refuse its arguments with an error that ends like this.
#[track_caller]
fn refuses(command: &mut Command, error: &str) {
    let (status, stdout, stderr) = Program::run(command);
    assert_eq!((status, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{stderr}");
    let (before, _) = stderr.trim_end().rsplit_once("; see oyez").unwrap_or((&stderr, ""));
    assert!(before.trim_end().ends_with(error), "{stderr} does not end with {error}");
}

const NO_WELCOME: &str =
    "accepted the connection but has sent nothing yet; if it uses TLS, add --tls";

#[test]
fn client_suggests_the_address_that_was_meant() {
    for (text, address) in [
        ("5050", "127.0.0.1:5050"),
        (":5050", "127.0.0.1:5050"),
        (":", "127.0.0.1"),
        ("localhost:", "localhost"),
        ("localhost/", "localhost"),
        ("localhost:5050/", "localhost:5050"),
        ("localhost 5050", "localhost:5050"),
        ("::1 5050", "[::1]:5050"),
        ("me@localhost", "localhost"),
        ("tcp://localhost:5050", "localhost:5050"),
        ("oyez://me@localhost", "localhost"),
        ("http://localhost:5050/", "localhost:5050"),
        ("http://[::1]:5050/chat?x=1", "[::1]:5050"),
        ("https://localhost/", "localhost and use --tls"),
        ("TLS://localhost:5050", "localhost:5050 and use --tls"),
        ("ssl://localhost", "localhost and use --tls"),
        ("2001:db8:0:0:0:0:0:1:5050", "[2001:db8:0:0:0:0:0:1]:5050"),
        ("::1:15050", "[::1]:15050"),
        ("fe80::1%eth0:5050", "[fe80::1%eth0]:5050"),
    ] {
        let error = format!("{text:?}: not an address; write {address}");
        refuses(oyez().args(["-s", text, "ping"]), &error);
        refuses(oyez().env("OYEZ_SERVER", text).arg("ping"), &format!("OYEZ_SERVER {error}"));
    }
    for (text, address) in [
        ("/run/oyez.sock", "unix:/run/oyez.sock"),
        ("./oyez.sock", "unix:./oyez.sock"),
        ("../oyez.sock", "unix:../oyez.sock"),
        ("run/oyez", "unix:run/oyez"),
        ("~/oyez.sock", "unix:$HOME/oyez.sock"),
        ("unix:~/oyez.sock", "unix:$HOME/oyez.sock"),
        ("unix://oyez.sock", "unix:oyez.sock"),
    ] {
        let error = format!("{text:?}: not an address; for a Unix socket, write {address}");
        refuses(oyez().args(["-s", text, "ping"]), &error);
        refuses(oyezd().args(["--listen", text]), &error);
    }
}

#[test]
fn server_suggests_the_address_that_was_meant() {
    for (text, address) in [
        ("5050", "127.0.0.1:5050, or 0.0.0.0:5050 for other hosts as well"),
        (":5050", "127.0.0.1:5050, or 0.0.0.0:5050 for other hosts as well"),
        ("localhost", "127.0.0.1:5050"),
        ("localhost:7", "127.0.0.1:7"),
        ("localhost 7", "127.0.0.1:7"),
        ("*:7", "0.0.0.0:7"),
        ("127.0.0.1", "127.0.0.1:5050"),
        ("127.0.0.1:", "127.0.0.1:5050"),
        ("::", "[::]:5050"),
        ("::1:5050", "[::1]:5050"),
        ("[::1]", "[::1]:5050"),
        ("fe80::1%eth0", "[fe80::1%eth0]:5050"),
        ("tcp://0.0.0.0:7/", "0.0.0.0:7"),
        ("tls://0.0.0.0:7", "0.0.0.0:7 and use --listen-tls"),
    ] {
        let error = format!("{text:?}: not an address; write {address}");
        refuses(oyezd().args(["--listen", text]), &error);
    }
    let error = "\"oyez.sock\": not an address; for a Unix socket, write unix:oyez.sock";
    refuses(oyezd().args(["--listen", "oyez.sock"]), error);
    fails(oyezd().args(["--listen", "host.example:7"]), 2, ": expected IP:PORT, ");
}

/// Words of the protocol and of other programs, and addresses without their option.
#[test]
fn program_suggests_the_command_or_option_that_was_meant() {
    for (line, meant) in [
        ("say hi", "broadcast"),
        ("publish hi", "broadcast"),
        ("pub hi", "broadcast"),
        ("SUB", "listen"),
        ("tail --count 1", "listen"),
        ("who", "clients"),
        ("list", "clients"),
        ("msg bob hi", "send"),
        ("127.0.0.1:5050", "-s 127.0.0.1:5050"),
        ("host:5050", "-s host:5050"),
        (":5050", "-s 127.0.0.1:5050"),
        ("5050 listen", "-s 127.0.0.1:5050"),
        ("unix:oyez.sock", "-s unix:oyez.sock"),
        ("-h localhost", "-s localhost"),
        ("--nick al", "--name"),
        ("listen --json", "--format json"),
        ("--port 5060", "-s HOST:PORT"),
        ("-p 5060", "-s HOST:PORT"),
        ("--host=h ping", "-s HOST:PORT"),
        ("ping --tl", "--tls"),
        ("ping --fingerprint x", "--tls-fingerprint"),
        ("--ca x ping", "--tls-ca"),
    ] {
        refuses(oyez().args(line.split(' ')), &format!(" (did you mean {meant}?)"));
    }
    for (line, meant) in [
        ("--port 5060", "--listen IP:PORT"),
        ("-p 5060", "--listen IP:PORT"),
        ("--clients 5", "--max-clients"),
    ] {
        refuses(oyezd().args(line.split(' ')), &format!(" (did you mean {meant}?)"));
    }
    // Neither is an address or has a synonym.
    refuses(oyez().arg("nonsense"), "unknown command \"nonsense\"");
    refuses(oyez().arg("hi all."), "unknown command \"hi all.\"");
    refuses(oyez().arg(""), "unknown command \"\"");
    refuses(oyezd().args(["--nick", "al"]), "unknown option --nick");
}

#[test]
fn wrong_format_lists_those_of_the_command() {
    for (command, formats) in [
        ("listen", "text, json, named or lines"),
        ("clients", "text or json"),
        ("stats", "text or json"),
    ] {
        let error = format!("--format \"raw\": expected {formats}");
        refuses(oyez().args([command, "--format", "raw"]), &error);
    }
    refuses(oyez().args(["clients", "--format", "lines"]), ": expected text or json");
}

#[test]
fn unknown_host_may_be_the_path_of_a_socket() {
    fails(
        oyez().args(["-s", "oyez.sock", "ping"]),
        1,
        "; for a Unix socket, write unix:oyez.sock\n",
    );
    // Waiting cannot help.
    fails(oyez().args(["-s", "oyez.sock", "listen", "--wait"]), 1, "write unix:oyez.sock\n");
    let folder = tempfile::tempdir().unwrap();
    let mut in_folder = oyez();
    in_folder.args(["-s", "no-such-host", "ping"]).current_dir(&folder);
    fails(&mut in_folder, 1, "host");
    fs::write(folder.path().join("no-such-host"), "").unwrap();
    fails(&mut in_folder, 1, "; for a Unix socket, write unix:no-such-host\n");
}

#[test]
fn ipv6_address_may_end_with_the_port() {
    let mut ping = oyez();
    ping.args(["-s", "::1:5050", "--timeout", "1", "ping"]);
    fails(&mut ping, 1, "; if it ends with the port, write [::1]:5050\n");
}

#[test]
fn silent_server_is_reported_once_before_the_timeout() {
    for command in ["ping", "broadcast hi", "listen --count 1", "broadcast -", "raw"] {
        let fake = FakeServer::new();
        let arguments: Vec<&str> = command.split(' ').collect();
        let mut oyez = Program::start(fake.oyez(&arguments).stdin(Stdio::piped()));
        let mut server = fake.accept();
        let line = oyez.stderr.line();
        assert_eq!(line, format!("oyez: {} {NO_WELCOME}", fake.address()), "{command}");
        // The hint does not end the attempt: the client still uses the connection.
        server.send(&format!("welcome 1 {FEED} 0 oyezd/9 hello"));
        oyez.write_input(b"ping\n");
        if !command.starts_with("listen") {
            assert_ne!(server.line(), "", "{command}");
        }
        drop(server);
        drop(fake);
        oyez.signal("KILL");
        let log = oyez.stderr.all();
        assert_eq!(log.matches("nothing yet").count(), 1, "{command}: {log}");
    }
}

#[cfg(feature = "chat")]
#[test]
fn silent_server_is_reported_before_the_chat_begins() {
    let fake = FakeServer::new();
    let mut chat = Terminal::start(&mut fake.oyez(&["chat"]), 24, 80);
    let mut server = fake.accept();
    chat.program.stderr.expect(NO_WELCOME);
    server.send(&format!("welcome 1 {FEED} 0 oyezd/9 hello"));
    chat.wait_until(|chat| chat.rows().last().is_some_and(|row| row.starts_with("1>")));
}

#[cfg(feature = "tls")]
#[test]
fn client_without_tls_gets_a_hint_from_a_silent_tls_port() {
    let server = Server::start_tls(&[]);
    let mut oyez = oyez();
    let address = server.tcp().to_string();
    let mut ping = Program::start(oyez.args(["-s", &address, "--timeout", "3", "ping"]));
    ping.stderr.expect(&format!("oyez: {address} {NO_WELCOME}"));
    ping.stderr.expect("no welcome from the server; if it uses TLS, add --tls; otherwise");
    assert_eq!(ping.wait_all().0, 1);
}

#[cfg(feature = "tls")]
#[test]
fn client_with_tls_gets_a_hint_when_the_handshake_is_not_answered() {
    let fingerprint = format!("sha256:{}", "0".repeat(64));
    let fake = FakeServer::new();
    let mut ping = fake.start(&["--tls-fingerprint", &fingerprint, "--timeout", "3", "ping"]);
    let _server = fake.accept();
    ping.stderr.expect(
        "accepted the connection but has not answered the TLS handshake; if it does not use \
         TLS, leave out the --tls options",
    );
    ping.stderr.expect("no welcome from the server; ");
    assert_eq!(ping.wait_all().0, 1);
    // This server answers, so no hint is needed.
    let plain = Server::start(&[]);
    let mut oyez = oyez();
    oyez.args(["-s", &plain.address.to_string(), "--tls-fingerprint", &fingerprint, "ping"]);
    fails(&mut oyez, 1, "the server does not speak TLS on this port; use its TLS port, or ");
}

/// Linux drops the SYN of a new connection while the listener's backlog is full.
#[cfg(target_os = "linux")]
#[test]
fn host_that_does_not_answer_is_reported_before_the_timeout() {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let address = rustix::net::getsockname(&socket).unwrap();
    let address = SocketAddrV4::try_from(address).unwrap();
    let _waiting = TcpStream::connect(address).unwrap();
    let mut oyez = oyez();
    oyez.args(["-s", &address.to_string(), "--timeout", "3", "ping"]);
    let mut ping = Program::start(&mut oyez);
    ping.stderr.expect(&format!("{address} has not answered yet; still trying to connect"));
    ping.stderr.expect("connection timed out");
    assert_eq!(ping.wait_all().0, 1);
}

#[test]
fn silent_server_is_reported_once_per_outage() {
    let fake = FakeServer::new();
    let mut listen = fake.start(&["--timeout", "3", "listen"]);
    drop(fake.welcome(FEED, 0));
    listen.stderr.wait_for("lost: ");
    let _first = fake.accept();
    listen.stderr.expect("accepted the connection but has sent nothing yet; still waiting");
    listen.stderr.expect("no welcome from the server; still trying");
    // The second silence is not reported.
    let _second = fake.accept();
    let _third = fake.accept();
    listen.signal("KILL");
    let log = listen.stderr.all();
    assert_eq!(log.matches("nothing yet").count(), 1, "{log}");
}
