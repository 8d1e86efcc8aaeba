// Products of int8 and int4 weights with tokens that are rounded to int8; layout: blocks.h.
//
// A token has one scale, its own, and sums are whole numbers for as long as they can be, so that
// what a token gets does not depend on which others are computed with it.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <vector>

#include "blocks.h"

namespace gemma3n {
namespace {

constexpr int64_t kGroup = 32;  // inputs of int4 that share a scale and a zero
constexpr int64_t kScalesAt = kGroup / 2 * kOutputs, kZerosAt = kScalesAt + 2 * kOutputs;
constexpr int64_t kGroupBytes = kZerosAt + 2 * kOutputs;  // weights, scales, zeros of a block
constexpr float kMiddle = 8.f;                            // the q of a group's zero
constexpr float kLargest = 127.f, kTiny = 1e-30f;
constexpr char kTurn = static_cast<char>(128);  // added to a signed byte makes it an unsigned one

struct Tokens {
  int64_t count, columns;
  std::vector<int8_t> values;  // [count, columns]
  std::vector<float> scales;   // [count]
  std::vector<float> sums;     // [count, columns / 32], of values
};

// Rounds float32 [count, columns], as `gemma3n.routes.int8.rounded_tokens` does.
Tokens rounded(const float* x, int64_t count, int64_t columns) {
  const int64_t groups = columns / kGroup;
  Tokens tokens{count, columns, std::vector<int8_t>(count * columns), std::vector<float>(count),
                std::vector<float>(count * groups)};
  at::parallel_for(0, count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* from = x + t * columns;
      int8_t* to = tokens.values.data() + t * columns;
      __m512 most = _mm512_set1_ps(kTiny);
      for (int64_t k = 0; k < columns; k += 16)
        most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_loadu_ps(from + k)));
      const float largest = _mm512_reduce_max_ps(most);
      const __m512 factor = _mm512_set1_ps(1 / largest * kLargest);  // torch divides so
      for (int64_t k = 0; k < columns; k += 16) {
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + k), factor));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + k), _mm512_cvtsepi32_epi8(whole));
      }
      tokens.scales[t] = largest * (1 / kLargest);
      for (int64_t g = 0; g < groups; ++g) {
        const __m256i group = _mm256_loadu_si256(reinterpret_cast<__m256i*>(to + g * kGroup));
        const __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1),
                                                 _mm512_zextsi256_si512(group));
        tokens.sums[t * groups + g] = static_cast<float>(_mm512_reduce_add_epi32(sums));
      }
    }
  });
  return tokens;
}

// M tokens from `first` on times B blocks.
template <int M, int B>
void int8_tile(const Tokens& tokens, int64_t first, const int8_t* weight, const float* scales,
               const int32_t* offsets, float* out, int64_t outputs) {
  constexpr int R = 2 * B;
  const int64_t columns = tokens.columns, runs = columns / 4;
  const int8_t* x = tokens.values.data() + first * columns;
  const __m512i turn = _mm512_set1_epi8(kTurn);
  __m512i sums[M][R];
  for (int m = 0; m < M; ++m)
    for (int r = 0; r < R; ++r) sums[m][r] = _mm512_setzero_si512();
  for (int64_t k = 0; k < runs; ++k) {
    __m512i w[R];
    for (int r = 0; r < R; ++r)
      w[r] = _mm512_loadu_si512(weight + (r / 2 * runs + k) * kRunBytes + r % 2 * 64);
    for (int m = 0; m < M; ++m) {
      // The instruction multiplies unsigned by signed bytes; `offsets` are what that adds.
      const __m512i token = _mm512_xor_si512(four(x + m * columns + 4 * k), turn);
      for (int r = 0; r < R; ++r) sums[m][r] = _mm512_dpbusd_epi32(sums[m][r], token, w[r]);
    }
  }
  for (int m = 0; m < M; ++m)
    for (int r = 0; r < R; ++r) {
      const __m512i sum = _mm512_sub_epi32(sums[m][r], _mm512_loadu_si512(offsets + 16 * r));
      const __m512 scaled =
          _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(scales + 16 * r));
      _mm512_storeu_ps(out + m * outputs + 16 * r,
                       _mm512_mul_ps(scaled, _mm512_set1_ps(tokens.scales[first + m])));
    }
}

