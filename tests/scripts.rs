//! `oyez` in scripts: where `listen` starts and ends, its output formats, gaps, and JSON.
#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;
use std::io::{PipeReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::fake_server::{FEED, FakeServer};
use support::proxy::{Cut, Direction, Manner, Proxy};
use support::terminal::Terminal;
use support::{Client, Program, SILENT_SUCCESS, Server, fails, oyez, succeeds, wait_until};

/// Returns a command that runs `oyez` with this server.
fn client(server: &Server, arguments: &[&str]) -> Command {
    at(&server.address.to_string(), arguments)
}

fn at(address: &str, arguments: &[&str]) -> Command {
    let mut command = oyez();
    command.args(["-s", address]).args(arguments);
    command
}

/// Returns the feed of a server.
fn feed(server: &Server) -> String {
    Client::connect(&server.address).line().split(' ').nth(2).unwrap().to_owned()
}

/// Broadcasts these texts, and waits until the server has them.
fn say<T: ToString>(server: &Server, texts: impl IntoIterator<Item = T>) {
    let mut sender = server.client();
    for text in texts {
        sender.send(&format!("say {}", text.to_string()));
    }
    sender.shutdown_write();
    sender.rest();
}

/// Replaces each time in JSON output, which must be a UTC time in milliseconds.
#[track_caller]
fn without_times(json: &str) -> String {
    const KEY: &str = r#""received":""#;
    let mut parts = json.split(KEY);
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (time, rest) = part.split_once('"').unwrap();
        let digits: String =
            time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(digits, "0000-00-00T00:00:00.000Z");
        write!(out, "{KEY}TIME\"{rest}").unwrap();
    }
    out
}

/// The notice with which a listener ends.
fn continue_with(feed: &str, seq: u64) -> String {
    format!("oyez: continue with --since {feed}-{seq}\n")
}

#[test]
fn history_starts_with_the_last_lines() {
    let server = Server::start(&[]);
    let feed = feed(&server);
    say(&server, 1..=5);
    for (history, count, stdout) in
        [("2", "2", "4\n5\n"), ("2", "1", "4\n"), ("5", "5", "1\n2\n3\n4\n5\n")]
    {
        let listen = ["listen", "--history", history, "--count", count];
        let last = 5 - history.parse::<u64>().unwrap() + count.parse::<u64>().unwrap();
        let expected = (0, stdout.to_owned(), continue_with(&feed, last));
        assert_eq!(Program::run(&mut client(&server, &listen)), expected);
    }
    // There are fewer lines. The next ones follow.
    let mut listen = client(&server, &["listen", "--history", "99", "--count", "7"]);
    let mut listen = Program::start(&mut listen);
    (1..=5).for_each(|line| assert_eq!(listen.stdout.line(), line.to_string()));
    say(&server, 6..=7);
    let all = "1\n2\n3\n4\n5\n6\n7\n".to_owned();
    assert_eq!(listen.wait_all(), (0, all, continue_with(&feed, 7)));

    let mut listen = client(&server, &["listen", "--history", "0", "--count", "1"]);
    let listen = Program::start(&mut listen);
    let mut bob = server.client();
    wait_until(|| bob.stat("clients") >= 2);
    bob.send("say 8");
    assert_eq!(listen.wait_all(), (0, "8\n".to_owned(), continue_with(&feed, 8)));
}

#[test]
fn history_that_is_no_longer_kept_starts_with_the_oldest_line() {
    let server = Server::start(&["--feed-size", "256K"]);
    let line = "x".repeat(1000);
    say(&server, (1..=1000).map(|i| format!("{i} {line}")));
    let mut bob = server.client();
    let oldest = bob.stat("feed_oldest");
    assert!(oldest > 1);
    let count = (1000 - oldest + 1).to_string();
    let mut listen = client(&server, &["listen", "--history", "5000", "--count", &count]);
    let (status, stdout, stderr) = Program::run(&mut listen);
    assert_eq!((status, stderr), (0, continue_with(&feed(&server), 1000)));
    let expected = (oldest..=1000).fold(String::new(), |all, i| all + &format!("{i} {line}\n"));
    assert!(stdout == expected, "{}", stdout.len());
}

