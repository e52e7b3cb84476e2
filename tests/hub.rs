//! The hub without sockets: what each client receives, byte by byte.
#![allow(clippy::unwrap_used)]

mod support;

use oyez::credentials::secret::Secret;
use oyez::hub::{
    AllowShutdown, Event, HubConfig, Origin, RateLimit, Reason, Secrets, SlowConsumerPolicy, Span,
};
use oyez::limits::{Limits, MAX_PENDING_SEEKS};
use oyez::protocol::FeedId;
use oyez::read_outcome::ReadOutcome;
use support::driver::{Driver, FEED_LINES, UNLIMITED, seqs, small_limits};
use support::rng::Rng;
use support::seeds::for_each_seed;

#[test]
fn evicted_client_receives_the_rest_of_its_line_its_replies_and_a_goodbye() {
    let mut driver = Driver::new(small_limits());
    driver.play(
        r"
        a+
        a> quiet
        b+
        b room LINE+10
        a*2 say x...
        b< broadcast 1 1 x...
        b<~ broadcast\x20
        b> ping still here
        a*2*FEED_LINES say x...
        b room unlimited
        b< broadcast 2 1 x...
        b< pong still here
        b< goodbye too-slow
        b|
        b.
        b| TooSlow cut
        ",
    );
}

#[test]
fn send_to_a_client_whose_writes_fail_is_busy() {
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
    let Some(Span::Own(reply)) = driver.hub.spans(sender).next() else { panic!("no reply") };
    assert!(reply.starts_with(b"error busy "));
}