// A token alone times a block: of its inputs only some runs, the others are zeros.
void int8_some(const Tokens& tokens, const Runs& some, const int8_t* weight,
               const float* scales, float* out) {
  const __m512i turn = _mm512_set1_epi8(kTurn);
  __m512i sums[2], offsets[2];
  for (int r = 0; r < 2; ++r) sums[r] = offsets[r] = _mm512_setzero_si512();
  for (const int64_t k : some) {
    const __m512i token = _mm512_xor_si512(four(tokens.values.data() + 4 * k), turn);
    for (int r = 0; r < 2; ++r) {
      const __m512i w = _mm512_loadu_si512(weight + k * kRunBytes + r * 64);
      sums[r] = _mm512_dpbusd_epi32(sums[r], token, w);
      offsets[r] = _mm512_dpbusd_epi32(offsets[r], turn, w);
    }
  }
  for (int r = 0; r < 2; ++r) {
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[r], offsets[r]));
    const __m512 scaled = _mm512_mul_ps(sum, _mm512_loadu_ps(scales + 16 * r));
    _mm512_storeu_ps(out + 16 * r, _mm512_mul_ps(scaled, _mm512_set1_ps(tokens.scales[0])));
  }
}

// 16 bfloat16 numbers, as float32.
inline __m512 wide(const uint8_t* from) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// M tokens from `first` on times a block. Four at most: each has sums of two kinds.
template <int M>
void int4_tile(const Tokens& tokens, int64_t first, const uint8_t* weight, float* out,
               int64_t outputs) {
  const int64_t columns = tokens.columns, groups = columns / kGroup;
  const int8_t* x = tokens.values.data() + first * columns;
  const float* token_sums = tokens.sums.data() + first * groups;
  const __m512i lower = _mm512_set1_epi8(15);
  __m512 found[M][2];
  for (int m = 0; m < M; ++m) found[m][0] = found[m][1] = _mm512_setzero_ps();
  for (int64_t g = 0; g < groups; ++g, weight += kGroupBytes) {
    __m512i sums[M][2];
    for (int m = 0; m < M; ++m) sums[m][0] = sums[m][1] = _mm512_setzero_si512();
    for (int j = 0; j < kGroup / 8; ++j)
      for (int r = 0; r < 2; ++r) {
        const __m512i both = _mm512_loadu_si512(weight + j * kRunBytes + r * 64);
        const __m512i low = _mm512_and_si512(both, lower);
        const __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), lower);
        for (int m = 0; m < M; ++m) {
          const int8_t* token = x + m * columns + g * kGroup + 8 * j;
          sums[m][r] = _mm512_dpbusd_epi32(sums[m][r], low, four(token));
          sums[m][r] = _mm512_dpbusd_epi32(sums[m][r], high, four(token + 4));
        }
      }
    // (q - 8) * scale + zero, summed: q times scale, and the rest times the sum of the inputs.
    for (int r = 0; r < 2; ++r) {
      const __m512 scale = wide(weight + kScalesAt + 32 * r);
      const __m512 zero = wide(weight + kZerosAt + 32 * r);
      const __m512 rest = _mm512_fnmadd_ps(scale, _mm512_set1_ps(kMiddle), zero);
      for (int m = 0; m < M; ++m) {
        const __m512 inputs = _mm512_set1_ps(token_sums[m * groups + g]);
        found[m][r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[m][r]), scale, found[m][r]);
        found[m][r] = _mm512_fmadd_ps(inputs, rest, found[m][r]);
      }
    }
  }
  for (int m = 0; m < M; ++m)
    for (int r = 0; r < 2; ++r)
      _mm512_storeu_ps(out + m * outputs + 16 * r,
                       _mm512_mul_ps(found[m][r], _mm512_set1_ps(tokens.scales[first + m])));
}

