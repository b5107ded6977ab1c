//! A list of names and values as bytes, so that a fuzzer can change each by itself: u8 length and name, u16 length and
//! value. What is cut short is taken as it is.

/// The names and values in some bytes.
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

/// The bytes of names and values.
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
