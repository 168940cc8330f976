#include "bridge/explore/variation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "bridge/values/parts.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

constexpr double kHuge = 1e30;  // what masks add to hide something

using Shape = std::vector<std::int64_t>;

std::vector<Shape> shapes_of(nb::handle inputs) {
  std::vector<Shape> out;
  for_each_tensor(inputs.ptr(), [&](nb::handle tensor) {
    out.emplace_back();
    for (nb::handle size : nb::object(tensor.attr("shape"))) out.back().push_back(nb::cast<std::int64_t>(size));
  });
  return out;
}

/// Which sizes become others, and by how much.
enum class Which : std::uint8_t {
  middle,    // pictures: the last two; else the second
  last,      // of tensors of rank 3 the last
  opposite,  // as `middle`, larger in place of smaller
  halved,    // as `middle`, half of it, or twice where that cannot be: for windows, pairs and heads
  inner,     // of tensors of rank 4 and more all but the first and the last, larger: channels are last
  uneven,    // as `middle`, three quarters of it, of little the double and one more: what nothing large divides
};

/// Other sizes of pictures, sequences and signals: the last dimensions of tensors of the highest rank.
Sizes other_sizes(const std::vector<Shape>& shapes, Which which) {
  std::size_t rank = 0;
  for (const Shape& shape : shapes) rank = std::max(rank, shape.size());
  Sizes out;
  if (rank < 2 || (which == Which::last && rank != 3) || (which == Which::inner && rank < 4)) return out;
  const bool is_inner = which == Which::inner;
  const std::size_t from = is_inner ? 1 : rank >= 4 ? rank - 2 : which == Which::last ? 2 : 1;
  const std::size_t to = is_inner ? rank - 1 : rank >= 4 ? rank : from + 1;
  for (const Shape& shape : shapes) {
    if (shape.size() != rank) continue;
    for (std::size_t d = from; d < to; ++d) {
      const std::int64_t size = shape[d];
      if (size < 2) continue;
      const bool is_large_picture = rank >= 4 && size % 32 == 0 && size >= 128;
      // Smaller where that keeps what networks divide by: it costs less than the first capture.
      if (is_inner)
        out[size] = size + 2;
      else if (which == Which::uneven)
        out[size] = size >= 8 ? size - size / 4 : 2 * size + 1;
      else if (which == Which::halved)
        out[size] = size % 2 == 0 && size > 2 ? size / 2 : 2 * size;
      else if (which == Which::opposite)
        out[size] = is_large_picture ? size + 32 : rank >= 4 ? (size + 1) / 2 : size > 2 ? size + 1 : size + 2;
      else if (rank >= 4)
        out[size] = is_large_picture ? size - 32 : 2 * size;
      else
        out[size] = size > 2 ? size - 1 : size + 1;
    }
  }
  return out;
}

/// The number of rows that all tensors have in common; 0 if there is none, -1 if they differ.
std::int64_t common_rows(const std::vector<Shape>& shapes) {
  std::int64_t rows = 0;
  for (const Shape& shape : shapes)
    if (!shape.empty()) rows = rows == 0 || rows == shape[0] ? shape[0] : -1;
  return rows;
}

Shape varied(Shape shape, const Variation& variation) {
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const auto it = variation.sizes.find(shape[d]);
    if (d == 0)
      shape[d] += variation.more_rows;
    else if (it != variation.sizes.end())
      shape[d] = it->second;
  }
  return shape;
}

/// How many of the numbers that Python may make of the sizes (products, the sum, the smallest and the largest) are what
/// they were.
int unchanged_numbers(const Shape& before, const Variation& variation) {
  const Shape after = varied(before, variation);
  std::vector<std::size_t> others;
  for (std::size_t d = 0; d < before.size(); ++d)
    if (before[d] != after[d]) others.push_back(d);
  int out = 0;
  for (std::size_t some = 1; some < std::size_t{1} << others.size(); ++some) {
    std::int64_t was = 1, is = 1;
    for (std::size_t i = 0; i < others.size(); ++i)
      if (some >> i & 1) was *= before[others[i]], is *= after[others[i]];
    out += was == is;
  }
  if (others.empty()) return 0;
  out += std::accumulate(before.begin(), before.end(), std::int64_t{0}) ==
         std::accumulate(after.begin(), after.end(), std::int64_t{0});
  out += *std::min_element(before.begin(), before.end()) == *std::min_element(after.begin(), after.end());
  out += *std::max_element(before.begin(), before.end()) == *std::max_element(after.begin(), after.end());
  return out;
}

