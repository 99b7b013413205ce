// The scan on a CPU: minconv/scan/cpu.py compiles this file on first use and calls it through the C functions at its end.
//
// Recurrence, gates and derivatives are those of minconv/scan/__init__.py. A tile of pixels is carried through all
// frames by one thread; everything a tile touches between two frames stays in the nearest cache. Every step over a tile
// has three parts: read (conversion to the compute type, bias, both frame layouts), arithmetic on flat arrays whose
// length is a multiple of the vector width, write. There is no remainder loop in the arithmetic, so a pixel's numbers do
// not depend on where the tiles are cut or on how many threads there are.
//
// A frame of N = C H W values is, for each of its G channel blocks, N values in one piece (NCHW), or one piece of G C
// values per point (channels_last).

#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#define MINCONV_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int64_t kPadding = 32;  // values; a multiple of every vector width
constexpr int64_t kChunk = 16;    // values copied at once from and to short rows
constexpr int kGru = 0, kLstm = 1, kExpLstm = 2;

// ---------------------------------------------------------------------------------------------------------- numbers

struct BFloat16 {
  uint16_t bits;
};

template <class To, class From>
inline To bit_cast(From from) {
  To to;
  static_assert(sizeof to == sizeof from, "sizes differ");
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline float load(float x) { return x; }
inline double load(double x) { return x; }
inline float load(BFloat16 x) { return bit_cast<float>(uint32_t(x.bits) << 16); }

inline void store(float& to, float x) { to = x; }
inline void store(double& to, double x) { to = x; }
inline void store(BFloat16& to, float x) {
  const uint32_t bits = bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, ties to even
  to.bits = uint16_t(x != x ? 0x7fc0u : rounded);
}

// exp(x) for x <= 0: 2^n exp(r) with |r| <= log(2) / 2 and exp(r) = 1 + r + r^2 q(r), q fitted for the smallest greatest
// relative error (3e-9 and 2e-17). Below the clamp the result stays at the smallest normal number instead of zero. NaN
// stays NaN.
inline float exp_negative(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the low bits are round(x / log 2)
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;  // 15 bits of log 2, so that n times it is exact
  float q = 0.0013814467f;
  q = q * r + 0.008368781f;
  q = q * r + 0.041668393f;
  q = q * r + 0.1666652f;
  q = q * r + 0.49999994f;
  const float p = (q * r) * r + r + 1.0f;
  const int32_t exponent = bit_cast<int32_t>(shifted) << 23;
  return bit_cast<float>(bit_cast<int32_t>(p) + exponent);
}

inline double exp_negative(double x) {
  x = x < -708.0 ? -708.0 : x;
  const double shifted = x * 1.4426950408889634 + 6755399441055744.0;  // 1.5 * 2^52
  const double n = shifted - 6755399441055744.0;
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double q = 2.4693624623461663e-08;
  q = q * r + 2.7634097527663444e-07;
  q = q * r + 2.7558600013814687e-06;
  q = q * r + 2.480148097979761e-05;
  q = q * r + 0.00019841268300267582;
  q = q * r + 0.0013888888957059523;
  q = q * r + 0.008333333334093836;
  q = q * r + 0.04166666666646859;
  q = q * r + 0.1666666666666543;
  q = q * r + 0.5;
  const double p = (q * r) * r + r + 1.0;
  const int64_t exponent = int64_t(bit_cast<uint64_t>(shifted) << 52);
  return bit_cast<double>(bit_cast<int64_t>(p) + exponent);
}

// What a frame adds to the recurrence at one pixel, from exponentials of non-positive numbers and one reciprocal.
template <class F>
struct Gates {
  F take, keep;      // z and 1 - z
  F g, slope;        // g(v) and g'(v)
  F from_f, from_i;  // LSTM only: -ds/df = sigmoid(-f) and ds/di = sigmoid(-i), each times z (1 - z)
};

template <int cell, class F>
inline Gates<F> gates(F x0, F x1, F v) {
  const F one = 1, zero = 0;
  const F e = exp_negative(v > zero ? zero : v);
  F take, keep, grow_f = zero, grow_i = zero;
  if (cell == kLstm) {
    const F smaller = x0 < x1 ? x0 : x1;
    const F m = smaller < zero ? smaller : zero;
    const F em = exp_negative(m);
    grow_f = exp_negative(m - x0);
    grow_i = exp_negative(m - x1);
    take = em + grow_f;
    keep = em + grow_i;
  } else {
    const F s = cell == kGru ? x0 : x1 - x0;
    const F w = exp_negative(s < zero ? s : -s);
    take = s < zero ? w : one;
    keep = s < zero ? one : w;
  }
  const F total = take + keep, r = one / (total * (one + e));
  const F scale = (one + e) * r;  // 1 / total
  const F half = total * r;       // 1 / (1 + e)
  const F sigmoid = e * half;     // of min(v, 0)
  Gates<F> out;
  out.take = take * scale;
  out.keep = keep * scale;
  out.g = (v < zero ? zero : v) + sigmoid;
  out.slope = v < zero ? sigmoid * half : one;
  out.from_f = out.keep * (grow_f * scale);
  out.from_i = out.take * (grow_i * scale);
  return out;
}

// ------------------------------------------------------------------------------------------------------------ tiles

struct Shape {
  int64_t batch, time, channels, points;  // points = H W
  int64_t pre_batch, pre_time;            // strides in values
  int64_t grad_batch, grad_time;          // strides of the gradient of h; both frames are laid out as those of pre
  int64_t tile;                           // values of h in one tile, before rounding
  int32_t last, cell, threads;            // last: frames are channels_last
};

// A range of the values of one frame of h, whole points if channels_last.
struct Tile {
  int64_t batch, start, count, padded;
};

struct Tiles {
  int64_t length, per_frame, total, values;

  explicit Tiles(const Shape& shape) : values(shape.channels * shape.points) {
    const int64_t unit = shape.last ? shape.channels : kPadding;
    length = (shape.tile + unit - 1) / unit * unit;
    per_frame = (values + length - 1) / length;
    total = per_frame * shape.batch;
  }
  Tile operator[](int64_t index) const {
    const int64_t start = index % per_frame * length;
    const int64_t count = start + length < values ? length : values - start;
    return {index / per_frame, start, count, (count + kPadding - 1) / kPadding * kPadding};
  }
  // Length of a thread's arrays, with room for a chunk beyond the end.
  int64_t room() const { return (length + kChunk + kPadding - 1) / kPadding * kPadding; }
};

// Arrays of one tile for each thread, all zero at first: what lies between count and padded is computed with but never
// stored. Made before the threads start, because an exception must not leave a thread.
template <class F>
class Scratch {
 public:
  Scratch(int threads, int arrays, int64_t length)
      : arrays_(arrays), length_(length), memory_(int64_t(threads) * arrays * length + 64 / sizeof(F)) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory_.data());
    base_ = reinterpret_cast<F*>((address + 63) / 64 * 64);
  }
  struct Arrays {
    F* base;
    int64_t length;
    F* operator[](int index) const { return base + index * length; }
  };
  Arrays of_thread(int thread) const { return {base_ + int64_t(thread) * arrays_ * length_, length_}; }

 private:
  int arrays_;
  int64_t length_;
  std::vector<F> memory_;
  F* base_;
};