/// The lines that arrive while the client authenticates are new ones.
#[test]
fn history_is_complete_with_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "sesame\n").unwrap();
    let fake = FakeServer::new();
    let secret = secret.to_str().unwrap();
    let listen = fake.start(&["--secret-file", secret, "listen", "--history", "2", "--count", "4"]);
    let mut server = fake.welcome(FEED, 5);
    server.expect("auth sesame");
    server.expect(&format!("resume 3 {FEED}"));
    server.send("ok auth user\nok resume 3");
    (4..=7).for_each(|seq| server.send(&format!("broadcast {seq} bob {seq}")));
    let stdout = "4\n5\n6\n7\n".to_owned();
    assert_eq!(listen.wait_all(), (0, stdout, continue_with(FEED, 7)));

    let server = Server::start(&["--secret-file", secret]);
    let mut bob = server.client();
    bob.ask("auth sesame", "ok auth user");
    (1..=3).for_each(|seq| bob.ask(&format!("say {seq}"), &format!("broadcast {seq} 1 {seq}")));
    let listen = ["--secret-file", secret, "listen", "--history", "2", "--count", "2"];
    let (status, stdout, _) = Program::run(&mut client(&server, &listen));
    assert_eq!((status, stdout.as_str()), (0, "2\n3\n"));
}

/// Cuts the first connections of many listeners, each after another byte. A connection that is cut
/// inside the welcome line is a failure to connect, so the cuts begin after it.
#[test]
fn history_is_complete_after_a_cut_at_any_byte() {
    let server = Server::start(&[]);
    // From here on, all ids and sequence numbers have three digits.
    (0..100).for_each(|_| drop(server.client()));
    let mut seq = 100;
    say(&server, 1..=seq);
    let welcome = Client::connect(&server.address).line();
    let feed = welcome.split(' ').nth(2).unwrap();
    let from_server = "ok resume 100\n".len() + 5 * "broadcast 103 200 103\n".len();
    let from_server =
        (0..from_server).map(|after| (Direction::FromServer, welcome.len() + 1 + after));
    let to_server = format!("resume 100 {feed}\n").len();
    let cuts = from_server.chain((1..to_server).map(|after| (Direction::ToServer, after)));
    for cuts in cuts.collect::<Vec<_>>().chunks(20) {
        let start = |&(direction, after): &(Direction, usize)| {
            let cut = Cut { direction, after: after as u64, manner: Manner::Close };
            let proxy = Proxy::start(server.tcp(), vec![cut]);
            let listen = ["listen", "--history", "3", "--count", "5"];
            let listen = Program::start(&mut at(&proxy.address.to_string(), &listen));
            (cut, proxy, listen)
        };
        let listeners: Vec<_> = cuts.iter().map(start).collect();
        for (_, proxy, _) in &listeners {
            wait_until(|| proxy.passed(Direction::FromServer) > welcome.len() as u64);
        }
        say(&server, seq + 1..=seq + 2);
        let stdout = (seq - 2..=seq + 2).fold(String::new(), |all, i| all + &format!("{i}\n"));
        seq += 2;
        for (cut, proxy, listen) in listeners {
            let (status, printed, stderr) = listen.wait_all();
            assert_eq!((status, &printed), (0, &stdout), "{cut:?}: {stderr}");
            let reports = stderr.strip_suffix(&continue_with(feed, seq)).unwrap();
            match reports.lines().collect::<Vec<_>>()[..] {
                [] => {}
                [lost, reconnected] => {
                    let address = proxy.address;
                    let expected = format!("oyez: connection to {address} lost: ");
                    assert!(lost.starts_with(&expected), "{cut:?}: {stderr}");
                    assert_eq!(reconnected, format!("oyez: reconnected to {address}"));
                }
                _ => panic!("{cut:?}: {stderr}"),
            }
        }
    }
}

