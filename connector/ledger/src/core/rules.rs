//! Names the rules of the protocol at the places that keep them.
//!
//! `rule!(Name, condition)` is the condition. `rule!(Name, right; wrong)` is the right value. Only the simulator's build compiles
//! the other case, in which one rule is broken on purpose, so that a test can show the harm that the rule prevents.

/// Evaluates a rule of the protocol; see the module's documentation.
#[cfg(not(test))]
macro_rules! rule {
    ($rule:ident, $condition:expr) => {{ $condition }};
    ($rule:ident, $right:expr; $wrong:expr) => {{ $right }};
}

/// Evaluates a rule of the protocol, unless the simulator has broken the rule.
#[cfg(test)]
macro_rules! rule {
    ($rule:ident, $condition:expr) => {
        crate::core::sim::rules::is_broken(crate::core::sim::rules::Rule::$rule) || $condition
    };
    ($rule:ident, $right:expr; $wrong:expr) => {
        match crate::core::sim::rules::is_broken(crate::core::sim::rules::Rule::$rule) {
            true => $wrong,
            false => $right,
        }
    };
}
