//! The turns of the hub: the order of the work, and the budgets that limit it.
#![allow(clippy::unwrap_used)]

mod support;

use oyez::credentials::secret::Secret;
use oyez::hub::{Event, Hub, Origin, Reason, Secrets, SlowConsumerPolicy};
use oyez::limits::{FlushLimits, Limits};
use oyez::read_outcome::{ReadOutcome, TlsFailure};
use support::driver::{CHUNK_LINES, Driver, UNLIMITED, small_limits};

const LOCAL: Origin = Origin { is_local: true, source: 0 };

/// Returns a hub and the keys of connected clients that have received their welcome.
fn with_clients(limits: Limits, clients: usize) -> (Driver, Vec<usize>) {
    let mut driver = Driver::new(limits);
    let keys = (0..clients).map(|_| driver.connect(UNLIMITED)).collect();
    (driver, keys)
}

/// Makes the rest of the turn's reads, with the same input from each client. Returns the number of
/// reads.
fn read_all(hub: &mut Hub, input: &[u8]) -> usize {
    let mut count = 0;
    while let Some(key) = hub.poll_read() {
        let outcome = if input.is_empty() { ReadOutcome::NoData } else { ReadOutcome::Data(input) };
        hub.handle_read(key, &outcome, 0);
        count += 1;
    }
    count
}

/// Makes the rest of the turn's flushes. Each writes `bytes` bytes. Returns the number of flushes.
fn flush_all(hub: &mut Hub, bytes: usize) -> usize {
    let mut count = 0;
    while let Some(key) = hub.poll_flush() {
        hub.consume(key, bytes, false);
        count += 1;
    }
    count
}

#[test]
fn turn_reads_at_most_its_byte_budget() {
    let mut limits = small_limits();
    limits.turn.read = 100;
    let (mut driver, keys) = with_clients(limits, 5);
    let hub = &mut driver.hub;
    keys.iter().for_each(|&key| hub.handle_readable(key));
    hub.begin_turn(0);
    assert_eq!(read_all(hub, &[b' '; 50]), 2);
    hub.begin_turn(0);
    assert_eq!(read_all(hub, &[b' '; 60]), 2, "the last read may exceed the budget");
    hub.begin_turn(0);
    hub.handle_read(keys[0], &ReadOutcome::NoData, 100);
    assert_eq!(read_all(hub, b""), 0, "the overhead of encryption is charged as well");
    assert_eq!(hub.counters().bytes_in, 220);
}

#[test]
fn turn_continues_while_there_is_input_and_budget() {
    let mut limits = small_limits();
    (limits.turn.read, limits.turn.work) = (100, 1000);
    limits.turn.work_per_client = 1;
    let (mut driver, keys) = with_clients(limits, 1);
    let hub = &mut driver.hub;
    hub.begin_turn(0);
    assert!(!hub.has_more_input(), "no client is readable");
    hub.handle_readable(keys[0]);
    assert!(hub.has_more_input(), "a client is readable");
    assert_eq!(read_all(hub, b"ping\nping\n"), 1);
    assert!(hub.has_more_input(), "two lines are buffered");
    hub.execute();
    assert!(hub.has_more_input(), "one line is left, beyond the client's share of this pass");
    hub.execute();
    assert_eq!((hub.counters().lines_in, hub.has_more_input()), (2, true), "still readable");
    hub.handle_read(keys[0], &ReadOutcome::NoData, 90);
    assert!(!hub.has_more_input(), "the read budget is used up");
    hub.begin_turn(0);
    assert_eq!(read_all(hub, "say 1\n".repeat(20).as_bytes()), 1);
    while hub.has_more_input() {
        hub.execute();
    }
    assert_eq!(hub.counters().broadcasts, 2, "the append budget is used up");
    hub.begin_turn(0);
    assert!(hub.has_more_input(), "the next turn continues");
}

