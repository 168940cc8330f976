#include "bridge/values/structure.h"

#include <nanobind/stl/optional.h>

#include <unordered_set>

#include "bridge/python/errors.h"
#include "bridge/python/typed.h"
#include "bridge/values/torch_types.h"
#include "bridge/values/traced_number.h"

namespace modulize {

namespace {

bool is_plain(PyObject* o) {
  const TorchTypes& torch = TorchTypes::instance();
  PyTypeObject* type = Py_TYPE(o);
  NumberOrigin origin;
  return o == Py_None || o == Py_Ellipsis || PyBool_Check(o) || PyLong_CheckExact(o) || PyFloat_CheckExact(o) ||
         PyUnicode_CheckExact(o) || PyBytes_CheckExact(o) || PyComplex_CheckExact(o) || traced_origin(o, &origin) ||
         type == torch.dtype || type == torch.layout || type == torch.memory_format || type == torch.size ||
         is_enum_member(o);
}

nb::object type_object(PyObject* o) { return nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(o))); }

// Attributes by name, as the order in which they were set says nothing; items in their order.
std::vector<Part> ordered_parts(PyObject* o) {
  std::vector<Part> parts = parts_of(o);
  const auto first_item =
      std::stable_partition(parts.begin(), parts.end(), [](const Part& p) { return p.is_attribute; });
  std::stable_sort(parts.begin(), first_item,
                   [](const Part& a, const Part& b) { return PyUnicode_Compare(a.key.ptr(), b.key.ptr()) < 0; });
  return parts;
}

using Seen = std::unordered_map<PyObject*, std::int64_t>;

bool is_number(PyObject* o) {
  NumberOrigin origin;
  return PyLong_CheckExact(o) || PyFloat_CheckExact(o) || traced_origin(o, &origin);
}

/// What makes two leaves the same: a pair of a word and an object.
nb::object leaf_structure(nb::handle value) {
  PyObject* o = value.ptr();
  if (TorchTypes::instance().is_tensor(o)) return nb::make_tuple("tensor");
  if (is_plain(o)) return nb::make_tuple("value", checked(plain_number(o)));
  if (PyAnySet_Check(o) && !holds_tensor(o)) return nb::make_tuple("set", checked(PyFrozenSet_New(o)));
  // Classes and functions decide; what else an object in C holds cannot be seen.
  if (PyType_Check(o) || PyFunction_Check(o)) return nb::make_tuple("is", value);
  return nb::make_tuple("class", type_object(o));
}

class Describer {
 public:
  /// `made`: filled as well, and numbers are any numbers; null for a value that was given.
  explicit Describer(MadeStructure* made, bool follows_numbers = false)
      : made_(made), follows_numbers_(follows_numbers) {}

  nb::object describe(nb::handle value, int depth = 0) {
    PyObject* o = value.ptr();
    const bool tensor = TorchTypes::instance().is_tensor(o);
    if (!tensor && !has_parts(o)) return leaf(value);
    if (tensor && made_) return nb::make_tuple("any tensor");  // it may yield its argument, or one tensor twice
    if (const auto it = seen_.find(o); it != seen_.end() && Py_TYPE(o) != &PyTuple_Type)
      return nb::make_tuple("same", it->second);
    seen_.emplace(o, static_cast<std::int64_t>(seen_.size()));
    if (tensor) return nb::make_tuple("tensor");
    if (depth > kMaxNesting)
      throw Error(ErrorCode::CaptureError, "the inputs nest more than " + std::to_string(kMaxNesting) + " deep");
    if (open_ && PyList_CheckExact(o))
      if (nb::object item = common_item(value, depth); item.is_valid()) {
        made_->lists.push_back({path_, nb::borrow(value)});
        return nb::make_tuple("each", item);
      }
    const bool follows = follows_numbers_, open = open_;
    const std::size_t plain = plain_numbers_;
    follows_numbers_ &= PyList_CheckExact(o) || PyDict_CheckExact(o) || PyTuple_Check(o);
    open_ &= !PyList_Check(o);
    nb::list out;
    for (Part& part : ordered_parts(o)) {
      count_.one();
      path_.push_back(part);
      out.append(nb::make_tuple(part.is_attribute, part.key, describe(part.value, depth + 1)));
      path_.pop_back();
    }
    if (open && plain_numbers_ > plain && (follows != follows_numbers_ || (path_.empty() && !follows)))
      made_->with_plain_numbers.push_back({path_, nb::borrow(value)});
    follows_numbers_ = follows;
    open_ = open;
    return nb::make_tuple("parts", type_object(o), nb::tuple(out));
  }

