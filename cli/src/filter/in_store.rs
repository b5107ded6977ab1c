//! Translation of an expression to queries of a store. A query is a conjunction of comparisons with numbers. The elements that the queries
//! find are a superset of the matches, so the expression is evaluated again for each of them.

use std::cmp::Ordering;

use h5lake_container::{Number, NumberKind, NumberType};
use object_stores::{FilterComparison, FilterOperand};

use super::expression::{Comparison, Expression, Operand};

/// The comparisons of one query. An element is found if all of them hold.
pub type Tests = Vec<(FilterComparison, FilterOperand)>;

/// The maximum number of queries for one expression, because the store reads all numbers for each query.
const MAX_QUESTIONS: usize = 4;
/// The maximum number of comparisons in one query, because the query is a line of text.
const MAX_TESTS: usize = 16;

/// Returns the queries that together find each element that matches. Returns `None` if reading all elements is better. The elements must be
/// plain numbers.
pub fn questions(expression: &Expression, of: NumberType) -> Option<Vec<Tests>> {
    wanted(expression, of, true)
}

/// Returns the queries that find each element for which the expression evaluates to `outcome`.
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

/// Intersects two lists of queries. If only one list can be used, returns that list alone, which finds a superset.
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

/// Returns the comparison that holds if and only if this one does not. For floats only `==` and `!=` have one, because no ordering
/// comparison holds for NaN.
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

/// Returns the float that is exactly equal to a number, if there is one.
fn float(number: Number) -> Option<f64> {
    let near = match number {
        Number::Float(f) => f,
        Number::Integer(n) => n as f64,
    };
    (number.compare(Number::Float(near)) == Some(Ordering::Equal)).then_some(near)
}

/// Returns a comparison of integers with an integer that is equivalent to the comparison with this number, which may be a fraction.
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
