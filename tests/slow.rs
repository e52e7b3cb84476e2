//! What becomes of clients that the feed would lap, and of those who wait for them: the hub without
//! sockets, byte by byte.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::io;

use oyez::hub::{Event, Reason, SlowConsumerPolicy};
use oyez::limits::{Limits, STALL_BYTES};
use oyez::read_outcome::ReadOutcome;
use support::driver::{Driver, UNLIMITED, say, seqs, small_limits};

/// A driver, a sender that does not listen, and a reader whose socket takes so many bytes more.
fn with_reader(policy: SlowConsumerPolicy, room: usize) -> (Driver, usize, usize) {
    with_reader_and(small_limits(), policy, room)
}

fn with_reader_and(
    limits: Limits,
    policy: SlowConsumerPolicy,
    room: usize,
) -> (Driver, usize, usize) {
    let mut driver = Driver::with_policy(limits, policy);
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    let reader = driver.connect(UNLIMITED);
    driver.socket(reader).room = room;
    (driver, sender, reader)
}

/// A reader that takes nothing, and is waited for by one that says so many long lines. A chunk of the feed
/// is more than has to be taken within the stall timeout.
fn with_one_waited_for(lines: usize) -> (Driver, usize) {
    let limits = Limits { feed_size: 4 << 20, ..Limits::default() };
    assert!(limits.feed_chunk() as u64 > 4 * STALL_BYTES);
    let (mut driver, sender, slow) = with_reader_and(limits, SlowConsumerPolicy::Block, 0);
    driver.send(sender, &format!("say {}\n", "x".repeat(4000)).repeat(lines));
    assert!(driver.hub.counters().broadcasts < lines as u64);
    (driver, slow)
}

/// Any generator will do; this one is Knuth's.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    }
}

/// The lines behind `welcome`, each cut short.
fn in_short(driver: &Driver, key: usize) -> Vec<String> {
    let lines = driver.received(key);
    lines[1..].iter().map(|line| line.chars().take(16).collect()).collect()
}

#[test]
fn who_skips_gets_the_end_of_its_line_how_many_it_misses_and_newer_ones() {
    let (mut driver, sender, reader) = with_reader(SlowConsumerPolicy::Skip, 110);
    driver.send(sender, &say(1).repeat(9));
    driver.send(reader, "ping it is\n");
    driver.send(sender, &say(2).repeat(12));
    assert_eq!(driver.received(reader).last().unwrap(), "broadcast ", "half a line");
    assert_eq!(driver.hub.counters().lagged, 8, "lines 3 to 10");
    driver.make_room(reader, UNLIMITED);
    let mut expected = vec!["broadcast 1 1 xx", "broadcast 2 1 xx", "lagged 8", "pong it is"];
    let rest: Vec<String> = (11..=21).map(|seq| format!("broadcast {seq} 1 x")).collect();
    expected.extend(rest.iter().map(String::as_str));
    assert_eq!(in_short(&driver, reader), expected);
    assert!(driver.received(reader)[2].len() == 99, "the whole line");
    assert_eq!(driver.hub.counters().too_slow, 0);
    driver.send(reader, "quit\n");
    driver.end(reader);
    let departure = driver.departed.pop().unwrap();
    assert_eq!((departure.reason, departure.is_cut, departure.missed), (Reason::Quit, false, 8));
}

#[test]
fn counts_that_are_not_sent_yet_are_added_up() {
    let (mut driver, sender, reader) = with_reader(SlowConsumerPolicy::Skip, 0);
    driver.send(sender, &say(2).repeat(60));
    driver.send(reader, "ping\n");
    driver.send(sender, &say(2).repeat(39));
    driver.make_room(reader, UNLIMITED);
    let received = driver.received(reader);
    let missed = driver.hub.counters().lagged;
    assert_eq!(received[1..3], [format!("lagged {missed}"), "pong".to_owned()]);
    assert_eq!(seqs(&received), (missed + 1..=99).collect::<Vec<u64>>());
}

