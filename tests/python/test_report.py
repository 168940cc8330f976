"""The report in all its forms: data, terminal, notebook, and the page in a real browser."""

import contextlib
import dataclasses
import io
import json
import pickle
import re
import shutil
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from catalogue import find
from modulize import ModulizeError, compare_models, prepare_model, validate_model
from modulize.report.layout import scope_drawings
from observe import observe


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.act = nn.ReLU()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))

    def forward(self, x):
        x = self.act(self.conv(self.conv(x)))
        if x.sum() > 0:
            x = self.act(x * 2)
        return F.softmax(self.block(x) + 1, 1)


IMAGE = torch.rand(2, 3, 8, 8)


def prepared():
    return prepare_model(Net().eval(), example_inputs=IMAGE)


# --- data ----------------------------------------------------------------------------------------


def test_the_data_says_what_became_what_and_where():
    data = prepared().report.as_dict()
    assert data["capture"] == "running"
    assert data["share"] == 1.0
    assert data["modules"] == data["computing_calls"] == 10
    line = Net.forward.__code__.co_firstlineno
    (branch,) = data["branches"]
    assert branch == {"path": "module_branch", "condition": "gt(sum, 0)", "where": f"{__file__}:{line + 2}"}
    assert {"path": "module_conv_1", "from": "conv"}.items() <= next(
        c for c in data["conversions"] if c["path"] == "module_conv_1"
    ).items()
    inside = prepare_model(nn.Sequential(nn.Identity(), Net().eval()), example_inputs=IMAGE).report.branches
    assert inside == [{**branch, "path": "1.module_branch"}]
    assert ["module_conv_1", "conv"] in data["ties"]
    assert data["largest_difference"] == 0.0


def test_ties_name_modules_that_share_tensors_only():
    assert all(path != "module_act_1" for path, _ in prepared().report.ties)


def test_json_is_the_data():
    report = prepared().report
    assert json.loads(report.to_json()) == json.loads(json.dumps(report.as_dict()))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_the_share_is_what_is_seen_from_outside(name):
    entry = find("torchvision", name)
    model, (args, kwargs) = entry.make(), entry.example()
    made = prepare_model(model, example_inputs=args, example_kwargs=kwargs, verify=False)
    seen = observe(made, args, kwargs)
    assert made.report.share == seen.share == 1.0
    assert made.report.as_dict()["modules"] == seen.modules


def test_the_share_counts_calls_that_are_no_module():
    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    class Rounds(nn.Module):
        def forward(self, x):
            return Straight.apply(x.sigmoid()).relu() + 1

    made = prepare_model(Rounds().eval(), example_inputs=torch.eye(3))
    assert made.report.share == 0.75


class Loops(nn.Module):
    """Kept whole, with all that computes inside made modules."""

    def __init__(self):
        super().__init__()
        self.a, self.b = Inner(), Inner()

    def forward(self, x):
        x = self.a(x)
        for row in x.tolist():
            if row[0] >= 0:
                x = x * 2
        return self.b(x)


@pytest.mark.parametrize(("make", "calls"), [(Loops, 5), (lambda: nn.Sequential(Loops(), nn.Sigmoid()), 6)])
def test_the_share_sees_what_kept_code_calls(make, calls):
    x = torch.tensor([[0.9, 0.1], [0.2, 0.3]])
    made = prepare_model(make().eval(), example_inputs=x)
    assert len(made.report.kept) == 1
    data = made.report.as_dict()
    assert (data["share"], data["computing_calls"]) == (1.0, calls)
    findings = validate_model(made)
    assert findings
    assert [finding.kind for finding in findings] == ["control_flow"]


def test_the_report_pickles_with_its_model():
    report = pickle.loads(pickle.dumps(prepared())).report
    assert report.as_dict() == report.as_dict()
    assert report.share == 1.0


def test_places_are_lines_of_the_model_not_of_the_caller():
    class Takes(nn.Module):
        def forward(self, x, flag=True, items=()):
            return x.relu() + len(items)

    made = prepare_model(Takes(), example_inputs=(torch.ones(2), True, [1, 2]))
    first = Takes.forward.__code__.co_firstlineno
    for node in made.report._shipped.nodes():
        assert node["file"] in ("", __file__)
        assert node["line"] in (0, first + 1)


