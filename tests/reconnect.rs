//! `oyez` with servers that vanish, restart or do not speak the protocol: it reconnects, resumes
//! and determines which lines of a lost connection were broadcast. Most tests use a fake server.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::thread;

use support::fake_server::{FEED, FakeServer};
use support::proxy::{Cut, Direction, Manner, Proxy};
use support::{Client, Program, SILENT_SUCCESS, Server, oyez, oyezd, size, wait_until};

/// How `oyez` reports that the server has a different feed.
const OTHER_FEED: &str = "the server was restarted, or it is another server";

/// Waits until a program fails with status 1 and this error. Returns its stderr.
#[track_caller]
fn fails(program: Program, error: &str) -> String {
    let (status, _, stderr) = program.wait_all();
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains(error), "{stderr}");
    stderr
}

#[test]
fn listener_resumes_after_its_last_line() {
    let fake = FakeServer::new();
    let mut listen = fake.start(&["listen"]);
    let mut server = fake.welcome(FEED, 5);
    server.send("broadcast 6 bob six\nbroadcast 7 bob seven");
    listen.stdout.expect("six");
    listen.stdout.expect("seven");
    drop(server);
    listen.stderr.expect("lost: the server closed the connection; reconnecting");
    let mut server = fake.welcome(FEED, 9);
    server.expect(&format!("resume 7 {FEED}"));
    // A broadcast that arrives before the reply is replayed after it, and printed once.
    server.send("broadcast 10 bob ten\nok resume 7\nbroadcast 8 bob eight\nbroadcast 9 bob nine");
    server.send("broadcast 10 bob ten\nbroadcast 11 bob eleven");
    for text in ["eight", "nine", "ten", "eleven"] {
        listen.stdout.expect(text);
    }
    listen.stderr.expect("connected to ");
    server.reset();
    listen.stderr.expect("lost: connection reset; reconnecting");
    // The listener resumes even if it has the newest line that the welcome names: a client that
    // must authenticate may miss lines between the welcome and the `auth`.
    let mut server = fake.welcome(FEED, 11);
    server.expect(&format!("resume 11 {FEED}"));
    server.send("ok resume 11\nbroadcast 12 bob twelve");
    listen.stdout.expect("twelve");
    server.send("goodbye shutdown");
    listen.stderr.expect("reconnected to ");
    listen.stderr.expect("lost: the server was shut down; reconnecting");
    // After a goodbye, the client does not wait until the server closes the connection.
    let mut server = fake.welcome("00000001", 0);
    server.expect("resume 0 00000001");
    server.send("ok resume 0\nbroadcast 1 bob one");
    listen.stdout.expect("one");
    listen.stderr.expect("reconnected to ");
    listen.stderr.expect(OTHER_FEED);
}

/// Sends lines from a sender to a listener, either of them through a cutting proxy. Asserts that
/// every line arrives exactly once. OYEZ_CUTS and OYEZ_LINES set the numbers of cuts and lines.
/// Returns the stderr of the listener and of the sender.
fn send_through_cuts(
    listener_cuts: Option<Direction>,
    sender_cuts: Option<Direction>,
) -> [String; 2] {
    let (cuts, lines) = (size("OYEZ_CUTS", 10), size("OYEZ_LINES", 50_000));
    let server = Server::start(&["--feed-size", "64M"]);
    let directions = [listener_cuts, sender_cuts];
    let [listener_address, sender_address] = directions.map(|direction| match direction {
        Some(direction) => {
            let after = (0..cuts as u64).map(|nth| 1_000 + nth * 7919 % 60_000);
            let cut = |after| Cut { direction, after, manner: Manner::Close };
            Proxy::start(server.tcp(), after.map(cut).collect()).address.to_string()
        }
        None => server.address.to_string(),
    });
    let count = lines.to_string();
    let mut listen = oyez();
    listen.args(["-s", &listener_address, "listen", "--since", "0", "--count", &count]);
    let listen = Program::start(&mut listen);
    let input: String = (1..=lines).fold(String::new(), |input, i| input + &format!("{i}\n"));
    let mut broadcast = oyez();
    broadcast.args(["-s", &sender_address, "broadcast", "-"]);
    let (status, _, sender_stderr) = Program::run_with(&mut broadcast, input.as_bytes());
    assert_eq!(status, 0, "{sender_stderr}");
    let (status, stdout, listener_stderr) = listen.wait_all();
    assert_eq!(status, 0, "{listener_stderr}");
    assert!(stdout == input, "output and input differ: {listener_stderr} {sender_stderr}");
    assert_eq!(server.stat("broadcasts"), lines as u64, "each line must be broadcast once");
    let stderrs = [listener_stderr, sender_stderr];
    for (direction, stderr) in directions.iter().zip(&stderrs) {
        let lost = stderr.matches(" lost: ").count();
        assert_eq!(lost, if direction.is_some() { cuts } else { 0 }, "{stderr}");
    }
    stderrs
}

#[test]
fn listener_cut_off_repeatedly_prints_every_line_once() {
    let [stderr, _] = send_through_cuts(Some(Direction::FromServer), None);
    assert!(!stderr.contains("missing here"), "{stderr}");
}

#[test]
fn sender_cut_off_repeatedly_delivers_every_line_once() {
    send_through_cuts(None, Some(Direction::ToServer));
}