int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

template <class F, class IO>
void read(F* __restrict to, const IO* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = load(from[i]);
}

template <class F, class IO>
void write(IO* __restrict to, const F* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) store(to[i], from[i]);
}

template <class F, class IO>
inline void read_biased(F* __restrict to, const IO* __restrict from, const F* __restrict bias, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = load(from[i]) + bias[i];
}

// The same in whole chunks, beyond the count: for rows that are followed by others, which are read or written later.
template <class F, class IO>
inline void read_biased_over(F* __restrict to, const IO* __restrict from, const F* __restrict bias, int64_t count) {
  for (int64_t i = 0; i < count; i += kChunk)
    for (int64_t j = i; j < i + kChunk; ++j) to[j] = load(from[j]) + bias[j];
}

template <class F, class IO>
inline void write_over(IO* __restrict to, const F* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; i += kChunk)
    for (int64_t j = i; j < i + kChunk; ++j) store(to[j], from[j]);
}

// The channel blocks of a tile of pre, bias added; `frame` is the start of the frame.
template <int blocks, class F, class IO>
void read_blocks(F* const* to, const IO* frame, F* const* bias, const Shape& shape, const Tile& tile) {
  const int64_t channels = shape.channels;
  if (!shape.last) {
    for (int block = 0; block < blocks; ++block)
      read_biased(to[block], frame + block * channels * shape.points + tile.start, bias[block], tile.count);
    return;
  }
  const IO* from = frame + blocks * tile.start;
  int64_t row = 0;
  for (; row + channels < tile.count && channels >= kChunk; row += channels, from += blocks * channels)
    for (int block = 0; block < blocks; ++block)
      read_biased_over(to[block] + row, from + block * channels, bias[block], channels);
  for (; row < tile.count; row += channels, from += blocks * channels)
    for (int block = 0; block < blocks; ++block)
      read_biased(to[block] + row, from + block * channels, bias[block], channels);
}