# --- comparison ----------------------------------------------------------------------------------


def test_both_modes_and_other_inputs_are_compared():
    model = Net().train()
    made = prepare_model(model, example_inputs=IMAGE)
    mean = model.block[1].running_mean.clone()
    runs = compare_models(model, made, IMAGE)
    assert [(run["mode"], run["inputs"]) for run in runs] == [
        (mode, inputs)
        for mode in ("eval", "train")
        for inputs in ("example", "other values", "another batch size", "another image size")
    ]
    assert {run["result"] for run in runs} == {"equal"}
    assert {run["difference"] for run in runs} == {0.0}
    assert made.report.comparisons == runs
    assert model.training and made.training
    assert torch.equal(model.block[1].running_mean, mean)


def test_a_difference_is_said():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    made = prepare_model(model, example_inputs=torch.randn(2, 4))
    made[0].bias = nn.Parameter(made[0].bias + 1)
    runs = compare_models(model, made, torch.randn(2, 4))
    assert {run["result"] for run in runs} == {"different"}
    assert "differs from the original's" in runs[0]["reason"]


def test_what_the_original_refuses_is_no_fault():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    made = prepare_model(model, example_inputs=IMAGE)
    results = {run["inputs"]: run["result"] for run in compare_models(model, made, IMAGE)}
    assert results["another image size"] == "refused"
    assert results["another batch size"] == "equal"


# --- text ----------------------------------------------------------------------------------------


def test_the_text_has_all_parts():
    model = Net().eval()
    made = prepare_model(model, example_inputs=IMAGE, shared_parameters="copy")
    compare_models(model, made, IMAGE)
    text = str(made.report)
    line = Net.forward.__code__.co_firstlineno
    assert f"branches\n  module_branch: gt(sum, 0)  {__file__}:{line + 2}" in text
    assert "copied parameters\n  module_conv_1 from conv" in text
    assert "largest difference to the original: 0.0\n  eval, example: 0.0\n  eval, other values: 0.0" in text
    assert "  train, another image size: 0.0" in text
    assert ["module_conv_1", "conv"] in made.report.as_dict()["copies"]
    assert "Copied" in printed(made.report)


def printed(report, width=150):
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=width).print(report)
    return stream.getvalue()


def test_the_terminal_shows_tables():
    text = printed(prepared().report)
    for word in ("modulize report", "100.0% (10 of 10)", "Converted", "module_conv_1", "Branches", "module_branch"):
        assert word in text


def test_without_rich_the_error_names_the_extra(monkeypatch):
    import sys

    from modulize._extras import MissingExtraError
    from modulize.report.text import render

    monkeypatch.setitem(sys.modules, "rich.panel", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'modulize\[report\]'"):
        list(render(prepared().report.as_dict()))


HOSTILE = "</script><script>document['title']=1</script><img src=x onerror=\"document['title']=1\">\x1b[31m'\n@@DATA@@"


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return F.relu(self.fc(x))


class Hostile(nn.Module):
    def __init__(self):
        super().__init__()
        for name in (HOSTILE, "n" * 10_000, "[bold]x[/bold]", "ünï ﬁ"):
            self._modules[name] = Inner()

    def forward(self, x):
        for module in self._modules.values():
            x = module(x)
        return x


def test_hostile_names_stay_text_in_terminal_and_notebook():
    report = prepare_model(Hostile(), example_inputs=torch.rand(1, 2)).report
    text = printed(report, width=1200)
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in re.sub(r"[│\s]+", "", text)
    assert "\x1b" not in str(report)
    assert max(map(len, str(report).split("\n"))) <= 1000
    html = report._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;img" in html
    assert "\x1b" not in html


def test_the_notebook_has_the_tables():
    html = prepared().report._repr_html_()
    assert "<summary>Converted (" in html
    assert "module_conv_1" in html


# --- the page ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@contextlib.contextmanager
def opened(browser, report, folder, **options):
    """The page of a report; fails on errors of its script and on anything that it asks the network for."""
    file = report.save_html(folder / "report with spaces.html", title="Net")
    page = browser.new_page(viewport={"width": 1300, "height": 900}, **options)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=20_000)
    yield page
    assert problems == []
    page.close()


