//! Churn of every kind, for as long as one likes, and nothing is left behind by it: no memory, no
//! descriptor, no line, and no end without a reason.
//!
//! OYEZ_SOAK=1800 cargo test --release --test soak -- --nocapture
//! runs half an hour of it, in seconds.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::crowd::Crowd;
use support::rng::Rng;
use support::{Address, Client, Server, TIMEOUT, oyezd, size};

/// What the threads have in common.
struct Soak {
    plain: Address,
    tls: Option<Address>,
    /// How many lines the server has confirmed.
    said: AtomicU64,
    connections: AtomicU64,
    is_over: AtomicBool,
}

impl Soak {
    fn connect(&self, address: &Address) -> Client {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut client = Client::connect(address);
        client.welcome();
        client
    }

    /// Says so many lines, and reads the answers.
    fn say(&self, client: &mut Client, lines: usize) {
        quieten(client);
        client.send_bytes("say something or other\n".repeat(lines).as_bytes());
        for _ in 0..lines {
            assert!(client.line().starts_with("ok broadcast "));
        }
        self.said.fetch_add(lines as u64, Ordering::Relaxed);
    }

    /// One thing that clients do.
    fn befall(&self, choices: &mut Rng) {
        let address = match &self.tls {
            Some(tls) if choices.below(4) == 0 => tls,
            _ => &self.plain,
        };
        let mut client = self.connect(address);
        match choices.below(8) {
            0 | 1 => self.say(&mut client, 1 + choices.below(20)),
            2 => self.say(&mut client, 2000),
            3 => {
                quieten(&mut client);
                client.send("history 500");
                let answer = client.line();
                let lines: usize = answer.strip_prefix("ok history ").unwrap().parse().unwrap();
                (0..lines).for_each(|_| assert!(client.line().starts_with("broadcast ")));
            }
            // One that reads nothing for a while, as its way to spend time, and then is reset.
            4 => {
                client.send(&format!("name al{}\nclients\nhelp", client.id));
                thread::sleep(Duration::from_millis(choices.below(300) as u64));
                client.reset();
            }
            5 => client.send_bytes(b"say half a line"),
            6 => client.send_bytes(b"GET / HTTP/1.1\r\n\r\n"),
            _ => {
                quieten(&mut client);
                client.send("quit");
                while client.line() != "goodbye quit" {}
                client.expect_end();
            }
        }
    }
}

/// Has no more lines come, and passes over those that did.
fn quieten(client: &mut Client) {
    client.send("quiet");
    while client.line() != "ok quiet" {}
}

/// Waits until all have gone who have come since there were so many descriptors.
fn wait_for_quiet(server: &Server, before: usize) {
    let deadline = Instant::now() + TIMEOUT;
    while server.descriptors() > before {
        assert!(Instant::now() < deadline, "somebody stays");
    }
}

#[test]
fn nothing_is_left_behind() {
    let seconds = size("OYEZ_SOAK", 3) as u64;
    let folder = tempfile::tempdir().unwrap();
    let mut command = oyezd();
    command.args(["--listen", "127.0.0.1:0", "--feed-size", "4M", "--drain-timeout", "2"]);
    if cfg!(feature = "tls") {
        let certificates = folder.path().to_str().unwrap();
        command.args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed", certificates]);
    }
    let mut server = Server::spawn(command);
    let tls = cfg!(feature = "tls").then(|| {
        let line = server.wait_for_log("listening on ");
        let address = support::address_in(&line);
        let Address::Tcp(address) = address else { panic!("{address}") };
        Address::Tls(address, folder.path().join("cert.pem"))
    });
    let soak = Soak {
        plain: server.address.clone(),
        tls,
        said: AtomicU64::new(0),
        connections: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    let mut witness = Crowd::connect(server.tcp(), 1);
    let open = server.descriptors();
    let mut memory = vec![];
    for stretch in 0..3 {
        soak.is_over.store(false, Ordering::Relaxed);
        let end = Instant::now() + Duration::from_secs(seconds) / 3;
        thread::scope(|scope| {
            for nth in 0..8 {
                let soak = &soak;
                scope.spawn(move || {
                    let mut choices = Rng::new(stretch * 100 + nth);
                    while !soak.is_over.load(Ordering::Relaxed) {
                        soak.befall(&mut choices);
                    }
                });
            }
            while Instant::now() < end {
                witness.read_through(soak.said.load(Ordering::Relaxed));
                server.signal("HUP");
                thread::sleep(Duration::from_millis(200));
            }
            soak.is_over.store(true, Ordering::Relaxed);
        });
        // No line is lost, by our own count.
        let said = soak.said.load(Ordering::Relaxed);
        witness.read_through(said);
        assert_eq!(server.stat("broadcasts"), said);
        wait_for_quiet(&server, open);
        memory.push(server.memory_kib().0);
    }
    let before = server.cpu_ticks();
    thread::sleep(Duration::from_millis(500));
    let idle = server.cpu_ticks() - before;
    let connections = soak.connections.load(Ordering::Relaxed);
    eprintln!(
        "{seconds} s: {connections} connections, {} lines; after each third {memory:?} KiB and \
         {open} descriptors; then {idle} hundredths of a second of 50",
        soak.said.load(Ordering::Relaxed)
    );
    assert!(memory[2] < memory[0] + 2048, "{memory:?} KiB");
    assert!(idle < 10, "{idle} hundredths of a second of 50 while nothing happens");
    drop(witness);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success());
    let (come, gone) =
        (log.matches(" connected from ").count(), log.matches(" disconnected: ").count());
    assert_eq!(come, gone, "everybody who comes goes, for a reason");
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
}