#[test]
fn line_events_carry_each_line_and_its_last_reply() {
    let config = HubConfig {
        limits: small_limits(),
        secrets: Secrets::default(),
        allow_shutdown: AllowShutdown::Nobody,
        slow_clients: SlowConsumerPolicy::Disconnect,
        trace_lines: true,
    };
    let mut driver = Driver::with_config(config, FeedId(1));
    let key = driver.connect(0);
    let mut traces = |line: &str| {
        driver.send(key, &format!("{line}\n"));
        let lines = driver.events().into_iter().filter_map(|event| match event {
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
        assert_eq!(traces(line), [(received.to_owned(), answered.to_owned())]);
    }

    let broken = driver.connect(UNLIMITED);
    driver.hub.begin_turn(0);
    driver.hub.handle_write_failed(broken);
    while let Some(key) = driver.hub.poll_read() {
        driver.hub.handle_read(key, &ReadOutcome::Data(b"ping\n"), 0);
    }
    driver.hub.execute();
    let Some(Event::Line(line)) = driver.hub.poll_event() else { panic!("no line event") };
    assert_eq!((line.received.as_str(), line.answered.as_str()), ("ping", ""));
}

/// The partial line gets no `incomplete-line`: the client may have sent the rest of it.
#[test]
fn cut_connection_executes_complete_lines_only() {
    let mut driver = Driver::new(small_limits());
    driver.play(
        r"
        a+
        b+
        b~ ping 1\nsay 2\nsay 3
        b. cut
        b< pong 1
        b< broadcast 1 2 2
        b|
        b| Truncated
        a< broadcast 1 2 2
        a-
        c+
        c~ ping
        c. cut
        c|
        c| Truncated
        ",
    );
    // A reset discards the replies, too.
    driver.play("d+\nd~ say 4\\nsay 5");
    let d = driver.key("d");
    driver.socket(d).is_broken = true;
    driver.half_close(d);
    driver.play("d| Lost cut\na< broadcast 2 4 4\na-");
}

#[test]
fn idle_timeout_starts_when_the_client_connects() {
    let mut driver = Driver::new(Limits { idle_timeout_ms: Some(1000), ..small_limits() });
    driver.run_at(700);
    driver.connect(UNLIMITED);
    assert_eq!(driver.hub.next_deadline(), Some(1700));
}

#[test]
fn eviction_while_closing_changes_the_goodbye_to_too_slow() {
    for (close, received, disconnect) in [
        ("b> quit", "b< goodbye too-slow", "TooSlow cut"),
        ("b~ ping\nb.", "b< error incomplete-line *\nb< goodbye too-slow", "TooSlow cut"),
        // A client that speaks another protocol receives no goodbye.
        ("b> Host: x", "", "Foreign(Http) cut"),
    ] {
        let mut driver = Driver::new(small_limits());
        driver.play(&format!(
            r"
            a+
            a> quiet
            b+
            b room 0
            a> say x...
            {close}
            a*2*FEED_LINES say x...
            b room unlimited
            {received}
            b|
            b.
            b| {disconnect}
            "
        ));
    }
}

#[test]
fn client_evicted_by_its_own_broadcast_executes_nothing_more() {
    let mut driver = Driver::new(small_limits());
    driver.play(
        r"
        a+
        a room LINE+50
        a*3*FEED_LINES say x...
        a room unlimited
        a< broadcast 1..=2 1 x...
        a< goodbye too-slow
        a|
        stat broadcasts FEED_LINES
        ",
    );
    // The line that caused the eviction was not broadcast, nor were the lines after it.
    assert_eq!(driver.hub.feed().newest_seq(), FEED_LINES as u64);
}

#[test]
fn reader_whose_socket_accepts_bytes_is_never_evicted() {
    let mut limits = small_limits();
    limits.turn.flush_priority.clients = 1;
    limits.turn.flush_bulk.clients = 1;
    let mut driver = Driver::new(limits);
    driver.play("slow+\nsender+\nsender> quiet");
    let (slow, sender) = (driver.key("slow"), driver.key("sender"));
    driver.socket(slow).max_write = Some(1);
    driver.queue(sender, &driver.filler(sender, 10 * FEED_LINES));
    while driver.hub.counters().broadcasts < 10 * FEED_LINES as u64 {
        driver.turn();
        // Turns are so long that a short pause in broadcasting would not save the reader.
        driver.now_ms += 50;
    }
    driver.socket(slow).max_write = None;
    driver.run();
    driver.play("slow< broadcast 1..=200 2 x...\nslow-\nstat too_slow 0");
}

#[test]
fn flush_pass_ends_even_if_a_reader_is_behind() {
    let mut limits = small_limits();
    limits.turn.flush_bulk.clients = 2;
    let mut driver = Driver::new(limits);
    driver.play("slow+\nfast+\nsender+\nsender> quiet");
    let (slow, fast, sender) = (driver.key("slow"), driver.key("fast"), driver.key("sender"));
    driver.socket(slow).max_write = Some(1);
    for seq in 1..=8 {
        driver.queue(sender, &driver.filler(sender, 1));
        (0..4).for_each(|_| driver.turn());
        let last = driver.last_line(fast);
        assert!(last.starts_with(&format!("broadcast {seq} ")), "{last} after four turns");
    }
    assert!(driver.received(slow).len() < 4, "the slow reader has caught up");
}

#[test]
fn busy_server_does_not_evict_readers() {
    // Each turn flushes only one of many readers, but the sender has input for every turn.
    let mut limits = small_limits();
    limits.turn.flush_bulk.clients = 1;
    limits.turn.flush_priority.clients = 1;
    let mut driver = Driver::new(limits);
    let readers: Vec<usize> = (0..20).map(|_| driver.connect(UNLIMITED)).collect();
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, &format!("quiet\n{}", driver.filler(sender, 500)));
    assert_eq!(driver.hub.counters().broadcasts, 500);
    for reader in readers {
        let received = driver.received(reader);
        assert_eq!(received.len(), 501);
        assert!(received[500].starts_with("broadcast 500 "));
    }
    assert_eq!(driver.hub.counters().too_slow, 0);
}

#[test]
fn broadcasts_wait_for_many_slow_readers_but_not_for_one() {
    let mut driver = Driver::new(Limits { reader_grace_ms: 1_000_000, ..small_limits() });
    // A single stalled reader is evicted.
    driver.play(
        r"
        a+
        b+
        c+
        d+
        sender+
        sender> quiet
        a room 0
        sender*50 say x...
        stat broadcasts 50
        stat too_slow 1
        ",
    );

    let held = driver.hub.counters().held;
    let sender = driver.key("sender");
    driver.play("b room 0\nc room 0");
    driver.queue(sender, &driver.filler(sender, 50));
    for _ in 0..100 {
        driver.turn();
        driver.now_ms += 10;
    }
    let broadcasts = driver.hub.counters().broadcasts;
    assert!(broadcasts < 60, "{broadcasts} lines were broadcast while most readers were behind");
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
        stat broadcasts 100
        b< broadcast 1..=100 5 x...
        b-
        c< broadcast 1..=100 5 x...
        c-
        d< broadcast 1..=100 5 x...
        d-
        ",
    );
}