#[test]
fn sender_that_loses_replies_repeatedly_delivers_every_line_once() {
    send_through_cuts(None, Some(Direction::FromServer));
}

#[test]
fn listener_reports_lines_no_longer_kept_and_resumes_after_them() {
    let fake = FakeServer::new();
    let mut listen = fake.start(&["listen"]);
    fake.welcome(FEED, 5);
    listen.stderr.expect("lost: ");
    let mut server = fake.welcome(FEED, 90);
    server.expect(&format!("resume 5 {FEED}"));
    server.send(&format!("error gone 50 {FEED} kept from 50 on"));
    listen.stderr.expect("connected to ");
    listen.stderr.expect("lines 6 to 49 are missing here: ");
    server.expect(&format!("resume 49 {FEED}"));
    server.send("ok resume 49\nbroadcast 50 bob fifty");
    listen.stdout.expect("fifty");
    drop(server);
    listen.stderr.expect("lost: ");
    let mut server = fake.welcome(FEED, 51);
    server.expect(&format!("resume 50 {FEED}"));
    server.send("error not-allowed not in this version");
    listen.stderr.expect("connected to ");
    listen.stderr.expect("line 51 is missing here: ");
    server.send("broadcast 52 bob new");
    listen.stdout.expect("new");
}

#[test]
fn listener_reconnects_to_a_restarted_server() {
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let mut listen = Program::start(oyez().args(["-s", &address, "--name", "al", "listen"]));
    let mut bob = server.client();
    wait_until(|| bob.stat("clients") >= 2);
    bob.send("say before");
    listen.stdout.expect("before");
    server.signal("KILL");
    listen.stderr.expect(&format!("connection to {address} lost: "));
    server.wait();
    let mut again = oyezd();
    again.args(["--listen", &address]);
    let server = Server::spawn(again);
    listen.stderr.expect(&format!("reconnected to {address}"));
    listen.stderr.expect(&format!("{OTHER_FEED}; lines may be missing"));
    let mut bob = server.client();
    // The listener has set its name again.
    bob.send_to("al", "hi");
    bob.send("say after");
    listen.stdout.expect("after");
}

#[test]
fn listen_since_resumes_after_the_given_line() {
    let fake = FakeServer::new();
    let mut listen = fake.start(&["listen", "--since", "3", "--count", "1"]);
    let mut server = fake.welcome(FEED, 5);
    server.expect("resume 3");
    server.send("ok resume 3\nbroadcast 4 bob four");
    listen.stdout.expect("four");
    assert_eq!(listen.wait().code(), Some(0));
}

/// Runs a `listen` that exits by itself. Returns what it printed to stdout and stderr.
#[track_caller]
fn run_listen(address: &str, since: &str, count: usize) -> (String, String) {
    let mut command = oyez();
    command.args(["-s", address, "listen", "--since", since, "--count", &count.to_string()]);
    let (status, stdout, stderr) = Program::run(&mut command);
    assert_eq!(status, 0, "{stderr}");
    (stdout, stderr)
}

#[test]
fn position_from_before_a_restart_is_reported() {
    let say = |server: &Server, lines: std::ops::RangeInclusive<u32>| -> String {
        let mut sender = server.client();
        lines.clone().for_each(|line| sender.send(&format!("say {line}")));
        sender.shutdown_write();
        sender.rest();
        lines.map(|line| format!("{line}\n")).collect()
    };
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let first = say(&server, 1..=10);
    let (stdout, stderr) = run_listen(&address, "0", 10);
    assert_eq!(stdout, first);
    let position = stderr.strip_prefix("oyez: continue with --since ").unwrap().trim_end();
    assert!(position.ends_with("-10"), "{position}");
    server.signal("KILL");
    server.wait();
    let mut again = oyezd();
    again.args(["--listen", &address]);
    let server = Server::spawn(again);
    let second = say(&server, 11..=25);
    let (stdout, stderr) = run_listen(&address, position, 15);
    assert_eq!(stdout, second);
    let restarted = format!(
        "oyez: {OTHER_FEED}; lines may be missing\n\
         oyez: continue with --since "
    );
    let position = stderr.strip_prefix(&restarted).unwrap().trim_end();
    assert!(position.ends_with("-15"), "{position}");
    let next = say(&server, 26..=26);
    let (stdout, stderr) = run_listen(&address, position, 1);
    assert_eq!((stdout, stderr.lines().count()), (next, 1), "{stderr}");
}

#[test]
fn position_that_is_no_longer_kept_is_reported() {
    let fake = FakeServer::new();
    let listen = fake.start(&["listen", "--since", &format!("{FEED}-3"), "--count", "1"]);
    let mut server = fake.welcome(FEED, 60);
    server.expect(&format!("resume 3 {FEED}"));
    server.send(&format!("error gone 50 {FEED} kept from 50 on"));
    server.expect(&format!("resume 49 {FEED}"));
    server.send("ok resume 49\nbroadcast 50 bob fifty");
    let (status, stdout, stderr) = listen.wait_all();
    assert_eq!((status, stdout.as_str()), (0, "fifty\n"));
    assert_eq!(
        stderr,
        format!(
            "oyez: lines 4 to 49 are missing here: the server no longer has them\n\
             oyez: continue with --since {FEED}-50\n"
        )
    );
}

