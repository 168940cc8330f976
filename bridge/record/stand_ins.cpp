#include "bridge/record/stand_ins.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"
#include "bridge/values/module_scan.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

// Up to so many elements a call is run all the same where its arguments are there: masks, positions and indices keep
// their values, which Python may ask for.
constexpr std::size_t kCheap = std::size_t{1} << 16, kCheapIntegers = std::size_t{1} << 20;
constexpr int kMaxDepth = 4;

constexpr std::pair<const char*, StandInMode> kModes[] = {{"on", StandInMode::on},
                                                          {"off", StandInMode::off},
                                                          {"all", StandInMode::all},
                                                          {"all_invalid", StandInMode::all_invalid}};
std::optional<StandInMode> chosen_mode;

struct Functions {
  nb::object empty_strided, zeros, equal, increment_version;
  nb::object is_grad_enabled, is_inference, default_dtype, stack_length, dispatch_length, autocast;

  static const Functions& instance() {
    static const Functions* const functions = new Functions();
    return *functions;
  }
  bool is_complete = false;

 private:
  Functions() {
    const nb::object torch = nb::module_::import_("torch"), core = torch.attr("_C");
    empty_strided = torch.attr("empty_strided");
    zeros = torch.attr("zeros");
    equal = torch.attr("equal");
    is_grad_enabled = torch.attr("is_grad_enabled");
    is_inference = nb::getattr(torch, "is_inference_mode_enabled", nb::none());
    default_dtype = torch.attr("get_default_dtype");
    stack_length = nb::getattr(core, "_len_torch_function_stack", nb::none());
    dispatch_length = nb::getattr(core, "_len_torch_dispatch_stack", nb::none());
    autocast = nb::getattr(core, "_is_any_autocast_enabled", nb::none());
    increment_version = nb::getattr(nb::module_::import_("torch.autograd.graph"), "increment_version", nb::none());
    is_complete = !is_inference.is_none() && !stack_length.is_none() && !dispatch_length.is_none() &&
                  !autocast.is_none() && !increment_version.is_none();
  }
};

bool is_true(const nb::object& function) { return checked(PyObject_CallNoArgs(function.ptr())).ptr() == Py_True; }
long number(const nb::object& function) { return nb::cast<long>(checked(PyObject_CallNoArgs(function.ptr()))); }

/// The tensors in arguments, nested in containers.
void collect(PyObject* object, std::vector<PyObject*>& out, int depth = 0) {
  if (!object || depth > kMaxDepth) return;
  if (TorchTypes::instance().is_tensor(object)) {
    out.push_back(object);
  } else if (PyTuple_Check(object) || PyList_Check(object)) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object); ++i)
      collect(PySequence_Fast_GET_ITEM(object, i), out, depth + 1);
  } else if (PyDict_Check(object)) {
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);) collect(value, out, depth + 1);
  } else if (PySlice_Check(object)) {
    const auto* slice = reinterpret_cast<PySliceObject*>(object);
    for (PyObject* part : {slice->start, slice->stop, slice->step}) collect(part, out, depth + 1);
  }
}

/// A copy of its bytes; invalid for large ones, which nothing but counted writes changes, and on the meta device.
nb::object contents_of(const nb::object& tensor) {
  const auto count = nb::cast<std::size_t>(tensor.attr("numel")());
  if (count > kCheap || nb::cast<bool>(tensor.attr("is_meta"))) return {};
  static PyObject* const bytes = nb::object(nb::module_::import_("torch").attr("uint8")).release().ptr();
  return tensor.attr("detach")()
      .attr("reshape")(-1)
      .attr("contiguous")()
      .attr("as_strided")(nb::make_tuple(count), nb::make_tuple(1))  // one element has any stride
      .attr("view")(nb::handle(bytes))
      .attr("clone")();
}

long long version_of(PyObject* tensor) {
  static PyObject* const name = PyUnicode_InternFromString("_version");
  const nb::object version = nb::steal(PyObject_GetAttr(tensor, name));
  if (!version.is_valid()) {
    PyErr_Clear();  // of inference mode
    return -1;
  }
  return PyLong_AsLongLong(version.ptr());
}

/// Nothing may read it.
void spoil(const nb::object& tensor, const nb::object& dtype) {
  if (kind_of_dtype(dtype.ptr()) == NumberKind::floating)
    tensor.attr("fill_")(std::numeric_limits<double>::quiet_NaN());
  else if (kind_of_dtype(dtype.ptr()) == NumberKind::integer)
    tensor.attr("fill_")(nb::module_::import_("torch").attr("iinfo")(dtype).attr("max"));
}

}  // namespace

