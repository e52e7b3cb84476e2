//! The hub without sockets: what exactly each client gets, byte by byte.
#![allow(clippy::unwrap_used)]

mod support;

use oyez::credentials::secret::Secret;
use oyez::hub::{
    AllowShutdown, Event, HubConfig, Origin, Reason, Secrets, SlowConsumerPolicy, Span,
};
use oyez::limits::{Limits, MAX_PENDING_SEEKS};
use oyez::protocol::FeedId;
use oyez::read_outcome::ReadOutcome;
use support::driver::{Driver, UNLIMITED, say, seqs, small_limits};

#[test]
fn a_lapped_client_gets_the_end_of_its_line_and_its_replies_and_a_goodbye() {
    let mut driver = Driver::new(small_limits());
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    let stalled = driver.connect(UNLIMITED);
    driver.socket(stalled).room = 110;
    driver.send(sender, &say(1).repeat(2));
    assert_eq!(driver.received(stalled).last().unwrap(), "broadcast ", "half a line");
    driver.send(stalled, "ping still here\n");
    for _ in 0..40 {
        driver.send(sender, &say(2));
    }
    driver.make_room(stalled, UNLIMITED);
    let received = driver.received(stalled);
    let [.., second, pong, goodbye] = &received[..] else { panic!("{received:?}") };
    assert!(second.starts_with("broadcast 2 1 xxx") && second.len() == 99, "{second}");
    assert_eq!([pong.as_str(), goodbye], ["pong still here", "goodbye too-slow"]);
    assert!(driver.sockets[&stalled].finished);
    driver.end(stalled);
    let departure = driver.departed.pop().unwrap();
    assert_eq!((departure.reason, departure.is_cut), (Reason::TooSlow, true));
}

#[test]
fn one_that_cannot_be_written_to_is_sent_nothing() {
    let mut driver = Driver::new(small_limits());
    let (broken, sender) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    driver.hub.handle_write_failed(broken);
    driver.hub.begin_turn(0);
    driver.hub.handle_readable(sender);
    while let Some(key) = driver.hub.poll_read() {
        if key == sender {
            driver.hub.handle_read(sender, &ReadOutcome::Data(b"send 1 hi\n"), 0);
        }
    }
    driver.hub.execute();
    let Some(Span::Own(answer)) = driver.hub.spans(sender).next() else { panic!("no answer") };
    assert!(answer.starts_with(b"error busy "));
}

#[test]
fn the_log_is_told_of_each_line_and_its_own_answer() {
    let rules = HubConfig {
        limits: small_limits(),
        secrets: Secrets::default(),
        allow_shutdown: AllowShutdown::Nobody,
        slow_clients: SlowConsumerPolicy::Disconnect,
        trace_lines: true,
    };
    let mut driver = Driver::with_rules(rules, FeedId(1));
    let key = driver.connect(0);
    let mut told = |line: &str| {
        driver.send(key, &format!("{line}\n"));
        let reports = std::iter::from_fn(|| driver.hub.poll_event());
        let lines = reports.filter_map(|report| match report {
            Event::Line(line) => Some((line.received, line.answered)),
            _ => None,
        });
        lines.collect::<Vec<_>>()
    };
    for (line, received, answered) in [
        ("say hi", "say hi", "broadcast 1"),
        ("ping hi", "ping hi", "pong hi"),
        ("help", "help", "ok help"),
        ("quiet", "quiet", "ok quiet"),
        ("say hi", "say hi", "ok broadcast 2"),
        ("auth sesame", "auth (11 bytes)", "error not-allowed this server requires no secret"),
        ("sesame", "unknown command (6 bytes)", "error unknown-command help lists the commands"),
        ("\u{7}", "not text (1 bytes)", "error not-text not UTF-8, or has control characters"),
        ("quit", "quit", "goodbye quit"),
    ] {
        assert_eq!(told(line), [(received.to_owned(), answered.to_owned())]);
    }

    let broken = driver.connect(UNLIMITED);
    driver.hub.begin_turn(0);
    driver.hub.handle_write_failed(broken);
    while let Some(key) = driver.hub.poll_read() {
        driver.hub.handle_read(key, &ReadOutcome::Data(b"ping\n"), 0);
    }
    driver.hub.execute();
    let Some(Event::Line(line)) = driver.hub.poll_event() else { panic!("no line") };
    assert_eq!((line.received.as_str(), line.answered.as_str()), ("ping", ""));
}

