#!/usr/bin/env bash
# All checks that need a GPU, in ten minutes, from a bundle: ./run gpu_check [FILE]
# Tests on one and several ranks, cases on GPU and CPU, the value equation among them, times beside their targets,
# compute-sanitizer, and where ncu is the times of all kernels. All goes to FILE (gpu_check.txt), which ends in a
# summary. Exit code 0 when nothing failed, 1 when something did, 16 when the program finds no GPU. A missed target is
# reported and is no failure.
#   NASHFLOW_CHECK_SECONDS=570   what does not fit is "not run"
#   NASHFLOW_CHECK_PARTS=...     only parts whose names match this pattern
#   NASHFLOW_PROGRAM=PATH        another nashflow in place of the bundle's
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
home=$(dirname "$(dirname "$self")")
run=$home/run
program=${NASHFLOW_PROGRAM:-$home/bin/nashflow}
seconds=${NASHFLOW_CHECK_SECONDS:-570}
chosen=${NASHFLOW_CHECK_PARTS:-.}
at_once=$(($(nproc) < 14 ? 1 + $(nproc) / 4 : 6)) # tests: each starts CUDA for a second
passed=() failed=() not_run=() figures=()

die() {
  printf 'gpu_check: error: %s\n' "$*" >&2
  exit 1
}

tell() { printf '%s\n' "$*" | tee -a "$file"; }

# ---- one part after the other ----

skip() { # <name> <why>
  not_run+=("$1: $2")
  tell "$1: not run, $2"
}

# part <name> <seconds> <command...>: its output goes to $work/out and, cut, to the file. True only if it passed.
part() {
  local name=$1 limit=$2 code=0 start=$SECONDS left=$((seconds - SECONDS))
  shift 2
  [[ $name =~ $chosen ]] || return 1
  if [ "$left" -lt 5 ]; then
    skip "$name" "no time left"
    return 1
  fi
  [ "$limit" -le "$left" ] || limit=$left
  printf '\n==== %s\n' "$name" >>"$file"
  timeout --kill-after=5 "$limit" "$@" >"$work/out" 2>&1 </dev/null || code=$?
  if [ "$(wc -l <"$work/out")" -gt 160 ]; then
    head -n 60 "$work/out"
    echo "[...]"
    tail -n 100 "$work/out"
  else
    cat "$work/out"
  fi >>"$file"
  case $code in
    0)
      passed+=("$name")
      tell "$name: passed in $((SECONDS - start)) s"
      ;;
    16) skip "$name" "$(tail -n 1 "$work/out")" ;;
    124 | 137)
      failed+=("$name: not done in $limit s")
      tell "$name: FAILED, not done in $limit s"
      ;;
    *)
      failed+=("$name: exit code $code")
      tell "$name: FAILED, exit code $code after $((SECONDS - start)) s"
      ;;
  esac
  [ "$code" -eq 0 ]
}

# figure <what> <value> <unit> <at most>
figure() {
  local verdict=missed
  if [ -z "$2" ]; then
    figures+=("$1, at most $4 $3 | no figure | unknown")
    return
  fi
  ! awk -v a="$2" -v b="$4" 'BEGIN { exit !(a <= b) }' || verdict=met
  figures+=("$1, at most $4 $3 | $2 $3 | $verdict")
}

# ---- what the parts do: called again as gpu_check.sh --PART, so that `timeout` has a command ----

facts() {
  date -u
  uname -srm
  grep -m 1 'model name' /proc/cpuinfo || true
  nproc
  nvidia-smi --query-gpu=name,driver_version,memory.total,memory.free,clocks.sm,compute_mode --format=csv \
    || echo "no nvidia-smi"
  nvidia-smi topo -m 2>/dev/null || true
  nvcc --version 2>/dev/null | tail -n 2 || true
  "$run" "$program" --version
  "$run" bash -c 'echo "libraries: $LD_LIBRARY_PATH"'
}