KnownCalls::KnownCalls() = default;
KnownCalls::~KnownCalls() = default;

bool KnownCalls::is_possible() { return stand_in_mode() != StandInMode::off && Functions::instance().is_complete; }

StandInMode stand_in_mode_of(const std::string& text) {
  for (const auto& [name, mode] : kModes)
    if (text == name) return mode;
  throw Error(ErrorCode::ArgumentError, "MODULIZE_STAND_INS is on, off, all or all_invalid, not '" + text + "'");
}

StandInMode stand_in_mode() {
  if (!chosen_mode) {
    const char* const given = std::getenv("MODULIZE_STAND_INS");
    chosen_mode = given && *given ? stand_in_mode_of(given) : StandInMode::on;
  }
  return *chosen_mode;
}

void set_stand_in_mode(StandInMode mode) { chosen_mode = mode; }

struct StandIns::Question {
  explicit Question(FactsSource& source) : key(source) {}
  CallKey key;
  ToldBy told_by = ToldBy::values;
  std::string name;
  PyObject *args, *kwargs;
  const void* function = nullptr;  // what is called: its identity counts
  PyObject* layer = nullptr;       // or a layer
  std::function<PyObject*(PyObject* args, PyObject* kwargs)> run;
  std::vector<PyObject*> tensors;  // its arguments'
  bool has_any = false;            // of them, stand-ins
  std::string structure = {};      // empty: nobody has asked yet

  InferredCall to_infer() const { return {args, kwargs, layer, key.tensors(), run}; }
  void add_callee(CallKey& to) const {
    if (layer)
      to.add_layer(layer);
    else
      to.add_identity(function);
  }
};

void StandIns::demand(const std::string& reason) {
  if (!demanded_) demanded_ = ValuesDemanded{reason};
  throw Error(ErrorCode::CaptureError, "internal: the capture goes on with values for " + reason);
}

bool StandIns::is_one(PyObject* tensor) {
  if (storages_.empty()) return false;
  if (!is_own_marked_ && recorder_.scan().tensors.contains(tensor)) return false;
  return storages_.contains(facts(tensor).storage);
}

void StandIns::mark(PyObject* tensor) {
  storages_.insert(modulize::storage_of(tensor));
  if (recorder_.scan().tensors.contains(tensor)) is_own_marked_ = own_written_.insert(tensor).second || is_own_marked_;
}

void StandIns::mark_written(PyObject* tensor) {
  if (!facts(tensor).is_meta) mark(tensor);
}

const TensorFacts& StandIns::facts(PyObject* tensor) {
  if (recorder_.scan().tensors.contains(tensor)) {
    const auto [it, fresh] = own_facts_.try_emplace(tensor);
    if (fresh) it->second = facts_of(tensor);
    return it->second;
  }
  const NodeId node = recorder_.origins().of_tensor(tensor);
  if (node == kNoNode) return other_ = facts_of(tensor);
  const auto [it, fresh] = facts_.try_emplace(node);
  if (fresh) it->second = facts_of(tensor);
  return it->second;
}

void StandIns::forget(PyObject* tensor) {
  own_facts_.clear();  // it may be a view of one
  facts_.erase(recorder_.origins().of_tensor(tensor));
}

void StandIns::rollback(NodeId first) {
  std::erase_if(facts_, [&](const auto& entry) { return entry.first >= first; });
}

bool StandIns::holds_any(const std::vector<PyObject*>& tensors) {
  return !storages_.empty() && std::any_of(tensors.begin(), tensors.end(), [&](PyObject* t) { return is_one(t); });
}

void StandIns::require_values(PyObject* args, PyObject* kwargs, bool any, const std::string& reason) {
  if (storages_.empty()) return;
  if (any) demand(reason);
  std::vector<PyObject*> tensors;
  collect(args, tensors);
  collect(kwargs, tensors);
  if (holds_any(tensors)) demand(reason);
}

std::optional<bool> StandIns::outcome(const std::string& key) const {
  if (!outcomes_) return std::nullopt;
  const auto it = outcomes_->find(key);
  return it == outcomes_->end() ? std::nullopt : std::optional(it->second);
}

void StandIns::note_outcome(const std::string& key, bool outcome) {
  if (outcomes_) outcomes_->try_emplace(key, outcome);
}

