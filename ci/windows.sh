#!/usr/bin/env bash
# Builds the workspace for Windows and runs all of its tests under Wine.
#
#   bash ci/windows.sh [debug|release|both|lints]
#
# `lints` runs clippy instead. Ends with status 3 if this machine cannot build for Windows, or has no
# Wine, and neither can be installed.
#
# Goes one of two ways, and says which. Where the compiler in use knows x86_64-pc-windows-gnu (by
# `rustup target add`), with a mingw-w64 linker and Wine as they are installed. Otherwise on Debian
# 12, where packages hold a compiler with the sources of its standard library, a linker, and Wine 8:
# what is missing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-pc-windows-gnu
case "${1:-debug}" in
    debug | release) profiles=("${1:-debug}") ;;
    both) profiles=(debug release) ;;
    lints) profiles=() ;;
    *) echo 'usage: bash ci/windows.sh [debug|release|both|lints]' >&2 && exit 2 ;;
esac

log=$(mktemp)
repeated=
export CARGO_TERM_COLOR=never
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/windows}
export WINEPREFIX=${WINEPREFIX:-$CARGO_TARGET_DIR/wine} WINEDEBUG=-all
# A trace takes seconds under Wine, and hundreds of tests panic on purpose. What traces would need takes
# as long to link again as everything else.
export RUST_BACKTRACE=0 CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_RELEASE_DEBUG=false CARGO_INCREMENTAL=0