def test_the_page_shows_tree_graph_and_source(browser, tmp_path):
    with opened(browser, prepared().report, tmp_path) as page:
        assert page.title() == "Net · modulize report"
        assert "100.0% (10 of 10)" in page.inner_text("#summary")
        assert "block" in page.inner_text("#tree")
        page.dblclick("g[data-item='scope:block']")
        assert page.inner_text("#crumbs").endswith("block")
        page.click("g.box:has-text('BatchNorm2d')")
        details = page.inner_text("#details")
        assert "torch.nn.BatchNorm2d" in details
        assert "self.block(x) + 1" in page.inner_text("#details .here")
        assert page.get_attribute("#details a.source", "href").startswith("file:///")
        page.click("#details .link >> nth=0")  # what it reads
        assert "Conv2d" in page.inner_text("#details")


def test_the_sides_of_a_branch_are_shown(browser, tmp_path):
    with opened(browser, prepared().report, tmp_path) as page:
        assert page.locator("g.box:has-text('a branch')").count() == 1
        page.click("#tree li:has(> .row > [data-scope='module_branch']) > .row > .twist")
        page.click("#tree .link:has-text('if true')")
        assert page.locator("g.box:has-text('Multiply')").count() == 1


def test_sizes_and_checks_are_shown_on_demand(browser, tmp_path):
    class Sizes(nn.Module):
        def forward(self, x, flag=True):
            return x.view(x.shape[0], -1).relu()

    report = prepare_model(Sizes(), example_inputs=IMAGE).report
    with opened(browser, report, tmp_path) as page:
        boxes = page.locator("g.box")
        few = boxes.count()
        page.check("#plain")
        assert boxes.count() > few == 5  # x, flag, view, relu, the output
        page.uncheck("#plain")
        assert boxes.count() == few
        page.fill("#search", "getitem")
        page.wait_for_selector("#results li")
        page.click("#results li button >> nth=0")
        assert page.is_checked("#plain")


def test_search_and_filter_find_operations(browser, tmp_path):
    with opened(browser, prepared().report, tmp_path) as page:
        page.fill("#search", "softmax")
        page.wait_for_selector("#results li")
        page.click("#results li button >> nth=0")
        assert "Softmax" in page.inner_text("#details")
        page.fill("#search", "")
        page.wait_for_selector("#results", state="hidden")
        before = page.locator("g.box.faded").count()
        page.click(".chip[data-kind='converted']")
        assert before == 0
        assert page.locator("g.box.faded").count() > 0


def test_the_theme_changes(browser, tmp_path):
    with opened(browser, prepared().report, tmp_path, color_scheme="dark") as page:
        colour = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(colour)
        page.click("#theme")
        light = page.evaluate(colour)
        assert dark != light == "rgb(255, 255, 255)"
        page.click("#theme")
        assert page.evaluate(colour) == dark


def test_hostile_names_are_text_on_the_page(browser, tmp_path):
    report = prepare_model(Hostile(), example_inputs=torch.rand(1, 2)).report
    with opened(browser, report, tmp_path) as page:
        assert page.title() == "Net · modulize report"
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 2
        assert "<img src=x" in page.inner_text("#tree")
        page.fill("#search", "linear")
        page.wait_for_selector("#results li")
        page.click("#results li button >> nth=0")
        assert page.title() == "Net · modulize report"


def test_a_hostile_title_is_text(browser, tmp_path):
    file = prepared().report.save_html(tmp_path / "x.html", title="\udc80\u202e" + HOSTILE)
    page = browser.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    assert page.title().startswith("\\udc80\\u202e</script>")
    assert page.locator("img").count() == 0
    page.close()


def test_a_line_that_turns_the_text_around_shows_how_it_stands(browser, tmp_path):
    file = tmp_path / "50% of #1 \u202e'?.py"
    # Shown left to right, the comment would seem to end the line before it does.
    file.write_text("import torch\ndef forward(self, x):\n\treturn torch.relu(x)  # \u202e )x(nis.hcrot + \u2066\n")
    space = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    model = type("Net", (nn.Module,), {"forward": space["forward"]})()
    report = prepare_model(model, example_inputs=torch.ones(2)).report
    with opened(browser, report, tmp_path) as page:
        page.click("g.box:has-text('module_relu')")
        assert "# \\u202e )x(nis.hcrot + \\u2066" in page.inner_text("#details .here")
        link = page.get_attribute("#details a.source", "href")
        assert link.endswith("/50%25%20of%20%231%20%E2%80%AE%27%3F.py#L3")
    assert "\u202e" not in (tmp_path / "report with spaces.html").read_text() + report._repr_html_() + printed(report)


