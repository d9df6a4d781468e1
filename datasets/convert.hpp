// Token files of any kind that we read into a store of ours.
//
// llm.c and Megatron-LM: documents, each followed by the separator. Cerebras Model Zoo (HDF5,
// /data of shape N x 3 x L with input ids, mask and labels): each example is a row of L + 1 tokens,
// its input ids and its last label, so that with model.context = L the windows are its examples.
// Examples with masked tokens (padding, prompts) are left out, since every token of ours is
// learned.
#pragma once
#include "datasets/build.hpp"

#include <filesystem>
#include <vector>

namespace isoflop {

bool is_cerebras(const std::filesystem::path& path);

struct ConvertReport {
  StoreReport store;
  uint64_t left_out = 0;  // examples with masked tokens
};

/// FormatError for ids outside of the tokenizer's vocabulary; UserError when the inputs are of both
/// kinds, rows and documents, or rows of different lengths. Otherwise like build_stores.
ConvertReport convert_tokens(const std::vector<std::filesystem::path>& inputs,
                             const Tokenizer& tokenizer,
                             const std::filesystem::path& out,
                             const std::atomic<bool>* stop = nullptr);

}  // namespace isoflop
