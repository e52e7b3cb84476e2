//! What is sent from the feed's mirror is what was said, and whatever fails there, the lines go on.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use support::{Client, Server};

/// The text of the nth line: no two are alike, and their lengths differ.
fn text(nth: u64) -> String {
    let mut random = nth;
    let letters = (0..100 + nth * 37 % 800).map(|_| {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        char::from(b'a' + (random >> 33) as u8 % 26)
    });
    format!("{nth} {}", letters.collect::<String>())
}

/// Says the lines up to this one, which follow those up to `said`.
fn say(sender: &mut Client, said: u64, up_to: u64) {
    for first in (said + 1..=up_to).step_by(50) {
        let last = up_to.min(first + 49);
        let lines: String = (first..=last).map(|nth| format!("say {}\n", text(nth))).collect();
        sender.send_bytes(lines.as_bytes());
        for nth in first..=last {
            sender.expect(&format!("ok broadcast {nth}"));
        }
    }
}

/// Reads up to a line, all that there are or all that is told to be missing, each of which must be
/// right: the numbers of those that came.
fn read(reader: &mut Client, mut seq: u64, up_to: u64) -> Vec<u64> {
    let mut came = vec![];
    while seq < up_to {
        let line = reader.line();
        if let Some(lines) = line.strip_prefix("lagged ") {
            seq += lines.parse::<u64>().unwrap();
        } else {
            seq += 1;
            assert_eq!(line, format!("broadcast {seq} 1 {}", text(seq)));
            came.push(seq);
        }
    }
    came
}

/// The first of all clients, who hears nothing.
fn sender(server: &Server) -> Client {
    let mut sender = server.client();
    sender.ask("quiet", "ok quiet");
    sender
}

const SMALL_FEED: [&str; 6] =
    ["--feed-mirror", "always", "--feed-size", "256K", "--slow-clients", "skip"];

#[test]
fn what_a_slow_reader_has_in_its_socket_stays_right_while_chunks_go() {
    let server = Server::start(&SMALL_FEED);
    let mut sender = sender(&server);
    let mut readers: Vec<Client> = (0..4).map(|_| server.client()).collect();
    // They stop at different places, and what comes next waits in their sockets.
    for (nth, reader) in (1..).zip(&mut readers) {
        let up_to = nth * 70;
        say(&mut sender, (nth - 1) * 70, up_to);
        assert_eq!(read(reader, 0, up_to).len() as u64, up_to);
    }
    let (_, mirrored) = server.descriptors();
    assert!((1..=4).contains(&mirrored), "{mirrored}");
    let last = 4000;
    say(&mut sender, 280, last);
    let oldest = sender.stat("feed_oldest");
    assert!(oldest > 2000, "the feed has come round some times: {oldest}");
    for (nth, reader) in (1..).zip(&mut readers) {
        let came = read(reader, nth * 70, last);
        let held = came.iter().filter(|&&seq| seq < oldest).count();
        assert!(held > 50, "{held} lines waited in a socket for longer than in the feed");
    }
    assert!(server.descriptors().1 <= 4, "what is gone is closed");
}

/// A server that cannot mirror what it is told, and a reader that gets it all the same, while others are
/// there.
#[track_caller]
fn lines_go_on(
    mut server: Server,
    mut sender: Client,
    mut reader: Client,
    others: Vec<Client>,
    why: &str,
) {
    let mut said = 0;
    while said < 2000 {
        say(&mut sender, said, said + 100);
        read(&mut reader, said, said + 100);
        said += 100;
    }
    let warning = server.wait_for_log("cannot mirror the feed, and write it instead");
    assert!(warning.contains(why), "{warning}");
    drop(others);
    let mut late = server.client();
    late.send("history 100");
    late.expect("ok history 100");
    assert_eq!(read(&mut late, said - 100, said).len(), 100);
}

#[test]
fn lines_go_on_where_files_may_only_be_small() {
    let server = Server::start_after("ulimit -f 16", &SMALL_FEED);
    let (sender, reader) = (sender(&server), server.client());
    lines_go_on(server, sender, reader, vec![], "File too large");
}

#[test]
fn lines_go_on_where_there_are_no_descriptors() {
    let inherited: String = (10..26).map(|fd| format!("exec {fd}</dev/null; ")).collect();
    let mut server = Server::start_after(&format!("ulimit -n 40; {inherited}"), &SMALL_FEED);
    let (sender, reader) = (sender(&server), server.client());
    let others: Vec<Client> = (0..30).map(|_| Client::connect(&server.address)).collect();
    server.wait_for_log("cannot accept: ");
    lines_go_on(server, sender, reader, others, "Too many open files");
}

#[test]
fn nothing_is_mirrored_where_that_is_off_or_of_no_use() {
    for mode in ["off", "auto"] {
        let server = Server::start(&["--feed-mirror", mode]);
        let mut sender = sender(&server);
        let mut reader = server.client();
        say(&mut sender, 0, 1000);
        assert_eq!(read(&mut reader, 0, 1000).len(), 1000);
        assert_eq!(server.descriptors().1, 0, "{mode}");
    }
}
