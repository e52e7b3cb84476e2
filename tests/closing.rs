//! Connections closed by either side, and graceful shutdown: no line that was sent is lost.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use support::crowd::flood;
use support::transcript::{play, play_on, play_with};
use support::{Client, Server, oyezd, wait_until};

#[test]
fn half_closed_client_still_gets_its_replies() {
    play(
        r"
        a+
        b+
        a~ ping\nsay hi\nclients\n
        a.
        a< pong
        a< broadcast 1 1 hi
        a< client 1 -
        a< client 2 -
        a< ok clients 2 2
        a|
        b< broadcast 1 1 hi
        b> clients
        b< client 2 -
        b< ok clients 1 1
        ",
    );
}

#[test]
fn partial_line_at_the_end_of_input_is_not_executed() {
    play(
        r"
        a+
        a~ ping 1\nping 2
        a.
        a< pong 1
        a< error incomplete-line *
        a|
        b+
        b~ ping\n\x20\t
        b.
        b< pong
        b|
        ",
    );
}

#[test]
fn lines_after_quit_are_ignored() {
    let ignored = "ping\\n".repeat(100);
    // If the server waited for the drain timeout, the test would fail.
    let arguments = ["--drain-timeout", "3600"];
    play_with(
        &arguments,
        &format!(
            r"
        a+
        a~ say last words\nquit\n{ignored}
        a< broadcast 1 1 last words
        a< goodbye quit
        a|
        b+
        b> clients
        b< client 2 -
        b< ok clients 1 1
        "
        ),
    );
}

#[test]
fn shutdown_requires_permission() {
    play_with(
        &["--allow-shutdown", "nobody"],
        r"
        a+
        a> shutdown
        a< error not-allowed *
        a> ping
        a< pong
        ",
    );
    let server = Server::start(&["--allow-shutdown", "local"]);
    play_on(
        &server,
        r"
        a+
        b+
        b> say before
        b~ shutdown\nsay after\n
        a< broadcast 1 2 before
        a< goodbye shutdown
        a|
        b< broadcast 1 2 before
        b< goodbye shutdown
        b|
        ",
    );
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(log.contains("shut down: 2 clients drained, 0 cut off"), "{log}");
}

#[test]
fn lines_sent_before_a_reset_are_executed() {
    let server = Server::start(&[]);
    let mut listener = server.client();
    for seq in 1..=100 {
        // A shell that writes to /dev/tcp also resets the connection: it leaves the welcome unread.
        let mut client = Client::connect(&server.address);
        client.send(&format!("say {seq}"));
        client.reset();
        let line = listener.line();
        assert!(line.ends_with(&format!(" {seq}")) && line.starts_with("broadcast "), "{line}");
    }
    listener.ask("ping", "pong");
}

#[test]
fn every_line_from_short_lived_connections_is_broadcast() {
    let server = Server::start(&[]);
    let mut listener = server.client();
    let script = format!(
        "for i in $(seq 500); do echo \"say $i\" >/dev/tcp/127.0.0.1/{}; done",
        server.port()
    );
    let shell = Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(shell.success());
    let mut received: Vec<u64> = (1..=500)
        .map(|seq| {
            let line = listener.line();
            assert!(line.starts_with(&format!("broadcast {seq} ")), "{line}");
            line.rsplit(' ').next().unwrap().parse().unwrap()
        })
        .collect();
    received.sort_unstable();
    assert_eq!(received, (1..=500).collect::<Vec<_>>());
}

#[test]
fn vanishing_clients_do_not_affect_others() {
    let server = Server::start(&[]);
    let mut other = server.client();
    for round in 0..50 {
        let mut crowd: Vec<_> = (0..10).map(|_| server.client()).collect();
        crowd[0].send(&format!("say {round}"));
        other.expect(&format!("broadcast {} {} {round}", round + 1, crowd[0].id));
        // Every other client resets its connection with lines unread.
        for (i, mut client) in crowd.into_iter().enumerate() {
            if i % 2 == 0 {
                client.send("stats");
                client.reset();
            }
        }
    }
    other.ask("ping", "pong");
    wait_until(|| other.stat("clients") == 1);
}

