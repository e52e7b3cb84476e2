//! `oyez` behind a proxy that ends the connection after every possible number of bytes, in either
//! direction: every line arrives exactly once and in order, or the exit status is 1 and the error
//! message is correct. With OYEZ_STEP=N, only every Nth offset is tested. OYEZ_TLS_STEP and
//! OYEZ_SECOND_STEP do the same for TLS, and for the second of two connections that are cut.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use support::proxy::{Cut, Direction, Manner, Proxy};
use support::{Address, Client, Program, Server, oyez, size};
use tempfile::TempDir;

/// The number of clients that run at the same time. They spend most of their time waiting to
/// reconnect.
const THREADS: usize = 32;

/// How many lines each client sends or receives.
const LINES: usize = 4;

const ANYWHERE: [(Direction, Manner); 4] = [
    (Direction::ToServer, Manner::HalfClose),
    (Direction::ToServer, Manner::Close),
    (Direction::FromServer, Manner::HalfClose),
    (Direction::FromServer, Manner::Close),
];

/// A server with a secret.
struct Secured {
    address: Address,
    /// The file with the secret.
    secret: PathBuf,
}

impl Secured {
    /// Starts the server. It ends when the returned server is dropped.
    fn start() -> (Server, TempDir, Self) {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "sesame\n").unwrap();
        let server = Server::start(&["--secret-file", secret.to_str().unwrap()]);
        let secured = Self { address: server.address.clone(), secret };
        (server, folder, secured)
    }

    /// Starts a proxy in front of the server.
    fn proxy(&self, cuts: Vec<Cut>) -> Proxy {
        match &self.address {
            Address::Tcp(address) | Address::Tls(address, _) => Proxy::start(*address, cuts),
            Address::Unix(_) => panic!("a proxy needs a TCP address"),
        }
    }

    /// Returns a command for an `oyez` that connects to this address.
    fn oyez(&self, address: SocketAddr) -> Command {
        let mut command = oyez();
        command.args(["-s", &address.to_string(), "--secret-file"]).arg(&self.secret);
        if let Address::Tls(_, roots) = &self.address {
            command.arg("--tls-ca").arg(roots);
        }
        command
    }

    /// Returns the lines that were broadcast and begin with this number.
    fn broadcast_by(&self, number: u64) -> String {
        let mut reader = self.client();
        reader.send("resume 0\nquiet");
        // Lines may arrive before the reply.
        while reader.line() != "ok resume 0" {}
        let prefix = format!(" {number:05} ");
        let mut lines = String::new();
        loop {
            let line = reader.line();
            if line == "ok quiet" {
                return lines;
            }
            if line.contains(&prefix) {
                lines += &format!("{}\n", line.splitn(4, ' ').nth(3).unwrap());
            }
        }
    }

    /// Returns whether a client may have been cut off before it received a welcome.
    fn may_have_no_welcome(&self, cuts: &[Cut]) -> bool {
        /// The length of the longest welcome in these tests.
        const WELCOME: u64 = 72;
        cuts.first().is_some_and(|cut| match (&self.address, cut.direction) {
            // It may even have been cut off in the handshake.
            (Address::Tls(..), _) => true,
            (_, Direction::ToServer) => cut.after == 0 && cut.manner == Manner::Close,
            (_, Direction::FromServer) => cut.after < WELCOME,
        })
    }

    fn client(&self) -> Client {
        let mut client = Client::connect_and_read_welcome(&self.address);
        client.ask("auth sesame", "ok auth user");
        client
    }

    /// Runs `test` for every cut after the `first` ones, in each direction and manner, up to the
    /// number of bytes that a client needs without it.
    fn at_every_offset(
        &self,
        first: &[Cut],
        step: u64,
        test: impl Fn(&Self, Vec<Cut>, u64) -> Proxy + Sync,
    ) {
        let number = AtomicU64::new(0);
        let whole = test(self, first.to_vec(), number.fetch_add(1, Ordering::Relaxed));
        let [to_server, from_server] =
            [Direction::ToServer, Direction::FromServer].map(|direction| whole.passed(direction));
        assert!(to_server > 0 && from_server > to_server, "{to_server}, {from_server}");
        let mut cuts = vec![];
        for (direction, manner) in ANYWHERE {
            let end = if direction == Direction::ToServer { to_server } else { from_server };
            let after = (0..=end).step_by(step as usize);
            cuts.extend(after.map(|after| Cut { direction, after, manner }));
        }
        let next = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(cut) = cuts.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                        let cuts = [first, &[*cut]].concat();
                        test(self, cuts, number.fetch_add(1, Ordering::Relaxed));
                    }
                });
            }
        });
    }
}

