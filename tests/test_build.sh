#!/usr/bin/env bash
# One promise of CMakeLists.txt: test_build.sh <case> <source directory> <build directory>
# A wrong MPI or HDF5 is played by its tell-tale: a macro, a version text, a library that is pulled in.
set -euo pipefail

source=$2
build=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

die() {
  echo "test_build: $*" >&2
  exit 1
}

configure() { # [cmake options]; output to $tmp/log
  cmake -S "$source" -B "$tmp/build" -DBUILD_TESTING=OFF "$@" >"$tmp/log" 2>&1
}

refused() { # <part of the message> [cmake options]
  local message=$1
  shift
  if configure "$@"; then die "configured, but should say: $message"; fi
  # CMake wraps its messages: compare without line ends.
  tr -s ' \n' '  ' <"$tmp/log" | grep -F -- "$message" >/dev/null || { cat "$tmp/log"; die "failed, but does not say: $message"; }
  tr -s ' \n' '  ' <"$tmp/log" | grep -E 'jobs/install-deps.sh' >/dev/null || die "no remedy beside: $message"
}

hdf5_stub() { # <cflags> <libs>: a pkg-config file that comes before the real one
  mkdir -p "$tmp/pc"
  printf 'Name: HDF5\nDescription: stub\nVersion: 1.10.8\nCflags: %s\nLibs: %s\n' "$1" "$2" >"$tmp/pc/hdf5-mpich.pc"
  unset HDF5_ROOT HDF5_DIR
  export PKG_CONFIG_PATH=$tmp/pc:${PKG_CONFIG_PATH:-}
}

accepts() { configure || { cat "$tmp/log"; die "does not configure"; }; }

refuses_open_mpi() { refused "The MPI found is Open MPI" -DCMAKE_C_FLAGS=-DOPEN_MPI; }

refuses_open_mpi_launcher() {
  printf '#!/bin/sh\necho "mpiexec (OpenRTE) 4.1.4"\n' >"$tmp/mpiexec"
  chmod +x "$tmp/mpiexec"
  refused "is Open MPI's, the MPI library is not" "-DMPIEXEC_EXECUTABLE=$tmp/mpiexec"
}

refuses_missing_petsc() {
  unset PETSC_DIR PETSC_ARCH
  export NASHFLOW_DEPS=$tmp/nothing PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR=$tmp
  refused "No PETSc found"
}

refuses_petsc_on_open_mpi() {
  mkdir -p "$tmp/petsc/lib/petsc" "$tmp/petsc/lib/pkgconfig" "$tmp/petsc/include"
  echo 'Version: 3.26.1' >"$tmp/petsc/lib/pkgconfig/PETSc.pc"
  printf '#define PETSC_HAVE_OPENMPI 1\n#define PETSC_USE_REAL_DOUBLE 1\n' >"$tmp/petsc/include/petscconf.h"
  export PETSC_DIR=$tmp/petsc PETSC_ARCH='' NASHFLOW_DEPS=$tmp/nothing PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR=$tmp
  refused "it is not built on an MPI of the MPICH family"
}

refuses_serial_hdf5() {
  echo 'typedef int hid_t;' >"$tmp/hdf5.h"
  hdf5_stub "-I$tmp" ""
  refused "The HDF5 found is serial"
}

refuses_hdf5_on_open_mpi() {
  printf '#define OPEN_MPI 1\n#define H5_HAVE_PARALLEL 1\n' >"$tmp/hdf5.h"
  hdf5_stub "-I$tmp" ""
  refused "The HDF5 found is built on Open MPI"
}

refuses_hdf5_linked_to_open_mpi() {
  printf '#include <mpi.h>\n#define H5_HAVE_PARALLEL 1\n#define H5P_FILE_ACCESS 0\nint H5Pcreate(int);\nint H5Pset_fapl_mpio(int, MPI_Comm, MPI_Info);\n' >"$tmp/hdf5.h"
  echo 'int opal(void) { return 0; }' >"$tmp/opal.c"
  echo 'int opal(void); int H5Pcreate(int a) { return a + opal(); } int H5Pset_fapl_mpio(int a, int b, int c) { return a + b + c; }' >"$tmp/h5.c"
  gcc -shared -fPIC -Wl,-soname,libopen-pal.so.40 -o "$tmp/libopen-pal.so.40" "$tmp/opal.c"
  gcc -shared -fPIC -o "$tmp/libhdf5.so" "$tmp/h5.c" "$tmp/libopen-pal.so.40" "-Wl,-rpath,$tmp"
  hdf5_stub "-I$tmp" "-L$tmp -lhdf5"
  refused "The HDF5 found pulls in Open MPI"
}

install() {
  cmake --install "$build" --prefix "$tmp/first" >"$tmp/log"
  mv "$tmp/first" "$tmp/moved"
  env -u LD_LIBRARY_PATH "$tmp/moved/bin/nashflow" help >/dev/null || die "the installed program does not run once moved"
  local file
  for file in share/doc/nashflow/README.md share/doc/nashflow/LICENSE share/doc/nashflow/CITATION.cff; do
    [ -e "$tmp/moved/$file" ] || die "not installed: $file"
  done
}

"$1"
