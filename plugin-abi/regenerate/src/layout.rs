//! The list of sizes, offsets and values that bindings and C headers must agree on, written twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use quote::ToTokens;
use syn::{Item, Type};

use crate::headers::{Headers, generated_notice};

/// Types that the bindings define for themselves, or that C names otherwise.
const NOT_HDF5: &[&str] = &["FILE", "time_t", "off_t"];

/// One thing to compare.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    /// Size and alignment of a named type.
    Type(String),
    /// Offset and size of a field: the type, the path in Rust, the path in C, the field's Rust type.
    Field {
        owner: String,
        rust: String,
        c: String,
        ty: String,
    },
    /// An integer constant; the flag tells whether it is a newtype.
    Number {
        name: String,
        newtype: bool,
    },
    Real(String),
    Text(String),
}

impl Entry {
    /// What identifies the entry, in the output of both programs.
    fn key(&self) -> String {
        match self {
            Entry::Type(name) => format!("type {name}"),
            Entry::Field { owner, c, .. } => format!("field {owner}.{c}"),
            Entry::Number { name, .. } | Entry::Real(name) | Entry::Text(name) => format!("value {name}"),
        }
    }
}

/// The list as constants that the compiler computes from the bindings.
pub fn rust(sets: &[Headers]) -> String {
    let (mut types, mut fields, mut numbers, mut reals, mut texts) =
        (String::new(), String::new(), String::new(), String::new(), String::new());
    for entry in entries(&sets[0]) {
        let key = entry.key();
        match entry {
            Entry::Type(name) => writeln!(types, "({key:?}, size_of::<{name}>(), align_of::<{name}>()),"),
            Entry::Field { owner, rust, ty, .. } => {
                writeln!(fields, "({key:?}, offset_of!({owner}, {rust}), size_of::<{ty}>()),")
            }
            Entry::Number { name, newtype } => {
                let inner = if newtype { ".0" } else { "" };
                writeln!(numbers, "({key:?}, {name}{inner} as i64),")
            }
            Entry::Real(name) => writeln!(reals, "({key:?}, {name}),"),
            Entry::Text(name) => writeln!(texts, "({key:?}, {name}),"),
        }
        .expect("a String takes any text");
    }
    format!(
        "{}//! Sizes, offsets and values of the bindings.\n
        use std::ffi::CStr;
        use std::mem::offset_of;
        use h5lake_plugin_abi::bindings::*;\n
        /// Key, size and alignment of each type.
        pub const TYPES: &[(&str, usize, usize)] = &[{types}];\n
        /// Key, offset and size of each field.
        pub const FIELDS: &[(&str, usize, usize)] = &[{fields}];\n
        /// Key and value of each integer constant.
        pub const NUMBERS: &[(&str, i64)] = &[{numbers}];\n
        /// Key and value of each floating-point constant.
        pub const REALS: &[(&str, f64)] = &[{reals}];\n
        /// Key and value of each text.
        pub const TEXTS: &[(&str, &CStr)] = &[{texts}];\n",
        generated_notice()
    )
}

/// The list as a C program. Entries that some header set lacks are guarded by its version.
pub fn c(sets: &[Headers]) -> String {
    let known: Vec<(&Headers, BTreeSet<String>)> =
        sets.iter().map(|s| (s, entries(s).iter().map(Entry::key).collect())).collect();
    let mut body = String::new();
    for entry in entries(&sets[0]) {
        let key = entry.key();
        let line = match &entry {
            Entry::Type(name) => format!("TYPE({name})"),
            Entry::Field { owner, c, .. } => format!("FIELD({owner}, {c})"),
            Entry::Number { name, .. } => format!("NUMBER({name})"),
            Entry::Real(name) => format!("REAL({name})"),
            Entry::Text(name) => format!("TEXT({name})"),
        };
        let guard = guard(&known, &key);
        match guard {
            Some(condition) => writeln!(body, "#if {condition}\n    {line}\n#endif"),
            None => writeln!(body, "    {line}"),
        }
        .expect("a String takes any text");
    }
    format!("/* {}*/\n{C_HEAD}{body}{C_TAIL}", generated_notice().trim_start_matches("// "))
}

const C_HEAD: &str = r#"
/* Prints sizes, offsets and values as a C compiler sees them in one version's headers. */
#include <stdalign.h>
#include <stddef.h>
#include <stdio.h>

#include "wrapper.h"
#include "newer.h"

