//! What one turn of the hub does, and for whom first: no turn is long, whatever is asked for.
#![allow(clippy::unwrap_used)]

mod support;

use oyez::credentials::secret::Secret;
use oyez::hub::{Event, Hub, Origin, Reason, Secrets, SlowConsumerPolicy};
use oyez::limits::{FlushLimits, Limits};
use oyez::read_outcome::{ReadOutcome, TlsFailure};
use support::driver::{Driver, UNLIMITED, say, small_limits};

const HERE: Origin = Origin { is_local: true };

/// A hub and so many clients that are up, of whom everybody was welcomed.
fn welcomed(limits: Limits, clients: usize) -> (Driver, Vec<usize>) {
    let mut driver = Driver::new(limits);
    let keys = (0..clients).map(|_| driver.connect(UNLIMITED)).collect();
    (driver, keys)
}

/// How many clients the hub has read from in the rest of the turn, each of which has said this.
fn reads(hub: &mut Hub, input: &[u8]) -> usize {
    let mut count = 0;
    while let Some(key) = hub.poll_read() {
        let outcome = if input.is_empty() { ReadOutcome::NoData } else { ReadOutcome::Data(input) };
        hub.handle_read(key, &outcome, 0);
        count += 1;
    }
    count
}

/// How many it has written to, each of which took so many bytes.
fn flushes(hub: &mut Hub, bytes: usize) -> usize {
    let mut count = 0;
    while let Some(key) = hub.poll_flush() {
        hub.consume(key, bytes, false);
        count += 1;
    }
    count
}

#[test]
fn a_turn_reads_its_share_and_no_more() {
    let mut limits = small_limits();
    limits.turn.read = 100;
    let (mut driver, keys) = welcomed(limits, 5);
    let hub = &mut driver.hub;
    keys.iter().for_each(|&key| hub.handle_readable(key));
    hub.begin_turn(0);
    assert_eq!(reads(hub, &[b' '; 50]), 2);
    hub.begin_turn(0);
    assert_eq!(reads(hub, &[b' '; 60]), 2, "the last one may bring a little more");
    hub.begin_turn(0);
    hub.handle_read(keys[0], &ReadOutcome::NoData, 100);
    assert_eq!(reads(hub, b""), 0, "encryption is charged for as well");
    assert_eq!(hub.counters().bytes_in, 220);
}

#[test]
fn a_turn_goes_on_while_there_is_input_and_room_for_it() {
    let mut limits = small_limits();
    (limits.turn.read, limits.turn.work) = (100, 1000);
    limits.turn.work_per_client = 1;
    let (mut driver, keys) = welcomed(limits, 1);
    let hub = &mut driver.hub;
    hub.begin_turn(0);
    assert!(!hub.has_more_input(), "nobody says anything");
    hub.handle_readable(keys[0]);
    assert!(hub.has_more_input(), "somebody may be read");
    assert_eq!(reads(hub, b"ping\nping\n"), 1);
    assert!(hub.has_more_input(), "there are lines");
    hub.execute();
    assert!(hub.has_more_input(), "there is one more, in its turn");
    hub.execute();
    assert_eq!((hub.counters().lines_in, hub.has_more_input()), (2, true), "it may say more");
    hub.handle_read(keys[0], &ReadOutcome::NoData, 90);
    assert!(!hub.has_more_input(), "but not in this turn");
    hub.begin_turn(0);
    assert_eq!(reads(hub, "say 1\n".repeat(20).as_bytes()), 1);
    while hub.has_more_input() {
        hub.execute();
    }
    assert_eq!(hub.counters().broadcasts, 2, "as much as a turn may append");
    hub.begin_turn(0);
    assert!(hub.has_more_input(), "the next one goes on");
}

#[test]
fn a_turn_goes_on_only_so_often() {
    let mut limits = small_limits();
    limits.turn.passes = 3;
    let (mut driver, keys) = welcomed(limits, 1);
    let hub = &mut driver.hub;
    hub.handle_readable(keys[0]);
    for _ in 0..2 {
        hub.begin_turn(0);
        let mut passes = 0;
        while hub.has_more_input() {
            assert_eq!(reads(hub, b"x"), 1);
            hub.execute();
            passes += 1;
        }
        assert_eq!(passes, 3, "whoever says little at a time keeps nobody waiting");
    }
}

