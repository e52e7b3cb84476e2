//! Fast, slow and stalled readers under a flood, over real sockets, with each slow-consumer policy.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use support::crowd::flood;
use support::{Server, TIMEOUT, size, wait_until};

/// A summary of what a reader received after the welcome line.
#[derive(Debug, Default, PartialEq, Eq)]
struct ReaderLog {
    /// The newest sequence number that a `broadcast` or `lagged` line accounts for.
    seq: u64,
    /// How many lines the `lagged` lines reported as missed.
    missed: u64,
    /// The reason in the goodbye, if it received one.
    goodbye: Option<String>,
}

/// How fast a reader reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Fast,
    /// Reads this many bytes, pauses this long, and repeats.
    Slow(usize, Duration),
}

/// Reads up to line `last` or a goodbye. After each line, calls `on_line` with the newest sequence
/// number.
fn read(stream: TcpStream, pace: Pace, last: u64, mut on_line: impl FnMut(u64)) -> ReaderLog {
    let mut log = ReaderLog::default();
    let mut input = BufReader::with_capacity(64 * 1024, stream);
    let mut line = String::new();
    let mut since_pause = 0;
    while log.seq < last && log.goodbye.is_none() {
        line.clear();
        if input.read_line(&mut line).unwrap() == 0 {
            panic!("disconnected without a goodbye after {log:?}");
        }
        if let Pace::Slow(bytes, pause) = pace {
            since_pause += line.len();
            if since_pause >= bytes {
                since_pause = 0;
                // Makes the reader slow. It waits for no event.
                thread::sleep(pause);
            }
        }
        assert!(line.ends_with('\n'), "disconnected in the middle of a line: {line}");
        let words: Vec<&str> = line.trim_end().splitn(5, ' ').collect();
        match words[0] {
            "broadcast" => {
                assert_eq!(words[1].parse(), Ok(log.seq + 1));
                log.seq += 1;
            }
            "lagged" => {
                let lines: u64 = words[1].parse().unwrap();
                log.seq += lines;
                log.missed += lines;
            }
            "goodbye" => log.goodbye = Some(words[1].to_owned()),
            "welcome" => assert_eq!(words[3], "0"),
            _ => panic!("unexpected line {line}"),
        }
        on_line(log.seq);
    }
    log
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.tcp()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

const FEED_SIZE: u64 = 1 << 20;
const TEXT_SIZE: usize = 180;

/// Floods ten fast readers, a slow one, and a stalled one that reads only after the flood. Asserts
/// that the fast readers received everything. Returns the readers' logs in this order.
fn flood_readers(policy: &str) -> (Server, Vec<ReaderLog>) {
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
    let last = lines as u64;
    let stalled = connect(&server);
    let logs = thread::scope(|scope| {
        let slow = Pace::Slow(16 * 1024, Duration::from_millis(2));
        let paces = std::iter::repeat_n(Pace::Fast, 10).chain([slow]);
        let readers: Vec<ScopedJoinHandle<'_, ReaderLog>> = paces
            .map(|pace| (pace, connect(&server)))
            .map(|(pace, stream)| scope.spawn(move || read(stream, pace, last, |_| {})))
            .collect();
        // `stat` connects another client, the thirteenth.
        wait_until(|| server.stat("clients") >= 13);
        flood(server.tcp(), &"x".repeat(TEXT_SIZE), lines).join().unwrap();
        let mut logs: Vec<ReaderLog> =
            readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        logs.push(read(stalled, Pace::Fast, last, |_| {}));
        logs
    });
    let peak_kib = server.peak_memory_kib();
    let feed_kib = FEED_SIZE / 1024;
    assert!(peak_kib < feed_kib + 12 * 1024, "{peak_kib} KiB with a feed of {feed_kib} KiB");
    for fast in &logs[..10] {
        assert_eq!(*fast, ReaderLog { seq: last, ..ReaderLog::default() });
    }
    (server, logs)
}

#[test]
fn slow_reader_is_evicted_with_a_goodbye_and_others_get_every_line() {
    let (server, logs) = flood_readers("disconnect");
    let mut evicted = 0;
    for log in &logs[10..] {
        match log.goodbye.as_deref() {
            Some("too-slow") => evicted += 1,
            goodbye => assert_eq!((goodbye, log.seq), (None, logs[0].seq)),
        }
        assert_eq!(log.missed, 0, "lines before the goodbye must have no gap");
    }
    assert_eq!(logs[11].goodbye.as_deref(), Some("too-slow"));
    assert_eq!(server.stat("too_slow"), evicted);
    assert_eq!(server.stat("lagged"), 0);
}

#[test]
fn slow_reader_with_skip_is_told_how_many_lines_it_missed() {
    let (mut server, logs) = flood_readers("skip");
    for log in &logs[10..] {
        assert_eq!((log.seq, &log.goodbye), (logs[0].seq, &None));
    }
    let missed = logs[10].missed + logs[11].missed;
    assert!(logs[11].missed > 0);
    assert_eq!(server.stat("lagged"), missed);
    assert_eq!(server.stat("too_slow"), 0);
    let first = server.wait_for_log("client 1: slow consumer, skipped ");
    assert!(first.contains(" lines (logged once per client)"), "{first}");
    let last = server.wait_for_log("client 1 from ");
    assert!(last.contains(&format!(", missed {} lines; ", logs[11].missed)), "{last}");
}

#[test]
fn slow_reader_with_wait_gets_every_line_and_stalled_readers_are_evicted() {
    let (mut server, logs) = flood_readers("wait");
    assert_eq!(logs[10], logs[0], "the slow reader must receive every line");
    assert_eq!(logs[11].goodbye.as_deref(), Some("too-slow"));
    assert_eq!(logs[11].missed, 0);
    assert_eq!((server.stat("too_slow"), server.stat("lagged")), (1, 0));
    assert!(server.stat("held") > 0);
    server.wait_for_log("broadcasts wait for ");
    server.wait_for_log("disconnected: too slow: read less than 32 KiB in --stall-timeout");
}

#[test]
fn stalled_readers_use_no_memory_beyond_the_feed() {
    let stalled = size("OYEZ_STALLED", 1000);
    for policy in ["skip", "disconnect"] {
        let lines = 50_000;
        let arguments = ["--slow-clients", policy, "--feed-size", "1M", "--send-buffer", "16K"];
        let server = Server::start(&arguments);
        let streams: Vec<TcpStream> = (0..stalled).map(|_| connect(&server)).collect();
        wait_until(|| server.stat("clients") > stalled as u64);
        let before_kib = server.memory_kib();
        flood(server.tcp(), &"x".repeat(TEXT_SIZE), lines).join().unwrap();
        let growth_kib = server.peak_memory_kib() - before_kib;
        assert!(growth_kib < 1024 + 4 * 1024, "{growth_kib} KiB more with a feed of 1024 KiB");
        let too_slow = if policy == "skip" { 0 } else { stalled as u64 };
        assert_eq!(server.stat("too_slow"), too_slow);
        drop(streams);
    }
}

/// Broadcasts until the server shuts down, and reads the replies up to the goodbye. Returns the
/// last sequence number that the server confirmed.
fn flood_until_shutdown(stream: &TcpStream) -> u64 {
    let mut writer = stream.try_clone().unwrap();
    let line = format!("say {}\n", "x".repeat(TEXT_SIZE));
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
fn graceful_shutdown_delivers_every_line_to_every_reader() {
    for policy in ["disconnect", "skip", "wait"] {
        let server = Server::start(&["--slow-clients", policy, "--drain-timeout", "60"]);
        let readers: Vec<TcpStream> =
            (0..size("OYEZ_READERS", 50)).map(|_| connect(&server)).collect();
        let sender = connect(&server);
        let (notify, reached) = mpsc::channel();
        let (logs, last) = thread::scope(|scope| {
            let read_all = |stream: TcpStream| {
                let notify = notify.clone();
                scope.spawn(move || {
                    read(stream, Pace::Fast, u64::MAX, |seq| {
                        if seq == 20_000 {
                            notify.send(()).unwrap();
                        }
                    })
                })
            };
            let reading: Vec<_> = readers.into_iter().map(read_all).collect();
            let sending = scope.spawn(move || flood_until_shutdown(&sender));
            reached.recv_timeout(TIMEOUT).unwrap();
            server.signal("TERM");
            let logs: Vec<ReaderLog> =
                reading.into_iter().map(|reader| reader.join().unwrap()).collect();
            (logs, sending.join().unwrap())
        });
        assert!(last >= 20_000);
        let shutdown = Some("shutdown".to_owned());
        for log in logs {
            assert_eq!(log, ReaderLog { seq: last, missed: 0, goodbye: shutdown.clone() });
        }
        let (status, log) = server.wait();
        assert!(status.success() && log.contains(", 0 cut"), "{log}");
    }
}
