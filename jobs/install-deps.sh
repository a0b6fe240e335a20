#!/usr/bin/env bash
# Installs what nashflow needs on Debian 12: packages by apt, PETSc from its released source.
#   jobs/install-deps.sh               everything (as root, or as a user with sudo); as root also a
#                                      Slurm for the tests, which may fail
#   jobs/install-deps.sh --print-env   only the line that names the PETSc to use; 1 if there is none
# A second call ends within seconds. PETSc goes to ${NASHFLOW_DEPS:-${XDG_CACHE_HOME:-~/.cache}/nashflow},
# with CUDA where nvcc is on PATH (it then runs on machines without a GPU too). Where PETSC_DIR or
# pkg-config already gives a usable PETSc on an MPI of the MPICH family, as on a cluster, that one is taken.
set -euo pipefail

petsc_version=3.26.1
petsc_oldest=3.24
cuda_tools_version=13.5.37 # reads what older and equal toolkits compiled
petsc_sha256=a4dc46c1b4403545ac2274741ce10801366c4a9a7b2683b678d18f6663b93496
HOME=${HOME:-~}
cache=${NASHFLOW_DEPS:-${XDG_CACHE_HOME:-$HOME/.cache}/nashflow}
packages=(
  gcc g++ make cmake git pkg-config clang-format ca-certificates
  mpich libmpich-dev libhdf5-mpich-dev hdf5-tools libopenblas-serial-dev
  libyaml-dev libmuparser-dev libcmocka-dev
  python3 python3-pip python3-numpy python3-scipy python3-h5py python3-matplotlib
  python3-xarray python3-h5netcdf python3-netcdf4 ffmpeg valgrind
)
slurm_packages=(slurm-wlm munge)

