//! `oyez` and servers that vanish, that come back, and that are none. The server is the test itself,
//! but for where a real one is needed.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use support::{Client, Program, Server, oyez, oyezd, size};

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
        self.welcome_as(1, feed, seq)
    }

    fn welcome_as(&self, id: u64, feed: &str, seq: u64) -> Client {
        let mut oyez = Client::accept(&self.0);
        oyez.send(&format!("welcome {id} {feed} {seq} oyezd/9 hello"));
        oyez
    }

    /// A connection of a `broadcast -` that is let say lines.
    fn let_say(&self, id: u64, feed: &str, seq: u64) -> Client {
        let mut oyez = self.welcome_as(id, feed, seq);
        oyez.expect("quiet");
        oyez.expect("stats");
        oyez.send("ok quiet\nstat max_line 100\nok stats");
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

/// Which way to count what goes through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    FromServer,
}

/// Passes on what comes, both ways, and cuts the connection from time to time: so often, each time after
/// another stretch of bytes that went this way.
fn cut_now_and_then(to: SocketAddr, way: Way, cuts: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (nth, near) in (0..).zip(listener.incoming().map(Result::unwrap)) {
            let far = TcpStream::connect(to).unwrap();
            let (from, to) = if way == Way::ToServer { (&near, &far) } else { (&far, &near) };
            let (mut back, mut forth) = (to.try_clone().unwrap(), from.try_clone().unwrap());
            thread::spawn(move || {
                let _ = io::copy(&mut back, &mut forth);
                let _ = forth.shutdown(Shutdown::Both);
            });
            let stretch = if nth < cuts { 1_000 + nth * 7919 % 60_000 } else { u64::MAX };
            let _ = io::copy(&mut from.take(stretch), &mut &*to);
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
        }
    });
    address
}

/// A listener and a sender, one of whom is cut off now and then: what the two of them said on standard
/// error. OYEZ_CUTS and OYEZ_LINES make more of it.
fn send_through_cuts(ways: [Option<Way>; 2]) -> [String; 2] {
    let (cuts, lines) = (size("OYEZ_CUTS", 10), size("OYEZ_LINES", 50_000));
    let server = Server::start(&["--feed-size", "64M"]);
    let [near_listener, near_sender] = ways.map(|way| match way {
        Some(way) => cut_now_and_then(server.tcp(), way, cuts as u64).to_string(),
        None => server.address.to_string(),
    });
    let count = lines.to_string();
    let mut listen = oyez();
    listen.args(["-s", &near_listener, "listen", "--since", "0", "--count", &count]);
    let listen = Program::start(&mut listen);
    let input: String = (1..=lines).fold(String::new(), |input, i| input + &format!("{i}\n"));
    let mut broadcast = oyez();
    broadcast.args(["-s", &near_sender, "broadcast", "-"]);
    let (status, _, sender_said) = Program::run_with(&mut broadcast, input.as_bytes());
    assert_eq!(status, 0, "{sender_said}");
    let (status, stdout, listener_said) = listen.wait_all();
    assert_eq!(status, 0, "{listener_said}");
    assert!(stdout == input, "what came is not what was sent: {listener_said} {sender_said}");
    assert_eq!(server.stat("broadcasts"), lines as u64, "each line is there once");
    let said = [listener_said, sender_said];
    for (way, said) in ways.iter().zip(&said) {
        let lost = said.matches(" is lost: ").count();
        assert_eq!(lost, if way.is_some() { cuts } else { 0 }, "{said}");
    }
    said
}

#[test]
fn a_listener_that_is_cut_off_again_and_again_misses_nothing_and_repeats_nothing() {
    let [said, _] = send_through_cuts([Some(Way::FromServer), None]);
    assert!(!said.contains("missing here"), "{said}");
}

#[test]
fn a_sender_that_is_cut_off_again_and_again_loses_nothing_and_repeats_nothing() {
    send_through_cuts([None, Some(Way::ToServer)]);
}

