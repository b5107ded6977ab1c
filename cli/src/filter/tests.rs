use std::sync::Arc;

use h5lake_container::{Number, NumberKind, NumberType};
use object_stores::{FilterComparison, FilterOperand};

use super::expression::{Bounds, Expression};
use super::in_store::{Tests, questions};
use super::parse::{number_type, parse};
use crate::elements::{Bits, ByteOrder, Member, Type};

fn integer(size: usize, signed: bool) -> Type {
    let bits = Bits { order: ByteOrder::Little, size, offset: 0, precision: 8 * size as u32 };
    Type::Integer { bits, signed }
}

fn float(size: usize) -> Type {
    Type::Float { size, order: ByteOrder::Little }
}

fn of(text: &str, of: &Type) -> Expression {
    parse(text, of).unwrap_or_else(|mistake| panic!("{}", mistake.shown(text)))
}

fn double(text: &str, x: f64) -> bool {
    of(text, &float(8)).matches(&x.to_le_bytes())
}

fn mistake(text: &str) -> (usize, String) {
    let found = parse(text, &float(8)).unwrap_err();
    (found.at, found.why)
}

#[test]
fn operators_bind_as_in_python() {
    for (text, wanted) in [
        ("x > 5", false),
        ("x >= 5 and x < 6", true),
        ("4 < x <= 5", true),
        ("4 < x < 5", false),
        ("x < 4 or x > 4 and x < 6", true),
        ("(x < 4 or x > 4) and x > 6", false),
        ("not x == 5", false),
        ("not x > 5 and x > 4", true),
        ("!(x != 5) || x < 0", true),
        ("x == 5 && true == 1", true),
        ("-5 == -x", false),
        ("x > -.5e1 and x < +1_000 and x != 0x6", true),
        ("x<inf and x>-inf", true),
    ] {
        if text.contains("-x") {
            assert_eq!(mistake(text), (7, "a sign stands before a number".into()));
            continue;
        }
        assert_eq!(double(text, 5.0), wanted, "{text}");
    }
}

#[test]
fn nan_compares_as_in_numpy() {
    for (text, wanted) in [
        ("x > 5", false),
        ("x <= 5", false),
        ("x == x", false),
        ("x != x", true),
        ("x != 5", true),
        ("not x > 5", true),
        ("x == nan", false),
        ("x != nan", true),
    ] {
        assert_eq!(double(text, f64::NAN), wanted, "{text}");
    }
    assert!(!double("x < nan", 1.0) && double("x != nan", 1.0));
}

#[test]
fn integers_are_not_rounded_to_floats() {
    let unsigned = |text: &str, x: u64| of(text, &integer(8, false)).matches(&x.to_le_bytes());
    assert!(unsigned("x == 18446744073709551615", u64::MAX));
    assert!(!unsigned("x == 18446744073709551615", u64::MAX - 1));
    assert!(unsigned("x < 18446744073709551616.0", u64::MAX));
    assert!(unsigned("x > 9007199254740992.0", 9_007_199_254_740_993));
    assert!(unsigned("x > -1", 0));
    let signed = |text: &str, x: i64| of(text, &integer(8, true)).matches(&x.to_le_bytes());
    assert!(signed("x < 0.5 and x > -0.5", 0) && signed("x <= -9223372036854775808", i64::MIN));
    assert!(signed("x < 340282366920938463463374607431768211456", i64::MAX), "2^128");
}

#[test]
fn literals_are_rounded_to_smaller_floats() {
    let single = |text: &str, x: f32| of(text, &float(4)).matches(&x.to_le_bytes());
    assert!(single("x == 0.1", 0.1) && !single("x > 0.1", 0.1) && single("0.1 <= x", 0.1));
    assert!(single("x < 1e300", f32::MAX) && !single("x >= 1e300", f32::MAX));
    // The float of two bytes nearest to 0.1 is 0x2e66.
    let half = |text: &str, bits: u16| of(text, &float(2)).matches(&bits.to_le_bytes());
    assert!(half("x == 0.1", 0x2e66) && half("x == 0.0000001", 0x0002) && half("x < 70000.0", 0x7bff));
}

