//! Pacing, without sockets: when broadcasts pause for readers that are behind, and that slow
//! readers cannot slow the feed down for the others.
#![allow(clippy::unwrap_used)]

mod support;

use oyez::hub::{Origin, SlowConsumerPolicy};
use oyez::limits::Limits;
use support::driver::{Driver, FEED_LINES, LINE, UNLIMITED, small_limits};

const LOCAL: Origin = Origin { is_local: true, source: 0 };

/// Returns a hub with these readers, which have earned all the patience that a reader can have, and
/// a `sender`, which is quiet. The feed is full.
fn with_patient_readers(readers: &[&str]) -> Driver {
    with_patient_readers_and(SlowConsumerPolicy::Disconnect, readers)
}

fn with_patient_readers_and(policy: SlowConsumerPolicy, readers: &[&str]) -> Driver {
    let limits = Limits { patience_ms: 250, ..small_limits() };
    let mut driver = Driver::with_policy(limits, policy);
    readers.iter().for_each(|reader| driver.play(&format!("{reader}+")));
    driver.play("sender+\nsender> quiet");
    for second in 1..=FEED_LINES as u64 / 2 {
        driver.run_at(second * 1000);
        driver.play("sender*2 say x...");
    }
    for reader in readers {
        let key = driver.key(reader);
        driver.socket(key).checked = driver.socket(key).received.len();
    }
    driver
}

#[test]
fn broadcasts_wait_for_many_slow_readers_but_not_for_one() {
    let mut driver = with_patient_readers(&["a", "b", "c", "d"]);
    // A single stalled reader is evicted once its patience is used up.
    driver.play(
        r"
        a room 0
        sender*50 say x...
        stat broadcasts 70
        stat too_slow 1
        ",
    );

    let held = driver.hub.counters().held;
    let sender = driver.key("sender");
    driver.play("b room 0\nc room 0");
    driver.queue(sender, &driver.filler(sender, 50));
    let before = driver.hub.counters().broadcasts;
    for _ in 0..20 {
        driver.turn();
        driver.now_ms += 10;
    }
    let broadcasts = driver.hub.counters().broadcasts - before;
    assert!(broadcasts < 10, "{broadcasts} lines were broadcast while most readers were behind");
    assert!(driver.hub.counters().held > held);
    assert!(!driver.hub.has_work(), "the hub spins instead of waiting");

    // Both sockets become writable in the same turn. If one stayed blocked, it would be a single
    // stalled reader and be evicted.
    for name in ["b", "c"] {
        let key = driver.key(name);
        driver.socket(key).room = UNLIMITED;
        driver.hub.handle_writable(key);
    }
    driver.run();
    driver.play(
        r"
        stat broadcasts 120
        b< broadcast 21..=120 5 x...
        b-
        c< broadcast 21..=120 5 x...
        c-
        d< broadcast 21..=120 5 x...
        d-
        ",
    );
}

#[test]
fn majority_of_slow_readers_cannot_stop_the_feed() {
    let mut driver = with_patient_readers(&["fast", "a", "b", "c", "d", "e"]);
    let fast = driver.key("fast");
    let slow = ["a", "b", "c", "d", "e"].map(|name| driver.key(name));
    let sender = driver.key("sender");
    driver.queue(sender, &driver.filler(sender, 300));
    for reader in slow {
        driver.socket(reader).room = 0;
    }
    // A byte now and then is too little to keep up.
    while driver.now_ms < 60_000 {
        for reader in slow {
            driver.socket(reader).room = 1;
            driver.hub.handle_writable(reader);
        }
        driver.turn();
        driver.turn();
        driver.now_ms += 50;
    }
    assert_eq!(driver.hub.counters().too_slow, 5);
    assert!(driver.last_line(fast).starts_with("broadcast 320 "));
}
/// Returns how many lines are broadcast before one is held, if `stalled` of the readers read
/// nothing. Each line takes 128 bytes, a sixteenth of the feed. The sender is no reader.
fn broadcasts_until_held(stalled: usize, readers: usize) -> u64 {
    let mut driver = Driver::new(Limits { patience_ms: 250, ..small_limits() });
    let keys: Vec<usize> = (0..readers).map(|_| driver.connect(UNLIMITED)).collect();
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\nname e\n");
    keys[..stalled].iter().for_each(|&key| driver.socket(key).room = 0);
    let line =
        |seq: u64| format!("say {}\n", "x".repeat(128 - format!("broadcast {seq} e \n").len()));
    driver.queue(sender, &(1..=12).map(line).collect::<String>());
    while driver.hub.counters().held == 0 {
        driver.turn();
    }
    driver.hub.counters().broadcasts
}