#[test]
fn a_count_that_is_half_sent_stays_as_it_is() {
    let (mut driver, sender, reader) = with_reader(SlowConsumerPolicy::Skip, 0);
    driver.send(sender, &say(2).repeat(30));
    let before = driver.hub.counters().lagged;
    driver.make_room(reader, "lagg".len());
    driver.send(sender, &say(2).repeat(60));
    let more = driver.hub.counters().lagged - before;
    assert!(before > 0 && more > 0);
    driver.make_room(reader, UNLIMITED);
    let received = driver.received(reader);
    assert_eq!(received[1..3], [format!("lagged {before}"), format!("lagged {more}")]);
    assert_eq!(seqs(&received), (before + more + 1..=90).collect::<Vec<u64>>());
}

#[test]
fn a_move_to_what_is_dropped_before_its_turn_comes_is_told_what_it_misses() {
    let (mut driver, sender, reader) = with_reader(SlowConsumerPolicy::Skip, 0);
    driver.send(sender, &say(1).repeat(9));
    driver.send(reader, "resume 2\nquiet\nlisten\n");
    driver.send(sender, &say(2).repeat(21));
    driver.make_room(reader, UNLIMITED);
    let received = driver.received(reader);
    let shown: Vec<&str> =
        received[1..].iter().filter(|line| !line.starts_with("broad")).map(|l| &l[..]).collect();
    // 1 to 9; then 3 to 9; then those from 10 on that are no longer kept.
    let first = seqs(&received)[0];
    let last = format!("lagged {}", first - 10);
    assert_eq!(shown, ["lagged 9", "ok resume 2", "lagged 7", "ok quiet", "ok listen 9", &last]);
    assert_eq!(seqs(&received), (first..=30).collect::<Vec<u64>>());
}

/// What a reader knows of where it stands, from what it was told alone.
#[derive(Default)]
struct Place {
    next: u64,
    is_quiet: bool,
    missed: u64,
    pongs: u64,
    /// What was the newest line when `history` was asked for, each time.
    newest: VecDeque<u64>,
}

impl Place {
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |nth: usize| words[nth].parse::<u64>().unwrap();
        match words[..] {
            ["welcome", ..] => self.next = number(3) + 1,
            ["broadcast", ..] => {
                assert_eq!((number(1), self.is_quiet), (self.next, false), "{line}");
                self.next += 1;
            }
            ["lagged", _] => {
                assert!(number(1) > 0);
                self.next += number(1);
                self.missed += number(1);
            }
            ["ok", "quiet"] => self.is_quiet = true,
            ["ok", "listen" | "resume", _] => {
                self.next =
                    if self.is_quiet || words[1] == "resume" { number(2) + 1 } else { self.next };
                self.is_quiet = false;
            }
            ["ok", "history", _] => {
                self.next = self.newest.pop_front().unwrap() + 1 - number(2);
                self.is_quiet = false;
            }
            ["pong", _] => {
                assert_eq!(number(1), self.pongs);
                self.pongs += 1;
            }
            ["error", "gone", ..] => {}
            _ => panic!("{line}"),
        }
    }
}

