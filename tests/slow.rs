//! Slow consumers, without sockets: which readers are evicted or skipped forward, which ones block
//! the publishers, and what the other clients receive meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::io;

use oyez::hub::{Event, SlowConsumerPolicy};
use oyez::limits::{Limits, STALL_BYTES};
use oyez::read_outcome::ReadOutcome;
use support::driver::{Driver, FEED_LINES, LINE, UNLIMITED, seqs, small_limits};
use support::rng::Rng;
use support::seeds::{self, for_each_seed};

/// A hub with the clients `sender`, which is quiet, and `reader`.
fn with_reader(policy: SlowConsumerPolicy) -> Driver {
    with_reader_and(small_limits(), policy)
}

fn with_reader_and(limits: Limits, policy: SlowConsumerPolicy) -> Driver {
    let mut driver = Driver::with_policy(limits, policy);
    driver.play("sender+\nsender> quiet\nreader+");
    driver
}

/// Returns a hub and the key of a reader that reads nothing. A sender of `lines` long lines waits
/// for it. To release a chunk of this feed, the reader must read more than [`STALL_BYTES`].
fn with_blocking_reader(lines: usize) -> (Driver, usize) {
    let limits = Limits { feed_size: 4 << 20, ..Limits::default() };
    assert!(limits.feed_chunk() as u64 > 4 * STALL_BYTES);
    let mut driver = with_reader_and(limits, SlowConsumerPolicy::Block);
    driver.play("reader room 0");
    let sender = driver.key("sender");
    driver.send(sender, &format!("say {}\n", "x".repeat(4000)).repeat(lines));
    assert!(driver.hub.counters().broadcasts < lines as u64);
    let reader = driver.key("reader");
    (driver, reader)
}

#[test]
fn skip_finishes_the_partial_line_then_reports_the_gap() {
    let mut driver = with_reader(SlowConsumerPolicy::Skip);
    // The reader receives one line and a part of the next. Line 21 drops the oldest chunk, and the
    // reader continues from the middle of the feed.
    driver.play(
        r"
        reader room LINE+10
        sender*9 say x...
        reader> ping it is
        sender*12 say x...
        reader< broadcast 1 1 x...
        reader<~ broadcast\x20
        stat lagged 8
        reader room unlimited
        reader< broadcast 2 1 x...
        reader< lagged 8
        reader< pong it is
        reader< broadcast 11..=21 1 x...
        reader-
        stat too_slow 0
        reader> quit
        reader< goodbye quit
        reader.
        reader| Quit missed 8
        ",
    );
}

#[test]
fn unsent_lagged_counts_are_added_up() {
    let mut driver = with_reader(SlowConsumerPolicy::Skip);
    driver.play("reader room 0\nsender*60 say x...\nreader> ping\nsender*39 say x...");
    let lagged = driver.hub.counters().lagged;
    driver.play(&format!(
        r"
        reader room unlimited
        reader< lagged {lagged}
        reader< pong
        reader< broadcast {}..=99 1 x...
        reader-
        ",
        lagged + 1
    ));
}

#[test]
fn partially_sent_lagged_line_is_not_changed() {
    let mut driver = with_reader(SlowConsumerPolicy::Skip);
    driver.play("reader room 0\nsender*30 say x...");
    let before = driver.hub.counters().lagged;
    driver.play("reader room 4\nreader<~ lagg\nsender*60 say x...");
    let more = driver.hub.counters().lagged - before;
    assert!(before > 0 && more > 0);
    driver.play(&format!(
        r"
        reader room unlimited
        reader< lagged {before}
        reader< lagged {more}
        reader< broadcast {}..=90 1 x...
        reader-
        ",
        before + more + 1
    ));
}

#[test]
fn pending_seek_into_evicted_lines_reports_lagged() {
    let mut driver = with_reader(SlowConsumerPolicy::Skip);
    // Three gaps: lines 1 to 9, lines 3 to 9 of the replay, and lines 10 to 15 after `listen`.
    driver.play(
        r"
        reader room 0
        sender*9 say x...
        reader~ resume 2\nquiet\nlisten\n
        sender*21 say x...
        reader room unlimited
        reader< lagged 9
        reader< ok resume 2
        reader< lagged 7
        reader< ok quiet
        reader< ok listen 9
        reader< lagged 6
        reader< broadcast 16..=30 1 x...
        reader-
        ",
    );
}

