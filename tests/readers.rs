//! Readers of any pace beside a flood, over real sockets: each gets exactly what it was promised.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use support::crowd::flood;
use support::{Server, TIMEOUT, size};

/// What a reader was told, from its welcome on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Story {
    /// The newest line that it has got or was told that it misses: they follow each other.
    seq: u64,
    missed: u64,
    /// What was said last, if it was a goodbye.
    goodbye: Option<String>,
}

/// How fast a reader reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Fast,
    /// So many bytes, and then a rest.
    Slow(usize, Duration),
}

/// Reads up to a line, or the end.
fn read(stream: TcpStream, pace: Pace, up_to: u64, mut each: impl FnMut(u64)) -> Story {
    let mut story = Story::default();
    let mut input = BufReader::with_capacity(64 * 1024, stream);
    let mut line = String::new();
    let mut since_rest = 0;
    while story.seq < up_to && story.goodbye.is_none() {
        line.clear();
        if input.read_line(&mut line).unwrap() == 0 {
            panic!("the end, without a goodbye, after {story:?}");
        }
        if let Pace::Slow(bytes, rest) = pace {
            since_rest += line.len();
            if since_rest >= bytes {
                since_rest = 0;
                // Not to wait for something: this is how fast it is.
                thread::sleep(rest);
            }
        }
        assert!(line.ends_with('\n'), "half a line: {line}");
        let words: Vec<&str> = line.trim_end().splitn(5, ' ').collect();
        match words[0] {
            "broadcast" => {
                assert_eq!(words[1].parse(), Ok(story.seq + 1));
                story.seq += 1;
            }
            "lagged" => {
                let lines: u64 = words[1].parse().unwrap();
                story.seq += lines;
                story.missed += lines;
            }
            "goodbye" => story.goodbye = Some(words[1].to_owned()),
            "welcome" => assert_eq!(words[3], "0"),
            _ => panic!("{line}"),
        }
        each(story.seq);
    }
    story
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.tcp()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

const FEED_SIZE: u64 = 1 << 20;
const TEXT: usize = 180;

/// A flood to ten readers that are fast, one that is slow, and one that reads only when all is over:
/// what each of them was told, the stalled one last.
fn flood_to_all(policy: &str) -> (Server, Vec<Story>) {
    let lines = size("OYEZ_LINES", 50_000);
    let server = Server::start(&[
        "--slow-clients",
        policy,
        "--feed-size",
        &FEED_SIZE.to_string(),
        "--stall-timeout",
        "1",
        "--drain-timeout",
        "60",
    ]);
    let up_to = lines as u64;
    let stalled = connect(&server);
    let stories = thread::scope(|scope| {
        let slow = Pace::Slow(16 * 1024, Duration::from_millis(2));
        let paces = std::iter::repeat_n(Pace::Fast, 10).chain([slow]);
        let readers: Vec<ScopedJoinHandle<'_, Story>> = paces
            .map(|pace| (pace, connect(&server)))
            .map(|(pace, stream)| scope.spawn(move || read(stream, pace, up_to, |_| {})))
            .collect();
        while server.stat("clients") < 13 {}
        flood(server.tcp(), &"x".repeat(TEXT), lines).join().unwrap();
        let mut stories: Vec<Story> =
            readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        stories.push(read(stalled, Pace::Fast, up_to, |_| {}));
        stories
    });
    let (_, most_kib) = server.memory_kib();
    let feed_kib = FEED_SIZE / 1024;
    assert!(most_kib < feed_kib + 12 * 1024, "{most_kib} KiB, {feed_kib} of them for the feed");
    let all = Story { seq: up_to, ..Story::default() };
    for fast in &stories[..10] {
        assert_eq!(*fast, all);
    }
    (server, stories)
}

#[test]
fn who_is_too_slow_is_told_goodbye_and_the_others_get_every_line() {
    let (server, stories) = flood_to_all("disconnect");
    let mut cut = 0;
    for story in &stories[10..] {
        match story.goodbye.as_deref() {
            Some("too-slow") => cut += 1,
            goodbye => assert_eq!((goodbye, story.seq), (None, stories[0].seq)),
        }
        assert_eq!(story.missed, 0, "an unbroken run");
    }
    assert_eq!(stories[11].goodbye.as_deref(), Some("too-slow"));
    assert_eq!(server.stat("too_slow"), cut);
    assert_eq!(server.stat("lagged"), 0);
}

#[test]
fn who_skips_is_told_of_each_line_that_it_misses() {
    let (mut server, stories) = flood_to_all("skip");
    for story in &stories[10..] {
        assert_eq!((story.seq, &story.goodbye), (stories[0].seq, &None));
    }
    let missed = stories[10].missed + stories[11].missed;
    assert!(stories[11].missed > 0);
    assert_eq!(server.stat("lagged"), missed);
    assert_eq!(server.stat("too_slow"), 0);
    let first = server.wait_for_log("client 1: slow consumer, skipped ");
    assert!(first.contains(" lines (logged once per client)"), "{first}");
    let last = server.wait_for_log("client 1 from ");
    assert!(last.contains(&format!(", missed {} lines; ", stories[11].missed)), "{last}");
}

#[test]
fn nobody_misses_a_line_where_all_wait_but_one_that_takes_none() {
    let (mut server, stories) = flood_to_all("wait");
    assert_eq!(stories[10], stories[0], "the slow one got every line");
    assert_eq!(stories[11].goodbye.as_deref(), Some("too-slow"));
    assert_eq!(stories[11].missed, 0);
    assert_eq!((server.stat("too_slow"), server.stat("lagged")), (1, 0));
    assert!(server.stat("held") > 0);
    server.wait_for_log("broadcasts wait for ");
    server.wait_for_log("disconnected: too slow: took less than 32 KiB in --stall-timeout");
}

#[test]
fn a_thousand_that_stall_cost_no_more_than_the_feed() {
    let stalled = size("OYEZ_STALLED", 1000);
    for policy in ["skip", "disconnect"] {
        let lines = 50_000;
        let arguments = ["--slow-clients", policy, "--feed-size", "1M", "--send-buffer", "16K"];
        let server = Server::start(&arguments);
        let streams: Vec<TcpStream> = (0..stalled).map(|_| connect(&server)).collect();
        while server.stat("clients") < stalled as u64 + 1 {}
        let (before_kib, _) = server.memory_kib();
        flood(server.tcp(), &"x".repeat(TEXT), lines).join().unwrap();
        let (_, most_kib) = server.memory_kib();
        let more = most_kib - before_kib;
        assert!(more < 1024 + 4 * 1024, "{more} KiB more, with a feed of 1024");
        let too_slow = if policy == "skip" { 0 } else { stalled as u64 };
        assert_eq!(server.stat("too_slow"), too_slow);
        drop(streams);
    }
}

/// Says lines without end, and reads the answers up to the goodbye: the number of the last line.
fn flood_without_end(stream: &TcpStream) -> u64 {
    let mut writer = stream.try_clone().unwrap();
    let line = format!("say {}\n", "x".repeat(TEXT));
    writer.write_all(b"quiet\n").unwrap();
    let writing = thread::spawn(move || while writer.write_all(line.as_bytes()).is_ok() {});
    let (mut seq, mut goodbye) = (0, String::new());
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        match line.strip_prefix("ok broadcast ") {
            Some(number) => seq = number.parse().unwrap(),
            None => goodbye = line,
        }
    }
    assert_eq!(goodbye, "goodbye shutdown");
    stream.shutdown(Shutdown::Both).unwrap();
    writing.join().unwrap();
    seq
}

