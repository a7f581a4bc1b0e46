#!/usr/bin/env bash
# Counts what a small message costs the engine alone, there and back without sockets and threads, in
# instructions: callgrind's figure is the same each time, so a bound can be kept where times swing. Installs
# valgrind where it can. Ends with 3 where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
# Instructions for a message of 64 bytes that is received, dropped, built, posted and sent. What the compiler makes of
# the same source differs by up to a twentieth with the place in which it is built: 1,231 to 1,333 were seen.
most=${AMPE_INSTRUCTIONS:-1400}

if ! command -v valgrind >/dev/null; then
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo='sudo -n'
    if ! { $sudo apt-get update --quiet && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet \
        --no-install-recommends valgrind; } >/dev/null 2>&1; then
        echo 'there is no valgrind, and none could be installed'
        exit 3
    fi
fi
# Of all the workspace, as its tests in release are built: alone, with fewer features, it would be built once more.
tests=$(cargo test --workspace --release --lib --no-run --locked 2>&1 | sed -n 's/.*Executable.*(\(.*\/ampe-[0-9a-f]*\))$/\1/p')
[ -x "$tests" ] || { echo 'the tests were not built'; exit 1; }
out=$(mktemp)
trap 'rm -f "$out"' EXIT
valgrind --tool=callgrind --callgrind-out-file=/dev/null "$tests" --ignored --exact protocol::tests::hot_path::alone \
    --nocapture >"$out" 2>&1 || { cat "$out"; exit 1; }
messages=$(sed -n 's/.*[^0-9]*\b\([0-9]\+\) messages of.*/\1/p' "$out")
instructions=$(sed -n 's/.*Collected : \([0-9]\+\).*/\1/p' "$out")
each=$((instructions / messages))
echo "$each instructions for each of $messages messages, at most $most"
[ "$each" -le "$most" ]