/// Each JSON line contains its position. When the listener ends, it prints the last position.
#[test]
fn listener_prints_where_to_continue() {
    let fake = FakeServer::new();
    let mut listen = fake.start(&["listen", "--format", "json", "--no-reconnect"]);
    let mut server = fake.welcome(FEED, 5);
    server.send("broadcast 6 bob six");
    listen.stdout.expect(&format!(r#""id":"{FEED}-6","feed":"{FEED}","seq":6,"from":"bob""#));
    drop(server);
    let (status, _, stderr) = listen.wait_all();
    let closed = format!("oyez: {}: the server closed the connection\n", fake.address());
    assert_eq!((status, stderr), (1, format!("oyez: continue with --since {FEED}-6\n{closed}")));

    // No line has arrived.
    let listen = fake.start(&["listen"]);
    fake.welcome(FEED, 6).send("goodbye kicked");
    let (status, _, stderr) = listen.wait_all();
    let position = format!("oyez: continue with --since {FEED}-6\n");
    assert!(status == 1 && stderr.starts_with(&position), "{stderr}");
}

/// Starts `oyez listen` with a keep-alive every quarter of a second, through a program that sets
/// which signals are ignored.
#[cfg(target_os = "linux")]
fn start_with_signals(fake: &FakeServer, wrapper: &[&str]) -> Program {
    let listen = fake.oyez(&["--timeout", "1", "listen"]);
    let mut command = std::process::Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(listen.get_program()).args(listen.get_args());
    Program::start(command.env_remove("OYEZ_SERVER").stdin(Stdio::null()))
}

#[cfg(target_os = "linux")]
#[test]
fn listener_ended_by_a_signal_prints_where_to_continue() {
    use std::os::unix::process::ExitStatusExt as _;

    for (signal, number) in [("HUP", 1), ("INT", 2), ("TERM", 15)] {
        for (lines, seq) in [("", 6), ("broadcast 7 bob seven\n", 7)] {
            let fake = FakeServer::new();
            let wrapper = ["env", "--default-signal=HUP,INT,TERM"];
            let mut listen = start_with_signals(&fake, &wrapper);
            let mut server = fake.welcome(FEED, 6);
            server.send_bytes(lines.as_bytes());
            // The keep-alive shows that the welcome and the line were handled.
            server.expect("ping");
            listen.signal(signal);
            // The signal itself ends the process.
            assert_eq!(listen.wait().signal(), Some(number));
            let position = format!("oyez: continue with --since {FEED}-{seq}\n");
            assert_eq!(listen.stderr.all(), position, "{signal}");
        }
    }
}

/// `nohup` ignores SIGHUP, and a shell without job control ignores SIGINT for its background jobs.
#[cfg(target_os = "linux")]
#[test]
fn ignored_signals_do_not_end_a_listener() {
    let fake = FakeServer::new();
    let wrapper = ["sh", "-c", r#"trap "" HUP INT; exec "$0" "$@""#];
    let mut listen = start_with_signals(&fake, &wrapper);
    let mut server = fake.welcome(FEED, 6);
    server.expect("ping");
    listen.signal("HUP");
    listen.signal("INT");
    server.send("pong\nbroadcast 7 bob seven");
    listen.stdout.expect("seven");
    server.expect("ping");
    listen.signal("TERM");
    let (status, _, stderr) = listen.wait_all();
    assert_eq!((status, stderr), (-1, format!("oyez: continue with --since {FEED}-7\n")));
}

#[test]
fn position_is_accepted_in_upper_case() {
    let fake = FakeServer::new();
    let since = format!("{}-5", FEED.to_uppercase());
    let listen = fake.start(&["listen", "--since", &since, "--count", "1"]);
    let mut server = fake.welcome(FEED, 6);
    server.expect(&format!("resume 5 {FEED}"));
    server.send("ok resume 5\nbroadcast 6 bob six");
    let (status, stdout, stderr) = listen.wait_all();
    assert_eq!((status, stdout.as_str()), (0, "six\n"));
    assert_eq!(stderr, format!("oyez: continue with --since {FEED}-6\n"));
}

#[test]
fn only_a_final_goodbye_prevents_reconnecting() {
    for reason in ["kicked", "quit", "auth-failed"] {
        for command in [&["listen"][..], &["broadcast", "-"]] {
            let fake = FakeServer::new();
            let mut oyez = fake.oyez(command);
            let oyez = Program::start(oyez.stdin(Stdio::piped()));
            fake.welcome(FEED, 0).send(&format!("goodbye {reason}"));
            let error = match reason {
                "auth-failed" => " requires a secret; use --secret-file FILE\n".to_owned(),
                reason => {
                    format!("{}: the server disconnected this client: {reason}\n", fake.address())
                }
            };
            fails(oyez, &error);
        }
    }
    // A later version may have other reasons.
    for reason in ["shutdown", "too-slow", "idle", "replaced", "moved elsewhere", "kicked-idle"] {
        let fake = FakeServer::new();
        let mut listen = fake.start(&["listen"]);
        fake.welcome(FEED, 0).send(&format!("goodbye {reason}"));
        listen.stderr.expect("; reconnecting");
        fake.welcome(FEED, 0).expect(&format!("resume 0 {FEED}"));
    }
}

/// A signal ends a listener that is blocked on standard output. It prints no position, because
/// output is lost.
#[test]
fn signal_ends_a_listener_whose_output_is_not_read() {
    let fake = FakeServer::new();
    let (_reader, writer) = std::io::pipe().unwrap();
    // Fill the pipe, so that the listener blocks in its first write.
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while rustix::io::write(&writer, b"x").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let mut listen = {
        let mut listen = fake.oyez(&["listen"]);
        Program::start_with_piped_stderr(listen.stdout(writer))
    };
    let mut server = fake.welcome(FEED, 0);
    // Both lines arrive in one read. The notice shows that the broadcast before it was handled.
    server.send("broadcast 1 bob one\nlagged 2");
    let notice = "oyez: missed 2 lines here: this client read too slowly";
    listen.stderr.expect(notice);
    listen.signal("TERM");
    let (status, _, stderr) = listen.wait_all();
    assert_eq!((status, stderr), (-1, format!("{notice}\n")));
}

#[test]
fn each_new_reason_for_not_reconnecting_is_reported_once() {
    let refuse = |fake: &FakeServer, line: &str| fake.accept().send(line);
    let full = "error server-full too many clients";
    let check = |arguments: &[&str]| {
        let fake = FakeServer::new();
        let address = fake.address();
        let mut command = fake.oyez(arguments);
        let mut oyez = Program::start(command.stdin(Stdio::piped()));
        fake.welcome(FEED, 0);
        oyez.stderr.expect(" lost: ");
        refuse(&fake, full);
        let reason = format!("oyez: cannot reach {address}: the server is full; still trying");
        assert_eq!(oyez.stderr.line(), reason);
        refuse(&fake, full);
        refuse(&fake, "SSH-2.0-OpenSSH_9.2");
        let reason = format!("oyez: {address} is not an oyez server: it sent SSH-2.0-OpenSSH_9.2");
        assert_eq!(oyez.stderr.line(), reason + "; still trying");
        refuse(&fake, full);
        let _server = fake.welcome(FEED, 0);
        oyez.stderr.expect("reconnected to ");
    };
    thread::scope(|scope| {
        scope.spawn(|| check(&["listen"]));
        scope.spawn(|| check(&["broadcast", "-"]));
    });
}

#[cfg(feature = "tls")]
#[test]
fn untrusted_certificate_is_reported_while_reconnecting() {
    let start = |folder: &std::path::Path, address: &str| {
        let mut command = oyezd();
        command.args(["--listen-tls", address, "--tls-self-signed"]).arg(folder);
        Server::spawn(command)
    };
    let (right, wrong) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(right.path(), "127.0.0.1:0");
    let address = server.address.to_string();
    let mut listen = oyez();
    listen.args(["-s", &address, "listen", "--count", "1", "--tls-ca"]);
    let mut listen = Program::start(listen.arg(right.path().join("cert.pem")));
    let mut observer = server_observer(&server, right.path());
    wait_until(|| observer.stat("clients") >= 2);
    drop((server, observer));
    listen.stderr.expect(" lost: ");
    let server = start(wrong.path(), &address);
    let line = listen.stderr.expect(&format!("cannot set up TLS with {address}: "));
    assert!(line.ends_with("; still trying"), "{line}");
    drop(server);
    let server = start(right.path(), &address);
    listen.stderr.wait_for("reconnected to ");
    server_observer(&server, right.path()).ask("say hi", "broadcast 1 2 hi");
    listen.stdout.expect("hi");
}

#[cfg(feature = "tls")]
fn server_observer(server: &Server, folder: &std::path::Path) -> Client {
    let address = support::Address::Tls(server.tcp(), folder.join("cert.pem"));
    Client::connect_and_read_welcome(&address)
}

#[test]
fn listener_can_wait_for_the_server_to_start() {
    // The port is free once the listener is dropped.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let arguments = ["listen", "--wait", "--since", "0", "--count", "1"];
    let mut listen = Program::start(oyez().args(["-s", &address.to_string()]).args(arguments));
    let refused = format!("oyez: cannot reach {address}: connection refused; still trying");
    assert_eq!(listen.stderr.line(), refused);
    let mut server = oyezd();
    server.args(["--listen", &address.to_string()]);
    let server = Server::spawn(server);
    server.client().send("say hi");
    listen.stdout.expect("hi");
    assert_eq!(listen.wait().code(), Some(0));
}

#[test]
fn lost_connection_is_an_error_without_reconnecting() {
    let fake = FakeServer::new();
    let listen = fake.start(&["listen", "--no-reconnect"]);
    fake.welcome(FEED, 5).send("goodbye too-slow");
    let (status, _, stderr) = listen.wait_all();
    let reason = "the server disconnected this client for reading too slowly";
    let position = format!("oyez: continue with --since {FEED}-5\n");
    let error = format!("oyez: {}: {reason}\n", fake.address());
    assert_eq!((status, stderr), (1, position + &error));
}

#[test]
fn listener_waits_only_after_temporary_failures() {
    let fake = FakeServer::new();
    let mut listen = fake.start(&["listen", "--wait", "--count", "1"]);
    drop(fake.accept());
    listen.stderr.expect("; still trying");
    fake.accept().send("error server-full too many clients");
    listen.stderr.expect("the server is full; still trying");
    fake.welcome(FEED, 0).send("broadcast 1 bob one");
    listen.stdout.expect("one");

    let listen = fake.start(&["listen", "--wait"]);
    fake.accept().send("SSH-2.0-OpenSSH_9.2");
    fails(listen, " is not an oyez server: it sent SSH-2.0-OpenSSH_9.2");

    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "open sesame\n").unwrap();
    let secret = secret.to_str().unwrap();
    for (options, error) in [
        (&["-s", "192.0.2.1", "--secret-file", secret][..], "without encryption"),
        (&["-s", "127.0.0.1:1", "--secret-file", "/nowhere/secret"], "/nowhere/secret"),
        (
            &[
                "-s",
                "unix:/etc/passwd/socket/that-is-much-too-long-for-the-address-of-a-socket-that-is-\
            much-too-long-for-the-address-of-a-socket",
            ],
            "cannot reach",
        ),
    ] {
        fails(Program::start(oyez().args(options).args(["listen", "--wait"])), error);
    }
}

#[cfg(feature = "tls")]
#[test]
fn listener_does_not_wait_if_tls_fails() {
    let (tls, plain) = (Server::start_tls(&[]), Server::start(&[]));
    let fingerprint = format!("sha256:{}", "0".repeat(64));
    for server in [tls, plain] {
        let address = server.tcp().to_string();
        let mut listen = oyez();
        listen.args(["-s", &address, "--tls-fingerprint", &fingerprint, "listen", "--wait"]);
        fails(Program::start(&mut listen), &format!("cannot set up TLS with {address}: "));
    }
}

#[test]
fn name_still_held_by_the_lost_connection_is_requested_again() {
    let fake = FakeServer::new();
    let mut listen = fake.start(&["--name", "al", "listen"]);
    let mut server = fake.welcome(FEED, 0);
    server.expect("name al");
    server.send("ok name al");
    drop(server);
    let mut server = fake.welcome(FEED, 0);
    server.expect("name al");
    server.expect(&format!("resume 0 {FEED}"));
    server.send("error name-taken somebody else has it\nok resume 0");
    server.expect("name al");
    server.send("ok name al\nbroadcast 1 bob hi");
    listen.stdout.expect("hi");
    listen.stderr.wait_for("the name al is still taken; retrying");
}

#[test]
fn silent_connection_is_pinged_and_dropped_without_a_reply() {
    let fake = FakeServer::new();
    let mut listen = fake.start(&["--timeout", "1", "listen"]);
    let mut server = fake.welcome(FEED, 0);
    server.expect("ping");
    server.send("pong");
    server.expect("ping");
    // The server neither replies nor closes the connection.
    listen.stderr.expect("lost: no answer from the server for 1 s; reconnecting");
    fake.welcome(FEED, 0);
    listen.stderr.expect("reconnected to ");

    let ping = fake.start(&["--timeout", "1", "ping"]);
    let _server = fake.welcome(FEED, 0);
    fails(ping, "no answer from the server for 1 s");
}

#[test]
fn secret_is_sent_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "open sesame\n").unwrap();
    let file = file.to_str().unwrap();
    let fake = FakeServer::new();
    let arguments = ["--secret-file", file, "--name", "al", "broadcast", "hi"];
    let broadcast = fake.start(&arguments);
    let mut server = fake.welcome(FEED, 0);
    server.expect("auth open sesame");
    server.expect("name al");
    server.send("ok auth user\nok name al");
    server.expect("quiet");
    server.send("ok quiet");
    server.expect("broadcast hi");
    server.send("ok broadcast 1");
    assert_eq!(broadcast.wait_all(), SILENT_SUCCESS);

    let broadcast = fake.start(&arguments);
    let mut server = fake.welcome(FEED, 0);
    server.expect("auth open sesame");
    server.send("error auth-failed wrong secret");
    let stderr = fails(broadcast, "; ask the operator for the right one");
    assert!(!stderr.contains("sesame"), "{stderr}");
}

