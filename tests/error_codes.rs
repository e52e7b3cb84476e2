//! How each command of `oyez` handles each error code, as the reply to each of its requests.
//!
//! A fake server replies as usual up to one request, to which it replies with the error.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Stdio;
use std::thread;

use oyez::protocol::ErrorCode;
use support::fake_server::{FEED, FakeServer};
use support::{Client, Program};

/// The line itself is bad: sending it again is useless.
const LINE: [&str; 5] =
    ["unknown-command", "missing-argument", "bad-argument", "line-too-long", "not-text"];
/// The client may not do this.
const RIGHTS: [&str; 3] = ["auth-required", "auth-failed", "not-allowed"];
/// The request names something that does not exist, or is taken.
const TARGET: [&str; 2] = ["no-such-client", "name-taken"];
/// The same request may succeed later.
const LATER: [&str; 2] = ["busy", "server-full"];
/// The request may succeed for another position in the feed.
const GONE: [&str; 1] = ["gone"];
/// The connection was cut, and no request caused it.
const CUT: [&str; 1] = ["incomplete-line"];
/// A code of a later version, which may mean anything.
const UNKNOWN: [&str; 1] = ["later-code"];

/// Returns why the server refused something with this code and the words of [`refuse`].
fn reason(code: &str) -> &'static str {
    match code {
        "unknown-command" => "it does not know this command; it may be an older version",
        "missing-argument" | "bad-argument" => "the command is invalid: some words",
        "line-too-long" => "the line is too long: some words",
        "not-text" => "the line is not text: some words",
        "auth-required" => "it requires a secret; use --secret-file FILE",
        "auth-failed" => "the secret is wrong",
        "no-such-client" => "no client has this id or name",
        "name-taken" => "another client has this name",
        "gone" => "it no longer has these lines",
        "server-full" => "it is full",
        _ => "some words",
    }
}

/// Returns the sentence for an error with this code, whatever was refused.
fn sentence(code: &str) -> String {
    match code {
        "auth-required" => "this server requires a secret; use --secret-file FILE".to_owned(),
        "server-full" => "the server is full".to_owned(),
        "incomplete-line" => CUT_OFF.to_owned(),
        code => format!("the server refused: {}", reason(code)),
    }
}