/// However slowly it is taken, and whatever is asked meanwhile: a client gets every line, or is told of
/// it, at the place where it is missing. A failure names its seed.
#[test]
fn what_is_missed_adds_up_whatever_is_asked_meanwhile() {
    let mut skipped = 0;
    for seed in 0..300u64 {
        eprintln!("seed {seed}");
        let mut random = random(seed);
        let (mut driver, sender, reader) = with_reader(SlowConsumerPolicy::Skip, 0);
        driver.socket(reader).max_write = Some(1 + random(70) as usize);
        let mut place = Place::default();
        let mut pings = 0;
        for _ in 0..random(200) {
            let newest = driver.hub.feed().newest_seq();
            match random(13) {
                0..6 => {
                    let line = format!("say {}\n", "x".repeat(1 + random(150) as usize));
                    driver.send(sender, &line.repeat(1 + random(4) as usize));
                }
                6 | 7 => driver.make_room(reader, random(400) as usize),
                8 => {
                    driver.send(reader, &format!("ping {pings}\n"));
                    pings += 1;
                }
                9 => driver
                    .send(reader, &format!("resume {}\n", newest - random(newest.min(20) + 1))),
                10 => {
                    driver.send(reader, &format!("history {}\n", random(30)));
                    place.newest.push_back(newest);
                }
                11 => driver.send(reader, "quiet\n"),
                _ => driver.send(reader, "listen\n"),
            }
        }
        driver.make_room(reader, UNLIMITED);
        driver.received(reader).iter().for_each(|line| place.take(line));
        assert_eq!(place.pongs, pings, "seed {seed}");
        if !place.is_quiet {
            assert_eq!(place.next, driver.hub.feed().newest_seq() + 1, "seed {seed}");
        }
        assert_eq!(place.missed, driver.hub.counters().lagged, "seed {seed}");
        assert_eq!(driver.hub.counters().too_slow, 0, "seed {seed}");
        skipped += usize::from(place.missed > 0);
    }
    assert!(skipped > 100, "only {skipped} of the runs have skipped anything");
}

#[test]
fn a_line_that_would_lap_somebody_waits_and_all_else_is_served() {
    let (mut driver, sender, slow) = with_reader(SlowConsumerPolicy::Block, 250);
    let (fast, other) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    driver.send(sender, &format!("{}ping behind it\n", say(3).repeat(60)));
    let executed = driver.hub.counters().broadcasts;
    assert!((15..25).contains(&executed), "{executed}");
    assert!(!driver.hub.has_work(), "nothing spins");
    assert_eq!(driver.hub.next_deadline(), Some(30_000 / 8), "when it is seen what it takes");
    assert_eq!(seqs(&driver.received(fast)).len() as u64, executed);

    // Others are answered; what they broadcast waits as well, and nothing behind it is executed.
    driver.send(other, "ping\nname bob\nsay mine\nping behind it\n");
    driver.send(fast, "stats\nclients\nsend bob hello\n");
    assert_eq!(driver.received(fast).last().unwrap(), "ok send bob");
    let received = driver.received(other);
    assert_eq!(received.last().unwrap(), "direct 3 hello");
    assert!(received.contains(&"ok name bob".to_owned()));
    assert_eq!(driver.hub.counters().broadcasts, executed);
    let held = [sender, other].map(|key| driver.hub.id(key));
    assert_eq!((held, driver.hub.counters().held), ([1, 4], 2));
    let is_report =
        |report: &Event| matches!(report, Event::PublishersBlocked { id: 2, readers: 1 });
    assert_eq!(std::iter::from_fn(|| driver.hub.poll_event()).filter(is_report).count(), 1);

    // It takes what there is, bit by bit, and everybody gets everything.
    while driver.hub.counters().broadcasts < 61 {
        driver.make_room(slow, 100);
    }
    driver.make_room(slow, UNLIMITED);
    for reader in [slow, fast, other] {
        assert_eq!(seqs(&driver.received(reader)), (1..=61).collect::<Vec<u64>>());
    }
    assert_eq!(driver.received(sender).last().unwrap(), "pong behind it");
    assert_eq!(driver.received(other).last().unwrap(), "pong behind it");
    assert_eq!(driver.hub.counters().too_slow + driver.hub.counters().lagged, 0);
}