#[test]
fn a_client_is_idle_from_when_it_comes() {
    let mut driver = Driver::new(Limits { idle_timeout_ms: Some(1000), ..small_limits() });
    driver.now_ms = 700;
    driver.run();
    driver.connect(UNLIMITED);
    assert_eq!(driver.hub.next_deadline(), Some(1700));
}

#[test]
fn who_was_leaving_when_it_was_lapped_is_not_told_that_all_is_well() {
    let mut driver = Driver::new(small_limits());
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    let told = Some("goodbye too-slow");
    for (last_words, goodbye) in [("quit\n", told), ("ping", told), ("Host: x\n", None)] {
        let leaving = driver.connect(UNLIMITED);
        driver.socket(leaving).room = 0;
        driver.send(sender, &say(2));
        driver.send(leaving, last_words);
        if last_words == "ping" {
            driver.end(leaving);
        }
        for _ in 0..40 {
            driver.send(sender, &say(2));
        }
        driver.make_room(leaving, UNLIMITED);
        let received = driver.received(leaving);
        let said = received.iter().find(|line| line.starts_with("goodbye"));
        assert_eq!(said.map(String::as_str), goodbye);
        assert!(received.iter().all(|line| !line.starts_with("broadcast")), "{received:?}");
        if driver.departed.is_empty() {
            driver.end(leaving);
        }
        assert!(driver.departed.pop().unwrap().is_cut);
    }
}

#[test]
fn a_client_lapped_by_its_own_line_says_nothing_more() {
    let mut driver = Driver::new(small_limits());
    let talker = driver.connect(UNLIMITED);
    driver.socket(talker).room = 150;
    driver.send(talker, &say(2).repeat(60));
    driver.make_room(talker, UNLIMITED);
    let received = driver.received(talker);
    assert_eq!(received.last().unwrap(), "goodbye too-slow");
    // The line that would have lapped it, and those behind it, were not executed.
    let executed = driver.hub.counters().broadcasts;
    assert!((20..60).contains(&executed), "{executed}");
    assert_eq!(driver.hub.feed().newest_seq(), executed);
}

#[test]
fn one_whose_socket_takes_bytes_is_never_lapped() {
    let mut limits = small_limits();
    limits.turn.flush_first.clients = 1;
    limits.turn.flush_feed.clients = 1;
    let mut driver = Driver::new(limits);
    let sipper = driver.connect(UNLIMITED);
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    driver.socket(sipper).max_write = Some(1);
    driver.socket(sender).input = say(3).repeat(200).into_bytes();
    driver.hub.handle_readable(sender);
    while driver.hub.counters().broadcasts < 200 {
        driver.turn();
        // Long turns, so that holding broadcasts for a moment is not what saves it.
        driver.now_ms += 50;
    }
    driver.socket(sipper).max_write = None;
    driver.run();
    assert_eq!(driver.hub.counters().too_slow, 0);
    assert!(driver.received(sipper)[200].starts_with("broadcast 200 "));
}

#[test]
fn every_round_ends_whoever_is_behind() {
    let mut limits = small_limits();
    limits.turn.flush_feed.clients = 2;
    let mut driver = Driver::new(limits);
    let sipper = driver.connect(UNLIMITED);
    let other = driver.connect(UNLIMITED);
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    driver.socket(sipper).max_write = Some(1);
    for seq in 1..=8 {
        driver.socket(sender).input = say(1).into_bytes();
        driver.hub.handle_readable(sender);
        (0..4).for_each(|_| driver.turn());
        let last = driver.received(other).pop().unwrap();
        assert!(last.starts_with(&format!("broadcast {seq} ")), "{last} after four turns");
    }
    assert!(driver.received(sipper).len() < 4, "it is still behind");
}

