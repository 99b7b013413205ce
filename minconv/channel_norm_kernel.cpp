// Layer norm over the channels of each point, and periodic padding of the result, in one pass over channels_last frames:
// minconv/channel_norm.py compiles this file on first use and calls it through the C functions at its end.
//
// A frame is [H, W, C]; its padded result [H + 2 rows, W + 2 columns, C]. A point's numbers depend on that point alone
// and the sums for scale and shift are made per frame, so nothing depends on the number of threads.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#define MINCONV_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Shape {
  int64_t frames, height, width, channels, rows, columns;
  double epsilon;
  int64_t threads;

  int64_t row() const { return width * channels; }
  int64_t padded_row() const { return (width + 2 * columns) * channels; }
  int64_t frame() const { return height * row(); }
  int64_t padded_frame() const { return (height + 2 * rows) * padded_row(); }
};

int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// 64 bytes of numbers. The last vector of a point's channels overlaps the one before it, with zeros in the mask for what
// that one has counted already; so a point reads and writes nothing but its own channels. Points with fewer channels than
// a vector holds are done one number at a time.

template <class F>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(64)));
  typedef int32_t order __attribute__((vector_size(64)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(64)));
  typedef int64_t order __attribute__((vector_size(64)));
};
template <class F>
using Vector = typename VectorOf<F>::type;
template <class F>
constexpr int64_t kLanes = 64 / sizeof(F);

