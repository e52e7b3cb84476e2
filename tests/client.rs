//! The commands of `oyez` for scripts: their output and exit status, against a real server.
#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use support::fake_server::{FEED, FakeServer};
use support::proxy::Proxy;
use support::{Program, SILENT_SUCCESS, Server, fails, oyez, succeeds, wait_until};

/// Returns a command that runs `oyez` with this server.
fn client(server: &Server, arguments: &[&str]) -> Command {
    let mut command = oyez();
    command.args(["-s", &server.address.to_string()]).args(arguments);
    command
}

/// Starts `oyez listen` with these options and waits until it is connected.
fn listener(server: &Server, arguments: &[&str]) -> Program {
    let before = server.stat("clients_total");
    let program = Program::start(client(server, &["listen"]).args(arguments));
    // The observer is counted, too.
    let mut observer = server.client();
    wait_until(|| observer.stat("clients_total") >= before + 2);
    program
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = succeeds(oyez().arg("--help"));
    assert!(help.starts_with("oyez - ") && help.contains("broadcast TEXT"), "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    assert_eq!(succeeds(oyez().arg("help")), help);
    assert_eq!(succeeds(oyez().arg("-V")), format!("oyez {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn invalid_arguments_exit_with_status_2() {
    fails(oyez().arg("--frobnicate"), 2, "unknown option --frobnicate");
    fails(oyez().arg("bradcast"), 2, "unknown command \"bradcast\" (did you mean");
    fails(
        oyez().args(["broadcast", "-5 degrees"]),
        2,
        "(to send it as text: oyez broadcast -- '-5 degrees')",
    );
    fails(oyez().args(["-s", "host:x", "ping"]), 2, "expected a port");
    fails(oyez().env("OYEZ_SERVER", "host:x").arg("ping"), 2, "OYEZ_SERVER \"host:x\": expected");
    fails(&mut oyez(), 2, if cfg!(feature = "chat") { "needs a terminal" } else { "without chat" });
}

#[test]
fn unreachable_server_error_says_how_to_start_it() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails(
        oyez().args(["-s", &free.to_string(), "ping"]),
        1,
        &format!(
            "cannot reach {free}: connection refused; start a server with: oyezd --listen {free}"
        ),
    );
    let named = format!("localhost:{}", free.port());
    fails(oyez().args(["-s", &named, "listen"]), 1, &format!("cannot reach {named}: "));
    fails(
        oyez().args(["-s", "unix:/nowhere/socket", "stats"]),
        1,
        "cannot reach unix:/nowhere/socket: no such socket; \
         start a server with: oyezd --listen unix:/nowhere/socket",
    );
    fails(oyez().args(["-s", "nowhere.invalid", "ping"]), 1, "host not found");
    let not_utf8 = OsStr::from_bytes(b"unix:/nowhere/\xff");
    fails(oyez().env("OYEZ_SERVER", not_utf8).arg("ping"), 1, "cannot reach unix:/nowhere/");
}

#[test]
fn server_is_reached_by_host_name_address_path_or_variable() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("unix:{}", folder.path().join("socket").display());
    let mut server = Server::start(&["--listen", "[::1]:0", "--listen", &path]);
    let ipv6 = support::listening_address(&server.wait_for_log("listening on [::1]")).to_string();
    let host = format!("localhost:{}", server.port());
    let addresses = [server.address.to_string(), host, ipv6, path];
    for address in &addresses {
        assert_eq!(succeeds(oyez().args(["-s", address, "broadcast", "hi"])), "", "{address}");
    }
    let stats = succeeds(oyez().env("OYEZ_SERVER", &addresses[1]).arg("stats"));
    assert!(stats.contains("broadcasts 4\n"), "{stats}");
}

#[test]
fn ping_prints_the_round_trip_time() {
    let server = Server::start(&[]);
    let stdout = succeeds(&mut client(&server, &["ping"]));
    let ms = stdout.strip_prefix("pong: ").and_then(|rest| rest.strip_suffix(" ms\n")).unwrap();
    assert!(ms.parse::<f64>().unwrap() >= 0.0);
    assert!(
        succeeds(&mut client(&server, &["ping", "two", "words"])).starts_with("pong two words: ")
    );
}

#[test]
fn broadcast_and_send_print_nothing_on_success() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    let mut oyez = client(&server, &["--name", "al", "broadcast", "two ", " words"]);
    assert_eq!(succeeds(&mut oyez), "");
    bob.expect("broadcast 1 al two   words");
    assert_eq!(succeeds(&mut client(&server, &["send", "BOB", "--", "-h", "你"])), "");
    bob.expect("direct 3 -h 你");
    assert_eq!(succeeds(&mut client(&server, &["send", "1", "x"])), "");
    bob.expect("direct 4 x");
}