 private:
  nb::object leaf(nb::handle value) {
    PyObject* o = value.ptr();
    const bool sizes = Py_TYPE(o) == TorchTypes::instance().size;
    if (made_ && (sizes || is_number(o))) {
      plain_numbers_ += !follows_numbers_;
      return sizes ? nb::make_tuple("sizes", PyTuple_GET_SIZE(o)) : nb::make_tuple("number");
    }
    nb::object out = leaf_structure(value);
    if (made_ && made_->hidden.empty() && text_of(nb::object(out[0])) == "class" &&
        Py_TYPE(o) != TorchTypes::instance().device)
      made_->hidden = text_of(type_object(o).attr("__name__"));
    return out;
  }

  /// What all items of a list are; None for an empty one, invalid if they are not alike.
  nb::object common_item(nb::handle list, int depth) {
    open_ = false;
    nb::object common = nb::none();
    const std::size_t plain = plain_numbers_;
    for (nb::handle item : list) {
      count_.one();
      Seen outside;
      std::swap(seen_, outside);  // which objects an item has in common with others would say how many there are
      nb::object one = describe(item, depth + 1);
      std::swap(seen_, outside);
      if (common.is_none())
        common = one;
      else if (!common.equal(one)) {
        common = nb::object();
        break;
      }
    }
    open_ = true;
    if (common.is_valid() && plain_numbers_ > plain && follows_numbers_)
      made_->with_plain_numbers.push_back({path_, nb::borrow(list)});
    return common;
  }

  MadeStructure* const made_;
  bool follows_numbers_;
  bool open_ = made_ != nullptr;  // the length of a list here can be checked by itself
  std::size_t plain_numbers_ = 0;
  std::vector<Part> path_;
  Seen seen_;
  PartCount count_;
};

std::string shown(nb::handle structure) {
  const std::string kind = text_of(structure[0]);
  if (kind == "tensor" || kind == "any tensor") return "a tensor";
  if (kind == "same") return "an object that stands elsewhere in it as well";
  if (kind == "number") return "a number";
  if (kind == "each") return "a list of items that are alike";
  if (kind == "sizes") return "a torch.Size of " + text_of(nb::str(nb::object(structure[1]))) + " numbers";
  if (kind == "class" || kind == "parts") return "a " + text_of(nb::object(structure[1]).attr("__name__"));
  return nb::cast<std::string>(nb::repr(nb::object(structure[1])));
}

std::string differs(const std::string& text, nb::handle expected, const std::string& now) {
  return text + " was " + shown(expected) + " when the model was prepared, and is " + now + " in this call";
}

std::string difference(nb::handle value, nb::handle expected, const std::string& text, Seen& seen) {
  PyObject* o = value.ptr();
  const bool tensor = TorchTypes::instance().is_tensor(o);
  const bool parts = !tensor && has_parts(o);
  const std::string kind = nb::cast<std::string>(nb::str(nb::object(expected[0])));
  if (tensor && kind == "any tensor") return "";
  if (tensor || parts) {
    if (const auto it = seen.find(o); it != seen.end() && Py_TYPE(o) != &PyTuple_Type) {
      if (kind == "same" && nb::cast<std::int64_t>(nb::object(expected[1])) == it->second) return "";
      return differs(text, expected, "an object that stands elsewhere in it as well");
    }
    seen.emplace(o, static_cast<std::int64_t>(seen.size()));
  }
  // Under torch.jit.trace numbers are tensors.
  if (kind == "number" && (tensor ? nb::cast<int>(value.attr("dim")()) == 0 : is_number(o))) return "";
  if (tensor) return kind == "tensor" ? "" : differs(text, expected, "a tensor");
  if (kind == "each" && PyList_CheckExact(o)) {
    nb::object item = expected[1];
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(o) && !item.is_none(); ++i) {
      Seen inside;
      std::string inner =
          difference(nb::handle(PyList_GET_ITEM(o, i)), item, text + "[" + std::to_string(i) + "]", inside);
      if (!inner.empty()) return inner;
    }
    return "";
  }
  if (kind == "sizes" && Py_TYPE(o) == TorchTypes::instance().size &&
      PyTuple_GET_SIZE(o) == nb::cast<Py_ssize_t>(nb::object(expected[1])))
    return "";
  if (!parts) {
    nb::object now = leaf_structure(value);
    if (PyObject_RichCompareBool(now.ptr(), expected.ptr(), Py_EQ) == 1) {
      // 1 is not True.
      if (kind != "value" || type_object(nb::object(now[1]).ptr()).is(type_object(nb::object(expected[1]).ptr())))
        return "";
    }
    if (PyErr_Occurred()) nb::raise_python_error();
    return differs(text, expected, shown(now));
  }
  if (kind != "parts" || !type_object(o).is(nb::object(expected[1])))
    return differs(text, expected, "a " + text_of(type_object(o).attr("__name__")));
  const std::vector<Part> now = ordered_parts(o);
  nb::object then = expected[2];
  const std::size_t count = nb::len(then);
  for (std::size_t i = 0; i < now.size() && i < count; ++i) {
    nb::object was = then[i];
    nb::object key = was[1];
    const bool same_place = nb::cast<bool>(nb::object(was[0])) == now[i].is_attribute &&
                            PyObject_RichCompareBool(key.ptr(), now[i].key.ptr(), Py_EQ) == 1;
    if (!same_place) {
      const Part old{nb::cast<bool>(nb::object(was[0])), key, {}};
      return text + old.text() + " was there when the model was prepared, and " + text + now[i].text() +
             " is in its place in this call";
    }
    std::string inner = difference(now[i].value, nb::object(was[2]), text + now[i].text(), seen);
    if (!inner.empty()) return inner;
  }
  if (now.size() < count) {
    nb::object was = then[now.size()];
    return text + Part{nb::cast<bool>(nb::object(was[0])), nb::object(was[1]), {}}.text() +
           " was there when the model was prepared, and is not in this call";
  }
  if (now.size() > count)
    return text + now[count].text() + " was not there when the model was prepared, and is in this call";
  return "";
}

}  // namespace