#[test]
fn majority_of_slow_readers_cannot_stop_the_feed() {
    let mut driver = Driver::new(Limits { reader_grace_ms: 1000, ..small_limits() });
    let fast = driver.connect(UNLIMITED);
    let slow: Vec<usize> = (0..5).map(|_| driver.connect(UNLIMITED)).collect();
    let sender = driver.connect(UNLIMITED);
    driver.send(sender, "quiet\n");
    driver.queue(sender, &driver.filler(sender, 300));
    for &reader in &slow {
        driver.socket(reader).room = 0;
    }
    // A byte now and then counts as progress, but is too little to keep up.
    while driver.now_ms < 60_000 {
        for &reader in &slow {
            driver.socket(reader).room = 1;
            driver.hub.handle_writable(reader);
        }
        driver.turn();
        driver.turn();
        driver.now_ms += 50;
    }
    assert_eq!(driver.hub.counters().too_slow, 5);
    assert!(driver.received(fast)[300].starts_with("broadcast 300 "));
}

#[test]
fn client_whose_writes_fail_is_disconnected_and_its_name_freed() {
    let mut driver = Driver::new(small_limits());
    driver.play(
        r"
        a+
        a> name bob
        a< ok name bob
        a!
        a| Lost cut
        ",
    );
    driver.play(
        r"
        b+
        b> name bob
        b< ok name bob
        b-
        ",
    );
}

#[test]
fn full_outbox_pauses_commands_until_the_client_reads() {
    let limits = Limits { max_outbox: 2 * small_limits().reply_room(), ..small_limits() };
    let mut driver = Driver::new(limits);
    let asker = driver.connect(100);
    driver.send(asker, &"help\n".repeat(1000));
    let executed = driver.hub.counters().lines_in;
    assert!((1..500).contains(&executed), "{executed}");
    assert!(!driver.hub.has_work());
    driver.add_room(asker, UNLIMITED);
    assert_eq!(driver.hub.counters().lines_in, 1000);
    let lines = driver.received(asker);
    assert_eq!(lines.iter().filter(|line| *line == "ok help").count(), 1000);
}

/// Replies between broadcasts are separate entries, which also use memory.
#[test]
fn outbox_limit_counts_entries_as_well_as_bytes() {
    let mut driver = Driver::new(Limits::default());
    let (sender, stalled) = (driver.connect(UNLIMITED), driver.connect(UNLIMITED));
    driver.send(sender, "quiet\n");
    driver.socket(stalled).room = 0;
    let mut pings = 0;
    loop {
        let before = driver.hub.counters().lines_in;
        driver.send(sender, "say x\n");
        driver.send(stalled, "ping\n");
        if driver.hub.counters().lines_in == before + 1 {
            break;
        }
        pings += 1;
    }
    let limits = Limits::default();
    let limit = limits.max_outbox - limits.reply_room();
    assert!(pings * 16 < limit, "{pings} replies in {limit} bytes");
}

#[test]
fn input_of_a_broken_connection_is_executed() {
    let mut driver = Driver::new(small_limits());
    let broken = driver.connect(0);
    driver.socket(broken).input = b"say 1\nquiet\nlisten\nsay 2\n".to_vec();
    driver.hub.handle_write_failed(broken);
    driver.half_close(broken);
    assert_eq!(driver.hub.counters().broadcasts, 2);
    assert_eq!(driver.disconnects.pop().unwrap().reason, Reason::Lost);
    assert!(driver.hub.is_empty());
}

#[test]
fn closing_client_is_dropped_after_the_drain_timeout() {
    let mut driver = Driver::new(small_limits());
    driver.play(
        r"
        a+
        a> quit
        a< goodbye quit
        a|
        ",
    );
    assert!(driver.disconnects.is_empty());
    assert_eq!(driver.hub.next_deadline(), Some(5000));
    driver.play("at 5000\na| Quit");
    assert_eq!(driver.hub.next_deadline(), None);
}

