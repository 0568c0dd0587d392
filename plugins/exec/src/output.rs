//! What a program prints, within limits.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroizing;

/// How much of standard error is kept: for the texts that mean an absent secret, and for the log.
const KEPT: usize = 2048;

/// Reads up to the end; `None` when there is more than `limit` bytes. Every buffer is wiped, outgrown ones too.
pub(crate) async fn whole(
    mut from: impl AsyncRead + Unpin,
    limit: usize,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096.min(limit + 1)));
    loop {
        if bytes.len() == bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity((2 * bytes.capacity()).min(limit + 1)));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        if from.read_buf(&mut *bytes).await? == 0 {
            return Ok(Some(bytes));
        }
        if bytes.len() > limit {
            return Ok(None);
        }
    }
}

/// Reads to the end and keeps the beginning.
pub(crate) async fn beginning(mut from: impl AsyncRead + Unpin) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut kept = Zeroizing::new(Vec::with_capacity(KEPT));
    let mut chunk = Zeroizing::new([0; KEPT]);
    loop {
        let read = from.read(&mut *chunk).await?;
        if read == 0 {
            return Ok(kept);
        }
        let room = KEPT - kept.len();
        kept.extend_from_slice(&chunk[..read.min(room)]);
    }
}

/// A text for the log, on one line.
pub(crate) fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_is_read_whole_up_to_the_limit_and_not_a_byte_further() {
        for len in [0, 1, 4096, 5000, 10_000] {
            let bytes = vec![7; len];
            assert_eq!(whole(bytes.as_slice(), 10_000).await.unwrap().unwrap().as_slice(), bytes);
        }
        assert!(whole(vec![7; 10_001].as_slice(), 10_000).await.unwrap().is_none());
        assert!(whole(tokio::io::repeat(7), 10_000).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn of_a_long_error_the_beginning_is_kept() {
        let kept = beginning(vec![b'x'; 3 * KEPT].as_slice()).await.unwrap();
        assert_eq!(kept.len(), KEPT);
    }

    #[test]
    fn no_line_of_a_program_looks_like_one_of_the_log() {
        assert_eq!(one_line(b"bad\n\x1b[1m!\n"), "bad  [1m!");
    }
}
