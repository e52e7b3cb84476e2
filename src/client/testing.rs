//! What must hold whatever a server says. For tests and fuzzers alone.

use crate::client::connection::dial::Welcome;
use crate::client::connection::requests::{Asker, RequestTracker};
use crate::client::tasks::publish_queue::PublishQueue;
use crate::client::tasks::resume_cursor::ResumeCursor;
use crate::protocol::{Command, FeedId, Reply, Verb, validate_text};

/// A dialogue that a fuzzer makes up: a line that begins with `>` is said, all others are heard. Each
/// answer belongs to a question of its kind, in their order; and who listens and who sends is led to
/// nothing that cannot be.
pub fn converse(data: &[u8]) {
    let welcome = Welcome { id: 7, feed: FeedId(1), seq: 5 };
    let mut dialogue = RequestTracker::new(welcome.id, welcome.seq);
    let (mut position, mut delivery) = (ResumeCursor::beginning(None), PublishQueue::default());
    position.arrive(welcome);
    assert!(delivery.arrive(welcome));
    let (mut asked, mut answered) = (Vec::<Verb>::new(), 0);
    let mut newest = welcome.seq;
    let (mut said, mut delivered) = (0, 0);
    for line in data.split(|&byte| byte == b'\n').filter_map(validate_text) {
        if let Some(request) = line.strip_prefix('>') {
            if let Ok(command) = Command::parse(request) {
                if let Command::Broadcast { text } = command {
                    said += 1;
                    delivery.add(said, text);
                    assert!(delivery.say_next().is_some());
                }
                let number = dialogue.ask(&command, Asker::Task);
                assert_eq!(number, asked.len() as u64);
                asked.push(command.verb());
            }
            continue;
        }
        let Ok(heard) = dialogue.hear(line) else { return };
        if let Some(answer) = heard.answers {
            assert!(answer.number >= answered, "answers come in order");
            assert_eq!(asked[answer.number as usize], answer.question.verb);
            // Those that were passed over were answered by nothing.
            let passed = &asked[answered as usize..answer.number as usize];
            passed.iter().filter(|verb| **verb == Verb::Broadcast).for_each(|_| {
                delivery.refuse();
            });
            answered = answer.number + 1;
            match (answer.question.verb, heard.reply) {
                (Verb::Broadcast, Some(Reply::Error { .. })) => {
                    delivery.refuse();
                }
                (Verb::Broadcast, _) => {
                    delivered += 1;
                    delivery.deliver(newest);
                }
                (Verb::Resume, Some(reply)) => {
                    let _ = position.answer(&reply);
                }
                _ => {}
            }
            assert_eq!(delivery.delivered(), delivered);
        }
        if let Some(Reply::Broadcast { seq, .. }) = heard.reply {
            position.take(seq);
            newest = newest.max(seq);
        }
        if dialogue.goodbye().is_some() {
            delivery.lose(true);
            assert_eq!(delivery.unknown(), None);
            return;
        }
    }
    let unanswered = asked[answered as usize..].iter().filter(|verb| **verb == Verb::Broadcast);
    let unknown = unanswered.count();
    delivery.lose(false);
    assert_eq!(delivery.unknown().is_some(), unknown > 0);
    assert_eq!(delivery.lost_id(), (unknown > 0).then_some(welcome.id));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        crate::testing::replay_corpus("client", super::converse);
    }
}
