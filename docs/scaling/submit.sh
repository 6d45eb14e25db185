#!/bin/bash
# Spreads a store over the nodes of a Slurm cluster: submit.sh STORE OUT PARTS [ARGUMENTS OF sbatch ...]
# Run again with the same arguments it finishes what is not done; parts that are done end in a moment.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: submit.sh STORE OUT PARTS [ARGUMENTS OF sbatch ...]" >&2
    exit 2
fi
export STORE=$1 OUT=$2 PARTS=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$OUT"
# A store with one damaged file ends with another code than 0, so the report is made whatever the parts end with: afterany, not afterok.
array=$(sbatch --parsable --array="1-$PARTS" "$@" "$here/convert.sbatch")
merge=$(sbatch --parsable --dependency="afterany:${array%%;*}" --job-name=depickle-report --output=depickle-report-%j.log "$@" \
    --wrap 'depickle report merge "$OUT" -o "$OUT/depickle-report.json" --html "$OUT/depickle-report.html"')
echo "parts: job $array; report: job $merge"