/// Runs a sender. Asserts that each of its lines is broadcast once, in order, or that it fails
/// without having received a welcome, and nothing is broadcast.
fn send(secured: &Secured, options: &[&str], cuts: Vec<Cut>, number: u64) -> Proxy {
    let context = format!("{options:?} {cuts:?}");
    let may_fail = secured.may_have_no_welcome(&cuts);
    let proxy = secured.proxy(cuts);
    let input: String = (0..LINES).map(|line| format!("{number:05} line {line}\n")).collect();
    let mut command = secured.oyez(proxy.address);
    command.args(["broadcast", "-"]).args(options);
    let (status, stdout, stderr) = Program::run_with(&mut command, input.as_bytes());
    assert_eq!(stdout, "", "{context}: {stderr}");
    let arrived = secured.broadcast_by(number);
    if status == 1 && may_fail {
        let cannot = ["oyez: cannot reach ", "oyez: cannot set up TLS with "];
        assert!(cannot.iter().any(|cannot| stderr.starts_with(cannot)), "{context}: {stderr}");
        assert_eq!(arrived, "", "{context}: {stderr}");
    } else {
        assert_eq!((status, arrived), (0, input), "{context}: {stderr}");
        assert!(!stderr.contains("skipped"), "{context}: {stderr}");
    }
    proxy
}

#[test]
fn sender_cut_off_anywhere_delivers_every_line_once() {
    let (_server, _folder, secured) = Secured::start();
    let step = size("OYEZ_STEP", 1) as u64;
    for options in [&[][..], &["--skip-bad"]] {
        secured.at_every_offset(&[], step, |secured, cuts, number| {
            // The number distinguishes the runs with different options.
            send(secured, options, cuts, 2 * number + u64::from(!options.is_empty()))
        });
    }
}

/// The end of the connection without a close_notify, between records and inside them.
#[cfg(feature = "tls")]
#[test]
fn sender_cut_off_anywhere_in_tls_delivers_every_line_once() {
    let (server, folder, mut secured) = Secured::start();
    drop(server);
    let server = Server::start_tls(&["--secret-file", secured.secret.to_str().unwrap()]);
    secured.address = server.address.clone();
    let step = size("OYEZ_TLS_STEP", 29) as u64;
    secured.at_every_offset(&[], step, |secured, cuts, number| {
        send(secured, &["--skip-bad"], cuts, number)
    });
    drop(folder);
}

#[test]
fn sender_cut_off_anywhere_while_it_searches_delivers_every_line_once() {
    let (_server, _folder, secured) = Secured::start();
    let step = size("OYEZ_SECOND_STEP", 11) as u64;
    // In the middle of the second line.
    let first = "auth sesame\nquiet\nstats\nbroadcast 00000 line 0\nbroadcast 00";
    let after = first.len() as u64;
    let first = [Cut { direction: Direction::ToServer, after, manner: Manner::HalfClose }];
    secured.at_every_offset(&first, step, |secured, cuts, number| {
        send(secured, &["--skip-bad"], cuts, number)
    });
}

/// Parses an error. Returns the number of the last line that was broadcast, and of the last line
/// that may have been, according to the error.
fn claimed(stderr: &str) -> (usize, usize) {
    let last = |suffix: &str| {
        let (before, _) = stderr.split_once(suffix)?;
        before.rsplit(' ').next()?.parse().ok()
    };
    let confirmed = last(" was broadcast").or(last(" were broadcast")).unwrap_or(0);
    (confirmed, last(" may have been").unwrap_or(confirmed))
}

#[test]
fn sender_that_does_not_reconnect_says_what_was_broadcast() {
    let (_server, _folder, secured) = Secured::start();
    let step = size("OYEZ_STEP", 1) as u64;
    secured.at_every_offset(&[], step, |secured, cuts, number| {
        let context = format!("{cuts:?}");
        let proxy = secured.proxy(cuts);
        let lines = |count| (1..=count).map(|line| format!("{number:05} line {line}\n"));
        let input: String = lines(LINES).collect();
        let mut command = secured.oyez(proxy.address);
        command.args(["broadcast", "-", "--no-reconnect"]);
        let (status, _, stderr) = Program::run_with(&mut command, input.as_bytes());
        let arrived = secured.broadcast_by(number);
        let (confirmed, unconfirmed) = if status == 0 { (LINES, LINES) } else { claimed(&stderr) };
        let is_true =
            (confirmed..=unconfirmed).any(|count| arrived == lines(count).collect::<String>());
        assert!(is_true, "{context}: {stderr}{arrived}");
        proxy
    });
}