#[test]
fn replay_follows_pending_output_and_precedes_new_lines() {
    let mut driver = Driver::new(small_limits());
    // The socket blocks in the middle of line 4. The output after it must keep its order.
    driver.play(
        r"
        a+
        b+
        a~ quiet\nsay 1\nsay 2\nsay 3\n
        b< broadcast 1 1 1
        b< broadcast 2 1 2
        b< broadcast 3 1 3
        b room 10
        a> say 4
        b~ ping\nhistory 2\nping\nresume 1\nhistory 99\nhistory 0\n
        a> say 5
        b<~ broadcast\x20
        b room unlimited
        b< broadcast 4 1 4
        b< pong
        b< ok history 2
        b< broadcast 3 1 3
        b< broadcast 4 1 4
        b< pong
        b< ok resume 1
        b< broadcast 2 1 2
        b< broadcast 3 1 3
        b< broadcast 4 1 4
        b< ok history 4
        b< broadcast 1 1 1
        b< broadcast 2 1 2
        b< broadcast 3 1 3
        b< broadcast 4 1 4
        b< ok history 0
        b< broadcast 5 1 5
        b-
        ",
    );
}

#[test]
fn history_and_resume_end_quiet_and_quiet_ends_a_replay() {
    let mut driver = Driver::new(small_limits());
    driver.play(
        r"
        a+
        a~ say 1\nquiet\nsay 2\nhistory 1\nsay 3\nresume 1\nquiet\nsay 4\nlisten\nsay 5\n
        a< broadcast 1 1 1
        a< ok quiet
        a< ok broadcast 2
        a< ok history 1
        a< broadcast 2 1 2
        a< broadcast 3 1 3
        a< ok resume 1
        a< broadcast 2 1 2
        a< broadcast 3 1 3
        a< ok quiet
        a< ok broadcast 4
        a< ok listen 4
        a< broadcast 5 1 5
        a-
        ",
    );
}

/// `resume` replays exactly the lines after the given one, or fails if the feed does not have them
/// all. The lines have random lengths.
#[test]
fn resume_replays_exactly_the_lines_after_any_kept_line() {
    for_each_seed(60, |seed| {
        let mut rng = Rng::new(seed);
        let mut driver = Driver::new(small_limits());
        let sender = driver.connect(UNLIMITED);
        driver.send(sender, "quiet\n");
        let newest = rng.below(120) as u64;
        for _ in 0..newest {
            driver.send(sender, &format!("say {}\n", "x".repeat(1 + rng.below(180))));
        }
        let oldest = driver.hub.feed().oldest_seq();
        for after in 0..=newest + 2 {
            // The hub sends the replay in small writes.
            let reader = driver.connect(0);
            driver.socket(reader).max_write = Some(1 + rng.below(70));
            // One replay per second stays below the replay limit of the source.
            driver.now_ms += 1000;
            driver.send(reader, &format!("resume {after} 00000001\nping\n"));
            driver.add_room(reader, UNLIMITED);
            let lines = driver.received(reader);
            let context = format!("resume {after} of {oldest} to {newest}: {lines:?}");
            if after > newest {
                assert!(lines[1].starts_with("error bad-argument "), "{context}");
            } else if after + 1 < oldest {
                let gone = format!("error gone {oldest} 00000001 ");
                assert!(lines[1].starts_with(&gone), "{context}");
                assert_eq!(seqs(&lines), Vec::<u64>::new(), "{context}");
            } else {
                assert_eq!(lines[1], format!("ok resume {after}"), "{context}");
                assert_eq!(lines.last().unwrap(), "pong", "{context}");
                let expected: Vec<u64> = (after + 1..=newest).collect();
                assert_eq!(seqs(&lines), expected, "{context}");
                assert_eq!(lines.len(), expected.len() + 3, "{context}");
            }
            driver.send(reader, "quit\n");
            driver.half_close(reader);
        }
        let other = driver.connect(UNLIMITED);
        driver.send(other, &format!("resume {newest} 00000002\nhistory 7\nsay new\n"));
        let lines = driver.received(other);
        assert!(lines[1].starts_with("error gone "), "{lines:?}");
        let kept = 7.min(newest + 1 - oldest.max(1));
        assert_eq!(lines[2], format!("ok history {kept}"));
        let expected: Vec<u64> = (newest + 1 - kept..=newest + 1).collect();
        assert_eq!(seqs(&lines), expected, "{lines:?}");
    });
}

