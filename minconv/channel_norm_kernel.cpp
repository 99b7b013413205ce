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

template <class F>
void normalise_point(F* __restrict to, const F* __restrict x, const F* __restrict weight, const F* __restrict bias,
                     int64_t channels, F epsilon, F& mean, F& scale) {
  F sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < channels; ++i) sum += x[i];
  const F centre = sum / F(channels);
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < channels; ++i) squares += (x[i] - centre) * (x[i] - centre);
  const F factor = F(1) / std::sqrt(squares / F(channels) + epsilon);
#pragma omp simd
  for (int64_t i = 0; i < channels; ++i) to[i] = (x[i] - centre) * factor * weight[i] + bias[i];
  mean = centre;
  scale = factor;
}

template <class F>
void forward(const Shape& shape, const F* x, const F* weight, const F* bias, F* padded, F* mean, F* scale) {
  const int64_t channels = shape.channels, left = shape.columns * channels;
#pragma omp parallel for num_threads(shape.threads) schedule(dynamic)
  for (int64_t n = 0; n < shape.frames; ++n) {
    F* core = padded + n * shape.padded_frame() + shape.rows * shape.padded_row();
    for (int64_t y = 0; y < shape.height; ++y) {
      F* to = core + y * shape.padded_row();
      for (int64_t column = 0; column < shape.width; ++column) {
        const int64_t point = (n * shape.height + y) * shape.width + column;
        normalise_point(to + left + column * channels, x + point * channels, weight, bias, channels, F(shape.epsilon),
                        mean[point], scale[point]);
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

// The gradient of one row of points: what reaches the padded row, its own columns and those that they were copied to.
template <class F>
void add_row(F* to, const F* padded, const Shape& shape) {
  const int64_t left = shape.columns * shape.channels, row = shape.row();
  add(to, padded + left, row);
  add(to + row - left, padded, left);
  add(to, padded + left + row, left);
}

template <class F>
void fold_row(F* to, const F* padded, const Shape& shape, int64_t y) {
  const int64_t length = shape.padded_row();
  std::memset(to, 0, shape.row() * sizeof(F));
  add_row(to, padded + (y + shape.rows) * length, shape);
  if (y >= shape.height - shape.rows) add_row(to, padded + (y - shape.height + shape.rows) * length, shape);
  if (y < shape.rows) add_row(to, padded + (y + shape.rows + shape.height) * length, shape);
}

// With n = (x - mean) scale and a = weight * gradient: dx = scale (a - mean(a) - n mean(a n)).
template <class F>
void differentiate_point(F* __restrict to, const F* __restrict gradient, const F* __restrict x,
                         const F* __restrict weight, int64_t channels, F mean, F scale, F* __restrict sum_weight,
                         F* __restrict sum_bias) {
  F first = 0, second = 0;
#pragma omp simd reduction(+ : first, second)
  for (int64_t i = 0; i < channels; ++i) {
    const F normal = (x[i] - mean) * scale, by_normal = gradient[i] * normal;
    sum_weight[i] += by_normal;
    sum_bias[i] += gradient[i];
    first += gradient[i] * weight[i];
    second += by_normal * weight[i];
  }
  first /= F(channels);
  second /= F(channels);
#pragma omp simd
  for (int64_t i = 0; i < channels; ++i)
    to[i] = scale * (gradient[i] * weight[i] - first - (x[i] - mean) * scale * second);
}

template <class F>
void backward(const Shape& shape, const F* gradient, const F* x, const F* weight, const F* mean, const F* scale,
              F* grad_x, F* grad_weight, F* grad_bias) {
  const int64_t channels = shape.channels, room = shape.row() + 2 * channels;
  std::vector<double> partial(shape.frames * 2 * channels);
  std::vector<F> memory(shape.threads * room);
#pragma omp parallel for num_threads(shape.threads) schedule(dynamic)
  for (int64_t n = 0; n < shape.frames; ++n) {
    F* row = memory.data() + thread_number() * room;
    F* sums = row + shape.row();
    double* totals = partial.data() + n * 2 * channels;
    for (int64_t y = 0; y < shape.height; ++y) {
      fold_row(row, gradient + n * shape.padded_frame(), shape, y);
      std::memset(sums, 0, 2 * channels * sizeof(F));
      for (int64_t column = 0; column < shape.width; ++column) {
        const int64_t point = (n * shape.height + y) * shape.width + column;
        differentiate_point(grad_x + point * channels, row + column * channels, x + point * channels, weight, channels,
                            mean[point], scale[point], sums, sums + channels);
      }
      for (int64_t i = 0; i < 2 * channels; ++i) totals[i] += double(sums[i]);
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
  is_double ? forward_of<double>(*shape, p) : forward_of<float>(*shape, p);
  return 0;
}

MINCONV_EXPORT int minconv_channel_norm_backward(const Shape* shape, int is_double, void* const* p) {
  try {
    is_double ? backward_of<double>(*shape, p) : backward_of<float>(*shape, p);
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}
