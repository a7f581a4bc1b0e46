#!/usr/bin/env bash
# Runs each poller on each piece of work and prints tables in Markdown: how many NT calls an event
# costs, counted by Wine, and how many events a second there are beside ampe's.
#
#   bash bench/pollers/run.sh            for Windows, under Wine; takes twenty-five minutes
#   bash bench/pollers/run.sh calls      only the calls
#   bash bench/pollers/run.sh times      only the times
#   bash bench/pollers/run.sh native     on this system; there are no calls to count
#   RUNS=31 bash bench/pollers/run.sh times late asleep    more runs than 21, of this work only
#
# Under Wine it ends what else runs in the same WINEPREFIX, and wants what `bash ci/windows.sh` has set
# up, run before with the same target directory.
set -euo pipefail
cd "$(dirname "$0")"

what=${1:-all}
case "$what" in
    all | calls | times | native) ;;
    *) echo 'usage: bash bench/pollers/run.sh [calls|times|native [WORKLOAD...]]' >&2 && exit 2 ;;
esac
# Runs of the same work lie apart by a third, whatever their length, and medians of five by a tenth.
runs=${RUNS:-21}
contestants=(ampe ampe-direct mio polling polling-oneshot)
workloads=(one many sparse late flip asleep awake register)
if [ $# -gt 1 ]; then
    for workload in "${@:2}"; do
        [[ " ${workloads[*]} " == *" $workload "* ]] || { echo "one of: ${workloads[*]}" >&2 && exit 2; }
    done
    workloads=("${@:2}")
fi
[[ $runs =~ ^([1-9][0-9]*)?[13579]$ ]] || { echo 'RUNS is an odd number: the one in the middle counts' >&2 && exit 2; }
target=x86_64-pc-windows-gnu
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target/windows}
export WINEPREFIX=${WINEPREFIX:-$CARGO_TARGET_DIR/wine} WINEDEBUG=-all
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
# Each socket and its peer are descriptors of one process.
ulimit -n "$(ulimit -Hn)"

# As in ci/windows.sh: the compiler's own target, or Debian's compiler with its library's sources.
build_for_windows() {
    if [ ! -d "$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/$target/lib" ]; then
        export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD="std panic_unwind"
    fi
    cargo build --release --locked --target "$target"
    for wine in /usr/lib/wine/wine64 wine64 wine; do
        ! command -v "$wine" >/dev/null || break
    done
    if [ ! -e "$WINEPREFIX/system.reg" ]; then
        echo "there is no Wine in $WINEPREFIX: run \`bash ci/windows.sh\` first" >&2
        exit 1
    fi
    program=("$wine" "$CARGO_TARGET_DIR/$target/release/pollers.exe")
    on_one_processor
    # As long as it waits for its input, Wine's services run: else each program would start them
    # again, and they would be traced with it.
    exec 3> >(exec "$wine" cmd >/dev/null 2>&1)
}

# Wine's server takes part in each call. Where it runs on another processor than who calls, each call
# takes several times as long, and times of the same work lie apart by as much.
on_one_processor() {
    local server
    server=$(command -v "$(dirname "$wine")/wineserver64" || command -v wineserver64 || command -v wineserver || true)
    if [ -z "$server" ] || ! command -v taskset >/dev/null; then
        echo 'not on one processor, so that times will be rough: there is no taskset, or no wineserver' >&2
        return
    fi
    "$server" --kill >/dev/null 2>&1 || true
    "$server" --wait
    taskset --cpu-list --pid "$(taskset --cpu-list --pid $$ | sed 's/.*: //; s/[-,].*//')" $$ >/dev/null
}

# Wine's trace is told for which functions it is wanted, whoever calls them: mio and polling do so
# by kernelbase.
restrict_trace() {
    local functions=''
    for name in NtDeviceIoControlFile NtRemoveIoCompletionEx NtRemoveIoCompletion \
        NtSetIoCompletion NtCancelIoFileEx NtCancelIoFile NtSetInformationFile NtQueryObject NtOpenFile \
        NtCreateFile; do
        functions="$functions;ntdll.$name"
    done
    "$wine" reg add 'HKCU\Software\Wine\Debug' /v RelayInclude /d "${functions#;}" /f >/dev/null
}

