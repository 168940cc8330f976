#!/usr/bin/env bash
# A small test set on other versions of torch: ./dev test-versions [VERSION...]
# Each gets a virtual environment that is removed afterwards (KEEP=1 keeps it); the extension is built once a CPython.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=$root/build/versions
tools=$root/.venv/bin
[ -x "$tools/cmake" ] || tools=$(dirname "$(command -v "${MODULIZE_TOOLS:-cmake}")")

# torch, CPython, numpy that the wheel was built against
TABLE="
1.9.1  3.9  numpy<2
1.11.0 3.9  numpy<2
1.13.1 3.10 numpy<2
2.0.1  3.11 numpy<2
2.4.1  3.12 numpy<3
2.8.0  3.13 numpy<3
"

python_of() {
  local candidate
  for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
    if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

failed=""
while read -r torch cpython numpy; do
  [ -n "$torch" ] || continue
  [ $# -eq 0 ] || [[ " $* " == *" $torch "* ]] || continue
  if ! python=$(python_of "$cpython"); then
    echo "torch $torch: no CPython $cpython found; install it (pyenv install $cpython)" >&2
    failed+=" $torch"
    continue
  fi
  venv=$folder/venv-$torch build=$folder/cpython-$cpython
  mkdir -p "$folder"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install -q --no-cache-dir "torch==$torch" "$numpy" pytest nanobind || { failed+=" $torch"; continue; }
  # The package as it would be installed, with the extension of this CPython beside it; none is built for a torch.
  rm -rf "$build/package"
  mkdir -p "$build/package"
  if [ ! -f "$build/build.ninja" ]; then
    PATH=$tools:$PATH cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSKBUILD=ON -DPython_EXECUTABLE="$venv/bin/python" >/dev/null
  fi
  PATH=$tools:$PATH cmake --build "$build" -j "${JOBS:-$(nproc)}" >/dev/null
  PATH=$tools:$PATH cmake --install "$build" --prefix "$build/package" >/dev/null
  cp -rn "$root/python/modulize" "$build/package/"
  echo "torch $torch on CPython $cpython:"
  PYTHONPATH=$build/package "$venv/bin/python" -m pytest -q -p no:cacheprovider -c /dev/null --rootdir "$root/tests/versions" \
    "$root/tests/versions" || failed+=" $torch"
  [ -n "${KEEP:-}" ] || rm -rf "$venv"
done <<<"$TABLE"
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
