//! `oyez` and servers that vanish, that come back, and that are none. The server is the test itself,
//! but for where a real one is needed.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use support::{Client, Program, Server, oyez, oyezd};

/// A place where the test waits for `oyez`.
struct Host(TcpListener);

impl Host {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    fn oyez(&self, arguments: &[&str]) -> Command {
        let mut command = oyez();
        command.args(["-s", &self.address()]).args(arguments);
        command
    }

    /// The next connection, which is told welcome.
    fn welcome(&self, feed: &str, seq: u64) -> Client {
        let mut oyez = Client::accept(&self.0);
        oyez.send(&format!("welcome 1 {feed} {seq} oyezd/9 hello"));
        oyez
    }
}

const FEED: &str = "00c0ffee";

#[test]
fn a_listener_goes_on_after_the_last_line_that_it_has_seen() {
    let host = Host::new();
    let mut listen = Program::start(&mut host.oyez(&["listen"]));
    let mut server = host.welcome(FEED, 5);
    server.send("broadcast 6 bob six\nbroadcast 7 bob seven");
    listen.stdout.expect("six");
    listen.stdout.expect("seven");
    drop(server);
    listen.stderr.expect("is lost: the server closed the connection; trying again");
    let mut server = host.welcome(FEED, 9);
    server.expect(&format!("resume 7 {FEED}"));
    // What comes before the answer comes again behind it.
    server.send("broadcast 10 bob ten\nok resume 7\nbroadcast 8 bob eight\nbroadcast 9 bob nine");
    server.send("broadcast 10 bob ten\nbroadcast 11 bob eleven");
    for text in ["eight", "nine", "ten", "eleven"] {
        listen.stdout.expect(text);
    }
    listen.stderr.expect("connected to ");
    server.reset();
    listen.stderr.expect("is lost: the connection was reset; trying again");
    // With a secret to show first, lines may come after the welcome and before it is in.
    let mut server = host.welcome(FEED, 11);
    server.expect(&format!("resume 11 {FEED}"));
    server.send("ok resume 11\nbroadcast 12 bob twelve");
    listen.stdout.expect("twelve");
    server.send("goodbye shutdown");
    listen.stderr.expect("again");
    listen.stderr.expect("is lost: the server was shut down; trying again");
    // Nothing comes behind a goodbye, whatever is still open.
    let mut server = host.welcome("00000001", 0);
    server.expect("resume 0 00000001");
    server.send("ok resume 0\nbroadcast 1 bob one");
    listen.stdout.expect("one");
    listen.stderr.expect("again");
    listen.stderr.expect("it was restarted");
}

/// Passes on what comes, both ways, and cuts the connection from time to time: so often, each time after
/// another stretch of bytes.
fn cut_now_and_then(to: SocketAddr, cuts: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (nth, near) in (0..).zip(listener.incoming().map(Result::unwrap)) {
            let far = TcpStream::connect(to).unwrap();
            let (mut requests, mut to_server) =
                (near.try_clone().unwrap(), far.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut requests, &mut to_server));
            let stretch = if nth < cuts { 1_000 + nth * 7919 % 60_000 } else { u64::MAX };
            let _ = io::copy(&mut (&far).take(stretch), &mut &near);
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
        }
    });
    address
}

/// OYEZ_CUTS and OYEZ_LINES make more of it.
#[test]
fn a_connection_that_is_cut_again_and_again_loses_nothing_and_repeats_nothing() {
    let number = |name, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    };
    let (cuts, lines) = (number("OYEZ_CUTS", 10), number("OYEZ_LINES", 50_000));
    let server = Server::start(&["--feed-size", "64M"]);
    let address = cut_now_and_then(server.tcp(), cuts).to_string();
    let count = lines.to_string();
    let mut listen = oyez();
    listen.args(["-s", &address, "listen", "--since", "0", "--count", &count]);
    let listen = Program::start(&mut listen);
    let input: String = (1..=lines).fold(String::new(), |input, i| input + &format!("{i}\n"));
    let mut broadcast = oyez();
    broadcast.args(["-s", &server.address.to_string(), "broadcast", "-"]);
    let sent = Program::run_with(&mut broadcast, input.as_bytes());
    assert_eq!(sent, (0, String::new(), String::new()));
    let (status, stdout, stderr) = listen.wait_all();
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout == input, "what came is not what was sent: {stderr}");
    assert!(!stderr.contains("may have been missed"), "{stderr}");
}

