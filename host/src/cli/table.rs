//! Tables for people: columns that are as wide as their widest cell.

/// Rows under a heading, with two spaces between columns.
pub(super) fn render(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let mut widths = vec![0; heading.len()];
    for row in rows.iter().chain([&heading]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in [&heading].into_iter().chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let rows = [vec!["a".to_owned(), "bcd".to_owned()], vec!["longer".to_owned(), "e".to_owned()]];
        assert_eq!(super::render(&["X", "YZ"], &rows), "X       YZ\na       bcd\nlonger  e\n");
    }
}
