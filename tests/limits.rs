//! Limits: slow consumers, backpressure, a full server and a lack of file descriptors do not affect
//! other clients.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;

use support::crowd::{Crowd, flood};
use support::{Client, Server, size, wait_until};

/// Reads broadcasts, which must follow `seq` without a gap, until another line arrives. Returns the
/// last sequence number and the other line.
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
fn stalled_reader_is_evicted_and_others_get_every_line() {
    let mut server = Server::start(&[]);
    let mut stalled = server.client();
    let mut crowd = Crowd::connect(server.tcp(), 5);
    let lines = 500_000;
    let sender = flood(server.tcp(), &"x".repeat(100), lines);
    crowd.read_through(lines as u64);
    sender.join().unwrap();
    assert_eq!(server.stat("too_slow"), 1);
    let peak_kib = server.peak_memory_kib();
    assert!(peak_kib < (16 + 16) * 1024, "{peak_kib} KiB for a feed of 16 MiB");

    // The stalled reader still receives complete lines in sequence, then the reason.
    let (seq, goodbye) = read_broadcasts(&mut stalled, 0);
    assert!(seq > 1000 && seq < lines as u64, "{seq}");
    assert_eq!(goodbye, "goodbye too-slow");
    stalled.expect_end();
    drop(stalled);
    let line = server.wait_for_log("disconnected: too slow: fell more than --feed-size behind");
    assert!(line.contains("client 1 from 127.0.0.1:"), "{line}");
}

#[test]
fn client_evicted_by_its_own_broadcasts_gets_nothing_after_goodbye() {
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
fn unread_replies_use_little_memory_and_all_arrive() {
    let server = Server::start(&[]);
    let mut asker = server.client();
    let mut other = server.client();
    let pings = 100_000;
    let text = "x".repeat(94);
    let all = format!("ping {text}\n").repeat(pings);
    let sent = asker.send_until_full(all.as_bytes(), all.len());
    other.ask("ping", "pong");
    let peak_kib = server.peak_memory_kib();
    assert!(peak_kib < 16 * 1024, "{peak_kib} KiB for {sent} bytes of pings");
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
fn direct_message_to_a_stalled_reader_is_refused() {
    let server = Server::start(&["--send-buffer", "4K"]);
    let mut stalled = server.client();
    let mut sender = server.client();
    let text = "x".repeat(4000);
    let mut accepted = 0;
    let busy = loop {
        sender.send(&format!("send 1 {text}"));
        let reply = sender.line();
        if reply != "ok send 1" {
            break reply;
        }
        accepted += 1;
        assert!(accepted < 100_000, "no message was refused");
    };
    assert!(busy.starts_with("error busy "), "{busy}");
    let peak_kib = server.peak_memory_kib();
    assert!(peak_kib < 16 * 1024, "{peak_kib} KiB");
    for _ in 0..accepted {
        stalled.expect(&format!("direct 2 {text}"));
    }
    sender.ask("send 1 again", "ok send 1");
    stalled.expect("direct 2 again");
}

#[test]
fn flooding_senders_cause_no_eviction() {
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
fn connection_to_a_full_server_is_refused_with_an_error() {
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
fn reconnecting_for_every_history_does_not_evade_the_replay_limit() {
    let mut server = Server::start(&["--feed-size", "8M"]);
    let lines = 2000;
    flood(server.tcp(), &"x".repeat(4000), lines).join().unwrap();
    // While the server is stopped, the kernel queues all connections and requests.
    server.signal("STOP");
    let mut readers: Vec<_> = (0..20).map(|_| Client::connect(&server.address)).collect();
    readers.iter_mut().for_each(|reader| reader.send("history 9999\nquit"));
    server.signal("CONT");
    server.wait_for_log("over the replay limit");
    for mut reader in readers {
        reader.read_welcome();
        reader.expect(&format!("ok history {lines}"));
        assert_eq!(read_broadcasts(&mut reader, 0), (lines as u64, "goodbye quit".to_owned()));
        reader.expect_end();
    }
}

#[test]
fn burst_of_connections_is_accepted() {
    let mut server = Server::start(&[]);
    // While the server is stopped, the kernel queues all connections.
    server.signal("STOP");
    let mut clients: Vec<_> = (0..1000).map(|_| Client::connect(&server.address)).collect();
    server.signal("CONT");
    for (i, client) in clients.iter_mut().enumerate() {
        client.read_welcome();
        assert_eq!(client.id, i as u64 + 1);
    }
    // Every connection is logged, or counted by a report of lines that are missing.
    let mut logged = 0;
    while logged < clients.len() {
        let line = server.wait_for_log("[oyezd] ");
        let count = |before, after| Some(line.split_once(before)?.1.split_once(after)?.0);
        let missing = count(" dropped ", " log line")
            .or_else(|| count("… and ", " more lines about clients"));
        logged += match missing {
            Some(count) => count.parse().unwrap(),
            None => usize::from(line.contains(" connected from ")),
        };
    }
}

/// Starts a server that may open `limit` descriptors and inherits `inherited` open ones.
fn server_with_descriptors(limit: usize, inherited: usize) -> Server {
    let inherited: String =
        (10..10 + inherited).map(|fd| format!("exec {fd}</dev/null; ")).collect();
    Server::start_after_script(&format!("ulimit -n {limit}; {inherited}"), &[])
}

#[test]
fn connections_beyond_the_descriptor_limit_are_refused_with_an_error() {
    let server = server_with_descriptors(40, 0);
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(&server.address)).collect();
    let (mut welcomed, mut refused) = (vec![], 0);
    for mut client in clients.drain(..) {
        let line = client.line();
        if line.starts_with("welcome ") {
            welcomed.push(client);
        } else {
            assert!(line.starts_with("error server-full "), "{line}");
            refused += 1;
        }
    }
    assert_eq!(welcomed.len() + refused, 100);
    assert!(welcomed.len() >= 20, "only {} of 40 descriptors serve clients", welcomed.len());
    server.assert_idle();
    welcomed.drain(..5).for_each(|mut client| client.ask("quit", "goodbye quit"));
    let mut observer = welcomed.pop().unwrap();
    wait_until(|| observer.stat("clients") == welcomed.len() as u64 + 1);
    server.client();
}

#[test]
fn queued_connections_are_accepted_when_descriptors_become_free() {
    let mut server = server_with_descriptors(40, 16);
    let mut clients: Vec<_> = (0..30).map(|_| Client::connect(&server.address)).collect();
    server.wait_for_log("cannot accept connections: ");
    clients[0].read_welcome();
    let accepted = clients[0].stat("clients") as usize;
    assert!((5..25).contains(&accepted), "{accepted}");
    server.assert_idle();
    let mut waiting = clients.split_off(accepted);
    for mut client in clients.drain(..5) {
        client.send("quit");
    }
    // The queued connections are accepted although no new one arrives to wake the server.
    for client in &mut waiting[..5] {
        client.read_welcome();
    }
}

#[test]
fn idle_clients_do_not_keep_the_server_busy() {
    let server = Server::start(&[]);
    let clients: Vec<_> = (0..200).map(|_| server.client()).collect();
    let mut with_partial_line = server.client();
    with_partial_line.send_bytes(b"say h");
    server.assert_idle();
    drop(clients);
}
