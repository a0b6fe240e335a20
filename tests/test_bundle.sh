#!/usr/bin/env bash
# jobs/bundle.sh: test_bundle.sh <case> <source directory> <build directory>
#   unpacked    all libraries are in it, it runs from another place, and gpu_check's verdicts
#   bare_root   runs where nothing is installed but glibc, bash, coreutils and the CUDA toolkit (as root)
# Exit code 16: it cannot be tried here.
set -euo pipefail
source=$2 build=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

die() {
  printf 'test_bundle: %s\n' "$*" >&2
  exit 1
}

skip() {
  printf 'test_bundle: not tried: %s\n' "$*" >&2
  exit 16
}

pack() {
  "$source/jobs/bundle.sh" --unpacked "$tmp/made" "$build" || die "no bundle"
  mv "$tmp/made" "$tmp/moved here" # a place with a blank
  bundle="$tmp/moved here"
}

# ---- unpacked ----

complete() {
  "$source/jobs/bundle.sh" --check "$bundle" || die "the bundle is not complete"
  mv "$bundle/lib/libyaml-0.so.2" "$tmp/"
  "$source/jobs/bundle.sh" --check "$bundle" 2>"$tmp/log" && die "a missing library is not noticed"
  grep -q 'needs libyaml-0.so.2, which is not in the bundle' "$tmp/log" || die "it is not named: $(cat "$tmp/log")"
  mv "$tmp/libyaml-0.so.2" "$bundle/lib/"
  grep -rlE "$source|$build|$HOME/\\.cache" "$bundle"/{run,jobs,postprocess,tests.txt} && die "paths of this machine"

  (cd "$bundle" && ./run -n 2 nashflow run input/reference_1d.yaml --set agents.count=2000 --output "$tmp/result") >"$tmp/log" 2>&1 \
    || die "it does not run: $(cat "$tmp/log")"
  grep -q '2 ranks' "$tmp/log" || die "not on two ranks: $(cat "$tmp/log")"
  "$bundle/nashflow" help domain.cells >/dev/null || die "nashflow, the short name, does not run"
  "$bundle/run" tests '^random\.philox' >"$tmp/log" || die "its tests do not run: $(cat "$tmp/log")"
  grep -q '^1 passed, 0 failed, 0 skipped' "$tmp/log" || die "not one test: $(cat "$tmp/log")"
  "$bundle/run" tests -j 2 '^random\..*np1$' >"$tmp/log" || die "its tests do not run two at a time: $(cat "$tmp/log")"
  grep -q '^2 passed, 0 failed, 0 skipped' "$tmp/log" || die "not two tests: $(cat "$tmp/log")"
  sed -i '/^random.philox/s/|test_random_philox/|false/' "$bundle/tests.txt"
  "$bundle/run" tests -j 2 '^random' >"$tmp/log" && die "a test that fails is not noticed: $(cat "$tmp/log")"
  grep -q '^1 passed, 1 failed, 0 skipped' "$tmp/log" || die "not one failed: $(cat "$tmp/log")"
  "$bundle/run" tests nothing_of_this_name >/dev/null 2>&1 && die "no test at all passes"

  echo libcudart.so.99 >>"$bundle/lib/outside.txt"
  "$bundle/run" nashflow help >/dev/null 2>"$tmp/log" && die "it starts without the toolkit's library"
  grep -q 'not found: libcudart.so.99' "$tmp/log" || die "the toolkit's library is not named: $(cat "$tmp/log")"
  sed -i '$d' "$bundle/lib/outside.txt"
}

# A program that says it has a GPU and computes on the CPU; with FAKE_SEED its agents are others.
fake_gpu() {
  printf '%s\n' '#!/bin/bash' \
    'if [ "$1" = devices ]; then printf "backend cuda: a fake\n  dimensions 1 to 3\n"; exit; fi' \
    'if [ "$1 $2" = "bench hjb" ]; then echo "  torus_2d, T .1   1024 x 1024     multigrid, cuda 9 8 0.0070 0.0001 4.7 4.7 - 14 0e+00"; exit; fi' \
    'if [ "$1 $2" = "bench sweep" ]; then cat "$FAKE_SWEEPS"; exit; fi' \
    'args=("${@//cuda/cpu}" --set agents.count=2000)' \
    'if [[ " $* " == *" cuda "* && -n "${FAKE_SEED:-}" ]]; then args+=(--set "agents.seed=$FAKE_SEED"); fi' \
    'if [ -n "${FAKE_FAIL:-}" ]; then exit 3; fi' \
    "exec nashflow \"\${args[@]}\"" >"$tmp/fake"
  chmod +x "$tmp/fake"
}