/// A reader's view of the feed, derived only from the lines that it receives.
#[derive(Default)]
struct ReaderLog {
    /// The expected sequence number of the next broadcast.
    next_seq: u64,
    is_quiet: bool,
    missed: u64,
    pongs: u64,
    /// The newest sequence number when each unanswered `history` was sent.
    newest_at_history: VecDeque<u64>,
}

impl ReaderLog {
    fn receive(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        match words[..] {
            ["welcome", ..] => self.next_seq = number(3) + 1,
            ["broadcast", ..] => {
                assert_eq!((number(1), self.is_quiet), (self.next_seq, false), "{line}");
                self.next_seq += 1;
            }
            ["lagged", _] => {
                assert!(number(1) > 0, "{line}");
                self.next_seq += number(1);
                self.missed += number(1);
            }
            ["ok", "quiet"] => self.is_quiet = true,
            ["ok", "listen" | "resume", _] => {
                if self.is_quiet || words[1] == "resume" {
                    self.next_seq = number(2) + 1;
                }
                self.is_quiet = false;
            }
            ["ok", "history", _] => {
                let newest = self.newest_at_history.pop_front().unwrap();
                self.next_seq = newest + 1 - number(2);
                self.is_quiet = false;
            }
            ["pong", _] => {
                assert_eq!(number(1), self.pongs, "{line}");
                self.pongs += 1;
            }
            ["error", "gone", ..] => {}
            _ => panic!("unexpected line: {line}"),
        }
    }
}

/// A slow reader that sends random requests receives every line, or a count in place of the missing
/// lines.
#[test]
fn skip_reports_every_gap_exactly_under_random_requests() {
    let mut runs_that_skip = 0;
    for_each_seed(300, |seed| {
        let mut rng = Rng::new(seed);
        let mut driver = with_reader(SlowConsumerPolicy::Skip);
        driver.play("reader room 0");
        let (sender, reader) = (driver.key("sender"), driver.key("reader"));
        driver.socket(reader).max_write = Some(1 + rng.below(70));
        let mut log = ReaderLog::default();
        let mut pings = 0;
        // The first line was the sender's `quiet`.
        let mut lines_sent = 1;
        for _ in 0..rng.below(200) {
            let newest = driver.hub.feed().newest_seq();
            match rng.below(13) {
                0..6 => {
                    let line = format!("say {}\n", "x".repeat(1 + rng.below(150)));
                    let copies = 1 + rng.below(4);
                    driver.send(sender, &line.repeat(copies));
                    lines_sent += copies as u64;
                    continue;
                }
                6 | 7 => {
                    driver.add_room(reader, rng.below(400));
                    continue;
                }
                8 => {
                    driver.send(reader, &format!("ping {pings}\n"));
                    pings += 1;
                }
                9 => {
                    let back = rng.below(newest.min(20) as usize + 1) as u64;
                    driver.send(reader, &format!("resume {}\n", newest - back));
                }
                10 => {
                    driver.send(reader, &format!("history {}\n", rng.below(30)));
                    log.newest_at_history.push_back(newest);
                    // The hub holds the request while too many seeks are pending or the limit on
                    // replays is reached. Nothing is broadcast before it is executed, so `newest`
                    // remains the newest.
                    while driver.hub.counters().lines_in <= lines_sent {
                        driver.now_ms += 1;
                        driver.add_room(reader, 10);
                    }
                }
                11 => driver.send(reader, "quiet\n"),
                _ => driver.send(reader, "listen\n"),
            }
            lines_sent += 1;
        }
        driver.add_room(reader, UNLIMITED);
        while let Some(deadline_ms) = driver.hub.next_deadline() {
            driver.run_at(deadline_ms);
        }
        driver.received(reader).iter().for_each(|line| log.receive(line));
        assert_eq!(log.pongs, pings);
        if !log.is_quiet {
            assert_eq!(log.next_seq, driver.hub.feed().newest_seq() + 1);
        }
        assert_eq!(log.missed, driver.hub.counters().lagged);
        assert_eq!(driver.hub.counters().too_slow, 0);
        runs_that_skip += usize::from(log.missed > 0);
    });
    assert!(
        runs_that_skip > 100 || !seeds::are_default(),
        "only {runs_that_skip} runs skipped lines"
    );
}

