//! Warnings that would otherwise be written as often as there is work: one line per subject and span.

use std::collections::HashMap;

use parking_lot::Mutex;
use wire::Timestamp;

/// Milliseconds in which a subject gets one line.
const SPAN: i64 = 10_000;
/// Subjects remembered before old ones are forgotten.
const MOST: usize = 1_000;

/// Which subjects were complained of lately.
#[derive(Default)]
pub struct Complaints(Mutex<HashMap<String, Recent>>);

struct Recent {
    since: i64,
    left_out: u64,
}

impl Complaints {
    /// Whether a line is due for that subject: the number of lines left out since its last one, or `None` for silence.
    pub fn due(&self, subject: &str, now: Timestamp) -> Option<u64> {
        let mut recent = self.0.lock();
        if let Some(known) = recent.get_mut(subject)
            && (known.since..known.since + SPAN).contains(&now.0)
        {
            known.left_out += 1;
            return None;
        }
        if recent.len() >= MOST {
            recent.retain(|_, known| now.0 < known.since + SPAN);
        }
        let fresh = Recent {
            since: now.0,
            left_out: 0,
        };
        let known = recent.insert(subject.to_owned(), fresh);
        Some(known.map_or(0, |known| known.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_gets_one_line_in_a_span_which_counts_the_others() {
        let complaints = Complaints::default();
        assert_eq!(complaints.due("a", Timestamp(0)), Some(0));
        assert_eq!(complaints.due("b", Timestamp(1)), Some(0));
        for at in 1..5 {
            assert_eq!(complaints.due("a", Timestamp(at)), None);
        }
        assert_eq!(complaints.due("a", Timestamp(SPAN)), Some(4));
    }
}
