//! The errors that both programs print: each says what happened, to what, and what to do.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use support::fake_server::{FEED, FakeServer};
use support::{Program, Server, fails, oyez, oyezd, succeeds};

/// Runs a program that must fail with this status and exactly this error.
#[track_caller]
fn prints(command: &mut Command, status: i32, error: &str) {
    let (actual, stdout, stderr) = Program::run(command);
    assert_eq!((actual, stdout.as_str(), stderr.as_str()), (status, "", &*format!("{error}\n")));
}

#[test]
fn mistyped_commands_and_options_get_a_suggestion() {
    for (arguments, error) in [
        (&["brodcast", "hi"][..], "unknown command \"brodcast\" (did you mean broadcast?)"),
        (&["lsiten", "--count", "1"], "unknown command \"lsiten\" (did you mean listen?)"),
        (&["LISTEN"], "unknown command \"LISTEN\" (did you mean listen?)"),
        (&["dance"], "unknown command \"dance\""),
        (&["--secretfile", "x"], "unknown option --secretfile (did you mean --secret-file?)"),
        (
            &["--tls-fingerprnt=x"],
            "unknown option --tls-fingerprnt (did you mean --tls-fingerprint?)",
        ),
        (&["listen", "--cuont", "1"], "unknown option --cuont (did you mean --count?)"),
        (&["ping", "--tls=1"], "--tls takes no value"),
        (
            &["broadcast", "--foo"],
            "unknown option --foo (to send it as text: oyez broadcast -- --foo)",
        ),
        (
            &["send", "bob", "-1 C"],
            "unknown option '-1 C' (to send it as text: oyez send bob -- '-1 C')",
        ),
        (&["stats", "--foo"], "unknown option --foo"),
        (&["stats", "--count", "1"], "--count is only for listen"),
        (&["ping", "--skip-bad"], "--skip-bad is only for broadcast -"),
        (&["clients", "--no-reconnect"], "--no-reconnect is only for chat, listen and broadcast -"),
        (&["clients", "now"], "unexpected argument \"now\"; clients takes no arguments"),
    ] {
        prints(oyez().args(arguments), 2, &format!("oyez: {error}; see oyez --help"));
    }
    for (arguments, error) in [
        (&["--lisen", "x"][..], "unknown option --lisen (did you mean --listen?)"),
        (&["--max-cilents=1"], "unknown option --max-cilents (did you mean --max-clients?)"),
        (&["--frobnicate"], "unknown option --frobnicate"),
        (&["start"], "unexpected argument \"start\"; oyezd has options only"),
        (
            &["[::1]:5050"],
            "unexpected argument \"[::1]:5050\"; to listen there, use --listen [::1]:5050",
        ),
    ] {
        prints(oyezd().args(arguments), 2, &format!("oyezd: {error}; see oyezd --help"));
    }
    // The advice works.
    let server = Server::start(&[]);
    let address = server.address.to_string();
    succeeds(oyez().args(["-s", &address, "broadcast", "--", "--foo"]));
    fails(oyez().args(["-s", &address, "broadcast", "--foo"]), 2, "-- --foo)");
}

#[test]
fn refusals_name_what_was_refused() {
    let server = Server::start(&["--max-line", "1000"]);
    let address = server.address.to_string();
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    let run = |arguments: &[&str], error: &str| {
        prints(oyez().args(["-s", &address]).args(arguments), 1, &format!("oyez: {error}"));
    };
    run(
        &["listen", "--since", "99999"],
        "there is no line 99999 yet, because nothing has been broadcast",
    );
    (1..=13).for_each(|seq| bob.ask(&format!("say {seq}"), &format!("broadcast {seq} bob {seq}")));
    run(&["listen", "--since", "99999"], "there is no line 99999 yet; the newest is 13");
    run(&["send", "zed", "hi"], "nobody called zed is here; oyez clients shows who is");
    run(&["send", "99", "hi"], "nobody with the id 99 is here; oyez clients shows who is");
    run(&["--name", "bob", "ping"], "somebody is already called bob; choose another name");
    let long = "x".repeat(2000);
    run(&["broadcast", &long], "the server refused: the line is too long: at most 1000 bytes");
    fails(
        oyez().args(["-s", &address, "send", "a b", "hi"]),
        2,
        "\"a b\" is not a client's id or name; see oyez clients",
    );
}