solve() { # <name> <ranks> <backend> <case> <options...>: the end of the output tells; 0 and 2 are results
  local name=$1 ranks=$2 backend=$3 case=$4 code=0
  shift 4
  printf '%s\n' "-- $case on $ranks, $backend" >&2
  "$run" -n "$ranks" "$program" run "$home/input/$case.yaml" --backend "$backend" --output "$work/$name" "$@" || code=$?
  [ -e "$work/$name/STATUS" ] && grep -q '^status=finished' "$work/$name/STATUS" && { [ "$code" -eq 0 ] || [ "$code" -eq 2 ]; }
}

same() { # <name> <name> <datasets...>: to the last bit
  local one=$1 other=$2 dataset code=0
  shift 2
  for dataset in "$@"; do
    "$run" h5diff "$work/$one/result.h5" "$work/$other/result.h5" "$dataset" || code=1
  done
  [ "$code" -ne 0 ] || printf '%s\n' "$one and $other: the same bits in $*"
  return "$code"
}

# One map: the drift is that of the value for m0, which both compute on the host.
given_drift() {
  solve cpu_map 1 cpu reference_1d --set equilibrium.max_iterations=1
  solve gpu_map 1 cuda reference_1d --set equilibrium.max_iterations=1
  same cpu_map gpu_map /m /u
}

two_ranks() {
  solve gpu_map1 1 cuda reference_1d --set equilibrium.max_iterations=1
  solve gpu_map2 2 cuda reference_1d --set equilibrium.max_iterations=1
  same gpu_map1 gpu_map2 /m
}

# Whole runs in 2D and 3D, the value on the host: by the GPU, agents divided by number and by box, what the CPU gives.
maps() {
  local case precision division
  for case in torus_2d crowd_3d; do
    for precision in double single; do
      set -- "$case" --set agents.count=30000 --set equilibrium.max_iterations=2 --set "agents.precision=$precision"
      solve "cpu_$case.$precision" 2 cpu "$@" -- -hjb_backend cpu
      for division in replicated domain; do
        solve "gpu_$case.$precision.$division" 2 cuda "$@" --set "parallel.decomposition=$division" -- -hjb_backend cpu
        same "cpu_$case.$precision" "gpu_$case.$precision.$division" /m /u
      done
    done
  done
}

whole_solve() {
  solve cpu_solve 1 cpu reference_1d
  solve gpu_solve 1 cuda reference_1d
  same cpu_solve gpu_solve /m /u
}

# The value equation on the GPU, and with the density on the grid both equations and Newton's method, with PETSc's
# vectors there where it has any, whose sums are in another order, so that the last bits are others.
value_on_gpu() {
  local dataset method
  for method in particles grid; do
    set -- torus_2d --set equilibrium.max_iterations=2 --set "fokker_planck.method=$method"
    [ $method = particles ] || set -- "$@" --set equilibrium.method=newton
    solve "cpu_$method" 1 cpu "$@"
    solve "gpu_$method" 1 cuda "$@" -- -hjb_backend cuda
    for dataset in /m /u; do
      "$run" h5diff -d 1e-5 "$work/cpu_$method/result.h5" "$work/gpu_$method/result.h5" "$dataset"
    done
  done
}

# Seconds that the agents took in a solve, the fewer of two tries.
agents_seconds() { # <solve's arguments...>
  for _ in 1 2; do
    solve "$@" >"$work/solve" || { cat "$work/solve" >&2 && return 1; }
    awk -F = '/^seconds_(particles|density)=/ { s += $2 } END { printf "%.6f\n", s }' "$work/$1/STATUS"
  done | sort -g | head -n 1
}

