//! A dotenv file: lines of `NAME=value`, as shells and containers read them.
//!
//! Values are taken as they are written: nothing is put in for `$NAME`, since a password may well hold a `$`.

use std::{fs::File, path::PathBuf};

use keyway_plugin_api::{Error, Result, Secret};
use rustix::fs::{self as sys, Mode};
use zeroize::Zeroizing;

use crate::{
    beneath::READ,
    content::{self, Content},
    error,
};

/// A file that is read anew for each operation.
pub(crate) struct Dotenv {
    pub(crate) path: PathBuf,
}

impl Dotenv {
    pub(crate) fn read(&self, name: &str) -> Result<Secret> {
        let content = self.content()?;
        let mut found = None;
        for (line, value) in self.entries(&content)? {
            if line == name {
                found = Some(value);
            }
        }
        let value = found.ok_or_else(|| Error::not_found(name))?;
        Ok(Secret::copy_from(value.as_bytes()).with_version(content.version))
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let content = self.content()?;
        let names = self.entries(&content)?.into_iter().map(|(name, _)| name);
        let mut names: Vec<String> =
            names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Whether the file can be read and holds nothing else than it should.
    pub(crate) fn check(&self) -> Result<()> {
        let content = self.content()?;
        self.entries(&content).map(drop)
    }

    fn content(&self) -> Result<Content> {
        let file = sys::open(&self.path, READ, Mode::empty())
            .map_err(|errno| error::place("dotenv file", &self.path, "check config.dotenv", errno))?;
        content::read(&self.path.display().to_string(), File::from(file))
    }

    fn entries<'a>(&self, content: &'a Content) -> Result<Vec<(&'a str, Zeroizing<String>)>> {
        let path = self.path.display();
        // A file that cannot be understood says nothing about what it lacks, so this is no NOT_FOUND.
        let text = std::str::from_utf8(&content.bytes)
            .map_err(|_| Error::unavailable(format!("cannot read {path}: it is not UTF-8 text")))?;
        parse(text).map_err(|line| {
            let wanted = "expected `NAME=value`, with any quote closed and nothing but a comment behind it";
            Error::unavailable(format!("cannot read line {line} of {path}: {wanted}"))
        })
    }
}

/// The entries in the order of the file, or the number of the line that is none.
fn parse(text: &str) -> Result<Vec<(&str, Zeroizing<String>)>, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        if rest.starts_with('#') {
            rest = after_line(rest).trim_start();
            continue;
        }
        let end = rest.find(['=', '\n']).filter(|end| rest[*end..].starts_with('=')).ok_or(line)?;
        let name = rest[..end].trim();
        let name = name.strip_prefix("export").filter(|name| name.starts_with([' ', '\t'])).unwrap_or(name);
        let name = Some(name.trim()).filter(|name| is_name(name)).ok_or(line)?;
        let (value, behind) = value(rest[end + 1..].trim_start_matches([' ', '\t'])).ok_or(line)?;
        entries.push((name, value));
        rest = behind.trim_start();
    }
    Ok(entries)
}

fn is_name(name: &str) -> bool {
    let rest = name.trim_start_matches(|first: char| first.is_ascii_alphabetic() || first == '_');
    rest.len() < name.len()
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte))
}

/// A value and what follows its line.
fn value(text: &str) -> Option<(Zeroizing<String>, &str)> {
    if let Some(quoted) = text.strip_prefix('\'') {
        let (value, behind) = quoted.split_once('\'')?;
        return Some((Zeroizing::new(value.to_owned()), end_of_line(behind)?));
    }
    if let Some(quoted) = text.strip_prefix('"') {
        return double_quoted(quoted);
    }
    let line = &text[..text.len() - after_line(text).len()];
    let comment = line.match_indices('#').map(|(at, _)| at);
    let end =
        comment.into_iter().find(|at| *at == 0 || line[..*at].ends_with([' ', '\t'])).unwrap_or(line.len());
    Some((Zeroizing::new(line[..end].trim_end().to_owned()), after_line(text)))
}

fn double_quoted(text: &str) -> Option<(Zeroizing<String>, &str)> {
    // As long as the file at most, so that it never grows and leaves a copy behind.
    let end = text.char_indices().scan(false, |escaped, (at, c)| {
        let closes = c == '"' && !*escaped;
        *escaped = c == '\\' && !*escaped;
        Some((at, closes))
    });
    let end = end.into_iter().find(|(_, closes)| *closes)?.0;
    let mut value = Zeroizing::new(String::with_capacity(end));
    let mut chars = text[..end].chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => value.push(c),
            _ => match chars.next()? {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                other if "\\\"'$`".contains(other) => value.push(other),
                other => value.extend(['\\', other]),
            },
        }
    }
    Some((value, end_of_line(&text[end + 1..])?))
}

/// What follows this line, when nothing but a comment is left on it.
fn end_of_line(text: &str) -> Option<&str> {
    let behind = after_line(text);
    let left = text[..text.len() - behind.len()].trim();
    (left.is_empty() || left.starts_with('#')).then_some(behind)
}

fn after_line(text: &str) -> &str {
    text.find('\n').map_or("", |end| &text[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(&str, String)> {
        parse(text).unwrap().into_iter().map(|(name, value)| (name, value.to_string())).collect()
    }

    #[test]
    fn quotes_comments_and_export_are_understood() {
        let text = "\u{feff}# a comment\r\n\nA=plain # comment\r\nexport B = 'single # $X \\n'\n\tC=\"a\\n\\\"b\\\" $X\" # c\nD=\nE=a#b\nF='two\nlines'\nexported=1\nG=# nothing";
        let expected = [
            ("A", "plain"),
            ("B", "single # $X \\n"),
            ("C", "a\n\"b\" $X"),
            ("D", ""),
            ("E", "a#b"),
            ("F", "two\nlines"),
            ("exported", "1"),
            ("G", ""),
        ];
        assert_eq!(entries(text), expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn nothing_is_put_in_for_a_dollar_sign() {
        assert_eq!(entries("A=pa$$HOME\nB=\"${HOME}\""), [("A", "pa$$HOME".into()), ("B", "${HOME}".into())]);
    }

    #[test]
    fn a_line_that_is_no_entry_is_named_by_its_number() {
        for (text, line) in [
            ("A=1\nnonsense\n", 2),
            ("A=1\n\n=2\n", 3),
            ("A='open\nB=1\n", 1),
            ("A=1\nB=\"open\\\"\n", 2),
            ("A='x' y", 1),
            ("1A=x", 1),
            ("A B=x", 1),
        ] {
            assert_eq!(parse(text).unwrap_err(), line, "{text}");
        }
    }
}