#[test]
fn secret_is_not_sent_unencrypted_over_a_network() {
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
    // The command fails before it connects.
    let refused = run(b"open sesame\n", "192.0.2.1:5050");
    assert!(refused.contains("--insecure to send it anyway"), "{refused}");
    for (text, error) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"two\nlines\n", "not a single line of text"),
        (b"\xff", "not a single line of text"),
        (&[b'x'; 2000], "longer than 1024 bytes"),
    ] {
        let stderr = run(text, "127.0.0.1:1");
        assert!(stderr.contains(&format!("secret: {error}")), "{stderr}");
    }
}

const TWO_CONFIRMED: &str = "lines 1 to 2 were broadcast; lines 3 to 4 may have been";

/// Sends four lines. The server confirms the first two.
fn send_four(broadcast: &mut Program, server: &mut Client, newest: u64) {
    broadcast.write_input(b"one\ntwo\nthree\nfour\n");
    for text in ["one", "two", "three", "four"] {
        server.expect(&format!("broadcast {text}"));
    }
    server.send(&format!("ok broadcast {}\nok broadcast {}", newest + 1, newest + 2));
}

/// Starts an `oyez broadcast -` that loses its connection, whose client id is 7, after the server
/// has confirmed two of its four lines.
fn start_half_confirmed(fake: &FakeServer, options: &[&str]) -> Program {
    let mut broadcast = fake.start_broadcast(options);
    let mut server = fake.welcome_sender(7, FEED, 20);
    send_four(&mut broadcast, &mut server, 20);
    drop(server);
    broadcast.stderr.expect("lost: ");
    broadcast
}