#[test]
fn turn_is_limited_to_a_number_of_passes() {
    let mut limits = small_limits();
    limits.turn.passes = 3;
    let (mut driver, keys) = with_clients(limits, 1);
    let hub = &mut driver.hub;
    hub.handle_readable(keys[0]);
    for _ in 0..2 {
        hub.begin_turn(0);
        let mut passes = 0;
        while hub.has_more_input() {
            assert_eq!(read_all(hub, b"x"), 1);
            hub.execute();
            passes += 1;
        }
        assert_eq!(passes, 3, "a client that sends one byte at a time must be read three times");
    }
}

#[test]
fn handshakes_are_read_last_and_limited_per_turn() {
    let mut limits = small_limits();
    limits.turn.handshake_reads = 2;
    let (mut driver, keys) = with_clients(limits, 3);
    let hub = &mut driver.hub;
    let handshaking: Vec<usize> = (0..5).map(|_| hub.connect(LOCAL)).collect();
    handshaking.iter().chain(&keys).for_each(|&key| hub.handle_readable(key));
    hub.begin_turn(0);
    let read: Vec<usize> = std::iter::from_fn(|| hub.poll_read()).collect();
    assert_eq!(read, [keys[0], keys[1], keys[2], handshaking[0], handshaking[1]]);
}

#[test]
fn priority_flushes_are_limited_to_a_number_of_clients() {
    let mut limits = small_limits();
    limits.turn.flush_priority.clients = 2;
    limits.turn.flush_bulk.clients = 0;
    let mut driver = Driver::new(limits);
    for _ in 0..5 {
        let key = driver.hub.connect(LOCAL);
        driver.hub.handle_handshake_done(key);
    }
    let turns: Vec<usize> = (0..4)
        .map(|_| {
            driver.hub.begin_turn(0);
            flush_all(&mut driver.hub, "welcome ".len())
        })
        .collect();
    assert_eq!(turns, [2, 2, 2, 2], "a client with more output must be queued again");
}

#[test]
fn priority_flushes_are_limited_by_bytes() {
    let mut limits = small_limits();
    limits.turn.flush_priority = FlushLimits { bytes: 100, clients: 100 };
    let (mut driver, keys) = with_clients(limits, 5);
    keys.iter().for_each(|&key| driver.hub.handle_readable(key));
    driver.hub.begin_turn(0);
    read_all(&mut driver.hub, format!("ping {}\n", "x".repeat(54)).as_bytes());
    driver.hub.execute();
    assert_eq!(flush_all(&mut driver.hub, 50), 2);
    driver.hub.begin_turn(0);
    assert_eq!(flush_all(&mut driver.hub, 10), 5, "all five take less than the budget");
}

#[test]
fn bulk_flushes_are_limited_by_bytes() {
    let mut limits = small_limits();
    limits.turn.flush_bulk = FlushLimits { bytes: 32, clients: 100 };
    let (mut driver, keys) = with_clients(limits, 5);
    driver.send(keys[0], "quiet\n");
    driver.hub.handle_readable(keys[0]);
    driver.hub.begin_turn(0);
    read_all(&mut driver.hub, b"say x\n");
    driver.hub.execute();
    let flushed = flush_all(&mut driver.hub, "ok broadcast 1\n".len());
    assert_eq!(flushed, 4, "the sender's reply, and three readers within the budget");
}

#[test]
fn replays_are_flushed_last_and_limited_by_their_own_budget() {
    let mut limits = small_limits();
    limits.turn.flush_replay = FlushLimits { bytes: 100, clients: 100 };
    let mut driver = Driver::new(limits);
    driver.play("sender+\nlive+\nsender> quiet\nsender*15 say x...\nlive<< broadcast 15 *");
    let (sender, live) = (driver.key("sender"), driver.key("live"));
    let replaying = [(); 3].map(|()| driver.connect(UNLIMITED));
    for key in replaying {
        driver.socket(key).max_write = Some("ok history 15\n".len());
        driver.queue(key, "history 15\n");
    }
    driver.turn();
    driver.queue(sender, &driver.filler(sender, 1));
    replaying.iter().for_each(|&key| driver.socket(key).max_write = Some(60));
    let written = |driver: &mut Driver| {
        let before = driver.outputs.len();
        driver.turn();
        let ids = driver.outputs[before..].iter().map(|(id, _)| *id);
        ids.map(|id| *driver.ids.iter().find(|(_, other)| **other == id).unwrap().0).collect()
    };
    let first: Vec<usize> = written(&mut driver);
    assert_eq!(first, [sender, live, replaying[0], replaying[1]]);
    let second: Vec<usize> = written(&mut driver);
    assert_eq!(second, [replaying[2], replaying[0]], "replaying clients are flushed in turn");
}

