//! Durations in sentences for people.

use std::{fmt, time::Duration};

/// Shows a duration as a configuration would write it, rounded to what a reader needs: `250ms`, `4.6s`, `5m`, `2h`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HOUR: f64 = 3600.0;
        let seconds = self.0.as_secs_f64();
        let (amount, unit) = match (seconds * 1000.0).round() {
            // What is less than a millisecond is not nothing.
            millis if millis < 1000.0 => {
                return write!(f, "{}ms", if self.0.is_zero() { 0.0 } else { millis.max(1.0) });
            }
            millis if millis < 120_000.0 => (seconds, "s"),
            millis if millis < 120.0 * 60_000.0 => (seconds / 60.0, "m"),
            millis if millis < 48.0 * HOUR * 1000.0 => (seconds / HOUR, "h"),
            _ => (seconds / (24.0 * HOUR), "d"),
        };
        write!(f, "{}{unit}", (amount * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_as_a_configuration_writes_it() {
        for (nanos, text) in [
            (0, "0ms"),
            (1, "1ms"),
            (250_000_000, "250ms"),
            (999_600_000, "1s"),
            (4_626_813_471, "4.6s"),
            (4_999_896_947, "5s"),
            (90_000_000_000, "90s"),
            (300_000_000_000, "5m"),
            (3_600_000_000_000, "60m"),
            (7_200_000_000_000, "2h"),
            (172_800_000_000_000, "2d"),
        ] {
            assert_eq!(Rounded(Duration::from_nanos(nanos)).to_string(), text);
        }
        assert!(!Rounded(Duration::MAX).to_string().contains("inf"));
    }
}