#[test]
fn error_about_dropped_lines_names_the_oldest_line_left() {
    let fake = FakeServer::new();
    let listen = fake.start(&["listen", "--since", "3"]);
    let mut server = fake.welcome(FEED, 20);
    server.expect("resume 3");
    server.send(&format!("error gone 8 {FEED} older lines were dropped"));
    let (status, _, stderr) = listen.wait_all();
    let error = "oyez: the server no longer has the lines after 3; to start with the \
                 oldest that it has, use --since 7\n";
    assert_eq!((status, stderr.as_str()), (1, error));
}

#[test]
fn error_of_a_later_version_is_escaped() {
    let fake = FakeServer::new();
    let ping = fake.start(&["ping"]);
    let mut server = fake.welcome(FEED, 0);
    server.expect("ping");
    server.send("error later-code \u{202e}gnp.exe");
    let (status, _, stderr) = ping.wait_all();
    assert_eq!((status, stderr.as_str()), (1, "oyez: the server refused: \\u{202e}gnp.exe\n"));
}

/// With the server's default time limit, waiting for it would take 30 seconds.
#[test]
fn long_running_command_without_the_secret_fails_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, secret: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("{secret}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (secret, wrong) = (file("secret", "sesame"), file("wrong", "barley"));
    let server = Server::start(&["--secret-file", &secret, "--auth-timeout", "86400"]);
    let address = server.address.to_string();
    let requires = format!("oyez: {address} requires a secret; use --secret-file FILE");
    for arguments in [
        &["listen"][..],
        &["listen", "--since", "0", "--no-reconnect"],
        &["broadcast", "-"],
        &["--name", "al", "broadcast", "--file", &secret],
    ] {
        prints(oyez().args(["-s", &address]).args(arguments), 1, &requires);
    }
    // The server answers other commands at once.
    let requires_secret = "oyez: this server requires a secret; use --secret-file FILE";
    for arguments in [&["broadcast", "hi"][..], &["send", "1", "hi"], &["clients"], &["stats"]] {
        prints(oyez().args(["-s", &address]).args(arguments), 1, requires_secret);
    }
    assert!(succeeds(oyez().args(["-s", &address, "ping"])).starts_with("pong: "));
    let rejected = format!("{address} rejected the secret in {wrong}; ask the operator for the");
    fails(oyez().args(["-s", &address, "--secret-file", &wrong, "clients"]), 1, &rejected);
    succeeds(oyez().args(["-s", &address, "--secret-file", &secret, "broadcast", "hi"]));
}

/// Later versions give no id before a client has authenticated.
#[test]
fn welcome_without_an_id_asks_for_the_secret() {
    for welcome in [
        format!("welcome 0 {FEED} 0 oyezd/9"),
        format!("welcome 7 {FEED} 0 oyezd/9 auth <secret> first"),
    ] {
        let fake = FakeServer::new();
        let listen = fake.start(&["listen"]);
        let mut server = fake.accept();
        server.send(&welcome);
        let (status, _, stderr) = listen.wait_all();
        let expected = format!("{} requires a secret; use --secret-file FILE\n", fake.address());
        assert_eq!((status, stderr), (1, format!("oyez: {expected}")), "{welcome}");
    }
}

#[cfg(feature = "chat")]
#[test]
fn chat_starts_when_the_server_has_accepted_the_secret() {
    use std::time::Duration;

    use support::terminal::Terminal;

    /// The program has exited, so its output arrives without delay.
    const QUIET: Duration = Duration::from_millis(100);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "sesame\n").unwrap();
    let file = file.to_str().unwrap();

    let fake = FakeServer::new();
    let mut chat = Terminal::start(&mut fake.oyez(&["chat"]), 24, 100);
    fake.accept().send(&format!("welcome 7 {FEED} 0 oyezd/9 auth <secret> first"));
    chat.program.stderr.expect(" requires a secret; use --secret-file FILE");
    chat.program.wait();
    assert_eq!(chat.read_until_quiet_for(QUIET), "");

    // Until the server answers, nothing is shown.
    let mut chat = Terminal::start(&mut fake.oyez(&["chat", "--secret-file", file]), 24, 100);
    let mut server = fake.welcome(FEED, 0);
    server.expect("auth sesame");
    server.send("error auth-failed wrong secret");
    chat.program.stderr.wait_for("; ask the operator for the right one");
    chat.program.wait();
    assert_eq!(chat.read_until_quiet_for(QUIET), "");

    let mut chat = Terminal::start(&mut fake.oyez(&["chat", "--secret-file", file]), 24, 100);
    let mut server = fake.welcome(FEED, 0);
    server.expect("auth sesame");
    server.send("ok auth user");
    server.expect(&format!("resume 0 {FEED}"));
    server.send("ok resume 0");
    chat.wait_until(|chat| chat.rows().concat().contains("everybody"));
}