#[test]
fn executed_lines_are_charged_by_their_bytes_and_a_fixed_cost() {
    let executed_in_one_turn = |line: &str, work: usize| {
        let mut limits = small_limits();
        limits.turn.work = work;
        let (mut driver, keys) = with_clients(limits, 1);
        driver.send(keys[0], "quiet\n");
        let before = driver.hub.counters().lines_in;
        driver.hub.handle_readable(keys[0]);
        driver.hub.begin_turn(0);
        let key = driver.hub.poll_read().unwrap();
        driver.hub.handle_read(key, &ReadOutcome::Data(line.repeat(40).as_bytes()), 0);
        driver.hub.execute();
        driver.hub.counters().lines_in - before
    };
    // Each line costs 32 bytes plus the bytes of the line and of its reply.
    let short = executed_in_one_turn("ping\n", 400);
    assert!((8..=11).contains(&short), "{short}");
    let long = executed_in_one_turn(&format!("ping {}\n", "x".repeat(195)), 4 * 430);
    assert!((4..=5).contains(&long), "{long}");
}

#[test]
fn scanning_the_feed_for_history_is_charged() {
    // Each `history` scans a chunk of 64 KiB up to the last line. That costs about as much as 4 KiB
    // of lines.
    let mut limits = Limits { feed_size: Limits::MIN_FEED_SIZE, ..Limits::default() };
    limits.turn.work = 10 * 1024;
    let (mut driver, keys) = with_clients(limits, 2);
    driver.send(keys[0], &format!("quiet\n{}", format!("say {}\n", "x".repeat(1000)).repeat(60)));
    driver.hub.handle_readable(keys[1]);
    driver.hub.begin_turn(0);
    let before = driver.hub.counters().lines_in;
    let key = driver.hub.poll_read().unwrap();
    driver.hub.handle_read(key, &ReadOutcome::Data("history 1\n".repeat(10).as_bytes()), 0);
    driver.hub.execute();
    let executed = driver.hub.counters().lines_in - before;
    assert_eq!(executed, 3, "the third begins within the budget");
}

/// Two readers have received nothing from a feed that holds `bytes` bytes. Each turn flushes one of
/// the clients with only broadcasts pending, and each flush writes one byte. The first turn flushes
/// the first reader. Returns the readers that the second turn flushes.
fn flushed_in_second_turn(bytes: usize) -> Vec<usize> {
    let mut limits = Limits { feed_size: 2048, ..small_limits() };
    limits.turn.flush_bulk.clients = 1;
    // This policy holds no broadcast for readers whose sockets accept bytes.
    let mut driver = Driver::with_policy(limits, SlowConsumerPolicy::Block);
    let [first, second, sender] = [(); 3].map(|()| driver.connect(UNLIMITED));
    driver.send(sender, "quiet\n");
    let line = |len: usize| format!("say {}\n", "x".repeat(len - "broadcast 1 3 \n".len()));
    driver.hub.handle_readable(sender);
    driver.hub.begin_turn(0);
    assert_eq!(driver.hub.poll_read(), Some(sender));
    let lines = line(128).repeat(7) + &line(bytes - 7 * 128);
    driver.hub.handle_read(sender, &ReadOutcome::Data(lines.as_bytes()), 0);
    while driver.hub.counters().broadcasts < 8 {
        driver.hub.execute();
        driver.hub.begin_turn(0);
    }
    let mut turn = || {
        driver.hub.begin_turn(0);
        let mut readers = vec![];
        while let Some(key) = driver.hub.poll_flush() {
            driver.hub.consume(key, 1, false);
            // The sender's replies have priority.
            readers.extend((key != sender).then_some(key));
        }
        readers
    };
    assert_eq!(turn(), [first]);
    let readers = turn();
    assert!(readers.contains(&second));
    readers
}