// int8 [blocks, columns / 4, 32, 4] -> int32 [outputs]: what `kTurn` adds to the sums.
at::Tensor offsets(const at::Tensor& weight) {
  const int64_t blocks = weight.size(0), runs = weight.size(1);
  at::Tensor out = at::empty({blocks * kOutputs}, weight.options().dtype(at::kInt));
  const int8_t* w = weight.const_data_ptr<int8_t>();
  int32_t* to = out.mutable_data_ptr<int32_t>();
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      for (int r = 0; r < 2; ++r) {
        __m512i sum = _mm512_setzero_si512();
        for (int64_t k = 0; k < runs; ++k)
          sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(kTurn),
                                    _mm512_loadu_si512(w + (n * runs + k) * kRunBytes + r * 64));
        _mm512_storeu_si512(to + n * kOutputs + 16 * r, sum);
      }
  });
  return out;
}

// float32 [tokens, columns], int8 [blocks, columns / 4, 32, 4], float32 and int32 [outputs]
// -> [tokens, outputs]
at::Tensor int8_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& scales,
                        const at::Tensor& offsets) {
  const at::Tensor input = x.contiguous();
  const Tokens tokens = rounded(input.const_data_ptr<float>(), input.size(0), input.size(1));
  const int64_t outputs = scales.size(0);
  at::Tensor out = at::empty({tokens.count, outputs}, input.options());
  const int8_t* w = weight.const_data_ptr<int8_t>();
  const float* s = scales.const_data_ptr<float>();
  const int32_t* o = offsets.const_data_ptr<int32_t>();
  float* to = out.mutable_data_ptr<float>();
  if (const auto some = some_runs(tokens.count, tokens.values.data(), weight.size(1))) {
    by_blocks(1, weight.size(0), [&](auto, auto b, int64_t, int64_t block) {
      for (int64_t n = block * kOutputs; n < (block + b) * kOutputs; n += kOutputs)
        int8_some(tokens, *some, w + n * tokens.columns, s + n, to + n);
    });
    return out;
  }
  by_blocks(tokens.count, weight.size(0), [&](auto m, auto b, int64_t t, int64_t block) {
    const int64_t n = block * kOutputs;
    int8_tile<m, b>(tokens, t, w + n * tokens.columns, s + n, o + n, to + t * outputs + n, outputs);
  });
  return out;
}

// float32 [tokens, columns], uint8 [blocks, columns / 32, 640] -> [tokens, outputs]
at::Tensor int4_product(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor input = x.contiguous();
  const Tokens tokens = rounded(input.const_data_ptr<float>(), input.size(0), input.size(1));
  const int64_t outputs = weight.size(0) * kOutputs, bytes = weight.size(1) * kGroupBytes;
  at::Tensor out = at::empty({tokens.count, outputs}, input.options());
  const uint8_t* w = weight.const_data_ptr<uint8_t>();
  float* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, weight.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      by_tokens<4>(tokens.count, [&](auto m, int64_t t) {
        int4_tile<m>(tokens, t, w + n * bytes, to + t * outputs + n * kOutputs, outputs);
      });
  });
  return out;
}

}  // namespace
}  // namespace gemma3n

TORCH_LIBRARY(gemma3n_rounded, library) {
  library.def("int8_product(Tensor x, Tensor weight, Tensor scales, Tensor offsets) -> Tensor");
  library.def("offsets(Tensor weight) -> Tensor");
  library.def("int4_product(Tensor x, Tensor weight) -> Tensor");
  library.impl("offsets", c10::DispatchKey::CPU, &gemma3n::offsets);
  library.impl("int8_product", c10::DispatchKey::CPU, &gemma3n::int8_product);
  library.impl("int4_product", c10::DispatchKey::CPU, &gemma3n::int4_product);
}
