#!/usr/bin/env bash
# Runs tests as machines that this one is not: NEON's vectors in an emulator, WebAssembly's in Node.js, Windows in Wine.
#
#     scripts/other_targets.sh (neon | simd128 | windows) [ARGUMENTS OF cargo test]
#
# Without arguments these are the tests of top5-kernels. CONTRIBUTING.md says where Debian's packages are new enough.
set -euo pipefail

missing=()
program() {
    command -v "$1" >/dev/null || missing+=("$1 (Debian: $2)")
}
library() {
    [ -d "$(rustc --print target-libdir --target "$1")" ] ||
        missing+=("the standard library of $1 (rustup target add $1; Debian: $2)")
}

scripts=$(cd "$(dirname "$0")" && pwd)
# rust-toolchain.toml decides which rustc answers.
cd "$scripts/.."
vectors=${1-}
shift || true
case $vectors in
neon)
    target=aarch64-unknown-linux-gnu
    library $target "libstd-rust-dev:arm64"
    program aarch64-linux-gnu-gcc "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    program qemu-aarch64 "qemu-user"
    runner='"qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"'
    linker=aarch64-linux-gnu-gcc
    flags=+neon
    ;;
simd128)
    target=wasm32-wasip1
    library $target "libstd-rust-dev-wasm32"
    program node "nodejs"
    # Loop unrolling ends Node.js 24 and 25 with SIGFPE; code that is replaced while it runs has ended 20 with SIGSEGV.
    runner="\"node\", \"--no-warnings\", \"--no-wasm-loop-unrolling\", \"--no-wasm-dynamic-tiering\", \"$scripts/wasi.mjs\""
    # rustup brings a linker of its own.
    linker=$(echo "$(rustc --print sysroot)"/lib/rustlib/*/bin/rust-lld)
    if [ ! -x "$linker" ]; then
        linker=wasm-ld
        program $linker "lld"
    fi
    flags=+simd128
    ;;
windows)
    target=x86_64-pc-windows-gnu
    library $target "libstd-rust-dev-windows"
    linker=x86_64-w64-mingw32-gcc
    program $linker "gcc-mingw-w64-x86-64"
    program wine "wine wine64"
    runner='"wine"'
    flags=
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "$scripts/other_targets.sh" >&2
    exit 2
    ;;
esac
if [ ${#missing[@]} -gt 0 ]; then
    printf 'missing: %s\n' "${missing[@]}" >&2
    exit 1
fi
if [ "$vectors" = windows ]; then
    # Rust asks this library for random numbers, and Wine has it from version 9 on.
    beside=$PWD/target/wine
    mkdir -p "$beside"
    $linker -shared -o "$beside/bcryptprimitives.dll" "$scripts/bcryptprimitives.c" -ladvapi32
    export WINEPREFIX=$beside/prefix WINEPATH=$beside WINEDEBUG=-all
fi
if [ $# = 0 ]; then
    set -- --package top5-kernels
fi
exec cargo test --target $target \
    --config "target.$target.runner = [$runner]" \
    --config "target.$target.linker = \"$linker\"" \
    ${flags:+--config "target.$target.rustflags = [\"-C\", \"target-feature=$flags\"]"} \
    "$@"