#[test]
fn reader_more_than_half_a_feed_behind_is_flushed_first() {
    assert_eq!(flushed_in_second_turn(1025), [1], "the first reader is 1024 of 2048 bytes behind");
    assert_eq!(flushed_in_second_turn(1026), [0, 1], "the first reader is 1025 bytes behind");
}

#[test]
fn replaying_reader_is_not_flushed_first() {
    let mut limits = small_limits();
    limits.turn.flush_replay.clients = 0;
    let mut driver = Driver::with_policy(limits, SlowConsumerPolicy::Block);
    driver.play("reader+\nreader> quiet\nreader*15 say x...\nreader<< ok broadcast 15");
    let reader = driver.key("reader");
    driver.socket(reader).max_write = Some("ok history 15\n".len());
    driver.queue(reader, "history 15\n");
    (0..5).for_each(|_| driver.turn());
    // The reply has priority. The replay does not.
    driver.play("reader< ok history 15\nreader-");
}

/// Returns whether broadcasts are held at `ms` for two of three readers, `a` and `b`. Their sockets
/// accept nothing, unless `at_500_ms` changes that.
fn is_held_at(ms: u64, at_500_ms: impl FnOnce(&mut Driver)) -> bool {
    let limits = Limits { reader_grace_ms: 1000, ..small_limits() };
    let mut driver = Driver::new(limits);
    driver.play("a+\nb+\nc+\nsender+\nsender> quiet\na room 0\nb room 0");
    driver.now_ms = 500;
    at_500_ms(&mut driver);
    driver.now_ms = ms;
    let sender = driver.key("sender");
    driver.queue(sender, &driver.filler(sender, 4));
    (0..4).for_each(|_| driver.turn());
    driver.hub.counters().broadcasts < 4
}

#[test]
fn broadcasts_are_held_only_for_readers_that_made_progress_within_the_grace_period() {
    assert!(is_held_at(999, |_| {}));
    assert!(!is_held_at(1000, |_| {}));
    let take_nothing = |driver: &mut Driver| {
        driver.play("sender*1 say x...");
        for name in ["a", "b"] {
            driver.add_room(driver.key(name), 0);
        }
    };
    assert!(!is_held_at(1000, take_nothing), "a flush that writes nothing is no progress");
    let take_a_byte = |driver: &mut Driver| driver.play("sender*1 say x...\na room 1\nb room 1");
    assert!(is_held_at(1499, take_a_byte));
    assert!(!is_held_at(1500, take_a_byte));
}

/// Returns how many lines are broadcast before one is held, if `stalled` of the readers read
/// nothing. Each line takes 128 bytes, a sixteenth of the feed.
fn broadcasts_until_held(stalled: usize, readers: usize) -> u64 {
    let limits = Limits { reader_grace_ms: 10_000, ..small_limits() };
    let (mut driver, keys) = with_clients(limits, readers + 1);
    let sender = keys[readers];
    driver.send(sender, "quiet\n");
    keys[..stalled].iter().for_each(|&key| driver.socket(key).room = 0);
    let line =
        |seq: u64| format!("say {}\n", "x".repeat(128 - format!("broadcast {seq} e \n").len()));
    driver.send(sender, "name e\n");
    driver.queue(sender, &(1..=12).map(line).collect::<String>());
    while driver.hub.counters().held == 0 {
        driver.turn();
    }
    driver.hub.counters().broadcasts
}

