//! What of an expression a store is asked for: comparisons with numbers that all have to be true, perhaps in several questions. What
//! the store finds is a superset, which the expression itself is then evaluated for.

use std::cmp::Ordering;

use h5lake_container::{Number, NumberKind, NumberType};
use object_stores::{FilterComparison, FilterOperand};

use super::expression::{Comparison, Expression, Operand};

/// Comparisons that all have to be true.
pub type Tests = Vec<(FilterComparison, FilterOperand)>;

/// Most questions for one expression: each looks at all numbers again.
const MAX_QUESTIONS: usize = 4;
/// Most comparisons of one question: it is a line of text.
const MAX_TESTS: usize = 16;

/// The questions of which one at least finds each element that matches; `None` if there are none better than reading all. The
/// elements are themselves the numbers that are compared.
pub fn questions(expression: &Expression, of: NumberType) -> Option<Vec<Tests>> {
    wanted(expression, of, true)
}

/// The same for elements for which the expression comes to `outcome`.
fn wanted(expression: &Expression, of: NumberType, outcome: bool) -> Option<Vec<Tests>> {
    match expression {
        Expression::Compare(a, how, b) => compare(*a, *how, *b, of, outcome),
        Expression::Not(a) => wanted(a, of, !outcome),
        Expression::And(a, b) | Expression::Or(a, b) => {
            let (a, b) = (wanted(a, of, outcome), wanted(b, of, outcome));
            if matches!(expression, Expression::And(..)) == outcome { both(a, b) } else { either(a?, b?) }
        }
    }
}

/// Both have to hold. One alone finds too much, and nothing too little.
fn both(a: Option<Vec<Tests>>, b: Option<Vec<Tests>>) -> Option<Vec<Tests>> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => return a.or(b),
    };
    if a.len() * b.len() > MAX_QUESTIONS {
        return Some(if a.len() <= b.len() { a } else { b });
    }
    let join = |a: &Tests, b: &Tests| a.iter().chain(b).copied().take(MAX_TESTS).collect();
    Some(a.iter().flat_map(|a| b.iter().map(move |b| join(a, b))).collect())
}

fn either(mut a: Vec<Tests>, b: Vec<Tests>) -> Option<Vec<Tests>> {
    a.extend(b);
    (a.len() <= MAX_QUESTIONS).then_some(a)
}

fn compare(a: Operand, how: Comparison, b: Operand, of: NumberType, outcome: bool) -> Option<Vec<Tests>> {
    let (how, number) = match (a, b) {
        (Operand::Field(_), Operand::Literal(number)) => (how, number),
        (Operand::Literal(number), Operand::Field(_)) => (how.mirrored(), number),
        _ => return None,
    };
    let how = if outcome { how } else { opposite(how, of)? };
    let test = match of.kind {
        NumberKind::Float => (word(how), FilterOperand::Float(float(number)?)),
        _ => whole(how, number)?,
    };
    Some(vec![vec![test]])
}

/// The comparison that is true where this one is false. Where there may be NaN, only equality has one.
fn opposite(how: Comparison, of: NumberType) -> Option<Comparison> {
    let may_be_nan = of.kind == NumberKind::Float;
    Some(match how {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        _ if may_be_nan => return None,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    })
}

fn word(how: Comparison) -> FilterComparison {
    match how {
        Comparison::Less => FilterComparison::Less,
        Comparison::LessOrEqual => FilterComparison::LessOrEqual,
        Comparison::Greater => FilterComparison::Greater,
        Comparison::GreaterOrEqual => FilterComparison::GreaterOrEqual,
        Comparison::Equal => FilterComparison::Equal,
        Comparison::NotEqual => FilterComparison::NotEqual,
    }
}

/// A float that is this very number.
fn float(number: Number) -> Option<f64> {
    let near = match number {
        Number::Float(f) => f,
        Number::Integer(n) => n as f64,
    };
    (number.compare(Number::Float(near)) == Some(Ordering::Equal)).then_some(near)
}

/// A comparison of integers with an integer: a fraction lies between two of them.
fn whole(how: Comparison, number: Number) -> Option<(FilterComparison, FilterOperand)> {
    let (how, number) = match number {
        Number::Integer(n) => (how, n),
        Number::Float(f) => {
            let below = f.floor();
            let exact = number.compare(Number::Integer(below as i128)) == Some(Ordering::Equal);
            let is_within =
                Number::Float(below).compare(Number::Integer(below as i128)) == Some(Ordering::Equal);
            match how {
                _ if !is_within => return None,
                how if exact => (how, below as i128),
                Comparison::Less | Comparison::LessOrEqual => (Comparison::LessOrEqual, below as i128),
                Comparison::Greater | Comparison::GreaterOrEqual => (Comparison::Greater, below as i128),
                Comparison::Equal | Comparison::NotEqual => return None,
            }
        }
    };
    Some((word(how), FilterOperand::Integer(number)))
}
