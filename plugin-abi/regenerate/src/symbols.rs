//! The table of run-time symbols, from the functions and data that the headers declare.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::Signature;

use crate::headers::{Headers, generated_notice};

/// Functions whose name means different things in different versions, or that went away under another name.
/// The crate models them by hand (`variants.rs`), so the table does not offer them.
const MODELLED: &[&str] = &[
    "H5Dread_chunk",
    "H5Dread_chunk1",
    "H5Dread_chunk2",
    "H5Tdecode",
    "H5Tdecode1",
    "H5Tdecode2",
    "H5Iregister_type",
    "H5Iregister_type1",
    "H5Iregister_type2",
    "H5VL_native_register",
    "H5VLstart_lib_state",
    "H5VLfinish_lib_state",
    "H5VLopen_lib_context",
    "H5VLclose_lib_context",
];

/// Declared in the headers, but not for a connector: what plugins export themselves, and the mutex of
/// thread-safe builds.
const NOT_OURS: &[&str] = &["H5PLget_plugin_", "H5TS"];

/// Symbols that the first 1.14 releases lack, whose headers are not among those compared. From the `since`
/// notes of the 1.14.6 headers and the symbols that a 1.14.2 library exports.
const AFTER_1_14_0: &[&str] = &[
    "H5Eis_paused",
    "H5Epause_stack",
    "H5Eresume_stack",
    "H5FDread_from_selection",
    "H5FDread_vector_from_selection",
    "H5FDwrite_from_selection",
    "H5FDwrite_vector_from_selection",
    "H5Pget_actual_selection_io_mode",
    "H5Pget_modify_write_buf",
    "H5Pget_no_selection_io_cause",
    "H5Pget_relax_file_integrity_checks",
    "H5Pget_selection_io",
    "H5Pset_modify_write_buf",
    "H5Pset_relax_file_integrity_checks",
    "H5Pset_selection_io",
    "H5T_IEEE_F16BE_g",
    "H5T_IEEE_F16LE_g",
    "H5T_NATIVE_FLOAT16_g",
];

/// Parts of the library that are in some builds only, whatever its version.
const BUILD_CHOICES: &[&str] = &["H5FD_", "H5FDioc", "H5FDsubfiling", "H5Pset_fapl_", "H5Pget_fapl_"];

/// Of those, what every build has.
const ALWAYS_BUILT: &[&str] =
    &["H5Pset_fapl_core", "H5Pget_fapl_core", "H5Pset_fapl_sec2", "H5Pset_fapl_family", "H5Pset_fapl_log"];

