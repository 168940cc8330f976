"""Statements of a function as functions of their own, for code that stays as it is amid code that is captured; which
statements catch exceptions."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# What a statement may not have inside when it moves into another function.
_BOUND_TO_THE_FUNCTION = (ast.Return, ast.Yield, ast.YieldFrom, ast.Await, ast.Delete)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_TRIES = (ast.Try, getattr(ast, "TryStar", ast.Try))  # `except*` is of Python 3.11
# Calls that read all of a generator before they return.
_CONSUMERS = {"max", "min", "sum", "any", "all", "list", "tuple", "set", "dict", "sorted"}
_NEEDS_THE_CLASS = {"super", "__class__"}
_SEES_LOCALS = {"locals", "vars", "eval", "exec", "dir"}

Lines = tuple[int, int]


def enclosing(function: Any, line: int, with_loops: bool = False) -> list[Lines]:
    """The statements around a line that can be functions of their own.

    Parameters
    ----------
    function : function
        A plain function whose source is there.
    line : int
        In the file.
    with_loops : bool
        Leave out what stands in a loop: how often it runs is what matters.

    Returns
    -------
    list of tuple of int
        First and last line of each, innermost first; empty where there is none, or no source.
    """
    definition = _definition(function)
    if definition is None:
        return []
    around = _around(definition, function, line)
    loops = [i for i, piece in enumerate(around) if isinstance(piece.statements[-1], (ast.For, ast.While))]
    return [_lines(piece.statements) for piece in (around[loops[-1] :] if with_loops and loops else around)]


def outlined(function: Any, places: Iterable[Lines]) -> tuple[Any, list[Any]]:
    """A function that does what `function` does, with the statements at `places` as functions that it calls.

    Parameters
    ----------
    function : function
    places : iterable of tuple of int
        As `enclosing` gave them. One within another goes with it.

    Returns
    -------
    tuple
        The function, and the list of those that it calls, in the order of their lines. Each can be pickled by
        `modulize._prepared.pickling` (it knows where it comes from: `_modulize_statements`).
    """
    definition = _definition(function)
    places = list(places)
    wanted = [lines for lines in places if not any(_is_within(lines, other) for other in places)]
    pieces = []
    for lines in sorted(wanted):
        found = [p for p in _around(definition, function, lines[1]) if _lines(p.statements) == lines]
        pieces.append(found[0])
    made = [_function(piece, function) for piece in pieces]
    for piece, name in zip(pieces, _names(pieces)):
        at = piece.block.index(piece.statements[0])
        piece.block[at : at + len(piece.statements)] = [_call(piece, name)]
    whole = _compiled(definition, function, dict(zip(_names(pieces), made)))
    for one, lines in zip(made, sorted(wanted)):
        one._modulize_statements = (function, lines)
    return whole, made


def statements_of(function: Any, lines: Lines) -> Any:
    """The function that the statements at `lines` have become."""
    return outlined(function, [lines])[1][0]


def catches(code: types.CodeType, line: int, surely: bool) -> bool:
    """Does the function catch an exception at `line` and go on? `surely`: not where a context manager may do so."""
    return any(first <= line <= last and (sure or not surely) for first, last, sure in _caught_lines(code))


@functools.lru_cache(maxsize=1024)
def _caught_lines(code: types.CodeType) -> list[tuple[int, int, bool]]:
    found = []
    node: Any
    for node in itertools.chain.from_iterable(map(ast.walk, _parsed(code))):
        if isinstance(node, (ast.With, ast.AsyncWith)):
            kinds = [_suppresses(item.context_expr) for item in node.items]
            caught, sure = any(kind is not False for kind in kinds), True in kinds
        elif isinstance(node, _TRIES):
            # One that ends by raising only tells it otherwise.
            caught = sure = any(not isinstance(handler.body[-1], ast.Raise) for handler in node.handlers)
        else:
            continue
        if caught:
            found.append((*_lines(node.body), sure))
    return found


# Context managers that let exceptions through.
_TRANSPARENT = {"torch", "no_grad", "enable_grad", "inference_mode", "set_grad_enabled", "autocast", "sdpa_kernel"}
_TRANSPARENT |= {"nullcontext", "record_function", "fork_rng"}


def _suppresses(manager: ast.expr) -> bool | None:
    """Whether it swallows exceptions; None where its name does not tell."""
    names = {getattr(node, "id", None) or getattr(node, "attr", None) for node in ast.walk(manager)}
    if "suppress" in names:
        return True
    return None if _TRANSPARENT.isdisjoint(names) else False


class _Piece:
    def __init__(self, block: list[ast.stmt], statements: list[ast.stmt], takes: list[str], gives: list[str]) -> None:
        self.block, self.statements, self.takes, self.gives = block, statements, takes, gives


def _definition(function: Any) -> Any:
    if not isinstance(function, types.FunctionType) or hasattr(function, "__wrapped__"):
        return None
    definition = next(iter(_parsed(function)), None)
    if not isinstance(definition, ast.FunctionDef) or definition.name != function.__code__.co_name:
        return None
    # The function has them already.
    definition.decorator_list, definition.returns = [], None
    definition.args.defaults = [ast.Constant(None) for _ in definition.args.defaults]
    definition.args.kw_defaults = [value and ast.Constant(None) for value in definition.args.kw_defaults]
    for node in ast.walk(definition.args):
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.fix_missing_locations(definition)


def _parsed(function: Any) -> list[ast.stmt]:
    """What stands where a function or its code is defined, with the lines of its file; nothing without a source."""
    try:
        source, first = inspect.getsourcelines(function)
        # Not dedented: that would change texts of several lines.
        is_indented = source[0][:1].isspace()
        tree: Any = ast.parse("if 1:\n" * is_indented + "".join(source))
    except (OSError, TypeError, SyntaxError):
        return []
    ast.increment_lineno(tree, first - 1 - is_indented)
    return tree.body[0].body if is_indented else tree.body


def _lines(statements: Sequence[ast.stmt]) -> Lines:
    return statements[0].lineno, statements[-1].end_lineno or statements[-1].lineno


def _is_within(inner: Lines, outer: Lines) -> bool:
    return inner != outer and outer[0] <= inner[0] and inner[1] <= outer[1]


def _blocks(statement: ast.AST) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        block = getattr(statement, field, None)
        if isinstance(block, list):
            yield block
    for handler in getattr(statement, "handlers", ()):
        yield handler.body


def _around(definition: Any, function: Any, line: int) -> list[_Piece]:
    """Innermost first."""
    code = function.__code__
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 2]
    arguments = {a.arg for a in ast.walk(definition.args) if isinstance(a, ast.arg)}
    bound = {*(name for name in parameters if name in arguments), *code.co_freevars}
    local = {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
    if any(_is_private(node) or _looks_around(node) for node in ast.walk(definition)):
        return []
    # Names that are read at another time than the code that reads them stands; `max(f(x) for x in y)` reads at once.
    captured: set[str] = set()
    calls = [node for node in ast.walk(definition) if isinstance(node, ast.Call)]
    at_once = {id(a) for call in calls if getattr(call.func, "id", None) in _CONSUMERS for a in call.args}
    # What no pickle has.
    made_here = {node.name for node in ast.walk(definition) if isinstance(node, _DEFINITIONS)} - {definition.name}
    for node in ast.walk(definition):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            made_here |= _targets(node)
    for node in ast.walk(definition):
        is_function = node is not definition and isinstance(node, (*_DEFINITIONS, ast.Lambda))
        if is_function or (isinstance(node, ast.GeneratorExp) and id(node) not in at_once):
            captured |= _loads(node)
    found: list[_Piece] = []

    def descend(block: list[ast.stmt], bound: set[str], live: set[str]) -> None:
        for i, statement in enumerate(block):
            if not statement.lineno <= line <= (statement.end_lineno or statement.lineno):
                continue
            first = _where_its_containers_are_made(block, i)
            before = bound | _bound_by(block[:first])
            after = _read_first(block[i + 1 :], set()) | live
            piece = _piece(block, block[first : i + 1], before, after, local, captured)
            if piece is not None and not made_here & {*piece.takes, *piece.gives}:
                found.append(piece)
            # An exception that a statement raises is caught here, and a graph catches none.
            if isinstance(statement, (ast.With, *_TRIES)):
                continue
            inside = bound | _bound_by(block[:i])
            is_loop = isinstance(statement, (ast.For, ast.While))
            if isinstance(statement, ast.For):
                inside = inside | _targets(statement.target)
            again = _read_first([statement], set()) if is_loop else set()
            for inner in _blocks(statement):
                descend(inner, inside, after | again)

    descend(definition.body, bound, set())
    lines = [_lines(piece.statements) for piece in found]
    return [piece for piece, own in zip(found[::-1], lines[::-1]) if lines.count(own) == 1]


def _piece(
    block: list[ast.stmt],
    statements: list[ast.stmt],
    bound: set[str],
    live: set[str],
    local: set[str],
    captured: set[str],
) -> _Piece | None:
    written = set().union(*(_targets(statement) for statement in statements))
    if not _can_move(statements) or written & captured:
        return None
    surely = _bound_by(statements)
    gives = written & live
    # What may stay as it was must come in too.
    takes = (_read_first(statements, set()) & local) | (gives - surely)
    if not takes <= bound:
        return None
    return _Piece(block, statements, sorted(takes), sorted(gives))


def _can_move(statements: list[ast.stmt]) -> bool:
    def leaves_a_loop(node: ast.AST, depth: int) -> bool:
        if isinstance(node, (ast.Break, ast.Continue)):
            return depth == 0
        if isinstance(node, (*_DEFINITIONS, ast.Lambda)):
            return False
        if isinstance(node, (ast.For, ast.While)):
            inside = any(leaves_a_loop(child, depth + 1) for child in node.body)
            return inside or any(leaves_a_loop(child, depth) for child in node.orelse)
        return any(leaves_a_loop(child, depth) for child in ast.iter_child_nodes(node))

    refused = (*_BOUND_TO_THE_FUNCTION, *_DEFINITIONS, ast.AsyncFor, ast.AsyncWith)
    for statement in statements:
        for node in ast.walk(statement):
            if node is statements[-1] and isinstance(node, ast.Return):
                continue
            if isinstance(node, refused) or type(node).__name__ == "Match":
                return False
            if isinstance(node, ast.Name) and node.id in _NEEDS_THE_CLASS:
                return False
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                return False
        if leaves_a_loop(statement, 0):
            return False
    return True


def _is_private(node: ast.AST) -> bool:
    """Names of this kind depend on the class that the function stands in."""
    name = getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "arg", None)
    return isinstance(name, str) and name.startswith("__") and not name.endswith("__")


def _looks_around(node: ast.AST) -> bool:
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return True
    return isinstance(node, ast.Name) and node.id in _SEES_LOCALS


def _where_its_containers_are_made(block: list[ast.stmt], at: int) -> int:
    """Where a list that the statement fills is made right before it, the two go together."""
    filled = set()
    for node in ast.walk(block[at]):
        target = node.value if isinstance(node, ast.Expr) else None
        if isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute):
            target = target.func.value
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            target = node.value
        elif isinstance(node, ast.AugAssign):
            target = node.target
        if isinstance(target, ast.Name):
            filled.add(target.id)
    first = at
    while first > 0:
        before = block[first - 1]
        if not isinstance(before, (ast.Assign, ast.AnnAssign)) or before.value is None:
            break
        if not isinstance(before.value, (ast.List, ast.Dict, ast.Set, ast.Constant)) or not _targets(before) & filled:
            break
        first -= 1
    return first


# --- names -------------------------------------------------------------------------------------------------


def _targets(node: ast.AST) -> set[str]:
    """What is bound anywhere inside, but in scopes of its own."""
    names: set[str] = set()
    pending = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            names.add(one.id)
        elif isinstance(one, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).split(".")[0] for alias in one.names)
        elif isinstance(one, ast.ExceptHandler) and one.name:
            names.add(one.name)
        elif isinstance(one, _DEFINITIONS):
            names.add(one.name)
            continue
        elif isinstance(one, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            names.update(w.target.id for w in ast.walk(one) if isinstance(w, ast.NamedExpr))
            continue
        pending.extend(ast.iter_child_nodes(one))
    return names


def _loads(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, (ast.Load, ast.Del))}


def _bound_by_items(statement: ast.With) -> set[str]:
    return set().union(*(_targets(item.optional_vars) for item in statement.items if item.optional_vars))


def _leaves(block: list[ast.stmt]) -> bool:
    return bool(block) and isinstance(block[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))


def _bound_by(statements: Sequence[ast.stmt]) -> set[str]:
    """What is bound for sure behind the statements."""
    names: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.If):
            sides = [_bound_by(side) for side in (statement.body, statement.orelse) if not _leaves(side)]
            if sides:
                names |= set.intersection(*sides)
        elif isinstance(statement, ast.With):
            names |= _bound_by_items(statement) | _bound_by(statement.body)
        elif isinstance(statement, ast.Try):
            names |= _bound_by(statement.finalbody)
        elif isinstance(statement, ast.AnnAssign) and statement.value is None:
            continue
        elif isinstance(statement, ast.Assign):
            names |= set().union(*(_targets(target) for target in statement.targets))
        elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
            names |= _targets(statement.target)
        elif isinstance(statement, (ast.Import, ast.ImportFrom, *_DEFINITIONS)):
            names |= _targets(statement)
    return names


def _read_first(statements: Sequence[ast.stmt], bound: set[str]) -> set[str]:
    """What may be read before it is bound there."""
    bound, names = set(bound), set()
    for statement in statements:
        if isinstance(statement, (ast.For, ast.While)):
            head = statement.iter if isinstance(statement, ast.For) else statement.test
            names |= _loads(head) - bound
            inside = bound | (_targets(statement.target) if isinstance(statement, ast.For) else set())
            if isinstance(statement, ast.For):
                names |= _loads(statement.target) - bound
            names |= _read_first(statement.body, inside) | _read_first(statement.orelse, bound)
        elif isinstance(statement, ast.If):
            names |= _loads(statement.test) - bound
            names |= _read_first(statement.body, bound) | _read_first(statement.orelse, bound)
        elif isinstance(statement, ast.With):
            for item in statement.items:
                names |= _loads(item) - bound
            names |= _read_first(statement.body, bound | _bound_by_items(statement))
        elif isinstance(statement, ast.Try):
            for block in _blocks(statement):
                names |= _read_first(block, bound)
            for handler in statement.handlers:
                names |= (_loads(handler.type) if handler.type else set()) - bound
        elif isinstance(statement, ast.AugAssign):
            names |= (_loads(statement) | _targets(statement)) - bound
        else:
            names |= _loads(statement) - bound
        bound |= _bound_by([statement])
    return names


# --- code --------------------------------------------------------------------------------------------------


def _names(pieces: Sequence[_Piece]) -> list[str]:
    return ["_lines_{}_{}".format(*_lines(piece.statements)) for piece in pieces]


def _located(node: Any, like: ast.stmt) -> Any:
    for child in ast.walk(node):
        if "lineno" in child._attributes and not hasattr(child, "lineno"):
            ast.copy_location(child, like)
    return node


def _results(names: list[str], context: ast.expr_context) -> ast.expr:
    made: list[ast.expr] = [ast.Name(name, context) for name in names]
    return made[0] if len(made) == 1 else ast.Tuple(made, context)


def _call(piece: _Piece, name: str) -> ast.stmt:
    called = ast.Call(ast.Name(name, ast.Load()), [ast.Name(n, ast.Load()) for n in piece.takes], [])
    statement: ast.stmt
    if isinstance(piece.statements[-1], ast.Return):
        statement = ast.Return(called)
    elif piece.gives:
        statement = ast.Assign([_results(piece.gives, ast.Store())], called)
    else:
        statement = ast.Expr(called)
    return _located(statement, piece.statements[0])


def _function(piece: _Piece, function: Any) -> Any:
    first = piece.statements[0]
    (name,) = _names([piece])
    body = [*piece.statements]
    if piece.gives:
        body.append(_located(ast.Return(_results(piece.gives, ast.Load())), first))
    definition = ast.parse(f"def {name}(): pass").body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.args.args = [ast.arg(n) for n in piece.takes]
    definition.body = body
    ast.copy_location(definition, first)
    made = _compiled(_located(definition, first), function, {}, is_piece=True)
    made.__qualname__ = "{}, lines {} to {}".format(function.__qualname__, *_lines(piece.statements))
    return made


def _compiled(definition: Any, like: Any, held: dict[str, Any], is_piece: bool = False) -> Any:
    """The function of a definition, in the place of `like`; `held`: further names in its closure."""
    around = ast.parse("def around(): pass").body[0]
    assert isinstance(around, ast.FunctionDef)
    free = () if is_piece else like.__code__.co_freevars
    around.args.args = [_located(ast.arg(name), definition) for name in (*free, *held)]
    around.body = [definition]
    module = ast.Module([ast.copy_location(around, definition)], [])
    code = compile(ast.fix_missing_locations(module), like.__code__.co_filename, "exec", dont_inherit=True)
    code = _inner(_inner(code))
    cells = {**dict(zip(like.__code__.co_freevars, like.__closure__ or ()))}
    cells.update((name, types.CellType(value)) for name, value in held.items())
    made = types.FunctionType(
        code,
        like.__globals__,
        code.co_name,
        None if is_piece else like.__defaults__,
        tuple(cells[name] for name in code.co_freevars),
    )
    made.__module__ = like.__module__
    if not is_piece:
        made.__kwdefaults__, made.__qualname__ = like.__kwdefaults__, like.__qualname__
        made.__annotations__ = like.__annotations__
    return made


def _inner(code: types.CodeType) -> types.CodeType:
    """The function that stands in a code."""
    return next(constant for constant in code.co_consts if isinstance(constant, types.CodeType))