#[test]
fn reader_lag_thresholds_are_exclusive() {
    assert_eq!(broadcasts_until_held(3, 4), 2, "a lag of 128 of 2048 bytes is not behind, 256 is");
    assert_eq!(broadcasts_until_held(1, 4), 9, "a lag of 1024 bytes is not far behind, 1152 is");
    assert_eq!(broadcasts_until_held(2, 16), 9, "two of sixteen readers are few");
    assert_eq!(broadcasts_until_held(2, 15), 2, "two of fifteen readers are some");
}

#[test]
fn quiet_client_with_pending_lines_counts_as_a_reader() {
    assert!(is_held_at(900, |driver| {
        driver.play("sender*2 say x...\na> quiet\nb> quiet");
    }));
}

#[test]
fn quiet_client_without_pending_lines_does_not_count_as_a_reader() {
    // Two of three readers are most of them, and broadcasts are held longer for most readers than
    // for some. If the sender counted as a reader, two of four would be only some.
    let mut driver = Driver::new(Limits { reader_grace_ms: 10_000, ..small_limits() });
    driver.play("a+\nb+\nc+\nsender+\nsender> quiet\na room 0\nb room 0");
    let sender = driver.key("sender");
    driver.queue(sender, &driver.filler(sender, 4));
    let mut broadcasts_at = |ms: u64| {
        while driver.now_ms < ms {
            driver.turn();
            driver.now_ms += 10;
        }
        driver.hub.counters().broadcasts
    };
    assert_eq!(broadcasts_at(1990), 2);
    assert!(broadcasts_at(2500) > 2);
}

#[test]
fn readers_are_sampled_at_most_once_a_millisecond() {
    let mut driver = Driver::new(Limits { reader_grace_ms: 10_000, ..small_limits() });
    driver.play("a+\nb+\nsender+\nsender> quiet\na room 0\nb room 0");
    let sender = driver.key("sender");
    driver.now_ms = 100;
    driver.queue(sender, &driver.filler(sender, 4));
    (0..4).for_each(|_| driver.turn());
    assert_eq!(driver.hub.counters().broadcasts, 2);
    assert_eq!(driver.hub.next_deadline(), Some(120), "without progress, 20 ms later");
    for name in ["a", "b"] {
        let key = driver.key(name);
        driver.socket(key).room = UNLIMITED;
        driver.hub.handle_writable(key);
    }
    driver.turn();
    driver.turn();
    assert_eq!(driver.hub.counters().broadcasts, 2, "within the same millisecond");
    assert_eq!(driver.hub.next_deadline(), Some(101), "after progress, a millisecond later");
    driver.now_ms = 101;
    (0..4).for_each(|_| driver.turn());
    assert_eq!(driver.hub.counters().broadcasts, 4);
}

#[test]
fn rate_limited_client_is_not_read() {
    let limits = Limits { rate_limit: Some(2), ..small_limits() };
    let (mut driver, keys) = with_clients(limits, 1);
    driver.send(keys[0], "ping\nping\n");
    driver.hub.handle_readable(keys[0]);
    driver.hub.begin_turn(driver.now_ms);
    assert_eq!(driver.hub.poll_read(), None);
    driver.hub.begin_turn(1000);
    assert_eq!(driver.hub.poll_read(), Some(keys[0]));
}

#[test]
fn tls_failure_means_handshake_failed_before_the_handshake_and_lost_after_it() {
    let mut driver = Driver::new(small_limits());
    let (handshaking, active) = (driver.accept(LOCAL, UNLIMITED), driver.connect(UNLIMITED));
    driver.socket(handshaking).eof = true;
    driver.socket(active).eof = true;
    driver.hub.handle_readable(handshaking);
    for key in [handshaking, active] {
        let failure = TlsFailure::Protocol("not TLS".to_owned());
        driver.hub.handle_read(key, &ReadOutcome::TlsFailed(failure), 0);
    }
    driver.run();
    let reasons: Vec<Reason> =
        driver.disconnects.iter().map(|disconnect| disconnect.reason).collect();
    assert_eq!(reasons, [Reason::Lost, Reason::HandshakeFailed]);
}

