//! Has the linker put the functions side by side that each program needs: src/startup.ld says which, and tools/startup-functions why.

fn main() {
    println!("cargo:rerun-if-changed=src/startup.ld");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-T,{}/src/startup.ld", env!("CARGO_MANIFEST_DIR"));
}