#[test]
fn replaying_reader_does_not_delay_broadcasts() {
    let mut limits = small_limits();
    limits.turn.flush_priority.clients = 10;
    limits.turn.flush_bulk.clients = 10;
    let mut driver = Driver::new(limits);
    driver.play("sender+\nreplaying+\nsender> quiet\nsender*9 say x...");
    let (sender, replaying) = (driver.key("sender"), driver.key("replaying"));
    // This client replays the whole feed, one byte per write, and its socket never blocks.
    driver.socket(replaying).max_write = Some(1);
    driver.queue(replaying, "history 99\n");
    driver.turn();
    let newest = driver.hub.feed().newest_seq();
    for _ in 0..40 {
        driver.queue(sender, &driver.filler(sender, 1));
        driver.turn();
        driver.turn();
    }
    assert!(driver.hub.feed().newest_seq() > newest + 30, "broadcasts wait for the replay");
    assert_eq!(driver.hub.counters().held, 0);
    driver.run();
    assert_eq!(driver.last_line(replaying), "goodbye too-slow");
}

#[test]
fn replays_are_limited_to_one_feed_size_at_once_then_one_per_second() {
    let mut driver = Driver::new(small_limits());
    driver.play("sender+\na+\nsender> quiet");
    driver.fill_feed(driver.key("sender"));
    driver.play(
        r"
        sender<< ok broadcast 20
        a<< broadcast 20 *
        a> resume 10
        a< ok resume 10
        a< broadcast 11..=20 *
        a> history 5
        a< ok history 5
        a< broadcast 16..=20 *
        a*3 history 10
        a> ping
        a-
        sender*1 say live
        sender< ok broadcast 21
        a< broadcast 21 * live
        at 170
        a-
        at 221
        a< ok history 10
        a< broadcast 12..=21 *
        a-
        at 580
        a-
        at 631
        a< ok history 10
        a< broadcast 12..=21 *
        at 1081
        a< ok history 10
        a< broadcast 12..=21 *
        a< pong
        ",
    );
    let limit = RateLimit::Replays;
    assert_eq!(driver.events(), [Event::RateLimited { id: 2, limit }]);
}

const WHOLE_FEED: &str = "
    c+
    c> history 20
    c< ok history 20
    c< broadcast 1..=20 *
";

/// Returns a hub whose clients of source 0 have replayed as much as they may within a second.
fn replay_limited() -> Driver {
    let mut driver = Driver::new(small_limits());
    driver.play("sender+\nsender> quiet\nsender*20 say x...\nsender<< ok broadcast 20");
    for _ in 0..9 {
        driver.play(WHOLE_FEED);
        driver.play("c> quit\nc< goodbye quit\nc.");
    }
    driver
}

#[test]
fn reconnecting_does_not_evade_the_replay_limit() {
    let mut driver = replay_limited();
    driver.play(
        r"
        c+
        c> history 20
        c> ping
        c-
        current+
        current> resume 20
        current< ok resume 20
        sender> say live
        c< broadcast 21 * live
        current< broadcast 21 * live
        at 940
        c-
        at 1000
        c< ok history 16
        c< broadcast 6..=21 *
        c< pong
        ",
    );
    let limit = RateLimit::Replays;
    assert_eq!(driver.events().last(), Some(&Event::RateLimited { id: 11, limit }));
}

#[test]
fn replay_limit_does_not_affect_other_sources() {
    let mut driver = replay_limited();
    let other = driver.accept(Origin { is_local: true, source: 1 }, UNLIMITED);
    driver.finish_handshake(other);
    driver.send(other, "history 20\n");
    assert_eq!(seqs(&driver.received(other)), (1..=20).collect::<Vec<_>>());
}

#[test]
fn waiting_replays_are_served_in_the_order_of_connection() {
    let mut driver = replay_limited();
    let keys: Vec<usize> = (0..20).map(|_| driver.connect(UNLIMITED)).collect();
    keys.iter().rev().for_each(|&key| driver.send(key, "history 20\n"));
    let served = |driver: &Driver| {
        keys.iter().take_while(|&&key| seqs(&driver.received(key)).len() == 20).count()
    };
    assert_eq!(served(&driver), 0);
    for (now_ms, expected) in [(1000, 9), (2000, 18), (3000, 20)] {
        // A client that connects in the same turn does not overtake those that wait.
        let late = driver.accept(Origin { is_local: true, source: 0 }, UNLIMITED);
        driver.finish_handshake(late);
        driver.queue(late, "history 20\nquit\n");
        driver.run_at(now_ms);
        assert_eq!(served(&driver), expected);
    }
}