// Ask for what the next frame will read: between two frames of a tile the addresses jump, which no processor foresees.
template <class IO>
inline void prefetch(const IO* from, int64_t count) {
  for (int64_t i = 0; i < count; i += int64_t(64 / sizeof(IO))) __builtin_prefetch(from + i);
}

template <int blocks, class IO>
void prefetch_blocks(const IO* frame, const Shape& shape, const Tile& tile) {
  if (shape.last) return prefetch(frame + blocks * tile.start, blocks * tile.count);
  for (int block = 0; block < blocks; ++block)
    prefetch(frame + block * shape.channels * shape.points + tile.start, tile.count);
}

template <int blocks, class F, class IO>
void write_blocks(IO* frame, F* const* from, const Shape& shape, const Tile& tile) {
  const int64_t channels = shape.channels;
  if (!shape.last) {
    for (int block = 0; block < blocks; ++block)
      write(frame + block * channels * shape.points + tile.start, from[block], tile.count);
    return;
  }
  IO* to = frame + blocks * tile.start;
  int64_t row = 0;
  for (; row + channels < tile.count && channels >= kChunk; row += channels, to += blocks * channels)
    for (int block = 0; block < blocks; ++block) write_over(to + block * channels, from[block] + row, channels);
  for (; row < tile.count; row += channels, to += blocks * channels)
    for (int block = 0; block < blocks; ++block) write(to + block * channels, from[block] + row, channels);
}

// Calls work(channel, first, stop) for each run of a tile's values that have one channel; NCHW only.
template <class Work>
void each_channel(const Shape& shape, const Tile& tile, Work work) {
  int64_t channel = tile.start / shape.points;
  for (int64_t first = 0; first < tile.count; ++channel) {
    const int64_t end = (channel + 1) * shape.points - tile.start;
    const int64_t stop = end < tile.count ? end : tile.count;
    work(channel, first, stop);
    first = stop;
  }
}

// The bias of each value of a tile; of a single point where frames are channels_last. A null bias is zero.
template <class F>
void spread_bias(F* to, const F* bias, const Shape& shape, const Tile& tile) {
  if (shape.last) {
    for (int64_t i = 0; i < shape.channels; ++i) to[i] = bias == nullptr ? F(0) : bias[i];
    return;
  }
  each_channel(shape, tile, [&](int64_t channel, int64_t first, int64_t stop) {
    for (int64_t i = first; i < stop; ++i) to[i] = bias == nullptr ? F(0) : bias[channel];
  });
}

// Add a tile's values to the sums of their channels.
template <class F>
void sum_channels(double* sums, const F* from, const Shape& shape, const Tile& tile) {
  if (shape.last) {
    for (int64_t row = 0; row < tile.count; row += shape.channels)
      for (int64_t i = 0; i < shape.channels; ++i) sums[i] += double(from[row + i]);
    return;
  }
  each_channel(shape, tile, [&](int64_t channel, int64_t first, int64_t stop) {
    for (int64_t i = first; i < stop; ++i) sums[channel] += double(from[i]);
  });
}