# Three outer iterations by each backend and by auto, of few agents, of many and of a crowd in 2D. Set-up is in it.
backends() {
  local size backend cells sets runs=0 cpu=0 cuda=0 seconds worst=0 first=''
  for size in 1000 50000 1000000; do
    sets=(reference_1d)
    cells=$([ "$size" -lt 1000000 ] || echo '[256,256]')
    [ -z "$cells" ] || sets=(torus_2d --set "domain.cells=$cells" --set time.steps=10 --set density.bandwidth=0.008)
    for backend in cpu cuda auto; do
      runs=$((runs + 1))
      seconds=$(agents_seconds "run$runs" 1 "$backend" "${sets[@]}" --set "agents.count=$size" \
        --set equilibrium.max_iterations=3 --set equilibrium.tolerance=1e-15)
      echo "$size agents, $backend: $seconds s"
      printf -v "$backend" '%s' "$seconds"
    done
    # shellcheck disable=SC2154
    worst=$(awk -v w="$worst" -v a="$auto" -v c="$cpu" -v g="$cuda" \
      'BEGIN { b = c < g ? c : g; r = a / b; printf "%.2f", (r > w ? r : w) }')
    [ "$size" -ne 50000 ] || first=$(awk -v c="$cpu" -v g="$cuda" 'BEGIN { printf "%.2f", g / c }')
  done
  echo "three iterations of the reference, GPU over CPU: $first"
  echo "auto over the best, at worst: $worst"
}

# The kernels of a short solve by their time. ncu's lines: "NAME (grid)x(block), ..., Invocations N", and below
# "gpu__time_duration.sum UNIT MINIMUM MAXIMUM AVERAGE".
kernels() { # <name> <case> <options...>
  echo "kernels of $2: launches, average us, all ms"
  "$run" ncu --metrics gpu__time_duration.sum --print-summary per-kernel --clock-control none "$program" run \
    "$home/input/$2.yaml" --backend cuda --output "$work/$1" "${@:3}" >"$work/ncu" 2>&1 || [ $? -eq 2 ] \
    || { cat "$work/ncu" && return 1; }
  awk '/, Invocations [0-9]+/ { n = $NF; name = $0; sub(/^ */, "", name); sub(/ \([0-9]+, [0-9]+, [0-9]+\)x\(.*/, "", name) }
    $1 == "gpu__time_duration.sum" { gsub(/,/, "")
      us = $NF * ($2 ~ /^(ns|nsecond)/ ? 1e-3 : $2 ~ /^(ms|msecond)/ ? 1e3 : $2 ~ /^(s|second)$/ ? 1e6 : 1)
      printf "%8d %10.2f %10.3f  %.90s\n", n, us, n * us / 1e3, name }' "$work/ncu" | sort -rgk3,3 >"$work/kernels"
  if [ -s "$work/kernels" ]; then cat "$work/kernels"; else tail -n 100 "$work/ncu"; fi
}

profile() {
  PATH=$PATH:/usr/local/cuda/bin
  if ! command -v ncu >/dev/null; then
    echo "no ncu on PATH"
    exit 16
  fi
  kernels profiled_1d reference_1d --set equilibrium.max_iterations=2
  kernels profiled_2d torus_2d --set agents.count=1000000 --set 'domain.cells=[256,256]' --set time.steps=5 \
    --set time.horizon=0.05 --set density.bandwidth=0.008 --set equilibrium.max_iterations=1 -- -hjb_backend cuda
}

sanitize_test() { # <tool> <seconds> <name> <settings> <command>
  local code=0 log=$work/$1.$3 options=(--tool "$1" --error-exitcode 99)
  # A test asks for more memory than there is; what calls return is checked.
  [ "$1" != memcheck ] || options+=(--report-api-errors no)
  # shellcheck disable=SC2086
  env $4 timeout --kill-after=5 "$2" "$run" compute-sanitizer "${options[@]}" "$home"/bin/$5 >"$log" 2>&1 </dev/null || code=$?
  case $code in
    0) echo "$1 $3: no error" ;;
    124 | 137) echo "$1 $3: no time to end it" ;;
    *)
      echo "$1 $3: exit code $code"
      tail -n 30 "$log"
      ;;
  esac >"$log.verdict"
  cat "$log.verdict"
}