#[test]
fn lines_that_are_gone_are_named_and_the_rest_is_asked_for() {
    let host = Host::new();
    let mut listen = Program::start(&mut host.oyez(&["listen"]));
    host.welcome(FEED, 5);
    listen.stderr.expect("is lost");
    let mut server = host.welcome(FEED, 90);
    server.expect(&format!("resume 5 {FEED}"));
    server.send(&format!("error gone 50 {FEED} kept from 50 on"));
    listen.stderr.expect("connected to ");
    listen.stderr.expect("lines 6 to 49 may have been missed");
    server.expect(&format!("resume 49 {FEED}"));
    server.send("ok resume 49\nbroadcast 50 bob fifty");
    listen.stdout.expect("fifty");
    drop(server);
    listen.stderr.expect("is lost");
    let mut server = host.welcome(FEED, 51);
    server.expect(&format!("resume 50 {FEED}"));
    server.send("error not-allowed not in this version");
    listen.stderr.expect("connected to ");
    listen.stderr.expect("line 51 may have been missed");
    server.send("broadcast 52 bob new");
    listen.stdout.expect("new");
}

#[test]
fn a_listener_comes_back_to_a_server_that_was_restarted() {
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let mut listen = Program::start(oyez().args(["-s", &address, "--name", "al", "listen"]));
    let mut bob = server.client();
    while bob.stat("clients") < 2 {}
    bob.send("say before");
    listen.stdout.expect("before");
    server.signal("KILL");
    listen.stderr.expect(&format!("the connection to {address} is lost: "));
    server.wait();
    let mut again = oyezd();
    again.args(["--listen", &address]);
    let server = Server::spawn(again);
    listen.stderr.expect(&format!("connected to {address} again"));
    listen.stderr.expect("it was restarted: what was said there last may be missing here");
    let mut bob = server.client();
    // Its name came with it.
    bob.send_to("al", "hi");
    bob.send("say after");
    listen.stdout.expect("after");
}

#[test]
fn a_listener_can_begin_in_the_past() {
    let host = Host::new();
    let mut listen = host.oyez(&["listen", "--since", "3", "--count", "1"]);
    let mut listen = Program::start(&mut listen);
    let mut server = host.welcome(FEED, 5);
    server.expect("resume 3");
    server.send("ok resume 3\nbroadcast 4 bob four");
    listen.stdout.expect("four");
    assert_eq!(listen.wait().code(), Some(0));
}

#[test]
fn without_reconnecting_a_lost_connection_is_a_failure() {
    let host = Host::new();
    let listen = Program::start(&mut host.oyez(&["listen", "--no-reconnect"]));
    host.welcome(FEED, 5).send("goodbye too-slow");
    let (status, _, stderr) = listen.wait_all();
    let why = "the server ended the connection, because it was read too slowly";
    assert_eq!((status, stderr), (1, format!("oyez: {}: {why}\n", host.address())));
}

#[test]
fn a_name_that_ones_own_ghost_still_has_is_tried_again() {
    let host = Host::new();
    let mut listen = Program::start(&mut host.oyez(&["--name", "al", "listen"]));
    let mut server = host.welcome(FEED, 0);
    server.expect("name al");
    server.send("ok name al");
    drop(server);
    let mut server = host.welcome(FEED, 0);
    server.expect("name al");
    server.expect(&format!("resume 0 {FEED}"));
    server.send("error name-taken somebody else has it\nok resume 0");
    server.expect("name al");
    server.send("ok name al\nbroadcast 1 bob hi");
    listen.stdout.expect("hi");
    listen.stderr.wait_for("the name al is still taken, and is asked for again");
}

#[test]
fn a_silent_connection_is_kept_alive_and_a_dead_one_is_given_up() {
    let host = Host::new();
    let mut listen = Program::start(&mut host.oyez(&["--timeout", "1", "listen"]));
    let mut server = host.welcome(FEED, 0);
    server.expect("ping");
    server.send("pong");
    server.expect("ping");
    // No answer, and no end either.
    listen.stderr.expect("is lost: the server has not answered for 1 s; trying again");
    host.welcome(FEED, 0);
    listen.stderr.expect("again");

    let ping = Program::start(&mut host.oyez(&["--timeout", "1", "ping"]));
    let _server = host.welcome(FEED, 0);
    let (status, _, stderr) = ping.wait_all();
    assert_eq!(status, 1);
    assert!(stderr.contains("the server has not answered for 1 s"), "{stderr}");
}

#[test]
fn a_secret_is_told_before_all_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "open sesame\n").unwrap();
    let file = file.to_str().unwrap();
    let host = Host::new();
    let arguments = ["--secret-file", file, "--name", "al", "broadcast", "hi"];
    let broadcast = Program::start(&mut host.oyez(&arguments));
    let mut server = host.welcome(FEED, 0);
    server.expect("auth open sesame");
    server.expect("name al");
    server.send("ok auth user\nok name al");
    server.expect("quiet");
    server.send("ok quiet");
    server.expect("broadcast hi");
    server.send("ok broadcast 1");
    assert_eq!(broadcast.wait_all(), (0, String::new(), String::new()));

    let broadcast = Program::start(&mut host.oyez(&arguments));
    let mut server = host.welcome(FEED, 0);
    server.expect("auth open sesame");
    server.send("error auth-failed wrong secret");
    let (status, _, stderr) = broadcast.wait_all();
    assert_eq!(status, 1);
    assert!(stderr.contains("does not take the secret: auth-failed"), "{stderr}");
    assert!(!stderr.contains("sesame"), "{stderr}");
}