#[test]
fn a_sender_whose_answers_are_cut_off_again_and_again_repeats_nothing() {
    send_through_cuts([None, Some(Way::FromServer)]);
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
    listen.stderr.expect("44 lines are missing here, 6 to 49: ");
    server.expect(&format!("resume 49 {FEED}"));
    server.send("ok resume 49\nbroadcast 50 bob fifty");
    listen.stdout.expect("fifty");
    drop(server);
    listen.stderr.expect("is lost");
    let mut server = host.welcome(FEED, 51);
    server.expect(&format!("resume 50 {FEED}"));
    server.send("error not-allowed not in this version");
    listen.stderr.expect("connected to ");
    listen.stderr.expect("1 line is missing here, 51: ");
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
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"two\nlines\n", "not a single line of text"),
        (b"\xff", "not a single line of text"),
        (&[b'x'; 2000], "longer than 1024 bytes"),
    ] {
        let said = run(text, "127.0.0.1:1");
        assert!(said.contains(&format!("secret: {error}")), "{said}");
    }
}

const THREE_AND_FOUR: &str =
    "2 lines of the input were broadcast; whether lines 3 to 4 were, is not known";

/// Four lines, of which the server answers two.
fn say_four(broadcast: &mut Program, server: &mut Client, newest: u64) {
    broadcast.feed(b"one\ntwo\nthree\nfour\n");
    for text in ["one", "two", "three", "four"] {
        server.expect(&format!("broadcast {text}"));
    }
    server.send(&format!("ok broadcast {}\nok broadcast {}", newest + 1, newest + 2));
}

/// A `broadcast -` whose connection was lost, with two of four lines unanswered.
fn half_answered(host: &Host, arguments: &[&str]) -> Program {
    let mut broadcast = host.oyez(&[arguments, &["broadcast", "-"]].concat());
    let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
    let mut server = host.let_say(7, FEED, 20);
    say_four(&mut broadcast, &mut server, 20);
    drop(server);
    broadcast.stderr.expect("is lost: ");
    broadcast
}

#[test]
fn a_sender_looks_for_what_has_arrived_and_sends_the_rest() {
    let host = Host::new();
    let mut broadcast = half_answered(&host, &[]);
    let mut server = host.let_say(9, FEED, 24);
    broadcast.stderr.expect("connected to ");
    // As long as the server has the connection that was lost, it may still carry out what came over it.
    for _ in 0..3 {
        server.expect("clients 6");
        server.send("client 7 -\nclient 9 -\nok clients 2 3");
    }
    server.expect("clients 6");
    server.send("client 9 -\nok clients 1 2");
    server.expect(&format!("resume 22 {FEED}"));
    server.expect("quiet");
    server.send("ok resume 22\nbroadcast 23 bob three\nbroadcast 24 7 three\nbroadcast 25 9 four");
    drop(server);

    // It goes on looking where it was cut off.
    let mut server = host.let_say(12, FEED, 26);
    server.expect("clients 6");
    server.send("client 12 -\nok clients 1 2");
    server.expect(&format!("resume 25 {FEED}"));
    server.expect("quiet");
    server.send("ok resume 25\nbroadcast 26 17 four\nok quiet");
    server.expect("broadcast four");
    server.send("ok broadcast 27");
    broadcast.feed(b"five\n");
    server.expect("broadcast five");
    drop(server);

    // What was said there is looked for there.
    let mut server = host.let_say(13, FEED, 28);
    server.expect("clients 11");
    server.send("ok clients 0 2");
    server.expect(&format!("resume 27 {FEED}"));
    server.expect("quiet");
    server.send("ok resume 27\nbroadcast 28 12 five\nok quiet");
    broadcast.end_input();
    let (status, _, stderr) = broadcast.wait_all();
    assert_eq!(status, 0, "{stderr}");
}

