"""Where the boxes of each scope's graph stand: one small drawing a scope, so that large models stay usable."""

from __future__ import annotations

import sys
from typing import Any

from modulize._extras import need
from modulize.report.text import visible

__all__ = ["scope_drawings"]

_INPUT, _OUTPUT = "\0in", "\0out"
_WIDTH, _HEIGHT = 190, 84  # from one box's centre to the next's
_PASSING = 4  # lines that pass a row. The layout's time and width grow with them: a block of DenseNet-201 has 1,000


def parent_of(scope: str) -> str:
    """The scope around: of "layer1.0#1" it is "layer1", of a block at the top the root."""
    return scope.rpartition(".")[0]


def scope_drawings(nodes: list[dict[str, Any]], *, plain: bool = True) -> dict[str, dict[str, Any]]:
    """Per scope its items with positions, and the lines between them; without sizes and checks if not ``plain``.

    An item is an operation, by its index in ``nodes``; or a scope inside, by its path; or what comes from outside and
    goes there. A line is a list of points, in units of pixels.
    """
    index_of = {node["name"]: i for i, node in enumerate(nodes)}
    scopes: set[str] = {""}
    for node in nodes:
        scope = node["scope"]
        while scope not in scopes:
            scopes.add(scope)
            scope = parent_of(scope)
    items: dict[str, dict[Any, None]] = {scope: {} for scope in scopes}
    edges: dict[str, dict[tuple[Any, Any], None]] = {scope: {} for scope in scopes}
    lines = [_line_of(node["scope"]) for node in nodes]
    left_out = {i for i, node in enumerate(nodes) if node["is_plain"] and not plain}
    for i, node in enumerate(nodes):
        if i in left_out:
            continue
        line = lines[i]
        for depth, scope in enumerate(line):
            items[scope][line[depth + 1] if depth + 1 < len(line) else i] = None
        sources = [index_of[name] for name in node["inputs"]]
        if node["kind"] == "branch":  # what decides reaches it through a check
            checks = [source for source in sources if source in left_out]
            sources += [index_of[name] for source in checks for name in nodes[source]["inputs"]]
        for source in sources:
            if source not in left_out:
                _connect(edges, items, lines[source], source, line, i)
        inside = visible(node["path"], sys.maxsize)
        if node["op"] == "call_module" and inside in scopes and parent_of(inside) == node["scope"]:
            edges[node["scope"]][i, inside] = None  # the call of a branch or block, and what is in it
    return {scope: _drawing(list(items[scope]), list(edges[scope])) for scope in sorted(scopes)}


def _line_of(scope: str) -> list[str]:
    """The scopes from the root to this one."""
    line = [scope]
    while line[-1]:
        line.append(parent_of(line[-1]))
    return line[::-1]


def _connect(edges: Any, items: Any, source: list[str], source_node: int, target: list[str], target_node: int) -> None:
    shared = 0
    while shared < min(len(source), len(target)) and source[shared] == target[shared]:
        shared += 1
    # In the innermost scope that holds both, between the items that they are in.
    first = source[shared] if shared < len(source) else source_node
    second = target[shared] if shared < len(target) else target_node
    edges[source[shared - 1]][first, second] = None
    # Further inside, it goes out and comes in.
    for depth in range(shared, len(source)):
        inner = source[depth + 1] if depth + 1 < len(source) else source_node
        items[source[depth]][_OUTPUT] = None
        edges[source[depth]][inner, _OUTPUT] = None
    for depth in range(shared, len(target)):
        inner = target[depth + 1] if depth + 1 < len(target) else target_node
        items[target[depth]][_INPUT] = None
        edges[target[depth]][_INPUT, inner] = None