#[test]
fn named_format_prints_the_sender() {
    let fake = FakeServer::new();
    let listen = fake.start(&["listen", "--format", "named", "--count", "2"]);
    let mut server = fake.welcome(FEED, 0);
    server.send("broadcast 1 bob  two\twords \ndirect 7 psst\nlagged 3\nbroadcast 5 7 a: b");
    let (status, stdout, stderr) = listen.wait_all();
    assert_eq!((status, stdout.as_str()), (0, "bob:  two\twords \n7: a: b\n"));
    let notices = "oyez: direct message from 7: psst\n\
                   oyez: missed 3 lines here: this client read too slowly\n";
    assert_eq!(stderr, notices.to_owned() + &continue_with(FEED, 5));
}

#[test]
fn named_format_escapes_invisible_characters_on_a_terminal() {
    let server = Server::start(&[]);
    say(&server, ["a\u{ad}b"]);
    let listen = ["listen", "--since", "0", "--count", "1", "--format", "named"];
    let mut command = client(&server, &listen);
    let mut terminal = Terminal::start(&mut command, 24, 60);
    assert_eq!(terminal.program.wait().code(), Some(0));
    terminal.wait_until(|terminal| terminal.rows().iter().any(|row| row == "1: a\\u{ad}b"));
}

#[test]
fn listener_exits_after_the_given_time() {
    let server = Server::start(&[]);
    let feed = feed(&server);
    say(&server, ["one"]);
    // With both limits, the first one that is reached counts.
    for (count, time) in [("1", "60"), ("2", "1")] {
        let listen = ["listen", "--history", "1", "--count", count, "--for", time];
        let expected = (0, "one\n".to_owned(), continue_with(&feed, 1));
        assert_eq!(Program::run(&mut client(&server, &listen)), expected);
    }
    let silent = (0, String::new(), continue_with(&feed, 1));
    assert_eq!(Program::run(&mut client(&server, &["listen", "--for", "1"])), silent);

    // Lines that keep arriving do not delay the end.
    let fake = FakeServer::new();
    let listen = fake.start(&["listen", "--for", "1"]);
    let mut server = fake.welcome(FEED, 0);
    let mut seq = 0;
    while server.try_send_bytes(format!("broadcast {} bob x\n", seq + 1).as_bytes()) {
        seq += 1;
    }
    let (status, stdout, stderr) = listen.wait_all();
    let printed = stdout.lines().count() as u64;
    assert!(printed > 0 && printed <= seq, "{printed} of {seq}");
    assert_eq!((status, stderr), (0, continue_with(FEED, printed)));
}