PyObject* StandIns::call(PyObject* function, const CallName& name, PyObject* args, PyObject* kwargs) {
  Question question(*this);
  question.told_by = name.told_by;
  question.name = name.name;
  question.args = args;
  question.kwargs = kwargs;
  question.run = [function](PyObject* a, PyObject* k) { return PyObject_Call(function, a, k); };
  const auto given = static_cast<std::size_t>(PyTuple_GET_SIZE(args) + (kwargs ? PyDict_GET_SIZE(kwargs) : 0));
  if (given < name.required) question.told_by = ToldBy::values;
  question.function = name.form == CallForm::getter ? static_cast<const void*>(&name) : function;
  return answer(question);
}

PyObject* StandIns::call_layer(PyObject* layer, PyObject* args, PyObject* kwargs,
                               const std::function<PyObject*(PyObject* args, PyObject* kwargs)>& run) {
  Question question(*this);
  question.name = class_name(Py_TYPE(layer));
  question.told_by = told_by_layer(question.name);
  question.args = args;
  question.kwargs = kwargs;
  question.run = run;
  question.layer = layer;
  return answer(question);
}

PyObject* StandIns::run(Question& question) {
  if (question.has_any) demand(question.name);
  ++known_.run;
  nb::object result = nb::steal(question.run(question.args, question.kwargs));
  if (result.is_valid() && !storages_.empty()) {
    // Memory that was given back may be used again.
    std::vector<PyObject*> made;
    collect(result.ptr(), made);
    for (PyObject* tensor : made) storages_.erase(modulize::storage_of(tensor));
  }
  return result.release().ptr();
}

void StandIns::add_to(CallKey& key, const Question& question) {
  const Functions& torch = Functions::instance();
  key.add_arguments(question.args);
  if (question.kwargs) key.add(question.kwargs);
  key.add_identity(checked(PyObject_CallNoArgs(torch.default_dtype.ptr())).ptr());
  key.add_identity(is_true(torch.is_grad_enabled) ? Py_True : Py_False);
}

PyObject* StandIns::answer(Question& question) {
  if (question.told_by != ToldBy::values) question.add_callee(question.key);
  const std::size_t held = question.key.tensors().size();  // a layer's own
  collect(question.args, question.tensors);
  collect(question.kwargs, question.tensors);
  question.has_any = holds_any(question.tensors);
  if (question.told_by == ToldBy::values) return run(question);

  const Functions& torch = Functions::instance();
  // Other modes would see calls; what inference mode makes has no versions.
  if (number(torch.stack_length) > 0 || number(torch.dispatch_length) > 0 || is_true(torch.is_inference))
    return run(question);
  CallKey& key = question.key;
  add_to(key, question);
  if (!key.is_complete() || is_true(torch.autocast)) return run(question);
  if (question.told_by >= ToldBy::numbers && key.has_number()) return run(question);
  if (question.told_by >= ToldBy::indices && key.has_booleans()) return run(question);
  if (question.has_any && question.told_by >= ToldBy::numbers)
    for (PyObject* tensor : question.tensors) {
      const bool is_first = PyTuple_GET_SIZE(question.args) > 0 && tensor == PyTuple_GET_ITEM(question.args, 0);
      if (is_first || !is_one(tensor)) continue;
      const TensorFacts& known = facts(tensor);
      if (known.kind != NumberKind::floating && (question.told_by == ToldBy::indices || !known.has_dimensions))
        demand(question.name);
    }
  // A layer's own that were written count as its arguments.
  for (std::size_t i = 0; i < held && !question.has_any; ++i) question.has_any = is_one(key.tensors()[i]);

  auto it = known_.calls.find(key.bytes());
  if (it == known_.calls.end() && !with_values_) it = infer(question);
  if (it == known_.calls.end()) return run_and_learn(question, question.has_any);
  const LearntCall& learnt = *it->second;
  if (learnt.kind == LearntCall::Kind::free) return question.run(question.args, question.kwargs);
  if (learnt.kind == LearntCall::Kind::values || with_values_) return run(question);
  if (!question.has_any && !learnt.is_meta) {
    const std::size_t elements = key.elements() + learnt.elements;
    const bool is_cheap = stand_in_mode() == StandInMode::on
                              ? elements <= (learnt.integers_alone ? kCheapIntegers : kCheap)
                              : learnt.integers_alone;
    if (is_cheap) return run(question);
  }
  ++known_.left_out;
  return stand_for(question, learnt);
}

const std::string& StandIns::structure_of(Question& question) {
  if (question.structure.empty()) {
    CallKey structure(*this, /*is_structure=*/true);
    question.add_callee(structure);
    add_to(structure, question);
    question.structure = structure.bytes();
  }
  return question.structure;
}

KnownCalls::Calls::iterator StandIns::infer(Question& question) {
  std::unique_ptr<LearntCall> learnt = known_.shapes.infer(structure_of(question), question.to_infer());
  if (!learnt) return known_.calls.end();
  return known_.calls.insert_or_assign(question.key.bytes(), std::move(learnt)).first;
}

