//! How connections end, from either side, and the server itself: nothing that was said is lost.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::transcript::{play, play_on, play_with};
use support::{Client, Server, oyezd};

#[test]
fn at_the_end_of_input_what_was_asked_is_answered() {
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
fn a_line_without_an_end_is_not_executed() {
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
fn quit_ends_the_stream_whatever_stands_behind_it() {
    let behind = "ping\\n".repeat(100);
    // With a time that long, the end comes because the server says so.
    let arguments = ["--drain-timeout", "3600"];
    play_with(
        &arguments,
        &format!(
            r"
        a+
        a~ say last words\nquit\n{behind}
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
fn shutdown_is_for_those_who_may() {
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
fn what_a_reset_connection_had_said_is_executed() {
    let server = Server::start(&[]);
    let mut listener = server.client();
    for seq in 1..=100 {
        // Unread, the welcome makes the close a reset, as it does with a shell's /dev/tcp.
        let mut client = Client::connect(&server.address);
        client.send(&format!("say {seq}"));
        client.reset();
        let line = listener.line();
        assert!(line.ends_with(&format!(" {seq}")) && line.starts_with("broadcast "), "{line}");
    }
    listener.ask("ping", "pong");
}

#[test]
fn five_hundred_shells_make_five_hundred_broadcasts() {
    let server = Server::start(&[]);
    let mut listener = server.client();
    let script = format!(
        "for i in $(seq 500); do echo \"say $i\" >/dev/tcp/127.0.0.1/{}; done",
        server.port()
    );
    let shell = Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(shell.success());
    let mut said: Vec<u64> = (1..=500)
        .map(|seq| {
            let line = listener.line();
            assert!(line.starts_with(&format!("broadcast {seq} ")), "{line}");
            line.rsplit(' ').next().unwrap().parse().unwrap()
        })
        .collect();
    said.sort_unstable();
    assert_eq!(said, (1..=500).collect::<Vec<_>>());
}

#[test]
fn clients_that_vanish_harm_nobody() {
    let server = Server::start(&[]);
    let mut stays = server.client();
    for round in 0..50 {
        let mut crowd: Vec<_> = (0..10).map(|_| server.client()).collect();
        crowd[0].send(&format!("say {round}"));
        stays.expect(&format!("broadcast {} {} {round}", round + 1, crowd[0].id));
        // Every second one with lines that it has not read.
        for (i, mut client) in crowd.into_iter().enumerate() {
            if i % 2 == 0 {
                client.send("stats");
                client.reset();
            }
        }
    }
    stays.ask("ping", "pong");
    let deadline = Instant::now() + support::TIMEOUT;
    while stays.stat("clients") > 1 {
        assert!(Instant::now() < deadline, "some never left");
    }
}

#[test]
fn sigterm_drains_those_who_read_and_cuts_those_who_do_not() {
    let mut server = Server::start(&["--drain-timeout", "2", "--max-outbox", "1M"]);
    let mut readers: Vec<_> = (0..90).map(|_| server.client()).collect();
    // Ten with more to get than the kernel takes, who do not read it.
    let mut deaf: Vec<_> = (0..10).map(|_| server.client()).collect();
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
        for client in &mut deaf {
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

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&["--drain-timeout", "3600"]);
    let mut stalled = server.client();
    stalled.send_until_full(b"stats\n", 64 << 20);
    server.signal("INT");
    server.wait_for_log("shutting down (signal): draining 1 client, at most 3600 s");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("second signal: exiting now, 1 client cut off"), "{log}");
}

#[test]
fn a_signal_after_a_commanded_shutdown_is_the_first() {
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
fn nobody_comes_in_during_a_shutdown() {
    let mut server = Server::start(&["--drain-timeout", "2"]);
    let mut stalled = server.client();
    stalled.send_until_full(b"stats\n", 64 << 20);
    server.signal("TERM");
    server.wait_for_log("shutting down");
    assert!(TcpStream::connect(server.tcp()).is_err());
}

#[test]
fn sighup_keeps_its_usual_meaning() {
    let server = Server::start(&[]);
    server.signal("HUP");
    let (status, _) = server.wait();
    assert_eq!(status.signal(), Some(1));
    // Under nohup it is ignored.
    let mut command = Command::new("nohup");
    command.arg(oyezd().get_program()).args(["--listen", "127.0.0.1:0"]);
    let server = Server::spawn(command);
    server.signal("HUP");
    server.client().ask("ping", "pong");
}

/// What it was sent while it was stopped is read before anybody's time is up.
#[test]
fn a_server_that_was_stopped_for_a_while_lets_nobody_go_who_has_said_something() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut client = server.client();
    for _ in 0..3 {
        server.signal("STOP");
        client.send("ping");
        // Not to wait for something: the time that it does not see pass.
        thread::sleep(Duration::from_millis(1200));
        server.signal("CONT");
        client.expect("pong");
        client.ask("ping", "pong");
    }
}