/// Plays the server while a reconnected sender determines which lines of its lost connection were
/// broadcast: `clients` no longer lists that connection, so the sender reads the feed after
/// `after`.
#[track_caller]
fn answer_search(server: &mut Client, lost_id: u64, clients: &str, after: u64) {
    server.expect(&format!("clients {}", lost_id - 1));
    server.send(clients);
    server.expect(&format!("resume {after} {FEED}"));
    server.expect("quiet");
}

#[test]
fn sender_finds_the_lines_that_arrived_and_sends_the_rest() {
    let fake = FakeServer::new();
    let mut broadcast = start_half_confirmed(&fake, &[]);
    let mut server = fake.welcome_sender(9, FEED, 24);
    broadcast.stderr.expect("connected to ");
    // Until the server closes the lost connection, it may execute more of its lines.
    for _ in 0..3 {
        server.expect("clients 6");
        server.send("client 7 -\nclient 9 -\nok clients 2 3");
    }
    answer_search(&mut server, 7, "client 9 -\nok clients 1 2", 22);
    server.send("ok resume 22\nbroadcast 23 bob three\nbroadcast 24 7 three\nbroadcast 25 9 four");
    drop(server);

    // After another loss, the search continues where it was interrupted.
    let mut server = fake.welcome_sender(12, FEED, 26);
    answer_search(&mut server, 7, "client 12 -\nok clients 1 2", 25);
    server.send("ok resume 25\nbroadcast 26 17 four\nok quiet");
    server.expect("broadcast four");
    server.send("ok broadcast 27");
    broadcast.write_input(b"five\n");
    server.expect("broadcast five");
    drop(server);

    // The sender searches for lines sent over another connection under that connection's id.
    let mut server = fake.welcome_sender(13, FEED, 28);
    answer_search(&mut server, 12, "ok clients 0 2", 27);
    server.send("ok resume 27\nbroadcast 28 12 five\nok quiet");
    broadcast.close_input();
    let (status, _, stderr) = broadcast.wait_all();
    assert_eq!(status, 0, "{stderr}");
}