#[test]
fn a_turn_takes_few_steps_of_handshakes_and_they_keep_nobody_waiting() {
    let mut limits = small_limits();
    limits.turn.arrivals = 2;
    let (mut driver, keys) = welcomed(limits, 3);
    let hub = &mut driver.hub;
    let arriving: Vec<usize> = (0..5).map(|_| hub.connect(HERE)).collect();
    arriving.iter().chain(&keys).for_each(|&key| hub.handle_readable(key));
    hub.begin_turn(0);
    let read: Vec<usize> = std::iter::from_fn(|| hub.poll_read()).collect();
    assert_eq!(read, [keys[0], keys[1], keys[2], arriving[0], arriving[1]]);
}

#[test]
fn a_turn_writes_to_its_share_of_clients_with_a_reply_due() {
    let mut limits = small_limits();
    limits.turn.flush_first.clients = 2;
    limits.turn.flush_feed.clients = 0;
    let mut driver = Driver::new(limits);
    for _ in 0..5 {
        let key = driver.hub.connect(HERE);
        driver.hub.handle_handshake_done(key);
    }
    let turns: Vec<usize> = (0..4)
        .map(|_| {
            driver.hub.begin_turn(0);
            flushes(&mut driver.hub, "welcome ".len())
        })
        .collect();
    assert_eq!(turns, [2, 2, 2, 2], "each of them has more to come, and its turn comes again");
}

#[test]
fn a_turn_writes_its_share_of_replies() {
    let mut limits = small_limits();
    limits.turn.flush_first = FlushLimits { bytes: 100, clients: 100 };
    let (mut driver, keys) = welcomed(limits, 5);
    keys.iter().for_each(|&key| driver.hub.handle_readable(key));
    driver.hub.begin_turn(0);
    reads(&mut driver.hub, format!("ping {}\n", "x".repeat(54)).as_bytes());
    driver.hub.execute();
    assert_eq!(flushes(&mut driver.hub, 50), 2);
    driver.hub.begin_turn(0);
    assert_eq!(flushes(&mut driver.hub, 10), 5, "and all of what is less");
}

#[test]
fn a_turn_writes_its_share_of_the_feed() {
    let mut limits = small_limits();
    limits.turn.flush_feed = FlushLimits { bytes: 32, clients: 100 };
    let (mut driver, keys) = welcomed(limits, 5);
    driver.send(keys[0], "quiet\n");
    driver.hub.handle_readable(keys[0]);
    driver.hub.begin_turn(0);
    reads(&mut driver.hub, b"say x\n");
    driver.hub.execute();
    assert_eq!(
        flushes(&mut driver.hub, "ok broadcast 1\n".len()),
        4,
        "the sender and three readers"
    );
}

#[test]
fn long_lines_are_work_by_their_bytes_and_short_ones_by_their_number() {
    let executed_in_a_turn = |line: &str, work: usize| {
        let mut limits = small_limits();
        limits.turn.work = work;
        let (mut driver, keys) = welcomed(limits, 1);
        driver.send(keys[0], "quiet\n");
        let before = driver.hub.counters().lines_in;
        driver.hub.handle_readable(keys[0]);
        driver.hub.begin_turn(0);
        let key = driver.hub.poll_read().unwrap();
        driver.hub.handle_read(key, &ReadOutcome::Data(line.repeat(40).as_bytes()), 0);
        driver.hub.execute();
        driver.hub.counters().lines_in - before
    };
    // Each is 32 bytes of work, and what it has, and its answer.
    let pings = executed_in_a_turn("ping\n", 400);
    assert!((8..=11).contains(&pings), "{pings}");
    let pings = executed_in_a_turn(&format!("ping {}\n", "x".repeat(195)), 4 * 430);
    assert!((4..=5).contains(&pings), "{pings}");
}

