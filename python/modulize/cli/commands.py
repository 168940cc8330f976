"""The commands: prepare, check, report, opt, doctor."""

from __future__ import annotations

import contextlib
import enum
import importlib.metadata
import json
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import modulize
from modulize import _core
from modulize._extras import MissingExtraError
from modulize._prepare.targets import find_target
from modulize.cli.inputs import UsageError, make_inputs, make_model, place_of
from modulize.report.text import visible

__all__ = ["app"]

# Exit codes.
FOUND, USAGE, FAILED = 1, 2, 3

app = typer.Typer(
    help="Turns a PyTorch model into an equal one in which every computation is an nn.Module of its own.\n\n"
    "Exit codes: 0 done, 1 a check found something, 2 wrong usage, 3 the model could not be loaded, prepared or "
    "written.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _known_target(name: str) -> str:
    try:
        find_target(name)
    except _core.ArgumentError as error:
        raise typer.BadParameter(str(error)) from None
    return name


class OnDynamic(str, enum.Enum):
    branch = "branch"
    keep = "keep"
    specialize = "specialize"
    error = "error"


class Hierarchy(str, enum.Enum):
    flat = "flat"
    keep = "keep"


class Shared(str, enum.Enum):
    tie = "tie"
    copy = "copy"


# What several commands take.
ModelArgument = typer.Argument(..., metavar="MODEL", help="package.module:name or file.py:name of a model or callable")
InputOption = typer.Option([], "--input", "-i", help="An example input: 1x3x224x224, 1x16:int64, name=1x16:int64")
InputsOption = typer.Option(None, "--inputs", help="package.module:function that makes inputs: tensor, tuple or dict")
ArgOption = typer.Option([], "--arg", "-a", help="An argument of the callable, name=value with the value as JSON")
WeightsOption = typer.Option(None, "--weights", "-w", help="Checkpoint: .safetensors, or torch.save of tensors alone")
TrainOption = typer.Option(False, "--train/--eval", help="The mode to prepare the model in")
TargetOption = typer.Option(
    "torch",
    help="Whose module classes and names: torch, aimet, torch.ao, brevitas",
    callback=_known_target,
    autocompletion=lambda: ["torch", "aimet", "torch.ao", "brevitas"],
)
DynamicOption = typer.Option(OnDynamic.branch, help="What becomes of control flow on tensor values")
HierarchyOption = typer.Option(Hierarchy.flat, help="One graph of leaf modules, or callable blocks")
SharedOption = typer.Option(None, help="Whether the modules made of a reused one share its parameters")
LayoutOption = typer.Option(False, "--layout-modules", help="Make modules of view, permute, getitem and the like too")
AttentionOption = typer.Option(
    None,
    "--decompose-attention/--whole-attention",
    help="Open attention into matmul and softmax modules; else as the target has it",
)
IdiomsOption = typer.Option(False, "--idioms", help="Compositions become the torch module that they mean")
PlainOption = typer.Option(
    None,
    "--plain-outputs/--own-outputs",
    help="Tensors, tuples and dicts in place of dataclasses; else as the target has it",
)
CompareOption = typer.Option(False, "--compare", help="Run both models in both modes and on other inputs")
JsonOption = typer.Option(False, "--json", help="Print JSON on stdout and nothing else")
QuietOption = typer.Option(False, "--quiet", "-q", help="Print nothing but errors")


class Session:
    """Where a command prints, and how it fails."""

    def __init__(self, as_json: bool, quiet: bool) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.out, self.err = Console(), Console(stderr=True)

    def say(self, renderable: Any) -> None:
        if not self.as_json and not self.quiet:
            self.out.print(renderable, soft_wrap=isinstance(renderable, str))

    def written(self, file: Path) -> None:
        self.say(escape(visible(f"written: {file}", 10_000)))

    def data(self, value: dict[str, Any]) -> None:
        if self.as_json:
            print(json.dumps(value, indent=2))

    @contextlib.contextmanager
    def steps(self) -> Iterator[Any]:
        """Gives a function that says what is being done; a failure ends the command with a message."""
        hidden = self.as_json or self.quiet or not self.err.is_terminal
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        try:
            with Progress(*columns, console=self.err, transient=True, disable=hidden) as progress:
                task = progress.add_task("starting", total=None)
                yield lambda text: progress.update(task, description=escape(text))
        except (typer.Exit, typer.BadParameter):
            raise
        except Exception as error:  # whatever the user's code raises: its message, not our traceback
            name = type(error).__name__
            known = isinstance(error, (_core.ModulizeError, MissingExtraError))
            message = visible_lines(str(error) if known else f"{name}{place_of(error)}: {error}")
            if self.as_json:
                print(json.dumps({"ok": False, "error": {"type": name, "message": str(error)}}, indent=2))
            else:
                self.err.print(f"[bold red]error[/bold red] {escape(message)}", highlight=False, soft_wrap=True)
            raise typer.Exit(USAGE if isinstance(error, UsageError) else FAILED) from None


def visible_lines(text: str) -> str:
    lines = text.rstrip("\n").split("\n")
    rest = [f"... and {len(lines) - 20} more lines"] if len(lines) > 20 else []
    return "\n".join([*(visible(line) for line in lines[:20]), *rest])


def _options(**values: Any) -> dict[str, Any]:
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in values.items()}