#[test]
fn sigterm_drains_readers_and_cuts_off_stalled_clients() {
    let mut server = Server::start(&["--drain-timeout", "2", "--max-outbox", "1M"]);
    let mut readers: Vec<_> = (0..90).map(|_| server.client()).collect();
    // These read nothing and have more pending output than the kernel's buffers hold.
    let mut stalled: Vec<_> = (0..10).map(|_| server.client()).collect();
    let text = "x".repeat(4000);
    let mut sender = server.client();
    sender.ask("quiet", "ok quiet");
    for seq in 1..=200 {
        sender.ask(&format!("say {text}"), &format!("ok broadcast {seq}"));
        for reader in &mut readers {
            reader.line();
        }
    }
    let pings = format!("ping {text}\n");
    thread::scope(|scope| {
        for client in &mut stalled {
            scope.spawn(|| client.send_until_full(pings.as_bytes(), 64 << 20));
        }
    });
    sender.ask("say last", "ok broadcast 201");
    server.signal("TERM");
    server.wait_for_log("shutting down (signal): draining 101 clients, at most 2 s");
    for reader in &mut readers {
        assert_eq!(reader.line(), format!("broadcast 201 {} last", sender.id));
        reader.expect("goodbye shutdown");
        reader.expect_end();
    }
    sender.expect("goodbye shutdown");
    sender.expect_end();
    drop((readers, sender));
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(log.contains("shut down: 91 clients drained, 10 cut off"), "{log}");
}

/// Starts a server with a client that does not read, so that the server takes `drain_timeout`
/// seconds to shut down gracefully.
fn slow_to_drain(drain_timeout: &str) -> (Server, Client) {
    let mut command = Command::new("env");
    // These tests may run in a shell that ignores SIGINT.
    command.args(["--default-signal=INT", oyezd().get_program().to_str().unwrap()]);
    command.args(["--listen", "127.0.0.1:0", "--drain-timeout", drain_timeout]);
    let server = Server::spawn(command);
    let mut stalled = server.client();
    stalled.send_until_full(b"stats\n", 64 << 20);
    (server, stalled)
}

#[test]
fn second_signal_stops_the_server_immediately() {
    let (mut server, _stalled) = slow_to_drain("3600");
    server.signal("INT");
    server.wait_for_log("shutting down (signal): draining 1 client, at most 3600 s");
    // Within half a second, the signal counts as the first one.
    wait_until(|| {
        server.signal("TERM");
        server.has_exited()
    });
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("second signal: exiting now, 1 client cut off"), "{log}");
}

/// `timeout` signals its child, and then its process group with the child in it.
#[test]
fn signal_to_the_process_and_its_group_counts_once() {
    let (server, _stalled) = slow_to_drain("1");
    let pid = server.pid();
    let kill = format!("kill -INT {pid}; kill -TERM {pid}; kill -INT {pid}");
    assert!(Command::new("bash").args(["-c", &kill]).status().unwrap().success());
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(log.contains("shut down: 0 clients drained, 1 cut off"), "{log}");
}

#[test]
fn signal_after_the_shutdown_command_does_not_cut_draining_short() {
    let mut server = Server::start(&["--drain-timeout", "2"]);
    let mut stalled = server.client();
    stalled.send_until_full(b"stats\n", 64 << 20);
    server.client().ask("shutdown", "goodbye shutdown");
    server.wait_for_log("shutting down (shutdown command)");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("1 cut"), "{log}");
}

#[test]
fn new_connections_are_refused_during_shutdown() {
    let mut server = Server::start(&["--drain-timeout", "2"]);
    let mut stalled = server.client();
    stalled.send_until_full(b"stats\n", 64 << 20);
    server.signal("TERM");
    server.wait_for_log("shutting down");
    assert!(TcpStream::connect(server.tcp()).is_err());
}