def _drawing(items: list[Any], edges: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Positions by the layered layout of fast_sugiyama; what is connected to nothing stands in rows below."""
    number = {item: i for i, item in enumerate(items)}
    pairs = [(number[a], number[b]) for a, b in edges if a != b]
    pairs, far = _near_and_far(_without_cycles(pairs))
    points: dict[int, tuple[float, float]] = {}
    segments: list[tuple[int, int]] = []
    left, below, first_dummy = 0.0, 0.0, len(items)
    if pairs:
        layout = need("fast_sugiyama", "report")
        for positions, _, _, routes in layout.from_edges(pairs, minimum_length=1, vertex_spacing=1.0):
            # The dummies of each component count from the same number.
            shift = {name: name if name < len(items) else first_dummy + i for i, (name, _) in enumerate(positions)}
            xs, ys = [x for _, (x, _) in positions], [y for _, (_, y) in positions]
            step_y = _step(ys)
            for name, (x, y) in positions:  # neighbours in a row are 1 apart
                points[shift[name]] = (left + x - min(xs), (max(ys) - y) / step_y)
            segments += [(shift[a], shift[b]) for a, b in routes]
            first_dummy += len(positions)
            left += max(xs) - min(xs) + 1.5
            below = max(below, (max(ys) - min(ys)) / step_y + 1.5)
    alone = [i for i in range(len(items)) if i not in points]
    for place, i in enumerate(alone):
        points[i] = (place % 8 * 1.0, below + place // 8)
    for a, b in far:  # drawn in an arc on the right, higher ones further out
        (x1, y1), (x2, y2) = points[a], points[b]
        points[first_dummy] = (max(x1, x2) + 0.6 + min(abs(y2 - y1) * 0.05, 4), (y1 + y2) / 2)
        segments += [(a, first_dummy), (first_dummy, b)]
        first_dummy += 1
    places = {i: (round(x * _WIDTH), round(y * _HEIGHT)) for i, (x, y) in points.items()}
    return {
        "items": [[_shown(item), *places[i]] for item, i in number.items()],
        "lines": [[*places[a], *places[b]] for a, b in segments],
    }


def _near_and_far(pairs: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Of pairs without cycles those to the next row and short ones that find room past the boxes; and the rest."""
    after: dict[int, list[int]] = {}
    waiting: dict[int, int] = {}
    for a, b in pairs:
        after.setdefault(a, []).append(b)
        waiting[b] = waiting.get(b, 0) + 1
    row = {a: 0 for a in after if a not in waiting}
    ready = list(row)
    for a in ready:
        for b in after.get(a, ()):
            row[b] = max(row.get(b, 0), row[a] + 1)
            waiting[b] -= 1
            if not waiting[b]:
                ready.append(b)
    near: list[tuple[int, int]] = []
    far: list[tuple[int, int]] = []
    passing = [0] * len(ready)  # lines, by row
    for a, b in sorted(pairs, key=lambda pair: row[pair[1]] - row[pair[0]]):
        rows = range(row[a] + 1, row[b])
        if any(passing[i] >= _PASSING for i in rows):
            far.append((a, b))
            continue
        near.append((a, b))
        for i in rows:
            passing[i] += 1
    return near, far


def _step(values: list[float]) -> float:
    """The smallest distance between neighbours: one box."""
    ordered = sorted(set(values))
    gaps = [b - a for a, b in zip(ordered, ordered[1:]) if b - a > 1e-6]
    return max(min(gaps), (ordered[-1] - ordered[0]) / 400 or 1.0) if gaps else 1.0


def _without_cycles(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Blocks that run in turns feed each other; the lines back are left out."""
    after: dict[int, list[int]] = {}
    for a, b in pairs:
        after.setdefault(a, []).append(b)
    state: dict[int, int] = {}
    kept = []
    for root in list(after):
        if state.get(root):
            continue
        state[root] = 1
        stack = [(root, iter(after[root]))]
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[node] = 2
                stack.pop()
                continue
            if state.get(following) == 1:
                continue
            kept.append((node, following))
            if not state.get(following):
                state[following] = 1
                stack.append((following, iter(after.get(following, ()))))
    return kept


def _shown(item: Any) -> Any:
    return {_INPUT: "in:", _OUTPUT: "out:"}.get(item, item if isinstance(item, int) else f"scope:{item}")
