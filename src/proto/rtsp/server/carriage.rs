//! Which of the transports a client offers is taken.

use super::session::Carrier;
use crate::proto::rtsp::headers::{Lower, Transport};

/// The first of `offers` that we have; `None`: 461. Where a multicast offer wants to be sent to is not
/// asked: groups are ours to choose (no reflection).
///
/// `taken` says which channels of the connection are in use. Channels a client asks for are given
/// as asked when they are free, else others (RFC 2326 §12.39 leaves the choice to the server), and
/// always different ones for RTP and RTCP.
pub(super) fn choose(
    offers: &[Transport],
    udp: bool,
    multicast: bool,
    taken: impl Fn(u8) -> bool,
) -> Option<Carrier> {
    offers.iter().filter(|o| o.rtp_avp && !o.record).find_map(|offer| match offer.lower {
        Lower::Udp if offer.multicast => multicast.then_some(Carrier::Multicast),
        Lower::Tcp if offer.multicast => None,
        Lower::Tcp => {
            let asked = offer.interleaved.filter(|(a, b)| a != b && !taken(*a) && !taken(*b));
            let (rtp, rtcp) = asked.or_else(|| {
                let even = (0..=u8::MAX - 1).step_by(2);
                even.map(|a| (a, a + 1)).find(|(a, b)| !taken(*a) && !taken(*b))
            })?;
            Some(Carrier::Interleaved { rtp, rtcp })
        }
        Lower::Udp => {
            let (rtp, rtcp) = offer.client_port.filter(|(a, b)| udp && *a != 0 && *b != 0)?;
            Some(Carrier::Udp { rtp, rtcp })
        }
    })
}

/// What both sides of a unicast carrier are told; of multicast, that it is UDP.
pub(super) fn settled(carrier: Carrier, server_port: Option<(u16, u16)>) -> Transport {
    match carrier {
        Carrier::Interleaved { rtp, rtcp } => {
            Transport { interleaved: Some((rtp, rtcp)), ..Transport::unicast(Lower::Tcp) }
        }
        Carrier::Udp { rtp, rtcp } => Transport {
            client_port: Some((rtp, rtcp)),
            server_port,
            ..Transport::unicast(Lower::Udp)
        },
        Carrier::Multicast => Transport::unicast(Lower::Udp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(header: &str, udp: bool) -> Option<Carrier> {
        choose(&Transport::parse_list(header).unwrap(), udp, false, |_| false)
    }

    #[test]
    fn the_first_transport_that_we_have_is_taken() {
        let list = "RTP/SAVP;unicast;client_port=1-2,RTP/AVP;multicast,\
                    RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=4-5";
        assert_eq!(chosen(list, true), Some(Carrier::Udp { rtp: 5000, rtcp: 5001 }));
        assert_eq!(chosen(list, false), Some(Carrier::Interleaved { rtp: 4, rtcp: 5 }));
        assert_eq!(chosen("RTP/AVP;unicast;client_port=5000-5001", false), None);
        assert_eq!(chosen("RTP/AVP;unicast", true), None);
        assert_eq!(chosen("RTP/AVP/TCP;unicast;mode=record", true), None);
    }

    #[test]
    fn multicast_is_for_those_who_ask_for_it_and_only_where_it_is_on() {
        let list = "RTP/AVP;multicast;destination=10.0.0.9;port=9-10,RTP/AVP/TCP;interleaved=0-1";
        let offers = Transport::parse_list(list).unwrap();
        let chosen = |multicast| choose(&offers, true, multicast, |_| false);
        assert_eq!(chosen(true), Some(Carrier::Multicast));
        assert_eq!(chosen(false), Some(Carrier::Interleaved { rtp: 0, rtcp: 1 }));
        let tcp = Transport::parse_list("RTP/AVP/TCP;multicast").unwrap();
        assert_eq!(choose(&tcp, true, true, |_| false), None);
    }

    #[test]
    fn channels_in_use_are_not_given_twice() {
        let offers = Transport::parse_list("RTP/AVP/TCP;interleaved=0-1").unwrap();
        assert_eq!(
            choose(&offers, false, false, |c| c < 2),
            Some(Carrier::Interleaved { rtp: 2, rtcp: 3 })
        );
        assert_eq!(choose(&offers, false, false, |_| true), None);
    }
}
