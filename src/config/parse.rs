//! How single values are written.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
};

use super::source::Value;

type Parsed<T> = Result<T, String>;

/// Longest secret; a longer one could be set but would never be hashed at a login.
const LONGEST_SECRET: usize = 1_024;

pub(super) fn text(value: &Value) -> Parsed<String> {
    match value {
        Value::Text(text) | Value::Loose(text) => Ok(text.clone()),
        Value::Integer(_) => Err("is text: put it in quotes".into()),
        Value::Other(kind) => Err(format!("is text, not {kind}")),
    }
}

pub(super) fn filled(value: &Value) -> Parsed<String> {
    text(value).and_then(|t| if t.is_empty() { Err("is empty".into()) } else { Ok(t) })
}

/// Never repeats what was written.
pub(super) fn secret(value: &Value) -> Parsed<String> {
    let secret = filled(value)?;
    if secret.len() > LONGEST_SECRET {
        return Err(format!("is longer than {LONGEST_SECRET} bytes"));
    }
    if secret.contains(char::is_control) {
        return Err("has a line break or another control character in it".into());
    }
    Ok(secret)
}

pub(super) fn integer(value: &Value, range: RangeInclusive<i64>) -> Parsed<i64> {
    let n = match value {
        Value::Integer(n) => *n,
        Value::Loose(text) => {
            text.trim().parse().map_err(|_| format!("{text:?} is no whole number"))?
        }
        Value::Text(_) => return Err("is a whole number: write it without quotes".into()),
        Value::Other(kind) => return Err(format!("is a whole number, not {kind}")),
    };
    if range.contains(&n) {
        Ok(n)
    } else {
        Err(format!("{n} is not within {} to {}", range.start(), range.end()))
    }
}

pub(super) fn address(value: &Value) -> Parsed<SocketAddr> {
    let text = text(value)?;
    text.parse()
        .map_err(|_| format!("{text:?} is no address and port, such as 0.0.0.0:8080 or [::1]:8080"))
}

pub(super) fn ipv4(value: &Value) -> Parsed<Ipv4Addr> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("{text:?} is no IPv4 address"))
}

/// `239.192.0.0/24`: the first group, and how many there are.
pub(super) fn groups(value: &Value) -> Parsed<(Ipv4Addr, u32)> {
    let text = text(value)?;
    let (first, bits) = text.split_once('/').unwrap_or((&text, "32"));
    let parsed = first.parse::<Ipv4Addr>().ok().zip(bits.parse::<u32>().ok());
    let (first, bits) = parsed
        .filter(|(first, bits)| first.is_multicast() && (16..=32).contains(bits))
        .ok_or_else(|| {
            format!("{text:?} is no range of multicast groups, /16 at most, such as 239.192.0.0/24")
        })?;
    let groups = 1_u32 << (32 - bits);
    if !first.to_bits().is_multiple_of(groups) {
        return Err(format!("{text:?} does not begin at its first group"));
    }
    Ok((first, groups))
}

/// Room for a pair a track is left above it.
pub(super) fn even_port(value: &Value) -> Parsed<u16> {
    let port = integer(value, 1_024..=65_000)?;
    match u16::try_from(port) {
        Ok(port) if port.is_multiple_of(2) => Ok(port),
        _ => Err("must be even: RTP and RTCP take pairs".into()),
    }
}

/// `40000-40999`
pub(super) fn ports(value: &Value) -> Parsed<RangeInclusive<u16>> {
    let text = text(value)?;
    let parsed = text
        .split_once('-')
        .and_then(|(first, last)| Some(first.trim().parse().ok()?..=last.trim().parse().ok()?));
    let range: RangeInclusive<u16> =
        parsed.ok_or_else(|| format!("{text:?} is no range of ports, such as 40000-40999"))?;
    if *range.start() < 1_024 {
        return Err("begins below 1024".into());
    }
    let (first, last) = (*range.start(), *range.end());
    if !first.is_multiple_of(2) || last.is_multiple_of(2) || last < first {
        return Err(
            "must begin with an even port and end with an odd one: RTP and RTCP take pairs".into(),
        );
    }
    Ok(range)
}

/// Bytes: a whole number, or `500GB`, `1.5 TB`, `200GiB`.
pub(super) fn bytes(value: &Value) -> Parsed<u64> {
    const UNITS: [(&str, u64); 10] = [
        ("", 1),
        ("b", 1),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    const LARGEST: f64 = 9e18;
    let text = match value {
        Value::Integer(n) => return u64::try_from(*n).map_err(|_| format!("{n} is negative")),
        other => text(other)?,
    };
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at_checked(digits).unwrap_or((trimmed, ""));
    let unit = unit.trim().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let wrong = || format!("{text:?} is no size, such as 500GB, 1.5TB, 200GiB or 1000000");
    let factor = factor.ok_or_else(wrong)?;
    // Without a fraction by integers: every byte counts.
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let size = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    if size < LARGEST { Ok(size.round() as u64) } else { Err(wrong()) }
}

/// Behind a reverse proxy: `/nvr`. The root is the empty prefix.
pub(super) fn base_path(value: &Value) -> Parsed<String> {
    let text = text(value)?;
    let path = text.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if !path.is_empty()
        && (!path.starts_with('/') || path.contains("//") || !path.chars().all(plain))
    {
        return Err(format!("{text:?} is no path, such as /nvr"));
    }
    Ok(path.to_owned())
}

/// One of a few words.
pub(super) fn choice<T: Copy>(value: &Value, of: &[(&str, T)]) -> Parsed<T> {
    let text = text(value)?;
    of.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<_> = of.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is none of: {}", words.join(", "))
    })
}