template <class F>
void start_state(F* state, const F* initial, const Tile& tile, int64_t values) {
  for (int64_t i = 0; i < tile.count; ++i)
    state[i] = initial == nullptr ? F(0.5) : initial[tile.batch * values + tile.start + i];
}

// ---------------------------------------------------------------------------------------------------------- forward

template <int cell, class F>
void step(F* __restrict state, const F* __restrict x0, const F* __restrict x1, const F* __restrict v, int64_t padded) {
  state = static_cast<F*>(__builtin_assume_aligned(state, 64));
  x0 = static_cast<const F*>(__builtin_assume_aligned(x0, 64));
  x1 = static_cast<const F*>(__builtin_assume_aligned(x1, 64));
  v = static_cast<const F*>(__builtin_assume_aligned(v, 64));
  for (int64_t i = 0; i < padded / kPadding * kPadding; ++i) {
    const Gates<F> now = gates<cell>(x0[i], cell == kGru ? F(0) : x1[i], v[i]);
    state[i] = state[i] + now.take * (now.g - state[i]);
  }
}

template <int cell, class F, class IO>
void forward_tile(const Shape& shape, const Tile& tile, const typename Scratch<F>::Arrays& scratch, const IO* pre, const F* bias,
                  const F* initial, IO* h, F* final_state) {
  constexpr int blocks = cell == kGru ? 2 : 3;
  const int64_t values = shape.channels * shape.points;
  F* state = scratch[0];
  F *x[3], *biases[3];
  for (int block = 0; block < 3; ++block) {
    x[block] = scratch[1 + block];
    biases[block] = scratch[4 + block];
    if (block < blocks)
      spread_bias(biases[block], bias == nullptr ? nullptr : bias + block * shape.channels, shape, tile);
  }
  start_state(state, initial, tile, values);
  for (int64_t t = 0; t < shape.time; ++t) {
    const IO* frame = pre + tile.batch * shape.pre_batch + t * shape.pre_time;
    read_blocks<blocks>(x, frame, biases, shape, tile);
    if (t + 1 < shape.time) prefetch_blocks<blocks>(frame + shape.pre_time, shape, tile);
    step<cell>(state, x[0], x[cell == kGru ? 2 : 1], x[blocks - 1], tile.padded);  // GRU: x1 is not read
    write(h + (tile.batch * shape.time + t) * values + tile.start, state, tile.count);
  }
  write(final_state + tile.batch * values + tile.start, state, tile.count);
}

template <int cell, class F, class IO>
void forward(const Shape& shape, const void* pre, const void* bias, const void* initial, void* h, void* final_state) {
  const Tiles tiles(shape);
  const Scratch<F> memory(shape.threads, 7, tiles.room());
#pragma omp parallel num_threads(shape.threads)
  {
    const auto scratch = memory.of_thread(thread_number());
#pragma omp for schedule(dynamic)
    for (int64_t index = 0; index < tiles.total; ++index)
      forward_tile<cell, F, IO>(shape, tiles[index], scratch, static_cast<const IO*>(pre), static_cast<const F*>(bias),
                         static_cast<const F*>(initial), static_cast<IO*>(h), static_cast<F*>(final_state));
  }
}

// --------------------------------------------------------------------------------------------------------- backward