#[test]
fn wait_mode_holds_broadcasts_that_would_overrun_a_reader_and_serves_other_commands() {
    let mut driver = with_reader(SlowConsumerPolicy::Block);
    driver.play(
        r"
        reader room 2*LINE+50
        fast+
        other+
        sender*60 say x...
        sender> ping after them
        stat broadcasts FEED_LINES
        fast< broadcast 1..=20 1 x...
        fast-
        ",
    );
    assert!(!driver.hub.has_work(), "the hub spins instead of waiting");
    assert_eq!(driver.hub.next_deadline(), Some(30_000 / 8), "the deadline must be the next probe");

    // The hub serves other clients. It also holds their broadcasts, and the commands after them.
    driver.play(
        r"
        other~ ping\nname bob\nsay mine\nping after it\n
        fast~ stats\nclients\nsend bob hello\n
        fast<< ok send bob
        fast-
        other< broadcast 1..=20 1 x...
        other< pong
        other< ok name bob
        other< direct 3 hello
        other-
        stat broadcasts FEED_LINES
        stat held 2
        ",
    );
    let held_ids = ["sender", "other"].map(|name| driver.hub.id(driver.key(name)));
    assert_eq!(held_ids, [1, 4]);
    let is_held = |event: &Event| matches!(event, Event::PublishersBlocked { id: 2, readers: 1 });
    assert_eq!(driver.events().into_iter().filter(is_held).count(), 1);

    // The reader reads one line at a time, and every client receives everything.
    let reader = driver.key("reader");
    while driver.hub.counters().broadcasts < 61 {
        driver.add_room(reader, LINE);
    }
    driver.add_room(reader, UNLIMITED);
    for name in ["reader", "fast", "other"] {
        assert_eq!(seqs(&driver.received(driver.key(name))), (1..=61).collect::<Vec<u64>>());
    }
    driver.play(
        r"
        sender<< pong after them
        sender-
        other<< pong after it
        other-
        stat too_slow 0
        stat lagged 0
        ",
    );
}

#[test]
fn wait_mode_evicts_a_stalled_reader_after_the_stall_timeout() {
    let mut driver = with_reader(SlowConsumerPolicy::Block);
    driver.play(
        r"
        reader room LINE+10
        fast+
        sender*30 say x...
        stat broadcasts FEED_LINES
        at 29000
        stat broadcasts FEED_LINES
        at 30000
        fast< broadcast 1..=30 1 x...
        fast-
        reader room unlimited
        reader< broadcast 1..=2 1 x...
        reader< goodbye too-slow
        reader|
        reader.
        reader| Stalled cut
        stat too_slow 1
        ",
    );
}

#[test]
fn wait_mode_keeps_a_reader_that_takes_stall_bytes_in_each_period() {
    for (taken, is_kept) in [(STALL_BYTES, true), (STALL_BYTES - 1, false)] {
        let (mut driver, reader) = with_blocking_reader(2000);
        for period in 1..=10 {
            // Just before the period ends.
            driver.now_ms = period * 30_000 - 1;
            driver.add_room(reader, taken as usize);
            driver.run_at(driver.now_ms + 1);
        }
        let context = format!("{taken} bytes in each period");
        assert_eq!(driver.hub.counters().too_slow, u64::from(!is_kept), "{context}");
        driver.add_room(reader, UNLIMITED);
        let lines = seqs(&driver.received(reader)).len();
        assert_eq!(lines == 2000, is_kept, "{lines} lines with {context}");
    }
}

#[test]
fn bytes_taken_in_one_stall_period_do_not_count_in_the_next() {
    let (mut driver, reader) = with_blocking_reader(2000);
    driver.add_room(reader, 2 * STALL_BYTES as usize);
    for (now_ms, too_slow) in [(30_000, 0), (59_000, 0), (60_000, 1)] {
        driver.run_at(now_ms);
        assert_eq!(driver.hub.counters().too_slow, too_slow, "after {now_ms} ms");
    }
}