template <class F>
inline Vector<F> load(const F* from) {
  Vector<F> vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

template <class F>
inline void store(F* to, Vector<F> vector) {
  std::memcpy(to, &vector, sizeof vector);
}

#ifdef __clang__
#define MINCONV_ORDER(vector, ...) __builtin_shufflevector(vector, vector, __VA_ARGS__)
#else
#define MINCONV_ORDER(vector, ...) __builtin_shuffle(vector, order{__VA_ARGS__})
#endif

inline float sum(Vector<float> v) {
  typedef VectorOf<float>::order order __attribute__((unused));
  v += MINCONV_ORDER(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  v += MINCONV_ORDER(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  v += MINCONV_ORDER(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return v[0] + v[1];
}

inline double sum(Vector<double> v) {
  typedef VectorOf<double>::order order __attribute__((unused));
  v += MINCONV_ORDER(v, 4, 5, 6, 7, 0, 1, 2, 3);
  v += MINCONV_ORDER(v, 2, 3, 0, 1, 6, 7, 4, 5);
  return v[0] + v[1];
}

// Where the last vector begins, and its mask.
template <class F>
struct Channels {
  int64_t count, last;
  Vector<F> mask;

  explicit Channels(int64_t channels) : count(channels), last(channels - kLanes<F>) {
    F values[kLanes<F>];
    const int64_t counted = (kLanes<F> - channels % kLanes<F>) % kLanes<F>;
    for (int64_t i = 0; i < kLanes<F>; ++i) values[i] = i < counted ? F(0) : F(1);
    mask = load<F>(values);
  }
};

template <class F>
inline void normalise_point(F* to, const F* x, const F* weight, const F* bias, const Channels<F>& channels, F epsilon,
                            F& mean, F& scale) {
  const int64_t last = channels.last;
  Vector<F> total = load(x + last) * channels.mask;
  for (int64_t i = 0; i < last; i += kLanes<F>) total += load(x + i);
  const F centre = sum(total) / F(channels.count);
  const Vector<F> end = (load(x + last) - centre) * channels.mask;
  Vector<F> squares = end * end;
  for (int64_t i = 0; i < last; i += kLanes<F>) {
    const Vector<F> centred = load(x + i) - centre;
    squares += centred * centred;
  }
  const F factor = F(1) / std::sqrt(sum(squares) / F(channels.count) + epsilon);
  for (int64_t i = 0; i < last; i += kLanes<F>)
    store<F>(to + i, (load(x + i) - centre) * factor * load(weight + i) + load(bias + i));
  store<F>(to + last, (load(x + last) - centre) * factor * load(weight + last) + load(bias + last));
  mean = centre;
  scale = factor;
}

template <class F>
void normalise_few(F* to, const F* x, const F* weight, const F* bias, const Channels<F>& channels, F epsilon, F& mean,
                   F& scale) {
  F total = 0, squares = 0;
  for (int64_t i = 0; i < channels.count; ++i) total += x[i];
  mean = total / F(channels.count);
  for (int64_t i = 0; i < channels.count; ++i) squares += (x[i] - mean) * (x[i] - mean);
  scale = F(1) / std::sqrt(squares / F(channels.count) + epsilon);
  for (int64_t i = 0; i < channels.count; ++i) to[i] = (x[i] - mean) * scale * weight[i] + bias[i];
}

template <class F>
void forward(const Shape& shape, const F* x, const F* weight, const F* bias, F* padded, F* mean, F* scale) {
  const int64_t channels = shape.channels, left = shape.columns * channels;
  const Channels<F> all(channels);
  const auto normalise = all.last < 0 ? normalise_few<F> : normalise_point<F>;
#pragma omp parallel for num_threads(shape.threads) schedule(dynamic)
  for (int64_t n = 0; n < shape.frames; ++n) {
    F* core = padded + n * shape.padded_frame() + shape.rows * shape.padded_row();
    for (int64_t y = 0; y < shape.height; ++y) {
      F* to = core + y * shape.padded_row();
      for (int64_t column = 0; column < shape.width; ++column) {
        const int64_t point = (n * shape.height + y) * shape.width + column;
        normalise(to + left + column * channels, x + point * channels, weight, bias, all, F(shape.epsilon), mean[point],
                  scale[point]);
      }
      std::memcpy(to, to + shape.row(), left * sizeof(F));
      std::memcpy(to + left + shape.row(), to + left, left * sizeof(F));
    }
    const int64_t border = shape.rows * shape.padded_row(), height = shape.height * shape.padded_row();
    std::memcpy(core - border, core + height - border, border * sizeof(F));
    std::memcpy(core + height, core, border * sizeof(F));
  }
}

template <class F>
void add(F* __restrict to, const F* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

template <class F>
void add_edges(F* to, const F* padded, const Shape& shape) {
  const int64_t left = shape.columns * shape.channels, row = shape.row();
  add(to + row - left, padded, left);
  add(to, padded + left + row, left);
}

template <class F>
void add_row(F* to, const F* padded, const Shape& shape) {
  add(to, padded + shape.columns * shape.channels, shape.row());
  add_edges(to, padded, shape);
}

// The gradient of one row of points: of its own columns, of those they were copied to, and of the copies of the row.
template <class F>
void fold_row(F* to, const F* padded, const Shape& shape, int64_t y) {
  const int64_t length = shape.padded_row();
  const F* own = padded + (y + shape.rows) * length;
  std::memcpy(to, own + shape.columns * shape.channels, shape.row() * sizeof(F));
  add_edges(to, own, shape);
  if (y >= shape.height - shape.rows) add_row(to, padded + (y - shape.height + shape.rows) * length, shape);
  if (y < shape.rows) add_row(to, padded + (y + shape.rows + shape.height) * length, shape);
}

// With n = (x - mean) scale and a = weight * gradient: dx = scale (a - mean(a) - n mean(a n)).
template <class F>
inline void differentiate_point(F* to, const F* gradient, const F* x, const F* weight, const Channels<F>& channels,
                                F mean, F scale, F* sum_weight, F* sum_bias) {
  const int64_t last = channels.last;
  Vector<F> first = {}, second = {};
  for (int64_t i = 0; i < last; i += kLanes<F>) {
    const Vector<F> now = load(gradient + i), by_normal = now * ((load(x + i) - mean) * scale);
    store<F>(sum_weight + i, load(sum_weight + i) + by_normal);
    store<F>(sum_bias + i, load(sum_bias + i) + now);
    first += now * load(weight + i);
    second += by_normal * load(weight + i);
  }
  const Vector<F> end = load(gradient + last) * channels.mask, end_normal = end * ((load(x + last) - mean) * scale);
  store<F>(sum_weight + last, load(sum_weight + last) + end_normal);
  store<F>(sum_bias + last, load(sum_bias + last) + end);
  const F by_mean = sum(first + end * load(weight + last)) / F(channels.count);
  const F by_normal = sum(second + end_normal * load(weight + last)) / F(channels.count);
  const auto differentiate = [&](int64_t i) {
    const Vector<F> normal = (load(x + i) - mean) * scale;
    store<F>(to + i, scale * (load(gradient + i) * load(weight + i) - by_mean - normal * by_normal));
  };
  for (int64_t i = 0; i < last; i += kLanes<F>) differentiate(i);
  differentiate(last);
}

template <class F>
void differentiate_few(F* to, const F* gradient, const F* x, const F* weight, const Channels<F>& channels, F mean,
                       F scale, F* sum_weight, F* sum_bias) {
  F first = 0, second = 0;
  for (int64_t i = 0; i < channels.count; ++i) {
    const F by_normal = gradient[i] * ((x[i] - mean) * scale);
    sum_weight[i] += by_normal;
    sum_bias[i] += gradient[i];
    first += gradient[i] * weight[i];
    second += by_normal * weight[i];
  }
  first /= F(channels.count);
  second /= F(channels.count);
  for (int64_t i = 0; i < channels.count; ++i)
    to[i] = scale * (gradient[i] * weight[i] - first - (x[i] - mean) * scale * second);
}

template <class F>
void backward(const Shape& shape, const F* gradient, const F* x, const F* weight, const F* mean, const F* scale,
              F* grad_x, F* grad_weight, F* grad_bias) {
  const int64_t channels = shape.channels;
  const Channels<F> all(channels);
  const auto differentiate = all.last < 0 ? differentiate_few<F> : differentiate_point<F>;
  const int64_t room = shape.row() + 2 * channels;
  std::vector<double> partial(shape.frames * 2 * channels);
  std::vector<F> memory(shape.threads * room);
#pragma omp parallel for num_threads(shape.threads) schedule(dynamic)
  for (int64_t n = 0; n < shape.frames; ++n) {
    F* row = memory.data() + thread_number() * room;
    F *by_weight = row + shape.row(), *by_bias = by_weight + channels;
    double* totals = partial.data() + n * 2 * channels;
    for (int64_t y = 0; y < shape.height; ++y) {
      fold_row(row, gradient + n * shape.padded_frame(), shape, y);
      std::memset(by_weight, 0, 2 * channels * sizeof(F));
      for (int64_t column = 0; column < shape.width; ++column) {
        const int64_t point = (n * shape.height + y) * shape.width + column;
        differentiate(grad_x + point * channels, row + column * channels, x + point * channels, weight, all, mean[point],
                      scale[point], by_weight, by_bias);
      }
      for (int64_t i = 0; i < channels; ++i) {
        totals[i] += double(by_weight[i]);
        totals[channels + i] += double(by_bias[i]);
      }
    }
  }
  for (int64_t i = 0; i < channels; ++i) {
    double by_weight = 0, by_bias = 0;
    for (int64_t n = 0; n < shape.frames; ++n) {
      by_weight += partial[n * 2 * channels + i];
      by_bias += partial[n * 2 * channels + channels + i];
    }
    grad_weight[i] = F(by_weight);
    grad_bias[i] = F(by_bias);
  }
}

template <class F>
void forward_of(const Shape& shape, void* const* p) {
  forward<F>(shape, static_cast<const F*>(p[0]), static_cast<const F*>(p[1]), static_cast<const F*>(p[2]),
             static_cast<F*>(p[3]), static_cast<F*>(p[4]), static_cast<F*>(p[5]));
}

template <class F>
void backward_of(const Shape& shape, void* const* p) {
  backward<F>(shape, static_cast<const F*>(p[0]), static_cast<const F*>(p[1]), static_cast<const F*>(p[2]),
              static_cast<const F*>(p[3]), static_cast<const F*>(p[4]), static_cast<F*>(p[5]), static_cast<F*>(p[6]),
              static_cast<F*>(p[7]));
}

}  // namespace

// The result is 0, or 1 if there was no memory.

MINCONV_EXPORT int minconv_channel_norm_forward(const Shape* shape, int is_double, void* const* p) {
  try {
    is_double ? forward_of<double>(*shape, p) : forward_of<float>(*shape, p);
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

MINCONV_EXPORT int minconv_channel_norm_backward(const Shape* shape, int is_double, void* const* p) {
  try {
    is_double ? backward_of<double>(*shape, p) : backward_of<float>(*shape, p);
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}