def test_thousands_of_operations_stay_usable(browser, tmp_path):
    class Long(nn.Module):
        def forward(self, x):
            for i in range(1500):
                x = torch.relu(x + i) if i % 3 else x + torch.sigmoid(x)
            return x

    report = prepare_model(Long(), example_inputs=torch.rand(2), verify=False).report
    nodes = len(report._shipped)
    assert nodes > 2500
    with opened(browser, report, tmp_path) as page:
        assert page.locator("g.box").count() < 200  # only what is in view
        page.mouse.move(600, 500)
        page.mouse.wheel(0, 2000)
        page.wait_for_timeout(200)
        assert page.locator("g.box").count() < 1500
        page.fill("#search", "sigmoid")
        page.wait_for_selector("#results li >> nth=199")
        assert page.locator("#results li").count() == 200


def test_a_branch_is_drawn_between_what_decides_and_what_it_holds():
    class Decides(nn.Module):
        def forward(self, x):
            if x.mean() > 0:
                x = torch.relu(x)
            return x

    nodes = prepare_model(Decides(), example_inputs=torch.ones(2, 3)).report._shipped.nodes()
    drawing = scope_drawings(nodes, plain=False)[""]
    place = {item if isinstance(item, str) else nodes[item]["name"]: (x, y) for item, x, y in drawing["items"]}
    lines = {(*line[:2], *line[2:]) for line in drawing["lines"]}
    assert (*place["gt"], *place["end_if"]) in lines
    assert (*place["end_if"], *place["scope:module_branch"]) in lines


def test_a_block_that_reads_all_that_came_before_is_drawn_in_no_time(browser, tmp_path):
    class Dense(nn.Module):
        def forward(self, x):
            seen = [x]
            for _ in range(80):
                seen.append(torch.relu(torch.sigmoid(torch.cat(seen, 1))[:, :1]))
            return seen[-1]

    report = prepare_model(Dense()).report
    started = time.process_time()
    drawing = scope_drawings(report._shipped.nodes())[""]
    assert time.process_time() - started < 5  # 100 times as long where each line goes its own way past the others
    assert len(drawing["items"]) == len(report._shipped)
    read = {(x, y) for line in drawing["lines"] for x, y in (line[:2], line[2:])}
    assert {(x, y) for _, x, y in drawing["items"]} <= read
    with opened(browser, report, tmp_path) as page:
        assert page.locator("path.edge").count() > 100


def test_a_file_that_cannot_be_written_is_the_callers_error(tmp_path):
    with pytest.raises(OSError):
        prepared().report.save_html(tmp_path / "missing" / "x.html")
    assert issubclass(ModulizeError, RuntimeError)


def kept_function(x):
    return torch.from_numpy(x.numpy() * 2)


def test_what_is_kept_has_a_name_and_no_address():
    class Keeps(nn.Module):
        def forward(self, x):
            return kept_function(x) + 1

    (kept,) = prepare_model(Keeps(), example_inputs=torch.rand(2)).report.kept
    assert kept["what"].endswith("test_report.kept_function")
    assert " at 0x" not in printed(prepare_model(Keeps(), example_inputs=torch.rand(2)).report)


@dataclasses.dataclass
class Output:
    value: torch.Tensor
    twice: torch.Tensor = None

    def __post_init__(self):
        self.twice = self.value * 2


def test_places_are_not_those_of_generated_constructors():
    class Gives(nn.Module):
        def forward(self, x):
            return Output(x + 1)

    made = prepare_model(Gives(), example_inputs=torch.rand(2))
    assert {c["where"].rpartition(":")[0] for c in made.report.conversions} == {__file__}
    assert not any(node["file"] == "<string>" for node in made.report._shipped.nodes())