// One frame back: `carry` holds the gradient that reaches h_t from later frames, and then that which reaches h_{t-1}.
// The gradients of the channel blocks replace the blocks' values in x0, x1, v; `sum0` ... gather them for the bias.
template <int cell, class F>
void step_back(F* __restrict carry, F* __restrict x0, F* __restrict x1, F* __restrict v, const F* __restrict before,
               const F* __restrict grad, F* __restrict sum0, F* __restrict sum1, F* __restrict sum_v, int64_t padded) {
  carry = static_cast<F*>(__builtin_assume_aligned(carry, 64));
  x0 = static_cast<F*>(__builtin_assume_aligned(x0, 64));
  x1 = static_cast<F*>(__builtin_assume_aligned(x1, 64));
  v = static_cast<F*>(__builtin_assume_aligned(v, 64));
  before = static_cast<const F*>(__builtin_assume_aligned(before, 64));
  grad = static_cast<const F*>(__builtin_assume_aligned(grad, 64));
  sum0 = static_cast<F*>(__builtin_assume_aligned(sum0, 64));
  sum1 = static_cast<F*>(__builtin_assume_aligned(sum1, 64));
  sum_v = static_cast<F*>(__builtin_assume_aligned(sum_v, 64));
  for (int64_t i = 0; i < padded / kPadding * kPadding; ++i) {
    const Gates<F> now = gates<cell>(x0[i], cell == kGru ? F(0) : x1[i], v[i]);
    const F total = grad[i] + carry[i];
    const F by_z = total * (now.g - before[i]);
    const F by_v = total * now.take * now.slope;
    carry[i] = total * now.keep;
    v[i] = by_v;
    sum_v[i] += by_v;
    F first, second = 0;
    if (cell == kGru) {
      first = by_z * now.take * now.keep;
    } else if (cell == kExpLstm) {
      second = by_z * now.take * now.keep;
      first = -second;
    } else {
      first = -(by_z * now.from_f);
      second = by_z * now.from_i;
    }
    x0[i] = first;
    sum0[i] += first;
    if (cell != kGru) {
      x1[i] = second;
      sum1[i] += second;
    }
  }
}

template <class F, class IO>
struct BackwardTensors {
  const IO* pre;
  const F *bias, *initial;
  const IO *h, *grad_h;  // grad_h may be null: zero
  const F* grad_final;   // may be null: zero
  IO* grad_pre;
  F* grad_initial;  // may be null: not wanted
};

template <int cell, class F, class IO>
void backward_tile(const Shape& shape, const Tile& tile, const typename Scratch<F>::Arrays& scratch, const BackwardTensors<F, IO>& tensors,
                   double* sums) {
  constexpr int blocks = cell == kGru ? 2 : 3;
  const int64_t values = shape.channels * shape.points, offset = tile.batch * values + tile.start;
  F *carry = scratch[0], *before = scratch[1], *grad = scratch[2];
  F *x[3], *biases[3], *totals[3];
  for (int block = 0; block < 3; ++block) {
    x[block] = scratch[3 + block];
    biases[block] = scratch[6 + block];
    totals[block] = scratch[9 + block];
    std::memset(totals[block], 0, tile.padded * sizeof(F));
  }
  for (int block = 0; block < blocks; ++block)
    spread_bias(biases[block], tensors.bias == nullptr ? nullptr : tensors.bias + block * shape.channels, shape, tile);
  std::memset(carry, 0, tile.padded * sizeof(F));
  std::memset(grad, 0, tile.padded * sizeof(F));
  if (tensors.grad_final != nullptr) read(carry, tensors.grad_final + offset, tile.count);
  for (int64_t t = shape.time - 1; t >= 0; --t) {
    const IO* frame = tensors.pre + tile.batch * shape.pre_batch + t * shape.pre_time;
    const int64_t frame_of_h = (tile.batch * shape.time + t) * values;
    read_blocks<blocks>(x, frame, biases, shape, tile);
    if (t > 0)
      read(before, tensors.h + frame_of_h - values + tile.start, tile.count);
    else
      start_state(before, tensors.initial, tile, values);
    if (tensors.grad_h != nullptr)
      read(grad, tensors.grad_h + tile.batch * shape.grad_batch + t * shape.grad_time + tile.start, tile.count);
    if (t > 0) prefetch_blocks<blocks>(frame - shape.pre_time, shape, tile);
    if (t > 1) prefetch(tensors.h + frame_of_h - 2 * values + tile.start, tile.count);
    if (t > 0 && tensors.grad_h != nullptr)
      prefetch(tensors.grad_h + tile.batch * shape.grad_batch + (t - 1) * shape.grad_time + tile.start, tile.count);
    constexpr int second = cell == kGru ? 2 : 1;  // GRU: arrays that are not read
    step_back<cell>(carry, x[0], x[second], x[blocks - 1], before, grad, totals[0], totals[second], totals[blocks - 1],
                    tile.padded);
    write_blocks<blocks>(tensors.grad_pre + frame_of_h * blocks, x, shape, tile);
  }
  if (tensors.grad_initial != nullptr) write(tensors.grad_initial + offset, carry, tile.count);
  if (sums != nullptr)
    for (int block = 0; block < blocks; ++block) sum_channels(sums + block * shape.channels, totals[block], shape, tile);
}