#[test]
fn to_look_for_old_lines_is_work() {
    // One chunk of 64 KiB, at whose end they are; to look at all of it is work like 4 KiB of lines.
    let mut limits = Limits { feed_size: Limits::MIN_FEED_SIZE, ..Limits::default() };
    limits.turn.work = 10 * 1024;
    let (mut driver, keys) = welcomed(limits, 2);
    driver.send(keys[0], &format!("quiet\n{}", format!("say {}\n", "x".repeat(1000)).repeat(60)));
    driver.hub.handle_readable(keys[1]);
    driver.hub.begin_turn(0);
    let before = driver.hub.counters().lines_in;
    let key = driver.hub.poll_read().unwrap();
    driver.hub.handle_read(key, &ReadOutcome::Data("history 1\n".repeat(10).as_bytes()), 0);
    driver.hub.execute();
    assert_eq!(
        driver.hub.counters().lines_in - before,
        3,
        "the third begins before it is too much"
    );
}

/// Two readers, of which neither has taken any of the feed's eight lines, so many bytes in all. A turn
/// visits one client that is owed only feed, and takes one byte of its away: the first in the first
/// turn, and these in the second.
fn visited(bytes: usize) -> Vec<usize> {
    let mut limits = Limits { feed_size: 2048, ..small_limits() };
    limits.turn.flush_feed.clients = 1;
    // No broadcast is held for those who take bytes.
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
        let mut keys = vec![];
        while let Some(key) = driver.hub.poll_flush() {
            driver.hub.consume(key, 1, false);
            // Its answers are sent first, byte by byte.
            keys.extend((key != sender).then_some(key));
        }
        keys
    };
    assert_eq!(turn(), [first]);
    let keys = turn();
    assert!(keys.contains(&second));
    keys
}

#[test]
fn who_is_more_than_half_the_feed_behind_goes_first() {
    assert_eq!(
        visited(1025),
        [1],
        "the first lacks 1024 of 2048 bytes, and it is the other's turn"
    );
    assert_eq!(visited(1026), [0, 1], "it lacks one more");
}

#[test]
fn who_is_behind_because_it_has_moved_back_does_not_go_first() {
    let mut limits = small_limits();
    limits.turn.flush_feed.clients = 0;
    let mut driver = Driver::with_policy(limits, SlowConsumerPolicy::Block);
    let reader = driver.connect(UNLIMITED);
    driver.send(reader, &format!("quiet\n{}", say(2).repeat(15)));
    driver.socket(reader).max_write = Some("ok history 15\n".len());
    driver.socket(reader).input = b"history 15\n".to_vec();
    driver.hub.handle_readable(reader);
    (0..5).for_each(|_| driver.turn());
    let last = driver.received(reader).pop();
    assert_eq!(last.as_deref(), Some("ok history 15"), "the rest is not among what comes first");
}

/// Four who read, of whom two take nothing from now on, and what is said after so many milliseconds.
fn held_after(ms: u64, meanwhile: impl FnOnce(&mut Driver, &[usize])) -> bool {
    let limits = Limits { reader_grace_ms: 1000, ..small_limits() };
    let (mut driver, keys) = welcomed(limits, 4);
    driver.send(keys[3], "quiet\n");
    let [first, second] = [keys[0], keys[1]];
    driver.socket(first).room = 0;
    driver.socket(second).room = 0;
    driver.now_ms = 500;
    meanwhile(&mut driver, &keys);
    driver.now_ms = ms;
    driver.socket(keys[3]).input = say(1).repeat(4).into_bytes();
    driver.hub.handle_readable(keys[3]);
    (0..4).for_each(|_| driver.turn());
    driver.hub.counters().broadcasts < 4
}

#[test]
fn who_takes_nothing_for_too_long_is_not_waited_for() {
    assert!(held_after(999, |_, _| {}));
    assert!(!held_after(1000, |_, _| {}));
    let none_taken = |driver: &mut Driver, keys: &[usize]| {
        driver.send(keys[3], &say(1));
        keys[..2].iter().for_each(|&key| driver.make_room(key, 0));
    };
    assert!(!held_after(1000, none_taken), "to try is not to take");
    let some_taken = |driver: &mut Driver, keys: &[usize]| {
        driver.send(keys[3], &say(1));
        keys[..2].iter().for_each(|&key| driver.make_room(key, 1));
    };
    assert!(held_after(1499, some_taken));
    assert!(!held_after(1500, some_taken));
}

