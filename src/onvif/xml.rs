//! Looks at a document before it is parsed into a tree: a mebibyte of `<a><a><a>…` makes a tree
//! that cannot even be dropped, and one tag of a hundred thousand attributes takes minutes.
//! And reads the answers of discovery, which come from anybody.

use quick_xml::{Reader, events::Event};

use super::limits;

/// Why a document is not parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("its XML is nested too deeply")]
    Deep,
    #[error("its XML has too many elements")]
    Long,
    #[error("its XML has too long a tag")]
    Wide,
    #[error("its XML defines a document type")]
    Doctype,
    #[error("its answer is no XML")]
    Broken,
}

/// Whether `text` may be parsed.
pub(super) fn check(text: &str) -> Result<(), Unfit> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    reader.config_mut().allow_unmatched_ends = true;
    let (mut depth, mut elements) = (0_usize, 0_usize);
    loop {
        let event = reader.read_event().map_err(|_| Unfit::Broken)?;
        let tag = match &event {
            Event::Start(tag) => {
                depth += 1;
                tag.len()
            }
            Event::Empty(tag) => tag.len(),
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                continue;
            }
            Event::DocType(_) => return Err(Unfit::Doctype),
            Event::Eof if elements == 0 => return Err(Unfit::Broken),
            Event::Eof => return Ok(()),
            _ => continue,
        };
        elements += 1;
        if depth > limits::DEPTH {
            return Err(Unfit::Deep);
        }
        if elements > limits::ELEMENTS {
            return Err(Unfit::Long);
        }
        if tag > limits::TAG {
            return Err(Unfit::Wide);
        }
    }
}

/// What one device says in answer to a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProbeMatch {
    pub(super) endpoint: String,
    pub(super) types: String,
    pub(super) scopes: String,
    pub(super) addresses: String,
}

/// The devices of an answer to a probe, at most `most`. Reads leniently: prefixes do not matter, and
/// what comes before a mistake counts.
pub(super) fn probe_matches(text: &str, most: usize) -> Vec<ProbeMatch> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    reader.config_mut().allow_unmatched_ends = true;
    let mut found: Vec<ProbeMatch> = Vec::new();
    // In a match, and in which of its texts.
    let (mut inside, mut field) = (false, None);
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(tag) => {
                let name = tag.local_name();
                if name.as_ref() == "ProbeMatch" {
                    if found.len() == most {
                        break;
                    }
                    found.push(ProbeMatch::default());
                    inside = true;
                }
                field = inside.then(|| Field::of(name.as_ref())).flatten();
            }
            Event::End(tag) => {
                field = None;
                inside &= tag.local_name().as_ref() != "ProbeMatch";
            }
            Event::Text(text) => {
                if let (Some(field), Some(device)) = (field, found.last_mut()) {
                    field.place(device).push_str(text.as_ref());
                }
            }
            Event::GeneralRef(name) => {
                if let (Some(field), Some(device)) = (field, found.last_mut()) {
                    let c = match name.as_ref() {
                        "amp" => Some('&'),
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => name.resolve_char_ref().ok().flatten(),
                    };
                    field.place(device).extend(c);
                }
            }
            Event::DocType(_) | Event::Eof => break,
            _ => {}
        }
    }
    found
}

#[derive(Clone, Copy)]
enum Field {
    Endpoint,
    Types,
    Scopes,
    Addresses,
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        match name {
            "Address" => Some(Self::Endpoint),
            "Types" => Some(Self::Types),
            "Scopes" => Some(Self::Scopes),
            "XAddrs" => Some(Self::Addresses),
            _ => None,
        }
    }

    fn place(self, device: &mut ProbeMatch) -> &mut String {
        match self {
            Self::Endpoint => &mut device.endpoint,
            Self::Types => &mut device.types,
            Self::Scopes => &mut device.scopes,
            Self::Addresses => &mut device.addresses,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_that_would_harm_its_parser_is_not_given_to_it() {
        let deep = "<a>".repeat(limits::DEPTH + 1);
        assert_eq!(check(&deep), Err(Unfit::Deep));
        let long = format!("<a>{}</a>", "<b/>".repeat(limits::ELEMENTS));
        assert_eq!(check(&long), Err(Unfit::Long));
        let wide = format!("<a {}/>", "b='c' ".repeat(limits::TAG / 5));
        assert_eq!(check(&wide), Err(Unfit::Wide));
        assert_eq!(check("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), Err(Unfit::Doctype));
        assert_eq!(check(""), Err(Unfit::Broken));
        assert_eq!(check("<html><body>no ONVIF here</body></html>"), Ok(()));
        assert_eq!(check(&format!("{}{}", "<a>".repeat(40), "</a>".repeat(40))), Ok(()));
    }

    #[test]
    fn prefixes_line_breaks_and_references_do_not_hide_what_a_device_says() {
        let text = "<e:Envelope xmlns:e='x'><e:Header><w:MessageID>1</w:MessageID></e:Header><e:Body>
            <ProbeMatches><d:ProbeMatch><w:EndpointReference><w:Address>urn:uuid:7</w:Address>
            </w:EndpointReference><d:Types>dn:NetworkVideoTransmitter</d:Types>
            <d:Scopes>onvif://www.onvif.org/name/A&amp;B
            onvif://www.onvif.org/hardware/X1</d:Scopes>
            <d:XAddrs>http://10.0.0.7/onvif/device_service</d:XAddrs></d:ProbeMatch></ProbeMatches>";
        let found = probe_matches(text, 8);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].endpoint, "urn:uuid:7");
        assert!(found[0].scopes.starts_with("onvif://www.onvif.org/name/A&B"));
        assert_eq!(found[0].addresses, "http://10.0.0.7/onvif/device_service");
        assert_eq!(probe_matches(text, 0), []);
    }

    proptest! {
        #[test]
        fn any_text_is_looked_at_without_panic(text in "(<[a-z:/!?]{0,6}|>|&[a-z#0-9]{0,4};|ProbeMatch|[a-z]| |\"){0,60}|.{0,60}") {
            let _ = check(&text);
            let _ = probe_matches(&text, 4);
        }
    }
}
