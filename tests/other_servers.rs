//! Regression tests for known faults of other servers.
#![allow(clippy::unwrap_used)]

mod support;

use support::crowd::{Crowd, flood};
use support::{Client, Program, Server, oyezd};

/// Starts a server and a client that reads nothing, then broadcasts 20,000 lines, which overrun
/// that client.
fn with_stalled_reader(policy: &str) -> (Server, Client) {
    let server = Server::start(&["--feed-size", "256K", "--slow-clients", policy]);
    let stalled = server.client();
    let mut reader = Crowd::connect(server.tcp(), 1);
    let lines = 20_000;
    let sender = flood(server.tcp(), &"x".repeat(100), lines);
    reader.read_through(lines as u64);
    sender.join().unwrap();
    (server, stalled)
}

/// ncat --broker: a client that does not read blocks all others, including new ones.
#[test]
fn stalled_reader_does_not_block_connected_or_new_clients() {
    for policy in ["disconnect", "skip"] {
        let (server, _stalled) = with_stalled_reader(policy);
        let (mut newcomer, mut other) = (server.client(), server.client());
        newcomer.ask("say hi", "broadcast 20001 4 hi");
        other.expect("broadcast 20001 4 hi");
    }
}

/// ncat accepts at most 100 clients by default.
#[test]
fn more_than_a_hundred_clients_receive_a_broadcast() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (0..300).map(|_| server.client()).collect();
    clients[299].send("say hello to all");
    for client in &mut clients {
        client.expect("broadcast 1 300 hello to all");
    }
}

/// ncat --chat: a client can forge another client's line.
#[test]
fn client_cannot_forge_a_line_of_another_client() {
    let server = Server::start(&[]);
    let (mut victim, mut forger) = (server.client(), server.client());
    victim.ask("name user0", "ok name user0");
    forger.ask("say hi\u{a}broadcast 9 user0 approved", "broadcast 1 2 hi");
    victim.expect("broadcast 1 2 hi");
    // The forger's second line is also broadcast under its own id.
    victim.expect("broadcast 2 2 9 user0 approved");
    forger.expect("broadcast 2 2 9 user0 approved");
    for end in ["\r", "\u{b}", "\u{85}", "\u{2028}", "\u{1b}[2K"] {
        forger.send(&format!("say hi{end}broadcast 9 user0 approved"));
        assert!(forger.line().starts_with("error not-text "), "{end:?}");
    }
    forger.ask("name USER0", "error name-taken choose another name");
    victim.ask("ping", "pong");
}

/// ncat --chat mangles non-ASCII characters.
#[test]
fn text_in_any_language_arrives_unchanged() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.client(), server.client());
    for text in ["Grüße aus Köln", "你好，世界", "שלום", "👩‍🚀 e\u{301}", "a\tb", "  two  spaces  "]
    {
        a.send(&format!("say {text}"));
        let line = a.line();
        assert!(line.ends_with(&format!(" 1 {text}")), "{line:?}");
        b.expect(&line);
    }
}

/// mosquitto: a limit of 0, meant as no limit, dropped every message.
#[test]
fn limit_of_zero_is_refused_and_off_means_no_limit() {
    for option in [
        "--max-clients",
        "--max-per-address",
        "--max-line",
        "--max-outbox",
        "--feed-size",
        "--send-buffer",
        "--idle-timeout",
        "--auth-timeout",
        "--stall-timeout",
        "--drain-timeout",
        "--rate-limit",
    ] {
        let (status, _, stderr) = Program::run(oyezd().args([option, "0"]));
        assert!(status == 2 && stderr.contains(option), "{option} 0: {stderr}");
    }
    let off = ["--idle-timeout", "off", "--rate-limit", "off", "--max-per-address", "off"];
    let server = Server::start(&off);
    server.client().ask("ping", "pong");
}

/// mosquitto logs some disconnects without a reason. Redis disconnects a slow subscriber without a
/// message.
#[test]
fn disconnect_reason_is_sent_to_the_client_and_logged() {
    let (mut server, mut stalled) = with_stalled_reader("disconnect");
    assert!(stalled.rest().ends_with("\ngoodbye too-slow\n"));
    drop(stalled);
    server.wait_for_log("client 1 from 127.0.0.1:");
    let mut quitting = server.client();
    quitting.ask("quit", "goodbye quit");
    drop(quitting);
    let mut half_closed = server.client();
    half_closed.shutdown_write();
    half_closed.expect_end();
    drop(half_closed);
    drop(server.client());
    server.signal("TERM");
    let (_, log) = server.wait();
    let connected = log.matches(" connected from ").count();
    let reasons = ["too slow: ", "quit; ", "end of input; ", "shutdown; ", "connection lost; "];
    let counts = reasons.map(|reason| log.matches(&format!(" disconnected: {reason}")).count());
    assert_eq!(counts.iter().sum::<usize>(), connected, "{log}");
}

/// NATS: one slow consumer delays others.
#[test]
fn stalled_reader_does_not_delay_others() {
    let (server, _stalled) = with_stalled_reader("skip");
    let mut other = server.client();
    // A reply that had to wait for the stalled reader would exceed the read timeout.
    for nth in 0..1000 {
        other.ask(&format!("say {nth}"), &format!("broadcast {} 4 {nth}", 20_001 + nth));
    }
}

/// NATS does not report to a subscriber that it missed messages.
#[test]
fn reader_that_missed_lines_is_told_how_many() {
    let (_server, mut stalled) = with_stalled_reader("skip");
    let (mut seq, mut missed) = (0, 0);
    while seq < 20_000 {
        let line = stalled.line();
        let words: Vec<&str> = line.split(' ').collect();
        let number: u64 = words[1].parse().unwrap();
        match words[0] {
            "broadcast" => {
                assert_eq!(number, seq + 1);
                seq = number;
            }
            "lagged" => {
                missed += number;
                seq += number;
            }
            _ => panic!("unexpected line {line}"),
        }
    }
    assert!(missed > 0);
}

/// Redis pub/sub, core NATS, ncat, and mosquitto at QoS 0: a client never receives the messages
/// that it missed while it was disconnected.
#[test]
fn returning_client_can_resume_after_its_last_line() {
    let server = Server::start(&[]);
    let (mut sender, mut listener) = (server.client(), server.client());
    sender.ask("say before", "broadcast 1 1 before");
    listener.expect("broadcast 1 1 before");
    listener.reset();
    sender.ask("say meanwhile", "broadcast 2 1 meanwhile");
    let mut returning = server.client();
    returning.ask("resume 1", "ok resume 1");
    returning.expect("broadcast 2 1 meanwhile");
}

/// Any text protocol on localhost: a web page can make the browser send commands to the server.
#[test]
fn commands_in_an_http_request_are_not_executed() {
    let mut server = Server::start(&[]);
    let mut browser = server.client();
    let body = "shutdown\nbroadcast hello from the web\n";
    browser.send_bytes(
        format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1:5050\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    browser.expect_end();
    drop(browser);
    server.wait_for_log("disconnected: foreign protocol: HTTP");
    assert_eq!(server.stat("broadcasts"), 0);
}
