//! Suggestions for mistyped words.

use super::help::first_word;

/// Longer words are never compared, so a comparison takes bounded time.
const MAX_LEN: usize = 40;

/// The commands of `oyez`, and words of the protocol and of other programs for them.
#[rustfmt::skip] // One row per command.
pub(super) const COMMAND_SYNONYMS: &[(&str, &[&str])] = &[
    ("chat", &["connect", "join"]),
    ("broadcast", &["say", "publish", "pub", "post"]),
    ("listen", &["subscribe", "sub", "watch", "tail", "follow"]),
    ("send", &["msg", "tell", "dm", "whisper"]),
    ("clients", &["who", "users", "names", "list", "ls"]),
    ("shutdown", &["stop"]),
];

/// Options of either program, and names that other programs have for them.
pub(super) const OPTION_SYNONYMS: &[(&str, &[&str])] = &[
    ("--name", &["nick", "nickname", "user", "username"]),
    ("--format json", &["json"]),
    ("-s HOST:PORT", &["host", "port", "p"]),
    ("--listen IP:PORT", &["host", "port", "p", "bind", "addr", "address"]),
];

/// Returns the first suggestion that the program has and that `word` is a synonym of. Ignores case.
pub(super) fn synonym(
    word: &str,
    synonyms: &'static [(&str, &[&str])],
    has: impl Fn(&str) -> bool,
) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    let rows = synonyms.iter().filter(|(_, words)| words.contains(&word.as_str()));
    let mut suggestions = rows.map(|(suggestion, _)| *suggestion);
    suggestions.find(|suggestion| has(first_word(suggestion)))
}

/// Returns the first of the candidates that are most similar to `word`, or `None` if none is
/// similar: one edit is allowed for every four characters of the word. A candidate that begins with
/// the word, or ends with `-` and the word, is always similar, if the word has at least two
/// characters. Ignores case.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let len = word.chars().count();
    if len > MAX_LEN {
        return None;
    }
    let most = len / 4;
    let similar = candidates.into_iter().filter_map(|candidate| {
        let is_end = candidate.strip_suffix(&word).is_some_and(|start| start.ends_with('-'));
        let is_part = len >= 2 && (is_end || candidate.starts_with(&word));
        let edits = if is_part { most } else { edits(&word, candidate) };
        (edits <= most).then_some((edits, candidate))
    });
    similar.min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate)
}

/// Counts the edits between two words: characters that are inserted, removed or replaced, and
/// neighbours that are swapped (the optimal string alignment distance).
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().take(2 * MAX_LEN).collect();
    // Row i has the edits between the first i characters of `a` and every prefix of `b`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut fewest = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                fewest = fewest.min(rows[i - 2][j - 2] + 1);
            }
            row.push(fewest);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_word_is_suggested() {
        let words = ["chat", "broadcast", "listen", "clients", "stats", "--server", "feed-size"];
        for (word, nearest_word) in [
            ("brodcast", Some("broadcast")),
            ("braodcsat", Some("broadcast")),
            ("Broadcast", Some("broadcast")),
            ("broad", Some("broadcast")),
            ("lsiten", Some("listen")),
            ("client", Some("clients")),
            ("state", Some("stats")),
            ("--sevrer", Some("--server")),
            ("chta", Some("chat")),
            ("cha", Some("chat")),
            ("st", Some("stats")),
            ("size", Some("feed-size")),
            ("cat", None),
            ("--srv", None),
            ("x", None),
            ("", None),
            ("dance", None),
            ("ключ", None),
            (&"listen".repeat(100), None),
        ] {
            assert_eq!(nearest(word, words), nearest_word, "{word}");
        }
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, count) in
            [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("abc", "abd", 1), ("abc", "ca", 3)]
        {
            assert_eq!(edits(a, b), count, "{a} {b}");
        }
    }
}