#[test]
fn where_it_cannot_be_known_what_has_arrived_it_ends_and_says_so() {
    let asked = |feed: &str, answer: &str| {
        let host = Host::new();
        let broadcast = half_answered(&host, &[]);
        if feed == FEED {
            let mut server = host.let_say(9, feed, 90);
            server.expect("clients 6");
            server.send("ok clients 0 1");
            server.expect(&format!("resume 22 {FEED}"));
            server.expect("quiet");
            server.send(answer);
        } else {
            host.welcome_as(9, feed, 90);
        }
        let (status, _, stderr) = broadcast.wait_all();
        assert_eq!(status, 1);
        assert!(stderr.ends_with(&format!("{THREE_AND_FOUR}\n")), "{stderr}");
        stderr
    };
    let gone = asked(FEED, &format!("error gone 50 {FEED} older lines are no longer kept"));
    assert!(gone.contains("what was said since cannot be looked at: gone 50 "), "{gone}");
    let left_out = asked(FEED, "ok resume 22\nlagged 10\nbroadcast 33 7 three\nok quiet");
    assert!(left_out.contains("left out some of what was said since"), "{left_out}");
    let another = asked(FEED, "ok resume 22\nbroadcast 23 7 four\nok quiet");
    assert!(another.contains("line 3 of the input is another one in the feed"), "{another}");
    let restarted = asked("00000001", "");
    assert!(restarted.contains(" was restarted; "), "{restarted}");
}

#[test]
fn a_server_that_does_not_let_go_of_what_was_lost_is_not_waited_for_for_ever() {
    let host = Host::new();
    let mut broadcast = half_answered(&host, &["--timeout", "1"]);
    let mut server = host.let_say(9, FEED, 24).writer();
    let answering = thread::spawn(move || {
        let requests = BufReader::new(server.try_clone().unwrap());
        // Its end may be a reset.
        for line in requests.lines().map_while(Result::ok) {
            assert!(line == "clients 6" || line == "ping", "{line}");
            let answer = if line == "ping" { "pong\n" } else { "client 7 -\nok clients 1 2\n" };
            let _ = server.write_all(answer.as_bytes());
        }
    });
    broadcast.stderr.wait_for("has not let go of the connection that was lost; waiting for that");
    let (status, _, stderr) = broadcast.wait_all();
    assert_eq!(status, 1);
    assert!(
        stderr.contains("has not let go of the connection that was lost, and may go on"),
        "{stderr}"
    );
    assert!(stderr.ends_with(&format!("{THREE_AND_FOUR}\n")), "{stderr}");
    answering.join().unwrap();
}

#[test]
fn a_sender_that_has_said_all_needs_no_server_for_its_end() {
    let host = Host::new();
    let mut broadcast = host.oyez(&["broadcast", "-"]);
    let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
    let mut server = host.let_say(7, FEED, 0);
    broadcast.feed(b"one\n");
    server.expect("broadcast one");
    server.send("ok broadcast 1");
    drop(server);
    drop(host);
    broadcast.stderr.expect("is lost: ");
    broadcast.end_input();
    assert_eq!(broadcast.wait_all().0, 0);
}

#[test]
fn a_sender_says_that_a_server_was_restarted_and_goes_on() {
    let host = Host::new();
    let mut broadcast = host.oyez(&["broadcast", "-"]);
    let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
    let mut server = host.let_say(7, FEED, 0);
    broadcast.feed(b"one\n");
    server.expect("broadcast one");
    server.send("ok broadcast 1");
    drop(server);
    let mut server = host.let_say(1, "00000001", 0);
    broadcast.stderr.expect("is lost: ");
    broadcast.stderr.expect("connected to ");
    broadcast.stderr.expect("it was restarted: what was said there before is lost with it");
    broadcast.feed(b"two\n");
    server.expect("broadcast two");
    server.send("ok broadcast 1");
    broadcast.end_input();
    assert_eq!(broadcast.wait_all().0, 0);
}

#[test]
fn a_refused_line_is_left_out_or_the_last_one() {
    for (arguments, status) in [(&["--skip-bad"][..], 0), (&[][..], 1)] {
        let host = Host::new();
        let mut broadcast = host.oyez(&[&["broadcast", "-"], arguments].concat());
        let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
        let mut server = host.let_say(7, FEED, 20);
        say_four(&mut broadcast, &mut server, 20);
        server.send("error line-too-long a line has at most 3 bytes\nok broadcast 23");
        broadcast.end_input();
        let (code, _, stderr) = broadcast.wait_all();
        assert_eq!(code, status, "{stderr}");
        let refused = "line 3 of the input was refused: line-too-long a line has at most 3 bytes";
        assert!(stderr.contains(refused), "{stderr}");
        let known = "; 3 lines of the input were broadcast, and no other\n";
        assert_eq!(stderr.ends_with(known), status == 1, "{stderr}");
    }
}

