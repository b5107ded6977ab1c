use crate::headers::Headers;
pub fn rust(_: &[Headers]) -> String {
    "fn main() {}".into()
}
pub fn c(_: &[Headers]) -> String {
    String::new()
}
