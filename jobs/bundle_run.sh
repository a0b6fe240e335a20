#!/usr/bin/env bash
# Starts a program of this bundle with the libraries that it needs. As the file `run` of a bundle:
#   ./run nashflow run input/torus_1d.yaml           a program of bin/ and its arguments
#   ./run -n 2 nashflow run input/torus_1d.yaml      on 2 ranks
#   ./run mpiexec -hosts a,b -n 2 nashflow ...       on several machines, the bundle at one path on all
#   ./run tests [-j N] [PATTERN]                     the tests whose names match, all without one, N at a time
#   ./run gpu_check [FILE]                           checks and times a GPU, writes FILE (gpu_check.txt)
# `./nashflow ARGUMENTS` is short for `./run nashflow ARGUMENTS`, for instance after srun.
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
home=$(dirname "$self")

say() { printf 'run: %s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# ---- the toolkit's libraries and NCCL ----

# Prints the directories that may hold them, the best first.
places() {
  local root nvcc
  for root in "${CUDA_HOME:-}" "${CUDA_PATH:-}" "${NCCL_HOME:-}"; do
    [ -z "$root" ] || printf '%s\n' "$root/lib64" "$root/lib" "$root/targets/x86_64-linux/lib"
  done
  tr ':' '\n' <<<"${LD_LIBRARY_PATH:-}"
  if nvcc=$(command -v nvcc); then
    root=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
    printf '%s\n' "$root/lib64" "$root/lib"
  fi
  PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | while read -r _ _ _ root; do
    case $root in */libcudart.so.* | */libcublas.so.* | */libnccl.so.*) dirname "$root" ;; esac
  done || true
  printf '%s\n' /usr/local/cuda/lib64 /usr/local/cuda/lib
}

# NVIDIA's Python packages bring the same libraries.
python_places() {
  python3 -c 'import glob, nvidia
for p in nvidia.__path__: print("\n".join(glob.glob(p + "/*/lib")))' 2>/dev/null || true
}

# Adds to $path the place of each library that it can; the others are left in $missing.
look_in() { # <directories...>
  local name place left=()
  for name in "${missing[@]}"; do
    for place in "$@"; do
      if [ -n "$place" ] && [ -e "$place/$name" ]; then
        [[ :$path: = *:"$place":* ]] || path=$path:$place
        continue 2
      fi
    done
    left+=("$name")
  done
  missing=("${left[@]}")
}

set_library_path() {
  local missing directories path=$home/lib
  if [ "${NASHFLOW_BUNDLE:-}" = "$home" ]; then return; fi # done by the one that started this one
  mapfile -t missing <"$home/lib/outside.txt"
  if [ ${#missing[@]} -gt 0 ]; then
    mapfile -t directories < <(places)
    look_in "${directories[@]}"
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    mapfile -t directories < <(python_places)
    look_in "${directories[@]}"
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    die "not found: ${missing[*]}. This bundle takes NVIDIA's CUDA toolkit and NCCL from the machine, in these
versions. Load the modules (as in: module load cuda nccl), or set CUDA_HOME and NCCL_HOME. Searched: CUDA_HOME,
CUDA_PATH, NCCL_HOME, LD_LIBRARY_PATH, the nvcc on PATH, ldconfig, /usr/local/cuda, Python's nvidia packages."
  fi
  export LD_LIBRARY_PATH=$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} PATH=$home/bin:$PATH NASHFLOW_BUNDLE=$home
}

# ---- the tests ----

run_test() { # <directory> <name> <ranks> <seconds> <settings> <command>: the last two are lists of words
  local code=0 start=$SECONDS
  mkdir "$1/$2"
  cd "$1/$2"
  # shellcheck disable=SC2086
  env $5 timeout --kill-after=5 "$4" mpiexec -n "$3" $6 >"$1/$2.out" 2>&1 </dev/null || code=$?
  case $code in
    0) printf '%-50s passed   %4d s\n' "$2" $((SECONDS - start)) ;;
    16) printf '%-50s skipped\n' "$2" ;;
    *)
      printf '%-50s FAILED   %4d s, exit code %d\n' "$2" $((SECONDS - start)) "$code"
      tail -n 15 "$1/$2.out" | sed 's/^/    /'
      ;;
  esac >"$1/$2.line"
  cat "$1/$2.line"
}

run_tests() { # [-j N] [pattern]
  local most=1 pattern name ranks limit settings command log passed skipped failed
  if [ "${1:-}" = -j ]; then
    [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "-j needs a number of tests"
    most=$2
    shift 2
  fi
  pattern=${1:-.}
  log=$(mktemp -d)
  while IFS='|' read -r name ranks limit settings command; do
    [[ $name =~ $pattern ]] || continue
    while [ "$(jobs -pr | wc -l)" -ge "$most" ]; do wait -n || true; done
    run_test "$log" "$name" "$ranks" "$limit" "$settings" "$command" &
  done <"$home/tests.txt"
  wait
  passed=$(lines passed) skipped=$(lines skipped) failed=$(lines FAILED)
  rm -rf "$log"
  printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" -eq 0 ] || exit 1
  [ $((passed + skipped)) -gt 0 ] || die "no test matches '$pattern'; tests.txt has their names"
}

lines() { # <verdict>: tests in $log with it
  local file first count=0
  for file in "$log"/*.line; do
    [ -e "$file" ] || continue
    read -r _ first _ <"$file"
    [ "$first" != "$1" ] || count=$((count + 1))
  done
  echo "$count"
}

main() {
  local ranks='' program
  program=$(basename "$0")
  if [ "$program" != run ]; then set -- "$program" "$@"; fi
  if [ "${1:-}" = -n ]; then
    [ $# -ge 3 ] || die "-n needs a number of ranks and a program"
    ranks=$2
    shift 2
  fi
  if [ $# -eq 0 ]; then
    sed -n '2,8s/^# //p' "$self"
    exit 64
  fi
  program=$1
  shift
  case $program in gpu_check) exec "$home/jobs/gpu_check.sh" "$@" ;; esac
  set_library_path
  case $program in
    tests) run_tests "$@" ;;
    *)
      command -v "$program" >/dev/null || die "no program '$program' here; there are: $(cd "$home/bin" && echo *)"
      exec ${ranks:+mpiexec -n "$ranks"} "$program" "$@"
      ;;
  esac
}

main "$@"
