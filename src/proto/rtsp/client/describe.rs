//! What a camera says of itself: SDP (RFC 8866) as cameras write it.
//!
//! Read leniently: lines in any order and of any kind, nothing demanded but `m=`. What makes no
//! sense is passed over and costs nothing but itself. What a track's parameters mean is the
//! depacketizer's business; here they are text.

/// Bounds on what is kept of a description, whose size is bounded by the message that brings it.
pub mod limits {
    /// Media sections.
    pub const MEDIA: usize = 32;
    /// Payload types of one section.
    pub const FORMATS: usize = 16;
    /// Bytes of a payload type's parameters.
    pub const PARAMETERS: usize = 16 << 10;
    /// Bytes of any other value.
    pub const VALUE: usize = super::super::address::MAX_ADDRESS;
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// `a=control` of the session.
    pub control: Option<String>,
    /// `a=tool`: the camera's software.
    pub tool: Option<String>,
    /// In the order given.
    pub media: Vec<Media>,
}

/// One `m=` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// `video`, `audio`, `application`, in lower case.
    pub kind: String,
    /// Its payload types, in the order of preference.
    pub formats: Vec<Format>,
    /// `a=control`.
    pub control: Option<String>,
    /// `a=sendonly`: in ONVIF's words a back channel, from us to the camera.
    pub send_only: bool,
    /// `a=framerate`; often a lie.
    pub frame_rate: Option<f64>,
}

/// One payload type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// In lower case: `h264`, `mpeg4-generic`; empty where nobody says what it is.
    pub encoding: String,
    /// Ticks a second.
    pub clock_rate: u32,
    /// Channels, where it says so.
    pub channels: Option<u8>,
    /// `a=fmtp` behind the payload type.
    pub parameters: String,
}

impl Format {
    /// The encoding's name, or the payload type's number: for people.
    #[must_use]
    pub fn name(&self) -> String {
        if self.encoding.is_empty() {
            format!("payload type {}", self.payload_type)
        } else {
            self.encoding.clone()
        }
    }
}

impl Description {
    /// Reads `sdp`.
    #[must_use]
    pub fn parse(sdp: &[u8]) -> Self {
        let mut found = Self::default();
        for line in sdp.split(|&b| matches!(b, b'\n' | b'\r')) {
            let line = String::from_utf8_lossy(line);
            let line = line.trim_matches(|c: char| c.is_whitespace() || c.is_control());
            let Some((kind, value)) = line.split_once('=') else { continue };
            match kind.trim() {
                "m" if found.media.len() >= limits::MEDIA => break,
                "m" => found.media.push(Media::begin(value)),
                "a" => match found.media.last_mut() {
                    Some(media) => media.attribute(value),
                    None => found.attribute(value),
                },
                _ => {}
            }
        }
        found
    }

    fn attribute(&mut self, attribute: &str) {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "control" => self.control = bounded(value),
            "tool" => self.tool = bounded(value),
            _ => {}
        }
    }
}

impl Media {
    /// `m=video 0 RTP/AVP 96 97`.
    fn begin(value: &str) -> Self {
        let mut words = value.split_ascii_whitespace();
        let kind = words.next().unwrap_or_default().chars().take(32).collect::<String>();
        let kind = kind.to_ascii_lowercase();
        let numbers = words.skip(2).filter_map(|word| word.parse::<u8>().ok());
        let numbers = numbers.filter(|&number| number < 128).take(limits::FORMATS);
        let formats = numbers.map(|number| Format::of_static_type(number, &kind)).collect();
        Self { kind, formats, ..Self::default() }
    }

    fn attribute(&mut self, attribute: &str) {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "control" => self.control = bounded(value),
            "sendonly" => self.send_only = true,
            "framerate" | "x-framerate" => {
                let rate = value.trim().parse::<f64>().ok();
                self.frame_rate = rate.filter(|rate| rate.is_finite() && *rate > 0.0);
            }
            "rtpmap" => {
                if let Some((format, map)) = self.format(value) {
                    format.map(map);
                }
            }
            "fmtp" => {
                if let Some((format, parameters)) = self.format(value) {
                    format.add_parameters(parameters);
                }
            }
            _ => {}
        }
    }

    /// `96 …`: that payload type and what follows it.
    fn format<'v>(&mut self, value: &'v str) -> Option<(&mut Format, &'v str)> {
        let (number, rest) = value.trim_start().split_once(char::is_whitespace)?;
        let number: u8 = number.parse().ok()?;
        let format = self.formats.iter_mut().find(|format| format.payload_type == number)?;
        Some((format, rest.trim()))
    }
}

impl Format {
    /// What a number means by itself (RFC 3551 §6).
    fn of_static_type(payload_type: u8, kind: &str) -> Self {
        let (encoding, clock_rate, channels) = match payload_type {
            0 => ("pcmu", 8_000, Some(1)),
            3 => ("gsm", 8_000, Some(1)),
            4 => ("g723", 8_000, Some(1)),
            5 => ("dvi4", 8_000, Some(1)),
            8 => ("pcma", 8_000, Some(1)),
            9 => ("g722", 8_000, Some(1)),
            10 => ("l16", 44_100, Some(2)),
            11 => ("l16", 44_100, Some(1)),
            14 => ("mpa", 90_000, None),
            26 => ("jpeg", 90_000, None),
            32 => ("mpv", 90_000, None),
            33 => ("mp2t", 90_000, None),
            _ => ("", if kind == "audio" { 8_000 } else { 90_000 }, None),
        };
        let parameters = String::new();
        Self { payload_type, encoding: encoding.to_owned(), clock_rate, channels, parameters }
    }

    /// `H264/90000`, `MPEG4-GENERIC/16000/1`.
    fn map(&mut self, map: &str) {
        let mut parts = map.split('/').map(str::trim);
        let encoding: String = parts.next().unwrap_or_default().chars().take(64).collect();
        if encoding.is_empty() {
            return;
        }
        self.encoding = encoding.to_ascii_lowercase();
        let rate = parts.next().and_then(|rate| rate.parse().ok()).filter(|&rate| rate > 0);
        self.clock_rate = rate.unwrap_or(self.clock_rate);
        let channels = parts.next().and_then(|channels| channels.parse().ok());
        self.channels = channels.filter(|&channels| channels > 0);
    }

    /// Some spread a payload type's parameters over several lines.
    fn add_parameters(&mut self, parameters: &str) {
        if self.parameters.len() + parameters.len() >= limits::PARAMETERS {
            return;
        }
        if !self.parameters.is_empty() {
            self.parameters.push(';');
        }
        self.parameters.push_str(parameters);
    }
}

fn bounded(value: &str) -> Option<String> {
    let value = value.trim();
    (!value.is_empty() && value.len() <= limits::VALUE).then(|| value.to_owned())
}

/// Whether this software keeps a session of a connection that is gone, and goes on sending it to
/// whoever comes next: live555 older than 2017-06-04.
#[must_use]
pub fn keeps_dead_sessions(software: &str) -> bool {
    const MENDED: [u16; 3] = [2_017, 6, 4];
    let Some(at) = software.to_ascii_lowercase().find("live555") else { return false };
    let Some(rest) = software.get(at..) else { return false };
    let Some((_, version)) = rest.rsplit_once('v') else { return false };
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u16>);
    let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        return false;
    };
    [year, month, day] < MENDED
}