#[test]
fn sighup_terminates_the_server_unless_ignored() {
    let mut command = Command::new("env");
    // These tests may run under nohup.
    command.args(["--default-signal=HUP", oyezd().get_program().to_str().unwrap()]);
    let server = Server::spawn(command.args(["--listen", "127.0.0.1:0"]));
    server.signal("HUP");
    let (status, _) = server.wait();
    assert_eq!(status.signal(), Some(1));
    // nohup makes the program ignore the signal.
    let mut command = Command::new("nohup");
    command.arg(oyezd().get_program()).args(["--listen", "127.0.0.1:0"]);
    let server = Server::spawn(command);
    server.signal("HUP");
    server.client().ask("ping", "pong");
}

/// A shell without job control starts its background jobs with SIGINT ignored.
#[cfg(target_os = "linux")]
#[test]
fn ignored_sigint_does_not_stop_the_server() {
    let server = Server::start_after_script("trap '' INT", &[]);
    server.signal("INT");
    server.client().ask("ping", "pong");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success() && log.contains("shutting down (signal)"), "{log}");
}

/// A server with files to reload handles SIGHUP even if `nohup` started it.
#[test]
fn nohup_does_not_prevent_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "hunter22\n").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new("nohup");
    command.arg(oyezd().get_program()).args(["--listen", "127.0.0.1:0", "--secret-file"]);
    let mut server = Server::spawn(command.arg(&secret));
    server.signal("HUP");
    server.wait_for_log("reloaded ");
}

/// The connection of a client that sends nothing is logged later, but not after its other lines.
#[test]
fn log_shows_the_connection_of_a_slow_consumer_first() {
    let options = ["--slow-clients", "skip", "--feed-size", "256K", "--send-buffer", "4K"];
    let mut server = Server::start(&options);
    let _stalled = server.client();
    flood(server.tcp(), &"x".repeat(1000), 3000).join().unwrap();
    let line = server.wait_for_log("client 1");
    assert!(line.contains("client 1 connected from "), "{line}");
    server.wait_for_log("client 1: slow consumer, skipped ");
}

/// The log shows what a client did before it shows that the client disconnected, or that the server
/// shut down.
#[test]
fn log_lines_of_a_client_precede_its_disconnect_and_the_shutdown() {
    let server = Server::start(&["--log-level", "debug"]);
    // While the server is stopped, the kernel queues all connections and lines.
    server.signal("STOP");
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(&server.address)).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send("say one\nping two");
        match i % 4 {
            0 => client.send("quit"),
            1 => client.shutdown_write(),
            2 => client.send("GET / HTTP/1.1"),
            _ => {}
        }
    }
    server.signal("CONT");
    for client in &mut clients {
        client.read_welcome();
    }
    clients.remove(3).send("shutdown");
    drop(clients);
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    let position = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text:?} in:\n{log}"));
    for id in 1..=100 {
        let steps = [
            format!("client {id} connected from "),
            format!("client {id}: \"say one\" -> "),
            format!("client {id}: \"ping two\" -> "),
            format!("client {id}: closing: "),
            format!("client {id} from 127.0.0.1:"),
        ];
        let found = steps.map(|step| position(&step));
        assert!(found.is_sorted(), "client {id}: {found:?}\n{log}");
    }
    assert!(position("\"shutdown\" -> ") < position("shutting down (shutdown command)"), "{log}");
}

/// A server that was stopped and continued reads waiting input before it checks timeouts.
#[test]
fn active_client_does_not_time_out_while_the_server_is_stopped() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut client = server.client();
    for _ in 0..3 {
        server.signal("STOP");
        client.send("ping");
        // Longer than the idle timeout. It waits for no event.
        thread::sleep(Duration::from_millis(1200));
        server.signal("CONT");
        client.expect("pong");
        client.ask("ping", "pong");
    }
}
