// How weights lie, and the order in which products go through tokens and weights.
//
// Weights lie as a core reads them, from memory once for up to eight tokens: in blocks of 32
// outputs; in a block by runs of inputs, four bytes of each output; in a run output by output.
// `gemma3n/routes/native.py` packs them so.

#pragma once

#include <ATen/Parallel.h>
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>
#include <vector>

namespace gemma3n {

constexpr int64_t kOutputs = 32;    // of a block
constexpr int64_t kRunBytes = 128;  // of a run of a block: two registers of 16 outputs

// Four bytes of a token, once for each of 16 outputs.
inline __m512i four(const void* from) {
  int32_t bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  return _mm512_set1_epi32(bytes);
}

using Runs = std::vector<int64_t>;

// The runs of inputs of a token alone that are not all zeros, if they are so few that what lies
// between them need not be read: what it adds is nothing. (Gemma 3n's first layers let one of
// twenty units of their FFN through.) `signs` are bits in which zeros differ.
inline std::optional<Runs> some_runs(int64_t tokens, const void* token, int64_t runs,
                                     uint32_t signs = 0) {
  if (tokens != 1) return std::nullopt;
  const auto* bytes = static_cast<const char*>(token);
  Runs some;
  for (int64_t k = 0; k < runs; ++k) {
    uint32_t run;
    std::memcpy(&run, bytes + 4 * k, sizeof run);
    if ((run & ~signs) != 0) some.push_back(k);
  }
  if (some.size() * 2 > static_cast<size_t>(runs)) return std::nullopt;
  return some;
}

// Calls `tile(M)` with a count, of `Most` at the most, that is known when this is compiled.
template <int Most, typename Tile>
void with_count(int64_t count, Tile&& tile) {
  if constexpr (Most > 0) {
    if (count == Most)
      tile(std::integral_constant<int, Most>{});
    else
      with_count<Most - 1>(count, tile);
  }
}

// Calls `tile(M, first)` for all tokens: M, known when this is compiled, of them from `first` on.
// No more than `Most` are together, and about as many each time.
template <int Most, typename Tile>
void by_tokens(int64_t tokens, Tile&& tile) {
  int64_t left = (tokens + Most - 1) / Most;
  for (int64_t first = 0; first < tokens; --left) {
    const int64_t count = (tokens - first + left - 1) / left;
    with_count<Most>(count, [&](auto m) { tile(m, first); });
    first += count;
  }
}

// Calls `tile(M, B, first token, first block)` for all tokens and blocks, on all threads. A few
// tokens leave room for the sums of two blocks, and more sums hide how long each of them takes.
template <typename Tile>
void by_blocks(int64_t tokens, int64_t blocks, Tile&& tile) {
  const auto run = [&](auto most, auto b) {
    at::parallel_for(0, blocks / b, 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        by_tokens<most>(tokens, [&](auto m, int64_t first) { tile(m, b, first, n * b); });
    });
  };
  if (tokens <= 6 && blocks % 2 == 0)
    run(std::integral_constant<int, 6>{}, std::integral_constant<int, 2>{});
  else
    run(std::integral_constant<int, 8>{}, std::integral_constant<int, 1>{});
}

}  // namespace gemma3n