#[test]
fn refused_command_exits_with_status_1() {
    let server = Server::start(&["--allow-shutdown", "nobody"]);
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    fails(
        &mut client(&server, &["send", "99", "x"]),
        1,
        "nobody with the id 99 is here; oyez clients shows who is",
    );
    fails(
        &mut client(&server, &["--name", "BOB", "ping"]),
        1,
        "somebody is already called BOB; choose another name",
    );
    let (status, _, stderr) = Program::run(&mut client(&server, &["--name", "BOB", "listen"]));
    assert!(status == 1 && stderr.ends_with("choose another name\n"), "{stderr}");
    fails(
        &mut client(&server, &["shutdown"]),
        1,
        "the server refused to shut down: this server shuts",
    );
    fails(
        &mut client(&server, &["broadcast", &"x".repeat(5000)]),
        1,
        "the line is too long: at most",
    );
    fails(
        &mut client(&server, &["listen", "--since", "9"]),
        1,
        "oyez: there is no line 9 yet, because nothing has been broadcast",
    );
    bob.ask("ping", "pong");
}

#[test]
fn full_server_is_an_error() {
    let server = Server::start(&["--max-clients", "1"]);
    let _first = server.client();
    fails(&mut client(&server, &["ping"]), 1, ": the server is full; try again later");
}

#[test]
fn clients_lists_all_others_across_pages() {
    let server = Server::start(&[]);
    assert_eq!(succeeds(&mut client(&server, &["clients"])), "");
    let mut others: Vec<_> = (0..1001).map(|_| server.client()).collect();
    others[1].ask("name bob", "ok name bob");
    let listed = succeeds(&mut client(&server, &["clients"]));
    let mut expected = String::new();
    for other in &others {
        let name = if other.id == others[1].id { "bob" } else { "-" };
        writeln!(expected, "{} {name}", other.id).unwrap();
    }
    assert_eq!(listed, expected);
}

#[test]
fn stats_prints_keys_and_numbers() {
    let server = Server::start(&["--max-line", "1000"]);
    let stats = succeeds(&mut client(&server, &["stats"]));
    assert!(stats.contains("clients 1\n") && stats.contains("max_line 1000\n"), "{stats}");
    for line in stats.lines() {
        let (key, value) = line.split_once(' ').unwrap();
        assert!(!key.is_empty() && value.parse::<u64>().is_ok(), "{line}");
    }
}

#[test]
fn shutdown_stops_the_server() {
    let server = Server::start(&[]);
    assert_eq!(succeeds(&mut client(&server, &["shutdown"])), "");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
}

