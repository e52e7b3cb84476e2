//! Fault injection: clients reach the server through a proxy that delays, fragments, cuts off and
//! resets connections. An intact connection receives everything, a broken one receives a prefix,
//! and the server frees the resources of both.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use support::{Address, Client, Rng, Server, size, wait_until};

/// How one direction of a connection behaves.
#[derive(Clone, Copy, Debug)]
struct Fault {
    /// The maximum number of bytes forwarded at a time.
    chunk: usize,
    /// The delay after each chunk.
    delay: Duration,
    /// How many bytes pass before the connection is cut off in both directions.
    cut_after: usize,
    /// Whether the cut is a reset.
    is_reset: bool,
}

fn random_fault(rng: &mut Rng) -> Fault {
    let chunks = [1, 7, 100, 64 * 1024];
    let chunk = chunks[rng.below(chunks.len())];
    Fault {
        chunk,
        delay: Duration::from_micros(rng.below(if chunk < 100 { 200 } else { 3000 }) as u64),
        cut_after: if rng.one_in(3) { usize::MAX } else { rng.below(4000) },
        is_reset: rng.one_in(2),
    }
}

/// Forwards bytes in one direction, with this fault.
fn forward(mut from: TcpStream, mut to: TcpStream, fault: Fault) {
    let mut buffer = vec![0; fault.chunk];
    let mut left = fault.cut_after;
    while left > 0 {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(len) if to.write_all(&buffer[..len.min(left)]).is_ok() => left -= len.min(left),
            _ => break,
        }
        thread::sleep(fault.delay);
    }
    for stream in [&from, &to] {
        if fault.is_reset {
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Starts a proxy that injects random faults into connections to the server. Returns its address.
fn faulty_proxy(server: SocketAddr, seed: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut rng = Rng::new(seed);
        for near in listener.incoming().map(Result::unwrap) {
            let far = TcpStream::connect(server).unwrap();
            let (near_end, far_end) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let (to_server, to_client) = (random_fault(&mut rng), random_fault(&mut rng));
            thread::spawn(move || forward(near, far, to_server));
            thread::spawn(move || forward(far_end, near_end, to_client));
        }
    });
    address
}

/// Generates the input of one client. Returns it and the number of its pings.
fn random_script(rng: &mut Rng) -> (Vec<u8>, u64) {
    let (mut script, mut pings) = (vec![], 0);
    for _ in 0..rng.below(60) {
        match rng.below(10) {
            0..4 => script.extend(format!("say {}\n", "x".repeat(1 + rng.below(300))).bytes()),
            4..7 => {
                script.extend(format!("ping {pings}\n").bytes());
                pings += 1;
            }
            7 => script.extend(b"history 5\nclients\n"),
            8 => script.extend(b"say \xff\n\x1b[2J\n"),
            _ => script.extend(vec![b'z'; rng.below(6000)].into_iter().chain([b'\n'])),
        }
    }
    script.extend(b"quit\n");
    (script, pings)
}

/// Sends a script and checks everything received until the connection ends. Returns whether the
/// connection survived: all replies and the goodbye arrived.
fn run_script(mut client: Client, script: &[u8], pings: u64) -> bool {
    // The connection may be cut off at any byte.
    let _ = client.try_send_bytes(script);
    let received = client.rest_until_error();
    let (mut seq, mut pongs) = (None, 0);
    let whole_lines = received.rfind('\n').map_or(0, |lf| lf + 1);
    for line in received[..whole_lines].lines() {
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
                assert_eq!(pongs, pings, "a reply is missing");
                assert_eq!(received.len(), whole_lines, "bytes follow the goodbye");
                return true;
            }
            _ => panic!("unexpected line {line:?}"),
        }
    }
    false
}

/// Runs clients through the faulty proxy and checks that the server and a directly connected client
/// are not affected. OYEZ_ROUNDS sets the number of rounds.
fn run_clients_through_faults(server: Server) {
    let (rounds, clients) = (size("OYEZ_ROUNDS", 1) as u64, 40);
    let mut survivors = 0;
    let mut observer = server.client();
    let descriptors = server.open_descriptors();
    for seed in 0..rounds {
        eprintln!("seed {seed}");
        let mut rng = Rng::new(seed);
        let proxy = faulty_proxy(server.tcp(), seed);
        let proxy = match &server.address {
            Address::Tls(_, roots) => Address::Tls(proxy, roots.clone()),
            _ => Address::Tcp(proxy),
        };
        survivors += thread::scope(|scope| {
            let threads: Vec<_> = (0..clients)
                .map(|_| {
                    let (script, pings) = random_script(&mut rng);
                    let client = Client::connect(&proxy);
                    scope.spawn(move || run_script(client, &script, pings))
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap().then_some(())).count()
        });
    }
    assert!(survivors > 0, "no connection survived");
    // The server has removed every other client and closed its descriptor.
    wait_until(|| observer.stat("clients") == 1);
    wait_until(|| server.open_descriptors() <= descriptors);
    let broadcasts = observer.stat("broadcasts");
    observer.send(&format!("history {broadcasts}"));
    while observer.line() != format!("ok history {broadcasts}") {}
    for seq in 1..=broadcasts {
        assert!(observer.line().starts_with(&format!("broadcast {seq} ")));
    }
    observer.ask("ping", "pong");
    drop(observer);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    // The log has a disconnect with a reason for every connect.
    let connected = log.matches(" connected from ").count();
    assert_eq!(log.matches(" disconnected: ").count(), connected, "{log}");
}

#[test]
fn faulty_network_affects_no_other_client() {
    run_clients_through_faults(Server::start(&["--feed-size", "64M", "--drain-timeout", "1"]));
}

#[cfg(feature = "tls")]
#[test]
fn faulty_network_affects_no_other_client_over_tls() {
    run_clients_through_faults(Server::start_tls(&[
        "--feed-size",
        "64M",
        "--drain-timeout",
        "1",
        "--auth-timeout",
        "3",
    ]));
}
