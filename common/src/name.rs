//! Names that people give, to studies, arms and tokens, and paths that they write.
//!
//! A name can be a file's on every system, and looks like no other: no separators, no letters that
//! resemble others, nothing that moves a cursor. What arrives from a network is held to it again.
//!
//! Floor: common.

/// Whether a text can be a name: 1 to 64 of the letters A–Z and a–z, digits, `.`, `_` and `-`, no dot
/// first, and no name of a device.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let stem = text.split('.').next().unwrap_or_default().to_ascii_lowercase();
    (1..=NAME_MAX).contains(&text.len())
        && text.chars().all(plain)
        && !text.starts_with('.')
        && !is_device(&stem)
}

/// Whether a path, with `/` between folders, stays beneath the folder it is joined to.
pub fn is_inner_path(path: &str) -> bool {
    let drive = path.get(1..2) == Some(":");
    let steered = path.contains('\\') || path.contains(char::is_control);
    let up = path.split('/').any(|part| part == "..");
    !path.is_empty() && !path.starts_with('/') && !drive && !steered && !up
}

/// What some systems open a device for, whatever its ending.
fn is_device(stem: &str) -> bool {
    let numbered = ["com", "lpt"].into_iter().filter_map(|device| stem.strip_prefix(device));
    let digit = |rest: &str| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit());
    ["con", "prn", "aux", "nul"].contains(&stem) || numbered.into_iter().any(digit)
}

pub const NAME_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_short_and_no_devices() {
        let longest = "x".repeat(NAME_MAX);
        for good in ["a", "wdbc", "A-1_b.c", "-x", "9", "console", "com", "com10", &longest] {
            assert!(is_name(good), "{good}");
        }
        let longer = "x".repeat(NAME_MAX + 1);
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "../up",
            "a/b",
            "a\\b",
            "/etc",
            "a b",
            "a\0",
            "a\n",
            "a\u{1b}[2J",
            "naïve",
            "\u{430}bc",
            "a\u{202e}b",
            "*",
            "a:b",
            "CON",
            "nul.csv",
            "Lpt1",
            "com0.x",
            &longer,
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn paths_stay_beneath_their_folder() {
        for good in ["rows.csv", "a/b/rows.csv", "./rows.csv", "ünder/rows.csv", "a..b/c"] {
            assert!(is_inner_path(good), "{good}");
        }
        for bad in [
            "",
            "/rows.csv",
            "../rows.csv",
            "a/../../b",
            "a/..",
            "C:rows.csv",
            "a\\b",
            "a\0",
            "a\u{1b}b",
        ] {
            assert!(!is_inner_path(bad), "{bad:?}");
        }
    }
}
