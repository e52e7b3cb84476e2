//! Who asks for too much, or reads too little, harms nobody else.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::time::Duration;

use support::crowd::{Crowd, flood};
use support::{Client, Server, size};

/// Reads broadcast lines, which must follow each other from `seq` on, up to another line.
fn read_broadcasts(client: &mut Client, mut seq: u64) -> (u64, String) {
    loop {
        let line = client.line();
        let Some(rest) = line.strip_prefix("broadcast ") else { return (seq, line) };
        let (number, _) = rest.split_once(' ').unwrap();
        seq += 1;
        assert_eq!(number, seq.to_string());
    }
}

#[test]
fn one_that_never_reads_is_cut_and_the_others_get_every_line() {
    let mut server = Server::start(&[]);
    let mut stalled = server.client();
    let mut crowd = Crowd::connect(server.tcp(), 5);
    let lines = 500_000;
    let sender = flood(server.tcp(), &"x".repeat(100), lines);
    crowd.read_through(lines as u64);
    sender.join().unwrap();
    assert_eq!(server.stat("too_slow"), 1);
    let (_, most_kib) = server.memory_kib();
    assert!(most_kib < (16 + 16) * 1024, "{most_kib} KiB for a feed of 16 MiB");

    // It still gets a run of whole lines, and is told why it ends.
    let (seq, goodbye) = read_broadcasts(&mut stalled, 0);
    assert!(seq > 1000 && seq < lines as u64, "{seq}");
    assert_eq!(goodbye, "goodbye too-slow");
    stalled.expect_end();
    drop(stalled);
    let line = server.wait_for_log("disconnected: too slow: fell more than --feed-size behind");
    assert!(line.contains("client 1 from 127.0.0.1:"), "{line}");
}

#[test]
fn one_lapped_by_its_own_broadcasts_is_answered_nothing_after_its_goodbye() {
    let server = Server::start(&["--feed-size", "256K", "--send-buffer", "4K"]);
    let mut client = server.client();
    let text = "x".repeat(4000);
    let sent = client.send_until_full(format!("say {text}\n").as_bytes(), 64 << 20);
    assert!(sent > 1 << 20, "{sent}");
    let (_, goodbye) = read_broadcasts(&mut client, 0);
    assert_eq!(goodbye, "goodbye too-slow");
    client.expect_end();
}

#[test]
fn unread_pings_take_no_memory_and_are_all_answered() {
    let server = Server::start(&[]);
    let mut asker = server.client();
    let mut other = server.client();
    let pings = 100_000;
    let text = "x".repeat(94);
    let all = format!("ping {text}\n").repeat(pings);
    let sent = asker.send_until_full(all.as_bytes(), all.len());
    other.ask("ping", "pong");
    let (_, most_kib) = server.memory_kib();
    assert!(most_kib < 16 * 1024, "{most_kib} KiB for {sent} bytes of pings");
    std::thread::scope(|scope| {
        let mut writer = asker.writer();
        scope.spawn(move || {
            writer.write_all(&all.as_bytes()[sent..]).unwrap();
        });
        for _ in 0..pings {
            asker.expect(&format!("pong {text}"));
        }
    });
    asker.ask("ping", "pong");
}

#[test]
fn a_message_to_one_who_does_not_read_is_refused() {
    let server = Server::start(&["--send-buffer", "4K"]);
    let mut deaf = server.client();
    let mut sender = server.client();
    let text = "x".repeat(4000);
    let mut taken = 0;
    let busy = loop {
        sender.send(&format!("send 1 {text}"));
        let answer = sender.line();
        if answer != "ok send 1" {
            break answer;
        }
        taken += 1;
        assert!(taken < 100_000, "it is never busy");
    };
    assert!(busy.starts_with("error busy "), "{busy}");
    let (_, most_kib) = server.memory_kib();
    assert!(most_kib < 16 * 1024, "{most_kib} KiB");
    for _ in 0..taken {
        deaf.expect(&format!("direct 2 {text}"));
    }
    sender.ask("send 1 again", "ok send 1");
    deaf.expect("direct 2 again");
}