#[test]
fn at_its_end_the_server_gives_every_reader_all_that_was_said() {
    for policy in ["disconnect", "skip", "wait"] {
        let server = Server::start(&["--slow-clients", policy, "--drain-timeout", "60"]);
        let readers: Vec<TcpStream> =
            (0..size("OYEZ_READERS", 50)).map(|_| connect(&server)).collect();
        let sender = connect(&server);
        let (tell, told) = mpsc::channel();
        let (stories, last) = thread::scope(|scope| {
            let read_all = |stream: TcpStream| {
                let tell = tell.clone();
                scope.spawn(move || {
                    read(stream, Pace::Fast, u64::MAX, |seq| {
                        if seq == 20_000 {
                            tell.send(()).unwrap();
                        }
                    })
                })
            };
            let reading: Vec<_> = readers.into_iter().map(read_all).collect();
            let sending = scope.spawn(move || flood_without_end(&sender));
            told.recv_timeout(TIMEOUT).unwrap();
            server.signal("TERM");
            let stories: Vec<Story> =
                reading.into_iter().map(|reader| reader.join().unwrap()).collect();
            (stories, sending.join().unwrap())
        });
        assert!(last >= 20_000);
        let shutdown = Some("shutdown".to_owned());
        for story in stories {
            assert_eq!(story, Story { seq: last, missed: 0, goodbye: shutdown.clone() });
        }
        let (status, log) = server.wait();
        assert!(status.success() && log.contains(", 0 cut"), "{log}");
    }
}