#[test]
fn listener_that_is_refused_prints_no_position() {
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = ["good", "bad"].map(|name| {
        let path = folder.path().join(name);
        std::fs::write(&path, name).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let server = Server::start(&["--secret-file", &good]);
    let mut listen = client(&server, &["--secret-file", &bad, "listen"]);
    fails(&mut listen, 1, "rejected the secret");
    let mut bob = server.client();
    bob.ask("auth good", "ok auth user");
    bob.ask("name bob", "ok name bob");
    let mut listen = client(&server, &["--secret-file", &good, "--name", "bob", "listen"]);
    fails(&mut listen, 1, "choose another name");
}

/// Starts a listener, and fills the pipe to which it prints. Returns the pipe, the listener, and
/// the connection that has sent it 2000 lines.
fn listen_with_a_full_pipe(arguments: &[&str]) -> (PipeReader, Program, Client) {
    let fake = FakeServer::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut listen = fake.oyez(&[&["listen"], arguments].concat());
    let probe = writer.try_clone().unwrap();
    let listen = Program::start_with_piped_stderr(listen.stdout(writer));
    let mut server = fake.welcome(FEED, 0);
    let text = "x".repeat(99);
    (1..=2000).for_each(|seq| server.send(&format!("broadcast {seq} bob {text}")));
    let no_wait = Timespec::default();
    wait_until(|| poll(&mut [PollFd::new(&probe, PollFlags::OUT)], Some(&no_wait)) == Ok(0));
    (reader, listen, server)
}

#[test]
fn listener_exits_after_the_given_time_although_nothing_reads_its_output() {
    let error = "oyez: cannot write the last lines within --for: nothing reads standard output\n";
    let check = |arguments: &[&str], line: &str| {
        let (mut reader, mut listen, _server) = listen_with_a_full_pipe(arguments);
        assert_eq!(listen.wait().code(), Some(1));
        assert_eq!(listen.stderr.all(), error, "{arguments:?}");
        drop(listen);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        assert!(output.ends_with('\n') && output.lines().all(|text| text.ends_with(line)));
    };
    let (text, json) = ("x".repeat(99), "xxx\"}");
    thread::scope(|scope| {
        scope.spawn(|| check(&["--for", "1"], &text));
        scope.spawn(|| check(&["--for", "1", "--count", "1999"], &text));
        scope.spawn(|| check(&["--for", "1", "--format", "json"], json));
    });

    // A signal does not wait for either limit.
    let (_reader, mut listen, _server) = listen_with_a_full_pipe(&["--for", "600"]);
    listen.signal("TERM");
    assert_eq!(listen.wait().signal(), Some(15));
    assert_eq!(listen.stderr.all(), "");
}

#[test]
fn lines_that_are_read_late_are_printed_within_the_given_time() {
    let (mut reader, mut listen, _server) =
        listen_with_a_full_pipe(&["--for", "60", "--count", "2000"]);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    assert_eq!((listen.wait().code(), output.lines().count()), (Some(0), 2000));
    assert_eq!(listen.stderr.all(), continue_with(FEED, 2000));
}

#[test]
fn listener_without_a_connection_exits_after_the_given_time() {
    // The connection is lost, and the server does not come back.
    let fake = FakeServer::new();
    let address = fake.address();
    let listen = fake.start(&["listen", "--for", "2"]);
    fake.welcome(FEED, 7).send("broadcast 8 bob eight");
    drop(fake);
    let (status, stdout, stderr) = listen.wait_all();
    let lost = format!("oyez: connection to {address} lost: ");
    assert!(stderr.starts_with(&lost) && stderr.ends_with(&continue_with(FEED, 8)), "{stderr}");
    assert_eq!((status, stdout.as_str()), (0, "eight\n"));

    // The server was never reached, or sends no welcome.
    let mut listen = at(&address, &["listen", "--wait", "--for", "1"]);
    let (status, stdout, stderr) = Program::run(&mut listen);
    let error = format!("oyez: cannot reach {address} within --for\n");
    assert!(stderr.ends_with(&error), "{stderr}");
    assert_eq!((status, stdout.as_str()), (1, ""));
    let fake = FakeServer::new();
    let listen = fake.start(&["listen", "--for", "1"]);
    let _silent = fake.accept();
    let error = format!("oyez: cannot reach {} within --for\n", fake.address());
    assert_eq!(listen.wait_all(), (1, String::new(), error));
}

/// Plays a connection after which lines are missing for each cause. Returns the output of `listen`.
fn listen_with_gaps(format: &str) -> (String, String) {
    let fake = FakeServer::new();
    let since = format!("{FEED}-4");
    let listen = ["listen", "--since", &since, "--count", "5", "--format", format];
    let listen = fake.start(&listen);
    let mut server = fake.welcome(FEED, 5);
    server.expect(&format!("resume 4 {FEED}"));
    server.send("ok resume 4\nbroadcast 5 bob five\nlagged 3\nbroadcast 9 bob nine\nlagged 1");
    drop(server);
    // Line 10 was reported as missed.
    let mut server = fake.welcome(FEED, 90);
    server.expect(&format!("resume 10 {FEED}"));
    server.send(&format!("lagged 2\nerror gone 50 {FEED} kept from 50 on"));
    server.expect(&format!("resume 49 {FEED}"));
    server.send("ok resume 49\nbroadcast 50 bob fifty");
    drop(server);
    let mut server = fake.welcome("00000001", 2);
    server.expect("resume 0 00000001");
    server.send("error gone 2 00000001 kept from 2 on");
    server.expect("resume 1 00000001");
    server.send("ok resume 1\nbroadcast 2 bob two\nbroadcast 3 bob three");
    let (status, stdout, stderr) = listen.wait_all();
    assert_eq!(status, 0, "{stderr}");
    let address = fake.address();
    let stderr = stderr
        .replace(&format!("connection to {address} lost: the server closed the connection"), "lost")
        .replace(&format!("reconnected to {address}"), "reconnected");
    (stdout, stderr)
}

#[test]
fn each_gap_is_a_json_object() {
    let (stdout, stderr) = listen_with_gaps("json");
    let line = |feed: &str, seq: u64, text: &str| {
        format!(
            r#"{{"type":"broadcast","received":"TIME","id":"{feed}-{seq}","feed":"{feed}","seq":{seq},"from":"bob","text":"{text}"}}"#
        )
    };
    let gap = |cause: &str, after: &str, count: &str| {
        format!(
            r#"{{"type":"gap","received":"TIME","cause":"{cause}","after":"{after}","count":{count}}}"#
        )
    };
    let expected = [
        line(FEED, 5, "five"),
        gap("lagged", "00c0ffee-5", "3"),
        line(FEED, 9, "nine"),
        gap("lagged", "00c0ffee-9", "1"),
        gap("gone", "00c0ffee-10", "39"),
        line(FEED, 50, "fifty"),
        gap("restarted", "00c0ffee-50", "null"),
        gap("gone", "00000001-0", "1"),
        line("00000001", 2, "two"),
        line("00000001", 3, "three"),
    ];
    assert_eq!(without_times(&stdout), expected.map(|line| line + "\n").concat());
    assert_eq!(
        stderr,
        "oyez: lost; reconnecting\noyez: reconnected\n".repeat(2) + &continue_with("00000001", 3)
    );
}

#[test]
fn each_gap_is_a_notice_in_other_formats() {
    let (stdout, stderr) = listen_with_gaps("text");
    assert_eq!(stdout, "five\nnine\nfifty\ntwo\nthree\n");
    let later = "oyez: lost; reconnecting
oyez: reconnected
oyez: lines 11 to 49 are missing here: the server no longer has them
oyez: lost; reconnecting
oyez: reconnected
oyez: the server was restarted, or it is another server; lines may be missing
oyez: line 1 is missing here: the server no longer has it
oyez: continue with --since 00000001-3
";
    let missed = "oyez: missed 3 lines here: this client read too slowly
oyez: missed 1 line here: this client read too slowly
";
    assert_eq!(stderr, missed.to_owned() + later);

    let (stdout, stderr) = listen_with_gaps("lines");
    let printed = "broadcast 5 bob five
lagged 3
broadcast 9 bob nine
lagged 1
broadcast 50 bob fifty
broadcast 2 bob two
broadcast 3 bob three
";
    assert_eq!((stdout.as_str(), stderr.as_str()), (printed, later));
}

/// Returns the value of a field whose value contains no comma.
fn field<'a>(object: &'a str, key: &str) -> &'a str {
    let (_, rest) = object.split_once(&format!("\"{key}\":")).unwrap();
    rest.split([',', '}']).next().unwrap().trim_matches('"')
}