count() { awk -v word="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i ~ "^" word) n += $(i - 1) } END { print n + 0 }' "$log"; }

summary() {
    local status=$?
    local reasons skipped_here
    reasons=$(grep -aohE 'skipped: .*|^test .* \.\.\. ignored(, .*)?$' "$log" | tr -d '\r' | sort | uniq -c || true)
    skipped_here=$(grep -aohE 'skipped: ' "$log" | wc -l)
    [ -z "$reasons" ] || printf '\nskipped, with reasons:\n%s\n' "$reasons"
    [ "$status" -eq 0 ] || printf '\nfailed: the step above ended with status %s\n' "$status"
    [ -z "$repeated" ] || printf '\nfailed, and passed when repeated:\n%s' "$repeated"
    printf '\nwindows: %s passed, %s failed, %s skipped\n' \
        "$(count passed)" "$(count failed)" $(($(count ignored) + skipped_here))
    rm -f "$log"
    exit "$status"
}
trap summary EXIT

step() {
    local name=$1 start=$SECONDS
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    local outcome=0
    "$@" 2>&1 | tee -a "$log" || outcome=$?
    printf '== %s took %s s\n' "$name" $((SECONDS - start))
    return "$outcome"
}

knows_target() {
    [ -d "$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/$target/lib" ] 2>/dev/null &&
        command -v x86_64-w64-mingw32-gcc >/dev/null && find_wine
}

find_wine() {
    local candidate
    for candidate in /usr/lib/wine/wine64 wine64 wine; do
        command -v "$candidate" >/dev/null && wine=$(command -v "$candidate") && return
    done
    return 1
}

packages='rustc-web rust-web-src gcc-mingw-w64-x86-64 binutils-mingw-w64-i686 wine64'
debian() {
    command -v cargo >/dev/null || packages="$packages cargo-web"
    [ ${#profiles[@]} -gt 0 ] || packages="$packages rust-web-clippy"
    # shellcheck disable=SC2086
    if ! dpkg --status $packages >/dev/null 2>&1; then
        local sudo=
        [ "$(id -u)" -eq 0 ] || sudo=sudo
        # shellcheck disable=SC2086
        if ! step 'packages' $sudo apt-get update --quiet ||
            ! step 'packages' $sudo env DEBIAN_FRONTEND=noninteractive \
                apt-get install --yes --quiet --no-install-recommends $packages; then
            echo "windows: these packages cannot be installed: $packages" >&2
            exit 3
        fi
    fi
    find_wine
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
    export CARGO_UNSTABLE_BUILD_STD=std,panic_unwind,test
}

# Rust's standard library takes random numbers from a DLL that Wine 8 does not have: without it every
# program ends at once, with code 53 and without a word.
random_numbers() {
    local directory=$WINEPREFIX/drive_c/windows/system32
    [ ! -e "$directory/bcryptprimitives.dll" ] || return 0
    cat >"$CARGO_TARGET_DIR/random.c" <<'C'
unsigned char __stdcall SystemFunction036(void *buffer, unsigned long length);
__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *buffer, unsigned long long length) {
    while (length > 0) {
        unsigned long part = length > 1 << 20 ? 1 << 20 : (unsigned long)length;
        if (!SystemFunction036(buffer, part)) return 0;
        buffer += part;
        length -= part;
    }
    return 1;
}
C
    x86_64-w64-mingw32-gcc -shared -O2 -o "$directory/bcryptprimitives.dll" \
        "$CARGO_TARGET_DIR/random.c" -ladvapi32
}

prepare_wine() {
    mkdir -p "$CARGO_TARGET_DIR"
    [ -e "$WINEPREFIX/system.reg" ] || "$wine" wineboot --init >/dev/null 2>&1
    random_numbers
    # Else it ends with each test program, and the next one may meet it in the act.
    local server
    server=$(find_server)
    [ -z "$server" ] || "$server" --persistent=60 >/dev/null 2>&1 || true
    "$wine" --version
}

find_server() {
    local candidate
    for candidate in "$(dirname "$wine")"/wineserver{64,} wineserver; do
        command -v "$candidate" && return
    done
    true
}

# Runs all test programs, so that the closing line counts all. Wine cannot always start a process, and
# does not always say so: a program that fails is run once more, and named if it passes then.
tests() {
    local profile=$1 start=$((1 + $(wc -l <"$log"))) program
    shift
    ! step "tests in $profile" cargo test --target $target --workspace --tests --locked \
        --no-fail-fast "$@" || return 0
    local failed
    failed=$(tail -n "+$start" "$log" | sed -n 's/^    `\(-p .*\)`$/\1/p')
    [ -n "$failed" ] || return 1
    while read -r program; do
        # shellcheck disable=SC2086
        step "again, in $profile" cargo test --target $target --locked "$@" $program || return 1
        repeated+="$program, in $profile"$'\n'
    done <<<"$failed"
}

lints() {
    local wrapper=()
    # Debian's clippy comes without its cargo command.
    [ -z "${CARGO_UNSTABLE_BUILD_STD:-}" ] ||
        wrapper=(env RUSTC_WORKSPACE_WRAPPER=/usr/bin/clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__)
    local check=clippy
    [ ${#wrapper[@]} -eq 0 ] || check=check
    step 'lints' "${wrapper[@]}" cargo $check --target $target --workspace --all-targets --locked
}

# A command for this system beside the one for Windows: what AMPE_COMMAND says, or built anew.
exchange() {
    local profile=$1 here=${AMPE_COMMAND:-$CARGO_TARGET_DIR/$1/ampe}
    shift
    [ -n "${AMPE_COMMAND:-}" ] || step "command for this system in $profile" \
        env --unset CARGO_UNSTABLE_BUILD_STD cargo build --package ampe-cli --locked "$@"
    step "exchange in $profile" bash ci/exchange.sh "$here" \
        "$wine" "$CARGO_TARGET_DIR/$target/$profile/ampe.exe"
}

wine=
if knows_target; then
    echo "windows: with the compiler's own target $target"
elif [ -r /etc/debian_version ] && command -v apt-get >/dev/null; then
    echo 'windows: with the compiler of Debian packages, which builds its standard library first'
    debian
else
    echo "windows: run \`rustup target add $target\`, and install mingw-w64 and Wine" >&2
    exit 3
fi
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=$wine
step 'Wine' prepare_wine

if [ ${#profiles[@]} -eq 0 ]; then
    lints
    exit
fi
status=0
for profile in "${profiles[@]}"; do
    flags=()
    [ "$profile" = debug ] || flags=(--release)
    tests "$profile" "${flags[@]}" || status=$?
    step "command in $profile" cargo build --target $target --package ampe-cli --locked "${flags[@]}"
    exchange "$profile" "${flags[@]}" || status=$?
done
# Layouts differ with the width of a pointer, and are asserted when they are compiled.
narrow=i686-pc-windows-gnu
if [ -n "${CARGO_UNSTABLE_BUILD_STD:-}" ] || "${RUSTC:-rustc}" --print target-libdir --target $narrow | xargs test -d; then
    step '32-bit Windows' cargo check --target $narrow --workspace --locked || status=$?
else
    echo "skipped: 32-bit Windows: run \`rustup target add $narrow\`" | tee -a "$log"
fi
exit "$status"