rounds_to_time() {
    case "$1" in
        many) echo 40 ;;
        sparse) echo 30 ;;
        late | asleep) echo 300 ;;
        awake) echo 6000 ;;
        register) echo 1000 ;;
        *) echo 2000 ;;
    esac
}

# A multiple of 17, as every seventeenth wait with answers at hand looks at the port.
rounds_to_count() {
    case "$1" in
        many | sparse) echo 34 ;;
        *) echo 340 ;;
    esac
}

# Calls of a kind for an event, between the marks in a trace. Of control codes only AFD's poll
# counts; a register may hold more than the code's 32 bits.
count_calls() {
    awk -v events="$1" '
        /pollers: begin/ { is_measured = 1 }
        /pollers: end/ { is_over = 1; exit }
        !is_measured || !/Call ntdll\./ { next }
        /NtDeviceIoControlFile/ { split($0, it, ","); if (it[6] ~ /00012024$/) n["p"]++ }
        /NtRemoveIoCompletion/ { n["d"]++ }
        /NtSetIoCompletion\(/ { n["w"]++ }
        /NtCancelIoFile/ { n["c"]++ }
        /NtSetInformationFile/ { n["m"]++ }
        /NtQueryObject/ { n["q"]++ }
        /NtOpenFile|NtCreateFile/ { n["h"]++ }
        END {
            if (!is_over) { print "no marks"; exit 1 }
            for (at = 1; at <= 7; at++) {
                kind = substr("pdwcmqh", at, 1)
                sum += n[kind]
                if (n[kind]) parts = parts sprintf("%s%.3f %s", parts ? " + " : "", n[kind] / events, kind)
            }
            printf "**%.3f** = %s\n", sum / events, parts
        }'
}

heading() { printf '\n| |%s\n|---|%s\n' "$(printf ' %s |' "$@")" "$(printf -- '---|%.0s' "$@")"; }

calls() {
    restrict_trace
    heading "${contestants[@]}"
    for workload in "${workloads[@]}"; do
        local rounds row="| $workload |"
        rounds=$(rounds_to_count "$workload")
        for contestant in "${contestants[@]}"; do
            WINEDEBUG=+relay "${program[@]}" "$contestant" "$workload" "$rounds" --marks \
                >"$results/line" 2>"$results/trace"
            row="$row $(count_calls "$(cut -d' ' -f4 "$results/line")" <"$results/trace") |"
        done
        echo "$row"
    done
    echo 'p: polls, d: dequeues, w: wakes posted, c: cancels, m: marks set on files, q: questions about files, h: handles opened'
}

median() { sort -g | sed -n "$(((runs + 1) / 2))p"; }

times() {
    for workload in "${workloads[@]}"; do
        for _ in $(seq "$runs"); do
            for contestant in "${contestants[@]}"; do
                "${program[@]}" "$contestant" "$workload" "$(rounds_to_time "$workload")" 2>/dev/null |
                    awk '{ print $4 / $5 }' >>"$results/$workload.$contestant"
            done
        done
    done
    heading 'ampe, events a second' "${contestants[@]:1}"
    for workload in "${workloads[@]}"; do
        local ours row
        ours=$(median <"$results/$workload.ampe")
        row="| $workload | $(printf '%.0f' "$ours") |"
        for contestant in "${contestants[@]:1}"; do
            row="$row $(median <"$results/$workload.$contestant" | awk -v ours="$ours" '{ printf "%.2f", ours / $1 }') |"
        done
        echo "$row"
    done
    echo "ratios: ampe's median of $runs runs in turn, divided by the other's"
}

if [ "$what" = native ]; then
    cargo build --release --locked
    program=("$CARGO_TARGET_DIR/release/pollers")
    times
    exit
fi
build_for_windows
[ "$what" = times ] || calls
[ "$what" = calls ] || times