/// A listener whose standard output is not read for a while misses lines. It accounts for each.
#[test]
fn slow_listener_prints_or_counts_every_line() {
    const LAST: u64 = 30_000;
    let options = ["--slow-clients", "skip", "--feed-size", "256K", "--send-buffer", "4K"];
    let server = Server::start(&options);
    let feed = feed(&server);
    let mut listen = client(&server, &["listen", "--format", "json"]);
    let listen = listen.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut bob = server.client();
    bob.ask("quiet", "ok quiet");
    wait_until(|| bob.stat("clients") >= 2);
    let lines = format!("say {}\n", "x".repeat(1000)).repeat(100);
    for seq in (1..=LAST).step_by(100) {
        bob.send_bytes(lines.as_bytes());
        (seq..seq + 100).for_each(|seq| bob.expect(&format!("ok broadcast {seq}")));
    }
    // From here on, its output is read.
    let mut listen = Program::from(listen);
    let (mut last, mut missed) = (0, 0);
    while last < LAST {
        let object = listen.stdout.line();
        match field(&object, "type") {
            "gap" => {
                assert_eq!(field(&object, "cause"), "lagged");
                assert_eq!(field(&object, "after"), format!("{feed}-{last}"));
                let count: u64 = field(&object, "count").parse().unwrap();
                missed += count;
                last += count;
            }
            _ => {
                last += 1;
                assert_eq!(field(&object, "id"), format!("{feed}-{last}"));
            }
        }
    }
    assert_eq!((last, missed), (LAST, server.stat("lagged")));
    assert!(missed > 0);
}

