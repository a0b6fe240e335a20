#!/usr/bin/env bash
# One run in parts, as a chain of jobs of which each starts when the one before ended well (afterok):
#   jobs/chain.sh PARTS [options of sbatch] SCRIPT [options of nashflow run]
#   NASHFLOW_INPUT=my_case.yaml jobs/chain.sh 5 --time=12:00:00 jobs/nashflow.sbatch
# For sites that do not let jobs requeue themselves, or to queue the parts at once. A part ends well when the run
# is finished, or at its time limit with a checkpoint: the next one goes on from it, and parts that find the run
# finished end in seconds. When a part fails or is cancelled, those after it are taken out of the queue.
# Prints the number of each job.
set -euo pipefail

say() { printf 'chain: %s\n' "$*" >&2; }
usage() {
  say "error: $*; usage: jobs/chain.sh PARTS [options of sbatch] SCRIPT [options of nashflow run]"
  exit 64
}

main() {
  local parts=${1:-} part job='' after
  [ $# -ge 2 ] || usage "two arguments at least"
  [[ $parts =~ ^[1-9][0-9]{0,2}$ ]] || usage "'$parts' is not a number of parts from 1 to 999"
  shift
  export NASHFLOW_AT_LIMIT=stop
  for ((part = 1; part <= parts; part++)); do
    after=()
    [ -z "$job" ] || after=("--dependency=afterok:$job" --kill-on-invalid-dep=yes)
    job=$(sbatch --parsable "${after[@]}" "$@") || {
      say "error: part $part of $parts was not accepted${job:+; the parts before it are in the queue}"
      exit 1
    }
    job=${job%%;*} # the name of the cluster may follow
    echo "$job"
  done
}

main "$@"