#[test]
fn sender_fails_when_delivery_cannot_be_determined() {
    let failure = |feed: &str, reply: &str| {
        let fake = FakeServer::new();
        let broadcast = start_half_confirmed(&fake, &[]);
        if feed == FEED {
            let mut server = fake.welcome_sender(9, feed, 90);
            answer_search(&mut server, 7, "ok clients 0 1", 22);
            server.send(reply);
        } else {
            fake.welcome_as(9, feed, 90);
        }
        let stderr = fails(broadcast, TWO_CONFIRMED);
        assert!(stderr.ends_with(&format!("{TWO_CONFIRMED}\n")), "{stderr}");
        stderr
    };
    let gone = failure(FEED, &format!("error gone 50 {FEED} older lines were dropped"));
    assert!(
        gone.contains(
            "cannot find out which lines were broadcast: the server refused: it no longer has"
        ),
        "{gone}"
    );
    let skipped = failure(FEED, "ok resume 22\nlagged 10\nbroadcast 33 7 three\nok quiet");
    assert!(
        skipped.contains("cannot find out which lines were broadcast: the server skipped some"),
        "{skipped}"
    );
    let different = failure(FEED, "ok resume 22\nbroadcast 23 7 four\nok quiet");
    assert!(different.contains("input line 3 has a different text in the feed"), "{different}");
    let restarted = failure("00000001", "");
    let unknown = format!("cannot find out which lines were broadcast: {OTHER_FEED}; ");
    assert!(restarted.contains(&unknown), "{restarted}");
}

#[test]
fn sender_gives_up_when_the_server_keeps_the_lost_connection() {
    let fake = FakeServer::new();
    let mut broadcast = start_half_confirmed(&fake, &["--timeout", "1"]);
    let mut server = fake.welcome_sender(9, FEED, 24).writer();
    let replies = thread::spawn(move || {
        let requests = BufReader::new(server.try_clone().unwrap());
        // The client may close the connection with a reset.
        for line in requests.lines().map_while(Result::ok) {
            assert!(line == "clients 6" || line == "ping", "{line}");
            let reply = if line == "ping" { "pong\n" } else { "client 7 -\nok clients 1 2\n" };
            let _ = server.write_all(reply.as_bytes());
        }
    });
    broadcast.stderr.wait_for("waiting for the server to close the lost connection");
    let stderr =
        fails(broadcast, "has not closed the lost connection, and may yet execute its lines");
    assert!(stderr.ends_with(&format!("{TWO_CONFIRMED}\n")), "{stderr}");
    replies.join().unwrap();
}

#[test]
fn sender_gives_advice_once_when_the_server_answers_too_slowly() {
    let fake = FakeServer::new();
    let mut broadcast = fake.start_broadcast(&["--timeout", "1"]);
    let mut server = fake.welcome_sender(7, FEED, 0);
    broadcast.write_input(b"one\n");
    broadcast.close_input();
    server.expect("broadcast one");
    let lost = "lost: no answer from the server for 1 s; reconnecting";
    broadcast.stderr.expect(lost);
    broadcast.stderr.expect("it may delay its answers; use a longer --timeout");
    let _silent = fake.welcome_as(8, FEED, 0);
    broadcast.stderr.expect("reconnected to ");
    broadcast.stderr.expect(lost);
    let mut server = fake.welcome_sender(9, FEED, 1);
    broadcast.stderr.expect("reconnected to ");
    answer_search(&mut server, 7, "ok clients 0 1", 0);
    server.send("ok resume 0\nbroadcast 1 7 one\nok quiet");
    assert_eq!(broadcast.wait().code(), Some(0));
}

