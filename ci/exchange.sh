#!/usr/bin/env bash
# Files go over TCP between a Linux process and a Windows process under Wine, in both directions.
#
#   bash ci/exchange.sh AMPE WINE AMPE.EXE
#
# Called by ci/windows.sh, with the command that its tests have built.
set -euo pipefail
native=$1
windows=("$2" "$3")
directory=$(mktemp -d)
receiver=
end() {
    [ -z "$receiver" ] || kill "$receiver" 2>/dev/null || true
    rm -rf "$directory"
}
trap end EXIT
cd "$directory"

# One of a few bytes, and one that no buffer holds.
printf 'hello\n' >small
head -c 33554432 /dev/urandom >large

# exchange NAME RECEIVER... -- SENDER...
exchange() {
    local name=$1 address
    shift
    local -a receives=()
    while [ "$1" != -- ]; do
        receives+=("$1")
        shift
    done
    shift
    mkdir "$name"
    : >"$name.out"
    "${receives[@]}" recv --listen tcp://127.0.0.1:0 --out "$name" --once --quiet >"$name.out" 2>"$name.err" &
    receiver=$!
    # The first line names the port that it got. Until it is there, or the receiver has ended:
    until address=$(grep -aoE 'tcp://127\.0\.0\.1:[0-9]+' "$name.out" | head -n 1) && [ -n "$address" ]; do
        kill -0 "$receiver" || { cat "$name.err"; return 1; }
        read -rt 0.1 <> <(:) || true
    done
    "$@" send --to "$address" --quiet small large
    wait "$receiver"
    receiver=
    cmp small "$name/small"
    cmp large "$name/large"
    echo "$name: two files, $(stat -c %s small large | paste -sd + | tr -d '\r') bytes, identical"
}

exchange from-linux-to-windows "${windows[@]}" -- "$native"
exchange from-windows-to-linux "$native" -- "${windows[@]}"
echo 'test result: ok. 2 passed; 0 failed (exchanges of files)'
