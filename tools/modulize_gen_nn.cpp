// Writes what is made from the op table:
//   modulize_gen_nn OUTFILE          the classes of modulize.nn, as a Python module
//   modulize_gen_nn --json OUTFILE   the rows, for the tests
//   modulize_gen_nn --docs OUTFILE   docs/ops.md
#include <algorithm>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "ops/target.h"
#include "support/error.h"

namespace modulize {

namespace {

// --- Python ---------------------------------------------------------------------------------------

struct GeneratedClass {
  std::string name;
  std::string text;
};

bool is_left_out(const Op& op, std::size_t i) {
  if (op.is_ignored(i)) return true;
  return !op.is_layer &&
         std::any_of(op.only.begin(), op.only.end(), [&](const ParameterValue& p) { return p.parameter == i; });
}

// The default of each parameter as the row spells it.
std::map<std::string, std::string> default_texts(const OpRow& row) {
  std::map<std::string, std::string> out;
  for (const std::string_view item : split_list(row.signature)) {
    const std::size_t equals = item.find('=');
    if (equals != std::string_view::npos && !item.starts_with("*"))
      out.emplace(trim(item.substr(0, equals)), trim(item.substr(equals + 1)));
  }
  return out;
}

// ("input, other, *, alpha=1", "input, other, alpha=alpha")
std::pair<std::string, std::string> parameters_and_arguments(const Op& op) {
  const auto defaults = default_texts(*op.row);
  std::string parameters = "self", arguments;
  bool star = false;
  const auto pass = [&](const std::string& text) { arguments += (arguments.empty() ? "" : ", ") + text; };
  for (std::size_t i = 0; i < op.parameters.size(); ++i) {
    if (is_left_out(op, i)) continue;
    const Parameter& p = op.parameters[i];
    if (p.kind == Parameter::Kind::var_positional || p.kind == Parameter::Kind::var_keyword) {
      const std::string stars = p.kind == Parameter::Kind::var_positional ? "*" : "**";
      parameters += ", " + stars + p.name;
      pass(stars + p.name);
      star = true;
      continue;
    }
    if (p.kind == Parameter::Kind::keyword_only && !star) {
      parameters += ", *";
      star = true;
    }
    parameters += ", " + p.name;
    if (!op.is_layer && op.mode == i)
      parameters += "=None";
    else if (p.has_default)
      parameters += "=" + defaults.at(p.name);
    // Where the function has parameters between that the class leaves out, the rest goes by keyword.
    bool by_keyword = p.kind == Parameter::Kind::keyword_only;
    for (std::size_t before = 0; before < i; ++before) by_keyword = by_keyword || is_left_out(op, before);
    pass(by_keyword ? p.name + "=" + p.name : p.name);
  }
  return {parameters, arguments};
}

std::string doc_text(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '`' ? std::string("``") : std::string(1, c);
  return out;
}

std::string public_call(const Op& op) { return op.call; }

// Breaks a list of parameters or arguments into lines of at most 120 columns.
std::string wrap(const std::string& head, const std::string& items, const std::string& tail,
                 const std::string& indent) {
  const std::string line = indent + head + items + tail;
  if (line.size() <= 120) return line + "\n";
  std::string out = indent + head + "\n";
  std::string row = indent + "    ";
  for (const std::string_view item : split_list(items)) {
    if (row.size() + item.size() + 1 > 120) {
      out += trim(row).empty() ? "" : row.substr(0, row.find_last_not_of(' ') + 1) + "\n";
      row = indent + "    ";
    }
    row += std::string(item) + ", ";
  }
  out += row.substr(0, row.find_last_not_of(' ') + 1) + "\n" + indent + tail + "\n";
  return out;
}

GeneratedClass generate_class(const Op& op) {
  GeneratedClass out;
  out.name = op.run_time_class.substr(op.run_time_class.rfind('.') + 1);
  const auto [parameters, arguments] = parameters_and_arguments(op);
  std::ostringstream text;
  text << "class " << out.name << "(Module):\n";
  if (op.is_layer) {
    const std::string layer(op.row->module);
    text << "    \"\"\"What :class:`" << layer << "` computes, with every argument given in the call.\n\n"
         << "    Runs :func:`" << public_call(op) << "`.\n    \"\"\"\n\n";
  } else {
    text << "    \"\"\"" << doc_text(op.row->doc) << ".\n\n    Runs :func:`" << public_call(op) << "`.\n    \"\"\"\n\n";
  }
  text << wrap("def forward(", parameters, "):", "    ");
  if (!op.is_layer && op.mode) {
    const std::string& flag = op.parameters[*op.mode].name;
    text << "        if " << flag << " is None:\n            " << flag << " = self.training\n";
  }
  if (op.row->body.empty())
    text << wrap("return " + op.call + "(", arguments, ")", "        ");
  else
    text << "        " << op.row->body << "\n";
  out.text = text.str();
  return out;
}

std::string generate_python() {
  std::map<std::string, std::string> classes;
  for (const Op& op : all_ops()) {
    if (op.is_layer && op.ctor.empty() && op.adopts.empty()) continue;
    GeneratedClass c = generate_class(op);
    const auto [it, fresh] = classes.emplace(c.name, c.text);
    if (!fresh) throw Error(ErrorCode::ModulizeError, "op table: two rows define modulize.nn." + c.name);
  }
  std::ostringstream out;
  out << "\"\"\"Modules for operations that torch.nn has none for. Generated from the op table: do not edit.\n\n"
         "They hold no state and no settings: everything is given in the call.\n\"\"\"\n\n"
         "import modulize.nn.functional\nimport torch\nfrom torch.nn import Module\n\n__all__ = [\n";
  for (const auto& [name, text] : classes) out << "    \"" << name << "\",\n";
  out << "]\n";
  for (const auto& [name, text] : classes) out << "\n\n" << text;
  return out.str();
}

// --- JSON -----------------------------------------------------------------------------------------

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out += '"';
}

std::string_view kind_name(Parameter::Kind kind) {
  switch (kind) {
    case Parameter::Kind::normal:
      return "normal";
    case Parameter::Kind::keyword_only:
      return "keyword_only";
    case Parameter::Kind::var_positional:
      return "var_positional";
    case Parameter::Kind::var_keyword:
      return "var_keyword";
  }
  return "";
}

std::string parameters_json(const OpSpelling& spelling) {
  std::string out = "[";
  for (std::size_t i = 0; i < spelling.parameters.size(); ++i) {
    const Parameter& p = spelling.parameters[i];
    if (out.size() > 1) out += ", ";
    out += "{\"name\": " + quoted(p.name) + ", \"of\": " + quoted(spelling.op->parameters[spelling.positions[i]].name) +
           ", \"kind\": " + quoted(kind_name(p.kind)) + "}";
  }
  return out + "]";
}

// The class of a target, or nothing.
std::string class_of(const Op& op, std::string_view target) {
  const auto own = find_target(target)->find(op);
  return own.empty() ? std::string() : own.front().type;
}

// The rows that are modules always, or those that layout_modules asks for.
std::string rows_json(bool layout) {
  std::ostringstream out;
  bool first = true;
  for (const Op& op : all_ops()) {
    const OpRow& row = *op.row;
    if (row.layout != layout) continue;
    out << (first ? "" : ",\n") << "{\"call\": " << quoted(op.call) << ", \"module\": " << quoted(row.module)
        << ", \"signature\": " << quoted(row.signature) << ", \"ctor\": " << quoted(row.ctor)
        << ", \"base\": " << quoted(op.base) << ", \"aimet\": " << quoted(class_of(op, "aimet"))
        << ", \"run_time_class\": " << quoted(op.run_time_class) << ", \"mode\": " << quoted(row.mode)
        << ", \"adopt\": " << quoted(row.adopt) << ", \"only\": " << quoted(row.only)
        << ", \"ignore\": " << quoted(row.ignore) << ", \"sample\": " << quoted(row.sample)
        << ", \"random\": " << (row.random ? "true" : "false") << ", \"effect\": " << (row.effect ? "true" : "false")
        << ", \"may_alias\": " << (row.may_alias ? "true" : "false")
        << ", \"result\": " << quoted(value_type_name(row.result)) << ", \"spellings\": [";
    bool first_spelling = true;
    for (const OpSpelling& s : all_spellings()) {
      if (s.op != &op) continue;
      out << (first_spelling ? "" : ", ") << "{\"call\": " << quoted(s.call)
          << ", \"writes_first\": " << (s.writes_first ? "true" : "false")
          << ", \"fixed\": " << (s.fixed.empty() ? "false" : "true") << ", \"parameters\": " << parameters_json(s)
          << "}";
      first_spelling = false;
    }
    out << "]}";
    first = false;
  }
  return out.str();
}

std::string generate_json() {
  std::ostringstream out;
  out << "{\"rows\": [\n" << rows_json(false) << "\n], \"layout\": [\n" << rows_json(true) << "\n], \"passive\": [\n";
  bool first = true;
  for (const PassiveRow& row : passive_rows()) {
    out << (first ? "" : ",\n") << "{\"call\": " << quoted(qualified_call(row.call))
        << ", \"reason\": " << quoted(passive_reason_name(row.reason))
        << ", \"result\": " << quoted(value_type_name(row.result))
        << ", \"may_alias\": " << (row.may_alias ? "true" : "false") << "}";
    first = false;
  }
  out << "\n]}\n";
  return out.str();
}

// --- Markdown -------------------------------------------------------------------------------------

std::string code(std::string_view text) { return text.empty() ? std::string() : "`" + std::string(text) + "`"; }

void write_rows(std::ostringstream& out, bool layout) {
  out << "| call | other spellings | module | `target=\"aimet\"` | `\"torch.ao\"` | `\"brevitas\"` "
         "|\n|---|---|---|---|---|---|\n";
  for (const Op& op : all_ops()) {
    if (op.row->layout != layout) continue;
    std::string spellings;
    for (const OpSpelling& s : all_spellings()) {
      if (s.op != &op || s.call == op.call) continue;
      spellings += (spellings.empty() ? "`" : ", `") + s.call + "`";
    }
    out << "| `" << op.call << "` | " << spellings << " | `" << op.row->module << "` | " << code(class_of(op, "aimet"))
        << " | " << code(op.row->torch_ao) << " | " << code(op.row->brevitas) << " |\n";
  }
}

std::string generate_docs() {
  std::ostringstream out;
  out << "# Operations\n\nGenerated from the op table (`core/ops`): do not edit. Operators of `torch.ops.aten` share "
         "the "
         "rows of the\nfunctions and methods they stand for.\n\n## Calls that become modules\n\n";
  write_rows(out, false);
  out << "\n## Calls that become modules with `layout_modules=True`\n\nWithout the option they stay calls.\n\n";
  write_rows(out, true);
  out << "\n## Calls that stay\n\n| call | why |\n|---|---|\n";
  for (const PassiveRow& row : passive_rows())
    out << "| `" << qualified_call(row.call) << "` | " << passive_reason_name(row.reason) << " |\n";
  return out.str();
}

int run(int argc, char** argv) {
  const std::string mode = argc == 3 ? argv[1] : "";
  if (argc != 2 && mode != "--json" && mode != "--docs") {
    std::cerr << "usage: modulize_gen_nn [--json | --docs] OUTFILE\n";
    return 2;
  }
  const char* const path = argv[argc - 1];
  const std::string text = mode == "--json" ? generate_json() : mode == "--docs" ? generate_docs() : generate_python();
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) {
    std::cerr << "modulize_gen_nn: cannot write '" << path << "'\n";
    return 1;
  }
  return 0;
}

}  // namespace

}  // namespace modulize

int main(int argc, char** argv) {
  try {
    return modulize::run(argc, argv);
  } catch (const modulize::Error& error) {
    std::cerr << "modulize_gen_nn: " << error.what() << "\n";
    return 1;
  }
}
