"""What no compiler checks of the architecture: folders are layers, the core library needs neither Python nor a
terminal, the Python package is a thin skin, and nothing leans on the tracing of torch.fx.

Runs under pytest, and alone: ``test_layers.py [LIBRARY]`` with the path of ``libmodulize_core.a``.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What the files of a folder may include besides their own folder.
BASE = {"support", "ir"}
ALLOWED = {
    "support": set(),
    "ir": {"support"},
    "ops": BASE,
    "passes": BASE | {"ops"},
    "explore": BASE | {"ops"},
    "codegen": BASE | {"ops"},
    "validate": BASE | {"ops", "report"},
    "report": BASE | {"ops", "passes"},  # its events are what the passes tell
}
# Console output and exits belong to the tools; Python and bindings to the bridge.
FORBIDDEN_HEADERS = {"iostream", "cstdio", "stdio.h", "print", "cassert", "assert.h", "Python.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def sources(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in {".h", ".cpp", ".def", ".inc"})


def find_violations(core: Path) -> list[str]:
    """Every include in ``core`` that breaks the layers, as ``file: include "x" (why)``."""
    found = []
    for path in sources(core):
        layer = path.relative_to(core).parts[0]
        for bracket, header in INCLUDE.findall(path.read_text(encoding="utf-8")):
            place = f"{path.relative_to(core)}: {header}"
            if bracket == "<":
                if header in FORBIDDEN_HEADERS or header.startswith(("nanobind", "torch", "ATen", "c10")):
                    found.append(f"{place} (not in the core)")
                continue
            target = header.split("/")[0]
            if layer not in ALLOWED:
                found.append(f"{place} (the folder '{layer}' has no layer)")
            elif "/" not in header or target not in ALLOWED:
                found.append(f"{place} (spelled from the root of core)")
            elif target != layer and target not in ALLOWED[layer]:
                found.append(f"{place} ({layer} stands below {target})")
    return found


# The rooms of the bridge, bottom first: a file includes its own room and those before it.
ROOMS = (
    "python",
    "values",
    "world",
    "record",
    "boundary",
    "intercept",
    "capture",
    "explore",
    "materialise",
    "prepare",
    "bind",
)


def find_arrows_back(bridge: Path) -> list[str]:
    """Every include in ``bridge`` that runs back up, as ``file: header``."""
    found = []
    for path in sources(bridge):
        room = path.relative_to(bridge).parts[0]
        for header in re.findall(r'#\s*include "bridge/([^"]+)"', path.read_text(encoding="utf-8")):
            target = header.split("/")[0]
            if room not in ROOMS or target not in ROOMS or ROOMS.index(target) > ROOMS.index(room):
                found.append(f"{path.relative_to(bridge)}: {header}")
    return found


def find_library() -> Path | None:
    library = Path(os.environ.get("MODULIZE_BUILD", ROOT / "build")) / "libmodulize_core.a"
    return library if library.exists() else None


def find_symbols(library: Path) -> list[str]:
    """Undefined symbols of the library that the core must not need."""
    output = subprocess.run(
        ["nm", "--undefined-only", "--demangle", str(library)], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split(None, 1)[1].strip() for line in output.splitlines() if line.strip().startswith("U ")}
    assert len(names) > 20, f"nm shows only {len(names)} symbols of {library}"
    # std::terminate is not among them: the compiler itself calls it in destructors.
    forbidden = re.compile(
        r"_?Py[A-Z_]\w*"
        r"|std::(cout|cerr|clog|wcout|wcerr)\b.*"
        r"|std::__throw_system_error\b.*"
        r"|v?f?w?printf|puts|putchar|fputs|fputc|fwrite|perror|stdout|stderr|__v?f?printf_chk"
        r"|abort|exit|_exit|quick_exit|__assert_fail|std::abort\(.*|std::exit\(.*"
    )
    return sorted(name for name in names if forbidden.fullmatch(name.split("@")[0]))


def test_includes_point_downwards():
    assert len(sources(ROOT / "core")) > 10
    assert find_violations(ROOT / "core") == []


def test_no_include_of_the_bridge_runs_back():
    assert {path.relative_to(ROOT / "bridge").parts[0] for path in sources(ROOT / "bridge")} == set(ROOMS)
    assert find_arrows_back(ROOT / "bridge") == []


def test_includes_of_the_bridge_that_run_back_are_found(tmp_path):
    (tmp_path / "values").mkdir()
    (tmp_path / "attic").mkdir()
    (tmp_path / "values" / "parts.h").write_text('#include "bridge/python/python.h"\n#include "bridge/record/x.h"\n')
    (tmp_path / "attic" / "x.h").write_text('#include "bridge/python/python.h"\n')
    assert find_arrows_back(tmp_path) == ["attic/x.h: python/python.h", "values/parts.h: record/x.h"]


def test_the_bridge_alone_knows_python():
    users = []
    for folder in ("core", "tools"):
        for path in sources(ROOT / folder):
            if re.search(r"\bPy(Object|_INCREF|ErrorOccurred)\b|nanobind|Python\.h", path.read_text(encoding="utf-8")):
                users.append(str(path.relative_to(ROOT)))
    assert users == []


def test_wrong_includes_are_found(tmp_path):
    def write(name: str, text: str):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("support/error.h", "#include <string>\n")
    write("ir/graph.h", '#include "support/error.h"\n#include "ir/value.h"\n')
    assert find_violations(tmp_path) == []
    write("support/error.h", '#include "ir/graph.h"\n')
    write("ir/graph.h", '#include <iostream>\n#  include "value.h"\n#include "passes/pass.h"\n')
    write("passes/pass.h", '#include "bridge/record/capture.h"\n#include "codegen/codegen.h"\n#include <Python.h>\n')
    write("other/x.h", '#include "ir/graph.h"\n')
    assert find_violations(tmp_path) == [
        "ir/graph.h: iostream (not in the core)",
        "ir/graph.h: value.h (spelled from the root of core)",
        "ir/graph.h: passes/pass.h (ir stands below passes)",
        "other/x.h: ir/graph.h (the folder 'other' has no layer)",
        "passes/pass.h: bridge/record/capture.h (spelled from the root of core)",
        "passes/pass.h: codegen/codegen.h (passes stands below codegen)",
        "passes/pass.h: Python.h (not in the core)",
        "support/error.h: ir/graph.h (support stands below ir)",
    ]


def test_forbidden_symbols_are_found(tmp_path):
    compiler, archiver = shutil.which("c++"), shutil.which("ar")
    assert compiler and archiver, "the build needs both"
    source = tmp_path / "x.cpp"
    calls = "".join(f"void f{i}(); void g{i}() {{ f{i}(); }}\n" for i in range(30))
    source.write_text(
        "#include <cstdio>\n#include <cstdlib>\n#include <iostream>\n"
        'extern "C" void* PyList_New(long);\n'
        'void* bad(int n) { if (n) std::abort(); std::printf("%d", n); std::cout << n; return PyList_New(n); }\n'
        + calls
    )
    subprocess.run([compiler, "-c", "-O0", source, "-o", tmp_path / "x.o"], check=True)
    subprocess.run([archiver, "rc", tmp_path / "libx.a", tmp_path / "x.o"], check=True)
    assert find_symbols(tmp_path / "libx.a") == ["PyList_New", "abort", "printf", "std::cout"]


def test_the_core_library_needs_no_python_no_terminal_and_no_abort():
    library = find_library()
    assert library is not None, "no built core library: run ./dev build"
    assert find_symbols(library) == []


# What people see is Python by nature: text, pages, source, a command line. It reads the engine's results.
FOR_PEOPLE = {"_extras.py", "_report.py", "cli", "export", "report", "validate.py"}
# So are the classes that quantization tools look for: they derive from the tools' own.
FOR_TOOLS = {"_tools", "retrace.py"}
# The engine's own functions, described for mypy.
OF_THE_ENGINE = {"_core.pyi"}


def is_list_of_names(path: Path) -> bool:
    """Does the file define nothing itself, such as what a room shows to others?"""
    return not re.search(r"^\s*(def|class|async def) ", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_python_package_is_thin():
    package = ROOT / "python" / "modulize"
    files = [path for path in package.rglob("*.py*") if path.suffix in (".py", ".pyi")]
    lines = {
        str(path.relative_to(package)): len(path.read_text(encoding="utf-8").splitlines())
        for path in files
        if not {"nn", *FOR_PEOPLE, *FOR_TOOLS, *OF_THE_ENGINE}
        & set(path.relative_to(package).parts)  # generated, and functions
    }
    assert lines
    lines = {name: count for name, count in lines.items() if not is_list_of_names(package / name)}
    lines.pop(os.path.join("_engine", "statements.py"))  # Python's own parser at work
    assert sum(lines.values()) < 2600, lines


def test_nothing_leans_on_the_tracing_of_torch_fx():
    """Its tracer, symbolic_trace and Interpreter appear nowhere in the package."""
    files = [*(ROOT / "python").rglob("*.py"), *sources(ROOT / "bridge"), *sources(ROOT / "core")]
    assert files
    used = re.compile(
        r"\bsymbolic_trace\s*\(|\bTracer\s*\(|\bInterpreter\s*\(|fx\.(Interpreter|Tracer|symbolic_trace)\b"
        r"|import.*\b(Tracer|Interpreter|symbolic_trace)\b"
    )
    wrong = []
    for path in files:
        comment = "#" if path.suffix == ".py" else "//"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if used.search(line.split(comment)[0]):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert wrong == []


def main() -> int:
    library = Path(sys.argv[1]) if len(sys.argv) > 1 else find_library()
    failures = find_violations(ROOT / "core")
    if library is not None:
        failures += [f"{library.name} needs {name}" for name in find_symbols(library)]
    test_the_bridge_alone_knows_python()
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