#[test]
fn one_that_takes_nothing_holds_the_others_for_the_stall_timeout_and_no_longer() {
    let (mut driver, sender, stalled) = with_reader(SlowConsumerPolicy::Block, 110);
    let fast = driver.connect(UNLIMITED);
    driver.send(sender, &say(3).repeat(30));
    let executed = driver.hub.counters().broadcasts;
    driver.now_ms = 29_000;
    driver.run();
    assert_eq!(driver.hub.counters().broadcasts, executed);
    driver.now_ms = 30_000;
    driver.run();
    assert_eq!(seqs(&driver.received(fast)), (1..=30).collect::<Vec<u64>>());
    driver.make_room(stalled, UNLIMITED);
    let received = driver.received(stalled);
    assert_eq!(received.last().unwrap(), "goodbye too-slow");
    assert!(seqs(&received).len() == 2 && received[2].len() > 90, "its half line ends first");
    driver.end(stalled);
    let departure = driver.departed.pop().unwrap();
    assert_eq!((departure.reason, departure.is_cut), (Reason::Stalled, true));
    assert_eq!(driver.hub.counters().too_slow, 1);
}

#[test]
fn who_takes_enough_is_waited_for_however_long_it_takes() {
    for (taken, is_kept) in [(STALL_BYTES, true), (STALL_BYTES - 1, false)] {
        let (mut driver, slow) = with_one_waited_for(2000);
        for turn in 1..=10 {
            // Just before its time is up.
            driver.now_ms = turn * 30_000 - 1;
            driver.make_room(slow, taken as usize);
            driver.now_ms += 1;
            driver.run();
        }
        assert_eq!(driver.hub.counters().too_slow, u64::from(!is_kept), "{taken} bytes each time");
        driver.make_room(slow, UNLIMITED);
        let lines = seqs(&driver.received(slow)).len();
        assert_eq!(lines == 2000, is_kept, "{lines} lines");
    }
}

#[test]
fn what_was_taken_before_does_not_count_again() {
    let (mut driver, slow) = with_one_waited_for(2000);
    driver.make_room(slow, 2 * STALL_BYTES as usize);
    for (now_ms, too_slow) in [(30_000, 0), (59_000, 0), (60_000, 1)] {
        driver.now_ms = now_ms;
        driver.run();
        assert_eq!(driver.hub.counters().too_slow, too_slow, "after {now_ms} ms");
    }
}

#[test]
fn leaving_them_out_of_the_feed_is_work_of_which_a_turn_does_only_a_part() {
    let mut limits = small_limits();
    limits.turn.work = 500;
    let mut driver = Driver::with_policy(limits, SlowConsumerPolicy::Skip);
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    let stalled = 200;
    (0..stalled).for_each(|_| {
        let key = driver.connect(UNLIMITED);
        driver.socket(key).room = 150;
    });
    let input = say(2).repeat(40);
    driver.socket(sender).input.extend_from_slice(input.as_bytes());
    driver.hub.handle_readable(sender);
    let mut turns_that_skip = 0;
    while driver.hub.counters().broadcasts < 40 {
        let before = driver.hub.counters().lagged;
        driver.turn();
        driver.now_ms += 50;
        turns_that_skip += u64::from(driver.hub.counters().lagged > before);
    }
    assert!(turns_that_skip > 8, "all in {turns_that_skip} turns");
}

#[test]
fn that_broadcasts_wait_is_reported_once_in_a_minute() {
    let limits = Limits { stall_timeout_ms: 1_000_000, ..small_limits() };
    let (mut driver, sender, reader) = with_reader_and(limits, SlowConsumerPolicy::Block, 0);
    let reported_at = |driver: &mut Driver, now_ms: u64| {
        driver.now_ms = now_ms;
        driver.run();
        let reports = std::iter::from_fn(|| driver.hub.poll_event());
        reports.filter(|report| matches!(report, Event::PublishersBlocked { .. })).count()
    };
    driver.now_ms = 1000;
    driver.send(sender, &say(2).repeat(100));
    let mut reports = vec![reported_at(&mut driver, 1000)];
    // It takes a little each time, and the next line that would lap it waits again.
    for now_ms in [2000, 30_000, 60_000, 62_000, 63_000] {
        driver.now_ms = now_ms;
        driver.make_room(reader, 600);
        reports.push(reported_at(&mut driver, now_ms));
    }
    assert_eq!(reports, [1, 0, 0, 0, 1, 0]);
}