#[test]
fn skipping_readers_is_charged_to_the_turn() {
    let mut limits = small_limits();
    limits.turn.work = 500;
    let mut driver = Driver::with_policy(limits, SlowConsumerPolicy::Skip);
    driver.play("sender+\nsender> quiet");
    for _ in 0..200 {
        let stalled = driver.connect(UNLIMITED);
        driver.socket(stalled).room = 150;
    }
    let sender = driver.key("sender");
    driver.queue(sender, &driver.filler(sender, 2 * FEED_LINES));
    let mut turns_that_skip = 0;
    while driver.hub.counters().broadcasts < 2 * FEED_LINES as u64 {
        let before = driver.hub.counters().lagged;
        driver.turn();
        driver.now_ms += 50;
        turns_that_skip += usize::from(driver.hub.counters().lagged > before);
    }
    assert!(turns_that_skip > 8, "only {turns_that_skip} turns skipped 200 readers");
}

#[test]
fn held_broadcasts_are_reported_at_most_once_a_minute() {
    let limits = Limits { stall_timeout_ms: 1_000_000, ..small_limits() };
    let mut driver = with_reader_and(limits, SlowConsumerPolicy::Block);
    let reports = |driver: &mut Driver| {
        let events = driver.events().into_iter();
        events.filter(|event| matches!(event, Event::PublishersBlocked { .. })).count()
    };
    driver.play("at 1000\nreader room 0\nsender*100 say x...");
    let mut counts = vec![reports(&mut driver)];
    // Each time, the reader reads a few lines, and the hub then holds the next line that would
    // overrun it.
    for now_ms in [2000, 30_000, 60_000, 62_000, 63_000] {
        driver.now_ms = now_ms;
        driver.play("reader room 6*LINE");
        counts.push(reports(&mut driver));
    }
    assert_eq!(counts, [1, 0, 0, 0, 1, 0]);
}

#[test]
fn wait_mode_does_not_wait_for_a_replaying_reader() {
    let mut driver = with_reader(SlowConsumerPolicy::Block);
    driver.play(
        r"
        sender*10 say x...
        reader< broadcast 1..=10 1 x...
        reader room 10
        reader> history 5
        sender*40 say x...
        stat broadcasts 50
        stat held 0
        reader room unlimited
        reader< ok history 5
        reader< goodbye too-slow
        reader|
        reader.
        reader| TooSlow cut
        ",
    );
}

/// The poll does not report a socket with little room as writable, so the hub probes it.
#[test]
fn wait_mode_keeps_a_reader_that_reads_little_at_a_time() {
    let (mut driver, reader) = with_blocking_reader(1100);
    let before = driver.hub.counters().broadcasts;
    for step in 1..=100 {
        driver.socket(reader).room += STALL_BYTES as usize / 5;
        driver.run_at(step * 3_000);
    }
    assert_eq!(driver.hub.counters().too_slow, 0);
    assert!(driver.hub.counters().broadcasts > before);
}

#[test]
fn losing_a_sender_blocked_on_its_own_reads_releases_the_broadcasts_immediately() {
    let mut driver = Driver::with_policy(small_limits(), SlowConsumerPolicy::Block);
    driver.play(
        r"
        sender+
        reader+
        sender room 50
        sender*60 say x...
        reader> say mine
        stat broadcasts FEED_LINES
        sender!
        stat broadcasts 61
        ",
    );
    assert!(driver.now_ms < 1000);
    assert_eq!(seqs(&driver.received(driver.key("reader"))).len(), 61);
}

#[test]
fn clients_are_not_idle_while_broadcasts_are_held() {
    let limits = Limits { idle_timeout_ms: Some(10_000), ..small_limits() };
    let mut driver = with_reader_and(limits, SlowConsumerPolicy::Block);
    driver.play("listener+\nreader room 10\nsender*60 say x...");
    // The sender hangs up. Its lines are still executed.
    driver.hub.handle_hangup(driver.key("sender"));
    driver.play(
        r"
        at 29000
        listener< broadcast 1..=20 1 x...
        listener-
        at 30000
        listener< broadcast 21..=60 1 x...
        listener-
        ",
    );
}