#[test]
fn failed_broadcast_says_whether_the_line_may_have_been_delivered() {
    let (_server, _folder, secured) = Secured::start();
    let step = size("OYEZ_STEP", 1) as u64;
    secured.at_every_offset(&[], step, |secured, cuts, number| {
        let context = format!("{cuts:?}");
        let proxy = secured.proxy(cuts);
        let text = format!("{number:05} hi");
        let mut command = secured.oyez(proxy.address);
        let (status, _, stderr) = Program::run(command.args(["broadcast", &text]));
        let arrived = secured.broadcast_by(number);
        let may_be_delivered = stderr.contains("; the line may have been delivered");
        match arrived.as_str() {
            "" => assert_eq!(status, 1, "{context}: {stderr}"),
            arrived => assert_eq!(arrived, format!("{text}\n"), "{context}: {stderr}"),
        }
        assert!(status == 0 || arrived.is_empty() || may_be_delivered, "{context}: {stderr}");
        proxy
    });
}

#[test]
fn raw_cut_off_anywhere_fails_if_a_reply_is_missing() {
    let (_server, _folder, secured) = Secured::start();
    let step = size("OYEZ_STEP", 1) as u64;
    for last in ["ping x", "quit"] {
        secured.at_every_offset(&[], step, |secured, cuts, number| {
            let context = format!("{last} {cuts:?}");
            let proxy = secured.proxy(cuts);
            let text = format!("{number:05} {last}");
            let mut command = secured.oyez(proxy.address);
            let input = format!("ping\nsay {text}\n{last}\n");
            let (status, stdout, stderr) = Program::run_with(command.arg("raw"), input.as_bytes());
            // Lines of other senders may arrive, too.
            let mut lines = stdout.lines();
            let is_answered = lines.any(|line| line == "pong")
                && lines.any(|line| line.starts_with("broadcast ") && line.ends_with(&text))
                && lines.any(|line| {
                    line == last.replace("ping", "pong").replace("quit", "goodbye quit")
                });
            match status {
                0 => assert!(is_answered && stderr.is_empty(), "{context}: {stdout}{stderr}"),
                _ => assert!(stderr.lines().count() == 1, "{context}: {stdout}{stderr}"),
            }
            assert!(!is_answered || !stderr.contains("not answered"), "{context}: {stderr}");
            proxy
        });
    }
}

#[test]
fn listener_cut_off_anywhere_prints_every_line_once() {
    let (_server, _folder, secured) = Secured::start();
    let mut sender = secured.client();
    let expected: String = (1..=LINES).map(|line| format!("line {line}\n")).collect();
    for (seq, line) in (1..).zip(expected.lines()) {
        sender.ask(&format!("say {line}"), &format!("broadcast {seq} {} {line}", sender.id));
    }
    let listen = |secured: &Secured, cuts: Vec<Cut>, number: u64| {
        let context = format!("{cuts:?}");
        let may_fail = secured.may_have_no_welcome(&cuts);
        let proxy = secured.proxy(cuts);
        let mut command = secured.oyez(proxy.address);
        let count = LINES.to_string();
        command.args(["--name", &format!("n{number}"), "listen", "--since", "0", "--count"]);
        let (status, stdout, stderr) = Program::run(command.arg(count));
        if status == 1 && may_fail {
            assert!(stderr.contains("cannot reach ") && stdout.is_empty(), "{context}: {stderr}");
        } else {
            assert_eq!((status, stdout.as_str()), (0, expected.as_str()), "{context}: {stderr}");
        }
        proxy
    };
    secured.at_every_offset(&[], size("OYEZ_STEP", 1) as u64, listen);
    let in_name = "auth sesame\nna".len() as u64;
    let first = [Cut { direction: Direction::ToServer, after: in_name, manner: Manner::HalfClose }];
    secured.at_every_offset(&first, size("OYEZ_SECOND_STEP", 11) as u64, listen);
}