#[test]
fn the_server_being_busy_laps_nobody() {
    // Each turn visits one of many; the senders have as much as a turn takes.
    let mut limits = small_limits();
    limits.turn.flush_feed.clients = 1;
    limits.turn.flush_first.clients = 1;
    let mut driver = Driver::new(limits);
    let readers: Vec<usize> = (0..20).map(|_| driver.connect(UNLIMITED)).collect();
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, &format!("quiet\n{}", say(3).repeat(500)));
    assert_eq!(driver.hub.counters().broadcasts, 500);
    for reader in readers {
        let received = driver.received(reader);
        assert_eq!(received.len(), 501);
        assert!(received[500].starts_with("broadcast 500 "));
    }
    assert_eq!(driver.hub.counters().too_slow, 0);
}

#[test]
fn broadcasts_wait_while_many_readers_are_behind_but_not_for_one() {
    let mut driver = Driver::new(Limits { reader_grace_ms: 1_000_000, ..small_limits() });
    let readers: Vec<usize> = (0..4).map(|_| driver.connect(UNLIMITED)).collect();
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    let executed = |driver: &Driver| driver.hub.counters().broadcasts;

    driver.socket(readers[0]).room = 0;
    driver.send(sender, &say(2).repeat(50));
    assert_eq!(executed(&driver), 50, "one that is behind holds nobody up");
    assert_eq!(driver.hub.counters().too_slow, 1);

    let held = driver.hub.counters().held;
    driver.socket(readers[1]).room = 0;
    driver.socket(readers[2]).room = 0;
    driver.socket(sender).input = say(2).repeat(50).into_bytes();
    driver.hub.handle_readable(sender);
    for _ in 0..100 {
        driver.turn();
        driver.now_ms += 10;
    }
    assert!(executed(&driver) < 60, "{} though two of three are behind", executed(&driver));
    assert!(driver.hub.counters().held > held);
    assert!(!driver.hub.has_work(), "it waits without spinning");

    for &reader in &readers[1..3] {
        driver.socket(reader).room = UNLIMITED;
        driver.hub.handle_writable(reader);
    }
    driver.run();
    assert_eq!(executed(&driver), 100);
    for &reader in &readers[1..] {
        assert_eq!(driver.received(reader).len(), 101);
    }
}

#[test]
fn not_even_most_readers_can_stop_the_feed() {
    let mut driver = Driver::new(Limits { reader_grace_ms: 1000, ..small_limits() });
    let reader = driver.connect(UNLIMITED);
    let sippers: Vec<usize> = (0..5).map(|_| driver.connect(UNLIMITED)).collect();
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    driver.socket(sender).input = say(3).repeat(300).into_bytes();
    driver.hub.handle_readable(sender);
    for &sipper in &sippers {
        driver.socket(sipper).room = 0;
    }
    // A byte now and then: enough to count as readers, and not to keep up.
    while driver.now_ms < 60_000 {
        for &sipper in &sippers {
            driver.socket(sipper).room = 1;
            driver.hub.handle_writable(sipper);
        }
        driver.turn();
        driver.turn();
        driver.now_ms += 50;
    }
    assert_eq!(driver.hub.counters().too_slow, 5);
    assert!(driver.received(reader)[300].starts_with("broadcast 300 "));
}

#[test]
fn who_can_only_send_is_gone_once_that_is_seen() {
    let mut driver = Driver::new(small_limits());
    let mute = driver.connect(UNLIMITED);
    driver.send(mute, "name mute\n");
    driver.hub.handle_write_failed(mute);
    driver.run();
    assert_eq!(driver.departed.pop().unwrap().reason, Reason::Lost);
    let other = driver.connect(UNLIMITED);
    driver.send(other, "name mute\n");
    assert_eq!(driver.received(other).last().unwrap(), "ok name mute");
}

