//! Tables for people: columns that are as wide as their widest cell.

use std::io::{self, Write};

/// Writes rows under a heading, with two spaces between columns.
pub(super) fn write(out: &mut impl Write, heading: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let mut widths = vec![0; heading.len()];
    for row in rows.iter().chain([&heading]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in [&heading].into_iter().chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let mut out = Vec::new();
        let rows = [vec!["a".to_owned(), "bcd".to_owned()], vec!["longer".to_owned(), "e".to_owned()]];
        super::write(&mut out, &["X", "YZ"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "X       YZ\na       bcd\nlonger  e\n");
    }
}
