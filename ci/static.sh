#!/bin/sh
# Builds one `ampe` for Linux that needs no library of the system's, and says where it is.
set -eu
cd "$(dirname "$0")/.."
target=$(uname -m)-unknown-linux-musl
if ! rustup target list --installed | grep -qx "$target"; then
    rustup target add "$target" || {
        echo "skipped: the target $target cannot be had"
        exit 0
    }
fi
# What of C is in it needs no C library's headers, so this system's compiler does.
if ! command -v "$(uname -m)-linux-musl-gcc" >/dev/null; then
    variable=CC_$(echo "$target" | tr - _)
    eval "export $variable=\${$variable:-cc}"
fi
cargo build --release -p ampe-cli --target "$target"
built=target/$target/release/ampe
if ldd "$built" 2>/dev/null | grep -q '=>'; then
    echo "$built needs libraries of the system's:" >&2
    ldd "$built" >&2
    exit 1
fi
"$built" --version
echo "$built"