#[test]
fn a_secret_goes_over_no_network_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let run = |text: &[u8], server: &str| {
        fs::write(&file, text).unwrap();
        let mut command = oyez();
        command.args(["-s", server, "--secret-file", file.to_str().unwrap(), "ping"]);
        let (status, _, stderr) = Program::run(&mut command);
        assert_eq!(status, 1, "{stderr}");
        stderr
    };
    // Nothing is sent there: it is refused before.
    let refused = run(b"open sesame\n", "192.0.2.1:5050");
    assert!(refused.contains("--insecure sends it all the same"), "{refused}");
    for (text, error) in [
        (&b""[..], "it is empty"),
        (b"\n", "it is empty"),
        (b"two\nlines\n", "it is not one line of text"),
        (b"\xff", "it is not one line of text"),
        (&[b'x'; 2000], "it is longer than 1024 bytes"),
    ] {
        let said = run(text, "127.0.0.1:1");
        assert!(said.contains(&format!("secret: {error}")), "{said}");
    }
}

#[test]
fn what_became_of_the_input_is_said_when_the_connection_breaks() {
    let host = Host::new();
    let mut broadcast = host.oyez(&["broadcast", "-"]);
    let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
    let mut server = host.welcome(FEED, 0);
    server.expect("quiet");
    server.send("ok quiet");
    server.expect("stats");
    server.send("stat max_line 100\nok stats");
    broadcast.feed(b"one\ntwo\nthree\nfour\n");
    for text in ["one", "two", "three", "four"] {
        server.expect(&format!("broadcast {text}"));
    }
    server.send("ok broadcast 1\nok broadcast 2");
    server.end();
    let (status, _, stderr) = broadcast.wait_all();
    assert_eq!(status, 1);
    let known = "2 lines of the input are in the feed; whether lines 3 to 4 are, is not known";
    assert!(stderr.contains(known), "{stderr}");

    // What was not answered before a goodbye was never executed.
    let mut broadcast = host.oyez(&["broadcast", "-"]);
    let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
    let mut server = host.welcome(FEED, 0);
    server.expect("quiet");
    server.send("ok quiet");
    server.expect("stats");
    server.send("ok stats");
    broadcast.feed(b"one\ntwo\n");
    server.expect("broadcast one");
    server.expect("broadcast two");
    server.send("ok broadcast 1\ngoodbye shutdown");
    let (status, _, stderr) = broadcast.wait_all();
    assert_eq!(status, 1);
    let known = "the server was shut down; 1 line of the input is in the feed, and no other";
    assert!(stderr.contains(known), "{stderr}");
}

#[test]
fn a_server_that_asks_for_a_secret_is_not_tried_for_ever() {
    let host = Host::new();
    let listen = Program::start(&mut host.oyez(&["listen"]));
    host.welcome(FEED, 0).send("goodbye auth-timeout");
    let (status, _, stderr) = listen.wait_all();
    assert_eq!(status, 1);
    assert!(stderr.contains("asks for a secret (--secret-file FILE gives it)"), "{stderr}");

    let ping = Program::start(&mut host.oyez(&["--name", "al", "ping"]));
    host.welcome(FEED, 0).send("error auth-required auth <secret> first");
    let (status, _, stderr) = ping.wait_all();
    assert_eq!(status, 1);
    assert!(stderr.contains("(--secret-file FILE gives the secret)"), "{stderr}");
}

#[test]
fn a_server_cannot_keep_it_busy_for_ever() {
    let host = Host::new();
    let clients = Program::start(&mut host.oyez(&["clients"]));
    let mut server = host.welcome(FEED, 0);
    server.send("client 1 -\nok clients 1 9");
    // The next page has nobody on it, whatever it says.
    server.send("ok clients 1 9");
    assert_eq!(clients.wait_all(), (0, String::new(), String::new()));

    let stats = Program::start(&mut host.oyez(&["stats"]));
    let mut server = host.welcome(FEED, 0);
    server.is_taken("stat a 1\n".repeat(20_000).as_bytes());
    let (status, _, stderr) = stats.wait_all();
    assert_eq!((status, stderr.as_str()), (1, "oyez: the server's answer has no end\n"));

    let mut broadcast = host.oyez(&["broadcast", "-"]);
    let broadcast = Program::start(broadcast.stdin(File::open("/dev/zero").unwrap()));
    let mut server = host.welcome(FEED, 0);
    server.send(&format!("ok quiet\nstat max_line {}\nok stats", u64::MAX));
    let (status, _, stderr) = broadcast.wait_all();
    assert_eq!(status, 1);
    assert!(stderr.contains("line 1 of the input is longer than 1048630 bytes"), "{stderr}");
}