#[test]
fn blocked_write_shutdown_is_retried_when_the_socket_is_writable() {
    let mut driver = Driver::new(small_limits());
    driver.hub.begin_turn(400);
    driver.now_ms = 400;
    let key = driver.connect(UNLIMITED);
    driver.now_ms = 1000;
    driver.hub.handle_readable(key);
    driver.hub.begin_turn(driver.now_ms);
    assert_eq!(driver.hub.poll_read(), Some(key));
    driver.hub.handle_read(key, &ReadOutcome::Data(b"quit\n"), 0);
    driver.hub.execute();
    assert_eq!(flush_all(&mut driver.hub, "goodbye quit\n".len()), 1);
    assert!(driver.hub.poll_close().is_some());
    driver.hub.handle_write_shutdown(key, false);
    driver.hub.handle_read(key, &ReadOutcome::Eof, 0);
    assert_eq!(driver.hub.poll_close(), None);
    driver.hub.handle_writable(key);
    assert!(driver.hub.poll_close().is_some());
    let disconnect = driver.hub.remove(key);
    assert_eq!((disconnect.connected_ms, disconnect.is_cut), (600, false));
    let welcome = driver.received(key)[0].len() as u64 + 1;
    assert_eq!((disconnect.bytes_in, disconnect.bytes_out), (5, welcome + 13));
}

#[test]
fn counters_count_clients_lines_errors_and_bytes() {
    let (mut driver, keys) = with_clients(small_limits(), 2);
    driver.send(keys[0], "nonsense\nping\nsend 2 x\nsend 2 y\nsend 9 z\n\n");
    driver.hub.count_refused();
    driver.hub.count_refused();
    let counters = *driver.hub.counters();
    assert_eq!((counters.clients_total, counters.lines_in, counters.errors), (2, 5, 2));
    assert_eq!((counters.directs, counters.refused, counters.bytes_in), (2, 2, 42));
    driver.now_ms = 12_345;
    driver.send(keys[1], "stats\n");
    assert!(driver.received(keys[1]).contains(&"stat uptime_seconds 12".to_owned()));
    let counters = *driver.hub.counters();
    let written: usize = driver.outputs.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(counters.bytes_out, written as u64);
}

#[test]
fn every_wrong_secret_counts_as_an_error() {
    let mut driver = Driver::new(small_limits());
    driver.hub.set_secrets(Secrets { user: Secret::new("right"), admin: None });
    let key = driver.connect(UNLIMITED);
    driver.send(key, &"auth wrong\n".repeat(3));
    assert_eq!(driver.last_line(key), "goodbye auth-failed");
    assert_eq!(driver.hub.counters().errors, 3);
}

#[test]
fn first_gap_of_each_skipped_reader_is_reported() {
    let mut driver = Driver::with_policy(small_limits(), SlowConsumerPolicy::Skip);
    let reports = |driver: &mut Driver| {
        let lagged = |event| match event {
            Event::Lagged { id, lines } => Some((id, lines)),
            _ => None,
        };
        driver.events().into_iter().filter_map(lagged).collect::<Vec<_>>()
    };
    // One reader reads nothing. The other's socket blocks in the last line of the first chunk.
    driver.play(
        r"
        stalled+
        finishing+
        sender+
        sender> quiet
        stalled room 0
        finishing room 4*LINE+50
        ",
    );
    driver.fill_feed(driver.key("sender"));
    assert_eq!(reports(&mut driver), []);
    driver.play("sender*1 say x...");
    let reported = reports(&mut driver);
    assert_eq!(
        reported,
        [(1, 10)],
        "the other reader receives the rest of its line and has no gap yet"
    );
    driver.play("sender*FEED_LINES say x...");
    assert_eq!(
        reports(&mut driver).len(),
        1,
        "only the other reader's gap, not the first one's again"
    );
    assert!(driver.hub.counters().lagged > 2 * CHUNK_LINES as u64);
}