#[test]
fn senders_that_flood_lose_no_reader() {
    let readers = size("OYEZ_READERS", 100);
    let lines = size("OYEZ_LINES", 200_000);
    let server = Server::start(&[]);
    let mut crowd = Crowd::connect(server.tcp(), readers);
    let senders: Vec<_> =
        (0..10).map(|_| flood(server.tcp(), &"x".repeat(90), lines / 10)).collect();
    crowd.read_through(lines as u64);
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(server.stat("too_slow"), 0);
}

#[test]
fn who_comes_when_the_server_is_full_is_told() {
    let mut server = Server::start(&["--max-clients", "2"]);
    let mut a = server.client();
    let mut b = server.client();
    for _ in 0..20 {
        let mut late = Client::connect(&server.address);
        late.send("say never");
        late.expect("error server-full too many clients; try again later");
        late.expect_end();
    }
    server.wait_for_log("refused 127.0.0.1:");
    assert_eq!(a.stat("refused"), 20);
    assert_eq!(a.stat("broadcasts"), 0);
    b.ask("quit", "goodbye quit");
    b.expect_end();
    drop(b);
    server.wait_for_log("disconnected: quit");
    assert_eq!(server.client().id, 3);
}

#[test]
fn a_burst_of_connections_is_not_turned_away() {
    let mut server = Server::start(&[]);
    // None of them can be accepted before the last has connected.
    server.signal("STOP");
    let mut clients: Vec<_> = (0..1000).map(|_| Client::connect(&server.address)).collect();
    server.signal("CONT");
    for (i, client) in clients.iter_mut().enumerate() {
        client.welcome();
        assert_eq!(client.id, i as u64 + 1);
    }
    server.wait_for_log("client 1000 connected");
}

/// A server with few descriptors, some of which somebody else left open for it.
fn server_with_descriptors(limit: usize, inherited: usize) -> Server {
    let inherited: String =
        (10..10 + inherited).map(|fd| format!("exec {fd}</dev/null; ")).collect();
    Server::start_after(&format!("ulimit -n {limit}; {inherited}"), &[])
}

#[track_caller]
fn idles(server: &Server) {
    let before = server.cpu_ticks();
    // What is measured is the time that it uses while nothing happens.
    std::thread::sleep(Duration::from_millis(500));
    let used = server.cpu_ticks() - before;
    assert!(used < 20, "{used} hundredths of a second of 50");
}

#[test]
fn with_few_descriptors_those_beyond_are_told() {
    let server = server_with_descriptors(40, 0);
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(&server.address)).collect();
    let (mut inside, mut told) = (vec![], 0);
    for mut client in clients.drain(..) {
        let line = client.line();
        if line.starts_with("welcome ") {
            inside.push(client);
        } else {
            assert!(line.starts_with("error server-full "), "{line}");
            told += 1;
        }
    }
    assert_eq!(inside.len() + told, 100);
    assert!(inside.len() >= 20, "{} of 40 descriptors serve clients", inside.len());
    idles(&server);
    inside.drain(..5).for_each(|mut client| client.ask("quit", "goodbye quit"));
    let mut asker = inside.pop().unwrap();
    while asker.stat("clients") > inside.len() as u64 + 1 {}
    let mut late = Client::connect(&server.address);
    late.welcome();
}

#[test]
fn when_descriptors_run_out_the_queue_waits_and_moves_by_itself() {
    let mut server = server_with_descriptors(40, 16);
    let mut clients: Vec<_> = (0..30).map(|_| Client::connect(&server.address)).collect();
    server.wait_for_log("cannot accept connections: ");
    clients[0].welcome();
    let accepted = clients[0].stat("clients") as usize;
    assert!((5..25).contains(&accepted), "{accepted}");
    idles(&server);
    let mut waiting = clients.split_off(accepted);
    for mut client in clients.drain(..5) {
        client.send("quit");
    }
    // Nobody else connects; those who wait are let in.
    for client in &mut waiting[..5] {
        client.welcome();
    }
}

#[test]
fn idle_clients_cost_no_time() {
    let server = Server::start(&[]);
    let clients: Vec<_> = (0..200).map(|_| server.client()).collect();
    let _half_a_line = {
        let mut client = server.client();
        client.send_bytes(b"say h");
        client
    };
    idles(&server);
    drop(clients);
}
