#!/usr/bin/env bash
# Builds the workspace for Windows and runs all of its tests under Wine.
#
#   bash ci/windows.sh [debug|release|both|lints|dist]
#   AMPE_ONE_PROCESSOR=1 bash ci/windows.sh both
#
# Wine's server takes part in each call of its processes: on one processor that takes a fraction of the
# time, on all of them more can happen at once. Whatever else runs in this WINEPREFIX is ended; without one
# it is a directory below target.
#
# `lints` runs clippy instead. `dist` builds ampe.exe for users, 64 and 32 bits wide, below target/windows/dist, sees
# that it needs no library that Windows does not have, and asks Wine's kernel with it. Ends with status 3 if this machine cannot build for Windows, or has no
# Wine, and neither can be installed.
#
# Goes one of two ways, and says which: with the compiler in use, if that knows the target or rustup can
# add it; else, on Debian 12, with the compiler of a package, which builds the standard library first.
# A linker (mingw-w64) and Wine are used as they are, and on Debian installed where there are none.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-pc-windows-gnu
narrow=i686-pc-windows-gnu
case "${1:-debug}" in
    debug | release) profiles=("${1:-debug}") ;;
    both) profiles=(debug release) ;;
    lints | dist) profiles=() ;;
    *) echo 'usage: bash ci/windows.sh [debug|release|both|lints|dist]' >&2 && exit 2 ;;
esac

log=$(mktemp)
repeated=
ahead=
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
    skipped_here=$(grep -aohE 'skipped: ' "$log" | wc -l || true)
    [ -z "$reasons" ] || printf '\nskipped, with reasons:\n%s\n' "$reasons"
    [ "$status" -eq 0 ] || printf '\nfailed: the step above ended with status %s\n' "$status"
    [ -z "$repeated" ] || printf '\nfailed, and passed when repeated:\n%s' "$repeated"
    local failed
    failed=$(count failed)
    [ "$status" -ne 0 ] || [ "$failed" -eq 0 ] || failed+=' once'
    printf '\nwindows: %s passed, %s failed, %s skipped\n' \
        "$(count passed)" "$failed" $(($(count ignored) + skipped_here))
    rm -f "$log"
    [ -z "$ahead" ] || kill "$ahead" 2>/dev/null || true
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
    local compiler=${RUSTC:-rustc}
    if [ -z "${RUSTC:-}" ] && command -v rustup >/dev/null; then
        rustup target add $target $narrow || true
    fi
    command -v "$compiler" >/dev/null && [ -d "$("$compiler" --print sysroot)/lib/rustlib/$target/lib" ]
}

find_wine() {
    local candidate
    for candidate in /usr/lib/wine/wine64 wine64 wine; do
        command -v "$candidate" >/dev/null && wine=$(command -v "$candidate") && return
    done
    return 1
}

# Installs what is not there of these Debian packages.
install() {
    dpkg --status "$@" >/dev/null 2>&1 && return
    local sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    if ! step 'packages' $sudo apt-get update --quiet ||
        ! step 'packages' $sudo env DEBIAN_FRONTEND=noninteractive \
            apt-get install --yes --quiet --no-install-recommends "$@"; then
        echo "windows: these packages cannot be installed: $*" >&2
        exit 3
    fi
}

is_debian() { [ -r /etc/debian_version ] && command -v apt-get >/dev/null; }