template <int cell, class F, class IO>
void backward(const Shape& shape, const BackwardTensors<F, IO>& tensors, void* grad_bias) {
  const Tiles tiles(shape);
  const int64_t width = (cell == kGru ? 2 : 3) * shape.channels;
  std::vector<double> partial(grad_bias == nullptr ? 0 : tiles.total * width);
  const Scratch<F> memory(shape.threads, 12, tiles.room());
#pragma omp parallel num_threads(shape.threads)
  {
    const auto scratch = memory.of_thread(thread_number());
#pragma omp for schedule(dynamic)
    for (int64_t index = 0; index < tiles.total; ++index)
      backward_tile<cell, F, IO>(shape, tiles[index], scratch, tensors,
                          grad_bias == nullptr ? nullptr : partial.data() + index * width);
  }
  if (grad_bias == nullptr) return;
  // In the order of the tiles, whichever thread made them: the sum does not depend on the number of threads.
  F* out = static_cast<F*>(grad_bias);
  for (int64_t channel = 0; channel < width; ++channel) {
    double sum = 0;
    for (int64_t index = 0; index < tiles.total; ++index) sum += partial[index * width + channel];
    out[channel] = F(sum);
  }
}

// ---------------------------------------------------------------------------------------------------------- dispatch

template <class F, class IO>
void forward_cell(const Shape& s, const void* pre, const void* bias, const void* initial, void* h, void* final_state) {
  if (s.cell == kGru) forward<kGru, F, IO>(s, pre, bias, initial, h, final_state);
  else if (s.cell == kLstm) forward<kLstm, F, IO>(s, pre, bias, initial, h, final_state);
  else forward<kExpLstm, F, IO>(s, pre, bias, initial, h, final_state);
}

template <class F, class IO>
void backward_cell(const Shape& s, void* const* p) {
  const BackwardTensors<F, IO> tensors = {
      static_cast<const IO*>(p[0]), static_cast<const F*>(p[1]), static_cast<const F*>(p[2]),
      static_cast<const IO*>(p[3]), static_cast<const IO*>(p[4]), static_cast<const F*>(p[5]),
      static_cast<IO*>(p[6]), static_cast<F*>(p[7])};
  if (s.cell == kGru) backward<kGru, F, IO>(s, tensors, p[8]);
  else if (s.cell == kLstm) backward<kLstm, F, IO>(s, tensors, p[8]);
  else backward<kExpLstm, F, IO>(s, tensors, p[8]);
}

template <class Call>
int guarded(Call call) {
  try {
    call();
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace

// `kind`: 0 float, 1 double, 2 bfloat16 (computed in float). Pointers may be null where the comments above say so. The
// result is 0, or 1 if there was no memory.

MINCONV_EXPORT int minconv_scan_forward(const Shape* shape, int kind, void* const* p) {
  return guarded([&] {
    if (kind == 0) forward_cell<float, float>(*shape, p[0], p[1], p[2], p[3], p[4]);
    else if (kind == 1) forward_cell<double, double>(*shape, p[0], p[1], p[2], p[3], p[4]);
    else forward_cell<float, BFloat16>(*shape, p[0], p[1], p[2], p[3], p[4]);
  });
}

MINCONV_EXPORT int minconv_scan_backward(const Shape* shape, int kind, void* const* p) {
  return guarded([&] {
    if (kind == 0) backward_cell<float, float>(*shape, p);
    else if (kind == 1) backward_cell<double, double>(*shape, p);
    else backward_cell<float, BFloat16>(*shape, p);
  });
}

// The exponential alone, for the test of its accuracy.
MINCONV_EXPORT void minconv_exp_negative(float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = exp_negative(values[i]);
}
