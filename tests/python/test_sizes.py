"""How long a function and how wide a class of the engine may be: whoever reads one should have it in view at once.

The sources are read by a simple reader of ours: comments and texts go, brackets are matched, and what stands before a
brace says what it opens.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 100
MAX_PUBLIC = 25

# Tables: reading one is reading its rows.
TABLES = {"core/passes/idiom_table.cpp: idioms": "one row an idiom, with the graph that stands for it"}
# Wide by nature.
WIDE = {"core/ir/value.h: Value": "a variant: a maker and a reader for each of its kinds"}

LITERAL = re.compile(
    r'R"(?P<mark>[^()\\\s]*)\(.*?\)(?P=mark)"'
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|(?<![0-9A-Za-z_])'(?:[^'\\\n]|\\.)+'"
    r"|//[^\n]*|/\*.*?\*/|^[ \t]*#(?:[^\n\\]|\\.|\\\n)*",
    re.DOTALL | re.MULTILINE,
)
ACCESS = re.compile(r"\b(public|private|protected)\s*:(?!:)")
TEMPLATE = re.compile(r"\btemplate\s*<(?:[^<>]|<[^<>]*>)*>")


def without_texts(text: str) -> str:
    """The source without comments, texts and directives of the preprocessor; every line stays where it is."""

    def blank(match: re.Match) -> str:
        return ("0" if match[0][0] in "\"'R" else " ") + "\n" * match[0].count("\n")

    return LITERAL.sub(blank, text)


def closing_brackets(source: str) -> dict[int, int]:
    """Where each bracket is closed."""
    closes, open_ = {}, []
    for at, mark in enumerate(source):
        if mark in "({[":
            open_.append(at)
        elif mark in ")}]":
            closes[open_.pop()] = at
    assert not open_
    return closes


def without_nesting(text: str, *pairs: str) -> str:
    """The text with nothing left in these brackets, which themselves stay where they are round ones."""
    for opening, closing in pairs:
        inner = re.compile(rf"\{opening}[^{opening}{closing}]+\{closing}")
        empty = "()" if opening == "(" else ""
        while text != (text := inner.sub(empty, text)):
            pass
    return text


class Statement(NamedTuple):
    head: str
    begin: int
    body: tuple[int, int] | None  # of a namespace, a type or a function


def kind_of(head: str) -> str:
    """What the brace behind ``head`` opens: a namespace, a type, a function, or a value of some kind."""
    words = ACCESS.sub(" ", TEMPLATE.sub(" ", head)).strip()
    if re.match(r"(inline\s+)?namespace\b|extern\s+0$", words):
        return "namespace"
    if (found := re.match(r"(?:typedef\s+)?(class|struct|union|enum)\b", words)) and "(" not in words:
        return "value" if found[1] == "enum" else "type"
    around = without_nesting(words, "<>", "()")
    if "(" not in around or re.search(r"(?<!operator)(?<!operator[=!<>+\-*/])=", around.replace("()", "")):
        return "value"
    # The value of a member in a list of initializers, as against the body behind it.
    if re.search(r"\)\s*(noexcept\s*)?:(?!:)", words) and re.search(r"\w$", words):
        return "value"
    return "function"


def statements(source: str, closes: dict[int, int], begin: int, end: int) -> Iterator[Statement]:
    """What stands between two places of a source, past what it holds itself."""
    at = start = begin
    while at < end:
        mark = source[at]
        if mark == ";":
            yield Statement(source[start:at], start, None)
            start = at + 1
        elif mark in "([" or (mark == "{" and kind_of(source[start:at]) == "value"):
            at = closes[at]
        elif mark == "{":
            yield Statement(source[start:at], start, (at + 1, closes[at]))
            at = closes[at]
            start = at + 1
        at += 1


def declared(head: str, of: str) -> list[str]:
    """What a declaration in the type ``of`` names; nothing for what makes, copies or ends one, and for friends."""
    text = TEMPLATE.sub(" ", ACCESS.sub(" ", head)).strip()
    if not text or re.match(r"(friend|static_assert)\b", text) or "operator=" in text.replace("operator==", ""):
        return []
    if re.match(rf"((explicit|constexpr|virtual|inline)\s+)*~?{of}\s*\(", text):
        return []
    named = re.match(r"(?:using|class|struct|union|enum(?:\s+class)?)\s+(\w+)", text)
    if named and ("{" in text or named[0].startswith("using") or text == named[0]):
        return [named[1]]
    called = without_nesting(text, "<>")
    if function := re.match(r"[^=(]*?(operator\s*(?:\(\)|[^\w\s(]+|\w+)|\w+)\s*\(", called):
        return [function[1]]
    parts = [re.findall(r"\w+", part.split("=")[0]) for part in without_nesting(called, "{}", "[]", "()").split(",")]
    return [names[-1] for names in parts if names]


def sizes(text: str) -> tuple[dict[str, int], dict[str, list[str]]]:
    """The functions of a source with their numbers of lines, and its types with their public members. Overloads are
    one member.
    """
    source = without_texts(text)
    closes = closing_brackets(source)
    lines: dict[str, int] = {}
    members: dict[str, dict[str, None]] = {}

    def visit(begin: int, end: int, within: str = "", is_public: bool = True) -> None:
        for statement in statements(source, closes, begin, end):
            for access in ACCESS.findall(statement.head):
                is_public = access == "public"
            if within and is_public:
                members[within] |= dict.fromkeys(declared(statement.head, within.split("::")[-1]))
            if statement.body is None:
                continue
            words = TEMPLATE.sub(" ", ACCESS.sub(" ", statement.head)).strip()
            kind = kind_of(statement.head)
            if kind == "function":
                name = re.search(
                    r"((?:[\w:~]|<[^<>]*>::)*operator\s*[^\s(]+|(?:[\w:~]|<[^<>]*>::)+)\s*$", words.split("(")[0]
                )
                first = statement.body[0] - 1 - len(re.split(ACCESS.pattern, statement.head)[-1].lstrip())
                key = name[1] if name else words
                lines[key] = max(lines.get(key, 0), source.count("\n", first, statement.body[1]) + 1)
            elif kind == "type":
                name = re.match(r"\w+\s+(?:\w+\s+)*?([\w:]+)\s*(?:final\s*)?(?::|$)", words)
                full = (within + "::" if within else "") + (name[1] if name else "")
                members[full] = {}
                visit(*statement.body, full, not words.startswith("class"))
            else:
                visit(*statement.body)

    visit(0, len(source))
    return lines, {name: list(names) for name, names in members.items()}


def all_sizes() -> tuple[dict[str, int], dict[str, list[str]]]:
    lines: dict[str, int] = {}
    members: dict[str, list[str]] = {}
    for folder in ("bridge", "core"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp"):
                of_file = sizes(path.read_text(encoding="utf-8"))
                place = str(path.relative_to(ROOT))
                lines |= {f"{place}: {name}": count for name, count in of_file[0].items()}
                members |= {f"{place}: {name}": names for name, names in of_file[1].items()}
    return lines, members


def test_a_function_fits_on_two_screens():
    lines, _ = all_sizes()
    assert len(lines) > 1000
    assert {name: count for name, count in lines.items() if count > MAX_LINES and name not in TABLES} == {}


def test_a_class_is_one_subject():
    _, members = all_sizes()
    assert len(members) > 150
    wide = {name: len(names) for name, names in members.items() if len(names) > MAX_PUBLIC}
    assert {name: count for name, count in wide.items() if name not in WIDE} == {}


def test_what_is_excepted_needs_it():
    lines, members = all_sizes()
    assert {name for name in TABLES if lines[name] <= MAX_LINES} == set()
    assert {name for name in WIDE if len(members[name]) <= MAX_PUBLIC} == set()


def test_the_reader_reads():
    source = """
// A comment { with a brace.
namespace one {
constexpr int kTable[] = {1, 2, '{'};
template <class T>
class Box : public Base<T> {
 public:
  explicit Box(int a) : a_(a), b_{a} {
    auto f = [&](int x) { return x; };
  }
  ~Box();
  Box& operator=(const Box&) = delete;
  class Inner;
  friend class Other;
  static int made();
  const std::map<int, T>& items() const { return items_; }
  T& operator[](int i);
  const T& operator[](int i) const;
  void operator()() const;
  int plain = 3, other = {4};
  std::function<void(int, int)> called = {};
  struct Part {
    int x;
    bool operator==(const Part&) const = default;
  };
  enum class Kind : int { a, b };

 private:
  int a_, b_{};
};
template <class T>
const T& Box<T>::operator[](int i) const
{
  static const char* const text = "}";
  if (i) return *this;

  return made({1, 2});
}
}  // namespace one
"""
    lines, members = sizes(source)
    assert lines == {
        "Box": 3,
        "items": 1,
        "Box<T>::operator[]": 8,
    }
    assert members == {
        "Box": ["Inner", "made", "items", "operator[]", "operator()", "plain", "other", "called", "Part", "Kind"],
        "Box::Part": ["x", "operator=="],
    }
