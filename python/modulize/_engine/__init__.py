"""What the engine asks of Python itself, by these names."""

from modulize._engine.bytecode import (
    is_stored,
    is_unpacked,
    names_in_operands,
    names_of,
    operator_at,
    stand_in,
    text_class,
)
from modulize._engine.comparison import is_same
from modulize._engine.statements import catches, enclosing, outlined, statements_of

__all__ = [
    "catches",
    "enclosing",
    "is_same",
    "is_stored",
    "is_unpacked",
    "names_in_operands",
    "names_of",
    "operator_at",
    "outlined",
    "stand_in",
    "statements_of",
    "text_class",
]