#[test]
fn members_have_their_names() {
    let inner = Type::Compound {
        size: 4,
        encoded_size: 4,
        members: vec![Member { name: "y".into(), offset: 2, encoded_offset: 2, of: integer(2, true) }],
    };
    let member =
        |name: &str, offset, of| Member { name: Arc::from(name), offset, encoded_offset: offset, of };
    let row = Type::Compound {
        size: 20,
        encoded_size: 20,
        members: vec![
            member("x", 0, float(8)),
            member("time stamp", 8, integer(4, false)),
            member("in", 12, inner),
            member("text", 16, Type::Text { size: 4, padding: crate::elements::Padding::Nul, utf8: false }),
        ],
    };
    let mut element = 2.5_f64.to_le_bytes().to_vec();
    element.extend([7, 0, 0, 0, 0, 0, 0xfe, 0xff, 0, 0, 0, 0]);
    for (text, wanted) in [
        ("x > 2 and x < 3", true),
        ("\"time stamp\" == 7", true),
        ("in.y == -2", true),
        ("x < in.y", false),
        ("\"in\".\"y\" < x < \"time stamp\"", true),
    ] {
        assert_eq!(of(text, &row).matches(&element), wanted, "{text}");
    }
    let wrong = |text: &str| parse(text, &row).unwrap_err();
    assert_eq!(wrong("1 < z").at, 4);
    assert!(wrong("z > 1").why.contains("the members are x, time stamp, in, text"), "{:?}", wrong("z > 1"));
    assert!(wrong("text > 1").why.contains("string[4]"));
    assert!(wrong("in > 1").why.contains("compound"));
    assert!(wrong("x.y > 1").why.contains("has no members"));
}

#[test]
fn a_mistake_is_named_with_its_place() {
    for (text, at, why) in [
        ("", 0, "a number, 'x' or the name of a member is missing here"),
        ("x", 1, "a comparison is missing here: <, <=, >, >=, == or !="),
        ("x > ", 4, "a number, 'x' or the name of a member is missing here"),
        ("x = 5", 2, "equality is written '=='"),
        ("x > 5 x < 6", 6, "the expression should end here, or go on with 'and' or 'or'"),
        ("(x > 5", 6, "a ')' is missing here"),
        ("x > 5)", 5, "the expression should end here, or go on with 'and' or 'or'"),
        ("x > 5 & x < 6", 6, "'and' is written 'and' or '&&'"),
        ("x > 5a", 4, "'5a' is no number"),
        ("x > $", 4, "'$' has no meaning here"),
        ("y > 5", 0, "the elements have no members; an element is called 'x'"),
        ("\"y > 5", 0, "a name in quotation marks has no end"),
        ("x > 1.2.3", 4, "'1.2.3' is no number"),
    ] {
        assert_eq!(mistake(text), (at, why.to_owned()), "{text}");
    }
    let shown = parse("x > ü", &float(8)).unwrap_err().shown("x > ü");
    assert!(shown.ends_with("\n  x > ü\n      ^"), "{shown}");
}

