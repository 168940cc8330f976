"""The rules of the architecture that a compiler does not check."""

import re
import subprocess

import pytest

# Folder -> the folders that its files may include. Arrows point down.
CORE_LAYERS = {
    "support": {"support"},
    "ir": {"ir", "support"},
    "ops": {"ops", "ir", "support"},
    "passes": {"passes", "ops", "ir", "support"},
    "codegen": {"codegen", "ops", "ir", "support"},
    "explore": {"explore", "ops", "ir", "support"},
    "validate": {"validate", "ops", "ir", "support"},
    "report": {"report", "passes", "ops", "ir", "support"},
}
SOURCES = ("*.cpp", "*.h")


def sources(folder):
    return sorted(path for pattern in SOURCES for path in folder.rglob(pattern))


def includes(path):
    return re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE)


def test_every_core_folder_is_a_known_layer(root):
    folders = {path.relative_to(root / "core").parts[0] for path in sources(root / "core")}
    assert folders
    assert folders <= set(CORE_LAYERS)


@pytest.mark.parametrize("layer", CORE_LAYERS)
def test_core_layer_includes_only_what_lies_below(root, layer):
    wrong = [
        f"{path.relative_to(root)}: {include}"
        for path in sources(root / "core" / layer)
        for include in includes(path)
        if include.split("/")[0] not in CORE_LAYERS[layer]
    ]
    assert not wrong


def test_core_and_tools_know_no_python(root):
    files = [*sources(root / "core"), *sources(root / "tools")]
    assert files
    wrong = [
        str(path) for path in files if re.search(r"#include\s*[<\"](Python\.h|nanobind|bridge/)", path.read_text())
    ]
    assert not wrong


def test_core_library_has_no_python_no_output_and_no_abort(build_folder):
    library = build_folder / "libmodulize_core.a"
    listing = subprocess.run(
        ["nm", "-C", "--undefined-only", library], check=True, capture_output=True, text=True
    ).stdout
    symbols = {
        line.split(maxsplit=1)[1] for line in listing.splitlines() if line.startswith(" ") and len(line.split()) > 1
    }
    assert len(symbols) > 50
    forbidden = re.compile(
        r"^(_?Py[A-Z_]|puts$|printf$|putchar$|abort$|exit$|_exit$|std::cout|std::cerr|std::clog|std::terminate)"
    )
    # The compiler itself calls std::terminate in noexcept functions and destructors.
    assert not {symbol for symbol in symbols if forbidden.match(symbol)} - {"std::terminate()"}


def test_python_package_is_thin(root):
    package = root / "python" / "modulize"
    files = [
        path
        for path in package.rglob("*.py*")
        if path.suffix in (".py", ".pyi") and "nn" not in path.relative_to(package).parts
    ]
    assert files
    lines = {str(path.relative_to(package)): len(path.read_text().splitlines()) for path in files}
    assert sum(lines.values()) < 1500, lines


def test_capture_does_not_lean_on_torch_fx_tracing(root):
    """torch.fx's own tracer, symbolic_trace and Interpreter appear nowhere in the package."""
    files = [*(root / "python").rglob("*.py"), *sources(root / "bridge"), *sources(root / "core")]
    assert files
    used = re.compile(
        r"\bsymbolic_trace\s*\(|\bTracer\s*\(|\bInterpreter\s*\(|fx\.(Interpreter|Tracer|symbolic_trace)\b|import.*\b(Tracer|Interpreter|symbolic_trace)\b"
    )
    wrong = []
    for path in files:
        comment = "#" if path.suffix == ".py" else "//"
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if used.search(line.split(comment)[0]):
                wrong.append(f"{path.relative_to(root)}:{number}: {line.strip()}")
    assert not wrong


def test_stub_of_the_extension_names_all_it_has(root):
    import modulize._core

    stub = (root / "python" / "modulize" / "_core.pyi").read_text()
    stated = set(re.findall(r"^(?:def|class) (\w+)", stub, re.MULTILINE))
    assert stated == {name for name in vars(modulize._core) if not name.startswith("__")}
