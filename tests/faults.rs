//! The whole server behind a network that delays, drips, cuts and resets: whoever is not cut off gets
//! everything, whoever is gets a beginning of it, and nothing of them is left behind.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::rng::Rng;
use support::{Address, Client, Server, TIMEOUT, size};

/// What befalls a connection.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// So many bytes are passed on at a time …
    lump: usize,
    /// … and then nothing for so long.
    pause: Duration,
    /// After so many bytes, either way, it ends …
    bytes: usize,
    /// … by a reset.
    is_reset: bool,
}

fn fate(choices: &mut Rng) -> Fate {
    let lumps = [1, 7, 100, 64 * 1024];
    let lump = lumps[choices.below(lumps.len())];
    Fate {
        lump,
        pause: Duration::from_micros(choices.below(if lump < 100 { 200 } else { 3000 }) as u64),
        bytes: if choices.below(3) == 0 { usize::MAX } else { choices.below(4000) },
        is_reset: choices.below(2) == 0,
    }
}

/// Passes on what comes, as fate will have it.
fn pass_on(mut from: TcpStream, mut to: TcpStream, fate: Fate) {
    let mut buffer = vec![0; fate.lump];
    let mut left = fate.bytes;
    while left > 0 {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(len) if to.write_all(&buffer[..len.min(left)]).is_ok() => left -= len.min(left),
            _ => break,
        }
        thread::sleep(fate.pause);
    }
    for stream in [&from, &to] {
        if fate.is_reset {
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A way to the server that is bad in many ways.
fn bad_network(server: SocketAddr, seed: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut choices = Rng::new(seed);
        for near in listener.incoming().map(Result::unwrap) {
            let far = TcpStream::connect(server).unwrap();
            let ends = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let (there, back) = (fate(&mut choices), fate(&mut choices));
            thread::spawn(move || pass_on(near, far, there));
            thread::spawn(move || pass_on(ends.1, ends.0, back));
        }
    });
    address
}

/// What a client says, and how many of that are pings.
fn script(choices: &mut Rng) -> (Vec<u8>, u64) {
    let (mut script, mut pings) = (vec![], 0);
    for _ in 0..choices.below(60) {
        match choices.below(10) {
            0..4 => script.extend(format!("say {}\n", "x".repeat(1 + choices.below(300))).bytes()),
            4..7 => {
                script.extend(format!("ping {pings}\n").bytes());
                pings += 1;
            }
            7 => script.extend(b"history 5\nclients\n"),
            8 => script.extend(b"say \xff\n\x1b[2J\n"),
            _ => script.extend(vec![b'z'; choices.below(6000)].into_iter().chain([b'\n'])),
        }
    }
    script.extend(b"quit\n");
    (script, pings)
}

/// Says all of it, and checks what comes as far as it comes: whether that was all.
fn talk(mut client: Client, script: &[u8], pings: u64) -> bool {
    // It may be cut off at any byte.
    let _ = client.try_send_bytes(script);
    let said = client.rest_until_error();
    let (mut seq, mut pongs) = (None, 0);
    let whole = said.rfind('\n').map_or(0, |lf| lf + 1);
    for line in said[..whole].lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["welcome", _, _, rest] => seq = rest.split(' ').next().unwrap().parse().ok(),
            ["broadcast", number, ..] => {
                let number: u64 = number.parse().unwrap();
                assert_eq!(Some(number), seq.map(|seq| seq + 1), "{line}");
                seq = Some(number);
            }
            ["ok", "history", lines] => seq = seq.map(|seq| seq - lines.parse::<u64>().unwrap()),
            ["pong", number] => {
                assert_eq!(number.parse(), Ok(pongs), "{line}");
                pongs += 1;
            }
            ["client" | "ok" | "error", ..] => {}
            ["goodbye", "quit"] => {
                assert_eq!((pongs, said.len()), (pings, whole), "nothing comes behind it");
                return true;
            }
            _ => panic!("{line:?}"),
        }
    }
    false
}

/// OYEZ_ROUNDS makes more of it.
fn survive(server: Server) {
    let (rounds, clients) = (size("OYEZ_ROUNDS", 1) as u64, 40);
    let mut whole = 0;
    let mut witness = server.client();
    let before = server.descriptors();
    for round in 0..rounds {
        eprintln!("seed {round}");
        let mut choices = Rng::new(round);
        let way = match &server.address {
            Address::Tls(_, roots) => Address::Tls(bad_network(server.tcp(), round), roots.clone()),
            _ => Address::Tcp(bad_network(server.tcp(), round)),
        };
        whole += thread::scope(|scope| {
            let talks: Vec<_> = (0..clients)
                .map(|_| {
                    let (script, pings) = script(&mut choices);
                    let client = Client::connect(&way);
                    scope.spawn(move || talk(client, &script, pings))
                })
                .collect();
            talks.into_iter().filter_map(|talk| talk.join().unwrap().then_some(())).count()
        });
    }
    assert!(whole > 0, "nobody gets through");
    // All are gone, in time.
    let deadline = Instant::now() + TIMEOUT;
    while witness.stat("clients") > 1 {
        assert!(Instant::now() < deadline, "somebody stays");
    }
    while server.descriptors() > before {
        assert!(Instant::now() < deadline, "descriptors stay");
    }
    let broadcasts = witness.stat("broadcasts");
    witness.send(&format!("history {broadcasts}"));
    while witness.line() != format!("ok history {broadcasts}") {}
    for seq in 1..=broadcasts {
        assert!(witness.line().starts_with(&format!("broadcast {seq} ")));
    }
    witness.ask("ping", "pong");
    drop(witness);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    // Whoever has come has gone, for a reason.
    let come = log.matches(" connected from ").count();
    assert_eq!(log.matches(" disconnected: ").count(), come, "{log}");
}

#[test]
fn a_bad_network_harms_nobody_else() {
    survive(Server::start(&["--feed-size", "64M", "--drain-timeout", "1"]));
}

#[cfg(feature = "tls")]
#[test]
fn a_bad_network_harms_nobody_else_over_tls() {
    survive(Server::start_tls(&[
        "--feed-size",
        "64M",
        "--drain-timeout",
        "1",
        "--auth-timeout",
        "3",
    ]));
}