/// How many lines of 128 bytes, an eighth of the half of the feed, are said until they are held, if so
/// many readers of so many take none.
fn said_until_held(stalled: usize, readers: usize) -> u64 {
    let limits = Limits { reader_grace_ms: 10_000, ..small_limits() };
    let (mut driver, keys) = welcomed(limits, readers + 1);
    let sender = keys[readers];
    driver.send(sender, "quiet\n");
    keys[..stalled].iter().for_each(|&key| driver.socket(key).room = 0);
    let line =
        |seq: u64| format!("say {}\n", "x".repeat(128 - format!("broadcast {seq} 5 \n").len()));
    driver.send(sender, "name e\n");
    driver.socket(sender).input = (1..=12).flat_map(|seq| line(seq).into_bytes()).collect();
    driver.hub.handle_readable(sender);
    while driver.hub.counters().held == 0 {
        driver.turn();
    }
    driver.hub.counters().broadcasts
}

#[test]
fn who_lacks_a_sixteenth_is_not_behind_and_who_lacks_half_is_not_far_behind() {
    assert_eq!(said_until_held(3, 4), 2, "the next one comes with 256 of 2048 bytes not taken");
    assert_eq!(said_until_held(1, 4), 9, "the next one comes with 1152 bytes not taken by one");
    assert_eq!(said_until_held(2, 16), 9, "two of sixteen are few");
    assert_eq!(said_until_held(2, 15), 2, "two of fifteen are some");
}

#[test]
fn who_is_quiet_by_now_and_owed_lines_is_waited_for() {
    assert!(held_after(900, |driver, keys| {
        driver.send(keys[3], &say(1).repeat(2));
        keys[..2].iter().for_each(|&key| driver.send(key, "quiet\n"));
    }));
}

#[test]
fn who_is_quiet_and_owed_nothing_does_not_count() {
    // Two of three are most, which is held for longer than for some: two of four, if the sender counted.
    let (mut driver, keys) = welcomed(Limits { reader_grace_ms: 10_000, ..small_limits() }, 4);
    driver.send(keys[3], "quiet\n");
    keys[..2].iter().for_each(|&key| driver.socket(key).room = 0);
    driver.socket(keys[3]).input = say(1).repeat(4).into_bytes();
    driver.hub.handle_readable(keys[3]);
    let mut until = |ms: u64| {
        while driver.now_ms < ms {
            driver.turn();
            driver.now_ms += 10;
        }
        driver.hub.counters().broadcasts
    };
    assert_eq!(until(1990), 2);
    assert!(until(2500) > 2);
}

#[test]
fn whether_to_hold_on_is_looked_at_once_in_a_millisecond() {
    let (mut driver, keys) = welcomed(Limits { reader_grace_ms: 10_000, ..small_limits() }, 3);
    driver.send(keys[2], "quiet\n");
    keys[..2].iter().for_each(|&key| driver.socket(key).room = 0);
    driver.now_ms = 100;
    driver.socket(keys[2]).input = say(1).repeat(4).into_bytes();
    driver.hub.handle_readable(keys[2]);
    (0..4).for_each(|_| driver.turn());
    assert_eq!(driver.hub.counters().broadcasts, 2);
    assert_eq!(driver.hub.next_deadline(), Some(120), "nothing has happened");
    for &key in &keys[..2] {
        driver.socket(key).room = UNLIMITED;
        driver.hub.handle_writable(key);
    }
    driver.turn();
    driver.turn();
    assert_eq!(driver.hub.counters().broadcasts, 2, "within the same millisecond");
    assert_eq!(driver.hub.next_deadline(), Some(101));
    driver.now_ms = 101;
    (0..4).for_each(|_| driver.turn());
    assert_eq!(driver.hub.counters().broadcasts, 4);
}