# The tests of one rank under one tool, for as long as there is time; a slow one has a half of it.
sanitize() { # <tool> <seconds>
  local limit=$2 name settings command
  PATH=$PATH:/usr/local/cuda/bin
  if ! command -v compute-sanitizer >/dev/null; then
    echo "no compute-sanitizer on PATH"
    exit 16
  fi
  while IFS='|' read -r name _ _ settings command; do
    [[ $name =~ \.cuda\.np1$ ]] || continue
    while [ "$(jobs -pr | wc -l)" -ge "$at_once" ]; do wait -n || true; done
    if [ $((limit - SECONDS)) -le 3 ]; then
      echo "$1 $name: not tried"
      continue
    fi
    sanitize_test "$1" $((limit - SECONDS < limit / 2 ? limit - SECONDS : limit / 2)) "$name" "$settings" "$command" &
  done <"$home/tests.txt"
  wait
  if grep -qs ': exit code ' "$work/$1."*.verdict; then exit 1; fi
  if ! grep -qs ': no error' "$work/$1."*.verdict; then
    echo "no test ended under $1 in $limit s"
    exit 16
  fi
}

# ---- the check ----

tests() { # <name> <seconds> <pattern> <at once>
  if ! grep -qE "$3" <(cut -d'|' -f1 "$home/tests.txt"); then
    [[ ! $1 =~ $chosen ]] || skip "$1" "this bundle has no such tests; was nvcc there when it was made?"
    return
  fi
  part "$1" "$2" env MFG_TEST_REQUIRE_GPU=1 "$run" tests -j "$4" "$3" || true
}

# A sweep on the device, of what bench sweep has printed: ms of the agents' part of a step and of all. The row of
# moments has its order in three words.
sweep_on_device() { # <first words of the case> <tolerance> <steps>
  awk -v title="$1" -v tolerance="$2" -v steps="$3" 'index($0, title) == 1 { here = 1; next } /^[a-z]/ { here = 0 }
    here && $1 == "moments" && $2 == tolerance && NF == 14 { printf "%.4f %.4f\n", $13 / steps, ($13 + $14) / steps; exit }' \
    "$work/out"
}

sweep_2d() { # <agents> <cells along an axis> <target>
  local agents='' all=''
  read -r agents all <<<"$(sweep_on_device "torus_2d: $1 agents, $2 x $2 " 1e-06 10)" || true
  figure "2D, $1 agents on $2 x $2, push and deposit of a step on the device" "$agents" ms "$3"
  figure "2D, $1 agents on $2 x $2, the same with the density" "$all" ms "$3"
}

sweeps() {
  figure "reference sweep, 50,000 agents, 50 steps, a later call" \
    "$(awk '/^reference_1d/ { here = 1 } here && $1 == "moments" && $2 == "1e-06" { print $7; exit }' "$work/out")" ms 0.1
  figure "reference sweep, what the device takes of it" \
    "$(sweep_on_device "reference_1d:" 1e-06 1 | cut -d' ' -f2)" ms 0.1
  sweep_2d 1000000 512 0.05
  sweep_2d 10000000 512 0.35
  sweep_2d 100000000 1024 4
}

value_2d() { # <us per cell and level> <us of bandwidth alone> <one core over it>
  figure "HJB of 1024 x 1024 cells, a cell and level (bandwidth alone ${2:-?}, one core ${3:-?} times as long)" "${1:-}" us 0.1
}

times() {
  part "devices" 60 "$run" "$program" devices || true
  if part "outer iteration" 60 "$self" --solve outer 1 cuda reference_1d --set equilibrium.method=fictitious_play \
    --set equilibrium.max_iterations=200 --set equilibrium.tolerance=1e-15; then
    figure "reference outer iteration, without output" \
      "$(awk '$1 == "total" && NF == 2 { s = $2 } $1 == "output" { s0 = $2 } /^iterations=/ { split($0, a, "="); n = a[2] }
         END { if (n) printf "%.3f", 1e3 * (s - s0) / n }' "$work/out" "$work/outer/STATUS" 2>/dev/null)" ms 0.5
  fi
  if part "bench sweep" 120 "$run" "$program" bench sweep --backend cuda; then sweeps; fi
  if part "backends" 60 "$self" --backends; then
    figure "set-up repaid: three outer iterations with it, GPU over CPU" \
      "$(sed -n 's/^three iterations.*: //p' "$work/out")" times 1
    figure "auto over the best fixed choice, at worst" "$(sed -n 's/^auto over.*: //p' "$work/out")" times 1.1
  fi
  if part "problem P" 30 "$self" --solve peer 1 cpu peer_1d; then
    figure "problem P, 50,000 agents, one core of this machine" \
      "$(awk '$1 == "total" && NF == 2 { print $2 }' "$work/out")" s 1
  fi
  if part "bench hjb" 90 "$run" "$program" bench hjb --backend cuda -- -bench_plain 0; then
    # shellcheck disable=SC2046
    value_2d $(awk '/ 1024 x 1024 +multigrid, cuda / { print $(NF - 6), $(NF - 5), $(NF - 1) }' "$work/out")
  fi
  part "bench kde" 60 "$run" "$program" bench kde --backend cuda || true
}