#[test]
fn listen_prints_broadcasts_and_exits_after_count() {
    let server = Server::start(&[]);
    let mut texts = listener(&server, &["--count", "2"]);
    let mut lines = listener(&server, &["--count", "2", "--format", "lines"]);
    let mut objects = listener(&server, &["--count", "2", "--format", "json"]);
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    bob.send("say  two\twords ");
    bob.send(r#"say "你" \ "#);
    bob.send("say too much");
    assert_eq!(texts.wait().code(), Some(0));
    assert_eq!(texts.stdout.all(), " two\twords \n\"你\" \\ \n");
    assert_eq!(lines.wait().code(), Some(0));
    assert_eq!(lines.stdout.all(), "broadcast 1 bob  two\twords \nbroadcast 2 bob \"你\" \\ \n");
    let first = objects.stdout.line();
    let (head, tail) = first.split_once("\"received\":\"").unwrap();
    assert_eq!(head, r#"{"type":"broadcast","#);
    let (time, tail) = tail.split_once("\",").unwrap();
    assert!(time.len() == 24 && time.contains('T') && time.ends_with('Z'), "{time}");
    let (_, tail) = tail.split_once("\",").unwrap();
    let (id, tail) = tail.split_once("\",").unwrap();
    let feed = id.strip_prefix("\"feed\":\"").unwrap();
    assert!(first.contains(&format!(r#","id":"{feed}-1","feed":"{feed}","#)), "{first}");
    assert_eq!(tail, r#""seq":1,"from":"bob","text":" two\twords "}"#);
    objects.stdout.expect(r#""seq":2,"from":"bob","text":"\"你\" \\ "}"#);
    assert_eq!(objects.wait().code(), Some(0));
}

#[test]
fn listen_since_begins_with_earlier_lines() {
    let server = Server::start(&[]);
    for text in ["one", "two", "three"] {
        succeeds(&mut client(&server, &["broadcast", text]));
    }
    let mut listen = client(&server, &["listen", "--since", "1", "--count", "2"]);
    let (status, stdout, stderr) = Program::run(&mut listen);
    assert_eq!((status, stdout.as_str()), (0, "two\nthree\n"));
    // A later run can start where this one ended.
    let position = stderr.strip_prefix("oyez: continue with --since ").unwrap().trim_end();
    succeeds(&mut client(&server, &["broadcast", "four"]));
    let mut listen = client(&server, &["listen", "--since", position, "--count", "1"]);
    let (status, stdout, _) = Program::run(&mut listen);
    assert_eq!((status, stdout.as_str()), (0, "four\n"));
}

#[test]
fn listen_prints_direct_messages_as_notices() {
    let server = Server::start(&[]);
    let mut texts = listener(&server, &["--name", "texts", "--count", "1"]);
    let mut objects = listener(&server, &["--name", "objects", "--count", "1", "--format", "json"]);
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    bob.send_to("texts", "psst");
    bob.send_to("objects", "psst");
    bob.send("say end");
    texts.stderr.expect("direct message from bob: psst");
    assert_eq!(texts.wait().code(), Some(0));
    assert_eq!(texts.stdout.all(), "end\n");
    objects.stdout.expect(r#""from":"bob","text":"psst"}"#);
    assert_eq!(objects.wait().code(), Some(0));
}

#[test]
fn listen_exits_quietly_when_its_stdout_is_closed() {
    let server = Server::start(&[]);
    let mut listen = client(&server, &["listen"]);
    let mut listen = listen.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Nothing is broadcast: the client must notice the closed pipe without writing to it.
    drop(listen.stdout.take());
    let mut listen = Program::from(listen);
    assert_eq!((listen.wait().code(), listen.stderr.all()), (Some(0), String::new()));

    let mut shell = Command::new("sh");
    let listen = format!("{} -s {} listen", env!("CARGO_BIN_EXE_oyez"), server.address);
    shell.args(["-c", &format!("{listen} | head -n 3")]).env_remove("OYEZ_SERVER");
    let mut shell = Program::start(&mut shell);
    let mut bob = server.client();
    wait_until(|| bob.stat("clients") >= 2);
    for i in 1..=5 {
        bob.send(&format!("say {i}"));
    }
    assert_eq!(shell.wait().code(), Some(0));
    assert_eq!((shell.stdout.all(), shell.stderr.all()), ("1\n2\n3\n".to_owned(), String::new()));
}

/// A command that prints nothing does not need a stdout.
#[test]
fn silent_commands_succeed_with_a_closed_stdout() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    let run = |arguments: &[&str], input: &[u8]| {
        let mut command = client(&server, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let mut program = Program::from(child);
        program.write_input(input);
        program.close_input();
        assert_eq!(program.wait_all(), SILENT_SUCCESS, "{arguments:?}");
    };
    run(&["broadcast", "one"], b"");
    bob.expect("broadcast 1 2 one");
    run(&["broadcast", "-"], b"two\nthree\n");
    bob.expect("broadcast 2 3 two");
    bob.expect("broadcast 3 3 three");
    run(&["send", "1", "four"], b"");
    bob.expect("direct 4 four");
    run(&["shutdown"], b"");
    bob.expect("goodbye shutdown");
}

/// Another process that shares the pipe may have made it non-blocking.
#[test]
fn listen_loses_nothing_on_a_nonblocking_stdout() {
    let server = Server::start(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    // The command holds the write end. It must be dropped before the pipe is read to its end.
    let mut listen = {
        let mut listen = client(&server, &["listen", "--count", "20000"]);
        Program::start_with_piped_stderr(listen.stdout(writer))
    };
    let mut bob = server.client();
    wait_until(|| bob.stat("clients") >= 2);
    let input: String = (1..=20_000).fold(String::new(), |input, i| input + &format!("{i}\n"));
    let sent = Program::run_with(&mut client(&server, &["broadcast", "-"]), input.as_bytes());
    assert_eq!(sent, SILENT_SUCCESS);
    assert_eq!(std::io::read_to_string(reader).unwrap(), input);
    assert_eq!(listen.wait().code(), Some(0));
}

#[test]
fn broadcast_sends_every_line_of_its_input() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    let broadcast = || client(&server, &["--name", "al", "broadcast", "-"]);
    let input = b"one\r\n two \nquit\nlast without LF\r";
    assert_eq!(Program::run_with(&mut broadcast(), input), SILENT_SUCCESS);
    bob.expect("broadcast 1 al one");
    bob.expect("broadcast 2 al  two ");
    bob.expect("broadcast 3 al quit");
    bob.expect("broadcast 4 al last without LF");
    // A pipe, /dev/null and a file each behave differently under `poll`.
    assert_eq!(Program::run_with(&mut broadcast(), b""), SILENT_SUCCESS);
    assert_eq!(Program::run(broadcast().stdin(Stdio::null())), SILENT_SUCCESS);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    std::fs::write(&path, "from\na file\n").unwrap();
    assert_eq!(Program::run(broadcast().stdin(File::open(&path).unwrap())), SILENT_SUCCESS);
    bob.expect("broadcast 5 al from");
    bob.expect("broadcast 6 al a file");
}

#[test]
fn invalid_input_line_is_reported_by_its_number() {
    let server = Server::start(&["--max-line", "1000"]);
    let mut bob = server.client();
    let longest = "x".repeat(1000 - "broadcast ".len());
    for (line, error) in [
        (&b"\xff"[..], "input line 2 is not text"),
        (b"a\x1b[2J", "input line 2 is not text"),
        (format!("{longest}x").as_bytes(), "input line 2 is longer than 990 bytes"),
        (&[b'y'; 100_000], "input line 2 is longer than 990 bytes"),
    ] {
        let input = [b"first\n", line, b"\n", longest.as_bytes(), b"\n"].concat();
        let mut strict = client(&server, &["broadcast", "-"]);
        let (status, stdout, stderr) = Program::run_with(&mut strict, &input);
        assert_eq!((status, stdout.as_str()), (1, ""));
        assert!(stderr.starts_with(&format!("oyez: {error}")), "{stderr}");
        assert!(
            stderr
                .contains(" (--skip-bad skips such lines); line 1 was broadcast; nothing after it"),
            "{stderr}"
        );
        assert_eq!(bob.line().split(' ').nth(3), Some("first"));

        let mut lenient = client(&server, &["broadcast", "-", "--skip-bad"]);
        let (status, stdout, stderr) = Program::run_with(&mut lenient, &input);
        assert_eq!((status, stdout.as_str()), (0, ""), "{stderr}");
        assert!(stderr.starts_with(&format!("oyez: skipped: {error}")), "{stderr}");
        assert_eq!(bob.line().split(' ').nth(3), Some("first"));
        assert_eq!(bob.line().split(' ').nth(3), Some(longest.as_str()));
    }
}

#[test]
fn every_listener_prints_the_whole_input() {
    let server = Server::start(&[]);
    let input: String = (1..=100_000).fold(String::new(), |mut input, i| {
        writeln!(input, "{i}").unwrap();
        input
    });
    let mut listeners: Vec<_> = (0..3).map(|_| listener(&server, &["--count", "100000"])).collect();
    let mut broadcast = client(&server, &["broadcast", "-"]);
    let sent = Program::run_with(&mut broadcast, input.as_bytes());
    assert_eq!(sent, SILENT_SUCCESS);
    for listener in &mut listeners {
        assert_eq!(listener.wait().code(), Some(0));
        assert!(listener.stdout.all() == input, "the output differs from the input");
        listener.stderr.expect("oyez: continue with --since ");
        assert_eq!(listener.stderr.all().lines().count(), 1);
    }
}

#[test]
fn raw_passes_the_protocol_through() {
    let server = Server::start(&[]);
    let (status, stdout, stderr) =
        Program::run_with(&mut client(&server, &["raw"]), b"ping\r\nSAY hi\nbogus\nsend");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert!(lines[0].starts_with("welcome 1 "), "{stdout}");
    assert_eq!(lines[1..3], ["pong", "broadcast 1 1 hi"]);
    assert!(lines[3].starts_with("error unknown-command "), "{stdout}");
    assert!(lines[4].starts_with("error incomplete-line "), "{stdout}");
    assert_eq!(lines.len(), 5);

    let mut raw = client(&server, &["--name", "al", "raw"]);
    let mut raw = Program::start(raw.stdin(Stdio::piped()));
    raw.stdout.expect("welcome 2 ");
    raw.stdout.expect("ok name al");
    raw.write_input(b"say x\n");
    raw.stdout.expect("broadcast 2 al x");
    server.client().ask("shutdown", "goodbye shutdown");
    raw.stdout.expect("goodbye shutdown");
    raw.stderr.expect(": the server was shut down; the input had not ended");
    assert_eq!(raw.wait().code(), Some(1));
}

/// Checks the status, the replies, of which only the first two words are compared, and the error of
/// `oyez raw` with this input.
#[track_caller]
fn check_raw(raw: &mut Command, input: &[u8], replies: &[&str], error: &str) {
    let (status, stdout, stderr) = Program::run_with(raw, input);
    let context = format!("{}: {stdout}{stderr}", input[..input.len().min(80)].escape_ascii());
    let words = |line: &str| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
    let received: Vec<_> = stdout.lines().skip(1).map(words).collect();
    assert_eq!(received, replies, "{context}");
    assert_eq!(status, i32::from(!error.is_empty()), "{context}");
    let expected = if error.is_empty() { String::new() } else { format!(": {error}\n") };
    assert!(stderr.ends_with(&expected) && (status == 1 || stderr.is_empty()), "{context}");
}

#[test]
fn raw_counts_requests_as_the_server_does() {
    const TOO_LONG: &str = "error line-too-long";
    const HTTP: &str = "the server closed the connection, because the input looks like HTTP; \
                        1 request was not answered";
    let server = Server::start(&[]);
    let long = [b'x'; 200_000];
    for (input, replies, error) in [
        (&b""[..], &[][..], ""),
        (b"\n\r\n \t\nping\n\n", &["pong"], ""),
        (b"ping\n\x01\nping x\n", &["pong", "error not-text", "pong x"], ""),
        // The client removes the first mark, the server the second one.
        (b"\xef\xbb\xbf\xef\xbb\xbfping\n", &["pong"], ""),
        (b"\xff\xfd\x06ping\n", &["pong"], ""),
        (b"ping\n\xff\xfd\x06\xff\xfb\x1fpi\xff\xf4ng\n\xff\xfd\x06", &["pong", "pong"], ""),
        (b"\xff\xfd\n", &["error not-text"], ""),
        (&[&long[..], b"\nping\n"].concat(), &[TOO_LONG, "pong"], ""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[], HTTP),
        (b"ping\nHost: x\nping\n", &["pong"], HTTP),
    ] {
        check_raw(&mut client(&server, &["raw"]), input, replies, error);
        let proxy = Proxy::without_half_close(server.tcp());
        check_raw(oyez().args(["-s", &proxy.address.to_string(), "raw"]), input, replies, error);
    }
    // The server answers some of these only after the half-close.
    let incomplete = "error incomplete-line";
    for (input, replies) in [
        (&b"ping\npi"[..], &["pong", incomplete][..]),
        (b"ping\n\xff", &["pong", incomplete]),
        (b"ping\npi\xff\xfd", &["pong", incomplete]),
        (&[b"ping\n", &long[..5000]].concat(), &["pong", TOO_LONG]),
        (&[&long[..], b"\xff\xfd\x06"].concat(), &[TOO_LONG]),
    ] {
        check_raw(&mut client(&server, &["raw"]), input, replies, "");
    }
    // After `name`, this is no longer the first line.
    let replies = ["ok name", "error unknown-command", "pong"];
    let mut named = client(&server, &["--name", "al", "raw"]);
    check_raw(&mut named, b"GET / HTTP/1.1\nping\n", &replies, "");
}

/// The server answers an overlong line before it has received all of it.
#[test]
fn raw_counts_an_overlong_line_once() {
    let server = Server::start(&[]);
    for rest in [&b""[..], b"x", b"\n\xff\xf1ping\n"] {
        let mut raw = Program::start(client(&server, &["raw"]).stdin(Stdio::piped()));
        raw.stdout.expect("welcome ");
        raw.write_input(&[b'x'; 5000]);
        raw.stdout.expect("error line-too-long ");
        raw.write_input(rest);
        raw.close_input();
        let (status, stdout, stderr) = raw.wait_all();
        assert_eq!((status, stderr.as_str()), (0, ""), "{}", rest.escape_ascii());
        assert_eq!(stdout.ends_with("\npong\n"), rest.ends_with(b"ping\n"), "{stdout}");
    }
}

#[test]
fn raw_fails_unless_the_server_answers_everything_or_a_quit() {
    const NOT_ENDED: &str = "the input had not ended";
    const LOST: &str = "1 request was not answered";
    let closed = "the server closed the connection";
    let shut_down = "the server was shut down";
    for (input, replies, is_ended, error) in [
        ("ping\n", &["pong"][..], true, None),
        ("ping\n", &["pong", "goodbye shutdown"], true, None),
        ("quit\nping\n", &["goodbye quit"], true, None),
        ("ping\n", &["pong"], false, Some((closed, NOT_ENDED))),
        ("", &[], false, Some((closed, NOT_ENDED))),
        ("ping\n", &[], false, Some((closed, LOST))),
        ("ping\nquit\nping\n", &["pong", "goodbye quit"], false, None),
        ("shutdown\n", &["goodbye shutdown"], false, None),
        ("ping\n", &["pong", "goodbye shutdown"], false, Some((shut_down, NOT_ENDED))),
        (
            "shutdown\n",
            &["error not-allowed x", "goodbye shutdown"],
            false,
            Some((shut_down, NOT_ENDED)),
        ),
        ("quit\n", &["goodbye shutdown"], false, Some((shut_down, LOST))),
        (
            "ping\n",
            &["pong", "goodbye idle"],
            false,
            Some(("the server disconnected this client for being idle", NOT_ENDED)),
        ),
        (
            "say a\nping\n",
            &["lagged 1", "goodbye too-slow"],
            true,
            Some(("the server disconnected this client for reading too slowly", LOST)),
        ),
        (
            "ping\n",
            &["goodbye kicked"],
            true,
            Some(("the server disconnected this client: kicked", LOST)),
        ),
        // `lagged` is the reply to the broadcasts that it skipped, even after another reply.
        ("say a\nping\nsay b\n", &["lagged 2", "pong"], true, None),
        ("say a\nsay b\n", &["lagged 1"], false, Some((closed, LOST))),
    ] {
        let fake = FakeServer::new();
        let mut raw = Program::start(fake.oyez(&["raw"]).stdin(Stdio::piped()));
        let mut server = fake.welcome(FEED, 0);
        raw.write_input(input.as_bytes());
        input.lines().for_each(|line| server.expect(line));
        if is_ended {
            raw.close_input();
        }
        replies.iter().for_each(|reply| server.send(reply));
        if !replies.last().is_some_and(|reply| reply.starts_with("goodbye ")) {
            if is_ended {
                // Once everything is answered, `raw` half-closes the connection.
                server.expect_end();
            }
            server.shutdown_write();
        }
        // After a goodbye, it does not wait until the server closes the connection.
        let status = raw.wait().code();
        let stderr = raw.stderr.all();
        let expected = error.map_or(String::new(), |(why, what)| {
            format!("oyez: {}: {why}; {what}\n", fake.address())
        });
        assert_eq!((status, stderr), (Some(i32::from(error.is_some())), expected), "{replies:?}");
        assert_eq!(raw.stdout.all().lines().skip(1).collect::<Vec<_>>(), replies);
    }
}

/// It pauses its input while too many requests are pending.
#[test]
fn raw_counts_any_number_of_requests() {
    const MAX_PENDING: usize = 64 * 1024;
    const SENT: usize = 70_000;
    const ANSWERED: usize = MAX_PENDING + 64;
    let fake = FakeServer::new();
    let mut raw = Program::start(fake.oyez(&["raw"]).stdin(Stdio::piped()));
    let mut server = fake.welcome(FEED, 0);
    raw.write_input("ping\n".repeat(SENT).as_bytes());
    raw.close_input();
    (0..MAX_PENDING).for_each(|_| server.expect("ping"));
    server.send_bytes("pong\n".repeat(MAX_PENDING).as_bytes());
    (MAX_PENDING..SENT).for_each(|_| server.expect("ping"));
    server.send_bytes("pong\n".repeat(ANSWERED - MAX_PENDING).as_bytes());
    server.shutdown_write();
    let (status, _, stderr) = raw.wait_all();
    let lost = format!("; {} requests were not answered\n", SENT - ANSWERED);
    assert!(status == 1 && stderr.ends_with(&lost), "{stderr}");
}

#[test]
fn raw_fails_if_it_cannot_sign_in() {
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = ["sesame", "open barley"].map(|secret| {
        let path = folder.path().join(secret);
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let server = Server::start(&["--secret-file", &good]);
    let run = |options: &[&str]| {
        let mut raw = Program::start(client(&server, options).arg("raw").stdin(Stdio::piped()));
        // The input stays open.
        raw.write_input(b"ping\n");
        let status = raw.wait().code();
        (status, raw.stdout.all().lines().count(), raw.stderr.all())
    };
    let (status, printed, stderr) = run(&["--secret-file", &bad]);
    assert!(stderr.contains(" rejected the secret in "), "{stderr}");
    assert_eq!((status, printed), (Some(1), 1), "only the welcome is printed");
    let mut bob = server.client();
    bob.ask("auth sesame", "ok auth user");
    bob.ask("name bob", "ok name bob");
    let (status, printed, stderr) = run(&["--secret-file", &good, "--name", "BOB"]);
    assert_eq!(stderr, "oyez: somebody is already called BOB; choose another name\n");
    assert_eq!((status, printed), (Some(1), 2));

    let fake = FakeServer::new();
    let mut silent = fake.start(&["--timeout", "1", "--name", "al", "raw"]);
    let _server = fake.welcome(FEED, 0);
    silent.stderr.expect(": no answer from the server for 1 s");
    assert_eq!(silent.wait().code(), Some(1));
}

/// Some proxies close both directions as soon as one ends.
#[test]
fn raw_gets_every_reply_through_a_proxy_without_half_close() {
    let server = Server::start(&[]);
    let proxy = Proxy::without_half_close(server.tcp());
    let mut raw = oyez();
    raw.args(["-s", &proxy.address.to_string(), "--name", "al", "raw"]);
    let (status, stdout, stderr) = Program::run_with(&mut raw, b"ping\nsay hi\n\nbogus\nclients");
    let lines: Vec<&str> = stdout.lines().skip(1).collect();
    assert_eq!(lines[..3], ["ok name al", "pong", "broadcast 1 al hi"], "{stderr}");
    assert!(lines[3].starts_with("error unknown-command ") && lines.len() == 4, "{stdout}");
    // The reply to the partial line cannot arrive.
    assert_eq!(status, 1);
    let lost = "the server closed the connection; 1 request was not answered\n";
    assert_eq!(stderr, format!("oyez: {}: {lost}", proxy.address));

    let proxy = Proxy::without_half_close(server.tcp());
    let mut raw = oyez();
    raw.args(["-s", &proxy.address.to_string(), "raw"]);
    let (status, stdout, stderr) = Program::run_with(&mut raw, b"ping\nquit\nping\n");
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert!(stdout.ends_with("\npong\ngoodbye quit\n"), "{stdout}");
}

/// Other lines from the server do not extend the wait for a reply.
#[test]
fn timeout_is_the_time_limit_for_the_reply() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "sesame").unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let secret = ["--secret-file", secret.to_str().unwrap(), "ping"];
    let commands = [
        &["ping"][..],
        &["stats"],
        &["clients"],
        &["broadcast", "hi"],
        &["send", "al", "hi"],
        &["shutdown"],
        &["--name", "al", "ping"],
        &secret,
        &["raw"],
        &["broadcast", "-"],
    ];
    thread::scope(|scope| {
        for command in commands {
            scope.spawn(move || {
                let fake = FakeServer::new();
                let mut oyez = fake.oyez(&[&["--timeout", "1"], command].concat());
                let mut oyez = Program::start(oyez.stdin(Stdio::piped()));
                let mut server = fake.welcome(FEED, 0);
                oyez.write_input(b"ping\n");
                let mut seq = 0;
                // `broadcast -` would connect again.
                wait_until(|| {
                    seq += 1;
                    thread::sleep(Duration::from_millis(1));
                    !server.try_send_bytes(format!("broadcast {seq} 9 x\n").as_bytes())
                });
                oyez.stderr.expect("no answer from the server for 1 s");
            });
        }
    });
}

#[test]
fn raw_fails_when_replies_are_lost() {
    let run = |input: &[u8], replies: &[&str]| {
        let fake = FakeServer::new();
        let mut raw = Program::start(fake.oyez(&["raw"]).stdin(Stdio::piped()));
        let mut server = fake.welcome(FEED, 0);
        raw.write_input(input);
        for line in std::str::from_utf8(input).unwrap().lines() {
            server.expect(line);
        }
        replies.iter().for_each(|reply| server.send(reply));
        raw.close_input();
        server.shutdown_write();
        let (status, stdout, stderr) = raw.wait_all();
        assert_eq!(stdout.lines().skip(1).collect::<Vec<_>>(), replies);
        (status, stderr)
    };
    let lost = |count: &str| format!("; {count} not answered\n");
    for (input, replies, count) in [
        (&b"ping\nstats\n"[..], &[][..], "2 requests were"),
        (b"ping\nstats\n", &["pong", "stat clients 1"], "1 request was"),
        // The request was cut off on its way to the server.
        (b"ping\nstats\n", &["pong", "error incomplete-line words"], "1 request was"),
    ] {
        let (status, stderr) = run(input, replies);
        assert!(status == 1 && stderr.ends_with(&lost(count)), "{replies:?}: {stderr}");
    }
    assert_eq!(run(b"ping\nhistory 1\n", &["pong", "ok history 0"]), (0, String::new()));

    // It does not wait forever.
    let fake = FakeServer::new();
    let mut raw = fake.oyez(&["--timeout", "1", "raw"]);
    let mut raw = Program::start(raw.stdin(Stdio::piped()));
    let mut server = fake.welcome(FEED, 0);
    raw.write_input(b"ping\n");
    raw.close_input();
    server.expect("ping");
    let (status, _, stderr) = raw.wait_all();
    let error = "no answer from the server for 1 s; 1 request was not answered\n";
    assert!(status == 1 && stderr.ends_with(error), "{stderr}");

    // Everything is answered, but the server does not close the connection.
    let fake = FakeServer::new();
    let mut raw = fake.oyez(&["--timeout", "1", "raw"]);
    let mut raw = Program::start(raw.stdin(Stdio::piped()));
    let mut server = fake.welcome(FEED, 0);
    raw.write_input(b"ping\n");
    server.expect("ping");
    server.send("pong");
    raw.close_input();
    server.expect_end();
    assert_eq!(raw.wait().code(), Some(0));
}

#[test]
fn write_to_a_full_disk_is_an_error() {
    let server = Server::start(&[]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut stats = client(&server, &["stats"]);
    let (status, _, stderr) = Program::start_with_piped_stderr(stats.stdout(full)).wait_all();
    assert_eq!(status, 1);
    assert!(stderr.starts_with("oyez: cannot write to standard output: "), "{stderr}");
}

#[test]
fn write_beyond_the_file_size_limit_is_an_error() {
    let server = Server::start(&[]);
    let stats = client(&server, &["stats"]);
    let mut limited = Command::new("bash");
    limited.args(["-c", r#"ulimit -f 0; exec "$0" "$@""#]).arg(stats.get_program());
    limited.args(stats.get_args()).stdout(tempfile::tempfile().unwrap());
    let (status, _, stderr) = Program::start_with_piped_stderr(&mut limited).wait_all();
    assert_eq!(status, 1);
    assert!(
        stderr.starts_with("oyez: cannot write to standard output: File too large"),
        "{stderr}"
    );
}