#[test]
fn reader_lag_thresholds_are_exclusive() {
    assert_eq!(broadcasts_until_held(2, 3), 2, "a lag of 128 of 2048 bytes is not behind, 256 is");
    assert_eq!(broadcasts_until_held(1, 4), 9, "a lag of 1024 bytes is not far behind, 1152 is");
    assert_eq!(broadcasts_until_held(2, 4), 9, "two of four readers are not most");
}

#[test]
fn quiet_client_with_pending_lines_counts_as_a_reader() {
    let mut driver = with_patient_readers(&["a", "b", "c"]);
    driver.play("a room 0\nb room 0\nsender*2 say x...\na> quiet\nb> quiet");
    let sender = driver.key("sender");
    driver.queue(sender, &driver.filler(sender, 4));
    let broadcasts = driver.hub.counters().broadcasts;
    (0..4).for_each(|_| driver.turn());
    assert!(driver.hub.counters().broadcasts < broadcasts + 4);
}

#[test]
fn readers_are_sampled_at_most_once_a_millisecond() {
    let mut driver = Driver::new(Limits { patience_ms: 250, ..small_limits() });
    driver.play("a+\nb+\nsender+\nsender> quiet\na room 0\nb room 0");
    let sender = driver.key("sender");
    driver.now_ms = 100;
    driver.queue(sender, &driver.filler(sender, 4));
    (0..4).for_each(|_| driver.turn());
    assert_eq!(driver.hub.counters().broadcasts, 2);
    driver.now_ms = 101;
    driver.turn();
    assert_eq!(driver.hub.next_deadline(), Some(121), "without progress, 20 ms later");
    for name in ["a", "b"] {
        let key = driver.key(name);
        driver.socket(key).room = UNLIMITED;
        driver.hub.handle_writable(key);
    }
    driver.turn();
    driver.turn();
    assert_eq!(driver.hub.counters().broadcasts, 2, "within the same millisecond");
    assert_eq!(driver.hub.next_deadline(), Some(102), "after progress, a millisecond later");
    driver.now_ms = 102;
    (0..4).for_each(|_| driver.turn());
    assert_eq!(driver.hub.counters().broadcasts, 4);
}

/// Each slow reader takes a line per second, of a thousand that are broadcast.
#[test]
fn slow_readers_take_a_small_part_of_the_rate() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    for slow in [1, 4, 5, 9, 10] {
        let mut driver = with_patient_readers_and(SlowConsumerPolicy::Skip, &names);
        let slow: Vec<usize> = names[..slow].iter().map(|name| driver.key(name)).collect();
        slow.iter().for_each(|&reader| driver.socket(reader).room = 0);
        let sender = driver.key("sender");
        let broadcasts = driver.flood(sender, 10_000, |driver, ms| {
            for &reader in slow.iter().filter(|_| ms % 100 == 0) {
                driver.socket(reader).room = LINE / 10;
                driver.hub.handle_writable(reader);
            }
        });
        assert!(broadcasts > 9_000, "{broadcasts} lines with {} slow readers", slow.len());
    }
}

/// Each reader that reconnects uses up what the hub grants to newcomers.
#[test]
fn readers_that_reconnect_gain_nothing() {
    let mut driver = with_patient_readers(&["a", "b", "c"]);
    let sender = driver.key("sender");
    let mut stalled = vec![];
    let broadcasts = driver.flood(sender, 30_000, |driver, ms| {
        if ms % 20 == 0 {
            if stalled.len() == 10 {
                let key = stalled.remove(0);
                driver.socket(key).eof = true;
                driver.hub.handle_hangup(key);
            }
            let key = driver.accept(LOCAL, LINE);
            driver.finish_handshake(key);
            stalled.push(key);
        }
    });
    assert!(broadcasts > 20_000, "{broadcasts} lines in 30,000 ms");
    for name in ["a", "b", "c"] {
        let newest = format!("broadcast {} ", driver.hub.feed().newest_seq());
        driver.turn();
        assert!(driver.received(driver.key(name)).iter().any(|line| line.starts_with(&newest)));
    }
}

#[test]
fn reader_that_keeps_up_may_stall_for_a_moment() {
    let mut driver = with_patient_readers(&["a", "b", "c"]);
    let (sender, reader) = (driver.key("sender"), driver.key("a"));
    driver.flood(sender, 60_000, |driver, ms| match ms % 10_000 {
        0 => driver.socket(reader).room = 0,
        200 => {
            driver.socket(reader).room = UNLIMITED;
            driver.hub.handle_writable(reader);
        }
        _ => {}
    });
    assert_eq!(driver.hub.counters().too_slow, 0);
}