#[test]
fn nobody_waits_for_who_has_moved_back() {
    let (mut driver, sender, back) = with_reader(SlowConsumerPolicy::Block, UNLIMITED);
    driver.send(sender, &say(2).repeat(10));
    driver.socket(back).room = 10;
    driver.send(back, "history 5\n");
    driver.send(sender, &say(2).repeat(40));
    assert_eq!(driver.hub.counters().broadcasts, 50);
    assert_eq!(driver.hub.counters().held, 0);
    driver.make_room(back, UNLIMITED);
    assert_eq!(driver.received(back).last().unwrap(), "goodbye too-slow");
    driver.end(back);
    assert_eq!(driver.departed.pop().unwrap().reason, Reason::TooSlow);
}

/// The poll does not tell of the little room that slow readers make, so it is looked for.
#[test]
fn one_that_takes_little_at_a_time_is_seen_to_take_it() {
    let (mut driver, slow) = with_one_waited_for(1100);
    let executed = driver.hub.counters().broadcasts;
    for step in 1..=100 {
        driver.socket(slow).room += STALL_BYTES as usize / 5;
        driver.now_ms = step * 3_000;
        driver.run();
    }
    assert_eq!(driver.hub.counters().too_slow, 0);
    assert!(driver.hub.counters().broadcasts > executed);
}

#[test]
fn a_sender_that_waits_for_itself_and_is_gone_lets_the_others_go_on_at_once() {
    let mut driver = Driver::with_policy(small_limits(), SlowConsumerPolicy::Block);
    let (talker, reader) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    driver.socket(talker).room = 50;
    driver.send(talker, &say(2).repeat(60));
    driver.send(reader, "say mine\n");
    assert!(driver.hub.counters().broadcasts < 30);
    driver.hub.handle_write_failed(talker);
    driver.run();
    assert_eq!((driver.hub.counters().broadcasts, driver.now_ms < 1000), (61, true));
    assert_eq!(seqs(&driver.received(reader)).len(), 61);
}

#[test]
fn nobody_is_idle_because_others_wait() {
    let limits = Limits { idle_timeout_ms: Some(10_000), ..small_limits() };
    let mut driver = Driver::with_policy(limits, SlowConsumerPolicy::Block);
    let (sender, slow) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    let listener = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    driver.socket(slow).room = 10;
    driver.send(sender, &say(2).repeat(60));
    // What it has said is executed, though it is gone.
    driver.hub.handle_hangup(sender);
    driver.now_ms = 29_000;
    driver.run();
    assert_eq!(driver.received(listener).last().map(|line| &line[..9]), Some("broadcast"));
    driver.now_ms = 30_000;
    driver.run();
    assert_eq!(seqs(&driver.received(listener)).len(), 60);
}

#[test]
fn one_that_moves_back_or_goes_lets_the_others_go_on_at_once() {
    for last_words in ["history 5\n", "quit\n", "reset"] {
        let (mut driver, sender, slow) = with_reader(SlowConsumerPolicy::Block, 10);
        driver.send(sender, &say(3).repeat(30));
        assert!(driver.hub.counters().broadcasts < 30);
        if last_words == "reset" {
            let reset = io::ErrorKind::ConnectionReset.into();
            driver.hub.handle_read(slow, &ReadOutcome::Failed(reset), 0);
            driver.run();
        } else {
            driver.send(slow, last_words);
        }
        if last_words == "quit\n" {
            driver.now_ms += 5000;
            driver.run();
        }
        assert!(driver.now_ms < 10_000);
        assert_eq!(driver.hub.counters().broadcasts, 30, "{last_words}");
    }
}

