#include "ir/fx_names.h"

#include <algorithm>
#include <cctype>
#include <iterator>

#include "support/identifier.h"
#include "support/text.h"

namespace modulize {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Names that torch.fx avoids beside keywords and builtins: torch/fx/graph.py, _register_custom_builtin.
bool is_avoided(std::string_view name) {
  static constexpr std::string_view kGlobals[] = {"inf", "nan", "NoneType", "torch", "device", "fx_pytree", "pytree"};
  return is_builtin(name) || is_python_keyword(name) ||
         std::find(std::begin(kGlobals), std::end(kGlobals), name) != std::end(kGlobals);
}

// "denseLayer" -> "dense_layer", all in lower case.
std::string snake_case(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (i > 0 && std::isupper(c) && std::islower(static_cast<unsigned char>(text[i - 1]))) out += '_';
    out += static_cast<char>(std::tolower(c));
  }
  return out;
}

// Augmented and reflected operators go by the plain one: proxies know no others.
std::string_view plain_operator(std::string_view name) {
  static constexpr std::string_view kOperators[] = {"add", "sub",    "mul",    "truediv", "floordiv", "mod", "pow",
                                                    "and", "matmul", "lshift", "rshift",  "or",       "xor", "concat"};
  if (name == "rdiv" || name == "idiv" || name == "div") return "truediv";
  if (name.size() > 1 && (name[0] == 'i' || name[0] == 'r') &&
      std::find(std::begin(kOperators), std::end(kOperators), name.substr(1)) != std::end(kOperators))
    return name.substr(1);
  return name;
}

std::string_view without_underscores(std::string_view name) {
  return name.size() > 4 && name.starts_with("__") && name.ends_with("__") ? name.substr(2, name.size() - 4)
                                                                           : std::string_view();
}

std::string_view last_part(std::string_view name) { return name.substr(name.rfind('.') + 1); }

// "<function f>", "<function Net.helper at ...>" -> "f", "helper".
std::string_view name_in_label(std::string_view label) {
  const std::size_t space = label.find(' ');
  if (space != std::string_view::npos) label.remove_prefix(space + 1);
  return last_part(label.substr(0, label.find_first_of(" >")));
}

}  // namespace

std::string_view trailing_number(std::string_view name) {
  std::size_t from = name.size();
  while (from > 0 && is_digit(name[from - 1])) --from;
  if (from == name.size() || from < 2 || name[from - 1] != '_') return {};
  return name.substr(from);
}

std::string FxNamespace::create_name(std::string_view text) {
  std::string candidate;
  for (const char c : text) {
    const bool legal = std::isalnum(static_cast<unsigned char>(c)) || c == '_';
    if (legal)
      candidate += c;
    else if (candidate.empty() || candidate.back() != '\0')
      candidate += '\0';  // a run of illegal characters is one `_`
  }
  std::replace(candidate.begin(), candidate.end(), '\0', '_');
  if (candidate.empty()) candidate = "_unnamed";
  if (is_digit(candidate[0])) candidate.insert(candidate.begin(), '_');

  const std::string_view digits = trailing_number(candidate);
  const std::string base = digits.empty() ? candidate : candidate.substr(0, candidate.size() - digits.size() - 1);
  const auto numbered = [&](std::uint64_t number) { return base + "_" + std::to_string(number); };
  std::uint64_t number = 0;
  if (digits.empty() || used_.count(candidate)) {
    number = base_count_[base];
    if (is_avoided(candidate)) candidate = numbered(++number);
  } else {
    number = digits.size() > 18 ? 0 : std::stoull(std::string(digits));
  }
  while (used_.count(candidate)) candidate = numbered(++number);
  used_.insert(candidate);
  base_count_[base] = number;
  return candidate;
}

std::string fx_candidate(const Node& node) {
  std::string_view target = node.target;
  switch (node.op) {
    case Opcode::placeholder:
      target.remove_prefix(std::min(target.find_first_not_of('*'), target.size()));
      return snake_case(target);
    case Opcode::output:
      return "output";
    case Opcode::get_attr:
      return last_part(target) == "training" ? std::string() : snake_case(target);
    case Opcode::call_module:
      return snake_case(target);
    case Opcode::call_method: {
      const std::string_view magic = without_underscores(target);
      return snake_case(magic.empty() ? target : plain_operator(magic));
    }
    case Opcode::call_function:
      break;
  }
  if (target.starts_with("modulize.")) return {};
  if (target.empty())
    return node.callee.is(ValueKind::object) ? snake_case(name_in_label(*node.callee.as_object().label)) : "call";
  if (target.starts_with("operator.")) {
    const std::string_view name = last_part(target), magic = without_underscores(name);
    return std::string(plain_operator(magic.empty() ? name : magic));
  }
  return snake_case(last_part(target));
}

}  // namespace modulize