say() { printf 'install-deps: %s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# ---- the PETSc that is there ----

libraries_resolve() { # a PETSc prefix
  ! ldd "$1/lib/libpetsc.so" 2>&1 | grep -E 'not found|No such file' >/dev/null
}

why_unusable() { # a PETSc prefix; prints a reason, or nothing
  local conf=$1/include/petscconf.h version
  version=$(sed -n 's/^Version: *//p' "$1/lib/pkgconfig/PETSc.pc" 2>/dev/null || true)
  if [ -z "$version" ] || [ ! -f "$conf" ]; then
    echo "it has no lib/pkgconfig/PETSc.pc or no include/petscconf.h"
  elif [ "$(printf '%s\n' "$petsc_oldest" "$version" | sort -V | head -n 1)" != "$petsc_oldest" ]; then
    echo "its version $version is older than $petsc_oldest"
  elif ! grep -qE '^#define PETSC_(HAVE_MPICH|HAVE_I_MPI|HAVE_MVAPICH2|PKG_MPICH_NUMVERSION|PKG_I_MPI_NUMVERSION|PKG_MVAPICH2_NUMVERSION) ' "$conf"; then
    echo "it is not built on an MPI of the MPICH family (MPICH, Cray, Intel, MVAPICH)"
  elif grep -q '^#define PETSC_USE_COMPLEX ' "$conf" || ! grep -q '^#define PETSC_USE_REAL_DOUBLE ' "$conf"; then
    echo "its scalars are not real doubles"
  fi
}

find_petsc() { # prints the prefix of a PETSc that the user or the system gives, or nothing
  local prefix reason
  for prefix in "${PETSC_DIR:+$PETSC_DIR/${PETSC_ARCH:-}}" "${PETSC_DIR:-}" \
    "$(pkg-config --variable=prefix PETSc 2>/dev/null || true)"; do
    if [ -z "$prefix" ] || [ ! -d "$prefix/lib/petsc" ]; then continue; fi
    reason=$(why_unusable "$prefix")
    if [ -z "$reason" ]; then
      printf '%s\n' "${prefix%/}"
      return
    fi
    say "the PETSc in $prefix is not used: $reason"
  done
}

cuda_dir() { # the toolkit of the nvcc on PATH, or nothing
  local nvcc
  nvcc=$(command -v nvcc || true)
  [ -z "$nvcc" ] || dirname "$(dirname "$(readlink -f "$nvcc")")"
}

petsc_options() {
  printf '%s\n' --with-debugging=0 --with-fc=0 --with-x=0 --with-hwloc=0 --with-petsc4py=0 \
    --with-cc=mpicc.mpich --with-cxx=mpicxx.mpich --with-mpiexec=mpiexec.mpich \
    --with-blaslapack-lib=-lopenblas 'COPTFLAGS=-O3' 'CXXOPTFLAGS=-O3'
  local cuda
  cuda=$(cuda_dir)
  if [ -n "$cuda" ]; then
    printf '%s\n' --with-cuda=1 "--with-cuda-dir=$cuda" \
      "--with-cuda-arch=${MFG_CUDA_ARCHITECTURES:-90}" --with-cuda-nvml=0
  else
    printf '%s\n' --with-cuda=0
  fi
}

own_prefix() { # where the build with today's options belongs
  printf '%s/petsc-%s-%s\n' "$cache" "$petsc_version" "$(petsc_options | sha256sum | cut -c1-12)"
}

# Prints the prefix of a complete build in the cache, or nothing: the one with today's options or,
# without nvcc, any of this version (one with CUDA serves too, if its CUDA libraries are there).
find_built() {
  local prefix
  local candidates=("$(own_prefix)")
  [ -n "$(cuda_dir)" ] || candidates+=("$cache/petsc-$petsc_version"-*)
  for prefix in "${candidates[@]}"; do
    if [ -e "$prefix/complete" ] && libraries_resolve "$prefix"; then
      printf '%s\n' "$prefix"
      return
    fi
  done
}

# ---- one step of the work ----

# Keeps a command's output in a file and shows where it is every ten seconds: silence reads as a hang.
show_progress() { # <log>
  local line shown='' count=0 start=$SECONDS next=$((SECONDS + 10)) rc=0
  while [ "$rc" -eq 0 ] || [ "$rc" -gt 128 ]; do # over 128: nothing came for ten seconds
    IFS= read -r -t 10 line && rc=0 || rc=$?
    if [ "$rc" -eq 0 ]; then
      printf '%s\n' "$line"
      count=$((count + 1))
      shown=${line//$'\r'/}
    else
      printf '%s' "$line"
    fi
    if ((SECONDS >= next)); then
      say "  $((SECONDS - start)) s, line $count: ${shown:0:70}"
      next=$((SECONDS + 10))
    fi
  done >"$1"
}

# run_step <what> <log> <remedy> <command...>; no `( ... ) || die`: it would switch off set -e inside.
run_step() {
  local what=$1 log=$2 remedy=$3
  shift 3
  say "$what"
  if ! "$@" 2>&1 </dev/null | show_progress "$log"; then
    tail -n 20 "$log" >&2
    die "$what: failed; all its output is in $log. $remedy"
  fi
}

# ---- packages ----

missing_packages() { # <packages...>
  comm -23 <(printf '%s\n' "$@" | sort) \
    <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p' | sort -u)
}

apt_install() { # <how long> <packages...>, with `sudo` before it
  local how_long=$1 logs
  shift
  say "packages to install: $*"
  logs=$(mktemp -d)
  run_step "apt: package lists" "$logs/update" "Check the network and the apt sources." \
    "${sudo[@]}" apt-get update -q
  run_step "apt: install ($how_long)" "$logs/install" "Try: apt-get install $*" \
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
  rm -rf "$logs"
}

install_packages() {
  local missing sudo=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "not a Debian system: packages are left to you (README, 'On a cluster')"
    return
  fi
  mapfile -t missing < <(missing_packages "${packages[@]}")
  if [ ${#missing[@]} -eq 0 ]; then
    say "packages: all there"
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      [ -n "$(find_petsc)" ] || die "packages are missing: ${missing[*]}; run this as root, install sudo, or ask the administrator"
      say "warning: packages are missing and there is no sudo: ${missing[*]}"
      return
    fi
    sudo=(sudo)
    sudo -v || die "packages are missing and sudo refuses: ${missing[*]}"
  fi
  apt_install "1 to 3 minutes" "${missing[@]}"
}

# The tests labelled slurm start a Slurm of their own and run as root; without it they are skipped. A machine
# that has a Slurm or a munge belongs to a cluster, perhaps, and is left alone. The packages' own services are
# not wanted: they are off afterwards.
install_slurm() {
  local service failed=$cache/slurm.failed sudo=()
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null || command -v sbatch munged >/dev/null; then return; fi
  if [ -e "$failed" ]; then
    say "Slurm for the tests: failed before, not tried again (remove $failed to try)"
    return
  fi
  (apt_install "for the tests with Slurm, 10 seconds" "${slurm_packages[@]}") || {
    say "warning: no Slurm; the tests that need it will be skipped"
    if mkdir -p "$cache" 2>/dev/null; then touch "$failed"; fi
  }
  for service in munge slurmd slurmctld; do
    if [ -d /run/systemd/system ]; then
      systemctl disable --now "$service" >/dev/null 2>&1 || true
    else
      service "$service" stop >/dev/null 2>&1 || true
    fi
  done
}

# ---- tools that read compiled kernels ----

# cuobjdump and nvdisasm, which a small CUDA toolkit lacks, from their wheels (5 MB). A test skips
# without them, so that nothing here ends the installation.
install_cuda_tools() {
  local toolkit tools=$cache/cuda-tools-$cuda_tools_version stage python=/usr/bin/python3 wheel
  toolkit=$(cuda_dir)
  if [ -z "$toolkit" ] || [ -x "$tools/bin/nvdisasm" ]; then return; fi
  if [ -x "$toolkit/bin/cuobjdump" ] && [ -x "$toolkit/bin/nvdisasm" ]; then return; fi
  if ! { mkdir -p "$cache" && stage=$(mktemp -d "$cache/tools.XXXXXX"); }; then return; fi
  say "cuobjdump and nvdisasm $cuda_tools_version for the test of compiled kernels"
  if "$python" -m pip download -q --disable-pip-version-check --no-deps --dest "$stage" \
    "nvidia-cuda-cuobjdump==$cuda_tools_version" "nvidia-cuda-nvdisasm==$cuda_tools_version" >&2 &&
    for wheel in "$stage"/*.whl; do "$python" -m zipfile -e "$wheel" "$stage" || break; done &&
    chmod +x "$stage"/nvidia/cu13/bin/*; then
    rm -rf "$tools"
    mv "$stage/nvidia/cu13" "$tools"
  else
    say "warning: they cannot be had; that test will be skipped"
  fi
  rm -rf "$stage"
}

# ---- the build of PETSc ----

fetch_petsc() { # <directory>: leaves petsc-<version>.tar.gz there, checked
  local file=petsc-$petsc_version.tar.gz python=/usr/bin/python3
  if [ ! -f "$cache/$file" ]; then
    [ -x "$python" ] || python=python3
    "$python" -m pip --version >/dev/null 2>&1 || die "$python has no pip; install python3-pip"
    run_step "PETSc: download (17 MB)" "$1/log.download" \
      "Without network: put $file (sha256 $petsc_sha256) into $cache and run this again." \
      "$python" -m pip download --disable-pip-version-check --no-deps --no-binary petsc --dest "$1" "petsc==$petsc_version"
  else
    cp "$cache/$file" "$1/"
  fi
  printf '%s  %s\n' "$petsc_sha256" "$1/$file" | sha256sum --check --quiet >&2 \
    || die "$file is not the released one (another sha256); remove $cache/$file if it is there, and run this again"
}

build_petsc() { # <prefix>
  local prefix=$1 stage source arch=arch-nashflow options
  case $cache in *[[:space:]]*) die "PETSc cannot be built under '$cache' (white space); set NASHFLOW_DEPS to another directory" ;; esac
  mkdir -p "$cache" 2>/dev/null || true
  [ -w "$cache" ] \
    || die "cannot write to $cache; set NASHFLOW_DEPS to a directory outside the checkout that you can write"
  command -v mpicc.mpich >/dev/null \
    || die "no mpicc.mpich to build PETSc with; install the packages above or, on a cluster, load a PETSc >= $petsc_oldest on MPICH and set PETSC_DIR"
  exec 9>"$cache/petsc.lock"
  if ! flock --nonblock 9; then
    say "PETSc: another build is under way in $cache; waiting for it"
    flock 9
    if [ -e "$prefix/complete" ]; then return; fi
  fi
  rm -rf "$cache"/stage.* # with the lock held, only what an interrupted build left
  stage=$(mktemp -d "$cache/stage.XXXXXX")
  say "PETSc $petsc_version, once: about $([ -z "$(cuda_dir)" ] && echo 6 || echo 10) minutes on two cores; logs in $stage"

  fetch_petsc "$stage"
  tar -C "$stage" -xf "$stage/petsc-$petsc_version.tar.gz"
  source=$stage/petsc-$petsc_version
  mapfile -t options < <(petsc_options)
  unset PETSC_DIR PETSC_ARCH
  cd "$source"
  run_step "PETSc: configure" "$stage/log.configure" "PETSc's own log: $source/configure.log" \
    /usr/bin/python3 ./configure "PETSC_ARCH=$arch" "${options[@]}" "--prefix=$prefix"
  run_step "PETSc: make (about 1250 lines)" "$stage/log.make" "Is the memory or the disk full?" \
    make "PETSC_DIR=$source" "PETSC_ARCH=$arch" "MAKE_NP=$(nproc)" all
  run_step "PETSc: install" "$stage/log.install" "Is the disk full?" \
    make "PETSC_DIR=$source" "PETSC_ARCH=$arch" "DESTDIR=$stage/root" install
  cd /
  libraries_resolve "$stage/root$prefix" || die "the PETSc just built misses libraries: $(ldd "$stage/root$prefix/lib/libpetsc.so" | grep 'not found')"
  touch "$stage/root$prefix/complete"
  rm -rf "$prefix"
  mv "$stage/root$prefix" "$prefix"
  rm -rf "$stage"
  exec 9>&-
}

print_env() {
  local prefix
  prefix=$(find_petsc)
  prefix=${prefix:-$(find_built)}
  [ -n "$prefix" ] || die "no PETSc yet; run jobs/install-deps.sh or, on a cluster, load a PETSc >= $petsc_oldest on MPICH and set PETSC_DIR"
  printf 'export PETSC_PREFIX=%q\n' "$prefix"
}

main() {
  local prefix
  case "$#:${1:-}" in
    0:) ;;
    1:--print-env)
      print_env
      return
      ;;
    *) die "unknown arguments '$*'; usage: jobs/install-deps.sh [--print-env]" ;;
  esac
  install_packages
  install_slurm
  prefix=$(find_petsc)
  if [ -n "$prefix" ]; then
    say "PETSc: the one given, $prefix"
  else
    prefix=$(find_built)
    if [ -n "$prefix" ]; then
      say "PETSc $petsc_version: already in $prefix"
    else
      prefix=$(own_prefix)
      build_petsc "$prefix"
      say "PETSc $petsc_version: installed in $prefix"
    fi
  fi
  install_cuda_tools
  say "done in $SECONDS s"
}

main "$@"