namespace {

/// The tensors of a call, as they were before it.
struct Before {
  struct Tensor {
    nb::object tensor;  // what the call gets
    long long version;
    TensorFacts facts;
    nb::object contents;
  };
  std::vector<Tensor> tensors;

  void add(nb::object tensor) {
    Tensor one{tensor, version_of(tensor.ptr()), facts_of(tensor.ptr()), contents_of(tensor)};
    tensors.push_back(std::move(one));
  }
};

/// Looks at what one call has yielded and written.
class Lesson {
 public:
  explicit Lesson(const Before& before) : before_(before), learnt_(std::make_unique<LearntCall>()) {}

  std::unique_ptr<LearntCall> learn(PyObject* result) {
    learnt_->result = piece(result, 0);
    for (std::size_t i = 0; i < before_.tensors.size(); ++i) note_write(i);
    is_free_ &= learnt_->writes.empty();
    if (has_views_ && !is_free_) is_told_ = false;
    learnt_->kind = !is_told_ ? LearntCall::Kind::values : is_free_ ? LearntCall::Kind::free : LearntCall::Kind::stands;
    return std::move(learnt_);
  }
  /// Storages of what it has yielded that were not there before.
  const std::vector<const void*>& fresh() const { return fresh_; }

 private:
  using Piece = LearntCall::Piece;

  Piece piece(PyObject* object, int depth) {
    Piece out;
    if (object == Py_None) return out;
    if (TorchTypes::instance().is_tensor(object)) return tensor(object);
    if ((PyTuple_Check(object) || PyList_CheckExact(object)) && depth < kMaxDepth &&
        Py_TYPE(object) != TorchTypes::instance().size) {
      out.kind = Piece::Kind::items;
      out.type = nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(object)));
      for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object); ++i)
        out.items.push_back(piece(PySequence_Fast_GET_ITEM(object, i), depth + 1));
      return out;
    }
    has_others_ = true;  // a number, a dtype
    if (!is_free_) is_told_ = false;
    return out;
  }

  Piece tensor(PyObject* object) {
    Piece out;
    for (std::size_t i = 0; i < before_.tensors.size(); ++i)
      if (before_.tensors[i].tensor.ptr() == object) {
        out.kind = Piece::Kind::argument;
        out.argument = i;
        return out;
      }
    const TensorFacts facts = facts_of(object);
    if (!facts.is_complete || Py_TYPE(object) != TorchTypes::instance().tensor ||
        nb::handle(object).attr("requires_grad").ptr() == Py_True)
      is_told_ = false;
    const auto shares = [&](const Before::Tensor& one) { return one.facts.storage == facts.storage; };
    if (std::any_of(before_.tensors.begin(), before_.tensors.end(), shares)) {
      has_views_ = true;
      return out;
    }
    is_free_ = false;
    // Results that share memory with one another, or look at a part of hidden memory, beside what is no tensor.
    if (has_others_ || std::find(fresh_.begin(), fresh_.end(), facts.storage) != fresh_.end() ||
        nb::cast<long long>(nb::handle(object).attr("storage_offset")()) != 0)
      is_told_ = false;
    fresh_.push_back(facts.storage);
    out.kind = Piece::Kind::fresh;
    out.shape = learnt_shape_of(object);
    out.is_meta = facts.is_meta;
    learnt_->is_meta &= facts.is_meta;
    learnt_->elements += facts.elements;
    if (facts.kind == NumberKind::floating) learnt_->integers_alone = false;
    return out;
  }

  void note_write(std::size_t i) {
    const Before::Tensor& was = before_.tensors[i];
    const TensorFacts now = facts_of(was.tensor.ptr());
    const long long version = version_of(was.tensor.ptr());
    // `squeeze_`, `set_`: the argument is another tensor afterwards. Without versions nothing is known.
    if (now.storage != was.facts.storage || now.bytes != was.facts.bytes || version < 0) is_told_ = false;
    // Batch norm writes its statistics without counting them as a change.
    const bool is_same =
        !was.contents.is_valid() || nb::cast<bool>(Functions::instance().equal(was.contents, contents_of(was.tensor)));
    if (version == was.version && is_same) return;
    learnt_->writes.emplace_back(i, version - was.version);
    learnt_->is_meta &= now.is_meta;
    if (now.kind == NumberKind::floating) learnt_->integers_alone = false;
  }

  const Before& before_;
  std::unique_ptr<LearntCall> learnt_;
  std::vector<const void*> fresh_;
  bool is_told_ = true, is_free_ = true, has_views_ = false, has_others_ = false;
};

