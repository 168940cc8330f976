#include "bridge/record/shape_inference.h"

#include <functional>
#include <optional>

#include "bridge/python/errors.h"
#include "bridge/values/call_key.h"
#include "bridge/values/module_scan.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

using Piece = LearntCall::Piece;
using Metas = std::unordered_map<PyObject*, nb::object>;

nb::object meta_like(const LearntShape& shape) {
  static PyObject* const empty_strided =
      nb::object(nb::module_::import_("torch").attr("empty_strided")).release().ptr();
  nb::dict kwargs;
  kwargs["dtype"] = shape.dtype;
  kwargs["device"] = "meta";
  return checked(PyObject_Call(empty_strided, shape.args.ptr(), kwargs.ptr()));
}

Metas metas_of(const std::vector<PyObject*>& tensors) {
  Metas out;
  for (PyObject* tensor : tensors) out.emplace(tensor, meta_like(learnt_shape_of(tensor)));
  return out;
}

/// While one lives, a layer holds other tensors.
class Lent {
 public:
  Lent(PyObject* layer, const Metas& metas) {
    PyObject* const dict = layer ? attribute_dict(layer) : nullptr;
    if (!dict) return;
    for (const char* name : {"_parameters", "_buffers"}) {
      PyObject* const held = PyDict_GetItemString(dict, name);
      if (!held || !PyDict_Check(held)) continue;
      PyObject *key, *value;
      for (Py_ssize_t at = 0; PyDict_Next(held, &at, &key, &value);)
        if (const auto it = metas.find(value); it != metas.end())
          own_.push_back({nb::borrow(held), nb::borrow(key), nb::borrow(value)});
    }
    for (const Own& own : own_) PyDict_SetItem(own.held.ptr(), own.key.ptr(), metas.at(own.value.ptr()).ptr());
  }
  ~Lent() {
    for (const Own& own : own_) PyDict_SetItem(own.held.ptr(), own.key.ptr(), own.value.ptr());
  }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;

 private:
  struct Own {
    nb::object held, key, value;
  };
  std::vector<Own> own_;
};

/// What the call yields on the meta device; invalid where it raises there.
nb::object run_on_meta(const InferredCall& call, PyObject* args, PyObject* kwargs, const Metas& metas) {
  const Lent lent(call.layer, metas);
  nb::object out = nb::steal(call.run(args, kwargs));
  if (out.is_valid()) return out;
  nb::python_error error;
  if (is_fatal(error)) throw error;
  return {};
}

bool is_equal(const nb::object& a, const nb::object& b) { return a.is(b) || a.equal(b); }

/// Calls `fn(piece, tensor)` for what is fresh. False where the structure is another.
bool walk(const Piece& piece, PyObject* object, const std::function<bool(const Piece&, PyObject*)>& fn) {
  switch (piece.kind) {
    case Piece::Kind::none:
      return object == Py_None;
    case Piece::Kind::argument:
      return TorchTypes::instance().is_tensor(object);
    case Piece::Kind::fresh:
      return TorchTypes::instance().is_tensor(object) && fn(piece, object);
    case Piece::Kind::items:
      break;
  }
  if (!PyTuple_Check(object) && !PyList_Check(object)) return false;
  if (static_cast<std::size_t>(PySequence_Fast_GET_SIZE(object)) != piece.items.size()) return false;
  for (std::size_t i = 0; i < piece.items.size(); ++i)
    if (!walk(piece.items[i], PySequence_Fast_GET_ITEM(object, static_cast<Py_ssize_t>(i)), fn)) return false;
  return true;
}

bool is_on_meta(PyObject* tensor) { return nb::cast<bool>(nb::handle(tensor).attr("is_meta")); }

/// The pieces with the shapes of what was yielded on the meta device, in their order.
void take_shapes(Piece& piece, std::vector<LearntShape>& shapes, std::size_t& next) {
  if (piece.kind == Piece::Kind::fresh) piece.shape = std::move(shapes[next++]);
  for (Piece& item : piece.items) take_shapes(item, shapes, next);
}

}  // namespace

struct ShapeInference::Example {
  nb::object args, kwargs;  // with tensors on the meta device
  LearntCall learnt;
  std::optional<bool> is_believed;
};

ShapeInference::ShapeInference() = default;
ShapeInference::~ShapeInference() = default;

void ShapeInference::remember(const std::string& structure, const InferredCall& call, const LearntCall& learnt) {
  if (learnt.kind != LearntCall::Kind::stands) return;
  auto& example = examples_[structure];
  if (example) return;
  example = std::make_unique<Example>();
  const Metas metas = metas_of(call.tensors);
  example->args = with_tensors(call.args, metas);
  if (call.kwargs) example->kwargs = with_tensors(call.kwargs, metas);
  example->learnt = learnt;
}

std::unique_ptr<LearntCall> ShapeInference::infer(const std::string& structure, const InferredCall& call) {
  const auto it = examples_.find(structure);
  if (it == examples_.end()) return nullptr;
  Example& example = *it->second;
  if (example.is_believed == false) return nullptr;
  const Metas metas = metas_of(call.tensors);
  if (!example.is_believed) {
    // The layer's own tensors are alike in all layers of the structure.
    const nb::object told = run_on_meta(call, example.args.ptr(), example.kwargs.ptr(), metas);
    example.is_believed =
        told.is_valid() && walk(example.learnt.result, told.ptr(), [](const Piece& piece, PyObject* t) {
          const LearntShape shape = learnt_shape_of(t);
          return is_on_meta(t) && is_equal(shape.size, piece.shape.size) &&
                 is_equal(shape.stride, piece.shape.stride) && shape.dtype.is(piece.shape.dtype);
        });
    if (!*example.is_believed) return nullptr;
  }
  const nb::object args = with_tensors(call.args, metas);
  const nb::object kwargs = call.kwargs ? with_tensors(call.kwargs, metas) : nb::object();
  const nb::object told = run_on_meta(call, args.ptr(), kwargs.ptr(), metas);
  if (!told.is_valid()) return nullptr;  // it raises: the kernel says why
  auto out = std::make_unique<LearntCall>(example.learnt);
  out->elements = 0;
  std::vector<LearntShape> shapes;
  const bool is_same = walk(out->result, told.ptr(), [&](const Piece& piece, PyObject* t) {
    LearntShape shape = learnt_shape_of(t);
    if (!is_on_meta(t) || !shape.dtype.is(piece.shape.dtype)) return false;
    shape.device = piece.shape.device;
    shape.kwargs = piece.shape.kwargs;
    out->elements += nb::cast<std::size_t>(nb::handle(t).attr("numel")());
    shapes.push_back(std::move(shape));
    return true;
  });
  if (!is_same) return nullptr;
  std::size_t next = 0;
  take_shapes(out->result, shapes, next);
  return out;
}

}  // namespace modulize
