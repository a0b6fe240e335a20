#!/usr/bin/env bash
# Installs what is missing and builds nashflow: jobs/build.sh [release|debug|asan] [cmake options...]
# The build directory is build/, build-debug/ or build-asan/. A second call ends within seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'build: %s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

main() {
  local preset=${1:-release} log
  [ $# -eq 0 ] || shift
  case $preset in
    release) log=build/configure.log ;;
    debug | asan) log=build-$preset/configure.log ;;
    *) die "unknown preset '$preset'; there are: release, debug, asan" ;;
  esac
  jobs/install-deps.sh
  say "configure and compile ($preset, half a minute the first time)"
  mkdir -p "$(dirname "$log")"
  cmake --preset "$preset" "$@" >"$log" || die "configure failed; the reason stands above, the rest in $log"
  cmake --build --preset "$preset" --parallel "$(nproc)" >&2 || die "the compiler's message stands above"
}

main "$@"