#[test]
fn sender_with_every_line_confirmed_exits_without_a_server() {
    let fake = FakeServer::new();
    let mut broadcast = fake.start_broadcast(&[]);
    let mut server = fake.welcome_sender(7, FEED, 0);
    broadcast.write_input(b"one\n");
    server.expect("broadcast one");
    server.send("ok broadcast 1");
    drop(server);
    drop(fake);
    broadcast.stderr.expect("lost: ");
    broadcast.close_input();
    assert_eq!(broadcast.wait_all().0, 0);
}

#[test]
fn sender_reports_a_restarted_server_and_continues() {
    let fake = FakeServer::new();
    let mut broadcast = fake.start_broadcast(&[]);
    let mut server = fake.welcome_sender(7, FEED, 0);
    broadcast.write_input(b"one\n");
    server.expect("broadcast one");
    server.send("ok broadcast 1");
    drop(server);
    let mut server = fake.welcome_sender(1, "00000001", 0);
    broadcast.stderr.expect("lost: ");
    broadcast.stderr.expect("connected to ");
    broadcast.stderr.expect(&format!("{OTHER_FEED}; it does not have the lines sent so far"));
    broadcast.write_input(b"two\n");
    server.expect("broadcast two");
    server.send("ok broadcast 1");
    broadcast.close_input();
    assert_eq!(broadcast.wait_all().0, 0);
}

#[test]
fn refused_line_is_skipped_or_ends_the_input() {
    for (options, status) in [(&["--skip-bad"][..], 0), (&[][..], 1)] {
        let fake = FakeServer::new();
        let mut broadcast = fake.start_broadcast(options);
        let mut server = fake.welcome_sender(7, FEED, 20);
        send_four(&mut broadcast, &mut server, 20);
        server.send("error line-too-long a line has at most 3 bytes\nok broadcast 23");
        broadcast.close_input();
        let (code, _, stderr) = broadcast.wait_all();
        assert_eq!(code, status, "{stderr}");
        let refused = "refused input line 3: the line is too long: a line has at most 3 bytes";
        assert!(stderr.contains(refused), "{stderr}");
        let outcome = "; 3 of lines 1 to 4 were broadcast; nothing after them\n";
        assert_eq!(stderr.ends_with(outcome), status == 1, "{stderr}");
    }
}

#[test]
fn client_with_a_secret_reconnects_after_an_auth_timeout() {
    let fake = FakeServer::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "sesame\n").unwrap();
    let mut listen = fake.start(&["--secret-file", file.to_str().unwrap(), "listen"]);
    for _ in 0..2 {
        let mut server = fake.welcome(FEED, 0);
        server.expect("auth sesame");
        server.send("goodbye auth-timeout");
        listen.stderr.wait_for("lost: the server disconnected this client: auth-timeout");
    }
}

#[test]
fn sender_resends_unanswered_lines_after_a_goodbye() {
    let fake = FakeServer::new();
    let mut broadcast = fake.start_broadcast(&[]);
    let mut server = fake.welcome_sender(7, FEED, 20);
    send_four(&mut broadcast, &mut server, 20);
    server.send("goodbye shutdown");
    let mut server = fake.welcome_sender(1, "00000001", 0);
    broadcast.stderr.expect("lost: the server was shut down; reconnecting");
    server.expect("broadcast three");
    server.expect("broadcast four");
    server.send("ok broadcast 1\nok broadcast 2");
    broadcast.close_input();
    assert_eq!(broadcast.wait_all().0, 0);
}

#[test]
fn lost_connection_error_says_how_much_was_broadcast() {
    let fake = FakeServer::new();
    for options in [&["--no-reconnect"][..], &["--name", "al"]] {
        let mut broadcast = fake.start_broadcast(options);
        let mut server = fake.welcome(FEED, 0);
        if options[0] == "--name" {
            server.expect("name al");
            server.send("ok name al");
        }
        server.expect("quiet");
        server.expect("stats");
        server.send("ok quiet\nok stats");
        send_four(&mut broadcast, &mut server, 0);
        server.shutdown_write();
        fails(broadcast, TWO_CONFIRMED);
    }

    // A line without a reply before the goodbye was not executed.
    let mut broadcast = fake.start_broadcast(&["--no-reconnect"]);
    let mut server = fake.welcome_sender(1, FEED, 0);
    broadcast.write_input(b"one\ntwo\n");
    server.expect("broadcast one");
    server.expect("broadcast two");
    server.send("ok broadcast 1\ngoodbye shutdown");
    fails(broadcast, "the server was shut down; line 1 was broadcast; nothing after it");
}

#[test]
fn client_without_a_secret_gives_up_when_the_server_requires_it() {
    let fake = FakeServer::new();
    let listen = fake.start(&["listen"]);
    fake.welcome(FEED, 0).send("goodbye auth-timeout");
    fails(listen, "requires a secret; use --secret-file FILE");

    let ping = fake.start(&["--name", "al", "ping"]);
    fake.welcome(FEED, 0).send("error auth-required auth <secret> first");
    fails(ping, "refused the name al: it requires a secret; use --secret-file FILE");
}