/// With the least number of rows more that leaves the fewest of those numbers as they were: (3, 4) must not become
/// (4, 3).
Variation with_more_rows(const std::vector<Shape>& shapes, const Variation& sizes) {
  constexpr std::int64_t kMaxMore = 4;
  Variation best;
  int fewest = -1;
  for (std::int64_t smaller = 0; smaller < 2; ++smaller) {
    Variation tried = sizes;
    for (auto& [from, to] : tried.sizes)
      if (to == from - 1 && to > smaller + 1) to -= smaller;
    for (tried.more_rows = 1; tried.more_rows <= kMaxMore; ++tried.more_rows) {
      int unchanged = 0;
      for (const Shape& shape : shapes) unchanged += unchanged_numbers(shape, tried);
      if (fewest >= 0 && unchanged >= fewest) continue;
      fewest = unchanged;
      best = tried;
    }
  }
  return best;
}

/// The arguments with a copy of its first item behind each list of tensors.
nb::object with_longer_lists(nb::handle arguments) {
  const auto longer = [](nb::handle value) -> nb::object {
    if (!is_list_of_tensors(value)) return nb::borrow(value);
    nb::list out;
    for (nb::handle item : value) out.append(item);
    out.append(copied(value[0]));
    return out;
  };
  if (nb::isinstance<nb::dict>(arguments)) {
    nb::dict out;
    for (auto [key, value] : nb::borrow<nb::dict>(arguments)) out[key] = longer(value);
    return out;
  }
  nb::list out;
  for (nb::handle value : arguments) out.append(longer(value));
  return nb::tuple(out);
}

/// The greatest values are the least instead: extremes, sums and counts change, and indices stay such. Of a mask only
/// one changes; what has one value alone gets the half of it, unless it is a mask.
nb::object without_the_greatest(const nb::object& flat) {
  const bool is_mask = nb::object(flat.attr("dtype")).is(nb::module_::import_("torch").attr("bool"));
  const nb::object order = is_mask ? nb::object(flat.attr("byte")()) : flat;
  const nb::object place = order.attr("argmax")(), greatest = order.attr("max")(), least = order.attr("min")();
  const double high = nb::cast<double>(nb::object(greatest.attr("item")()));
  const double low = nb::cast<double>(nb::object(least.attr("item")()));
  if (high < 2)
    flat.attr("__setitem__")(place, least);
  else if (low == high)
    flat.attr("fill_")(std::floor(high / 2));
  else
    flat.attr("masked_fill_")(order.attr("eq")(greatest), least);
  return flat;
}

/// Other values between the least and the greatest of those that are no whole numbers: on a curve, so that no sum,
/// count or extreme stays what it is. What has one value alone gets others between a half of it and itself.
nb::object on_a_curve(const nb::object& flat, bool mirrored) {
  nb::module_ torch = nb::module_::import_("torch");
  nb::object wide = nb::object(flat.attr("dtype")).is(torch.attr("float64")) ? flat : flat.attr("float")();
  const nb::object least = wide.attr("min")(), greatest = wide.attr("max")();
  const double value = nb::cast<double>(nb::object(least.attr("item")()));
  if (value == nb::cast<double>(nb::object(greatest.attr("item")()))) {
    if (!(std::abs(value) < kHuge)) return flat;  // masks: -inf, the least of a dtype, NaN
    const nb::object between = torch.attr("linspace")(0.5, 0.05, nb::object(wide.attr("numel")()),
                                                      nb::arg("dtype") = nb::object(wide.attr("dtype")),
                                                      nb::arg("device") = nb::object(wide.attr("device")));
    return between.attr("mul")(value == 0 ? 1.0 : -value).attr("add")(value).attr("to")(flat.attr("dtype"));
  }
  const nb::object fractions =
      wide.attr("ne")(wide.attr("round")()).attr("logical_and")(wide.attr("abs")().attr("lt")(kHuge));
  const auto among = [&](double others) {
    return torch.attr("where")(fractions, wide, torch.attr("full_like")(wide, others));
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const nb::object low = among(kInfinity).attr("min")(), high = among(-kInfinity).attr("max")();
  if (!nb::cast<bool>(nb::object(low.attr("lt")(high).attr("item")()))) return without_the_greatest(flat);
  const nb::object range = high.attr("sub")(low);
  const nb::object place = wide.attr("sub")(low).attr("div")(range);
  const nb::object on_curve = place.attr("square")().attr("mul")(0.6).attr("add")(0.15);
  const nb::object moved =
      (mirrored ? on_curve.attr("neg")().attr("add")(1) : on_curve).attr("mul")(range).attr("add")(low);
  return torch.attr("where")(fractions, moved, wide).attr("to")(flat.attr("dtype"));
}

bool is_mask(nb::handle flat) {
  if (nb::cast<bool>(flat.attr("is_meta")) || nb::cast<bool>(flat.attr("is_floating_point")()) ||
      nb::cast<bool>(flat.attr("is_complex")()))
    return false;
  const nb::object numbers = flat.attr("long")();
  return nb::cast<std::int64_t>(nb::object(numbers.attr("min")().attr("item")())) == 0 &&
         nb::cast<std::int64_t>(nb::object(numbers.attr("max")().attr("item")())) == 1;
}

/// Values that the tensor might as well have. Turned by one element first, so that none stays where it was.
nb::object other_values(nb::handle flat, const Variation& variation) {
  if (variation.full_masks && is_mask(flat))
    return flat.attr("ne")(0).attr("fill_")(true).attr("to")(flat.attr("dtype"));
  const bool turned_around = variation.turned_around;
  nb::object turned = flat.attr("roll")(1);
  if (turned_around || nb::cast<bool>(turned.attr("is_meta")) || nb::cast<bool>(turned.attr("is_complex")()))
    return turned;
  try {
    return nb::cast<bool>(turned.attr("is_floating_point")()) ? on_a_curve(turned, variation.mirrored)
                                                              : without_the_greatest(turned);
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_RuntimeError)) throw;
    return turned;  // dtypes that torch only stores
  }
}

}  // namespace

