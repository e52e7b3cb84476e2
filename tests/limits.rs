//! Who asks for too much, or reads too little, harms nobody else.
#![allow(clippy::unwrap_used)]

mod support;

use support::Server;
use support::crowd::{Crowd, flood};

fn scale(default: usize, variable: &str) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn senders_that_flood_lose_no_reader() {
    let readers = scale(100, "OYEZ_READERS");
    let lines = scale(20_000, "OYEZ_LINES");
    let server =
        Server::start(&["--feed-size", &std::env::var("OYEZ_FEED").unwrap_or("1M".into())]);
    let mut crowd = Crowd::connect(server.tcp(), readers);
    let t = std::time::Instant::now();
    let senders: Vec<_> =
        (0..10).map(|_| flood(server.tcp(), &"x".repeat(90), lines / 10)).collect();
    crowd.read_up_to(lines as u64);
    eprintln!("{:?}", t.elapsed());
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(server.stat("too_slow"), 0);
}