#[test]
fn replies_that_nobody_reads_stop_the_reading() {
    let limits = Limits { max_outbox: 2 * small_limits().reply_room(), ..small_limits() };
    let mut driver = Driver::new(limits);
    let asker = driver.connect(100);
    driver.send(asker, &"help\n".repeat(1000));
    let answered = driver.hub.counters().lines_in;
    assert!((1..500).contains(&answered), "{answered}");
    assert!(!driver.hub.has_work());
    driver.make_room(asker, UNLIMITED);
    assert_eq!(driver.hub.counters().lines_in, 1000);
    let lines = driver.received(asker);
    assert_eq!(lines.iter().filter(|line| *line == "ok help").count(), 1000);
}

/// Between lines of the feed, each reply has its own place, which takes memory, too.
#[test]
fn the_places_of_replies_count_as_well_as_their_bytes() {
    let mut driver = Driver::new(Limits::default());
    let (sender, stalled) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    driver.send(sender, "quiet\n");
    driver.socket(stalled).room = 0;
    let mut pings = 0;
    let executed = loop {
        let before = driver.hub.counters().lines_in;
        driver.send(sender, "say x\n");
        driver.send(stalled, "ping\n");
        if driver.hub.counters().lines_in == before + 1 {
            break pings;
        }
        pings += 1;
    };
    let limits = Limits::default();
    let least = limits.max_outbox - limits.reply_room();
    assert!(executed * 16 < least, "{executed} replies in {least} bytes");
}

#[test]
fn what_a_broken_connection_has_sent_is_executed() {
    let mut driver = Driver::new(small_limits());
    let broken = driver.connect(0);
    driver.socket(broken).input = b"say 1\nquiet\nlisten\nsay 2\n".to_vec();
    driver.hub.handle_write_failed(broken);
    driver.end(broken);
    assert_eq!(driver.hub.counters().broadcasts, 2);
    assert_eq!(driver.departed.pop().unwrap().reason, Reason::Lost);
    assert!(driver.hub.is_empty());
}

#[test]
fn a_client_that_does_not_end_is_closed_when_its_time_is_up() {
    let mut driver = Driver::new(small_limits());
    let stays = driver.connect(UNLIMITED);
    driver.send(stays, "quit\n");
    assert!(driver.sockets[&stays].finished && driver.departed.is_empty());
    assert_eq!(driver.hub.next_deadline(), Some(5000));
    driver.now_ms = 5000;
    driver.run();
    let departure = driver.departed.pop().unwrap();
    assert_eq!((departure.reason, departure.is_cut), (Reason::Quit, false));
    assert_eq!(driver.hub.next_deadline(), None);
}

#[test]
fn what_comes_again_comes_behind_what_was_owed_and_before_what_is_new() {
    let mut driver = Driver::new(small_limits());
    let (sender, reader) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    driver.send(sender, "quiet\nsay 1\nsay 2\nsay 3\n");
    // Its socket takes a part of the next line; behind that all must stand in order.
    let before = driver.received(reader).len();
    driver.socket(reader).room = 10;
    driver.send(sender, "say 4\n");
    driver.send(reader, "ping\nhistory 2\nping\nresume 1\nhistory 99\nhistory 0\n");
    driver.send(sender, "say 5\n");
    driver.make_room(reader, UNLIMITED);
    assert_eq!(
        driver.received(reader)[before..],
        [
            "broadcast 4 1 4",
            "pong",
            "ok history 2",
            "broadcast 3 1 3",
            "broadcast 4 1 4",
            "pong",
            "ok resume 1",
            "broadcast 2 1 2",
            "broadcast 3 1 3",
            "broadcast 4 1 4",
            "ok history 4",
            "broadcast 1 1 1",
            "broadcast 2 1 2",
            "broadcast 3 1 3",
            "broadcast 4 1 4",
            "ok history 0",
            "broadcast 5 1 5",
        ]
    );
}

