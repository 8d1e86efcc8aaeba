// Products of bfloat16 weights with bfloat16 tokens, summed in float32; layout: blocks.h.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "blocks.h"

namespace gemma3n {
namespace {

constexpr uint32_t kSigns = 0x80008000;  // of two numbers

// M tokens [columns each] times B blocks; each output's sum goes through its inputs in order.
template <int M, int B>
void tile(const at::BFloat16* tokens, int64_t columns, const char* weight, at::BFloat16* out,
          int64_t outputs) {
  constexpr int R = 2 * B;
  __m512 sums[M][R];
  for (int m = 0; m < M; ++m)
    for (int r = 0; r < R; ++r) sums[m][r] = _mm512_setzero_ps();
  const int64_t runs = columns / 2;
  for (int64_t k = 0; k < runs; ++k) {
    __m512i w[R];
    for (int r = 0; r < R; ++r)
      w[r] = _mm512_loadu_si512(weight + (r / 2 * runs + k) * kRunBytes + r % 2 * 64);
    for (int m = 0; m < M; ++m) {
      const __m512bh token = (__m512bh)four(tokens + m * columns + 2 * k);
      for (int r = 0; r < R; ++r)
        sums[m][r] = _mm512_dpbf16_ps(sums[m][r], token, (__m512bh)w[r]);
    }
  }
  for (int m = 0; m < M; ++m)
    for (int r = 0; r < R; ++r)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + m * outputs + 16 * r),
                          (__m256i)_mm512_cvtneps_pbh(sums[m][r]));
}

// A token alone times a block: of its inputs only some runs, the others are zeros.
void tile_some(const at::BFloat16* token, const Runs& some, const char* weight,
               at::BFloat16* out) {
  __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (const int64_t k : some) {
    const __m512bh both = (__m512bh)four(token + 2 * k);
    for (int r = 0; r < 2; ++r) {
      const __m512i w = _mm512_loadu_si512(weight + k * kRunBytes + r * 64);
      sums[r] = _mm512_dpbf16_ps(sums[r], both, (__m512bh)w);
    }
  }
  for (int r = 0; r < 2; ++r)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 16 * r),
                        (__m256i)_mm512_cvtneps_pbh(sums[r]));
}

// bfloat16 [tokens, columns], [blocks, columns / 2, 32, 2] -> [tokens, outputs]
at::Tensor product(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor input = x.contiguous();
  const int64_t columns = input.size(1), outputs = weight.size(0) * kOutputs;
  at::Tensor out = at::empty({input.size(0), outputs}, input.options());
  const at::BFloat16* from = input.const_data_ptr<at::BFloat16>();
  const at::BFloat16* w = weight.const_data_ptr<at::BFloat16>();
  at::BFloat16* to = out.mutable_data_ptr<at::BFloat16>();
  const auto block_of = [&](int64_t n) {
    return reinterpret_cast<const char*>(w + n * kOutputs * columns);
  };
  if (const auto some = some_runs(input.size(0), from, weight.size(1), kSigns)) {
    by_blocks(1, weight.size(0), [&](auto, auto b, int64_t, int64_t first) {
      for (int64_t n = first; n < first + b; ++n)
        tile_some(from, *some, block_of(n), to + n * kOutputs);
    });
    return out;
  }
  by_blocks(input.size(0), weight.size(0), [&](auto m, auto b, int64_t t, int64_t n) {
    tile<m, b>(from + t * columns, columns, block_of(n), to + t * outputs + n * kOutputs, outputs);
  });
  return out;
}

}  // namespace
}  // namespace gemma3n

TORCH_LIBRARY(gemma3n_bfloat16, library) {
  library.def("product(Tensor x, Tensor weight) -> Tensor");
  library.impl("product", c10::DispatchKey::CPU, &gemma3n::product);
}