check() { # <what> <exit code> <line of the summary> <environment...>
  local code=0
  env "${@:4}" "$bundle/run" gpu_check "$tmp/check.txt" >"$tmp/log" 2>&1 || code=$?
  [ "$code" -eq "$2" ] || die "$1: exit code $code, not $2: $(cat "$tmp/log" "$tmp/check.txt")"
  grep -qE "$3" "$tmp/check.txt" || die "$1: no line '$3': $(cat "$tmp/check.txt")"
}

gpu_check() {
  local line
  fake_gpu
  check "without a GPU" 16 '^no GPU: ' CUDA_VISIBLE_DEVICES=
  check "all well" 0 '^4 passed, 0 failed, 0 not run' \
    "NASHFLOW_PROGRAM=$tmp/fake" 'NASHFLOW_CHECK_PARTS=^(facts|bits of a whole|outer|backends)'
  grep -qE '^auto over the best fixed choice, at worst, at most 1.1 times \| [0-9.]+ times \| (met|missed)$' \
    "$tmp/check.txt" || die "no figure of auto: $(cat "$tmp/check.txt")"
  grep -qE '^reference outer iteration.*, at most 0.5 ms \| [0-9.]+ ms \| (met|missed)$' "$tmp/check.txt" \
    || die "no time of an iteration: $(cat "$tmp/check.txt")"
  check "a time of the value equation" 0 \
    '^HJB of 1024 .*alone 0.0001, one core 14 times as long., at most 0.1 us \| 0.0070 us \| met$' \
    "NASHFLOW_PROGRAM=$tmp/fake" 'NASHFLOW_CHECK_PARTS=^bench hjb'
  printf '%s\n' 'reference_1d: 50000 agents, 100 cells, 50 steps, h = 2 cells' \
    '  moments 1e-06  8 in 1 9.0 0.2 3.0 9.0 0.8 45.2 8.8e-10 0.05 0.04' \
    '  moments 1e-10  8 in 4 9.0 8.0 3.0 9.0 0.8 45.2 8.8e-10 0.5 0.4' \
    'torus_2d: 1000000 agents, 512 x 512 cells, 10 steps, h = 2 cells' '  moments 1e-06  8 in 1 9.0 8.0 3.0 - - - - 0.4 2' \
    'torus_2d: 10000000 agents, 512 x 512 cells, 10 steps, h = 2 cells' '  not done: 9.9 MB' \
    'torus_2d: 100000000 agents, 1024 x 1024 cells, 10 steps, h = 2 cells' '  moments 1e-06  8 in 1 9 8 3 - - - - 30 5' >"$tmp/sweeps"
  check "times of sweeps" 0 '^2D, 1000000 agents on 512 x 512, push .*, at most 0.05 ms \| 0.0400 ms \| met$' \
    "NASHFLOW_PROGRAM=$tmp/fake" 'NASHFLOW_CHECK_PARTS=^bench sweep' "FAKE_SWEEPS=$tmp/sweeps"
  for line in 'a later call, at most 0.1 ms | 0.2 ms | missed' 'takes of it, at most 0.1 ms | 0.0900 ms | met' \
    '2D, 1000000 agents on 512 x 512, the same with the density, at most 0.05 ms | 0.2400 ms | missed' \
    'on 512 x 512, the same with the density, at most 0.35 ms | no figure | unknown' \
    'on 1024 x 1024, the same with the density, at most 4 ms | 3.5000 ms | met'; do
    grep -qF "$line" "$tmp/check.txt" || die "no line '$line': $(cat "$tmp/check.txt")"
  done
  check "a run that fails" 1 '^FAILED: outer iteration: exit code' \
    "NASHFLOW_PROGRAM=$tmp/fake" 'NASHFLOW_CHECK_PARTS=^outer' FAKE_FAIL=1
  ! grep -q '^reference outer.* ms |' "$tmp/check.txt" || die "a time of a run that did not end: $(cat "$tmp/check.txt")"
  check "other agents" 1 '^FAILED: bits for a given drift: exit code 1' \
    "NASHFLOW_PROGRAM=$tmp/fake" 'NASHFLOW_CHECK_PARTS=given drift' FAKE_SEED=2
  check "on the host stand-in" 0 '^3 passed, 0 failed, 0 not run' "NASHFLOW_PROGRAM=$build/tests/gpu_on_host/nashflow_on_host" \
    'NASHFLOW_CHECK_PARTS=^(facts|bits for a given|bits on two)'
  check "no time" 0 '^not run: bits for a given drift: no time left' \
    "NASHFLOW_PROGRAM=$tmp/fake" 'NASHFLOW_CHECK_PARTS=given drift' NASHFLOW_CHECK_SECONDS=1
}