/// A tensor like it that holds zeros.
nb::object zeros_like(PyObject* tensor) {
  using namespace nb::literals;
  const LearntShape shape = learnt_shape_of(tensor);
  long long extent = 1;  // of memory
  for (std::size_t d = 0; d < nb::len(shape.size); ++d)
    extent += (nb::cast<long long>(shape.size[d]) - 1) * nb::cast<long long>(shape.stride[d]);
  return Functions::instance()
      .zeros(nb::make_tuple(std::max(extent, 0LL)), "dtype"_a = shape.dtype, "device"_a = shape.device)
      .attr("as_strided")(shape.size, shape.stride);
}

}  // namespace

PyObject* StandIns::run_and_learn(Question& question, bool with_zeros) {
  Before before;
  // What does not look at values runs on what is not there.
  const bool is_blind = question.told_by == ToldBy::shapes;
  std::unordered_map<PyObject*, nb::object> zeros;
  for (PyObject* tensor : question.key.tensors()) {
    const auto& own = question.tensors;  // the call's; a layer's are there, if not as eager has them
    if (with_zeros && !is_blind && std::find(own.begin(), own.end(), tensor) != own.end() && is_one(tensor))
      before.add(zeros[tensor] = zeros_like(tensor));
    else
      before.add(nb::borrow(tensor));
  }
  const bool is_other = !zeros.empty();
  const nb::object args = is_other ? with_tensors(question.args, zeros) : nb::borrow(question.args);
  const nb::object kwargs =
      is_other && question.kwargs ? with_tensors(question.kwargs, zeros) : nb::borrow(question.kwargs);
  nb::object result = nb::steal(question.run(args.ptr(), kwargs.ptr()));
  if (!result.is_valid()) {
    if (!with_zeros || is_blind) return nullptr;
    nb::python_error error;
    if (is_fatal(error)) throw error;
    demand(question.name + ", which raises on zeros");
  }
  ++known_.run;
  Lesson lesson(before);
  const auto it = known_.calls.insert_or_assign(question.key.bytes(), lesson.learn(result.ptr())).first;
  if (question.key.elements() + it->second->elements > kCheap)
    known_.shapes.remember(structure_of(question), question.to_infer(), *it->second);
  if (!with_zeros) {
    // Memory that was given back may be used again.
    for (const void* storage : lesson.fresh()) storages_.erase(storage);
    return result.release().ptr();
  }
  if (it->second->kind == LearntCall::Kind::values) demand(question.name);
  if (is_blind) {
    storages_.insert(lesson.fresh().begin(), lesson.fresh().end());
    for (const auto& [argument, by] : it->second->writes) mark_written(question.key.tensors()[argument]);
    return result.release().ptr();
  }
  if (it->second->kind == LearntCall::Kind::free) return question.run(question.args, question.kwargs);
  return stand_for(question, *it->second);
}

PyObject* StandIns::stand_for(const Question& question, const LearntCall& learnt) {
  const Functions& torch = Functions::instance();
  const std::vector<PyObject*>& tensors = question.key.tensors();
  for (const auto& [argument, by] : learnt.writes) {
    PyObject* const tensor = tensors[argument];
    for (long long i = 0; i < by; ++i) torch.increment_version(nb::handle(tensor));
    mark_written(tensor);
  }
  const std::function<nb::object(const LearntCall::Piece&)> make = [&](const LearntCall::Piece& piece) -> nb::object {
    using Kind = LearntCall::Piece::Kind;
    switch (piece.kind) {
      case Kind::none:
        return nb::none();
      case Kind::argument:
        return nb::borrow(tensors[piece.argument]);
      case Kind::fresh: {
        nb::object out =
            checked(PyObject_Call(torch.empty_strided.ptr(), piece.shape.args.ptr(), piece.shape.kwargs.ptr()));
        if (piece.is_meta) return out;
        if (stand_in_mode() == StandInMode::all_invalid) spoil(out, piece.shape.dtype);
        mark(out.ptr());
        return out;
      }
      case Kind::items:
        break;
    }
    nb::object items = nb::steal(PyList_New(0));
    for (const LearntCall::Piece& item : piece.items) PyList_Append(items.ptr(), make(item).ptr());
    if (piece.type.is(nb::handle(reinterpret_cast<PyObject*>(&PyList_Type)))) return items;
    if (nb::hasattr(piece.type, "_make")) return piece.type.attr("_make")(items);
    return piece.type(items);
  };
  return make(learnt.result).release().ptr();
}

}  // namespace modulize
