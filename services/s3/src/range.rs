//! The `Range` header.

use std::ops::Range;

use wire::Fault;

/// The bytes that a header asks of a content of that length. `None`: all of them, for a header that is none of bytes
/// or names several ranges is ignored.
pub fn read(header: &str, len: u64) -> Result<Option<Range<u64>>, Fault> {
    let Some(set) = header.trim().strip_prefix("bytes=") else {
        return Ok(None);
    };
    let Some((first, last)) = set.trim().split_once('-') else {
        return Ok(None);
    };
    let number = |text: &str| {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Ok(None),
        (Some(first), Some(last)) if first < len => {
            Ok(Some(first..last.saturating_add(1).min(len)))
        }
        (Some(first), None) if last.trim().is_empty() && first < len => Ok(Some(first..len)),
        (Some(_), Some(_)) => Err(unsatisfiable(header, len)),
        (Some(_), None) if last.trim().is_empty() => Err(unsatisfiable(header, len)),
        (None, Some(last)) if first.trim().is_empty() => match last.min(len) {
            0 => Err(unsatisfiable(header, len)),
            n => Ok(Some(len - n..len)),
        },
        _ => Ok(None),
    }
}

/// `x-amz-copy-source-range`, which must be `bytes=first-last` within the source.
pub fn read_copy(header: &str, len: u64) -> Result<Range<u64>, Fault> {
    let numbers = header
        .strip_prefix("bytes=")
        .and_then(|set| set.split_once('-'));
    let numbers = numbers.and_then(|(a, b)| Some((a.parse::<u64>().ok()?, b.parse::<u64>().ok()?)));
    match numbers {
        Some((first, last)) if first <= last => {
            if first >= len {
                return Err(crate::fault::invalid_request(
                    "The specified copy range is invalid for the source object size",
                ));
            }
            if last >= len {
                return Err(crate::fault::invalid_argument(
                    format!("Range specified is not valid for source object of size: {len}"),
                    "x-amz-copy-source-range",
                    header,
                ));
            }
            Ok(first..last + 1)
        }
        _ => Err(crate::fault::invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
            "x-amz-copy-source-range",
            header,
        )),
    }
}

fn unsatisfiable(header: &str, len: u64) -> Fault {
    Fault::sender(
        416,
        "InvalidRange",
        "The requested range is not satisfiable",
    )
    .field("RangeRequested", header)
    .field("ActualObjectSize", len.to_string())
    .header("Content-Range", format!("bytes */{len}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(read("bytes=0-4", 10).ok(), Some(Some(0..5)));
        assert_eq!(read("bytes=4-", 10).ok(), Some(Some(4..10)));
        assert_eq!(read("bytes=-3", 10).ok(), Some(Some(7..10)));
        assert_eq!(read("bytes=-30", 10).ok(), Some(Some(0..10)));
        assert_eq!(read("bytes=5-99", 10).ok(), Some(Some(5..10)));
    }

    #[test]
    fn a_range_beyond_the_end_is_an_error_and_nonsense_is_all() {
        for header in ["bytes=10-", "bytes=40-50", "bytes=-0"] {
            assert!(read(header, 10).is_err_and(|f| f.status == 416), "{header}");
        }
        for header in [
            "items=0-1",
            "bytes=5-3",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "bytes=",
            "",
        ] {
            assert_eq!(read(header, 10).ok(), Some(None), "{header}");
        }
        assert!(read("bytes=0-", 0).is_err());
    }

    proptest! {
        #[test]
        fn a_range_that_is_read_lies_within(header in "bytes=[0-9]{0,20}-[0-9]{0,20}", len in 0u64..1000) {
            if let Ok(Some(range)) = read(&header, len) {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }

        #[test]
        fn any_header_is_read(header in "\\PC*", len: u64) {
            let _ = read(&header, len);
            let _ = read_copy(&header, len);
        }
    }
}