#[test]
fn moving_back_ends_quiet_and_quiet_ends_what_comes_again() {
    let mut driver = Driver::new(small_limits());
    let key = driver.connect(UNLIMITED);
    driver.send(
        key,
        "say 1\nquiet\nsay 2\nhistory 1\nsay 3\nresume 1\nquiet\nsay 4\nlisten\nsay 5\n",
    );
    assert_eq!(
        driver.received(key)[1..],
        [
            "broadcast 1 1 1",
            "ok quiet",
            "ok broadcast 2",
            "ok history 1",
            "broadcast 2 1 2",
            "broadcast 3 1 3",
            "ok resume 1",
            "broadcast 2 1 2",
            "broadcast 3 1 3",
            "ok quiet",
            "ok broadcast 4",
            "ok listen 4",
            "broadcast 5 1 5",
        ]
    );
}

/// From every line that is kept, in feeds of lines of any length, exactly those after it come, without
/// a gap or a repeat, and then those that are new; from the others, it is said what is kept. A failure
/// names its seed.
#[test]
fn resume_gives_exactly_the_lines_after_any_that_is_kept() {
    for seed in 0..60u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            // Any generator will do; this one is Knuth's.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut driver = Driver::new(small_limits());
        let sender = driver.connect(UNLIMITED);
        driver.send(sender, "quiet\n");
        let newest = random(120);
        for _ in 0..newest {
            driver.send(sender, &format!("say {}\n", "x".repeat(1 + random(180) as usize)));
        }
        let oldest = driver.hub.feed().oldest_seq();
        for after in 0..=newest + 2 {
            // In sips of any size, with lines that come meanwhile.
            let reader = driver.connect(0);
            let sip = 1 + random(70) as usize;
            driver.socket(reader).max_write = Some(sip);
            driver.send(reader, &format!("resume {after} 00000001\nping\n"));
            driver.make_room(reader, UNLIMITED);
            let lines = driver.received(reader);
            let shown = format!("seed {seed}: resume {after} of {oldest} to {newest}: {lines:?}");
            if after > newest {
                assert!(lines[1].starts_with("error bad-argument "), "{shown}");
            } else if after + 1 < oldest {
                let gone = format!("error gone {oldest} 00000001 ");
                assert!(lines[1].starts_with(&gone), "{shown}");
                assert_eq!(seqs(&lines), [], "{shown}");
            } else {
                assert_eq!(lines[1], format!("ok resume {after}"), "{shown}");
                assert_eq!(lines.last().unwrap(), "pong", "{shown}");
                let expected: Vec<u64> = (after + 1..=newest).collect();
                assert_eq!(seqs(&lines), expected, "{shown}");
                assert_eq!(lines.len(), expected.len() + 3, "{shown}");
            }
            driver.send(reader, "quit\n");
            driver.end(reader);
        }
        let other = driver.connect(UNLIMITED);
        driver.send(other, &format!("resume {newest} 00000002\nhistory 7\nsay new\n"));
        let lines = driver.received(other);
        assert!(lines[1].starts_with("error gone "), "seed {seed}: {lines:?}");
        let kept = 7.min(newest + 1 - oldest.max(1));
        assert_eq!(lines[2], format!("ok history {kept}"), "seed {seed}");
        let expected: Vec<u64> = (newest + 1 - kept..=newest + 1).collect();
        assert_eq!(seqs(&lines), expected, "seed {seed}: {lines:?}");
    }
}

#[test]
fn who_has_moved_back_holds_nobody() {
    let mut limits = small_limits();
    limits.turn.flush_first.clients = 10;
    limits.turn.flush_feed.clients = 10;
    let mut driver = Driver::new(limits);
    let (sender, back) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    driver.send(sender, "quiet\n");
    driver.send(sender, &say(1).repeat(9));
    // It asks for all that there is, and takes ten bytes a turn, with never a byte refused.
    driver.socket(back).max_write = Some(1);
    driver.socket(back).input.extend_from_slice(b"history 99\n");
    driver.hub.handle_readable(back);
    driver.turn();
    let received = driver.hub.feed().newest_seq();
    for _ in 0..40 {
        driver.socket(sender).input.extend_from_slice(say(2).as_bytes());
        driver.hub.handle_readable(sender);
        driver.turn();
        driver.turn();
    }
    assert!(driver.hub.feed().newest_seq() > received + 30, "nobody waits for it");
    assert_eq!(driver.hub.counters().held, 0);
    driver.run();
    assert_eq!(driver.received(back).last().unwrap(), "goodbye too-slow");
}

