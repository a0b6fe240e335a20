#!/usr/bin/env bash
# The Python packages that run.py times beside nashflow, in virtual environments of the cache: peers, and
# peers-mfgsolver, which needs NumPy 1. PyTorch is Debian's, since the package index's wheel for x86-64 brings
# gigabytes of CUDA. What cannot be installed is named with the reason and does not stop the rest.
set -euo pipefail
HOME=${HOME:-~}
cache=${NASHFLOW_DEPS:-${XDG_CACHE_HOME:-$HOME/.cache}/nashflow}
mkdir -p "$cache"

install() { # <environment> <package==version>...
  local target=$cache/$1 package have reason
  shift
  if [ ! -x "$target/bin/pip" ]; then
    rm -rf "$target"
    if ! reason=$(/usr/bin/python3 -m venv "$target" 2>&1); then
      echo "skipped: $*: no virtual environment: $(tail -n 1 <<<"$reason")"
      return
    fi
  fi
  have=$("$target/bin/pip" list --format=freeze --disable-pip-version-check 2>/dev/null)
  for package in "$@"; do
    if grep -qixF "$package" <<<"$have"; then continue; fi
    reason=$("$target/bin/pip" install --quiet --disable-pip-version-check "$package" 2>&1) \
      || echo "skipped: $package: $(tail -n 1 <<<"$reason")"
  done
}

install_torch() {
  local sudo=() reason
  if /usr/bin/python3 -c 'import torch' 2>/dev/null; then return; fi
  if ! apt-cache show python3-torch >/dev/null 2>&1; then
    echo "skipped: torch: apt has no python3-torch"
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then sudo=(sudo -n); fi
  reason=$("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o DPkg::Lock::Timeout=300 python3-torch 2>&1) || echo "skipped: torch: $(tail -n 1 <<<"$reason")"
}

install peers numpy==2.4.6 scipy==1.17.1 numba==0.68.1 jax==0.10.2 finufft==2.5.1 KDEpy==1.1.12
install peers-mfgsolver numpy==1.26.4 scipy==1.17.1 h5py==3.16.0 mfgsolver==0.4.4
install_torch