pub fn source(sets: &[Headers]) -> String {
    let names: BTreeSet<&String> = sets.iter().flat_map(|s| s.functions.keys()).collect();
    let mut fields = Vec::new();
    let mut listed = Vec::new();
    for name in names {
        if MODELLED.contains(&name.as_str()) || NOT_OURS.iter().any(|p| name.starts_with(p)) {
            continue;
        }
        let Some(signature) = agreed_signature(sets, name) else {
            eprintln!("left out, declared differently: {name}");
            continue;
        };
        let ident = format_ident!("{name}");
        let pointer = pointer_type(signature);
        let is_required = required(sets, name);
        let (doc, ty) = if is_required {
            (format!(" `{name}`."), pointer)
        } else {
            (format!(" `{name}`: {}.", absence(sets, name)), quote!(Option<#pointer>))
        };
        fields.push(quote! { #[doc = #doc] pub #ident: #ty });
        listed.push(entry(name, is_required));
    }
    let ids = id_methods(sets);
    let (id_fields, id_methods) = (ids.fields, ids.methods);
    let (names, id_names) = (listed.concat(), ids.listed.concat());
    let (count, id_count) = (listed.len(), ids.listed.len());
    let tokens = quote! {
        use super::bindings::*;
        use crate::{BindError, Hdf5};
        use crate::resolve::{IdSymbol, Symbols};

        /// Functions of one libhdf5, each under its C name: `(lib.H5Tcopy)(id)`.
        #[repr(C)]
        pub struct Functions { #(#fields),* }

        /// One of each field, in their order; see [`Symbols::functions`].
        const FUNCTION_NAMES: &str = #names;

        impl Functions {
            pub(crate) fn bind(symbols: &Symbols<'_>) -> Result<Functions, BindError> {
                let found = symbols.functions::<#count>(FUNCTION_NAMES)?;
                // SAFETY: every field is a function pointer of the type that HDF5's headers declare for the symbol of that
                // name, and lies where its name is in the list. Those that may be null are options.
                Ok(unsafe { std::mem::transmute::<[*mut core::ffi::c_void; #count], Functions>(found) })
            }
        }

        /// Data symbols of one libhdf5 that hold an id.
        #[repr(C)]
        pub(crate) struct Ids { #(#id_fields),* }

        /// One of each field, in their order; see [`Symbols::ids`].
        const ID_NAMES: &str = #id_names;

        impl Ids {
            pub(crate) fn bind(symbols: &Symbols<'_>) -> Result<Ids, BindError> {
                let found = symbols.ids::<#id_count>(ID_NAMES)?;
                // SAFETY: every field is a pointer to an id, and lies where its name is in the list. Those that may be null
                // are options.
                Ok(unsafe { std::mem::transmute::<[*mut core::ffi::c_void; #id_count], Ids>(found) })
            }
        }

        impl Hdf5 { #(#id_methods)* }
    };
    format!("{}{tokens}", generated_notice())
}

/// The signature that all header sets which declare `name` agree on.
fn agreed_signature<'a>(sets: &'a [Headers], name: &str) -> Option<&'a Signature> {
    let mut found = sets.iter().filter_map(|s| s.functions.get(name));
    let first = found.next()?;
    let text = comparable(first);
    found.all(|s| comparable(s) == text).then_some(first)
}

/// Parameter names are no part of a C signature.
fn comparable(signature: &Signature) -> String {
    let types: Vec<String> = signature
        .inputs
        .iter()
        .map(|a| match a {
            syn::FnArg::Typed(t) => t.ty.to_token_stream().to_string(),
            syn::FnArg::Receiver(_) => String::new(),
        })
        .collect();
    format!("{types:?}{:?}{}", signature.variadic.is_some(), signature.output.to_token_stream())
        .replace("HDoff_t", "off_t")
        .replace("hbool_t", "bool")
        .replace("herr_t", "core :: ffi :: c_int")
}

fn pointer_type(signature: &Signature) -> TokenStream {
    let inputs = signature.inputs.iter();
    let output = &signature.output;
    if signature.variadic.is_some() {
        quote! { unsafe extern "C" fn(#(#inputs),*, ...) #output }
    } else {
        quote! { unsafe extern "C" fn(#(#inputs),*) #output }
    }
}

fn required(sets: &[Headers], name: &str) -> bool {
    let everywhere = sets.iter().all(|s| s.functions.contains_key(name) && !s.deprecated.contains(name));
    let choice = BUILD_CHOICES.iter().any(|p| name.starts_with(p));
    everywhere && !AFTER_1_14_0.contains(&name) && (!choice || ALWAYS_BUILT.contains(&name))
}

/// Why a symbol may be missing, for its doc comment.
fn absence(sets: &[Headers], name: &str) -> String {
    let missing: Vec<&str> =
        sets.iter().filter(|s| !s.functions.contains_key(name)).map(|s| s.name.as_str()).collect();
    if !missing.is_empty() {
        format!("not in {}", missing.join(", "))
    } else if AFTER_1_14_0.contains(&name) {
        "not in every HDF5 1.14".to_owned()
    } else if sets.iter().any(|s| s.deprecated.contains(name)) {
        "deprecated, a build may leave it out".to_owned()
    } else {
        "a build may leave it out".to_owned()
    }
}

/// How the list has a symbol: terminated as the linker wants it, with a mark in front if it may be missing.
fn entry(name: &str, is_required: bool) -> String {
    format!("{}{name}\0", if is_required { "" } else { "?" })
}

struct IdCode {
    fields: Vec<TokenStream>,
    listed: Vec<String>,
    methods: Vec<TokenStream>,
}

fn id_methods(sets: &[Headers]) -> IdCode {
    let mut in_sets: BTreeMap<&String, usize> = BTreeMap::new();
    for name in sets.iter().flat_map(|s| &s.ids) {
        *in_sets.entry(name).or_default() += 1;
    }
    let mut code = IdCode { fields: vec![], listed: vec![], methods: vec![] };
    for (name, count) in in_sets {
        let ident = format_ident!("{name}");
        if count == sets.len() && !AFTER_1_14_0.contains(&name.as_str()) {
            let doc = format!(" Value of `{name}` now.");
            code.fields.push(quote! { #ident: IdSymbol });
            code.listed.push(entry(name, true));
            code.methods
                .push(quote! { #[doc = #doc] pub fn #ident(&self) -> hid_t { self.ids.#ident.read() } });
        } else {
            let missing: Vec<&str> =
                sets.iter().filter(|s| !s.ids.contains(name)).map(|s| s.name.as_str()).collect();
            let late = if missing.is_empty() { "every HDF5 1.14".to_owned() } else { missing.join(", ") };
            let doc = format!(" Value of `{name}` now; not in {late}.");
            code.fields.push(quote! { #ident: Option<IdSymbol> });
            code.listed.push(entry(name, false));
            code.methods.push(quote! {
                #[doc = #doc]
                pub fn #ident(&self) -> Option<hid_t> { self.ids.#ident.as_ref().map(IdSymbol::read) }
            });
        }
    }
    code
}