nb::object structure_of(nb::handle value) { return Describer(nullptr).describe(value); }

MadeStructure structure_of_made(nb::handle value, bool follows_numbers) {
  MadeStructure made;
  made.structure = Describer(&made, follows_numbers).describe(value);
  return made;
}

std::string structure_difference(nb::handle value, nb::handle structure, const std::string& text) {
  Seen seen;
  return difference(value, structure, text, seen);
}

namespace {

void add_contents(nb::handle value, nb::list& out, std::unordered_set<PyObject*>& seen, PartCount& count) {
  count.one();
  out.append(value);
  if (!has_parts(value.ptr()) || !seen.insert(value.ptr()).second) return;
  const std::vector<Part> parts = ordered_parts(value.ptr());
  out.append(parts.size());
  for (const Part& part : parts) {
    out.append(part.key);
    add_contents(part.value, out, seen, count);
  }
}

}  // namespace

nb::object contents_of(nb::handle value) {
  nb::list out;
  std::unordered_set<PyObject*> seen;
  PartCount count;
  add_contents(value, out, seen, count);
  return nb::tuple(out);
}

bool same_contents(nb::handle before, nb::handle now) {
  const Py_ssize_t count = PyTuple_GET_SIZE(before.ptr());
  if (count != PyTuple_GET_SIZE(now.ptr())) return false;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject *a = PyTuple_GET_ITEM(before.ptr(), i), *b = PyTuple_GET_ITEM(now.ptr(), i);
    if (a == b) continue;
    if (!is_plain(a) || Py_TYPE(a) != Py_TYPE(b)) return false;
    const nb::object x = checked(plain_number(a)), y = checked(plain_number(b));
    if (!x.equal(y)) return false;
  }
  return true;
}

void bind_structure(nb::module_& m) {
  m.def(
      "contents_of",
      [](nb::handle value) -> TupleOf<Any, nb::ellipsis> { return nb::borrow<nb::tuple>(contents_of(value)); },
      nb::arg("value").none(), "Everything inside of a value as one flat tuple.");
  m.def("same_contents", &same_contents, nb::arg("before"), nb::arg("now"),
        "True if the same objects stand in the same places of what two calls of contents_of gave.");
  m.def("structure_difference", &structure_difference, nb::arg("value").none(), nb::arg("structure"), nb::arg("text"),
        "Where a value is not what a structure describes, or an empty text.");
  m.def(
      "parts_of",
      [](nb::handle value) -> std::optional<ListOf<TupleOf<nb::str, Any>>> {
        if (!has_parts(value.ptr())) return std::nullopt;
        nb::list out;
        for (const Part& part : ordered_parts(value.ptr())) out.append(nb::make_tuple(part.text(), part.value));
        return out;
      },
      nb::arg("value").none(), "The items and attributes of a value as (text, value), or None if it has none.");
  m.def(
      "copied",
      [](nb::handle value, const nb::typed<nb::dict, Any, Any>& instead) {
        StructureCopy copies([&](nb::handle leaf) {
          if (PyObject_TypeCheck(leaf.ptr(), TorchTypes::instance().module) && instead.contains(leaf))
            return nb::object(instead[leaf]);
          return copy_leaf(leaf);
        });
        return Any(copies.copy(value));
      },
      nb::arg("value").none(), nb::arg("instead") = nb::typed<nb::dict, Any, Any>(),
      "A copy of a value, of the containers, objects and tensors in it; `instead`: of modules, by other modules.");
  m.def(
      "on_meta",
      [](nb::handle value) {
        StructureCopy copies([](nb::handle leaf) {
          if (!TorchTypes::instance().is_tensor(leaf.ptr())) return nb::borrow(leaf);
          const nb::object moved = leaf.attr("detach")().attr("to")("meta");
          return nb::object(moved.attr("requires_grad_")(nb::object(leaf.attr("requires_grad"))));
        });
        return Any(copies.copy(value));
      },
      nb::arg("value").none(), "A copy of a value whose tensors are on the meta device.");
}

}  // namespace modulize