#[test]
fn who_may_say_no_more_is_not_read_from() {
    let limits = Limits { rate_limit: Some(2), ..small_limits() };
    let (mut driver, keys) = welcomed(limits, 1);
    driver.send(keys[0], "ping\nping\n");
    driver.hub.handle_readable(keys[0]);
    driver.hub.begin_turn(driver.now_ms);
    assert_eq!(driver.hub.poll_read(), None);
    driver.hub.begin_turn(1000);
    assert_eq!(driver.hub.poll_read(), Some(keys[0]));
}

#[test]
fn a_transport_that_fails_before_it_is_up_is_no_client_and_one_that_was_is_lost() {
    let mut driver = Driver::new(small_limits());
    let (arriving, here) = (driver.admit(HERE, UNLIMITED), driver.connect(UNLIMITED));
    driver.socket(arriving).ended = true;
    driver.socket(here).ended = true;
    driver.hub.handle_readable(arriving);
    let failure = TlsFailure::Protocol("not TLS".to_owned());
    driver.hub.handle_read(arriving, &ReadOutcome::TlsFailed(failure), 0);
    let failure = TlsFailure::Protocol("not TLS".to_owned());
    driver.hub.handle_read(here, &ReadOutcome::TlsFailed(failure), 0);
    driver.run();
    let reasons: Vec<Reason> = driver.departed.iter().map(|departure| departure.reason).collect();
    assert_eq!(reasons, [Reason::Lost, Reason::HandshakeFailed]);
}

#[test]
fn an_end_that_waits_for_its_socket_is_waited_for() {
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
    assert_eq!(flushes(&mut driver.hub, "goodbye quit\n".len()), 1);
    assert!(driver.hub.poll_close().is_some());
    driver.hub.handle_write_shutdown(key, false);
    driver.hub.handle_read(key, &ReadOutcome::Eof, 0);
    assert_eq!(driver.hub.poll_close(), None);
    driver.hub.handle_writable(key);
    assert!(driver.hub.poll_close().is_some());
    let departure = driver.hub.remove(key);
    assert_eq!((departure.connected_ms, departure.is_cut), (600, false));
    let welcome = driver.received(key)[0].len() as u64 + 1;
    assert_eq!((departure.bytes_in, departure.bytes_out), (5, welcome + 13));
}

#[test]
fn everything_is_counted() {
    let (mut driver, keys) = welcomed(small_limits(), 2);
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
    let told: usize = driver.told.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(counters.bytes_out, told as u64);
}

#[test]
fn wrong_secrets_are_errors_and_so_is_the_last_of_them() {
    let mut driver = Driver::new(small_limits());
    driver.hub.set_secrets(Secrets { user: Secret::new("right"), admin: None });
    let key = driver.connect(UNLIMITED);
    driver.send(key, &"auth wrong\n".repeat(3));
    assert_eq!(driver.received(key).last().unwrap(), "goodbye auth-failed");
    assert_eq!(driver.hub.counters().errors, 3);
}

#[test]
fn who_skips_is_reported_when_it_misses_something_for_the_first_time() {
    let mut driver = Driver::with_policy(small_limits(), SlowConsumerPolicy::Skip);
    let [stalled, finishing, sender] = [(); 3].map(|()| driver.connect(UNLIMITED));
    driver.send(sender, "quiet\n");
    let reported = |driver: &mut Driver| {
        let reports = std::iter::from_fn(|| driver.hub.poll_event());
        let lagged = |report| match report {
            Event::Lagged { id, lines } => Some((id, lines)),
            _ => None,
        };
        reports.filter_map(lagged).collect::<Vec<_>>()
    };
    driver.socket(stalled).room = 0;
    // Five lines to a chunk, and this one has begun the last of the first five.
    driver.socket(finishing).room = 450;
    driver.send(sender, &say(1).repeat(9));
    driver.send(sender, &say(2).repeat(11));
    assert_eq!(reported(&mut driver), []);
    driver.send(sender, &say(2));
    assert_eq!(reported(&mut driver), [(1, 10)], "the other ends its line, and has missed none");
    driver.send(sender, &say(2).repeat(20));
    assert_eq!(reported(&mut driver).len(), 1, "the other now; the first was reported before");
    assert!(driver.hub.counters().lagged > 10);
}