bool is_list_of_tensors(nb::handle value) {
  return PyList_CheckExact(value.ptr()) && PyList_GET_SIZE(value.ptr()) > 0 && holds_tensor(value.ptr());
}

namespace {

/// How many pictures there are: rows of the largest tensor with four dimensions or more; 0 for none.
std::int64_t pictures_in(nb::handle arguments) {
  std::int64_t most = 0;
  for_each_tensor(arguments.ptr(), [&](nb::handle t) {
    if (nb::cast<int>(t.attr("dim")()) >= 4) most = std::max(most, nb::cast<std::int64_t>(t.attr("size")(0)));
  });
  return most;
}

/// Columns of a table of numbers that may say which picture a row belongs to stay as they are: kernels for regions
/// read past the last picture without a word, and end the process.
nb::object with_picture_columns(const nb::object& before, const nb::object& after, std::int64_t pictures) {
  const nb::object whole = before.attr("floor")().attr("eq")(before);
  const nb::object inside = before.attr("ge")(0).attr("logical_and")(before.attr("lt")(pictures));
  const nb::object columns = whole.attr("logical_and")(inside).attr("all")(0);
  return nb::module_::import_("torch").attr("where")(columns, before, after);
}

using SizePairs = std::vector<std::pair<std::int64_t, std::int64_t>>;  // as it was, as it is

/// Dimensions that become smaller.
SizePairs smaller_sizes(nb::handle arguments, const Variation& variation) {
  SizePairs out;
  for (const Shape& shape : shapes_of(arguments)) {
    const Shape after = varied(shape, variation);
    for (std::size_t d = 0; d < shape.size(); ++d)
      if (after[d] < shape[d]) out.emplace_back(shape[d], after[d]);
  }
  return out;
}

/// Whole numbers that may say where in a dimension something stands still do where that has become smaller: kernels for
/// sparse tensors do not look, and end the process.
nb::object within_sizes(const nb::object& tensor, const SizePairs& smaller) {
  if (smaller.empty() || nb::cast<bool>(tensor.attr("is_meta")) || nb::cast<bool>(tensor.attr("is_floating_point")()) ||
      nb::cast<bool>(tensor.attr("is_complex")()) ||
      nb::object(tensor.attr("dtype")).is(nb::module_::import_("torch").attr("bool")))
    return tensor;
  const std::int64_t greatest = nb::cast<std::int64_t>(nb::object(tensor.attr("max")().attr("item")()));
  const std::int64_t least = nb::cast<std::int64_t>(nb::object(tensor.attr("min")().attr("item")()));
  std::int64_t limit = std::numeric_limits<std::int64_t>::max();
  for (const auto& [was, is] : smaller)
    if (greatest < was && greatest >= is) limit = std::min(limit, is);
  if (least < 0 || limit <= 0 || greatest < limit) return tensor;
  return tensor.attr("remainder")(limit);
}

}  // namespace

