//! Soak test: clients of every kind connect and disconnect. The server must leak neither memory nor
//! file descriptors, lose no line, and log a reason for every disconnect.
//!
//! To run it for half an hour:
//!
//! ```sh
//! OYEZ_SOAK=1800 cargo test --release --test soak -- --nocapture
//! ```
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::crowd::Crowd;
use support::{Address, Client, Rng, Server, oyezd, size, wait_until};

/// The state that the client threads share.
struct Soak {
    plain: Address,
    tls: Option<Address>,
    /// How many broadcasts the server has confirmed.
    confirmed: AtomicU64,
    connections: AtomicU64,
    is_over: AtomicBool,
}

impl Soak {
    /// Broadcasts this many lines and reads the replies.
    fn broadcast(&self, client: &mut Client, lines: usize) {
        stop_listening(client);
        client.send_bytes("say something or other\n".repeat(lines).as_bytes());
        for _ in 0..lines {
            assert!(client.line().starts_with("ok broadcast "));
        }
        self.confirmed.fetch_add(lines as u64, Ordering::Relaxed);
    }

    /// Connects a client, which performs one random action.
    fn run_client(&self, rng: &mut Rng) {
        let address = match &self.tls {
            Some(tls) if rng.one_in(4) => tls,
            _ => &self.plain,
        };
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut client = Client::connect_and_read_welcome(address);
        match rng.below(8) {
            0 | 1 => self.broadcast(&mut client, 1 + rng.below(20)),
            2 => self.broadcast(&mut client, 2000),
            3 => {
                stop_listening(&mut client);
                client.send("history 500");
                let reply = client.line();
                let lines: usize = reply.strip_prefix("ok history ").unwrap().parse().unwrap();
                (0..lines).for_each(|_| assert!(client.line().starts_with("broadcast ")));
            }
            // Reads nothing for a random time, then resets the connection.
            4 => {
                client.send(&format!("name al{}\nclients\nhelp", client.id));
                thread::sleep(Duration::from_millis(rng.below(300) as u64));
                client.reset();
            }
            5 => client.send_bytes(b"say half a line"),
            6 => client.send_bytes(b"GET / HTTP/1.1\r\n\r\n"),
            _ => {
                stop_listening(&mut client);
                client.send("quit");
                while client.line() != "goodbye quit" {}
                client.expect_end();
            }
        }
    }
}

/// Sends `quiet` and skips the broadcasts that arrive before the reply.
fn stop_listening(client: &mut Client) {
    client.send("quiet");
    while client.line() != "ok quiet" {}
}

#[test]
fn churn_leaks_nothing_and_loses_no_line() {
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
        let address = support::listening_address(&line);
        let Address::Tcp(address) = address else { panic!("{address}") };
        Address::Tls(address, folder.path().join("cert.pem"))
    });
    let soak = Soak {
        plain: server.address.clone(),
        tls,
        confirmed: AtomicU64::new(0),
        connections: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    let mut observer = Crowd::connect(server.tcp(), 1);
    let descriptors = server.open_descriptors();
    let mut memory_kib = vec![];
    for third in 0..3 {
        soak.is_over.store(false, Ordering::Relaxed);
        let end = Instant::now() + Duration::from_secs(seconds) / 3;
        thread::scope(|scope| {
            for nth in 0..8 {
                let soak = &soak;
                scope.spawn(move || {
                    let mut rng = Rng::new(third * 100 + nth);
                    while !soak.is_over.load(Ordering::Relaxed) {
                        soak.run_client(&mut rng);
                    }
                });
            }
            while Instant::now() < end {
                observer.read_through(soak.confirmed.load(Ordering::Relaxed));
                server.signal("HUP");
                thread::sleep(Duration::from_millis(200));
            }
            soak.is_over.store(true, Ordering::Relaxed);
        });
        let confirmed = soak.confirmed.load(Ordering::Relaxed);
        observer.read_through(confirmed);
        assert_eq!(server.stat("broadcasts"), confirmed);
        wait_until(|| server.open_descriptors() <= descriptors);
        memory_kib.push(server.memory_kib());
    }
    server.assert_idle();
    let connections = soak.connections.load(Ordering::Relaxed);
    eprintln!(
        "{seconds} s: {connections} connections, {} lines; after each third {memory_kib:?} KiB and \
         {descriptors} descriptors",
        soak.confirmed.load(Ordering::Relaxed)
    );
    assert!(memory_kib[2] < memory_kib[0] + 2048, "{memory_kib:?} KiB");
    drop(observer);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success());
    let connected = log.matches(" connected from ").count();
    let disconnected = log.matches(" disconnected: ").count();
    assert_eq!(connected, disconnected, "every disconnect must be logged with a reason");
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
}
