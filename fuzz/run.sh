#!/usr/bin/env bash
# Runs every fuzz target for some minutes: fuzz/run.sh MINUTES [TARGET...]
# Needs a nightly toolchain and cargo-fuzz; SANITIZER=none is faster and looks only for panics. What is found is in fuzz/artifacts/TARGET/; exit 1 when there is any.
set -uo pipefail
cd "$(dirname "$0")"
minutes=${1:?how many minutes for each target}
shift
sanitizer=${SANITIZER:-address}
# What was freed is kept for a while to find uses of it; the default would be half of the memory that is allowed.
export ASAN_OPTIONS=quarantine_size_mb=32:${ASAN_OPTIONS:-}
cargo run --quiet --bin seeds || exit
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir . | grep -v '^seeds$')
failed=()
for target in "${targets[@]}"; do
    echo "== $target"
    # Files of a memory disk, where there is one: each run writes a few.
    TMPDIR=$([ -d /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}") cargo +nightly fuzz run --sanitizer "$sanitizer" --fuzz-dir . "$target" -- \
        -max_total_time=$(awk "BEGIN { print int($minutes * 60) }") -rss_limit_mb=512 -timeout=10 -max_len=16384 -print_final_stats=1 2>&1 |
        grep -E '^(#|stat::|==|thread|SUMMARY|artifact_prefix|assertion|  left| right|Test unit)|panicked|Base64' | tail -20
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] || { echo "found something: ${failed[*]}"; exit 1; }
