//! What the tests read in a Markdown file: its tables.

use std::fs;
use std::path::Path;

/// A Markdown file of the repository.
pub struct Document {
    pub text: String,
}

impl Document {
    pub fn read(path: &'static str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { text }
    }

    /// The rows of the table behind a mark, cell by cell, without its head.
    pub fn table(&self, mark: &str) -> Vec<Vec<String>> {
        let (_, table) = self.text.split_once(mark).unwrap_or_else(|| panic!("no {mark}"));
        let rows = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
        rows.map(|row| {
            row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
    }
}