/// 20 clients use the whole limit all the time. Others that connect later are served next.
#[test]
fn replay_limit_does_not_starve_clients_that_connect_later() {
    let mut driver = replay_limited();
    let greedy: Vec<usize> = (0..20).map(|_| driver.connect(UNLIMITED)).collect();
    for &key in &greedy {
        driver.send(key, &"history 20\n".repeat(50));
    }
    let mut late = None;
    for now_ms in (50..20_000).step_by(50) {
        driver.run_at(now_ms);
        // From then on, each of the 20 has replayed.
        if now_ms >= 4000 && now_ms % 2000 == 0 {
            if let Some(late) = late {
                assert_eq!(seqs(&driver.received(late)).len(), 20, "after {now_ms} ms");
            }
            let key = driver.accept(Origin { is_local: true, source: 0 }, UNLIMITED);
            driver.finish_handshake(key);
            driver.send(key, "history 20\n");
            late = Some(key);
        }
    }
    assert!(greedy.iter().all(|&key| seqs(&driver.received(key)).len() > 60));
}

#[test]
fn clients_of_one_source_that_resume_together_all_receive_their_lines() {
    let mut driver = replay_limited();
    let keys: Vec<usize> = (0..200).map(|_| driver.connect(UNLIMITED)).collect();
    for &key in &keys {
        driver.send(key, "resume 18\nquit\n");
    }
    while let Some(deadline_ms) = driver.hub.next_deadline()
        && driver.disconnects.len() < 209
    {
        driver.run_at(deadline_ms);
        keys.iter().for_each(|&key| driver.half_close(key));
    }
    for key in keys {
        assert_eq!(seqs(&driver.received(key)), [19, 20]);
    }
}

#[test]
fn pending_seeks_are_limited() {
    let mut driver = Driver::new(Limits::default());
    let (sender, stalled) = (driver.connect(UNLIMITED), driver.connect(0));
    driver.send(sender, "say 1\n");
    driver.send(stalled, &"history 1\n".repeat(10_000));
    driver.hub.check_invariants();
    // The `say`, and one `history` less than the limit: the seek after the handshake counts, too.
    assert_eq!(driver.hub.counters().lines_in, 1 + MAX_PENDING_SEEKS as u64 - 1);
    driver.add_room(stalled, UNLIMITED);
    let lines = driver.received(stalled);
    assert_eq!(lines.iter().filter(|line| *line == "ok history 1").count(), 10_000);
    assert_eq!(seqs(&lines).len(), 10_001);
}

/// Returns a hub with a rate limit, and the key of its client `a`.
fn rate_limited(lines_per_second: u32) -> (Driver, usize) {
    let limits = Limits { rate_limit: Some(lines_per_second), ..small_limits() };
    let mut driver = Driver::new(limits);
    driver.play("a+");
    let key = driver.key("a");
    (driver, key)
}

#[test]
fn rate_limit_allows_a_burst_of_one_second_then_delays() {
    let (mut driver, key) = rate_limited(10);
    driver.send(key, &"ping\n".repeat(120));
    let pongs = |driver: &Driver| driver.received(key).len() - 1;
    assert_eq!(pongs(&driver), 10);
    let limit = RateLimit::Lines;
    assert_eq!(driver.events(), [Event::RateLimited { id: 1, limit }]);
    for expected in 11..=50 {
        assert_eq!(driver.hub.next_deadline(), Some((expected as u64 - 10) * 100));
        driver.run_at(driver.now_ms + 100);
        assert_eq!(pongs(&driver), expected);
    }
    assert_eq!(driver.events(), [], "the rate limit must be reported once");
    driver.run_at(20_000);
    assert_eq!(pongs(&driver), 60, "a pause must allow no more than one burst");
    (21..=26).for_each(|second| driver.run_at(second * 1000));
    assert_eq!(pongs(&driver), 120, "no line may be lost");
    assert!(driver.disconnects.is_empty());
}

#[test]
fn rate_limit_counts_blank_and_overlong_lines() {
    let overlong = "x".repeat(20 * small_limits().max_line);
    for flood in ["a*20 ".to_owned(), format!("a> {overlong}\na< error line-too-long *")] {
        let (mut driver, _) = rate_limited(10);
        driver.play(&format!(
            r"
            {flood}
            a> ping
            at 900
            a-
            at 1200
            a< pong
            "
        ));
    }
}

