"""Literals of the text form are spelled as CPython spells them: through modulize_opt, against repr itself."""

import math
import random
import struct
import subprocess
import sys
import unicodedata

import pytest


def in_and_out(tool, literals):
    """What modulize_opt prints for each of the literals, given as one list."""
    items = ",\n".join(literals)
    text = f"graph net {{\n  output [{items}]\n}}\n"
    # A lone surrogate is written in three bytes.
    result = subprocess.run([tool, "-"], input=text.encode("utf-8", "surrogatepass"), capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode("utf-8")


def expected(spellings):
    return f"graph net {{\n  output [{', '.join(spellings)}]\n}}\n"


def all_floats():
    rng = random.Random(3)
    floats = [0.0, -0.0, 1.0, 0.1, 1 / 3, 1e15, 1e16, 1e17, 1e-4, 1e-5, 123456789012345680.0, sys.float_info.max]
    floats += [sys.float_info.min, 5e-324, 2**53, 2**53 + 2.0, 9007199254740993.0, 100000.0, 1e22, 1e23, math.pi]
    floats += [10.0**n for n in range(-320, 309)] + [3.5 * 10.0**n for n in range(-30, 30)]
    while len(floats) < 20000:
        value = struct.unpack("<d", rng.randbytes(8))[0]
        if math.isfinite(value):
            floats.append(value)
    floats += [rng.uniform(-1000, 1000) for _ in range(5000)] + [round(rng.uniform(0, 10), 3) for _ in range(5000)]
    return floats


def test_floats_are_spelled_as_repr_spells_them(modulize_opt):
    floats = all_floats()
    # 17 digits always suffice to read the float back.
    assert in_and_out(modulize_opt, [f"{x:.17e}" for x in floats]) == expected([repr(float(x)) for x in floats])


def test_floats_without_a_literal_are_expressions_that_evaluate_to_them(modulize_opt):
    spellings = ['float("inf")', 'float("-inf")', 'float("nan")']
    assert in_and_out(modulize_opt, spellings) == expected(spellings)
    assert [eval(s) for s in spellings[:2]] == [math.inf, -math.inf]
    assert math.isnan(eval(spellings[2]))


def test_ints_are_spelled_as_repr_spells_them(modulize_opt):
    ints = [0, 1, -1, 10**18, 2**63 - 1, -(2**63)]
    assert in_and_out(modulize_opt, [repr(n) for n in ints]) == expected([repr(n) for n in ints])


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="what is printable is pinned to Unicode 14")
def test_every_code_point_is_spelled_as_repr_spells_it(modulize_opt):
    step = 4096
    strings = ["".join(map(chr, range(start, start + step))) for start in range(0, sys.maxunicode + 1, step)]
    assert sum(map(len, strings)) == 0x110000
    # In: every code point escaped, or raw where it may stand raw. Out: repr's choice.
    escaped = ["'" + "".join(f"\\U{ord(c):08x}" for c in s) + "'" for s in strings]
    raw = ["'" + "".join(f"\\U{ord(c):08x}" if c in "\n'\\" else c for c in s) + "'" for s in strings]
    spelled = expected([repr(s) for s in strings])
    assert in_and_out(modulize_opt, escaped) == spelled
    assert in_and_out(modulize_opt, raw) == spelled


def test_quotes_and_escapes_are_chosen_as_repr_chooses_them(modulize_opt):
    rng = random.Random(5)
    alphabet = "'\"\\\n\r\t\0\x07\x7fab é\u2028\ud800\U0001f600"
    strings = ["".join(rng.choices(alphabet, k=rng.randrange(8))) for _ in range(3000)]
    escaped = ['"' + "".join(f"\\U{ord(c):08x}" for c in s) + '"' for s in strings]
    assert in_and_out(modulize_opt, escaped) == expected([repr(s) for s in strings])
    assert in_and_out(modulize_opt, [repr(s) for s in strings]) == expected([repr(s) for s in strings])