list() { # <what> <items...>
  [ $# -eq 1 ] || printf "$1: %s\n" "${@:2}"
}

summary() {
  printf '\n==== summary after %d s\n' "$SECONDS"
  printf 'target (on an H200) | measured | met\n'
  [ ${#figures[@]} -eq 0 ] || printf '%s\n' "${figures[@]}"
  printf '%s | not here: bench sweep, bench hjb; tests/bench/RESULTS.md |\n' \
    "reference sweep and HJB sweep on a CPU" "2 ranks over 1 on a CPU" \
    "memory of a rank, and of a GPU in set-up over steady: predicted before each run, not measured on a GPU"
  list passed "${passed[@]}"
  list 'not run' "${not_run[@]}"
  list FAILED "${failed[@]}"
  printf '%d passed, %d failed, %d not run\n' ${#passed[@]} ${#failed[@]} ${#not_run[@]}
}

main() {
  local code=0 tools share i
  file=$(realpath -m "${1:-gpu_check.txt}")
  [ -x "$run" ] || die "this works in an unpacked bundle, as ./run gpu_check; jobs/bundle.sh makes one"
  work=$(mktemp -d)
  export work
  trap 'rm -rf "$work"' EXIT
  printf 'nashflow on a GPU\n' >"$file"
  "$run" "$program" devices >"$work/devices" 2>&1 || code=$?
  if [ "$code" -ne 0 ]; then
    tell "the program does not start:"
    tee -a "$file" <"$work/devices"
    exit 1
  fi
  if ! sed -n '/^backend cuda: /,$p' "$work/devices" | grep '^  dimensions' >/dev/null; then
    tell "no GPU: $(sed -n 's/^backend cuda: //p' "$work/devices")"
    exit 16
  fi
  part facts 30 "$self" --facts || true
  tests "tests, one rank" 180 '\.cuda\.np1$' "$at_once"
  part "bits for a given drift" 30 "$self" --given_drift || true
  part "bits of a whole solve in 1D" 30 "$self" --whole_solve || true
  part "equations on the GPU in 2D" 60 "$self" --value_on_gpu || true
  part "verify torus_1d" 60 "$run" "$program" verify torus_1d --backend cuda || true
  part "verify noflux_2d" 60 "$run" "$program" verify noflux_2d --backend cuda || true
  part "verify lq_1d" 60 "$run" "$program" verify lq_1d --backend cuda || true
  part "bits on two ranks" 30 "$self" --two_ranks || true
  part "bits of runs in 2D and 3D on two ranks" 60 "$self" --maps || true
  tests "tests, several ranks" 90 '\.cuda\.np[2-9]$' $(((at_once + 1) / 2))
  times
  part "profile" 60 "$self" --profile || true
  tools=(memcheck racecheck synccheck)
  for i in 0 1 2; do
    share=$(((seconds - SECONDS - 5) / (3 - i)))
    [ "$share" -le 90 ] || share=90
    part "compute-sanitizer ${tools[i]}" $((share > 5 ? share : 5)) "$self" --sanitize "${tools[i]}" $((share - 2)) || true
  done
  summary | tee -a "$file"
  echo "$file"
  [ ${#failed[@]} -eq 0 ] || exit 1
}

case ${1:-} in
  --facts | --given_drift | --two_ranks | --maps | --value_on_gpu | --whole_solve | --backends | --profile | --sanitize | --solve)
    "${1#--}" "${@:2}"
    ;;
  *) main "$@" ;;
esac