#[test]
fn rate_limited_client_that_hung_up_is_dropped_after_the_drain_timeout() {
    let (mut driver, key) = rate_limited(1);
    driver.send(key, &format!("name bob\n{}", "ping\n".repeat(1000)));
    driver.run_at(1500);
    driver.hub.handle_hangup(key);
    driver.half_close(key);
    driver.run_at(1500 + Limits::default().drain_timeout_ms - 100);
    assert!(driver.disconnects.is_empty());
    driver.run_at(1500 + Limits::default().drain_timeout_ms);
    assert_eq!(driver.disconnects[0].reason, Reason::Lost);
    assert!(driver.hub.is_empty());
}

#[test]
fn client_that_hung_up_does_not_wait_for_its_replays() {
    let mut driver = Driver::new(small_limits());
    driver.play("sender+\na+\nsender> quiet\nsender*20 say x...\na*100 history 20");
    let key = driver.key("a");
    driver.hub.handle_hangup(key);
    driver.hub.handle_write_failed(key);
    driver.half_close(key);
    assert!(driver.disconnects.is_empty(), "it waits for its second replay");
    driver.run_at(1000);
    assert_eq!(driver.disconnects[0].reason, Reason::Lost);
}

#[test]
fn rate_limited_client_is_not_idle() {
    let limits = Limits { rate_limit: Some(1), idle_timeout_ms: Some(3000), ..small_limits() };
    let mut driver = Driver::new(limits);
    let key = driver.connect(UNLIMITED);
    driver.send(key, &format!("{}\nping\n", "x".repeat(15 * 200)));
    (1..=20).for_each(|second| driver.run_at(second * 1000));
    let lines = driver.received(key);
    let pong = lines.iter().position(|line| line == "pong").unwrap();
    assert_eq!(lines[pong + 1..], ["goodbye idle"]);
}

#[test]
fn client_that_reads_no_replies_is_idle() {
    let mut driver = Driver::new(Limits { idle_timeout_ms: Some(1000), ..small_limits() });
    driver.play("a+\na room 0\na*100000 ping\nat 1000");
    driver.run_at(1000 + Limits::default().drain_timeout_ms);
    assert_eq!(driver.disconnects[0].reason, Reason::Idle);
}

#[test]
fn buffered_input_runs_before_deadlines_fire() {
    let mut driver = Driver::new(Limits { idle_timeout_ms: Some(1000), ..small_limits() });
    driver.play("a+");
    // As if the input had arrived while the process was stopped.
    driver.now_ms = 5000;
    driver.play("a> ping\na< pong\na-");
}

#[test]
fn rate_limited_client_is_closed_at_shutdown() {
    let (mut driver, key) = rate_limited(1);
    driver.send(key, "ping\nping\n");
    driver.hub.begin_shutdown();
    driver.run();
    driver.play("a< pong\na< goodbye shutdown\na-\na.");
    assert_eq!(driver.disconnects.len(), 1);
}

#[test]
fn client_that_neither_sends_nor_receives_is_idle() {
    let limits = Limits { idle_timeout_ms: Some(1500), ..small_limits() };
    let mut driver = Driver::new(limits);
    // A client that sends a blank line or receives a broadcast is not idle.
    driver.play(
        r"
        idle+
        talker+
        listener+
        idle> quiet
        idle< ok quiet
        talker> quiet
        talker< ok quiet
        at 600
        talker> say hi
        talker< ok broadcast 1
        at 1200
        talker>
        at 1800
        talker> say hi
        talker< ok broadcast 2
        idle< goodbye idle
        idle|
        at 2400
        talker>
        at 3000
        talker> say hi
        talker< ok broadcast 3
        talker-
        listener< broadcast 1..=3 2 hi
        listener-
        at 5000
        talker< goodbye idle
        talker-
        ",
    );
}

#[test]
fn handshaking_client_is_not_listed_and_times_out() {
    let mut driver = Driver::new(small_limits());
    driver.hub.set_secrets(Secrets { user: Secret::new("x"), admin: None });
    driver.accept(Origin { is_local: true, source: 0 }, UNLIMITED);
    driver.play(
        r"
        a+
        a-
        a> say hi
        a< error auth-required *
        a> clients
        a< error auth-required *
        a> auth x
        a< ok auth user
        a> clients
        a< client 2 -
        a< ok clients 1 1
        a-
        ",
    );
    driver.run_at(Limits::default().auth_timeout_ms);
    let [disconnect] = &driver.disconnects[..] else { panic!("{:?}", driver.disconnects) };
    assert_eq!((disconnect.id, disconnect.reason), (1, Reason::AuthTimeout));
}