def _prepare(step: Any, source: dict[str, Any], verify: bool, **options: Any) -> tuple[Any, Any, Any, Any]:
    """The model, the prepared model, and its inputs."""
    step("loading the model")
    model = make_model(source["model"], source["arg"], source["weights"], source["train"])
    args, kwargs = make_inputs(source["input"], source["inputs"])
    step("preparing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = modulize.prepare_model(
            model, example_inputs=args, example_kwargs=kwargs, verify=verify, **_options(**options)
        )
    return model, prepared, args, kwargs


def _compare(step: Any, original: Any, prepared: Any, args: Any, kwargs: Any) -> list[dict[str, Any]]:
    """Both models on the inputs and on others; nothing where there are none."""
    if args is None and kwargs is None:
        return []
    step("comparing")
    return modulize.compare_models(original, prepared, args, kwargs)


@app.command()
def prepare(
    model: str = ModelArgument,
    out: Path = typer.Option(..., "--out", "-o", help="Folder to write: model/ (the source), report.html, report.json"),
    input: list[str] = InputOption,
    inputs: Optional[str] = InputsOption,
    arg: list[str] = ArgOption,
    weights: Optional[Path] = WeightsOption,
    train: bool = TrainOption,
    target: str = TargetOption,
    on_dynamic: OnDynamic = DynamicOption,
    hierarchy: Hierarchy = HierarchyOption,
    shared_parameters: Optional[Shared] = SharedOption,
    layout_modules: bool = LayoutOption,
    decompose_attention: Optional[bool] = AttentionOption,
    plain_outputs: Optional[bool] = PlainOption,
    idioms: bool = IdiomsOption,
    verify: bool = typer.Option(True, "--verify/--no-verify", help="Capture twice and compare the outputs"),
    compare: bool = CompareOption,
    force: bool = typer.Option(False, "--force", "-f", help="Replace what was written there before"),
    as_json: bool = JsonOption,
    quiet: bool = QuietOption,
) -> None:
    """Prepare a model and write it as source, with its weights and its report.

    Examples:

    `modulize prepare torchvision.models:resnet18 -i 1x3x224x224 -o resnet18`

    `modulize prepare net.py:Net -a width=32 -w net.safetensors -i 1x3x32x32 -o net --target aimet`

    `modulize prepare models.py:bert --inputs models.py:sentences -o bert --json`
    """
    session = Session(as_json, quiet)
    source = {"model": model, "arg": arg, "weights": weights, "train": train, "input": input, "inputs": inputs}
    with session.steps() as step:
        if out.exists() and not out.is_dir():
            raise _core.ArgumentError(f"{out} is a file, not a folder")
        if (out / "model" / "__init__.py").exists() and not force:
            raise _core.ArgumentError(f"{out / 'model'} holds a package already: --force replaces it")
        original, prepared, args, kwargs = _prepare(
            step,
            source,
            verify,
            target=target,
            on_dynamic=on_dynamic,
            hierarchy=hierarchy,
            shared_parameters=shared_parameters,
            layout_modules=layout_modules,
            decompose_attention=decompose_attention,
            plain_outputs=plain_outputs,
            idioms=idioms,
        )
        if compare:
            _compare(step, original, prepared, args, kwargs)
        step("writing")
        out.mkdir(parents=True, exist_ok=True)
        files = [modulize.save_source(prepared, out / "model", overwrite=force)]
        files.append(prepared.report.save_html(out / "report.html", title=model))
        report = out / "report.json"
        report.write_text(prepared.report.to_json(), encoding="utf-8")
        files.append(report)
    session.data({"ok": True, "files": [str(file) for file in files], "report": prepared.report.as_dict()})
    session.say(prepared.report)
    for file in files:
        session.written(file)