#define TYPE(t) printf("type %s %zu %zu\n", #t, sizeof(t), alignof(t));
#define FIELD(t, f) printf("field %s.%s %zu %zu\n", #t, #f, offsetof(t, f), sizeof(((t *)0)->f));
#define NUMBER(n) printf("value %s %lld\n", #n, (long long)(n));
#define REAL(n) printf("value %s %g\n", #n, (double)(n));
#define TEXT(n) printf("value %s %s\n", #n, n);

int
main(void)
{
"#;

const C_TAIL: &str = "    newer();
    return 0;
}
";

/// The preprocessor condition under which `key` is there; `None` if every set has it.
fn guard(known: &[(&Headers, BTreeSet<String>)], key: &str) -> Option<String> {
    let mut has: BTreeMap<(u32, u32, u32), bool> = BTreeMap::new();
    for (set, keys) in known {
        has.insert(set.version, keys.contains(key));
    }
    if has.values().all(|there| *there) {
        return None;
    }
    let at_least = |v: &(u32, u32, u32)| format!("H5_VERSION_GE({}, {}, {})", v.0, v.1, v.2);
    let mut parts = Vec::new();
    let first = has.iter().find(|(_, there)| **there).map(|(v, _)| v)?;
    if has.keys().next() != Some(first) {
        parts.push(at_least(first));
    }
    let gone = has.iter().find(|(v, there)| *v > first && !**there).map(|(v, _)| v);
    if let Some(gone) = gone {
        parts.push(format!("!{}", at_least(gone)));
    }
    Some(parts.join(" && "))
}

fn entries(set: &Headers) -> Vec<Entry> {
    let bodies = bodies(&set.items);
    let mut all = Vec::new();
    for item in &set.items {
        match item {
            Item::Struct(s) => add_type(&s.ident.to_string(), &bodies, &mut all),
            Item::Union(u) => add_type(&u.ident.to_string(), &bodies, &mut all),
            Item::Type(t) if !skipped(&t.ident.to_string()) => all.push(Entry::Type(t.ident.to_string())),
            Item::Const(c) if c.ident != "_" => all.push(constant(c, &bodies)),
            _ => {}
        }
    }
    all.sort();
    all.dedup_by_key(|e| e.key());
    all
}

/// Named fields of every struct and union; a newtype (an enum in C) has none.
type Bodies = BTreeMap<String, Vec<(String, Type)>>;

fn bodies(items: &[Item]) -> Bodies {
    let mut found = Bodies::new();
    for item in items {
        let (name, fields) = match item {
            Item::Struct(s) => (&s.ident, s.fields.iter().collect::<Vec<_>>()),
            Item::Union(u) => (&u.ident, u.fields.named.iter().collect()),
            _ => continue,
        };
        let named = fields.iter().filter_map(|f| Some((f.ident.as_ref()?.to_string(), f.ty.clone())));
        found.insert(name.to_string(), named.collect());
    }
    found
}

fn skipped(name: &str) -> bool {
    NOT_HDF5.contains(&name) || name.starts_with('_') || name.contains("__bindgen")
}

fn add_type(name: &str, bodies: &Bodies, all: &mut Vec<Entry>) {
    // A type that C only declares has no size there.
    if skipped(name) || bodies[name].iter().any(|(field, _)| field == "_unused") {
        return;
    }
    all.push(Entry::Type(name.to_owned()));
    add_fields(name, name, "", "", bodies, all);
}

/// Adds the fields of `ty`, which lies at the given paths in `owner`, and of unnamed types within it.
fn add_fields(owner: &str, ty: &str, rust: &str, c: &str, bodies: &Bodies, all: &mut Vec<Entry>) {
    for (field, field_type) in &bodies[ty] {
        let rust = join(rust, field);
        // bindgen appends an underscore to Rust's keywords, and names what is unnamed in C.
        let unnamed = field.starts_with("__bindgen_anon");
        let c = if unnamed { c.to_owned() } else { join(c, field.strip_suffix('_').unwrap_or(field)) };
        let inner = field_type.to_token_stream().to_string();
        if !unnamed {
            let (owner, rust, c) = (owner.to_owned(), rust.clone(), c.clone());
            all.push(Entry::Field { owner, rust, c, ty: inner.clone() });
        }
        if inner.contains("__bindgen_ty") && bodies.contains_key(&inner) {
            add_fields(owner, &inner, &rust, &c, bodies, all);
        }
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn constant(c: &syn::ItemConst, bodies: &Bodies) -> Entry {
    let name = c.ident.to_string();
    let ty = c.ty.to_token_stream().to_string();
    if ty.contains("CStr") {
        Entry::Text(name)
    } else if ty == "f64" {
        Entry::Real(name)
    } else {
        Entry::Number { name, newtype: bodies.contains_key(&ty) }
    }
}