#[test]
fn gaps_before_the_first_line_are_reported() {
    let server = Server::start(&["--feed-size", "256K"]);
    let feed = feed(&server);
    let line = "x".repeat(1000);
    say(&server, (1..=1000).map(|i| format!("{i} {line}")));
    let oldest = server.stat("feed_oldest");
    let first_gap = |since: &str| {
        let listen = ["listen", "--since", since, "--count", "1", "--format", "json"];
        let (status, stdout, stderr) = Program::run(&mut client(&server, &listen));
        let position = continue_with(&feed, oldest);
        assert_eq!((status, stderr), (0, position), "the notice is not repeated");
        let (gaps, line) = stdout.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(field(line, "seq"), oldest.to_string());
        without_times(gaps)
    };
    let gone = |after: u64| {
        let count = oldest - 1 - after;
        format!(
            r#"{{"type":"gap","received":"TIME","cause":"gone","after":"{feed}-{after}","count":{count}}}"#
        )
    };
    assert_eq!(first_gap(&format!("{feed}-7")), gone(7));
    let other = if feed == FEED { "00000001" } else { FEED };
    let restarted = format!(
        r#"{{"type":"gap","received":"TIME","cause":"restarted","after":"{other}-7","count":null}}"#
    );
    assert_eq!(first_gap(&format!("{other}-7")), format!("{restarted}\n{}", gone(0)));
}