@app.command()
def check(
    model: str = ModelArgument,
    input: list[str] = InputOption,
    inputs: Optional[str] = InputsOption,
    arg: list[str] = ArgOption,
    weights: Optional[Path] = WeightsOption,
    train: bool = TrainOption,
    target: str = TargetOption,
    as_json: bool = JsonOption,
    quiet: bool = QuietOption,
) -> None:
    """Say what a quantization tool would stumble over, before and after preparing, and compare both models.

    The exit code is 1 if something is left after preparing, or if the prepared model computes anything else.

    Examples:

    `modulize check torchvision.models:resnet18 -i 1x3x224x224`

    `modulize check net.py:Net --inputs net.py:batch --json`
    """
    session = Session(as_json, quiet)
    source = {"model": model, "arg": arg, "weights": weights, "train": train, "input": input, "inputs": inputs}
    with session.steps() as step:
        original, prepared, args, kwargs = _prepare(step, source, True, target=target)
        step("validating")
        before = modulize.validate_model(original, args, kwargs)
        after = modulize.validate_model(prepared)
        runs = _compare(step, original, prepared, args, kwargs)
    wrong = [run for run in runs if run["result"] in ("different", "failed")]
    ok = bool(after) and not wrong
    session.data({"ok": ok, "before": before.as_dict(), "after": after.as_dict(), "comparisons": runs})
    session.say(escape(visible_lines(f"before preparing: {before}")))
    session.say(escape(visible_lines(f"after preparing: {after}")))
    for run in runs:
        session.say(escape(visible(f"{run['mode']:5s} {run['inputs']:18s} {run['result']} {run['reason']}".rstrip())))
    if not ok:
        raise typer.Exit(FOUND)


@app.command()
def report(
    model: str = ModelArgument,
    html: Optional[Path] = typer.Option(None, "--html", help="Write the page with the graph to this file"),
    input: list[str] = InputOption,
    inputs: Optional[str] = InputsOption,
    arg: list[str] = ArgOption,
    weights: Optional[Path] = WeightsOption,
    train: bool = TrainOption,
    target: str = TargetOption,
    compare: bool = CompareOption,
    as_json: bool = JsonOption,
    quiet: bool = QuietOption,
) -> None:
    """Prepare a model and show what was done.

    Examples:

    `modulize report torchvision.models:resnet18 -i 1x3x224x224 --html resnet18.html`

    `modulize report net.py:Net --json | jq .share`
    """
    session = Session(as_json, quiet)
    source = {"model": model, "arg": arg, "weights": weights, "train": train, "input": input, "inputs": inputs}
    with session.steps() as step:
        if html is not None and not html.parent.is_dir():
            raise _core.ArgumentError(f"there is no folder {html.parent}")
        original, prepared, args, kwargs = _prepare(step, source, True, target=target)
        if compare:
            _compare(step, original, prepared, args, kwargs)
        if html is not None:
            step("drawing")
            prepared.report.save_html(html, title=model)
    session.data(prepared.report.as_dict())
    session.say(prepared.report)
    if html is not None:
        session.written(html)