#[test]
fn moves_that_nobody_takes_cannot_pile_up() {
    let mut driver = Driver::new(Limits::default());
    let (sender, stalled) = (driver.connect(UNLIMITED), driver.connect(0));
    driver.send(sender, "say 1\n");
    driver.send(stalled, &"history 1\n".repeat(10_000));
    driver.hub.check_invariants();
    let executed = driver.hub.counters().lines_in;
    // The `say`, and `history` as long as there is room; what let it in is a move as well.
    assert_eq!(executed, 1 + MAX_PENDING_SEEKS as u64 - 1);
    driver.make_room(stalled, UNLIMITED);
    let lines = driver.received(stalled);
    assert_eq!(lines.iter().filter(|line| *line == "ok history 1").count(), 10_000);
    assert_eq!(seqs(&lines).len(), 10_001);
}

/// A driver with a limit on lines, and a client that reads.
fn limited(rate_limit: u32) -> (Driver, usize) {
    let mut driver = Driver::new(Limits { rate_limit: Some(rate_limit), ..small_limits() });
    let key = driver.connect(UNLIMITED);
    (driver, key)
}

#[test]
fn as_many_lines_as_in_a_second_may_come_at_once_and_the_others_wait() {
    let (mut driver, key) = limited(10);
    driver.send(key, &"ping\n".repeat(120));
    let pongs = |driver: &Driver| driver.received(key).len() - 1;
    assert_eq!(pongs(&driver), 10);
    let reports: Vec<_> = std::iter::from_fn(|| driver.hub.poll_event()).collect();
    assert_eq!(reports, [Event::RateLimited { id: 1 }]);
    for expected in 11..=50 {
        assert_eq!(driver.hub.next_deadline(), Some((expected as u64 - 10) * 100));
        driver.now_ms += 100;
        driver.run();
        assert_eq!(pongs(&driver), expected);
    }
    assert_eq!(driver.hub.poll_event(), None, "it is said once");
    driver.now_ms = 20_000;
    driver.run();
    assert_eq!(pongs(&driver), 60, "never more than ten at once");
    for second in 21..=26 {
        driver.now_ms = second * 1000;
        driver.run();
    }
    assert_eq!(pongs(&driver), 120, "nothing is lost");
    assert!(driver.departed.is_empty());
}

#[test]
fn blank_lines_and_long_ones_count_as_well() {
    for flood in ["\n".repeat(20), format!("{}\n", "x".repeat(20 * 200))] {
        let (mut driver, key) = limited(10);
        driver.send(key, &flood);
        driver.send(key, "ping\n");
        let has_pong = |driver: &Driver| driver.received(key).contains(&"pong".to_owned());
        driver.now_ms = 900;
        driver.run();
        assert!(!has_pong(&driver));
        driver.now_ms = 1_200;
        driver.run();
        assert!(has_pong(&driver));
    }
}

#[test]
fn nobody_holds_a_place_with_what_they_left_behind() {
    let (mut driver, key) = limited(1);
    driver.send(key, &format!("name bob\n{}", "ping\n".repeat(1000)));
    driver.now_ms = 1500;
    driver.run();
    driver.hub.handle_hangup(key);
    driver.end(key);
    driver.now_ms += Limits::default().drain_timeout_ms - 100;
    driver.run();
    assert!(driver.departed.is_empty());
    driver.now_ms += 100;
    driver.run();
    assert_eq!(driver.departed[0].reason, Reason::Lost);
    assert!(driver.hub.is_empty());
}