/// Whatever a server sends, each object is one line of valid JSON.
#[test]
fn json_output_cannot_be_forged() {
    let fake = FakeServer::new();
    let listen = fake.start(&["listen", "--format", "json", "--count", "2"]);
    let mut server = fake.welcome(FEED, 0);
    server.send(r#"broadcast 1 "},{" \"},{"type":"gap"}"#);
    server.send("direct \\ \t\"\u{ad}é👍");
    server.send(&format!("broadcast {} bob \\", u64::MAX));
    let (status, stdout, _) = listen.wait_all();
    let expected = format!(
        r#"{{"type":"broadcast","received":"TIME","id":"{FEED}-1","feed":"{FEED}","seq":1,"from":"\"}},{{\"","text":"\\\"}},{{\"type\":\"gap\"}}"}}
{{"type":"direct","received":"TIME","from":"\\","text":"\t\"{soft_hyphen}é👍"}}
{{"type":"broadcast","received":"TIME","id":"{FEED}-{max}","feed":"{FEED}","seq":{max},"from":"bob","text":"\\"}}
"#,
        soft_hyphen = '\u{ad}',
        max = u64::MAX,
    );
    assert_eq!((status, without_times(&stdout)), (0, expected));
}

#[test]
fn broadcast_prints_its_number_as_json() {
    let server = Server::start(&[]);
    let feed = feed(&server);
    for seq in 1..=2 {
        let mut broadcast = client(&server, &["broadcast", "--format", "json", "hi"]);
        let id =
            format!(r#"{{"type":"broadcast","id":"{feed}-{seq}","feed":"{feed}","seq":{seq}}}"#);
        assert_eq!(succeeds(&mut broadcast), id + "\n");
    }
    assert_eq!(succeeds(&mut client(&server, &["broadcast", "--format", "text", "hi"])), "");
    let mut broadcast = client(&server, &["broadcast", "--format", "json", &"x".repeat(5000)]);
    fails(&mut broadcast, 1, "the line is too long");
}

#[test]
fn files_are_broadcast_in_order() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    let folder = tempfile::tempdir().unwrap();
    let [first, last] = [("first", "one\ntwo"), ("last", "five\n")].map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let files = ["broadcast", "--file", &first, "--file", "-", "--file", &last];
    let sent = Program::run_with(&mut client(&server, &files), b"three\nfour");
    assert_eq!(sent, SILENT_SUCCESS);
    for (seq, text) in (1..).zip(["one", "two", "three", "four", "five"]) {
        bob.expect(&format!("broadcast {seq} 2 {text}"));
    }
    let missing = folder.path().join("missing");
    let missing = missing.to_str().unwrap();
    let mut broadcast = client(&server, &["broadcast", "--file", &first, "--file", missing]);
    fails(&mut broadcast, 1, &format!("cannot read {missing}: "));
    bob.ask("ping", "pong");
}

#[test]
fn sender_with_a_name_says_why_it_does_not_reconnect() {
    let fake = FakeServer::new();
    let mut broadcast = fake.start_broadcast(&["--name", "web"]);
    let mut server = fake.welcome(FEED, 0);
    server.expect("name web");
    server.send("ok name web");
    server.expect("quiet");
    server.expect("stats");
    server.send("ok quiet\nok stats");
    broadcast.write_input(b"one\n");
    server.expect("broadcast one");
    server.send("ok broadcast 1");
    drop(server);
    let error = format!(
        "oyez: {}: the server closed the connection; not reconnecting with --name, because \
         another client may have taken the name meanwhile; line 1 was broadcast; nothing after it\n",
        fake.address()
    );
    assert_eq!(broadcast.wait_all(), (1, String::new(), error));
}

#[cfg(target_os = "linux")]
#[test]
fn progress_is_shown_only_in_the_foreground() {
    for (job, is_shown) in [("", true), ("&", false)] {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input");
        assert!(Command::new("mkfifo").arg(&input).status().unwrap().success());
        let fake = FakeServer::new();
        let broadcast = fake.oyez(&["--timeout", "1", "broadcast", "-"]);
        let script = format!("set -m; \"$@\" <{} {job}\nwait; echo done", input.display());
        let mut shell = Command::new("setsid");
        shell.args(["--ctty", "sh", "-c", &script, "sh"]);
        shell.arg(broadcast.get_program()).args(broadcast.get_args());
        let mut terminal = Terminal::start_with_stderr(&mut shell, 24, 80);
        let input = std::fs::File::create(input).unwrap();
        let mut server = fake.welcome_sender(1, FEED, 0);
        // The first keep-alive comes when the progress is due, and the second one after that.
        server.expect("ping");
        server.send("pong");
        server.expect("ping");
        drop(input);
        terminal.wait_until(|terminal| terminal.output().contains("done"));
        let output = terminal.output();
        assert_eq!(output.contains("0 lines broadcast, 0 pending"), is_shown, "{output:?}");
    }
}

#[test]
fn hyphen_after_a_double_hyphen_is_a_text() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    assert_eq!(succeeds(&mut client(&server, &["broadcast", "--", "-"])), "");
    bob.expect("broadcast 1 2 -");
    assert_eq!(
        Program::run_with(&mut client(&server, &["broadcast", "-"]), b"-\n"),
        SILENT_SUCCESS
    );
    bob.expect("broadcast 2 3 -");
}

