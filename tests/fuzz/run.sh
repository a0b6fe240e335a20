#!/usr/bin/env bash
# Looks for inputs that break a promise of tests/fuzz/fuzz_input.c: tests/fuzz/run.sh [seconds] [libFuzzer's options...]
# Needs clang with its runtime libraries beside what jobs/install-deps.sh installs; on Debian: apt-get install clang
# libclang-rt-dev. Builds into build-fuzz/. A finding is left there as crash-*, timeout-*, oom-* or leak-*: put it into
# tests/fuzz/corpus under a telling name when it is mended. What reached new code is in build-fuzz/corpus;
#   tests/fuzz/run.sh merge
# adds to tests/fuzz/corpus the few small ones that reach what the kept ones do not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

build=build-fuzz
kept=tests/fuzz/corpus
seeds=("$kept" tests/bad_input input)

die() {
  printf 'fuzz: error: %s\n' "$*" >&2
  exit 1
}

# The input's part of the program only: clang does not know the vector operations of the solvers' kernels.
compile() {
  local wrapper=mpicc.mpich prefix libraries flags
  command -v clang >/dev/null || die "no clang here; on Debian: apt-get install clang libclang-rt-dev"
  command -v "$wrapper" >/dev/null || wrapper=mpicc
  prefix=$(jobs/install-deps.sh --print-env) || die "no PETSc; jobs/install-deps.sh installs it"
  export PKG_CONFIG_PATH=${prefix#*=}/lib/pkgconfig:${PKG_CONFIG_PATH:-}
  libraries=(PETSc yaml-0.1 muparser "$(pkg-config --exists hdf5-mpich && echo hdf5-mpich || echo hdf5)")
  read -ra flags <<<"$(pkg-config --cflags --libs "${libraries[@]}") -Wl,-rpath,${prefix#*=}/lib"
  "$wrapper" -cc=clang -O1 -g -std=gnu11 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
    -ffp-contract=off -DMFG_VERSION='"fuzz"' -I. tests/fuzz/fuzz_input.c tests/fuzz/mutate_lines.c app/cli.c \
    app/config*.c app/expression.c app/field*.c app/h5read.c app/schema.c app/utf8.c app/watch.c app/yaml_tree.c solvers/grid*.c \
    -o "$build/fuzz_input" "${flags[@]}" -lm
}

# Keys, choices and functions as the sources have them, and words of YAML.
dictionary() {
  grep -ohE '(path|choices|later|by_default) = "[^"\\]+"|name "[^"\\]+"' app/schema.c | sed 's/.*= *//;s/^name //' |
    tr -d '"' | tr '|.' '\n\n' | grep . | sort -u | sed 's/.*/"&"/'
  grep -oE '\{"[a-z0-9]+", ' app/expression.c | tr -d '{, ' | sort -u
  printf '"%s"\n' '\x0a$\x0a--set\x0a' '\x0a--set\x0a' '--backend' '--output' '\x0a--\x0a' ': ' '\x0a  ' ', ' '{' '}' \
    '[' ']' '{file: ' 'dataset: ' '\x22' "'" '|\x0a' '>\x0a' '- ' '? ' '~' 'null' '1e308' '1e-308' '2147483647' \
    '9007199254740992' '18446744073709551615' '-' '.5' '1e' '==' '&&' '||' ' ? ' ' : ' '\x5cx9b' '\x5cu2028' '\xc2\x85' \
    '\xe2\x80\xa8' '\xef\xbb\xbf' '---\x0a' '...\x0a' '%YAML 1.1\x0a' '&a ' '*a' '!!str '
}

main() {
  local seconds=${1:-600}
  [ $# -eq 0 ] || shift
  mkdir -p "$build/corpus" "$kept"
  compile
  export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
  if [ "$seconds" = merge ]; then
    "$build/fuzz_input" -merge=1 -use_counters=0 -max_len=2000 "$kept" "$build/corpus"
    return
  fi
  dictionary >"$build/input.dict"
  cd "$build"
  exec ./fuzz_input -dict=input.dict -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -print_final_stats=1 "$@" corpus "${seeds[@]/#/../}"
}

main "$@"