#[test]
fn who_is_not_listened_to_is_not_idle() {
    let limits = Limits { rate_limit: Some(1), idle_timeout_ms: Some(3000), ..small_limits() };
    let mut driver = Driver::new(limits);
    let key = driver.connect(UNLIMITED);
    driver.send(key, &format!("{}\nping\n", "x".repeat(15 * 200)));
    for second in 1..=20 {
        driver.now_ms = second * 1000;
        driver.run();
    }
    let lines = driver.received(key);
    let pong = lines.iter().position(|line| line == "pong").unwrap();
    assert_eq!(lines[pong + 1..], ["goodbye idle"]);
}

#[test]
fn who_does_not_take_its_replies_is_idle() {
    let mut driver = Driver::new(Limits { idle_timeout_ms: Some(1000), ..small_limits() });
    let key = driver.connect(0);
    driver.send(key, &"ping\n".repeat(100_000));
    driver.now_ms = 1000;
    driver.run();
    driver.now_ms += Limits::default().drain_timeout_ms;
    driver.run();
    assert_eq!(driver.departed[0].reason, Reason::Idle);
}

#[test]
fn what_has_come_is_heard_before_it_is_too_late() {
    let mut driver = Driver::new(Limits { idle_timeout_ms: Some(1000), ..small_limits() });
    let key = driver.connect(UNLIMITED);
    // The server was stopped for a while, and now finds this.
    driver.now_ms = 5000;
    driver.send(key, "ping\n");
    assert_eq!(driver.received(key)[1..], ["pong"]);
}

#[test]
fn a_throttled_client_can_leave() {
    let (mut driver, key) = limited(1);
    driver.send(key, "ping\nping\n");
    driver.hub.begin_shutdown();
    driver.run();
    assert_eq!(driver.received(key)[1..], ["pong", "goodbye shutdown"]);
    driver.end(key);
    assert_eq!(driver.departed.len(), 1);
}

#[test]
fn a_client_is_idle_that_says_nothing_and_takes_nothing() {
    let limits = Limits { idle_timeout_ms: Some(1500), ..small_limits() };
    let mut driver = Driver::new(limits);
    let (idle, talks) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    let listens = driver.connect(UNLIMITED);
    driver.send(idle, "quiet\n");
    driver.send(talks, "quiet\n");
    for round in 1..=5 {
        driver.now_ms = round * 600;
        // A blank line is a line.
        driver.send(talks, if round % 2 == 0 { "\n" } else { "say hi\n" });
    }
    assert_eq!(driver.received(idle).last().unwrap(), "goodbye idle");
    assert!(!driver.received(talks).contains(&"goodbye idle".to_owned()));
    assert!(!driver.received(listens).contains(&"goodbye idle".to_owned()), "it was delivered to");
    driver.now_ms = 5000;
    driver.run();
    assert_eq!(driver.received(talks).last().unwrap(), "goodbye idle");
}

#[test]
fn a_client_that_nothing_can_be_said_to_yet_is_not_there() {
    let secrets = Secrets { user: Secret::new("x"), admin: None };
    let mut driver = Driver::new(small_limits());
    driver.hub.set_secrets(secrets);
    driver.admit(Origin { is_local: true }, UNLIMITED);
    let outside = driver.connect(UNLIMITED);
    driver.run();
    assert_eq!(driver.received(outside).len(), 1);
    driver.send(outside, "say hi\nclients\nauth x\nclients\n");
    let received = driver.received(outside);
    assert!(received[1].starts_with("error auth-required ") && received[2] == received[1]);
    assert_eq!(received[3..], ["ok auth user", "client 2 -", "ok clients 1 1"]);
    driver.now_ms = Limits::default().auth_timeout_ms;
    driver.run();
    let [departure] = &driver.departed[..] else { panic!("{:?}", driver.departed) };
    assert_eq!((departure.id, departure.reason), (1, Reason::AuthTimeout));
}
