//! A model of a terminal, for tests, with configurable character widths.

use unicode_width::UnicodeWidthChar as _;

/// The widths of characters on different terminals.
pub(crate) const WIDTHS: [fn(char) -> usize; 5] = [
    |c| c.width().unwrap_or_default(),
    // East Asian terminals draw ambiguous characters wide.
    |c| c.width_cjk().unwrap_or_default(),
    // Old terminals do not know zero-width or wide characters.
    |_| 1,
    |c| c.width().unwrap_or_default().max(1),
    |c| if c.is_ascii() { 1 } else { 2 },
];

/// What a terminal shows. It understands only the control sequences that the programs use.
pub(crate) struct ModelTerminal {
    height: usize,
    columns: usize,
    /// Returns the number of columns of a character.
    width: fn(char) -> usize,
    /// Whether output continues on the next row at the right edge.
    has_autowrap: bool,
    /// All rows, including those that have scrolled off the screen. Each cell contains a character
    /// and the zero-width characters after it. The second cell of a wide character is empty.
    rows: Vec<Vec<String>>,
    row: usize,
    column: usize,
}

impl ModelTerminal {
    pub(crate) fn new(height: usize, columns: usize, width: fn(char) -> usize) -> Self {
        Self { height, columns, width, has_autowrap: true, rows: vec![vec![]], row: 0, column: 0 }
    }

    /// Returns the rows on the screen that are not blank.
    pub(crate) fn rows(&self) -> Vec<String> {
        let rows = self.rows[self.top()..].iter().map(|cells| cells.concat());
        rows.filter(|row| !row.trim().is_empty()).collect()
    }

    /// Returns the index of the first row on the screen.
    fn top(&self) -> usize {
        self.rows.len().saturating_sub(self.height)
    }

    /// Processes output.
    pub(crate) fn write(&mut self, output: &str) {
        let mut rest = output;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\x1b' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a sequence");
                    self.control(&rest[..=end]);
                    rest = &rest[end + 1..];
                }
                '\r' => self.column = 0,
                '\n' => self.line_feed(),
                c => self.draw(c),
            }
        }
    }

    /// Makes the terminal narrower, and wraps the rows that no longer fit, as many terminals do.
    /// Leaves the cursor at the end of the last row.
    pub(crate) fn resize_and_wrap(&mut self, columns: usize) {
        self.columns = columns;
        let wrap = |row: Vec<String>| -> Vec<Vec<String>> {
            if row.is_empty() {
                vec![row]
            } else {
                row.chunks(columns).map(<[_]>::to_vec).collect()
            }
        };
        self.rows = std::mem::take(&mut self.rows).into_iter().flat_map(wrap).collect();
        self.row = self.rows.len() - 1;
        self.column = self.rows[self.row].len();
    }

    fn control(&mut self, sequence: &str) {
        match sequence {
            "[?7h" => self.has_autowrap = true,
            "[?7l" => self.has_autowrap = false,
            "[A" => self.row = self.row.saturating_sub(1).max(self.top()),
            "[H" => (self.row, self.column) = (self.top(), 0),
            "[J" => {
                self.rows.truncate(self.row + 1);
                self.rows[self.row].truncate(self.column);
            }
            "[2J" => {
                let top = self.top();
                self.rows[top..].iter_mut().for_each(Vec::clear);
            }
            sequence => assert!(sequence.ends_with('m'), "unknown sequence {sequence}"),
        }
    }

    fn line_feed(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(vec![]);
        }
    }

    fn draw(&mut self, c: char) {
        let width = (self.width)(c);
        if width == 0 {
            let cells = &mut self.rows[self.row];
            if let Some(cell) = cells[..self.column].last_mut() {
                cell.push(c);
            }
            return;
        }
        if self.column + width > self.columns {
            if self.has_autowrap {
                self.line_feed();
                self.column = 0;
            } else {
                self.column = self.columns.saturating_sub(width);
            }
        }
        let cells = &mut self.rows[self.row];
        let len = cells.len().max(self.column + width);
        cells.resize(len, " ".to_owned());
        cells[self.column] = c.to_string();
        cells[self.column + 1..self.column + width].fill(String::new());
        self.column += width;
    }
}