def _show_passes(wanted: bool) -> None:
    if wanted:
        print("\n".join(_core.pass_names()))
        raise typer.Exit()


@app.command()
def opt(
    file: Path = typer.Argument(..., help="A graph in .mzir text; - for stdin"),
    passes: str = typer.Option(
        "", help="These passes, in this order, separated by commas; else those of prepare_model"
    ),
    target: str = TargetOption,
    layout_modules: bool = LayoutOption,
    decompose_attention: Optional[bool] = AttentionOption,
    list_passes: bool = typer.Option(
        False, "--list-passes", help="Print the names of all passes", callback=_show_passes, is_eager=True
    ),
) -> None:
    """Run passes on a graph in text form (`prepared.report.captured`) and print what comes out.

    Examples:

    `modulize opt captured.mzir`

    `modulize opt captured.mzir --passes dead_code,functional_to_module`
    """
    session = Session(False, False)
    with session.steps():
        if str(file) != "-" and not file.is_file():
            raise _core.ArgumentError(f"there is no file {file}")
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        words = [("layout_modules", layout_modules), ("decompose_attention", decompose_attention)]
        names = [name.strip() for name in passes.split(",") if name.strip()]
        unknown = [name for name in names if name not in _core.pass_names()]
        if unknown:
            raise UsageError(f"there is no pass {unknown[0]!r}: --list-passes prints their names")
        result = _core.run_passes(text, names, [word for word, given in words if given], target)
    print(result, end="")


@app.command()
def doctor(as_json: bool = JsonOption) -> None:
    """Say what is installed, and whether a small model can be prepared.

    The exit code is 1 if it cannot.
    """
    extras = {
        "report": ("rich", "fast_sugiyama"),
        "cli": ("typer", "rich"),
        "export": ("safetensors", "numpy"),
        "vision": ("torchvision",),
    }
    found: dict[str, Any] = {
        "modulize": modulize.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "extras": {extra: {name: _version(name) for name in names} for extra, names in extras.items()},
    }
    works, reason = _works()
    found |= {"ok": works, "reason": reason}
    session = Session(as_json, False)
    session.data(found)
    for name in ("modulize", "python", "platform", "torch", "cuda"):
        session.say(f"{name:10s} {escape(str(found[name]))}")
    for extra, names in found["extras"].items():
        missing = [name for name, version in names.items() if version is None]
        state = f"missing {', '.join(missing)}: pip install 'modulize\\[{extra}]'" if missing else "installed"
        session.say(f"{extra:10s} {state}")
    session.say("[green]a model can be prepared[/green]" if works else f"[red]{escape(visible(reason))}[/red]")
    if not works:
        raise typer.Exit(FOUND)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return None


def _works() -> tuple[bool, str]:
    model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU())
    try:
        prepared = modulize.prepare_model(model, example_inputs=torch.ones(1, 4))
        same = torch.equal(prepared(torch.ones(3, 4)), model(torch.ones(3, 4)))
        return same, "" if same else "a prepared model computes other values than the original"
    except Exception as error:  # the answer of this command, whatever it is
        return False, f"{type(error).__name__}: {error}"


def _show_version(wanted: bool) -> None:
    if wanted:
        print(modulize.__version__)
        raise typer.Exit()


@app.callback()
def _common(
    version: bool = typer.Option(False, "--version", help="Print the version", callback=_show_version, is_eager=True),
) -> None:
    """See `modulize COMMAND --help`; `modulize --install-completion` completes commands in your shell."""
