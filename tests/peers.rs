//! Where others fail at this job, we do not: a test for each way that is known of.
#![allow(clippy::unwrap_used)]

mod support;

use support::crowd::{Crowd, flood};
use support::{Client, Server, oyezd};

/// A client that never reads, behind which the feed has gone round.
fn with_one_that_never_reads(policy: &str) -> (Server, Client) {
    let server = Server::start(&["--feed-size", "256K", "--slow-clients", policy]);
    let stalled = server.client();
    let mut reader = Crowd::connect(server.tcp(), 1);
    let lines = 20_000;
    let sender = flood(server.tcp(), &"x".repeat(100), lines);
    reader.read_through(lines as u64);
    sender.join().unwrap();
    (server, stalled)
}

/// ncat --broker: one client that does not read stops it for all, and for those who come as well.
#[test]
fn one_that_does_not_read_freezes_nobody_and_no_newcomer() {
    for policy in ["disconnect", "skip"] {
        let (server, _stalled) = with_one_that_never_reads(policy);
        let (mut newcomer, mut other) = (server.client(), server.client());
        newcomer.ask("say hi", "broadcast 20001 4 hi");
        other.expect("broadcast 20001 4 hi");
    }
}

/// ncat: a hundred clients at most.
#[test]
fn more_than_a_hundred_clients_hear_one_another() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (0..300).map(|_| server.client()).collect();
    clients[299].send("say hello to all");
    for client in &mut clients {
        client.expect("broadcast 1 300 hello to all");
    }
}

/// ncat --chat: what looks like another's line is taken for it.
#[test]
fn nobody_can_speak_in_anothers_name() {
    let server = Server::start(&[]);
    let (mut victim, mut forger) = (server.client(), server.client());
    victim.ask("name user0", "ok name user0");
    forger.ask("say hi\u{a}broadcast 9 user0 approved", "broadcast 1 2 hi");
    victim.expect("broadcast 1 2 hi");
    // The second line is one of the forger's own, and says so.
    victim.expect("broadcast 2 2 9 user0 approved");
    forger.expect("broadcast 2 2 9 user0 approved");
    for end in ["\r", "\u{b}", "\u{85}", "\u{2028}", "\u{1b}[2K"] {
        forger.send(&format!("say hi{end}broadcast 9 user0 approved"));
        assert!(forger.line().starts_with("error not-text "), "{end:?}");
    }
    forger.ask("name USER0", "error name-taken somebody already has this name; choose another");
    victim.ask("ping", "pong");
}

/// ncat --chat: all that is not ASCII is mangled.
#[test]
fn text_in_any_language_arrives_as_it_was() {
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

/// mosquitto: 0 was to mean no limit, and dropped everything.
#[test]
fn no_limit_is_said_by_a_word_and_never_by_zero() {
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
        let (status, _, stderr) = support::Program::run(oyezd().args([option, "0"]));
        assert!(status == 2 && stderr.contains(option), "{option} 0: {stderr}");
    }
    let off = ["--idle-timeout", "off", "--rate-limit", "off", "--max-per-address", "off"];
    let server = Server::start(&off);
    server.client().ask("ping", "pong");
}

/// mosquitto: disconnects without a reason in the log. Redis: slow subscribers vanish without a word.
#[test]
fn who_is_let_go_is_told_why_and_so_is_the_log() {
    let (mut server, mut stalled) = with_one_that_never_reads("disconnect");
    assert!(stalled.rest().ends_with("\ngoodbye too-slow\n"));
    drop(stalled);
    server.wait_for_log("client 1 from 127.0.0.1:");
    let mut quitter = server.client();
    quitter.ask("quit", "goodbye quit");
    drop(quitter);
    let mut gone = server.client();
    gone.end();
    gone.expect_end();
    drop(gone);
    drop(server.client());
    server.signal("TERM");
    let (_, log) = server.wait();
    let come = log.matches(" connected from ").count();
    let reasons = ["too slow: ", "quit; ", "end of input; ", "shutdown; ", "connection lost; "];
    let gone = reasons.map(|reason| log.matches(&format!(" disconnected: {reason}")).count());
    assert_eq!(gone.iter().sum::<usize>(), come, "{log}");
}

/// NATS: one slow consumer delays others.
#[test]
fn one_slow_reader_delays_nobody() {
    let (server, _stalled) = with_one_that_never_reads("skip");
    let mut other = server.client();
    // A delay of each would be one of hours, and the line that does not come in time fails.
    for nth in 0..1000 {
        other.ask(&format!("say {nth}"), &format!("broadcast {} 4 {nth}", 20_001 + nth));
    }
}

/// NATS: a client does not learn that it has lost something.
#[test]
fn who_misses_lines_is_told_how_many() {
    let (_server, mut stalled) = with_one_that_never_reads("skip");
    let (mut seq, mut missed) = (0, 0);
    while seq < 20_000 {
        let line = stalled.line();
        let words: Vec<&str> = line.split(' ').collect();
        let number: u64 = words[1].parse().unwrap();
        match words[0] {
            "broadcast" => assert_eq!(number, seq + 1),
            "lagged" => missed += number,
            _ => panic!("{line}"),
        }
        seq = if words[0] == "lagged" { seq + number } else { number };
    }
    assert!(missed > 0);
}

/// Redis pub/sub, NATS core, ncat and mosquitto at QoS 0: who was away cannot ask what it has missed.
#[test]
fn who_was_away_can_ask_what_it_has_missed() {
    let server = Server::start(&[]);
    let (mut speaker, mut listener) = (server.client(), server.client());
    speaker.ask("say before", "broadcast 1 1 before");
    listener.expect("broadcast 1 1 before");
    listener.reset();
    speaker.ask("say meanwhile", "broadcast 2 1 meanwhile");
    let mut again = server.client();
    again.ask("resume 1", "ok resume 1");
    again.expect("broadcast 2 1 meanwhile");
}

/// Every server with a text protocol on localhost: a web page makes a browser speak to it.
#[test]
fn a_web_page_can_do_nothing_here() {
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
