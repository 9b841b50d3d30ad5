//! The header extension of replayed footage (ONVIF Streaming Specification §6.3): when a unit was
//! captured, and how it hangs together with those before and behind it.

use super::packet::Packet;
use crate::proto::time::WallTime;

/// "Defined by profile": what names the extension.
pub const PROFILE: u16 = 0xabac;
/// Bytes of it, with those that name it and say how long it is.
pub const LEN: usize = 16;

/// What is said of one access unit, in each of its packets: GStreamer takes the time of a packet
/// without it for another one's. `discontinuity` is of the first packet alone, `end` and `terminal`
/// are of the last alone, for they say what lies before and behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// When it was captured.
    pub wall: WallTime,
    /// A decoder may begin here.
    pub clean: bool,
    /// The last of its track before a gap, or before the end.
    pub end: bool,
    /// It does not follow the one sent before.
    pub discontinuity: bool,
    /// No more of its track will come.
    pub terminal: bool,
    /// Low byte of the `CSeq` of the PLAY it is sent for.
    pub cseq: u8,
}

impl Replayed {
    /// What a packet's header extension says, where it is this one.
    #[must_use]
    pub fn of(packet: &Packet) -> Option<Self> {
        let (profile, words) = packet.extension.as_ref()?;
        let &[n0, n1, n2, n3, n4, n5, n6, n7, flags, cseq, ..] = &words[..] else { return None };
        let set = |at: u8| flags & (0x80 >> at) != 0;
        (*profile == PROFILE).then(|| Self {
            wall: WallTime::from_ntp(u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7])),
            clean: set(0),
            end: set(1),
            discontinuity: set(2),
            terminal: set(3),
            cseq,
        })
    }

    /// As the first packet of a unit has it, if that is not the last too.
    pub(super) const fn first(self) -> Self {
        Self { end: false, terminal: false, ..self }
    }

    /// As the packets behind the first have it.
    pub(super) const fn further(self) -> Self {
        Self { discontinuity: false, ..self }
    }

    /// As it stands behind the fixed header.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let p = PROFILE.to_be_bytes();
        let n = self.wall.to_ntp().to_be_bytes();
        let flags = [self.clean, self.end, self.discontinuity, self.terminal];
        let flags = (0..).zip(flags).fold(0, |all, (at, set)| all | (u8::from(set) << (7 - at)));
        let [n0, n1, n2, n3, n4, n5, n6, n7] = n;
        [p[0], p[1], 0, 3, n0, n1, n2, n3, n4, n5, n6, n7, flags, self.cseq, 0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_laid_out_as_onvif_draws_it() {
        let unit = Replayed {
            wall: WallTime::from_micros(500_000),
            clean: true,
            end: false,
            discontinuity: true,
            terminal: false,
            cseq: 7,
        };
        let ntp = b"\x83\xaa\x7e\x80\x80\x00\x00\x00";
        let bytes = unit.to_bytes();
        assert_eq!(bytes[..4], *b"\xab\xac\x00\x03");
        assert_eq!(bytes[4..12], *ntp);
        assert_eq!(bytes[12..], [0b1010_0000, 7, 0, 0]);
        let last =
            Replayed { clean: false, end: true, discontinuity: false, terminal: true, ..unit };
        assert_eq!(last.to_bytes()[12], 0b0101_0000);
        for sent in [unit, last] {
            let mut packet = vec![0x90; 12];
            packet.extend(sent.to_bytes());
            assert_eq!(Replayed::of(&Packet::parse(packet.into()).expect("RTP")), Some(sent));
        }
        assert_eq!(Replayed::of(&Packet::parse(vec![0x80; 12].into()).expect("RTP")), None);
    }
}
