#!/usr/bin/env bash
# Installs what is missing, builds nashflow and runs its tests: jobs/test.sh [--all] [ctest arguments...]
# Without --all the tests labelled slow are left out. The exit code is CTest's.
#   jobs/test.sh -L unit           one label          jobs/test.sh -R kde    by name
#   jobs/test.sh --rerun-failed    the failed ones
# MFG_PRESET=asan (or debug) tests that build instead of release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() {
  local preset=${MFG_PRESET:-release} build=build args=(--output-on-failure --no-tests=error)
  [ "$preset" = release ] || build=build-$preset
  if [ "${1:-}" = --all ]; then
    shift
  else
    args+=(--label-exclude slow)
  fi
  jobs/build.sh "$preset"
  # Each test says how many cores it takes (PROCESSORS), so this many at a time never overload them.
  ctest --test-dir "$build" --parallel "$(nproc)" "${args[@]}" "$@"
}

main "$@"
