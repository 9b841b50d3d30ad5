//! RTP-Info as cameras write it: each part that cannot be read is as if it were not there.
//!
//! `seq` is not used at all: nothing depends on it, and cameras make it up (0 or 1 is common).

/// One track's entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    url: String,
    rtptime: Option<u32>,
}

/// No session has more tracks.
const MAX_ENTRIES: usize = super::describe::limits::MEDIA;

pub(super) fn parse(value: &str) -> Vec<Info> {
    let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let entry = |entry: &str| {
        let mut info = Info::default();
        for (name, value) in entry.split(';').filter_map(|param| param.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "url" => value.clone_into(&mut info.url),
                "rtptime" => info.rtptime = value.parse().ok(),
                _ => {}
            }
        }
        info
    };
    entries.take(MAX_ENTRIES).map(entry).collect()
}

/// The RTP time of the track at `control`, the `nth` of `tracks` that are set up: by address, else by place.
pub(super) fn of(infos: &[Info], control: &str, nth: usize, tracks: usize) -> Option<u32> {
    let tail = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
    let wanted = tail(control);
    let named: Vec<_> = infos.iter().filter(|info| tail(&info.url) == wanted).collect();
    match named.as_slice() {
        [one] if !wanted.is_empty() => one.rtptime,
        _ if infos.len() == tracks => infos.get(nth)?.rtptime,
        _ => None,
    }
}
