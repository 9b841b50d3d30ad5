//! Why footage is missing: one closed enum for the file's box, the index row, the metric label,
//! the API and the log, so that the same cause has the same name everywhere.

use std::{fmt, str::FromStr};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal $name:literal,)*) => {
        /// Why a run ended, and so why the gap after it is there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum GapReason {
            $($(#[$doc])* $variant,)*
        }

        impl GapReason {
            /// All of them, for metrics that must exist from the start.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Snake case: metric label, API, row.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The byte that stands for it in the file; never reused for another.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)* }
            }

            /// Inverse of [`Self::code`].
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }

        impl FromStr for GapReason {
            type Err = UnknownReason;

            fn from_str(s: &str) -> Result<Self, UnknownReason> {
                match s { $($name => Ok(Self::$variant),)* _ => Err(UnknownReason) }
            }
        }
    };
}

reasons! {
    /// The stream is new; nothing has come from it yet.
    Starting = 1 "starting",
    /// No connection: refused, no route, no name, connect time-out; nobody publishes.
    Unreachable = 2 "unreachable",
    /// The camera closed the connection or it broke.
    Disconnected = 3 "disconnected",
    /// Connected, but no video (or no packet at all) for too long.
    Stalled = 4 "stalled",
    /// 401: wrong or missing credentials.
    Unauthorized = 5 "unauthorized",
    /// The camera answered a request with an error status.
    Refused = 6 "refused",
    /// What the camera says cannot be understood.
    ProtocolError = 7 "protocol_error",
    /// Nothing among its tracks that can be recorded.
    NoUsableTrack = 8 "no_usable_track",
    /// The camera's media clock jumped, or it and the recorder's came apart by more than 2 s:
    /// whichever of them was set.
    ClockJump = 9 "clock_jump",
    /// Lost packets left more than a second without video.
    PacketLoss = 10 "packet_loss",
    /// The camera's settings were changed.
    Reconfigured = 11 "reconfigured",
    /// The camera is switched off by its settings.
    Disabled = 12 "disabled",
    /// Outside the recording schedule, or, where events are recorded, without one.
    NotScheduled = 13 "not_scheduled",
    /// The recorder was stopped in order, or its machine slept.
    VedetteDown = 14 "vedette_down",
    /// The recorder died: kill, panic, power cut.
    Crash = 15 "crash",
    /// No room left on any volume.
    DiskFull = 16 "disk_full",
    /// The volume fails: I/O error, read-only, unplugged.
    DiskError = 17 "disk_error",
    /// The disk was too slow, so whole groups of pictures were shed.
    Overload = 18 "overload",
    /// Our own fault: an attempt panicked.
    Internal = 19 "internal",
    /// There was footage, or a gap of old, and it was deleted: by age, size, or a person.
    Deleted = 20 "deleted",
}

impl GapReason {
    /// Whether footage was expected in such a gap: it counts against completeness.
    #[must_use]
    pub const fn counts_as_missing(self) -> bool {
        !matches!(self, Self::Disabled | Self::NotScheduled | Self::Deleted)
    }

    /// Whether it lies with the recorder and passes as soon as that does its work again: when the
    /// camera then cannot be had, the rest of the gap is the camera's.
    #[must_use]
    pub const fn is_of_the_recorder(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Reconfigured | Self::VedetteDown | Self::Crash | Self::Internal
        )
    }
}

/// The text is no [`GapReason`].
#[derive(Debug, thiserror::Error)]
#[error("unknown gap reason")]
pub struct UnknownReason;

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_again_by_name_and_by_code() {
        for &reason in GapReason::ALL {
            assert_eq!(reason.as_str().parse::<GapReason>().ok(), Some(reason));
            assert_eq!(GapReason::from_code(reason.code()), Some(reason));
        }
    }
}