nb::object vary(nb::handle arguments, const Variation& variation) {
  const SizePairs smaller = smaller_sizes(arguments, variation);
  const nb::object value = variation.longer_lists ? with_longer_lists(arguments) : nb::borrow(arguments);
  const std::int64_t pictures = pictures_in(arguments);
  return StructureCopy([&variation, &smaller, pictures](nb::handle leaf) {
           if (!TorchTypes::instance().is_tensor(leaf.ptr())) return nb::borrow(leaf);
           nb::object t = leaf.attr("detach")();
           const std::int64_t count = nb::cast<std::int64_t>(t.attr("numel")());
           const int rank = nb::cast<int>(t.attr("dim")());
           const auto longer = [&](int dim, std::int64_t more) {
             for (nb::object begin; more > 0; more -= nb::cast<std::int64_t>(begin.attr("size")(dim))) {
               begin = t.attr("narrow")(dim, 0, std::min(more, nb::cast<std::int64_t>(t.attr("size")(dim))));
               t = nb::module_::import_("torch").attr("cat")(nb::make_tuple(t, begin), dim);
             }
           };
           if (rank > 0 && count > 0 && variation.more_rows < 0)
             t = t.attr("narrow")(0, 0, nb::cast<std::int64_t>(t.attr("size")(0)) + variation.more_rows);
           if (rank > 0 && count > 0) longer(0, variation.more_rows);
           for (int dim = 1; dim < rank && count > 0; ++dim) {
             const auto it = variation.sizes.find(nb::cast<std::int64_t>(t.attr("size")(dim)));
             if (it == variation.sizes.end()) continue;
             if (it->second < it->first)
               t = t.attr("narrow")(dim, 0, it->second);
             else
               longer(dim, it->second - it->first);
           }
           if (count == 0) return t;
           const nb::object varied = other_values(t.attr("flatten")(), variation).attr("view")(t.attr("shape"));
           const bool is_table = rank == 2 && pictures > 0 && nb::cast<bool>(t.attr("is_floating_point")()) &&
                                 !nb::cast<bool>(t.attr("is_meta"));
           return is_table ? with_picture_columns(t, varied, pictures) : within_sizes(varied, smaller);
         })
      .copy(value);
}

bool has_masks(nb::handle inputs) {
  bool any = false;
  for_each_tensor(inputs.ptr(),
                  [&](nb::handle t) { any |= nb::cast<std::int64_t>(t.attr("numel")()) > 0 && is_mask(t); });
  return any;
}

std::vector<Variation> variations_of(nb::handle inputs) {
  const std::vector<Shape> shapes = shapes_of(inputs);
  const std::int64_t rows = common_rows(shapes);
  std::vector<Variation> sizes;
  for (const Which which : {Which::middle, Which::last, Which::opposite, Which::halved, Which::inner})
    if (Sizes others = other_sizes(shapes, which); !others.empty())
      sizes.push_back({.sizes = std::move(others), .after_check = which == Which::opposite});
  sizes.emplace_back();
  std::vector<Variation> variations;
  const auto add = [&](Variation variation, std::int64_t more_rows, bool after_check = false) {
    variation.more_rows = more_rows;
    variation.after_check |= after_check;
    variations.push_back(std::move(variation));
  };
  // A row more, or fewer; twice as many where there must be an even number of them; as many as there are.
  if (rows != 0)
    for (const Variation& others : sizes) {
      variations.push_back(with_more_rows(shapes, others));
      if (rows > 1) add(others, -1, true);
    }
  if (rows > 1)
    for (const Variation& others : sizes) add(others, rows);
  for (const Variation& others : sizes) add(others, 0);
  variations.push_back({.turned_around = true});
  return variations;
}

std::vector<Variation> other_sides(nb::handle inputs) {
  const std::vector<Shape> shapes = shapes_of(inputs);
  std::vector<Variation> out;
  for (const Which which : {Which::uneven, Which::opposite, Which::last, Which::inner}) {
    Variation sizes{.sizes = other_sizes(shapes, which)};
    if (!sizes.sizes.empty()) out.push_back(std::move(sizes));
  }
  if (const std::int64_t rows = common_rows(shapes); rows > 1) out.push_back({.more_rows = 1 - rows});
  return out;
}

std::string text_of(const Variation& variation) {
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
  if (variation.more_rows)
    add(std::to_string(variation.more_rows) + (variation.more_rows == 1 ? " row more" : " rows more"));
  for (const auto& [size, other] : variation.sizes) add(std::to_string(size) + " as " + std::to_string(other));
  if (variation.turned_around) add("in another order");
  if (variation.mirrored) add("values the other way round");
  return out;
}

Variation farther(nb::handle inputs, Variation variation) {
  const std::int64_t rows = common_rows(shapes_of(inputs));
  if (variation.more_rows > 0) variation.more_rows += rows > 0 ? rows : variation.more_rows + 1;
  for (auto& [from, to] : variation.sizes) {
    const std::int64_t twice = from + 2 * (to - from);
    to = twice > 0 ? twice : from + (from - to);
  }
  return variation;
}

std::vector<Variation> more_like(nb::handle inputs, const Variation& variation) {
  std::vector<Variation> out{farther(inputs, variation), variation, farther(inputs, variation)};
  out[1].mirrored = out[2].mirrored = true;
  if (variation.more_rows > 0)
    for (const std::int64_t more : {1, 2}) {
      out.push_back(variation);
      out.back().more_rows += more;
      out.back().mirrored = more == 2;
    }
  return out;
}

}  // namespace modulize
