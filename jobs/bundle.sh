#!/usr/bin/env bash
# Builds nashflow and packs it with its tests and all libraries that it needs, for machines without internet,
# MPICH, PETSc and HDF5:
#   jobs/bundle.sh [FILE.tar.xz]                build (release) and pack; default nashflow-VERSION-MACHINE.tar.xz
#   jobs/bundle.sh --unpacked DIRECTORY BUILD   from a build that is there, not packed
#   jobs/bundle.sh --check DIRECTORY            is an unpacked one complete?
# Not in it, and wanted from the machine it runs on: glibc, at least as new as here; the driver; the CUDA toolkit
# and NCCL in the versions it was compiled with (only where nvcc was found); the verbs library of InfiniBand.
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

most_mib=60
glibc='ld-linux.*|linux-vdso|libc|libm|libmvec|libpthread|libdl|librt|libresolv|libutil|libanl'
driver='libcuda|libnvidia-.*'
toolkit='libcudart|libcublas|libcublasLt|libcusparse|libcusolver|libcurand|libcufft|libnvJitLink|libnvrtc|libnccl'
verbs='libibverbs|librdmacm|libmlx5' # UCX looks for these itself and does without

say() { printf 'bundle: %s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

cached() { # a variable of the build
  sed -n "s/^$1:[^=]*=//p" "$build/CMakeCache.txt"
}

needed() { # <files...>: the libraries that they name
  LC_ALL=C readelf -d "$@" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u
}

outside() { # the list on stdin without what a machine must have itself
  grep -Ev "^($glibc|$driver|$toolkit)\.so" || true
}

# ---- what is copied ----

copy_libraries() { # copies what the programs in $bundle/bin load
  local name path ucx
  for path in "$bundle"/bin/*; do
    ldd "$path"
  done | sed -n 's/^\t\(.*\) => \(.*\) (0x.*/\1 \2/p' | sort -u >"$stage/libraries"
  ! grep -q 'not found' "$stage/libraries" || die "the program misses libraries: $(grep 'not found' "$stage/libraries")"
  while read -r name path; do
    [ -z "$(outside <<<"$name")" ] || cp -L "$path" "$bundle/lib/$name"
  done <"$stage/libraries"
  path=$(sed -n 's/^libucs\.so\.0 //p' "$stage/libraries")
  for ucx in "$(dirname "$(readlink -f "${path:-/none/}")")"/ucx/*.so.0; do # transports, found beside libucs
    [ ! -e "$ucx" ] || install -D -m 644 "$ucx" "$bundle/lib/ucx/$(basename "$ucx")"
  done
}

# name|ranks|seconds|environment|program arguments: the programs under mpiexec whose arguments are no paths.
write_tests() {
  ctest --test-dir "$build" --show-only=json-v1 | "$(cached Python3_EXECUTABLE)" -c '
import json, os, sys
build = os.path.realpath(sys.argv[1])
for test in json.load(sys.stdin)["tests"]:
    command = test.get("command", [])
    has = {p["name"]: p["value"] for p in test["properties"]}
    if (not command or command[0] != sys.argv[2] or os.path.dirname(os.path.realpath(command[3])) != build + "/tests"
            or "slow" in has["LABELS"] or ".standin." in test["name"] or any("/" in a for a in command[4:])):
        continue
    settings = [e for e in has.get("ENVIRONMENT", []) if not e.startswith("LD_PRELOAD=")]
    print("|".join([test["name"], command[2], str(round(has["TIMEOUT"])), " ".join(settings),
                    " ".join([os.path.basename(command[3])] + command[4:])]))
' "$build" "$(cached MPIEXEC_EXECUTABLE)" >"$bundle/tests.txt"
  [ -s "$bundle/tests.txt" ] || die "$build has no tests; configure it with BUILD_TESTING=ON"
}

copy_programs() {
  local mpiexec test
  mpiexec=$(readlink -f "$(command -v "$(cached MPIEXEC_EXECUTABLE)")")
  [ -x "$(dirname "$mpiexec")/hydra_pmi_proxy" ] \
    || die "$mpiexec is not MPICH's: no hydra_pmi_proxy beside it; name one: -DMPIEXEC_EXECUTABLE=mpiexec.mpich"
  cp "$mpiexec" "$bundle/bin/mpiexec"
  cp "$(dirname "$mpiexec")/hydra_pmi_proxy" "$build/nashflow" "$build"/tests/bench_* "$bundle/bin/"
  ! command -v h5diff >/dev/null || cp "$(readlink -f "$(command -v h5diff)")" "$bundle/bin/h5diff"
  write_tests
  cut -d'|' -f5 "$bundle/tests.txt" | cut -d' ' -f1 | sort -u | while read -r test; do
    cp "$build/tests/$test" "$bundle/bin/"
  done
}

copy_files() {
  local part
  for part in input postprocess jobs; do
    mkdir -p "$bundle/$part"
    tar -C "$source/$part" --exclude=__pycache__ -cf - . | tar -C "$bundle/$part" -xf -
  done
  rm -f "$bundle"/jobs/{install-deps,install-vtk,build,quickstart,test,bundle}.sh # for a checkout
  mv "$bundle/jobs/bundle_run.sh" "$bundle/run"
  ln -s run "$bundle/nashflow"
  mkdir -p "$bundle/share/nashflow" # where the program looks for its cases
  ln -s ../../input "$bundle/share/nashflow/input"
  cp "$source"/{README.md,LICENSE,CITATION.cff} "$bundle/"
}

# Without debug information, and without the places of this machine's libraries.
slim() {
  local files
  mapfile -t files < <(find "$bundle/bin" "$bundle/lib" -type f -name '*.so*' -o -type f -path '*/bin/*')
  chmod u+w,a+rx "${files[@]}"
  strip --strip-unneeded "${files[@]}"
  printf 'foreach(file %s)\n  file(RPATH_REMOVE FILE "${file}")\nendforeach()\n' "${files[*]@Q}" | tr "'" '"' >"$stage/slim.cmake"
  cmake -P "$stage/slim.cmake" >/dev/null || die "the libraries' search paths cannot be taken out"
}

copyrights() { # of the libraries from Debian's packages
  local package
  command -v dpkg-query >/dev/null || return 0
  mkdir "$bundle/lib/copyright"
  # dpkg knows files by the place from before or after /lib became a link.
  cut -d' ' -f2 "$stage/libraries" | while read -r package; do
    printf '%s\n' "$package" "$(readlink -f "$package")" "${package#/usr}"
  done | sort -u | { xargs dpkg-query -S 2>/dev/null || true; } | sed 's/:.*//' | sort -u | while read -r package; do
    [ ! -e "/usr/share/doc/$package/copyright" ] || cp -L "/usr/share/doc/$package/copyright" "$bundle/lib/copyright/$package"
  done
}

# ---- is it all there? ----

check() { # <directory>
  local directory=$1 file name missing=0
  while read -r file; do
    while read -r name; do
      if [ -e "$directory/lib/$name" ]; then continue; fi
      if [[ $file = */lib/ucx/* && $name =~ ^($verbs)\.so ]] || [ -e "$directory/lib/ucx/$name" ]; then continue; fi
      say "${file#"$directory"/} needs $name, which is not in the bundle"
      missing=1
    done < <(needed "$file" | outside)
    if LC_ALL=C readelf -d "$file" | grep -E '\((RPATH|RUNPATH)\)' >/dev/null; then
      say "${file#"$directory"/} has a search path of the machine where it was built"
      missing=1
    fi
  done < <(find "$directory/bin" "$directory/lib" -type f -name '*.so*' -o -type f -path '*/bin/*')
  [ -s "$directory/tests.txt" ] || die "no tests.txt in $directory"
  [ "$missing" -eq 0 ] || die "$directory is not complete"
}

make_bundle() { # <build> <directory>
  build=$1 bundle=$2
  mkdir -p "$bundle/bin" "$bundle/lib"
  copy_programs
  copy_libraries
  copy_files
  needed "$bundle"/bin/* "$bundle"/lib/*.so* | grep -E "^($toolkit)\.so" >"$bundle/lib/outside.txt" || true
  slim
  copyrights
  check "$bundle"
}

pack() { # <file>
  local file name
  file=$(realpath -m "$1")
  # "nashflow 0.1.0 (commit 644048f0b0...": nashflow-0.1.0-644048f0b0
  name=$("$bundle/run" nashflow --version | sed -nE '1s/^nashflow ([^ ]+) \(commit (.{10}).*/nashflow-\1-\2/p')
  name=${name:-nashflow}
  mv "$bundle" "$stage/$name"
  say "compress $(du -sm "$stage/$name" | cut -f1) MiB (a minute or two)"
  mkdir -p "$(dirname "$file")"
  tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$name" | xz -T0 -6 >"$file.part"
  mv "$file.part" "$file"
  say "$file: $(du -m "$file" | cut -f1) MiB. There: tar -xf, then ./run (README, 'A bundle')"
  [ "$(stat -c %s "$file")" -le $((most_mib << 20)) ] || die "more than $most_mib MiB"
}

main() {
  stage=$(mktemp -d)
  trap 'rm -rf "$stage"' EXIT
  case ${1:-} in
    --check)
      [ $# -eq 2 ] || die "--check needs the directory of a bundle"
      check "$2"
      ;;
    --unpacked)
      [ $# -eq 3 ] || die "--unpacked needs a directory to make and a build directory"
      [ ! -e "$2" ] || die "$2 is there already"
      make_bundle "$(realpath "$3")" "$(realpath -m "$2")"
      ;;
    -*) die "unknown option '$1'; see the first lines of this file" ;;
    *)
      "$source/jobs/build.sh" release
      make_bundle "$source/build" "$stage/bundle"
      pack "${1:-nashflow-$(uname -m).tar.xz}"
      ;;
  esac
}

main "$@"
