//! Parsed expressions over the elements of a dataset, and their evaluation for one element or for a range of numbers.

use std::cmp::Ordering;

use h5lake_container::{Number, NumberType};

/// A comparison of two numbers. NaN is unequal to every number, also to itself, and neither less nor greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Comparison {
    /// Returns the comparison that holds if the operands are exchanged.
    pub fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal | Self::NotEqual => self,
        }
    }

    /// Returns whether the comparison holds for two numbers with this order. The order is `None` if one of them is NaN.
    fn holds(self, found: Option<Ordering>) -> bool {
        match self {
            Self::Less => found == Some(Ordering::Less),
            Self::LessOrEqual => matches!(found, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => found == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(found, Some(Ordering::Greater | Ordering::Equal)),
            Self::Equal => found == Some(Ordering::Equal),
            Self::NotEqual => found != Some(Ordering::Equal),
        }
    }
}

/// A number in an element: its offset in the element, and its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub offset: usize,
    pub of: NumberType,
}

/// An operand of a comparison.
#[derive(Debug, Clone, Copy)]
pub enum Operand {
    Field(Field),
    Literal(Number),
}

/// A condition on an element.
#[derive(Debug, Clone)]
pub enum Expression {
    Compare(Operand, Comparison, Operand),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
}

/// The possible results of an expression for some elements: whether any of them may match, and whether any of them may fail to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcomes {
    pub may_match: bool,
    pub may_fail: bool,
}

/// Bounds of the numbers that a field has in some elements.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The minimum and the maximum, or `None` if all numbers are NaN.
    pub range: Option<(Number, Number)>,
    pub may_have_nan: bool,
}

impl Bounds {
    fn of(number: Number) -> Self {
        Self { range: (!number.is_nan()).then_some((number, number)), may_have_nan: number.is_nan() }
    }
}

impl Operand {
    /// Returns the number of the operand in an element. The element has the size of its type.
    fn number(self, element: &[u8]) -> Number {
        match self {
            Self::Literal(number) => number,
            Self::Field(Field { offset, of }) => {
                let bytes = element.get(offset..).and_then(|rest| rest.get(..of.size)).unwrap_or_default();
                of.number(bytes).unwrap_or(Number::Float(f64::NAN))
            }
        }
    }
}

impl Expression {
    /// Returns whether an element, in file form, matches.
    pub fn matches(&self, element: &[u8]) -> bool {
        match self {
            Self::Compare(a, how, b) => how.holds(a.number(element).compare(b.number(element))),
            Self::And(a, b) => a.matches(element) && b.matches(element),
            Self::Or(a, b) => a.matches(element) || b.matches(element),
            Self::Not(a) => !a.matches(element),
        }
    }

    /// Evaluates the expression for elements that are numbers within bounds. A result is possible unless the bounds exclude it.
    pub fn outcomes(&self, bounds: &Bounds) -> Outcomes {
        match self {
            Self::Compare(a, how, b) => {
                let bounds = |operand: &Operand| match operand {
                    Operand::Literal(number) => Bounds::of(*number),
                    Operand::Field(_) => *bounds,
                };
                compare(bounds(a), *how, bounds(b))
            }
            Self::And(a, b) => {
                let (a, b) = (a.outcomes(bounds), b.outcomes(bounds));
                Outcomes { may_match: a.may_match && b.may_match, may_fail: a.may_fail || b.may_fail }
            }
            Self::Or(a, b) => {
                let (a, b) = (a.outcomes(bounds), b.outcomes(bounds));
                Outcomes { may_match: a.may_match || b.may_match, may_fail: a.may_fail && b.may_fail }
            }
            Self::Not(a) => {
                let a = a.outcomes(bounds);
                Outcomes { may_match: a.may_fail, may_fail: a.may_match }
            }
        }
    }
}

fn compare(a: Bounds, how: Comparison, b: Bounds) -> Outcomes {
    let nan = a.may_have_nan || b.may_have_nan;
    let Some(((a_least, a_greatest), (b_least, b_greatest))) = a.range.zip(b.range) else {
        let holds = how.holds(None);
        return Outcomes { may_match: holds, may_fail: !holds };
    };
    let is = |a: Number, wanted: fn(Ordering) -> bool, b: Number| a.compare(b).is_some_and(wanted);
    let may_be_less = is(a_least, Ordering::is_lt, b_greatest);
    let may_be_greater = is(a_greatest, Ordering::is_gt, b_least);
    let may_be_equal = is(a_least, Ordering::is_le, b_greatest) && is(b_least, Ordering::is_le, a_greatest);
    let possible = [
        (may_be_less, Some(Ordering::Less)),
        (may_be_equal, Some(Ordering::Equal)),
        (may_be_greater, Some(Ordering::Greater)),
        (nan, None),
    ];
    let any = |wanted: bool| possible.iter().any(|(may_be, found)| *may_be && how.holds(*found) == wanted);
    Outcomes { may_match: any(true), may_fail: any(false) }
}
