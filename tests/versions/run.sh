#!/usr/bin/env bash
# A small test set on other versions of torch: ./dev test-versions [VERSION...]
# Each gets a folder of its own that is removed afterwards (KEEP=1 keeps it); the extension is built once a CPython.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=$root/build/versions
tools=$root/.venv/bin
[ -x "$tools/cmake" ] || tools=$(dirname "$(command -v "${MODULIZE_TOOLS:-cmake}")")

# Name, CPython, torch for pip, numpy that the wheel was built against. `debian`: the torch 1.13 of Debian 12, small.
# `pinned`: the version that everything else is tested with, in its own environment.
TABLE="
1.9.1  3.9  torch==1.9.1  numpy<2
1.11.0 3.9  torch==1.11.0 numpy<2
1.13.1 3.10 torch==1.13.1 numpy<2
2.0.1  3.11 torch==2.0.1  numpy<2
2.4.1  3.12 torch==2.4.1  numpy<3
2.8.0  3.13 torch==2.8.0  numpy<3
debian 3.11
pinned 3.11
"

is_cpython() { "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" 2>/dev/null; }

python_of() {
  local candidate
  for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
    if is_cpython "$candidate" "$1"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

missing_packages() { apt-get install -s --no-install-recommends python3-torch 2>/dev/null | awk '/^Inst/ {print $2}'; }

# The packages of Debian's torch that this system lacks, unpacked below a folder: no rights are needed.
unpack_debian() {
  local into=$1 wanted
  wanted=$(missing_packages) || { apt-get update -qq && wanted=$(missing_packages); } 2>/dev/null || return
  mkdir -p "$into/archives"
  (cd "$into/archives" && { [ -z "$wanted" ] || apt-get download -qq $wanted; }) 2>/dev/null || return
  find "$into/archives" -name '*.deb' -exec dpkg-deb -x {} "$into" \;
  rm -rf "$into/archives"
}

# The package for a CPython, as it would be installed; the extension is that of the development build where it fits.
package_for() {
  local python=$1 cpython=$2 build=$folder/cpython-$2
  if [ -x "$tools/python" ] && is_cpython "$tools/python" "$cpython" && ls "$root"/python/modulize/_core.*.so >/dev/null 2>&1; then
    echo "$root/python"
    return
  fi
  rm -rf "$build/package" && mkdir -p "$build/package" || return
  # nanobind of its own, which stays when an environment goes.
  [ -x "$build/venv/bin/python" ] || { "$python" -m venv "$build/venv" && "$build/venv/bin/python" -m pip install -q nanobind; } >&2 || return
  if [ ! -f "$build/build.ninja" ]; then  # quick to build, not to run
    PATH=$tools:$PATH cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DSKBUILD=ON \
      -DPython_EXECUTABLE="$build/venv/bin/python" >&2 || return
  fi
  PATH=$tools:$PATH cmake --build "$build" -j "${JOBS:-$(nproc)}" >&2 || return
  PATH=$tools:$PATH cmake --install "$build" --prefix "$build/package" >&2 || return
  cp -rn "$root/python/modulize" "$build/package/"
  echo "$build/package"
}

test_version() {
  local name=$1 cpython=$2 torch=${3:-} numpy=${4:-} python package path= libraries= venv=$folder/venv-$1
  if [ "$name" = pinned ]; then
    python=$tools/python
    venv=$(dirname "$tools")
  elif [ "$name" = debian ]; then
    python=/usr/bin/python$cpython  # for which Debian builds; its packages may be installed
    { [ -x "$python" ] && unpack_debian "$venv/debian"; } || { echo "not run: apt-get has no torch for $python" >&2; return 0; }
    path=:$venv/debian/usr/lib/python3/dist-packages
    libraries=$(find "$venv/debian" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')
    [ -x "$venv/bin/python" ] || "$python" -m venv --system-site-packages "$venv" || return
    "$venv/bin/python" -m pip install -q --ignore-installed pytest || return
  else
    python=$(python_of "$cpython") || { echo "no CPython $cpython found; install it (pyenv install $cpython)" >&2; return 1; }
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || return
    "$venv/bin/python" -m pip install -q --no-cache-dir "$torch" "$numpy" pytest || return
  fi
  package=$(package_for "$python" "$cpython" 2>"$folder/build.log") || { cat "$folder/build.log" >&2; return 1; }
  PYTHONPATH=$package$path LD_LIBRARY_PATH=$libraries "$venv/bin/python" -m pytest -q -p no:cacheprovider \
    -c /dev/null --rootdir "$root/tests/versions" "$root/tests/versions"
}

failed=""
mkdir -p "$folder"
while read -r name rest; do
  [ -n "$name" ] || continue
  [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
  echo "torch $name on CPython ${rest%% *}:"
  test_version "$name" $rest || failed+=" $name"
  [ -n "${KEEP:-}" ] || rm -rf "$folder/venv-$name"
done <<<"$TABLE"
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