#[test]
fn clients_are_listed_as_json() {
    let server = Server::start(&[]);
    let list = || client(&server, &["clients", "--format", "json"]);
    assert_eq!(succeeds(&mut list()), "");
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    let _nameless = server.client();
    assert_eq!(succeeds(&mut list()), "{\"id\":2,\"name\":\"bob\"}\n{\"id\":3,\"name\":null}\n");

    let fake = FakeServer::new();
    let list = fake.start(&["clients", "--format", "json"]);
    let mut server = fake.welcome_as(5, FEED, 0);
    server.expect("clients");
    server.send(&format!("client 5 me\nclient {} \"}},{{\"\nok clients 2 2", u64::MAX));
    server.expect(&format!("clients {}", u64::MAX));
    server.send("ok clients 0 2");
    let object = "{\"id\":18446744073709551615,\"name\":\"\\\"},{\\\"\"}\n".to_owned();
    assert_eq!(list.wait_all(), (0, object, String::new()));
}

#[test]
fn counters_are_one_json_object() {
    let server = Server::start(&["--max-line", "1000"]);
    let text = succeeds(&mut client(&server, &["stats"]));
    let keys = text.lines().map(|line| line.split(' ').next().unwrap());
    let json = succeeds(&mut client(&server, &["stats", "--format", "json"]));
    let fields = json.strip_prefix('{').unwrap().strip_suffix("}\n").unwrap();
    let fields: Vec<_> = fields.split(',').map(|field| field.split_once(':').unwrap()).collect();
    assert!(fields.iter().map(|(key, _)| key.trim_matches('"')).eq(keys), "{text}{json}");
    assert!(fields.iter().all(|(_, value)| value.parse::<u64>().is_ok()), "{json}");
    assert_eq!((field(&json, "clients_total"), field(&json, "max_line")), ("2", "1000"));
}

#[test]
fn invalid_counters_are_an_error() {
    let run = |counters: &str| {
        let fake = FakeServer::new();
        let stats = fake.start(&["stats", "--format", "json"]);
        let mut server = fake.welcome(FEED, 0);
        server.expect("stats");
        server.send(&format!("{counters}ok stats"));
        stats.wait_all()
    };
    let object = "{\"a\":18446744073709551615,\"\\\"\":0}\n".to_owned();
    assert_eq!(run("stat a 18446744073709551615\nstat \" 0\n"), (0, object, String::new()));
    assert_eq!(run(""), (0, "{}\n".to_owned(), String::new()));
    let invalid = "oyez: the server's list of counters is invalid\n".to_owned();
    let many = (0..1001).fold(String::new(), |all, i| all + &format!("stat x{i} 1\n"));
    let long = format!("stat {} 1\n", "x".repeat(101));
    for counters in ["stat a 1\nstat b 1\nstat a 2\n", &many, &long] {
        assert_eq!(run(counters), (1, String::new(), invalid.clone()));
    }
}

#[test]
fn options_that_do_not_fit_are_refused() {
    fails(
        oyez().args(["listen", "--history", "1", "--since", "1"]),
        2,
        "--since and --history cannot be combined",
    );
    fails(oyez().args(["listen", "--history", "x"]), 2, "--history");
    fails(oyez().args(["listen", "--for", "0"]), 2, "--for");
    fails(oyez().args(["stats", "--for", "1"]), 2, "--for is only for listen");
    fails(oyez().args(["clients", "--format", "named"]), 2, "expected text or json");
    fails(oyez().args(["stats", "--format", "lines"]), 2, "expected text or json");
    fails(oyez().args(["broadcast", "--format", "lines", "x"]), 2, "expected text or json");
    fails(oyez().args(["broadcast", "-", "--format", "json"]), 2, "--format is only for ");
}