linker_and_wine() {
    if is_debian; then
        local packages=()
        command -v x86_64-w64-mingw32-gcc >/dev/null || packages+=(gcc-mingw-w64-x86-64)
        command -v i686-w64-mingw32-gcc >/dev/null || packages+=(gcc-mingw-w64-i686)
        find_wine || packages+=(wine64)
        [ ${#packages[@]} -eq 0 ] || install "${packages[@]}"
    fi
    if ! command -v x86_64-w64-mingw32-gcc >/dev/null || ! find_wine; then
        echo 'windows: install mingw-w64 and Wine' >&2
        exit 3
    fi
}

debian_compiler() {
    local packages=(rustc-web rust-web-src)
    command -v cargo >/dev/null || packages+=(cargo-web ca-certificates)
    [ ${#profiles[@]} -gt 0 ] || packages+=(rust-web-clippy)
    install "${packages[@]}"
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
    export CARGO_UNSTABLE_BUILD_STD="std panic_unwind test"
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
    "$wine" --version
}

find_server() {
    local candidate
    for candidate in "$(dirname "$wine")"/wineserver{64,} wineserver; do
        command -v "$candidate" && return
    done
    true
}

# Wine is slow enough with as many tests at a time as there are processors.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(getconf _NPROCESSORS_ONLN)}

# The server stays for a minute: else it ends with each test program, and the next one may meet it in
# the act. Wine's services are started at once: else the first test program would, and they would keep
# its output open as long.
restart_server() {
    local server processor
    local -a on_one=() limit=()
    if [ -n "${AMPE_ONE_PROCESSOR:-}" ] && command -v taskset >/dev/null; then
        processor=$(taskset --cpu-list --pid $$ | sed 's/.*: //; s/[-,].*//')
        [ -z "$processor" ] || on_one=(taskset --cpu-list "$processor")
    fi
    # A test program that hangs fails in time for the others.
    ! command -v timeout >/dev/null || limit=(timeout --kill-after=20 900)
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER="${limit[*]:+${limit[*]} }${on_one[*]:+${on_one[*]} }$wine"
    server=$(find_server)
    if [ -n "$server" ]; then
        "$server" --kill >/dev/null 2>&1 || true
        "$server" --wait
        "${on_one[@]}" "$server" --persistent=60 >/dev/null 2>&1 || true
    fi
    "${on_one[@]}" "$wine" cmd /c exit >/dev/null 2>&1 || true
}

# The processors that Wine leaves to others, as taskset wants them; nothing where it has all, or there are no others.
processors_left() {
    local mine first last
    [ -n "${AMPE_ONE_PROCESSOR:-}" ] && command -v taskset >/dev/null || return 0
    mine=$(taskset --cpu-list --pid $$ | sed 's/.*: //')
    first=${mine%%[-,]*} last=${mine##*[-,]}
    [ "$last" -le "$first" ] || echo "$((first + 1))-$last"
}

# Builds on them what is run next, while Wine runs what is built. If it fails, that is said when its turn comes.
build_ahead() {
    local left
    left=$(processors_left)
    [ -n "$left" ] || return 0
    echo "beside that, on processor $left: the build in $1"
    shift
    taskset --cpu-list "$left" nice cargo test --target $target --workspace --tests --locked --no-run "$@" \
        >"$CARGO_TARGET_DIR/ahead" 2>&1 &
    ahead=$!
}

# Runs all test programs, so that the closing line counts all. Wine cannot always start a process, and
# does not always say so: a program that fails is run once more, and named if it passes then.
tests() {
    local profile=$1 start=$((1 + $(wc -l <"$log"))) program
    shift
    [ -z "$ahead" ] || wait "$ahead" || true
    ahead=
    rm -f "$CARGO_TARGET_DIR/$target/$profile/ampe.exe" # so that no other than this one is used
    step "build in $profile" cargo test --target $target --workspace --tests --locked --no-run "$@" ||
        return 1
    restart_server
    [ "$profile" = "${profiles[-1]}" ] || build_ahead "${profiles[-1]}" --release
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
    # Debian's clippy comes without its cargo command, and takes `const` in a thread's variable for none
    # where the standard library is built along.
    [ -z "${CARGO_UNSTABLE_BUILD_STD:-}" ] ||
        wrapper=(env RUSTC_WORKSPACE_WRAPPER=/usr/bin/clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__-Aclippy::missing_const_for_thread_local__CLIPPY_HACKERY__)
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

# The libraries that a program asks Windows for.
imports() { x86_64-w64-mingw32-objdump --private-headers "$1" | sed -n 's/.*DLL Name: //p' | tr '[:upper:]' '[:lower:]' | sort -u; }

# Every Windows since 8.1 has these, and none of them comes with a compiler.
of_windows='advapi32|bcrypt|bcryptprimitives|kernel32|kernelbase|msvcrt|ntdll|shell32|user32|userenv|ws2_32|api-ms-win-(core|crt)-[a-z0-9-]*'

needs_nothing() {
    local found
    found=$(imports "$1")
    printf '%s asks Windows for: %s\n' "$1" "$(paste -sd ' ' <<<"$found")"
    [ -n "$found" ] || { echo 'its imports cannot be read' && return 1; }
    ! grep -vxE "($of_windows)\.(dll|drv)" <<<"$found" || { echo 'these have to be beside it' && return 1; }
}

# Whether a program for this target can be linked here, or why not.
can_link() {
    command -v "$2" >/dev/null || { echo "there is no $2" && return 1; }
    [ -n "${CARGO_UNSTABLE_BUILD_STD:-}" ] ||
        [ -d "$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/$1/lib" ] ||
        { echo "the compiler does not know $1: run \`rustup target add $1\`" && return 1; }
}

# Builds the command for one target, if that can be done here.
dist() {
    local to=$CARGO_TARGET_DIR/dist built width=$1 linker=$2 reason
    if ! reason=$(can_link "$width" "$linker"); then
        echo "skipped: ampe.exe for $width: $reason" | tee -a "$log"
        return 0
    fi
    mkdir -p "$to"
    step "ampe.exe for $width" env RUSTFLAGS='-C target-feature=+crt-static -C strip=symbols' \
        cargo build --target "$width" --package ampe-cli --locked --release || return 1
    built=$to/ampe-${width%%-*}.exe
    cp "$CARGO_TARGET_DIR/$width/release/ampe.exe" "$built"
    step "what it needs" needs_nothing "$built" || return 1
    ls -l "$built"
}

# Asks Wine's kernel with each, and leaves what it says beside them. Debian's Wine runs no programs of 32 bits without
# further packages.
verify() {
    local program=$CARGO_TARGET_DIR/dist/ampe-$1 report
    report=${program/ampe-/verify-}
    [ -e "$program.exe" ] || return 0
    # One that cannot run them may say nothing, and end with 0.
    if [[ $("$wine" "$program.exe" --version 2>/dev/null) != ampe* ]]; then
        echo "skipped: this Wine does not run $program.exe" | tee -a "$log"
        return 0
    fi
    step "what Wine answers to $1" "$wine" "$program.exe" doctor --verify --trace "$report.trace" || return 1
    "$wine" "$program.exe" doctor --verify --json >"$report.json" || return 1
    ls -l "$report".*
}

wine=
if knows_target; then
    echo "windows: with the compiler's own target $target"
elif is_debian; then
    echo 'windows: with the compiler of Debian packages, which builds its standard library first'
    debian_compiler
else
    echo "windows: run \`rustup target add $target\`" >&2
    exit 3
fi
linker_and_wine
step 'Wine' prepare_wine

if [ "${1:-}" = dist ]; then
    dist $target x86_64-w64-mingw32-gcc
    dist $narrow i686-w64-mingw32-gcc
    restart_server
    verify x86_64
    verify i686
    exit
fi
if [ ${#profiles[@]} -eq 0 ]; then
    lints
    exit
fi
status=0
for profile in "${profiles[@]}"; do
    flags=()
    [ "$profile" = debug ] || flags=(--release)
    tests "$profile" "${flags[@]}" || status=$?
    exchange "$profile" "${flags[@]}" || status=$?
done
# Layouts differ with the width of a pointer, and are asserted when they are compiled.
if ! command -v i686-w64-mingw32-gcc >/dev/null; then
    echo 'skipped: 32-bit Windows: there is no i686-w64-mingw32-gcc' | tee -a "$log"
elif [ -n "${CARGO_UNSTABLE_BUILD_STD:-}" ] || "${RUSTC:-rustc}" --print target-libdir --target $narrow | xargs test -d; then
    step '32-bit Windows' cargo check --target $narrow --workspace --locked || status=$?
else
    echo "skipped: 32-bit Windows: run \`rustup target add $narrow\`" | tee -a "$log"
fi
exit "$status"