#[test]
fn at_the_end_nobody_waits_any_more() {
    let limits = Limits { drain_timeout_ms: 60_000, ..small_limits() };
    let mut driver = Driver::with_policy(limits, SlowConsumerPolicy::Block);
    let (sender, slow) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    driver.send(sender, "quiet\n");
    driver.socket(slow).room = 10;
    let other = driver.connect(UNLIMITED);
    driver.send(sender, &say(3).repeat(30));
    let executed = driver.hub.counters().broadcasts;
    driver.hub.begin_shutdown();
    driver.now_ms = 31_000;
    driver.run();
    driver.make_room(slow, UNLIMITED);
    let received = driver.received(slow);
    assert_eq!(received.last().unwrap(), "goodbye shutdown");
    assert_eq!(seqs(&received), (1..=executed).collect::<Vec<u64>>());
    // What was held was not executed, and not answered.
    let answers = driver.received(sender).len() as u64;
    assert_eq!(answers, "welcome, ok quiet, goodbye".split(' ').count() as u64 - 1 + executed);
    assert_eq!(driver.received(other).last().unwrap(), "goodbye shutdown");
}

/// A sender that does not read its own lines is in its own way.
#[test]
fn who_waits_for_itself_is_let_go_of() {
    let mut driver = Driver::with_policy(small_limits(), SlowConsumerPolicy::Block);
    let (talker, reader) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    driver.socket(talker).room = 50;
    driver.send(talker, &say(2).repeat(60));
    let executed = driver.hub.counters().broadcasts;
    assert!(executed < 30);
    driver.now_ms = 30_000;
    driver.run();
    driver.make_room(talker, UNLIMITED);
    assert_eq!(driver.received(talker).last().unwrap(), "goodbye too-slow");
    assert_eq!(seqs(&driver.received(reader)).len() as u64, executed);
    let other = driver.connect(UNLIMITED);
    driver.send(other, "say on it goes\n");
    assert!(driver.received(reader).last().unwrap().ends_with(" on it goes"));
}

/// Readers and senders of any pace: whoever keeps taking gets every line, in order, and none is told
/// that it is too slow. A failure names its seed.
#[test]
fn nothing_is_lost_for_whoever_takes_something() {
    let mut held = 0;
    for seed in 0..100u64 {
        eprintln!("seed {seed}");
        let mut random = random(seed);
        let mut driver = Driver::with_policy(small_limits(), SlowConsumerPolicy::Block);
        let senders: Vec<usize> = (0..1 + random(3)).map(|_| driver.connect(UNLIMITED)).collect();
        senders.iter().for_each(|&sender| driver.send(sender, "quiet\n"));
        let readers: Vec<usize> = (0..1 + random(4)).map(|_| driver.connect(0)).collect();
        let mut said = 0;
        for _ in 0..random(150) {
            if random(2) == 0 {
                let lines = 1 + random(4);
                let line = format!("say {}\n", "x".repeat(1 + random(150) as usize));
                let sender = senders[random(senders.len() as u64) as usize];
                driver.send(sender, &line.repeat(lines as usize));
                said += lines;
            } else {
                let reader = readers[random(readers.len() as u64) as usize];
                driver.make_room(reader, random(700) as usize);
            }
        }
        while driver.hub.counters().broadcasts < said {
            readers.iter().for_each(|&reader| driver.make_room(reader, 200));
        }
        for reader in readers {
            driver.make_room(reader, UNLIMITED);
            let received = driver.received(reader);
            assert_eq!(seqs(&received), (1..=said).collect::<Vec<u64>>(), "seed {seed}");
            assert_eq!(received.len() as u64, said + 1, "seed {seed}");
        }
        held += driver.hub.counters().held;
        assert_eq!(driver.hub.counters().too_slow, 0, "seed {seed}");
    }
    assert!(held > 100, "broadcasts were held only {held} times");
}