#[test]
fn blocking_reader_that_replays_or_disconnects_releases_the_broadcasts_immediately() {
    for action in ["history 5", "quit", "reset"] {
        let mut driver = with_reader(SlowConsumerPolicy::Block);
        driver.play("reader room 10\nsender*30 say x...\nstat broadcasts FEED_LINES");
        if action == "reset" {
            let reset = io::ErrorKind::ConnectionReset.into();
            driver.hub.handle_read(driver.key("reader"), &ReadOutcome::Failed(reset), 0);
            driver.run();
        } else {
            driver.play(&format!("reader> {action}"));
        }
        if action == "quit" {
            driver.run_at(driver.now_ms + 5000);
        }
        assert!(driver.now_ms < 10_000);
        assert_eq!(driver.hub.counters().broadcasts, 30, "{action}");
    }
}

#[test]
fn shutdown_ends_the_wait_for_slow_readers() {
    let limits = Limits { drain_timeout_ms: 60_000, ..small_limits() };
    let mut driver = with_reader_and(limits, SlowConsumerPolicy::Block);
    driver.play("other+\nreader room 10\nsender*30 say x...\nstat broadcasts FEED_LINES");
    driver.hub.begin_shutdown();
    // The held lines are not executed and get no reply.
    driver.play(
        r"
        at 31000
        reader room unlimited
        reader< broadcast 1..=20 1 x...
        reader< goodbye shutdown
        reader|
        sender< ok quiet
        sender< ok broadcast 1..=20
        sender< goodbye shutdown
        sender|
        other< broadcast 1..=20 1 x...
        other< goodbye shutdown
        other|
        stat broadcasts FEED_LINES
        ",
    );
}

#[test]
fn wait_mode_evicts_a_sender_blocked_on_its_own_reads() {
    let mut driver = Driver::with_policy(small_limits(), SlowConsumerPolicy::Block);
    driver.play(
        r"
        sender+
        reader+
        sender room 50
        sender*60 say x...
        stat broadcasts FEED_LINES
        at 30000
        sender room unlimited
        sender<< goodbye too-slow
        sender|
        reader< broadcast 1..=20 1 x...
        reader-
        other+
        other> say on it goes
        reader< broadcast 21 3 on it goes
        reader-
        ",
    );
}

/// At any pace of readers and senders, a reader that keeps reading receives every line in order and
/// is not evicted.
#[test]
fn wait_mode_delivers_every_line_to_readers_that_keep_reading() {
    let mut times_held = 0;
    for_each_seed(100, |seed| {
        let mut rng = Rng::new(seed);
        let mut driver = Driver::with_policy(small_limits(), SlowConsumerPolicy::Block);
        let senders: Vec<usize> =
            (0..1 + rng.below(3)).map(|_| driver.connect(UNLIMITED)).collect();
        senders.iter().for_each(|&sender| driver.send(sender, "quiet\n"));
        let readers: Vec<usize> = (0..1 + rng.below(4)).map(|_| driver.connect(0)).collect();
        let mut lines_sent = 0;
        for _ in 0..rng.below(150) {
            if rng.one_in(2) {
                let lines = 1 + rng.below(4);
                let line = format!("say {}\n", "x".repeat(1 + rng.below(150)));
                let sender = senders[rng.below(senders.len())];
                driver.send(sender, &line.repeat(lines));
                lines_sent += lines as u64;
            } else {
                let reader = readers[rng.below(readers.len())];
                driver.add_room(reader, rng.below(700));
            }
        }
        while driver.hub.counters().broadcasts < lines_sent {
            readers.iter().for_each(|&reader| driver.add_room(reader, 200));
        }
        for reader in readers {
            driver.add_room(reader, UNLIMITED);
            let received = driver.received(reader);
            assert_eq!(seqs(&received), (1..=lines_sent).collect::<Vec<u64>>());
            assert_eq!(received.len() as u64, lines_sent + 1);
        }
        times_held += driver.hub.counters().held;
        assert_eq!(driver.hub.counters().too_slow, 0);
    });
    assert!(
        times_held > 100 || !seeds::are_default(),
        "broadcasts were held only {times_held} times"
    );
}
