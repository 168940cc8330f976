#include "ops/target.h"

#include <algorithm>
#include <map>

#include "support/error.h"

namespace modulize {

namespace {

struct Registry {
  std::map<std::string, Target, std::less<>> targets;
  std::unordered_map<std::string, const Op*> ops;  // by class

  void add(std::string name, Target target) {
    for (const auto& [op, classes] : target.classes)
      for (const TargetClass& cls : classes)
        if (!cls.type.empty() && cls.method.empty()) ops.emplace(cls.type, op);
    targets.insert_or_assign(std::move(name), std::move(target));
  }
};

// A column of the op rows.
Target column(std::string_view OpRow::*texts, NamingRule naming, std::string_view package) {
  Target out{.naming = naming};
  for (const Op& op : all_ops())
    if (const std::string_view text = op.row->*texts; !text.empty())
      out.classes.emplace(&op, parse_target_classes(op, text, package));
  return out;
}

Registry make_registry() {
  Registry out;
  out.add("torch", {});
  out.add("aimet", column(&OpRow::aimet, NamingRule::torch_fx, "aimet_torch.nn.modules.custom."));
  out.add("torch.ao", column(&OpRow::torch_ao, NamingRule::local, "torch.ao.nn.quantized."));
  out.add("brevitas", column(&OpRow::brevitas, NamingRule::local, "brevitas.nn."));
  return out;
}

Registry& registry() {
  static Registry instance = make_registry();
  return instance;
}

}  // namespace

namespace {

TargetClass parse_target_class(const Op& op, std::string_view text, std::string_view package) {
  TargetClass out;
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::ArgumentError, "the class '" + std::string(text) + "' for " + op.call + ": " + what);
  };
  if (text == "-") return out;
  const std::size_t ctor = text.find('['), call = text.find('(');
  const std::size_t colon = text.substr(0, std::min(ctor, call)).find(':');
  const std::string_view name = text.substr(0, std::min({colon, ctor, call}));
  if (name.empty()) fail("no name of a class");
  out.type = (name.find('.') == std::string_view::npos ? std::string(package) : std::string()) += name;
  if (colon != std::string_view::npos) out.method = text.substr(colon + 1, std::min(ctor, call) - colon - 1);
  if (ctor != std::string_view::npos) {
    const std::size_t end = text.find(']', ctor);
    if (end == std::string_view::npos) fail("a bracket is not closed");
    for (const auto item : split_list(text.substr(ctor + 1, end - ctor - 1)))
      out.ctor.push_back(parse_ctor_argument(op, item));
  }
  if (call != std::string_view::npos) {
    if (!text.ends_with(")")) fail("a parenthesis is not closed");
    for (std::string_view item : split_list(text.substr(call + 1, text.size() - call - 2))) {
      if (item.starts_with("*")) {
        out.spread = true;
        item.remove_prefix(1);
      }
      const std::size_t mark = item.find(':');
      const std::string_view kind = mark == std::string_view::npos ? std::string_view() : trim(item.substr(mark + 1));
      item = trim(item.substr(0, mark));
      const auto parameter = op.find_parameter(item);
      if (!parameter) fail("the call has no parameter '" + std::string(item) + "'");
      if (!kind.empty() && kind != "tensor" && kind != "number") fail("an argument is a tensor or a number");
      out.takes.emplace_back(*parameter, kind == "tensor"   ? TargetClass::Takes::tensor
                                         : kind == "number" ? TargetClass::Takes::number
                                                            : TargetClass::Takes::anything);
    }
  }
  return out;
}

}  // namespace

std::vector<TargetClass> parse_target_classes(const Op& op, std::string_view text, std::string_view package) {
  std::vector<TargetClass> out;
  for (;;) {
    const std::size_t end = text.find(';');
    out.push_back(parse_target_class(op, trim(text.substr(0, end)), package));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

std::span<const TargetClass> Target::find(const Op& op) const {
  const auto it = classes.find(&op);
  return it == classes.end() ? std::span<const TargetClass>() : it->second;
}

const Target* find_target(std::string_view name) {
  const auto it = registry().targets.find(name);
  return it == registry().targets.end() ? nullptr : &it->second;
}

void register_target(std::string name, NamingRule naming,
                     const std::vector<std::pair<std::string, std::string>>& classes) {
  static constexpr std::string_view kBuiltIn[] = {"torch", "aimet", "torch.ao", "brevitas"};
  if (std::find(std::begin(kBuiltIn), std::end(kBuiltIn), name) != std::end(kBuiltIn))
    throw Error(ErrorCode::ArgumentError, "'" + name + "' is a target of modulize: give yours another name");
  Target target{.naming = naming};
  for (const auto& [call, text] : classes) {
    const Op* op = find_op_of_call(call);
    if (!op)
      throw Error(ErrorCode::ArgumentError,
                  "target '" + name + "': no operation of the table is called " + call + " (docs/ops.md lists them)");
    target.classes.insert_or_assign(op, parse_target_classes(*op, text, ""));
  }
  registry().add(std::move(name), std::move(target));
}

const Op* op_of_target_class(std::string_view type) {
  const auto it = registry().ops.find(std::string(type));
  return it == registry().ops.end() ? nullptr : it->second;
}

}  // namespace modulize