#[test]
fn endless_reply_is_an_error() {
    let fake = FakeServer::new();
    let clients = fake.start(&["clients"]);
    let mut server = fake.welcome(FEED, 0);
    server.send("client 1 -\nok clients 1 9");
    // An empty page ends the list, even if its total promises more.
    server.send("ok clients 1 9");
    assert_eq!(clients.wait_all(), SILENT_SUCCESS);

    let stats = fake.start(&["stats"]);
    let mut server = fake.welcome(FEED, 0);
    server.try_send_bytes("stat a 1\n".repeat(20_000).as_bytes());
    let (status, _, stderr) = stats.wait_all();
    assert_eq!((status, stderr.as_str()), (1, "oyez: the server's reply does not end\n"));

    // An endless reply is also an error while a sender determines which lines were broadcast.
    for (prefix, endless) in [
        ("", "stat a 1\n"),
        ("", "news from tomorrow\n"),
        ("ok quiet\nok stats\n", "client 7 -\n"),
        ("ok quiet\nok stats\nok clients 0 1\n", "direct 7 x\n"),
    ] {
        let fake = FakeServer::new();
        let broadcast = start_half_confirmed(&fake, &[]);
        let mut server = fake.welcome_as(9, FEED, 24);
        server.try_send_bytes(format!("{prefix}{}", endless.repeat(20_000)).as_bytes());
        let (status, _, stderr) = broadcast.wait_all();
        let error = format!("oyez: the server's reply does not end; {TWO_CONFIRMED}\n");
        assert!(status == 1 && stderr.ends_with(&error), "{prefix:?} {endless:?}: {stderr}");
    }

    let mut broadcast = fake.oyez(&["broadcast", "-"]);
    let broadcast = Program::start(broadcast.stdin(File::open("/dev/zero").unwrap()));
    let mut server = fake.welcome(FEED, 0);
    server.send(&format!("ok quiet\nstat max_line {}\nok stats", u64::MAX));
    fails(broadcast, "input line 1 is longer than 1048630 bytes");
}

#[test]
fn sender_reads_replies_during_an_endless_input_line() {
    let fake = FakeServer::new();
    let options = ["--no-reconnect", "--skip-bad", "broadcast", "--file", "/dev/zero"];
    let mut broadcast = fake.start(&options);
    let mut server = fake.welcome_sender(1, FEED, 0);
    broadcast.stderr.expect("skipped: input line 1 is longer than 90 bytes");
    server.send("goodbye idle");
    fails(broadcast, "the server disconnected this client for being idle");
}

#[test]
fn trickle_of_bytes_does_not_extend_the_timeout() {
    let fake = FakeServer::new();
    let ping = fake.start(&["--timeout", "1", "ping"]);
    let mut server = fake.welcome(FEED, 0);
    let trickle = thread::spawn(move || {
        // Sends one byte at a time until the client gives up and closes the connection.
        while server.try_send_bytes(b"x") {
            thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    fails(ping, "no answer from the server for 1 s");
    trickle.join().unwrap();
}

#[test]
fn shutdown_fails_unless_the_server_confirms_it() {
    let fake = FakeServer::new();
    let shutdown = fake.start(&["shutdown"]);
    fake.welcome(FEED, 0).send("goodbye idle");
    fails(shutdown, "the server disconnected this client for being idle");
}

/// Every command fails on invalid output from the server. The error is one line without control
/// characters.
#[test]
fn no_control_character_from_the_server_is_printed() {
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
            let fake = FakeServer::new();
            let mut oyez = fake.oyez(command);
            let oyez = Program::start(oyez.stdin(Stdio::piped()));
            let mut server = fake.accept();
            // The client may close the connection before everything is sent.
            server.try_send_bytes(&opening);
            let (status, stdout, stderr) = oyez.wait_all();
            let context = format!("{command:?}: {stdout:?} {stderr:?}");
            let is_harmless = |c: char| c == '\n' || !c.is_control() && c != '\u{2028}';
            assert_eq!(status, 1, "{context}");
            assert!(stdout.chars().chain(stderr.chars()).all(is_harmless), "{context}");
            assert!(stderr.contains("is not an oyez server: it sent "), "{context}");
            let position = format!("oyez: continue with --since {FEED}-0\n");
            let error = stderr.strip_prefix(&position).unwrap_or(&stderr);
            assert!(error.len() < 500 && error.lines().count() == 1, "{context}");
        }
    }
}

#[test]
fn unsolicited_reply_is_an_error() {
    for reply in ["pong", "ok quiet", "ok stats", "welcome 2 00000000 0 oyezd/9 hi", "ok listen 5"]
    {
        let fake = FakeServer::new();
        let listen = fake.start(&["listen"]);
        fake.welcome(FEED, 0).send(reply);
        let (status, _, stderr) = listen.wait_all();
        assert_eq!(status, 1, "{reply}: {stderr}");
        assert!(stderr.contains("is not an oyez server: it sent "), "{reply}: {stderr}");
    }
}

#[test]
fn unknown_message_from_the_server_is_ignored() {
    let fake = FakeServer::new();
    let mut listen = fake.start(&["listen", "--count", "1"]);
    let mut server = fake.welcome(FEED, 0);
    server.send("news from tomorrow\nok tomorrow 1\n\nbroadcast 1 bob hi");
    listen.stdout.expect("hi");
    assert_eq!(listen.wait().code(), Some(0));
}
