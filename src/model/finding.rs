//! What somebody should know about a camera, in plain words and with a word for scripts.

use crate::proto::time::WallSpan;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FindingLevel)]
pub enum Level {
    /// Something is wrong: footage or sound is missing, or worse than it could be.
    Problem,
    /// Worth knowing.
    Note,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// For scripts: never changes its meaning.
    #[schema(value_type = String, example = "wrong_password")]
    pub code: &'static str,
    /// How bad it is.
    pub level: Level,
    /// For people.
    pub message: String,
}

impl Finding {
    /// Something that is wrong.
    #[must_use]
    pub fn problem(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, level: Level::Problem, message: message.into() }
    }

    /// Something worth knowing.
    #[must_use]
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, level: Level::Note, message: message.into() }
    }
}

/// How far a clock is off, as people say it; negative is behind.
#[must_use]
pub fn clock_apart(ahead: WallSpan) -> String {
    let seconds = (ahead.as_micros().unsigned_abs() + 500_000) / 1_000_000;
    let minutes = (seconds + 30) / 60;
    let size = match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_169 => format!("{minutes} min"),
        7_170..=172_799 if minutes.is_multiple_of(60) => format!("{} h", minutes / 60),
        7_170..=172_799 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days", seconds / 86_400),
    };
    format!("{size} {}", if ahead.as_micros() < 0 { "behind" } else { "ahead" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_clock_is_off_is_said_as_people_say_it() {
        for (seconds, words) in [
            (7, "7 s ahead"),
            (-10_799, "3 h behind"),
            (5_400, "90 min ahead"),
            (-9_000, "2 h 30 min behind"),
            (-864_000, "10 days behind"),
        ] {
            assert_eq!(clock_apart(WallSpan::from_secs(seconds)), words);
        }
    }
}