unpacked() {
  pack
  complete
  gpu_check
}

# ---- a root of its own ----

copy_with_libraries() { # <programs...>
  local path
  for path in "$@"; do
    path=$(command -v "$path")
    { readlink -f "$path"; ldd "$path" | grep -oE '/[^ ]+' || true; } | while read -r file; do
      install -D "$file" "$tmp/root$file"
    done
    if [ ! -e "$tmp/root$path" ]; then install -D "$(readlink -f "$path")" "$tmp/root$path"; fi
  done
}

# Everything of glibc, and nothing of MPICH, PETSc or HDF5.
make_root() {
  local name library
  mkdir -p "$tmp/root"/{proc,sys,dev,tmp,etc,usr/bin,usr/sbin,usr/lib,usr/lib64,usr/local,bundle}
  for name in bin sbin lib lib64; do ln -s "usr/$name" "$tmp/root/$name"; done
  copy_with_libraries bash env cat ls dirname basename readlink mktemp rm tail head sed tr timeout mkdir cp grep awk wc \
    tee date uname nproc id
  copy_with_libraries "$(PATH=$PATH:/sbin command -v ldconfig)"
  for library in libc libm libmvec libpthread libdl librt libresolv libutil libnss_files libnss_dns; do
    for name in /lib/*-linux-gnu/"$library".so.*; do
      if [ -e "$name" ]; then install -D "$(readlink -f "$name")" "$tmp/root$name"; fi
    done
  done
  printf 'root:x:0:0:root:/tmp:/bin/bash\n' >"$tmp/root/etc/passwd"
  printf '127.0.0.1 localhost %s\n' "$(uname -n)" >"$tmp/root/etc/hosts"
}

bare() { # <command...> in the root
  env -i PATH=/usr/bin:/usr/sbin HOME=/tmp unshare --mount bash -c '
root=$1 bundle=$2 cuda=$3
shift 3
mount --bind /proc "$root/proc"
mount --bind /sys "$root/sys"
mount --bind /dev "$root/dev"
mount --bind "$bundle" "$root/bundle"
if [ -n "$cuda" ]; then
  mkdir -p "$root/usr/local/cuda/lib64"
  mount --bind "$cuda" "$root/usr/local/cuda/lib64"
fi
exec chroot "$root" bash -c "cd /bundle && \"\$@\"" bash "$@"' bash "$tmp/root" "$bundle" "$toolkit" "$@"
}

bare_root() {
  local nvcc
  [ "$(id -u)" -eq 0 ] || skip "only root can change its root directory"
  unshare --mount mount --bind /proc /proc 2>/dev/null || skip "no mounts here"
  pack
  make_root
  toolkit=''
  if [ -s "$bundle/lib/outside.txt" ]; then
    nvcc=$(readlink -f "$(command -v nvcc)") || skip "no toolkit to lend"
    bare ./run nashflow help >/dev/null 2>"$tmp/log" && die "it starts without a toolkit"
    grep -q 'not found: libcublas' "$tmp/log" || die "without a toolkit: $(cat "$tmp/log")"
    toolkit=$(dirname "$(dirname "$nvcc")")/lib64
  fi
  bare ./run nashflow run input/torus_1d.yaml --output results/one || die "one rank"
  bare ./run -n 2 nashflow run input/torus_1d.yaml --output results/two || die "two ranks"
  bare ./run h5diff results/one/result.h5 results/two/result.h5 /m || die "two ranks, other densities"
  bare ./run nashflow verify lq_1d || die "verify"
  bare ./run tests '\.cpu\.np[12]$' || die "tests"
  bare ./run nashflow run input/torus_1d.yaml --backend cuda --output results/three >"$tmp/log" 2>&1 \
    && die "a run on a GPU without a GPU"
  cat "$tmp/log"
  grep -qE 'cuda.*(driver|GPU|not there yet)' "$tmp/log" || die "it does not say what is missing"
}

"$1"