/// Runs a test for every code, with its expected outcome. The tests run in parallel, because most
/// of them wait for a client to reconnect.
fn for_each_code<T: Copy + Send>(
    groups: &[(&[&'static str], T)],
    test: impl Fn(&'static str, T) + Sync,
) {
    let codes: Vec<_> = groups
        .iter()
        .flat_map(|(codes, outcome)| codes.iter().map(|code| (*code, *outcome)))
        .collect();
    let mut tested: Vec<&str> = codes.iter().map(|(code, _)| *code).collect();
    let mut known: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    known.push(UNKNOWN[0]);
    tested.sort_unstable();
    known.sort_unstable();
    assert_eq!(tested, known, "every code is tested");
    thread::scope(|scope| {
        for (code, outcome) in codes {
            let test = &test;
            scope.spawn(move || test(code, outcome));
        }
    });
}

/// Sends an error. If it says that the connection was cut, ends the output, as a server would.
fn refuse(server: &mut Client, code: &str) {
    server.send(&format!("error {code} some words"));
    if code == CUT[0] {
        server.shutdown_write();
    }
}

/// Waits until a program fails with status 1 and an error that contains these texts.
#[track_caller]
fn fails(program: Program, texts: &[&str]) {
    let (status, _, stderr) = program.wait_all();
    assert_eq!(status, 1, "{stderr}");
    assert!(texts.iter().all(|text| stderr.contains(text)), "{texts:?}: {stderr}");
}

/// Waits until a program succeeds.
#[track_caller]
fn succeeds(program: Program) -> String {
    let (status, stdout, stderr) = program.wait_all();
    assert_eq!(status, 0, "{stderr}");
    assert!(!stderr.contains("skipped"), "{stderr}");
    stdout
}

const CUT_OFF: &str = "the connection was cut in the middle of a line";

/// Commands with a single exchange report every error.
#[test]
fn command_with_a_single_exchange_fails_with_the_error() {
    for_each_code(
        &[
            (&LINE, false),
            (&RIGHTS, false),
            (&TARGET, false),
            (&LATER, false),
            (&GONE, false),
            (&UNKNOWN, false),
            (&CUT, true),
        ],
        |code, is_cut| {
            for (arguments, requests) in [
                (&["broadcast", "hi"][..], &["quiet", "broadcast hi"][..]),
                (&["send", "bob", "hi"], &["send bob hi"]),
                (&["clients"], &["clients"]),
                (&["ping"], &["ping"]),
                (&["stats"], &["stats"]),
                (&["shutdown"], &["shutdown"]),
            ] {
                for refused in 0..requests.len() {
                    let fake = FakeServer::new();
                    let oyez = fake.start(arguments);
                    let mut server = fake.welcome(FEED, 0);
                    for request in &requests[..refused] {
                        server.expect(request);
                        server.send(&format!("ok {request}"));
                    }
                    server.expect(requests[refused]);
                    refuse(&mut server, code);
                    let may_be_delivered = requests[refused].ends_with("hi") && is_cut;
                    let expected = match (code, requests[refused]) {
                        ("no-such-client", "send bob hi") => {
                            "nobody called bob is here; oyez clients shows who is".to_owned()
                        }
                        ("busy", "send bob hi") => {
                            "the line to bob was not delivered: some words".to_owned()
                        }
                        ("not-allowed", "shutdown") => {
                            "the server refused to shut down: some words".to_owned()
                        }
                        _ => sentence(code),
                    };
                    match (is_cut, may_be_delivered) {
                        (false, _) => fails(oyez, &[&format!("oyez: {expected}\n")]),
                        (true, false) => fails(oyez, &[&format!("{CUT_OFF}\n")]),
                        (true, true) => {
                            fails(oyez, &[CUT_OFF, "; the line may have been delivered"]);
                        }
                    }
                }
            }
        },
    );
}

/// How a client that keeps its connection reacts to an error.
#[derive(Clone, Copy)]
enum Outcome {
    /// It fails, with an error that contains this text.
    Fails(&'static str),
    /// It reconnects, and repeats the request.
    AsksAgain,
    /// It continues over the same connection.
    GoesOn,
}
use Outcome::{AsksAgain, Fails, GoesOn};

#[test]
fn secret_that_cannot_be_checked_now_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "sesame\n").unwrap();
    let file = file.to_str().unwrap();
    let rejected = Fails("rejected the secret in ");
    for_each_code(
        &[
            (&LINE, rejected),
            (&RIGHTS, rejected),
            (&TARGET, rejected),
            (&GONE, rejected),
            (&UNKNOWN, rejected),
            (&LATER, AsksAgain),
            (&CUT, AsksAgain),
        ],
        |code, outcome| {
            let fake = FakeServer::new();
            let mut listen = fake.start(&["--secret-file", file, "listen", "--count", "1"]);
            let mut server = fake.welcome(FEED, 0);
            server.expect("auth sesame");
            refuse(&mut server, code);
            match outcome {
                Fails(error) => {
                    let advice = match code {
                        "auth-failed" => "ask the operator for the right one",
                        "not-allowed" => "some words; leave out --secret-file",
                        code => reason(code),
                    };
                    fails(listen, &[error, file, advice]);
                }
                _ => {
                    listen.stderr.expect(" lost: ");
                    let mut server = fake.welcome(FEED, 0);
                    server.expect("auth sesame");
                    server.send("ok auth user");
                    server.expect(&format!("resume 0 {FEED}"));
                    server.send("ok resume 0\nbroadcast 1 bob hi");
                    assert_eq!(succeeds(listen), "hi\n");
                }
            }
            // A command that does not reconnect fails on every error.
            for command in ["ping", "raw"] {
                let fake = FakeServer::new();
                let oyez = fake.start(&["--secret-file", file, command]);
                let mut server = fake.welcome(FEED, 0);
                server.expect("auth sesame");
                refuse(&mut server, code);
                match outcome {
                    Fails(error) => fails(oyez, &[error, file]),
                    _ => fails(oyez, &[&sentence(code)]),
                }
            }
        },
    );
}

#[test]
fn name_that_cannot_be_given_now_is_requested_again() {
    let refused = Fails("the server refused the name al: ");
    for_each_code(
        &[
            (&LINE, refused),
            (&RIGHTS, refused),
            (&["no-such-client"], refused),
            (&["name-taken"], Fails("somebody is already called al; choose another name")),
            (&GONE, refused),
            (&UNKNOWN, refused),
            (&LATER, AsksAgain),
            (&CUT, AsksAgain),
        ],
        |code, outcome| {
            let fake = FakeServer::new();
            let mut listen = fake.start(&["--name", "al", "listen", "--count", "1"]);
            let mut server = fake.welcome(FEED, 0);
            server.expect("name al");
            refuse(&mut server, code);
            match outcome {
                Fails(error) => fails(listen, &[error]),
                _ => {
                    listen.stderr.expect(" lost: ");
                    let mut server = fake.welcome(FEED, 0);
                    server.expect("name al");
                    // The lost connection may still have the name.
                    server.send("error name-taken choose another name");
                    server.expect(&format!("resume 0 {FEED}"));
                    server.send("ok resume 0\nbroadcast 1 bob hi");
                    assert_eq!(succeeds(listen), "hi\n");
                }
            }
            let fake = FakeServer::new();
            let ping = fake.start(&["--name", "al", "ping"]);
            let mut server = fake.welcome(FEED, 0);
            server.expect("name al");
            refuse(&mut server, code);
            match (code, outcome) {
                ("name-taken", _) => fails(ping, &["somebody is already called al"]),
                (_, Fails(error)) => fails(ping, &[error, reason(code)]),
                _ => fails(ping, &[&sentence(code)]),
            }
        },
    );
}

#[test]
fn listener_that_cannot_start_now_asks_again() {
    let position = format!("{FEED}-3");
    let of_feed = format!("resume 3 {FEED}");
    check_start("3", "resume 3", Fails("cannot start after line 3: the server refused: it no"));
    // A listener that continues reports the missing lines.
    check_start(&position, &of_feed, GoesOn);
}

/// Checks a listener that starts after this line with this request, and what it does if lines that
/// follow are gone.
fn check_start(since: &str, resume: &str, gone: Outcome) {
    let cannot = Fails("cannot start after ");
    for_each_code(
        &[
            (&LINE, cannot),
            (&["auth-required"], Fails("requires a secret; use --secret-file FILE")),
            (&["auth-failed", "not-allowed"], cannot),
            (&TARGET, cannot),
            (&GONE, gone),
            (&UNKNOWN, cannot),
            (&LATER, AsksAgain),
            (&CUT, AsksAgain),
        ],
        |code, outcome| {
            let fake = FakeServer::new();
            let mut listen = fake.start(&["listen", "--since", since, "--count", "1"]);
            let mut server = fake.welcome(FEED, 5);
            server.expect(resume);
            refuse(&mut server, code);
            match outcome {
                Fails(error) => fails(listen, &[error]),
                GoesOn => {
                    listen.stderr.expect("lines 4 to 5 are missing here");
                    server.send("broadcast 6 bob six");
                    assert_eq!(succeeds(listen), "six\n");
                }
                AsksAgain => {
                    listen.stderr.expect(" lost: ");
                    let mut server = fake.welcome(FEED, 5);
                    server.expect(resume);
                    server.send("ok resume 3\nbroadcast 4 bob four");
                    assert_eq!(succeeds(listen), "four\n");
                }
            }
        },
    );
}

#[test]
fn reconnected_listener_reports_what_it_cannot_get_and_goes_on() {
    for_each_code(
        &[
            (&LINE, GoesOn),
            (&["auth-required"], Fails("requires a secret; use --secret-file FILE")),
            (&["auth-failed", "not-allowed"], GoesOn),
            (&TARGET, GoesOn),
            (&GONE, GoesOn),
            (&UNKNOWN, GoesOn),
            (&LATER, AsksAgain),
            (&CUT, AsksAgain),
        ],
        |code, outcome| {
            let fake = FakeServer::new();
            let mut listen = fake.start(&["listen", "--count", "1"]);
            drop(fake.welcome(FEED, 5));
            let mut server = fake.welcome(FEED, 7);
            let resume = format!("resume 5 {FEED}");
            server.expect(&resume);
            refuse(&mut server, code);
            listen.stderr.expect(" lost: ");
            listen.stderr.expect("reconnected to ");
            match outcome {
                Fails(error) => fails(listen, &[error]),
                AsksAgain => {
                    listen.stderr.expect(" lost: ");
                    let mut server = fake.welcome(FEED, 7);
                    server.expect(&resume);
                    server.send("ok resume 5\nbroadcast 6 bob six");
                    assert_eq!(succeeds(listen), "six\n");
                }
                GoesOn => {
                    listen.stderr.expect("lines 6 to 7 are missing here");
                    server.send("broadcast 8 bob eight");
                    assert_eq!(succeeds(listen), "eight\n");
                }
            }
        },
    );
}

/// The requests of a `broadcast -` before it sends lines.
#[test]
fn sender_that_cannot_start_now_asks_again() {
    for_each_code(
        &[
            (&LINE, false),
            (&RIGHTS, false),
            (&TARGET, false),
            (&UNKNOWN, false),
            (&GONE, true),
            (&LATER, true),
            (&CUT, true),
        ],
        |code, is_asked_again| {
            for refused in 0..2 {
                let fake = FakeServer::new();
                let mut broadcast = fake.start_broadcast(&["--skip-bad"]);
                broadcast.write_input(b"one\n");
                broadcast.close_input();
                let mut server = fake.welcome(FEED, 0);
                server.expect("quiet");
                server.expect("stats");
                if refused == 1 {
                    server.send("ok quiet");
                }
                refuse(&mut server, code);
                if is_asked_again {
                    broadcast.stderr.expect(" lost: ");
                    confirm_all(&fake, 2, &["one"]);
                    succeeds(broadcast);
                } else {
                    fails(broadcast, &[&format!("oyez: {}\n", sentence(code))]);
                }
            }
        },
    );
}

/// Plays the server for a `broadcast -` that sends these lines without searching the feed first.
#[track_caller]
fn confirm_all(fake: &FakeServer, id: u64, lines: &[&str]) {
    let mut server = fake.welcome_sender(id, FEED, 10);
    for (seq, line) in (11..).zip(lines) {
        server.expect(&format!("broadcast {line}"));
        server.send(&format!("ok broadcast {seq}"));
    }
}

/// Starts a `broadcast -` of three lines over a connection with id 7. The server has received all
/// of them and confirmed the first.
fn start_one_of_three_confirmed(fake: &FakeServer, options: &[&str]) -> (Program, Client) {
    let mut command = fake.oyez(&[options, &["broadcast", "-"]].concat());
    let mut broadcast = Program::start(command.stdin(Stdio::piped()));
    let mut server = fake.welcome_sender(7, FEED, 10);
    broadcast.write_input(b"one\ntwo\nthree\n");
    broadcast.close_input();
    for line in ["one", "two", "three"] {
        server.expect(&format!("broadcast {line}"));
    }
    server.send("ok broadcast 11");
    (broadcast, server)
}

/// Plays the server for a reconnected sender that finds neither line 2 nor line 3 in the feed, and
/// sends both again.
#[track_caller]
fn confirm_rest(fake: &FakeServer) {
    let mut server = fake.welcome_sender(9, FEED, 11);
    server.expect("clients 6");
    server.send("client 9 -\nok clients 1 1");
    server.expect(&format!("resume 11 {FEED}"));
    server.expect("quiet");
    server.send("ok resume 11\nok quiet");
    for (seq, line) in [(12, "two"), (13, "three")] {
        server.expect(&format!("broadcast {line}"));
        server.send(&format!("ok broadcast {seq}"));
    }
}

#[test]
fn only_a_bad_line_is_skipped() {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Outcome {
        Skips,
        Stops,
        AsksAgain,
    }
    for_each_code(
        &[
            (&LINE, Outcome::Skips),
            (&RIGHTS, Outcome::Stops),
            (&TARGET, Outcome::Stops),
            (&UNKNOWN, Outcome::Stops),
            (&GONE, Outcome::AsksAgain),
            (&LATER, Outcome::AsksAgain),
            (&CUT, Outcome::AsksAgain),
        ],
        |code, outcome| {
            for options in [&["--skip-bad"][..], &[]] {
                let fake = FakeServer::new();
                let (mut broadcast, mut server) = start_one_of_three_confirmed(&fake, options);
                refuse(&mut server, code);
                let refused = format!("the server refused input line 2: {}", reason(code));
                match outcome {
                    Outcome::AsksAgain => {
                        broadcast.stderr.expect(" lost: ");
                        drop(server);
                        confirm_rest(&fake);
                        succeeds(broadcast);
                    }
                    Outcome::Skips if !options.is_empty() => {
                        server.send("ok broadcast 12");
                        let (status, _, stderr) = broadcast.wait_all();
                        assert_eq!((status, stderr), (0, format!("oyez: skipped: {refused}\n")));
                    }
                    Outcome::Skips | Outcome::Stops => {
                        server.send(&format!("error {code} some words"));
                        fails(broadcast, &[&refused, "; line 1 was broadcast; nothing after it"]);
                    }
                }
            }
        },
    );
}

/// Without reconnecting, the sender cannot know whether lines without a reply were broadcast.
#[test]
fn sender_that_does_not_reconnect_says_what_is_unknown() {
    for code in [LATER, ["gone", "incomplete-line"]].concat() {
        let fake = FakeServer::new();
        let (broadcast, mut server) = start_one_of_three_confirmed(&fake, &["--no-reconnect"]);
        refuse(&mut server, code);
        fails(broadcast, &["line 1 was broadcast; lines 2 to 3 may have been"]);
    }
}

/// Later lines that were executed although an earlier one was not are in the wrong order, which
/// cannot be repaired.
#[test]
fn sender_fails_when_a_later_line_was_executed_first() {
    let fake = FakeServer::new();
    let (mut broadcast, mut server) = start_one_of_three_confirmed(&fake, &[]);
    server.send("error busy try later\nok broadcast 12");
    broadcast.stderr.expect(" lost: the server refused input line 2: try later");
    let mut server = fake.welcome_sender(9, FEED, 12);
    server.expect("clients 6");
    server.send("client 9 -\nok clients 1 1");
    server.expect(&format!("resume 11 {FEED}"));
    server.expect("quiet");
    server.send("ok resume 11\nbroadcast 12 7 three\nok quiet");
    let unknown = "line 1 was broadcast; lines 2 to 3 may have been";
    fails(broadcast, &["input line 2 has a different text in the feed", unknown]);
}

/// The requests with which a reconnected sender finds out which lines arrived.
#[test]
fn search_that_is_not_possible_now_is_repeated() {
    const UNKNOWN_LINES: &str = "; line 1 was broadcast; lines 2 to 3 may have been";
    let cannot_tell = "cannot find out which lines were broadcast: ";
    for_each_code(
        &[
            (&LINE, [Fails(""), Fails(cannot_tell), Fails("")]),
            (&RIGHTS, [Fails(""), Fails(cannot_tell), Fails("")]),
            (&TARGET, [Fails(""), Fails(cannot_tell), Fails("")]),
            (&UNKNOWN, [Fails(""), Fails(cannot_tell), Fails("")]),
            (&GONE, [AsksAgain, Fails(cannot_tell), AsksAgain]),
            (&LATER, [AsksAgain; 3]),
            (&CUT, [AsksAgain; 3]),
        ],
        |code, [clients, resume, quiet]| {
            for (refused, outcome) in [clients, resume, quiet].into_iter().enumerate() {
                let fake = FakeServer::new();
                let (mut broadcast, server) = start_one_of_three_confirmed(&fake, &["--skip-bad"]);
                drop(server);
                broadcast.stderr.expect(" lost: ");
                let mut server = fake.welcome_sender(8, FEED, 11);
                broadcast.stderr.expect("reconnected to ");
                server.expect("clients 6");
                if refused > 0 {
                    server.send("client 8 -\nok clients 1 1");
                    server.expect(&format!("resume 11 {FEED}"));
                    server.expect("quiet");
                }
                if refused > 1 {
                    server.send("ok resume 11");
                }
                refuse(&mut server, code);
                match outcome {
                    Fails(error) => {
                        fails(broadcast, &[error, &sentence(code), UNKNOWN_LINES]);
                    }
                    _ => {
                        broadcast.stderr.expect(" lost: ");
                        drop(server);
                        confirm_rest(&fake);
                        succeeds(broadcast);
                    }
                }
            }
        },
    );
}

/// A keep-alive is answered by any reply except one that says that the connection was cut.
#[test]
fn refused_keep_alive_is_a_sign_of_life() {
    for_each_code(
        &[
            (&LINE, false),
            (&RIGHTS, false),
            (&TARGET, false),
            (&LATER, false),
            (&GONE, false),
            (&UNKNOWN, false),
            (&CUT, true),
        ],
        |code, is_cut| {
            let fake = FakeServer::new();
            let mut listen = fake.start(&["--timeout", "1", "listen", "--count", "1"]);
            let mut server = fake.welcome(FEED, 0);
            server.expect("ping");
            refuse(&mut server, code);
            if is_cut {
                listen.stderr.expect(" lost: ");
                server = fake.welcome(FEED, 0);
                server.expect(&format!("resume 0 {FEED}"));
                server.send("ok resume 0");
            }
            server.send("broadcast 1 bob hi");
            assert_eq!(succeeds(listen), "hi\n");
        },
    );
}

/// Instead of a welcome, a server may refuse the connection.
#[test]
fn refused_connection_is_tried_again_later() {
    for_each_code(
        &[
            (&LINE, Fails("is not an oyez server: it sent ")),
            (&RIGHTS, Fails("is not an oyez server: it sent ")),
            (&TARGET, Fails("is not an oyez server: it sent ")),
            (&UNKNOWN, Fails("is not an oyez server: it sent ")),
            (&["server-full"], Fails("the server is full; try again later")),
            (&["busy"], Fails("the server refused: some words; try again later")),
            (&GONE, Fails("refused: it no longer has these lines; try again later")),
            (&CUT, Fails(CUT_OFF)),
        ],
        |code, outcome| {
            let Fails(error) = outcome else { return };
            let fake = FakeServer::new();
            let ping = fake.start(&["ping"]);
            refuse(&mut fake.accept(), code);
            fails(ping, &[error]);

            let mut listen = fake.start(&["listen", "--count", "1"]);
            drop(fake.welcome(FEED, 0));
            listen.stderr.expect(" lost: ");
            refuse(&mut fake.accept(), code);
            let mut server = fake.welcome(FEED, 0);
            server.expect(&format!("resume 0 {FEED}"));
            server.send("ok resume 0\nbroadcast 1 bob hi");
            assert_eq!(succeeds(listen), "hi\n");
        },
    );
}

/// `raw` prints every error, and does not act on it.
#[test]
fn raw_prints_the_error() {
    for_each_code(
        &[
            (&LINE, false),
            (&RIGHTS, false),
            (&TARGET, false),
            (&LATER, false),
            (&GONE, false),
            (&UNKNOWN, false),
            (&CUT, true),
        ],
        |code, is_cut| {
            let fake = FakeServer::new();
            let mut raw = Program::start(fake.oyez(&["raw"]).stdin(Stdio::piped()));
            let mut server = fake.welcome(FEED, 0);
            raw.write_input(b"clients\n");
            raw.close_input();
            server.expect("clients");
            refuse(&mut server, code);
            if !is_cut {
                // Once everything is answered, `raw` half-closes the connection.
                server.expect_end();
                server.shutdown_write();
            }
            let (status, stdout, stderr) = raw.wait_all();
            assert!(stdout.ends_with(&format!("\nerror {code} some words\n")), "{stdout}");
            assert_eq!(status, i32::from(is_cut), "{code}: {stderr}");
            let lost = format!("{CUT_OFF}; 1 request was not answered\n");
            assert_eq!(stderr.ends_with(&lost), is_cut, "{stderr}");
        },
    );
}

#[cfg(feature = "chat")]
#[test]
fn chat_shows_the_error_and_goes_on() {
    for_each_code(
        &[
            (&LINE, false),
            (&RIGHTS, false),
            (&TARGET, false),
            (&LATER, false),
            (&GONE, false),
            (&UNKNOWN, false),
            (&CUT, true),
        ],
        |code, is_cut| {
            let fake = FakeServer::new();
            let mut command = fake.oyez(&["chat"]);
            let mut chat =
                support::terminal::Terminal::start(command.env("NO_COLOR", "1"), 24, 100);
            let mut server = fake.welcome(FEED, 0);
            server.expect(&format!("resume 0 {FEED}"));
            server.send("ok resume 0");
            server.expect("clients");
            server.send("client 1 -\nok clients 1 1");
            chat.expect(&["- 1 here: client 1 (you)", "1>"]);
            chat.press("hi\r");
            server.expect("broadcast hi");
            refuse(&mut server, code);
            if is_cut {
                chat.wait_until(|chat| chat.rows().concat().contains(CUT_OFF));
                let undelivered = "! your last lines may not have been delivered";
                chat.wait_until(|chat| chat.rows().concat().contains(undelivered));
                server = fake.welcome(FEED, 0);
                server.expect(&format!("resume 0 {FEED}"));
                server.send("ok resume 0");
                chat.wait_until(|chat| chat.rows().concat().contains("reconnected to "));
                assert!(!chat.rows().concat().contains(code));
            } else {
                let shown = format!("! {}", sentence(code));
                chat.wait_until(|chat| chat.rows().concat().contains(&shown));
            }
            server.send("broadcast 1 bob still here");
            chat.expect(&["bob: still here", "1>"]);
        },
    );
}
