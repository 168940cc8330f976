"""The wheel: built without torch, links none of it, holds all that it must, works where it is installed."""

import os
import re
import subprocess
import sys
import textwrap
import zipfile

import pytest


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # torch is there in this environment: make sure that the build does not notice.
    blocker = folder / "blocker" / "torch"
    blocker.mkdir(parents=True)
    (blocker / "__init__.py").write_text("raise ImportError('the build must not need torch')\n")
    environment = {**os.environ, "PYTHONPATH": str(blocker.parent), "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count())}
    environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environment["PATH"]
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--quiet"]
    command += ["--config-settings", f"build-dir={folder / 'build'}", "--wheel-dir", str(folder), str(root)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    assert result.returncode == 0, result.stderr[-4000:]
    wheels = list(folder.glob("modulize-*.whl"))
    assert len(wheels) == 1
    return wheels[0]


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    modules = {name for name in names if name.startswith("modulize/")}
    page = [f"report/page.{kind}" for kind in ("html", "css", "js")]
    for needed in (
        "__init__.py",
        "aimet.py",
        "py.typed",
        "nn/__init__.py",
        "nn/_generated.py",
        "cli/commands.py",
        *page,
    ):
        assert f"modulize/{needed}" in modules
    extensions = [name for name in modules if name.endswith(".so")]
    assert len(extensions) == 1
    assert re.fullmatch(r"modulize/_core\..*\.so", extensions[0])
    assert not [name for name in names if name.endswith((".pyc", ".cpp", ".h", ".a"))]
    assert {name.split("/")[0] for name in names} == {
        "modulize",
        next(n.split("/")[0] for n in names if ".dist-info" in n),
    }


def test_metadata_asks_for_torch_alone(wheel):
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert required == ["Requires-Dist: torch>=1.9"]
    scripts = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    assert "modulize = modulize.cli:main" in scripts


def test_installed_wheel_links_no_torch_and_prepares_a_model(wheel, tmp_path):
    site = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True)
    extension = next((site / "modulize").glob("_core*.so"))
    linked = subprocess.run(["ldd", extension], check=True, capture_output=True, text=True).stdout
    assert "libstdc++" in linked
    assert not re.search(r"torch|c10|cuda", linked)
    symbols = subprocess.run(
        ["nm", "-DC", "--undefined-only", extension], check=True, capture_output=True, text=True
    ).stdout
    assert not re.search(r"\b(c10|at|torch)::", symbols)
    script = """
        import modulize, torch, torch.nn.functional as F
        from modulize import prepare_model
        from modulize.aimet import prepare_model as aimet_prepare_model

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = torch.nn.Linear(4, 4)
            def forward(self, x):
                return F.relu(self.fc(x)) + 1

        model, x = Net().eval(), torch.randn(2, 4)
        assert aimet_prepare_model.keywords == {"target": "aimet"}
        for prepared in (prepare_model(model), prepare_model(model, example_inputs=x)):
            assert torch.equal(prepared(x), model(x))
            assert type(prepared.module_relu) is torch.nn.ReLU
        assert torch.equal(modulize.load_source(modulize.save_source(prepared, "net"))(x), model(x))
        assert prepared.report.save_html("net.html").stat().st_size > 10_000
        assert modulize.validate_model(prepared)
        print(modulize.__file__)
    """
    environment = {**os.environ, "PYTHONPATH": str(site)}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(site / "modulize" / "__init__.py")
    assert "nanobind: leaked" not in result.stderr
    # A script that ends by an exception shows that alone.
    failing = "import torch, modulize\np = modulize.prepare_model(torch.nn.ReLU(), example_inputs=torch.ones(1))\n1 / 0"
    result = subprocess.run(
        [sys.executable, "-c", failing], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.stderr.strip().endswith("ZeroDivisionError: division by zero")
    # Its names beside torch's.
    both = "from torch import nn\nfrom modulize import *\nassert nn.Module and prepare_model"
    subprocess.run([sys.executable, "-c", both], env=environment, check=True, timeout=120)
