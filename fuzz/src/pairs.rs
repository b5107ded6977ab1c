//! A list of names and values as bytes, so that a fuzzer can change each of them separately: u8 length and name, u16
//! length and value. A truncated item is used as far as it is present.

/// Decodes names and values.
pub fn decode(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut out = Vec::new();
    while let Some((name, rest)) = bytes.split_first().map(|(n, rest)| part(rest, usize::from(*n))) {
        let Some((length, rest)) = rest.split_first_chunk() else { break };
        let (value, rest) = part(rest, usize::from(u16::from_le_bytes(*length)));
        out.push((name, value));
        bytes = rest;
    }
    out
}

fn part(bytes: &[u8], n: usize) -> (&[u8], &[u8]) {
    bytes.split_at(n.min(bytes.len()))
}

/// Encodes names and values.
pub fn encode(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        out.push(name.len() as u8);
        out.extend(name);
        out.extend((value.len() as u16).to_le_bytes());
        out.extend(value);
    }
    out
}