/// With a secret, that it took too long is no reason to give up.
#[test]
fn who_knows_the_secret_and_is_late_tries_again() {
    let host = Host::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "sesame\n").unwrap();
    let mut listen = host.oyez(&["--secret-file", file.to_str().unwrap(), "listen"]);
    let mut listen = Program::start(&mut listen);
    for _ in 0..2 {
        let mut server = host.welcome(FEED, 0);
        server.expect("auth sesame");
        server.send("goodbye auth-timeout");
        listen.stderr.wait_for("is lost: the server ended the connection: auth-timeout");
    }
}

#[test]
fn behind_a_goodbye_the_rest_is_sent_whatever_feed_there_is() {
    let host = Host::new();
    let mut broadcast = host.oyez(&["broadcast", "-"]);
    let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
    let mut server = host.let_say(7, FEED, 20);
    say_four(&mut broadcast, &mut server, 20);
    server.send("goodbye shutdown");
    let mut server = host.let_say(1, "00000001", 0);
    broadcast.stderr.expect("is lost: the server was shut down; trying again");
    server.expect("broadcast three");
    server.expect("broadcast four");
    server.send("ok broadcast 1\nok broadcast 2");
    broadcast.end_input();
    assert_eq!(broadcast.wait_all().0, 0);
}

#[test]
fn what_became_of_the_input_is_said_when_the_connection_breaks() {
    let host = Host::new();
    for arguments in
        [&["broadcast", "-", "--no-reconnect"][..], &["--name", "al", "broadcast", "-"]]
    {
        let mut broadcast = host.oyez(arguments);
        let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
        let mut server = host.welcome(FEED, 0);
        if arguments[0] == "--name" {
            server.expect("name al");
            server.send("ok name al");
        }
        server.expect("quiet");
        server.expect("stats");
        server.send("ok quiet\nok stats");
        say_four(&mut broadcast, &mut server, 0);
        server.end();
        let (status, _, stderr) = broadcast.wait_all();
        assert_eq!(status, 1);
        assert!(stderr.contains(THREE_AND_FOUR), "{stderr}");
    }

    // What was not answered before a goodbye was never executed.
    let mut broadcast = host.oyez(&["broadcast", "-", "--no-reconnect"]);
    let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
    let mut server = host.let_say(1, FEED, 0);
    broadcast.feed(b"one\ntwo\n");
    server.expect("broadcast one");
    server.expect("broadcast two");
    server.send("ok broadcast 1\ngoodbye shutdown");
    let (status, _, stderr) = broadcast.wait_all();
    assert_eq!(status, 1);
    let known = "the server was shut down; 1 line of the input was broadcast, and no other";
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
    server.try_send_bytes("stat a 1\n".repeat(20_000).as_bytes());
    let (status, _, stderr) = stats.wait_all();
    assert_eq!((status, stderr.as_str()), (1, "oyez: the server's answer has no end\n"));

    // Nor can it while lines are looked for that have arrived, whatever its answers are made of.
    for (said, endless) in [
        ("", "stat a 1\n"),
        ("", "news from tomorrow\n"),
        ("ok quiet\nok stats\n", "client 7 -\n"),
        ("ok quiet\nok stats\nok clients 0 1\n", "direct 7 x\n"),
    ] {
        let host = Host::new();
        let broadcast = half_answered(&host, &[]);
        let mut server = host.welcome_as(9, FEED, 24);
        server.try_send_bytes(format!("{said}{}", endless.repeat(20_000)).as_bytes());
        let (status, _, stderr) = broadcast.wait_all();
        let what = format!("oyez: the server's answer has no end; {THREE_AND_FOUR}\n");
        assert!(status == 1 && stderr.ends_with(&what), "{said:?} {endless:?}: {stderr}");
    }

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
        while server.try_send_bytes(b"x") {
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
            server.try_send_bytes(&opening);
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
