#!/usr/bin/env bash
# From a fresh clone to the first figures: what is missing, the build, a crowd in 2D on two ranks, plots.
# A second call ends within seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case_file=input/crowd_2d.yaml
directory=results/crowd_2d
result=$directory/result.h5

say() { printf 'quickstart: %s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

cached() { # a variable of the build
  sed -n "s/^$1:[^=]*=//p" build/CMakeCache.txt
}

solve() {
  local mpiexec ranks=2
  if [ "$result" -nt "$case_file" ] && [ "$result" -nt build/nashflow ]; then
    say "$result is newer than its input and the program: not solved again"
    return
  fi
  mpiexec=$(cached MPIEXEC_EXECUTABLE)
  [ "$(nproc)" -ge 2 ] || ranks=1 # ranks that wait keep their core busy
  [ ! -t 1 ] || export NASHFLOW_PROGRESS=${NASHFLOW_PROGRESS:-bar} # mpiexec hides the terminal
  say "solve $case_file on $ranks ranks: $mpiexec -n $ranks build/nashflow run $case_file --output $directory"
  "$mpiexec" -n "$ranks" build/nashflow run "$case_file" --output "$directory" --restart none \
    || die "the run ended with exit code $? (README, 'Exit codes'); see $directory/STATUS"
  [ -e "$result" ] || die "the run left no $result; see $directory/STATUS"
}

plot() {
  local python
  python=$(cached Python3_EXECUTABLE)
  say "plot $result"
  "${python:-python3}" postprocess/plot.py "$result" || die "no plots; the result itself is in $result"
  say "figures:"
  find "$directory" -name '*.png' | sort | sed 's/^/  /' >&2
}

main() {
  [ $# -eq 0 ] || die "unknown argument '$1'; usage: jobs/quickstart.sh"
  jobs/build.sh release
  solve
  plot
  say "done in $SECONDS s; the result: $result (HDF5), $directory/result.xmf (ParaView)"
}

main "$@"
