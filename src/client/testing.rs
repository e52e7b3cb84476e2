//! Checks the client's state machines against arbitrary conversations, for tests and fuzzing.

use crate::client::connection::dial::Welcome;
use crate::client::connection::ending::Ending;
use crate::client::connection::requests::{Owner, RequestTracker};
use crate::client::tasks::publish_queue::PublishQueue;
use crate::client::tasks::resume_cursor::ResumeCursor;
use crate::protocol::{Command, FeedId, Reply, Verb, validate_text};

/// Plays a conversation: lines that begin with `>` are sent, and all others are received. Checks
/// that replies complete requests of the matching kind, in order, and that no line breaks an
/// invariant of the cursor or the publish queue.
pub fn converse(data: &[u8]) {
    let welcome = Welcome { id: 7, feed: FeedId(1), seq: 5 };
    let mut requests = RequestTracker::new(welcome.id, welcome.seq);
    let (mut cursor, mut queue) = (ResumeCursor::default(), PublishQueue::default());
    cursor.on_welcome(welcome, "the server");
    assert!(queue.on_welcome(welcome));
    let (mut sent, mut completed) = (Vec::<Option<Verb>>::new(), 0);
    let mut newest = welcome.seq;
    let mut confirmed = 0;
    for line in data.split(|&byte| byte == b'\n').filter_map(validate_text) {
        if let Some(request) = line.strip_prefix('>') {
            if let Ok(command) = Command::parse(request) {
                let number = requests.sent(&command, Owner::Task);
                assert_eq!(number, sent.len() as u64);
                if let Command::Broadcast { text } = command {
                    queue.add(number, text.into());
                    assert!(queue.send_next().is_some());
                }
                sent.push(Some(command.verb()));
            } else if !request.trim().is_empty() {
                requests.sent_line(Some(request));
                sent.push(None);
            }
            continue;
        }
        let Ok(incoming) = requests.on_line(line) else { return };
        let before = cursor.position().map(|position| position.seq);
        if let Some(done) = incoming.completed {
            assert!(done.number >= completed, "replies arrive in order");
            assert_eq!(sent[done.number as usize], done.verb);
            // Earlier requests had no reply.
            let skipped = &sent[completed as usize..done.number as usize];
            skipped.iter().filter(|verb| **verb == Some(Verb::Broadcast)).for_each(|_| {
                queue.refuse();
            });
            completed = done.number + 1;
            match (done.verb, incoming.reply) {
                (Some(Verb::Broadcast), Some(Reply::Error { .. })) => {
                    queue.refuse();
                }
                (Some(Verb::Broadcast), _) => {
                    confirmed += 1;
                    queue.confirm(newest);
                }
                (Some(Verb::Resume), Some(reply)) => {
                    let _ = cursor.on_resume_reply(&reply);
                }
                _ => {}
            }
            assert_eq!(queue.confirmed(), confirmed);
        }
        match incoming.reply {
            Some(Reply::Broadcast { seq, .. }) => {
                cursor.on_broadcast(seq);
                newest = newest.max(seq);
            }
            Some(Reply::Lagged(count)) => {
                cursor.on_lagged(count);
            }
            _ => {}
        }
        let after = cursor.position().map(|position| position.seq);
        assert!(after >= before, "the cursor never moves back within a feed");
        match requests.ending() {
            Some(Ending::Goodbye(_)) => {
                queue.on_disconnect(true);
                assert_eq!(queue.unconfirmed(), None);
                return;
            }
            Some(Ending::Cut | Ending::Refused(_)) => break,
            None => {}
        }
    }
    let pending = sent[completed as usize..].iter().filter(|verb| **verb == Some(Verb::Broadcast));
    let unconfirmed = pending.count();
    queue.on_disconnect(false);
    assert_eq!(queue.unconfirmed().is_some(), unconfirmed > 0);
    assert_eq!(queue.lost_id(), (unconfirmed > 0).then_some(welcome.id));
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_corpus_breaks_no_invariant() {
        crate::testing::replay_corpus("client", super::converse);
    }
}