#[test]
fn a_trickle_of_bytes_is_no_answer() {
    let host = Host::new();
    let ping = Program::start(&mut host.oyez(&["--timeout", "1", "ping"]));
    let mut server = host.welcome(FEED, 0);
    let trickle = thread::spawn(move || {
        // Until nobody takes them.
        while server.is_taken(b"x") {
            thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    let (status, _, stderr) = ping.wait_all();
    assert_eq!(status, 1);
    assert!(stderr.contains("the server has not answered for 1 s"), "{stderr}");
    trickle.join().unwrap();
}

#[test]
fn shutdown_is_done_only_when_the_server_says_so() {
    let host = Host::new();
    let shutdown = Program::start(&mut host.oyez(&["shutdown"]));
    host.welcome(FEED, 0).send("goodbye idle");
    let (status, _, stderr) = shutdown.wait_all();
    assert_eq!(status, 1);
    assert!(stderr.contains("because nothing was said"), "{stderr}");
}

/// Whatever a server sends that none would send, each command ends with one line, in which there is
/// nothing that a terminal would obey.
#[test]
fn nothing_that_a_terminal_obeys_gets_through() {
    let welcome = format!("welcome 1 {FEED} 0 oyezd/9 hi\n").into_bytes();
    let after_welcome = |bytes: &[u8]| [welcome.as_slice(), bytes].concat();
    let openings = [
        b"welcome 1 00c0ffee 0 \x1b[2J hi\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b"\x15\x03\x01\x00\x02\x02\x0a\n".to_vec(),
        vec![b'x'; 2_000_000],
        after_welcome(b"broadcast 1 bob \x1b[2Jowned\n"),
        after_welcome("broadcast 1 bob \u{9b}2Jowned\n".as_bytes()),
        after_welcome(b"broadcast 1 \x1b]0;owned\x07 x\n"),
        after_welcome(b"error busy \x1b[2J\n"),
        after_welcome(b"direct bob a\rb\n"),
        after_welcome("broadcast 1 bob a\u{2028}b\n".as_bytes()),
        after_welcome(b"goodbye \x1b[2J\n"),
        after_welcome(b"broadcast 1 bob \xff\xfe\n"),
        after_welcome(&vec![b'y'; 2_000_000]),
    ];
    let commands: [&[&str]; 7] = [
        &["listen"],
        &["listen", "--format", "json"],
        &["ping"],
        &["clients"],
        &["stats"],
        &["broadcast", "-"],
        &["raw"],
    ];
    for opening in openings {
        for command in commands {
            let host = Host::new();
            let mut oyez = host.oyez(command);
            let oyez = Program::start(oyez.stdin(Stdio::piped()));
            let mut server = Client::accept(&host.0);
            // It may end before all of it is sent.
            server.is_taken(&opening);
            let (status, stdout, stderr) = oyez.wait_all();
            let shown = format!("{command:?}: {stdout:?} {stderr:?}");
            let is_shown_as_it_is = |c: char| c == '\n' || !c.is_control() && c != '\u{2028}';
            assert_eq!(status, 1, "{shown}");
            assert!(stdout.chars().chain(stderr.chars()).all(is_shown_as_it_is), "{shown}");
            assert!(stderr.contains("is no oyez server: it sent "), "{shown}");
            assert!(stderr.len() < 500 && stderr.lines().count() == 1, "{shown}");
        }
    }
}

#[test]
fn answers_that_nobody_asked_for_end_it() {
    for said in ["pong", "ok quiet", "ok stats", "welcome 2 00000000 0 oyezd/9 hi", "ok listen 5"] {
        let host = Host::new();
        let listen = Program::start(&mut host.oyez(&["listen"]));
        host.welcome(FEED, 0).send(said);
        let (status, _, stderr) = listen.wait_all();
        assert_eq!(status, 1, "{said}: {stderr}");
        assert!(stderr.contains("is no oyez server: it sent "), "{said}: {stderr}");
    }
}

#[test]
fn words_that_are_not_known_yet_are_passed_over() {
    let host = Host::new();
    let mut listen = Program::start(&mut host.oyez(&["listen", "--count", "1"]));
    let mut server = host.welcome(FEED, 0);
    server.send("news from tomorrow\nok tomorrow 1\n\nbroadcast 1 bob hi");
    listen.stdout.expect("hi");
    assert_eq!(listen.wait().code(), Some(0));
}
