#!/usr/bin/env bash
# VTK with its XDMF reader, for the test of the sidecar: about 760 MB in a virtual environment of its
# own, because Debian's python3-vtk9 brings Open MPI with it.
set -euo pipefail
target=${NASHFLOW_DEPS:-${XDG_CACHE_HOME:-$HOME/.cache}/nashflow}/vtk
[ -x "$target/bin/python" ] && "$target/bin/python" -c 'import vtkmodules.vtkIOXdmf2' && exit 0
mkdir -p "$(dirname "$target")"
/usr/bin/python3 -m venv "$target"
"$target/bin/pip" install --quiet vtk
"$target/bin/python" -c 'import vtkmodules.vtkIOXdmf2'
