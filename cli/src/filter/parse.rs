//! Parses an expression: comparisons, `and`, `or`, `not` and parentheses.
//!
//! ```text
//! or         = and { ("or" | "||") and }
//! and        = not { ("and" | "&&") not }
//! not        = ("not" | "!") not | comparison
//! comparison = "(" or ")" | operand operator operand { operator operand }
//! operand    = number | "true" | "false" | "inf" | "nan" | name { "." name }
//! name       = letters, digits and "_", or anything in double quotes
//! ```

use h5lake_container::{Number, NumberKind, NumberType};

use super::expression::{Comparison, Expression, Field, Operand};
use crate::elements::{Bits, ByteOrder, Type};

/// The maximum depth of nested parentheses and negations.
const MAX_DEPTH: usize = 64;
/// The maximum length of an expression. Longer texts are rejected, because each part of an expression is evaluated for every element.
const MAX_BYTES: usize = 64 << 10;

/// A syntax error: its description, and its offset in the text in bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub at: usize,
    pub why: String,
}

impl Mistake {
    /// Returns the description and the text, with a mark below the position of the error.
    pub fn shown(&self, text: &str) -> String {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = text.get(..self.at).unwrap_or(text).chars().count();
        format!("{}\n  {line}\n  {}^", self.why, " ".repeat(before))
    }
}

type Parsed<T> = Result<T, Mistake>;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    /// A name in quotation marks, which is never a keyword.
    Quoted(String),
    Number(String),
    Symbol(&'static str),
    End,
}

const SYMBOLS: [&str; 16] =
    ["<=", ">=", "==", "!=", "&&", "||", "<", ">", "=", "!", "(", ")", ".", "-", "+", "&"];

/// Splits a text into tokens with their offsets.
fn tokens(text: &str) -> Parsed<Vec<(usize, Token)>> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (token, length) = if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        } else if c == '"' {
            quoted(rest).ok_or_else(|| Mistake { at, why: "a name in quotation marks has no end".into() })?
        } else if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let length = number_length(rest);
            (Token::Number(rest[..length].to_owned()), length)
        } else if c.is_alphabetic() || c == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Token::Name(rest[..length].to_owned()), length)
        } else if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            (Token::Symbol(symbol), symbol.len())
        } else {
            return Err(Mistake { at, why: format!("'{}' has no meaning here", c.escape_default()) });
        };
        all.push((at, token));
        at += length;
    }
    all.push((text.len(), Token::End));
    Ok(all)
}

/// Parses a name in quotation marks, in which a backslash escapes the next character. Returns the name and the length of the token.
fn quoted(rest: &str) -> Option<(Token, usize)> {
    let (mut name, mut escaped) = (String::new(), false);
    for (n, c) in rest.char_indices().skip(1) {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Some((Token::Quoted(name), n + 1)),
            c => {
                name.push(c);
                escaped = false;
            }
        }
    }
    None
}

/// Returns the length of the number at the beginning of a text. A number consists of digits, a point and an exponent, or of hexadecimal
/// digits after `0x`.
fn number_length(rest: &str) -> usize {
    let mut before = ' ';
    let is_hex = rest.starts_with("0x") || rest.starts_with("0X");
    let belongs = |c: char| {
        let is_sign = !is_hex && matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
        before = c;
        c.is_ascii_alphanumeric() || c == '.' || c == '_' || is_sign
    };
    let mut belongs = belongs;
    rest.find(|c| !belongs(c)).unwrap_or(rest.len())
}

/// Parses an expression over elements of a type.
///
/// # Errors
///
/// Returns the first syntax error and its position.
pub fn parse(text: &str, of: &Type) -> Parsed<Expression> {
    if text.len() > MAX_BYTES {
        return Err(Mistake { at: MAX_BYTES, why: format!("an expression has at most {MAX_BYTES} bytes") });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, of, depth: 0 };
    let parsed = parser.or()?;
    match parser.token() {
        Token::End => Ok(parsed),
        _ => Err(parser.wrong("the expression should end here, or go on with 'and' or 'or'")),
    }
}

struct Parser<'a> {
    tokens: Vec<(usize, Token)>,
    next: usize,
    of: &'a Type,
    depth: usize,
}