#[test]
fn nesting_is_bounded_and_chains_are_not_deep() {
    let deep = |n: usize| format!("{}x > 5{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(64), &float(8)).is_ok());
    assert!(parse(&deep(65), &float(8)).unwrap_err().why.contains("64 deep"));
    assert!(parse(&"!".repeat(60_000), &float(8)).is_err());
    let long = vec!["x > 5"; 6000].join(" or ");
    assert!(!double(&long, 5.0) && double(&long, 6.0));
    assert!(parse(&"x".repeat(70_000), &float(8)).unwrap_err().why.contains("65536"));
}

#[test]
fn elements_that_are_no_numbers_cannot_be_compared() {
    let text = Type::VariableText { utf8: true };
    assert!(parse("x > 5", &text).unwrap_err().why.contains("of the type string"));
    let boolean = Type::Enum { base: Box::new(integer(1, true)), names: Vec::new() };
    assert!(of("x == true", &boolean).matches(&[1]));
    let odd = Bits { order: ByteOrder::Little, size: 3, offset: 0, precision: 24 };
    assert_eq!(number_type(&Type::Bitfield(odd)), None);
    let wanted = NumberType { kind: NumberKind::Signed, size: 1, is_big_endian: false };
    assert_eq!(number_type(&boolean), Some(wanted));
}

/// The outcomes for a range include the result for each number in the range.
#[test]
fn a_range_never_hides_a_match() {
    let values = [-3.0, -0.5, 0.0, 1.0, 2.0, 2.5, 7.0];
    let comparisons = [
        "x < 1", "x <= 1", "x > 1", "x >= 2", "x == 2", "x != 2", "1 == x", "x == x", "x != x", "x < nan",
        "x != nan",
    ];
    let mut texts: Vec<String> = comparisons.iter().map(|&text| text.to_owned()).collect();
    for a in comparisons {
        texts.push(format!("not {a}"));
        texts.extend(comparisons.iter().map(|b| format!("{a} and not {b}")));
        texts.extend(comparisons.iter().map(|b| format!("not ({a} or {b})")));
    }
    let (mut skipped, mut all) = (0, 0);
    for text in &texts {
        let expression = of(text, &float(8));
        for (first, least) in values.iter().enumerate() {
            for greatest in &values[first..] {
                for may_have_nan in [false, true] {
                    let range = Some((Number::Float(*least), Number::Float(*greatest)));
                    let outcomes = expression.outcomes(&Bounds { range, may_have_nan });
                    let within = values.iter().filter(|v| (least..=greatest).contains(v));
                    for v in within.chain(may_have_nan.then_some(&f64::NAN)) {
                        let matches = expression.matches(&v.to_le_bytes());
                        assert!(
                            if matches { outcomes.may_match } else { outcomes.may_fail },
                            "{text} {least} {greatest} {v}"
                        );
                    }
                    skipped += usize::from(!outcomes.may_match);
                    all += 1;
                }
            }
        }
        let nan = expression.outcomes(&Bounds { range: None, may_have_nan: true });
        let matches = expression.matches(&f64::NAN.to_le_bytes());
        assert!(if matches { nan.may_match } else { nan.may_fail }, "{text}");
    }
    assert!(skipped > all / 4, "{skipped} of {all}");
}

/// Evaluates a query as a store does according to docs/store-protocol.md.
fn store_finds(tests: &Tests, element: Number) -> bool {
    tests.iter().all(|(how, than)| {
        let than = match than {
            FilterOperand::Integer(n) => Number::Integer(*n),
            FilterOperand::Float(f) => Number::Float(*f),
        };
        let found = element.compare(than);
        match how {
            FilterComparison::Less => found.is_some_and(|o| o.is_lt()),
            FilterComparison::LessOrEqual => found.is_some_and(|o| o.is_le()),
            FilterComparison::Equal => found.is_some_and(|o| o.is_eq()),
            FilterComparison::NotEqual => found.is_none_or(|o| o.is_ne()),
            FilterComparison::GreaterOrEqual => found.is_some_and(|o| o.is_ge()),
            FilterComparison::Greater => found.is_some_and(|o| o.is_gt()),
        }
    })
}

/// Each match is in the result of a query. If an expression can be translated exactly, the result contains only matches.
#[test]
fn questions_to_a_store_miss_no_match() {
    let literals =
        ["-1", "0", "2", "2.5", "-0.5", "1e300", "340282366920938463463374607431768211456", "inf", "nan"];
    let operators = ["<", "<=", ">", ">=", "==", "!="];
    let single: Vec<String> = literals
        .iter()
        .flat_map(|n| operators.iter().map(move |how| [format!("x {how} {n}"), format!("{n} {how} x")]))
        .flatten()
        .chain(["x == x", "x != x", "1 < 2", "-1 < x <= 2"].map(str::to_owned))
        .collect();
    let mut texts = single.clone();
    for (n, a) in single.iter().enumerate() {
        texts.push(format!("not {a}"));
        for b in single.iter().skip(n % 7).step_by(7) {
            texts.push(format!("{a} and not {b}"));
            texts.push(format!("not ({a} or {b})"));
            texts.push(format!("({a} or {b}) and (x != 1 or {b} or x == 7) or x == 3"));
        }
    }
    let (mut asked, mut exact) = (0, 0);
    for (of_text, kind) in [
        (float(8), NumberKind::Float),
        (float(4), NumberKind::Float),
        (integer(4, true), NumberKind::Signed),
        (integer(1, false), NumberKind::Unsigned),
    ] {
        let elements: Vec<Vec<u8>> = match (&of_text, kind) {
            (Type::Float { size: 4, .. }, _) => {
                [-1.0f32, -0.5, -0.0, 0.0, 1.0, 2.0, 2.5, 3.0, f32::INFINITY, f32::NAN, f32::MIN]
                    .iter()
                    .map(|x| x.to_le_bytes().to_vec())
                    .collect()
            }
            (_, NumberKind::Float) => {
                [-1.0, -0.5, -0.0, 0.0, 1.0, 2.0, 2.5, 1e300, f64::NEG_INFINITY, f64::NAN]
                    .iter()
                    .map(|x: &f64| x.to_le_bytes().to_vec())
                    .collect()
            }
            (_, NumberKind::Signed) => {
                [-2, -1, 0, 1, 2, 3, i32::MIN, i32::MAX].iter().map(|x| x.to_le_bytes().to_vec()).collect()
            }
            _ => (0..5).chain([255u8]).map(|x| vec![x]).collect(),
        };
        let of_number = number_type(&of_text).unwrap();
        for text in &texts {
            let expression = of(text, &of_text);
            let Some(questions) = questions(&expression, of_number) else { continue };
            assert!(questions.len() <= 4, "{text}");
            asked += 1;
            let answers = |element: &[u8]| {
                let number = of_number.number(element).unwrap();
                questions.iter().any(|tests| store_finds(tests, number))
            };
            for element in &elements {
                assert!(answers(element) || !expression.matches(element), "{text} {element:?} {questions:?}");
            }
            exact += usize::from(elements.iter().all(|e| answers(e) == expression.matches(e)));
        }
    }
    // More than a third of the expressions are translated to queries, and more than three fifths of these find only matches.
    assert!(
        exact * 5 > asked * 3 && asked * 3 > texts.len() * 4,
        "{exact} of {asked} of {}",
        4 * texts.len()
    );
}

#[test]
fn questions_to_a_store_are_those_of_the_expression() {
    let asked = |text: &str, of_type: &Type| {
        let found = questions(&of(text, of_type), number_type(of_type).unwrap());
        let shown = |tests: Tests| {
            let one = |(how, n): &(FilterComparison, FilterOperand)| format!("{how:?} {n}");
            tests.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        found.map(|all| all.into_iter().map(shown).collect::<Vec<_>>().join("; "))
    };
    let (double, int) = (float(8), integer(4, true));
    for (text, of_type, wanted) in [
        ("x > 5", &double, Some("Greater 5.0")),
        ("0.1 < x <= 1e-7", &double, Some("Greater 0.1, LessOrEqual 1e-7")),
        ("x > 5.5", &int, Some("Greater 5")),
        ("x < -5.5", &int, Some("LessOrEqual -6")),
        ("x == 5.5", &int, None),
        ("not x > 5", &int, Some("LessOrEqual 5")),
        ("not x > 5", &double, None),
        ("not x == 5", &double, Some("NotEqual 5.0")),
        ("x < 1 or x > 9", &double, Some("Less 1.0; Greater 9.0")),
        ("(x < 1 or x > 9) and x != 0", &double, Some("Less 1.0, NotEqual 0.0; Greater 9.0, NotEqual 0.0")),
        ("x > 9007199254740993", &double, None),
        ("x > nan", &double, None),
        ("x > 5 and x == x", &double, Some("Greater 5.0")),
        ("x > 5 or x == x", &double, None),
        ("x == 1 or x == 2 or x == 3 or x == 4 or x == 5", &double, None),
    ] {
        assert_eq!(asked(text, of_type).as_deref(), wanted, "{text}");
    }
}