impl Parser<'_> {
    fn token(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn wrong(&self, why: impl Into<String>) -> Mistake {
        let at = self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |(at, _)| *at);
        Mistake { at, why: why.into() }
    }

    /// Skips the next token if it is one of these words or symbols. Returns whether it was.
    fn skips(&mut self, wanted: [&str; 2]) -> bool {
        let found = match self.token() {
            Token::Name(name) => wanted.contains(&name.as_str()),
            Token::Symbol(symbol) => wanted.contains(symbol),
            _ => false,
        };
        self.next += usize::from(found);
        found
    }

    fn deeper<T>(&mut self, body: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return Err(self.wrong(format!("an expression is nested at most {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let done = body(self);
        self.depth -= 1;
        done
    }

    /// Parses the operands of an operator that may be repeated. They become a balanced tree, so that its depth is the logarithm of their
    /// number.
    fn joined(
        &mut self,
        operators: [&str; 2],
        operand: fn(&mut Self) -> Parsed<Expression>,
        join: fn(Box<Expression>, Box<Expression>) -> Expression,
    ) -> Parsed<Expression> {
        let mut all = vec![operand(self)?];
        while self.skips(operators) {
            all.push(operand(self)?);
        }
        Ok(balanced(all, join))
    }

    fn or(&mut self) -> Parsed<Expression> {
        self.joined(["or", "||"], Self::and, Expression::Or)
    }

    fn and(&mut self) -> Parsed<Expression> {
        self.joined(["and", "&&"], Self::not, Expression::And)
    }

    fn not(&mut self) -> Parsed<Expression> {
        if self.skips(["not", "!"]) {
            return self.deeper(|p| Ok(Expression::Not(Box::new(p.not()?))));
        }
        if *self.token() == Token::Symbol("(") {
            self.next += 1;
            let inner = self.deeper(Self::or)?;
            if !self.skips([")", ")"]) {
                return Err(self.wrong("a ')' is missing here"));
            }
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed<Expression> {
        let mut left = self.operand()?;
        let mut all = Vec::new();
        while let Some(how) = self.operator()? {
            let right = self.operand()?;
            all.push(compared(left, how, right));
            left = right;
        }
        if all.is_empty() {
            return Err(self.wrong("a comparison is missing here: <, <=, >, >=, == or !="));
        }
        Ok(balanced(all, Expression::And))
    }

    fn operator(&mut self) -> Parsed<Option<Comparison>> {
        let Token::Symbol(symbol) = self.token() else { return Ok(None) };
        let how = match *symbol {
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            "==" => Comparison::Equal,
            "!=" => Comparison::NotEqual,
            "=" => return Err(self.wrong("equality is written '=='")),
            "&" => return Err(self.wrong("'and' is written 'and' or '&&'")),
            _ => return Ok(None),
        };
        self.next += 1;
        Ok(Some(how))
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let negative = match self.token() {
            Token::Symbol("-") => Some(true),
            Token::Symbol("+") => Some(false),
            _ => None,
        };
        self.next += usize::from(negative.is_some());
        let token = self.token().clone();
        let literal = match &token {
            Token::Number(text) => {
                Some(number(text).ok_or_else(|| self.wrong(format!("'{text}' is no number")))?)
            }
            Token::Name(name) => word(name),
            _ => None,
        };
        if let Some(found) = literal {
            self.next += 1;
            return Ok(Operand::Literal(if negative == Some(true) { negated(found) } else { found }));
        }
        if negative.is_some() {
            return Err(self.wrong("a sign stands before a number"));
        }
        match token {
            Token::Name(_) | Token::Quoted(_) => self.field().map(Operand::Field),
            _ => Err(self.wrong("a number, 'x' or the name of a member is missing here")),
        }
    }

    /// Parses the name of the element itself, or of a member at any depth.
    fn field(&mut self) -> Parsed<Field> {
        let mut of = self.of;
        let mut offset = 0;
        let mut place = self.next;
        if matches!(of, Type::Compound { .. }) {
            loop {
                place = self.next;
                let member = self.member(of)?;
                (offset, of) = (offset + member.offset, &member.of);
                self.next += 1;
                if !self.skips([".", "."]) {
                    break;
                }
            }
        } else if *self.token() == Token::Name("x".into()) {
            self.next += 1;
        } else {
            return Err(self.wrong("the elements have no members; an element is called 'x'"));
        }
        let number = number_type(of);
        number.map(|of| Field { offset, of }).ok_or_else(|| Mistake {
            at: self.tokens[place].0,
            why: format!("numbers can be compared, and this is of the type {of}"),
        })
    }

    fn member<'t>(&self, of: &'t Type) -> Parsed<&'t crate::elements::Member> {
        let Type::Compound { members, .. } = of else {
            return Err(self.wrong(format!("{of} has no members")));
        };
        let (Token::Name(name) | Token::Quoted(name)) = self.token() else {
            return Err(self.wrong("the name of a member is missing here"));
        };
        members.iter().find(|member| *member.name == **name).ok_or_else(|| {
            let names: Vec<_> = members.iter().map(|member| &*member.name).collect();
            self.wrong(format!("there is no member '{name}'; the members are {}", names.join(", ")))
        })
    }
}

/// Joins expressions to a balanced tree that keeps their order.
fn balanced(
    mut all: Vec<Expression>,
    join: fn(Box<Expression>, Box<Expression>) -> Expression,
) -> Expression {
    while all.len() > 1 {
        let mut pairs = Vec::with_capacity(all.len().div_ceil(2));
        let mut unpaired = all.into_iter();
        while let Some(first) = unpaired.next() {
            pairs.push(match unpaired.next() {
                Some(second) => join(Box::new(first), Box::new(second)),
                None => first,
            });
        }
        all = pairs;
    }
    // The list contains exactly one expression here, because it never was empty.
    let never = Operand::Literal(Number::Float(f64::NAN));
    all.pop().unwrap_or(Expression::Compare(never, Comparison::Equal, never))
}

/// Returns a comparison. Rounds a literal with a fraction to the precision of the field, as numpy does, so that 0.1 equals a stored 0.1.
fn compared(left: Operand, how: Comparison, right: Operand) -> Expression {
    let rounded = |operand: Operand, other: Operand| match (operand, other) {
        (Operand::Literal(Number::Float(f)), Operand::Field(Field { of, .. }))
            if of.kind == NumberKind::Float =>
        {
            Operand::Literal(Number::Float(round(f, of.size)))
        }
        _ => operand,
    };
    Expression::Compare(rounded(left, right), how, rounded(right, left))
}

/// Returns the nearest float of `size` bytes, or `f` itself if it is outside of the range of such floats.
fn round(f: f64, size: usize) -> f64 {
    /// The maximum finite float of two bytes.
    const MAX_HALF: f64 = 65504.0;
    let rounded = match size {
        4 => f64::from(f as f32),
        2 if f.abs() < 2_f64.powi(-14) => (f * 2_f64.powi(24)).round_ties_even() / 2_f64.powi(24),
        2 => {
            let step = 2_f64.powi(f.abs().log2().floor() as i32 - 10);
            Some((f / step).round_ties_even() * step).filter(|n| n.abs() <= MAX_HALF).unwrap_or(f64::INFINITY)
        }
        _ => f,
    };
    if rounded.is_finite() { rounded } else { f }
}

fn word(name: &str) -> Option<Number> {
    match name {
        "true" | "True" => Some(Number::Integer(1)),
        "false" | "False" => Some(Number::Integer(0)),
        "inf" => Some(Number::Float(f64::INFINITY)),
        "nan" => Some(Number::Float(f64::NAN)),
        _ => None,
    }
}

fn number(text: &str) -> Option<Number> {
    let digits = text.replace('_', "");
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok().map(|n| Number::Integer(n.into()));
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        // An integer beyond 128 bits is compared as a float, which is exact enough because no element has so many digits.
        return digits.parse().map(Number::Integer).or_else(|_| digits.parse().map(Number::Float)).ok();
    }
    digits.parse().map(Number::Float).ok()
}

fn negated(n: Number) -> Number {
    match n {
        Number::Integer(n) => Number::Integer(-n),
        Number::Float(f) => Number::Float(-f),
    }
}

/// Returns the number type of elements of this type, or `None` if they are no numbers. The number of an enumeration is its integer.
pub fn number_type(of: &Type) -> Option<NumberType> {
    let plain = |bits: &Bits| {
        (bits.is_whole() && matches!(bits.size, 1 | 2 | 4 | 8) && bits.order != ByteOrder::Vax)
            .then_some(*bits)
    };
    let (kind, size, order) = match of {
        Type::Integer { bits, signed } => {
            let bits = plain(bits)?;
            (if *signed { NumberKind::Signed } else { NumberKind::Unsigned }, bits.size, bits.order)
        }
        Type::Bitfield(bits) => plain(bits).map(|bits| (NumberKind::Unsigned, bits.size, bits.order))?,
        Type::Float { size, order } => (NumberKind::Float, *size, *order),
        Type::Enum { base, .. } => return number_type(base),
        _ => return None,
    };
    Some(NumberType { kind, size, is_big_endian: order == ByteOrder::Big })
}
